"""Uploads that go well: what is on the Hub afterwards, and what was sent for it.

The real clients against the embedded Hub. Refusals, conflicts and bad networks have files of their own.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

from qflux_hub import UsageError, load_editing_dataset, upload_dataset, upload_editing_dataset
from qflux_hub import upload_editing_dataset_from_csv as upload_csv
from qflux_hub.localhub import LocalHub, RequestLog
from qflux_hub.report import UploadReport
from tests.builders import lay, lay_split, picture, table, write
from tests.jobtools import api, commits, fetch, files, forget, prompts, push, put, put_raw, rows, shards, writes

Log = list[RequestLog]
COLUMNS = ["id", "control_images", "control_mask", "target_image", "prompt"]


def counts(report: UploadReport, split: str = "train") -> tuple[int, int, int, int]:
    """(added, changed, removed, unchanged)."""
    one = report.splits[split]
    return one.added, one.changed, one.removed, one.unchanged


def actions(report: UploadReport) -> dict[str, str]:
    return {operation.path: operation.action for operation in report.operations}


def lay_heavy(root: Path, count: int, split: str = "train") -> Path:
    """Samples of 20 to 30 kB each, so that a small ``shard_size`` cuts them into many shards."""
    for number in range(count):
        base = f"s{number:03}"
        lay_split(root, split, [base], ".bmp")
        write(root / split / "control_images" / f"{base}.bmp", picture(f"{base}.bmp", (80, 90)))
    return root


# --- the first upload -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> Path:
    return Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def first(hub: LocalHub, data: Path) -> UploadReport:
    return upload_editing_dataset(data / "photo_edits", "me/photos", hub=hub)


@pytest.fixture(scope="module")
def from_csv(hub: LocalHub, data: Path) -> UploadReport:
    return upload_csv(data / "photo_edits_csv", "me/photos-csv", hub=hub)


@pytest.mark.usefixtures("first")
def test_a_first_upload_is_one_commit_on_top_of_the_initial_one(hub: LocalHub) -> None:
    assert commits(hub, "me/photos") == ["Upload dataset (train: 9 added; test: 3 added)", "initial commit"]


def test_a_first_upload_creates_a_private_repo(hub: LocalHub, first: UploadReport) -> None:
    assert api(hub).dataset_info("me/photos").private is True
    assert first.private is True


def test_the_report_says_what_was_done(hub: LocalHub, first: UploadReport) -> None:
    told = first.to_dict()
    assert [*told] == [
        "repo_id", "url", "revision", "commit", "changed", "dry_run", "private",
        "splits", "operations", "bytes", "findings", "counts", "seconds",
    ]  # fmt: skip
    assert told["commit"] == api(hub).dataset_info("me/photos").sha
    assert told["url"] == f"{hub.url}/datasets/me/photos"
    assert (told["changed"], told["dry_run"], told["revision"]) == (True, False, "main")
    assert told["splits"] == {
        "test": {"samples": 3, "added": 3, "changed": 0, "removed": 0, "unchanged": 0},
        "train": {"samples": 9, "added": 9, "changed": 0, "removed": 0, "unchanged": 0},
    }
    assert [(one["path"], one["action"]) for one in told["operations"]] == [
        ("data/train/astronaut_in_space-b55fa42a.parquet", "add"),
        (".qflux/index/train.parquet", "add"),
        ("data/test/cat_by_the_wall-abc8bc21.parquet", "add"),
        (".qflux/index/test.parquet", "add"),
        ("README.md", "add"),
    ]
    assert [*told["bytes"]] == ["source", "read", "packed", "sent"]
    assert told["bytes"]["source"] == told["counts"]["bytes"] == 379_903
    assert told["bytes"]["source"] <= told["bytes"]["packed"] < told["bytes"]["source"] + 20_000
    assert told["findings"] == []
    assert told["counts"] == {
        "samples": 12, "files": 35, "bytes": 379_903, "errors": 0, "warnings": 0, "notes": 0,
    }  # fmt: skip


@pytest.mark.usefixtures("first")
def test_the_repo_holds_shards_indexes_and_a_card(hub: LocalHub) -> None:
    assert sorted(files(hub, "me/photos")) == [
        ".gitattributes",
        ".qflux/index/test.parquet",
        ".qflux/index/train.parquet",
        "README.md",
        "data/test/cat_by_the_wall-abc8bc21.parquet",
        "data/train/astronaut_in_space-b55fa42a.parquet",
    ]


@pytest.mark.usefixtures("first")
def test_every_image_and_prompt_comes_back_byte_for_byte(hub: LocalHub, data: Path) -> None:
    for split in ("train", "test"):
        folder = data / "photo_edits" / split
        stems = sorted(path.stem for path in folder.glob("training_images/*.txt"))
        found = rows(hub, "me/photos", split)
        assert [row["id"] for row in found] == stems
        for row in found:
            base = row["id"]
            assert row["prompt"] == (folder / "training_images" / f"{base}.txt").read_text().strip()
            controls = [*folder.glob(f"control_images/{base}.*")]
            controls += sorted(folder.glob(f"control_images/{base}_control_*"))
            assert row["control_images"] == [_image(path) for path in controls]
            masks = [_image(path) for path in folder.glob(f"control_images/{base}_mask.*")]
            assert row["control_mask"] == (masks or [None])[0]
            targets = [_image(path) for path in folder.glob(f"training_images/{base}.*") if path.suffix != ".txt"]
            assert row["target_image"] == (targets or [None])[0]


def _image(path: Path) -> dict[str, Any]:
    return {"bytes": path.read_bytes(), "path": path.name}


@pytest.mark.usefixtures("first")
def test_features_are_as_documented(hub: LocalHub) -> None:
    loaded: Any = load_editing_dataset("me/photos", hub=hub)
    for dataset in loaded.values():
        assert dataset.column_names == COLUMNS
        kinds = {name: type(feature).__name__ for name, feature in dataset.features.items()}
        assert kinds == dict(zip(COLUMNS, ["Value", "List", "Image", "Image", "Value"], strict=True))
        assert type(dataset.features["control_images"].feature).__name__ == "Image"
    sample = loaded["train"][0]
    assert [image.size for image in sample["control_images"]]
    assert sample["target_image"].mode == "RGB"


@pytest.mark.usefixtures("first", "from_csv")
def test_both_layouts_of_a_dataset_give_the_same_data(hub: LocalHub) -> None:
    assert shards(hub, "me/photos") == shards(hub, "me/photos-csv")
    assert shards(hub, "me/photos", "test") == shards(hub, "me/photos-csv", "test")


@pytest.mark.usefixtures("first")
def test_what_is_there_already_under_another_name_is_not_sent_again(from_csv: UploadReport) -> None:
    assert from_csv.bytes["sent"] < 15_000  # the two indexes: they know the source's paths


def test_an_unchanged_dataset_makes_no_commit_and_no_write_request(
    hub: LocalHub, hub_log: Log, data: Path, first: UploadReport
) -> None:
    forget(hub_log)
    again = upload_dataset(data / "photo_edits", "me/photos", hub=hub)
    assert writes(hub_log) == []
    assert len(hub_log) <= 9
    assert again.changed is False
    assert again.commit == first.commit
    assert set(actions(again).values()) == {"keep"}
    assert counts(again) == (0, 0, 0, 9)
    assert (again.bytes["packed"], again.bytes["sent"]) == (0, 0)


def test_a_dry_run_of_a_first_upload_changes_nothing_and_plans_what_is_done(
    hub: LocalHub, hub_log: Log, data: Path, first: UploadReport, repo: str
) -> None:
    forget(hub_log)
    planned = upload_dataset(data / "photo_edits", repo, dry_run=True, hub=hub)
    assert writes(hub_log) == []
    assert not api(hub).repo_exists(repo, repo_type="dataset")
    assert (planned.dry_run, planned.changed, planned.commit) == (True, False, None)
    assert list(planned.operations) == list(first.operations)
    assert planned.splits == first.splits


# --- later uploads ----------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, hub: LocalHub, repo: str) -> Path:
    """A dataset of five samples, uploaded to ``repo``."""
    root = lay_split(tmp_path / "ds", "train", "abcde")
    upload_dataset(root, repo, hub=hub)
    return root


def test_a_changed_prompt_is_one_changed_sample_and_one_commit(hub: LocalHub, repo: str, small: Path) -> None:
    write(small / "train/training_images/c.txt", "Another prompt.\n")
    planned = upload_dataset(small, repo, dry_run=True, hub=hub)
    done = upload_dataset(small, repo, hub=hub)
    assert counts(done) == (0, 1, 0, 4)
    assert commits(hub, repo)[:-1] == ["Upload dataset (train: 1 changed)", "Upload dataset (train: 5 added)"]
    assert prompts(hub, repo)["c"] == "Another prompt."
    assert list(planned.operations) == list(done.operations)
    assert planned.splits == done.splits


def test_a_replaced_image_is_one_changed_sample(hub: LocalHub, repo: str, small: Path) -> None:
    new = picture("other.png")
    write(small / "train/control_images/d.png", new)
    assert counts(upload_dataset(small, repo, hub=hub)) == (0, 1, 0, 4)
    images = {row["id"]: row["control_images"][0]["bytes"] for row in rows(hub, repo)}
    assert images["d"] == new
    assert images["c"] == (small / "train/control_images/c.png").read_bytes()


def test_added_removed_and_renamed_samples_are_counted_as_such(hub: LocalHub, repo: str, small: Path) -> None:
    lay_split(small, "train", ["f"])
    for path in small.rglob("a.*"):
        path.unlink()
    for path in list(small.rglob("b.*")):
        path.rename(path.with_stem("bb"))
    assert counts(upload_dataset(small, repo, hub=hub)) == (2, 0, 2, 3)
    assert [row["id"] for row in rows(hub, repo)] == ["bb", "c", "d", "e", "f"]
    assert len(shards(hub, repo)) == 1  # the shard that began with `a` is gone


def test_a_new_split_leaves_the_others_alone(hub: LocalHub, repo: str, small: Path) -> None:
    before = files(hub, repo)
    lay_split(small, "test", "xy")
    done = upload_dataset(small, repo, hub=hub)
    assert (counts(done), counts(done, "test")) == ((0, 0, 0, 5), (2, 0, 0, 0))
    after = files(hub, repo)
    assert {path for path in before if before[path] != after[path]} == {"README.md"}
    assert len(rows(hub, repo, "test")) == 2


def test_a_new_column_of_a_table_arrives_in_every_row(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay(tmp_path, "a.png", "b.png", train_csv="control,prompt\na.png,Do a.\nb.png,Do b.\n")
    upload_dataset(root, repo, hub=hub)
    write(root / "train.csv", "control,prompt,author\na.png,Do a.,anna\nb.png,Do b.,\n")
    done = upload_dataset(root, repo, hub=hub)
    assert counts(done) == (0, 2, 0, 0)
    assert [(row["id"], row["author"]) for row in rows(hub, repo)] == [("a", "anna"), ("b", "")]


def test_only_the_order_of_a_table_changing_sends_no_shard(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay(tmp_path, "a.png", "b.png", train_csv="control,prompt\na.png,Do a.\nb.png,Do b.\n")
    upload_dataset(root, repo, hub=hub)
    write(root / "train.csv", "control,prompt\nb.png,Do b.\na.png,Do a.\n")
    done = upload_dataset(root, repo, hub=hub)
    assert [op.action for op in done.operations] == ["keep", "update", "keep"]
    assert upload_dataset(root, repo, hub=hub).changed is False


def test_a_small_edit_rewrites_and_sends_only_the_shard_concerned(
    hub: LocalHub, hub_log: Log, repo: str, tmp_path: Path
) -> None:
    root = lay_heavy(tmp_path, 40)
    made = upload_dataset(root, repo, shard_size=100_000, hub=hub)
    before = shards(hub, repo)
    assert 6 <= len(before) <= 14
    assert made.bytes["source"] > 800_000
    write(root / "train/training_images/s020.txt", "Another prompt.")
    forget(hub_log)
    done = upload_dataset(root, repo, hub=hub)  # the size of shards is kept without being asked for
    after = shards(hub, repo)
    assert before.keys() == after.keys()
    changed = [path for path in before if before[path] != after[path]]
    assert len(changed) == 1
    assert [op.path for op in done.operations if op.action == "update" and op.path in before] == changed
    assert sum(request.bytes_received for request in hub_log) < 120_000
    assert done.bytes["packed"] < 200_000


def test_another_shard_size_cuts_anew_and_says_so(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_heavy(tmp_path, 12)
    upload_dataset(root, repo, shard_size=100_000, hub=hub)
    before = rows(hub, repo)
    done = upload_dataset(root, repo, shard_size=10_000_000, hub=hub)
    assert len(shards(hub, repo)) == 1
    assert counts(done) == (0, 0, 0, 12)
    assert {op.action for op in done.operations if op.path.startswith("data/")} == {"update", "delete"}
    assert rows(hub, repo) == before


def test_several_workers_give_the_same_shards(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_heavy(tmp_path, 20)
    upload_dataset(root, repo, shard_size=100_000, hub=hub)
    upload_dataset(root, f"{repo}-2", shard_size=100_000, workers=4, hub=hub)
    assert shards(hub, repo) == shards(hub, f"{repo}-2")


def test_rows_are_sorted_by_the_bytes_of_their_ids(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    ids = ["b", "B", "a10", "a2", "é", "z", "中", "a-1"]
    body = table(["id", "control", "prompt"], *([name, "x.png", f"Do {name}."] for name in ids))
    upload_dataset(lay(tmp_path, "x.png", train_csv=body), repo, hub=hub)
    found = [row["id"] for row in rows(hub, repo)]
    assert found == sorted(ids, key=str.encode)


def test_prompts_survive_whatever_they_hold(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    texts = ["NA", "null", "007", "1.0", 'a "quoted", comma', "two\nlines", "emoji 🐈", "=SUM(A1)", "[bold]x[/bold]"]
    out = [["control", "prompt"], *(["x.png", text] for text in texts)]
    for number, line in enumerate(out):
        line.insert(0, str(number) if number else "id")
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows(out)
    upload_dataset(lay(tmp_path, "x.png"), repo, hub=hub)
    assert [*prompts(hub, repo).values()] == texts


# --- what others put there --------------------------------------------------------------------------------------


def test_splits_that_the_source_lacks_are_kept_until_they_are_pruned(hub: LocalHub, repo: str, small: Path) -> None:
    lay_split(small, "test", "xy")
    upload_dataset(small, repo, hub=hub)
    shutil.rmtree(small / "test")
    assert upload_dataset(small, repo, hub=hub).changed is False
    planned = upload_dataset(small, repo, prune_splits=True, dry_run=True, hub=hub)
    doomed = {operation.path: operation.reason for operation in planned.operations if operation.action == "delete"}
    assert doomed == dict.fromkeys(
        [".qflux/index/test.parquet", next(iter(shards(hub, repo, "test")))], "the source has no split 'test'"
    )
    done = upload_dataset(small, repo, prune_splits=True, hub=hub)
    assert list(done.operations) == list(planned.operations)
    loaded: Any = load_editing_dataset(repo, hub=hub)
    assert [*loaded] == ["train"]
    assert not any("test" in path for path in files(hub, repo))


def test_pruning_deletes_the_files_of_splits_that_something_else_wrote(hub: LocalHub, repo: str, small: Path) -> None:
    push(hub, repo, "validation")
    assert "data/validation-00000-of-00001.parquet" in files(hub, repo)
    upload_dataset(small, repo, hub=hub)
    loaded: Any = load_editing_dataset(repo, hub=hub)
    assert {name: len(split) for name, split in loaded.items()} == {"train": 5, "validation": 2}
    upload_dataset(small, repo, prune_splits=True, hub=hub)
    assert not any("validation" in path for path in files(hub, repo))
    loaded = load_editing_dataset(repo, hub=hub)
    assert [*loaded] == ["train"]


def test_files_and_words_of_others_are_kept(hub: LocalHub, repo: str, small: Path) -> None:
    put(hub, repo, "data/notes.txt", b"mine")
    put(hub, repo, "LICENSE", b"mine, too")
    card = fetch(hub, repo, "README.md").decode()
    put(hub, repo, "README.md", card.replace("An image-editing", "My very own", 1).encode() + b"\nWords at the end.\n")
    lay_split(small, "train", ["z"])
    upload_dataset(small, repo, hub=hub)
    assert fetch(hub, repo, "data/notes.txt") == b"mine"
    assert fetch(hub, repo, "LICENSE") == b"mine, too"
    new = fetch(hub, repo, "README.md").decode()
    assert "My very own" in new
    assert new.endswith("\nWords at the end.\n")
    assert "| `train` | 6 |" in new


def test_without_card_the_card_stays_as_it_is(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(tmp_path, "train", "ab")
    done = upload_dataset(root, repo, card=False, hub=hub)
    assert "README.md" not in files(hub, repo)
    assert "README.md" not in actions(done)
    put_raw(hub, repo, "README.md", b"---\n{broken\n---\nMine.\n")
    lay_split(root, "train", "c")
    upload_dataset(root, repo, card=False, hub=hub)
    assert fetch(hub, repo, "README.md") == b"---\n{broken\n---\nMine.\n"


def test_mirror_replaces_what_push_to_hub_wrote(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    api(hub).create_repo(repo, repo_type="dataset")
    push(hub, repo, "train")
    root = lay_split(tmp_path, "train", "ab")
    done = upload_dataset(root, repo, mirror=True, hub=hub)
    assert actions(done)["data/train-00000-of-00001.parquet"] == "delete"
    assert [row["id"] for row in rows(hub, repo)] == ["a", "b"]
    assert upload_dataset(root, repo, hub=hub).changed is False


# --- visibility, revisions, messages ----------------------------------------------------------------------------


@pytest.mark.parametrize(("wish", "private"), [(None, True), (True, True), (False, False)])
def test_a_new_repo_is_private_unless_public_was_asked_for(
    hub: LocalHub, repo: str, tmp_path: Path, wish: bool | None, private: bool
) -> None:
    report = upload_dataset(lay_split(tmp_path), repo, wish, hub=hub)
    assert report.private is private
    assert api(hub).dataset_info(repo).private is private


@pytest.mark.parametrize("private", [True, False])
def test_an_existing_repo_keeps_its_visibility(hub: LocalHub, repo: str, tmp_path: Path, private: bool) -> None:
    api(hub).create_repo(repo, repo_type="dataset", private=private)
    root = lay_split(tmp_path)
    assert upload_dataset(root, repo, hub=hub).private is private
    assert upload_dataset(root, repo, private, hub=hub).private is private
    assert upload_dataset(root, repo, not private, keep_visibility=True, hub=hub).private is private
    assert api(hub).dataset_info(repo).private is private


def test_a_new_branch_begins_where_main_is(hub: LocalHub, repo: str, small: Path) -> None:
    before = files(hub, repo)
    write(small / "train/training_images/a.txt", "Only here.")
    report = upload_dataset(small, repo, revision="dev", hub=hub)
    assert (report.revision, counts(report)) == ("dev", (0, 1, 0, 4))
    assert prompts(hub, repo, revision="dev")["a"] == "Only here."
    assert files(hub, repo) == before
    assert upload_dataset(small, repo, revision="dev", hub=hub).changed is False
    write(small / "train/training_images/a.txt", "Again.")
    upload_dataset(small, repo, revision="dev", hub=hub)
    assert len(commits(hub, repo, "dev")) == 4
    assert len(commits(hub, repo)) == 2


def test_a_new_branch_is_made_even_when_main_has_all_of_it(hub: LocalHub, repo: str, small: Path) -> None:
    report = upload_dataset(small, repo, revision="dev", hub=hub)
    assert report.changed is False
    assert {branch.name for branch in api(hub).list_repo_refs(repo, repo_type="dataset").branches} == {"dev", "main"}


def test_a_branch_can_be_the_first_thing_in_a_new_repo(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    upload_dataset(lay_split(tmp_path), repo, revision="dev", hub=hub)
    assert [row["id"] for row in rows(hub, repo, revision="dev")] == ["a", "b"]
    assert [*files(hub, repo)] == [".gitattributes"]


def test_a_commit_message_and_a_tag_are_as_asked_for(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    report = upload_dataset(lay_split(tmp_path), repo, commit_message="My words", tag="v1", hub=hub)
    assert commits(hub, repo)[0] == "My words"
    (tag,) = api(hub).list_repo_refs(repo, repo_type="dataset").tags
    assert (tag.name, tag.target_commit) == ("v1", report.commit)


def test_a_tag_names_the_commit_that_is_there_when_nothing_changed(hub: LocalHub, repo: str, small: Path) -> None:
    report = upload_dataset(small, repo, tag="v1", hub=hub)
    (tag,) = api(hub).list_repo_refs(repo, repo_type="dataset").tags
    assert (report.changed, report.tag) == (False, "v1")
    assert tag.target_commit == report.commit
    assert upload_dataset(small, repo, tag="v1", hub=hub).tag is None


def test_a_pull_request_leaves_main_alone(hub: LocalHub, repo: str, small: Path) -> None:
    before = files(hub, repo)
    write(small / "train/training_images/a.txt", "Proposed.")
    report = upload_dataset(small, repo, create_pr=True, hub=hub)
    assert files(hub, repo) == before
    assert report.pull_request == f"{hub.url}/datasets/{repo}/discussions/1"
    assert prompts(hub, repo, revision="refs/pr/1")["a"] == "Proposed."
    write(small / "train/training_images/a.txt", "Proposed anew.")
    upload_dataset(small, repo, revision="refs/pr/1", hub=hub)
    assert prompts(hub, repo, revision="refs/pr/1")["a"] == "Proposed anew."


def test_a_pull_request_can_go_to_a_repo_of_someone_else(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(tmp_path)
    upload_dataset(root, repo, private=False, hub=hub)
    write(root / "train/training_images/a.txt", "Proposed.")
    guest = hub.add_user("guest")
    report = upload_dataset(root, repo, create_pr=True, hub=hub, token=guest)
    assert report.pull_request is not None
    assert prompts(hub, repo, revision="refs/pr/1")["a"] == "Proposed."
    assert prompts(hub, repo)["a"] == "Prompt of a."


def test_one_split_alone_can_be_uploaded(hub: LocalHub, repo: str, data: Path) -> None:
    report = upload_dataset(data / "photo_edits", repo, splits=["test"], hub=hub)
    assert [*report.splits] == ["test"]
    loaded: Any = load_editing_dataset(repo, hub=hub)
    assert [*loaded] == ["test"]


def test_a_split_that_the_source_does_not_have_is_wrong_usage(hub: LocalHub, repo: str, data: Path) -> None:
    with pytest.raises(UsageError, match="has no split 'dev'"):
        upload_dataset(data / "photo_edits", repo, splits=["dev"], hub=hub)


def test_the_example_dataset_is_never_touched(data: Path) -> None:
    assert len(list((data / "photo_edits").rglob("*.txt"))) == 12
