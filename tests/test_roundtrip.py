"""What goes into a layout comes out again; what does not was said before. For every layout, and every pair of them."""

from __future__ import annotations

import tempfile
from collections import Counter
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from qflux_hub import DataError, convert_dataset, layouts, spill
from qflux_hub.naming import is_portable_path, on_disk
from qflux_hub.report import Progress
from qflux_hub.sample import Sample
from tests.builders import Scan, scan
from tests.jobtools import tree
from tests.layouttools import PLAIN_IDS, Splits, actual_losses, blob, datasets, facts

NAMES = layouts.names()
quick = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True, scope="module")
def _nearly_all_is_spilled():
    """Most of what a dataset of any size has lies in temporary databases here, as else only that of a large one."""
    spill.FEW, few = 1, spill.FEW
    yield
    spill.FEW = few


def written(name: str, splits: Splits, dest: Path) -> tuple[Scan, dict[str, int]]:
    """The samples as they are read back, and the losses that were told, summed up."""
    try:
        told, _ = layouts.write(layouts.called(name), splits, dest, force=False, progress=Progress())
    except DataError:  # it holds none of them
        return Scan(name), {"sample": sum(map(len, splits.values()))}
    counts: Counter[str] = Counter()
    for loss in told:
        assert loss.why
        counts[loss.what] += loss.count
    return scan(dest, name) if any(dest.rglob("*")) else Scan(name), dict(counts)


def lost_by(name: str, read: Scan) -> bool:
    return bool(layouts.plan(layouts.called(name), read.splits)[1])


@pytest.mark.parametrize("name", NAMES)
@given(splits=datasets())
@quick
def test_what_was_told_to_get_lost_is_exactly_what_gets_lost(name, splits):
    with tempfile.TemporaryDirectory() as folder:
        back, told = written(name, splits, Path(folder, "out"))
        lost: Counter[str] = Counter()
        for split, samples in splits.items():
            lost.update(actual_losses(samples, back.splits.get(split, [])))
        assert dict(lost) == told
        assert [finding for finding in back.findings if finding.severity == "error"] == []
        paths = list(tree(Path(folder, "out")))
        assert all(map(is_portable_path, paths))
        assert len({on_disk(path) for path in paths}) == len(paths)


def test_no_later_sample_takes_the_name_of_an_earlier_ones_mask(tmp_path):
    """A and a are one name on some disks, so A moves to another folder; so does a_mask: a has a mask of that name."""

    def sample(name: str, *, masked: bool = False) -> Sample:
        image, mask = (blob(f"test/control_images/{name}{end}.png", f"{name} {end}".encode()) for end in ("", "_mask"))
        return Sample(id=name, split="test", prompt="", controls=(image,), mask=mask if masked else None)

    splits = {"test": [sample("a", masked=True), sample("A"), sample("a_mask")]}
    layouts.write(layouts.called("csv"), splits, tmp_path / "first", force=False, progress=Progress())
    assert convert_dataset(tmp_path / "first", tmp_path / "again", as_="csv").lost == []
    assert tree(tmp_path / "again") == tree(tmp_path / "first")


def test_a_metadata_table_is_at_the_top_only_when_none_of_its_files_is_below(tmp_path):
    image, sound = blob("a.png", b"image"), blob("train/wav/a.wav", b"sound")
    splits = {"train": [Sample(id="a", split="train", prompt="", controls=(image,), others={"wav": sound})]}
    back, told = written("metadata", splits, tmp_path / "out")
    (read,) = back.splits["train"]
    assert (told, sorted(read.others)) == ({}, ["wav"])
    assert sorted(tree(tmp_path / "out")) == ["train/control/a.png", "train/metadata.jsonl", "train/wav/a.wav"]


@pytest.mark.parametrize("name", NAMES)
@given(splits=datasets())
@quick
def test_a_dataset_that_was_read_from_a_layout_loses_nothing_by_being_written_to_it(name, splits):
    with tempfile.TemporaryDirectory() as folder:
        first, again = Path(folder, "first"), Path(folder, "again")
        written(name, splits, first)
        if any(first.rglob("*")):
            assert convert_dataset(first, again, as_=name, layout=name).lost == []
            assert tree(again) == tree(first)


@pytest.mark.parametrize(("first", "second"), [*permutations(NAMES, 2)])
@given(splits=datasets(PLAIN_IDS, odd=False))
@settings(quick, max_examples=5)
def test_plain_datasets_go_there_and_come_back(first, second, splits):
    with tempfile.TemporaryDirectory() as folder:
        a, b, c = (Path(folder, name) for name in "abc")
        written(first, splits, a)
        if not a.exists() or lost_by(second, scan(a, first)):
            return
        convert_dataset(a, b, as_=second, layout=first)
        if convert_dataset(b, c, as_=first, layout=second).lost == []:
            before, after = scan(a, first).splits, scan(c, first).splits
            assert {split: list(map(facts, samples)) for split, samples in after.items()} == {
                split: list(map(facts, samples)) for split, samples in before.items()
            }
