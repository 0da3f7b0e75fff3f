"""Repairs are all made or none, whenever the process is killed: SIGKILL before every single change on disk."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from qflux_hub import check_dataset, fix_dataset
from qflux_hub.errors import DataError
from tests.builders import lay, lay_split, picture, write
from tests.fixtools import MEMORY, Runner, runner, snapshot

C, T = "train/control_images", "train/training_images"


@pytest.fixture(scope="module")
def processes() -> Iterator[Runner]:
    with runner() as running:
        yield running


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder where these tests take place."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def work(memory: Path) -> Iterator[Path]:
    """A folder of a test's own."""
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def old(memory: Path) -> Path:
    """A dataset with every kind of change in it: two renames of one file, edits and a deletion."""
    root = lay_split(memory / "old", bases=["a"])
    write(root / C / "a.png", picture("a.jpg"))
    write(root / C / "a_1.png", picture("b.webp"))
    write(root / T / "a.txt", b"\xef\xbb\xbfOne\r\n")
    write(root / C / "._a.png", b"litter")
    return lay(root, train_csv=f"control,prompt\n{C}/a.png,One\n")


def copy(root: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(root, to))


def fix(root: Path | None = None, **options):
    return fix_dataset(root, layout="directory", **options) if root else fix_dataset(**options)


@pytest.fixture(scope="module")
def new(old: Path, memory: Path) -> dict:
    """What the dataset is once it is repaired, without the times of edited files."""
    root = copy(old, memory / "new")
    assert fix(root, apply=True).findings == []
    return snapshot(root, times=False)


def log_of(root: Path) -> Path:
    return root / ".qflux/undo/0001/log.json"


def test_a_killed_repair_is_all_old_or_all_new_after_the_next_run(processes, old, new, work):
    before, states = snapshot(old), set()
    for step in count(1):
        root = copy(old, work / "set")
        if processes.run(root, kill_at=step, apply=True, layout="directory"):
            break
        states.add(str(sorted(snapshot(root))))
        half = copy(root, work / "half")
        # the next run repairs everything ...
        again = fix(root, apply=True)
        assert snapshot(root, times=False) == new
        assert fix(root).changes == []
        # ... and all that the two runs did can be taken back
        fix(undo=again.undo or log_of(root))
        assert snapshot(root) == before
        assert not (root / ".qflux").exists()
        # or else, the interrupted one alone is taken back
        if log_of(half).exists():
            fix(undo=log_of(half))
        assert snapshot(half) == before
    assert step > 20
    assert len(states) >= 5  # it was really caught half old, half new


def test_a_killed_undo_is_finished_by_the_next_run(processes, old, new, work):
    before = snapshot(old)
    repaired = copy(old, work / "repaired")
    fix(repaired, apply=True)
    for step in count(1):
        root = copy(repaired, work / "set")
        if processes.run(None, kill_at=step, undo=str(log_of(root))):
            break
        half = copy(root, work / "half")
        if log_of(half).exists():
            fix(undo=log_of(half))
        assert snapshot(half) == before
        fix(root, apply=True)
        assert snapshot(root, times=False) == new
    assert step > 10


def test_a_killed_recovery_is_finished_by_the_next_run(processes, old, new, work):
    killed = copy(old, work / "killed")
    for step in count(20):
        assert not processes.run(copy(old, killed), kill_at=step, apply=True, layout="directory")
        if sorted(snapshot(killed)) not in (sorted(snapshot(old)), sorted(new)):
            break  # in the middle of the renames
    for step in count(1):
        root = copy(killed, work / "set")
        if processes.run(root, kill_at=step, apply=True, layout="directory"):
            break
        fix(root, apply=True)
        assert snapshot(root, times=False) == new
    assert step > 20


def test_a_repair_killed_at_any_moment_is_all_old_or_all_new(processes, old, new, work):
    before, chance = snapshot(old), random.Random(7)  # noqa: S311 - moments, not secrets
    started = time.perf_counter()
    assert processes.run(copy(old, work / "set"), apply=True, layout="directory")
    whole = time.perf_counter() - started
    for _ in range(25):
        root = copy(old, work / "set")
        processes.run(root, kill_after=chance.uniform(0.2, 1) * whole, apply=True, layout="directory")
        again = fix(root, apply=True)
        assert snapshot(root, times=False) == new
        fix(undo=again.undo or log_of(root))
        assert snapshot(root) == before


@pytest.fixture
def half(processes, old, work) -> Path:
    """A dataset whose repair was killed in the middle."""
    root = work / "set"
    for step in count(10):
        assert not processes.run(copy(old, root), kill_at=step, apply=True, layout="directory")
        if not (root / C / "a.png").exists():
            break
    assert (root / C / "._a.png").exists()
    return root


def test_an_interrupted_repair_is_told_by_every_later_command(half, old):
    finding = next(found for found in check_dataset(half, layout="directory").findings if "interr" in found.code)
    assert (finding.severity, finding.fix) == ("warning", "run `qflux fix --apply` again")
    with pytest.raises(DataError, match="half old, half new") as error:
        fix(half)
    assert "--apply takes its changes back" in error.value.hint
    report = fix(half, apply=True)
    assert not report.failed
    (note,) = report.findings
    assert (note.code, note.severity) == ("interrupted-fix", "note")


def test_files_that_changed_after_an_interruption_are_not_clobbered(half):
    write(half / C / "a.jpg", "another picture")
    before = snapshot(half)
    with pytest.raises(DataError, match=r"a\.jpg changed since") as error:
        fix(half, apply=True)
    assert ".qflux/undo/0001" in error.value.hint
    assert snapshot(half) == before
