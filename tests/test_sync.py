"""Uploads of a living dataset: again and again, from several machines, by several people."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from qflux_hub import ConflictError, diff_dataset, upload_dataset
from qflux_hub.localhub import LocalHub, RequestLog
from qflux_hub.state import Seen, remember
from tests.builders import lay_split, picture, write
from tests.jobtools import api, commits, environment, fetch, files, forget, network, prompts, put, qflux, script

On = Callable[[str], None]
INDEX = ".qflux/index/train.parquet"
Turn = Callable[[], AbstractContextManager[Path]]


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> On:
    """Go on as another machine: one with a local cache of its own."""

    def move(machine: str) -> None:
        monkeypatch.setenv("QFLUX_CACHE_DIR", str(tmp_path / f"cache-{machine}"))

    move("mine")
    return move


def settle(root: Path) -> Path:
    """Make every file old enough to be remembered."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 10))
    return root


@pytest.fixture
def mine(tmp_path: Path, hub: LocalHub, repo: str, on: On) -> Path:
    """Three samples, uploaded from my machine."""
    root = settle(lay_split(tmp_path / "mine", "train", "abc"))
    upload_dataset(root, repo, hub=hub)
    return root


@pytest.fixture
def theirs(tmp_path: Path, mine: Path) -> Path:
    """The same three samples on someone else's machine."""
    return lay_split(tmp_path / "theirs", "train", "abc")


@pytest.fixture
def their_turn(hub: LocalHub, repo: str, theirs: Path, on: On) -> Turn:
    """On the other machine: what is changed there is uploaded from there, then it is my turn again."""

    @contextmanager
    def turn() -> Iterator[Path]:
        on("theirs")
        yield theirs
        upload_dataset(theirs, repo, hub=hub)
        on("mine")

    return turn


def reword(root: Path, name: str, text: str) -> None:
    write(root / f"train/training_images/{name}.txt", text)


def remove(root: Path, name: str) -> None:
    for path in list(root.rglob(f"{name}.*")):
        path.unlink()


# --- nothing changed --------------------------------------------------------------------------------------------


def test_a_second_run_reads_no_image_and_asks_one_question(
    hub: LocalHub, repo: str, mine: Path, hub_log: list[RequestLog]
) -> None:
    forget(hub_log)
    report = upload_dataset(mine, repo, hub=hub)
    assert (report.changed, report.bytes["read"], report.bytes["sent"]) == (False, 0, 0)
    assert {f"{request.method} {request.path}" for request in hub_log} <= {f"GET /api/datasets/{repo}"}


def test_a_second_run_opens_no_image_file(hub: LocalHub, repo: str, mine: Path) -> None:
    for path in mine.rglob("*.png"):  # had it opened one, it would have found it broken
        stat = path.stat()
        path.write_bytes(b"x" * stat.st_size)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert upload_dataset(mine, repo, hub=hub).changed is False


def test_a_machine_without_a_cache_hashes_once_and_sends_nothing(hub: LocalHub, repo: str, mine: Path, on: On) -> None:
    on("another")
    first = upload_dataset(mine, repo, hub=hub)
    again = upload_dataset(mine, repo, hub=hub)
    assert (first.changed, first.bytes["read"], first.bytes["sent"]) == (False, first.bytes["source"], 0)
    assert (again.changed, again.bytes["read"]) == (False, 0)


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda path: path.write_bytes(b"no database"), id="damaged"),
        pytest.param(lambda path: path.unlink(), id="gone"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), id="a-folder"),
    ],
)
def test_a_cache_that_cannot_be_used_costs_only_time(
    hub: LocalHub, repo: str, mine: Path, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    (tmp_path / "cache-mine/files.sqlite-wal").unlink(missing_ok=True)
    harm(tmp_path / "cache-mine/files.sqlite")
    report = upload_dataset(mine, repo, hub=hub)
    assert (report.changed, report.bytes["read"]) == (False, report.bytes["source"])


def test_what_is_kept_of_the_hub_is_fetched_anew_when_it_is_damaged(
    hub: LocalHub, repo: str, tmp_path: Path, on: On
) -> None:
    root = settle(lay_split(tmp_path / "ds", "train", "abc"))
    with network(hub) as way:
        upload_dataset(root, repo, hub=way.url, token=hub.token)
        for path in (tmp_path / "cache-mine/content").iterdir():
            path.write_bytes(path.read_bytes()[:-1] + b"x")
        way.seen.clear()
        assert upload_dataset(root, repo, hub=way.url, token=hub.token).changed is False
        fetched = [request.rpartition("/")[2] for request in way.seen if "/resolve/" in request]
        assert sorted(fetched) == ["README.md", "train.parquet"]
        way.seen.clear()
        upload_dataset(root, repo, hub=way.url, token=hub.token)
        assert len(way.seen) == 1


def test_a_card_that_someone_edits_is_not_taken_from_the_cache(hub: LocalHub, repo: str, mine: Path) -> None:
    card = fetch(hub, repo, "README.md") + b"\nWritten by hand.\n"
    put(hub, repo, "README.md", card)
    reword(mine, "a", "Another prompt.")
    assert upload_dataset(mine, repo, hub=hub).changed is True
    assert fetch(hub, repo, "README.md").endswith(b"\nWritten by hand.\n")


def test_an_image_replaced_within_the_clocks_grain_is_noticed(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(tmp_path / "young", "train", "ab")
    target = write(root / "train/training_images/a.png", picture("a.png").ljust(1000, b"\0"))
    upload_dataset(root, repo, hub=hub)
    stat = target.stat()
    write(target, picture("z.png").ljust(1000, b"\0"))
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert upload_dataset(root, repo, hub=hub).splits["train"].changed == 1


def test_an_image_that_was_touched_is_hashed_again_and_no_more(hub: LocalHub, repo: str, mine: Path) -> None:
    target = mine / "train/training_images/a.png"
    os.utime(target, (1_000_000_000, 1_000_000_000))
    report = upload_dataset(mine, repo, hub=hub)
    assert (report.changed, report.bytes["read"]) == (False, target.stat().st_size)


# --- several people ---------------------------------------------------------------------------------------------


def test_what_others_added_later_is_kept_on_every_further_upload(
    hub: LocalHub, repo: str, mine: Path, their_turn: Turn
) -> None:
    with their_turn() as theirs:
        lay_split(theirs, "train", "d")
    reword(mine, "a", "Mine.")
    for _ in range(2):
        report = upload_dataset(mine, repo, hub=hub)
        assert {*prompts(hub, repo)} == {*"abcd"}
        assert [finding.code for finding in report.findings] == ["kept-on-hub"]
    assert report.changed is False
    assert prompts(hub, repo)["a"] == "Mine."


def test_a_cache_that_several_make_at_once_serves_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = threading.Barrier(4)

    def note(number: int) -> None:
        everyone.wait()
        with remember(tmp_path) as memory:
            memory.saw(f"hub {number}", Seen(str(number), {}, {}))

    for turn in range(20):
        monkeypatch.setenv("QFLUX_CACHE_DIR", str(tmp_path / f"cache-{turn}"))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(note, range(4)))
        with remember(tmp_path) as memory:
            assert [memory.seen(f"hub {number}") for number in range(4)] == [Seen(str(n), {}, {}) for n in range(4)]


@pytest.mark.parametrize("before_that", ["ended", "killed"])
def test_on_a_full_disk_nothing_of_others_is_lost_and_nothing_is_committed_that_could_not_be_noted(
    hub: LocalHub, repo: str, mine: Path, their_turn: Turn, tmp_path: Path, before_that: str
) -> None:
    upload_dataset(mine, repo, hub=hub.url, token=hub.token)
    with their_turn() as theirs:
        lay_split(theirs, "train", "d")
    reword(mine, "a", "Mine.")
    before = files(hub, repo)
    cache, room = tmp_path / "cache-mine", (4_000, resource.RLIM_INFINITY)
    if before_that == "killed":  # a part of what is known lies beside the database
        with contextlib.closing(sqlite3.connect(cache / "files.sqlite")) as database:
            database.execute("UPDATE seen SET commit_id = commit_id")
            database.commit()
            cache = shutil.copytree(cache, tmp_path / "cache-killed")
    full = qflux(
        *("upload-dataset", str(mine), repo),
        env=environment(tmp_path / "home", HF_ENDPOINT=hub.url, HF_TOKEN=hub.token) | {"QFLUX_CACHE_DIR": str(cache)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, room),
    )
    assert (full.returncode, "The local cache in" in full.stderr, "cannot be used" in full.stderr) == (1, True, True)
    assert files(hub, repo) == before
    upload_dataset(mine, repo, hub=hub.url, token=hub.token)
    assert prompts(hub, repo) == {"a": "Mine."} | {name: f"Prompt of {name}." for name in "bcd"}


def test_what_others_changed_is_kept_until_i_touch_it(hub: LocalHub, repo: str, mine: Path, their_turn: Turn) -> None:
    with their_turn() as theirs:
        reword(theirs, "b", "Theirs.")
    upload_dataset(mine, repo, hub=hub)
    assert prompts(hub, repo)["b"] == "Theirs."
    reword(mine, "b", "Mine after all.")
    upload_dataset(mine, repo, hub=hub)
    assert prompts(hub, repo)["b"] == "Mine after all."


def test_the_same_sample_changed_on_two_machines_is_a_conflict_until_one_yields(
    hub: LocalHub, repo: str, mine: Path, their_turn: Turn
) -> None:
    with their_turn() as theirs:
        reword(theirs, "b", "Theirs.")
    reword(mine, "b", "Mine.")
    before = commits(hub, repo)
    for _ in range(2):
        with pytest.raises(ConflictError, match="train/b"):
            upload_dataset(mine, repo, hub=hub)
    assert commits(hub, repo) == before
    upload_dataset(mine, repo, hub=hub, mirror=True)
    assert prompts(hub, repo)["b"] == "Mine."


def test_taking_over_their_version_ends_the_conflict(hub: LocalHub, repo: str, mine: Path, their_turn: Turn) -> None:
    with their_turn() as theirs:
        reword(theirs, "b", "Theirs.")
    reword(mine, "b", "Theirs.")
    assert upload_dataset(mine, repo, hub=hub).changed is False


def test_what_i_remove_goes_and_what_they_remove_comes_back(
    hub: LocalHub, repo: str, mine: Path, their_turn: Turn
) -> None:
    with their_turn() as theirs:
        remove(theirs, "a")
    assert {*prompts(hub, repo)} == {*"bc"}
    remove(mine, "c")
    report = upload_dataset(mine, repo, hub=hub)
    assert {*prompts(hub, repo)} == {*"ab"}
    assert (report.splits["train"].added, report.splits["train"].removed) == (1, 1)


def test_mirror_makes_the_hub_equal_to_the_source(hub: LocalHub, repo: str, mine: Path, their_turn: Turn) -> None:
    with their_turn() as theirs:
        lay_split(theirs, "train", "d")
        reword(theirs, "a", "Theirs.")
    upload_dataset(mine, repo, hub=hub, mirror=True)
    assert prompts(hub, repo) == {name: f"Prompt of {name}." for name in "abc"}


def test_an_old_state_becomes_current_again_without_moving_bytes(hub: LocalHub, repo: str, mine: Path) -> None:
    reword(mine, "a", "New.")
    upload_dataset(mine, repo, hub=hub)
    reword(mine, "a", "Prompt of a.")
    report = upload_dataset(mine, repo, hub=hub)
    assert prompts(hub, repo)["a"] == "Prompt of a."
    assert report.bytes["sent"] < 1_000


def test_a_sample_kept_of_others_moves_with_its_shard(
    hub: LocalHub, repo: str, mine: Path, their_turn: Turn, on: On
) -> None:
    with their_turn() as theirs:
        lay_split(theirs, "train", "bb")
        write(theirs / "train/training_images/bb.png", picture("special.png", size=(64, 48)))
    write(mine / "train/training_images/c.png", picture("new.png"))
    upload_dataset(mine, repo, hub=hub)
    on("theirs")
    assert upload_dataset(theirs, repo, hub=hub).splits["train"].changed == 0


@pytest.mark.parametrize("how", ["missing", "garbage"])
def test_what_others_added_is_not_lost_with_the_index(
    hub: LocalHub, repo: str, mine: Path, their_turn: Turn, how: str
) -> None:
    with their_turn() as theirs:
        lay_split(theirs, "train", "d")
    if how == "missing":
        api(hub).delete_file(INDEX, repo, repo_type="dataset")
    else:
        put(hub, repo, INDEX, b"garbage")
    reword(mine, "a", "Mine.")
    before = files(hub, repo)
    with pytest.raises(ConflictError, match="train/d") as caught:
        upload_dataset(mine, repo, hub=hub)
    assert "edit-conflict" in [finding.code for finding in caught.value.report.findings]
    assert files(hub, repo) == before
    lay_split(mine, "train", "d")
    split = upload_dataset(mine, repo, hub=hub).splits["train"]
    assert (split.added, split.changed, split.removed, split.unchanged) == (0, 1, 0, 3)
    assert [*prompts(hub, repo)] == [*"abcd"]


def test_a_difference_is_told_by_sample_also_where_the_index_is_lost(hub: LocalHub, repo: str, mine: Path) -> None:
    api(hub).delete_file(INDEX, repo, repo_type="dataset")
    reword(mine, "a", "Mine.")
    remove(mine, "b")
    split = diff_dataset(mine, repo, hub=hub).splits["train"]
    assert ([*split.added], [*split.removed], split.unchanged) == ([], ["b"], 1)
    assert [(one.id, dict(one.fields)) for one in split.changed] == [("a", {"prompt": ("Prompt of a.", "Mine.")})]


# --- what push_to_hub wrote -------------------------------------------------------------------------------------

PUSH = """
from pathlib import Path
from datasets import Dataset, DatasetDict, Features, Image, List, Value
kind = Features({"id": Value("string"), "control_images": List(Image()), "control_mask": Image(),
                 "target_image": Image(), "prompt": Value("string")})
root = Path(ROOT) / "train"
rows = [{"id": name, "control_images": [str(root / f"control_images/{name}.png")], "control_mask": None,
         "target_image": str(root / f"training_images/{name}.png"), "prompt": f"Prompt of {name}."} for name in NAMES]
DatasetDict({"train": Dataset.from_list(rows, features=kind)}).push_to_hub(REPO, private=True)
"""


def pushed(hub: LocalHub, repo: str, root: Path, names: str, home: Path) -> None:
    """``root``'s samples as ``push_to_hub`` writes them, by the real one in a process of its own."""
    values = f"ROOT, NAMES, REPO = {str(root)!r}, {names!r}, {repo!r}\n"
    done = script(values + PUSH, env=environment(home, HF_ENDPOINT=hub.url, HF_TOKEN=hub.token))
    assert done.returncode == 0, done.stderr


def test_a_split_of_push_to_hub_is_taken_over_in_place(hub: LocalHub, repo: str, tmp_path: Path, on: On) -> None:
    root = lay_split(tmp_path / "ds", "train", "abc")
    pushed(hub, repo, root, "abc", tmp_path / "home")
    lay_split(root, "train", "d")
    reword(root, "a", "New words.")
    before = diff_dataset(root, repo, hub=hub).splits["train"]
    assert ([*before.added], [one.id for one in before.changed], before.unchanged) == (["d"], ["a"], 2)
    assert before.changed[0].fields == {"prompt": ("Prompt of a.", "New words.")}
    planned = upload_dataset(root, repo, hub=hub, dry_run=True)
    report = upload_dataset(root, repo, hub=hub)
    split = report.splits["train"]
    assert (split.added, split.changed, split.removed, split.unchanged) == (1, 1, 0, 2)
    assert [*planned.operations] == [*report.operations]
    deleted = [operation.path for operation in report.operations if operation.action == "delete"]
    assert deleted == ["data/train-00000-of-00001.parquet"]
    assert prompts(hub, repo) == {"a": "New words."} | {name: f"Prompt of {name}." for name in "bcd"}
    assert upload_dataset(root, repo, hub=hub).changed is False
