"""``download_dataset``: what was uploaded comes back, verified, and going back up it changes nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features, Image, Value

from qflux_hub import (
    DataError,
    LayoutError,
    LocalHub,
    NotFoundError,
    RefusedError,
    UsageError,
    VerificationError,
    convert_dataset,
    download_dataset,
    ranges,
    upload_dataset,
)
from qflux_hub.cli import run
from tests.builders import lay, lay_split, picture, scan, table, write
from tests.jobtools import Answer, api, forget, network, put, tree, writes


def plain(files: dict[str, bytes]) -> dict[str, bytes]:
    """Files of the directory layout as they come back: prompts without outer white space."""
    return {path: data.strip() if path.endswith(".txt") else data for path, data in files.items()}


@pytest.fixture
def uploaded(hub: LocalHub, repo: str, photos: Path) -> str:
    upload_dataset(photos, repo, hub=hub)
    return repo


def test_a_folder_comes_back_with_its_names_and_bytes(hub, uploaded, photos, tmp_path):
    report = download_dataset(uploaded, tmp_path / "out", hub=hub)
    assert tree(tmp_path / "out") == plain(tree(photos))
    assert (report.layout, report.splits, report.lost) == ("directory", {"train": 9, "test": 3}, [])
    assert report.bytes["kept"] == 0


@pytest.mark.parametrize("name", ["photo_edits", "photo_edits_csv"])
def test_going_back_up_it_changes_nothing_and_sends_nothing(hub, hub_log, repo, photos, tmp_path, name):
    source = photos.parent / name
    before = upload_dataset(source, repo, hub=hub)
    download_dataset(repo, tmp_path / "out", as_="csv" if name.endswith("csv") else "directory", hub=hub)
    forget(hub_log)
    again = upload_dataset(tmp_path / "out", repo, hub=hub)
    assert (again.changed, again.commit, again.bytes["sent"]) == (False, before.commit, 0)
    assert {operation.action for operation in again.operations} == {"keep"}
    assert writes(hub_log) == []


def test_tables_keep_their_order_ids_and_further_columns(hub, repo, tmp_path):
    root = lay(tmp_path / "ds", "x/b.png", "x/a.png", "x/a_mask.png", "y/B.JPG")
    rows = [["2", "x/b.png", "y/B.JPG", "Hi, you", "CC0"], ["1", "x/a.png", "", 'Say "ho"', ""]]
    write(root / "train.csv", table(["id", "control", "target", "prompt", "licence"], *rows))
    upload_dataset(root, repo, hub=hub)
    report = download_dataset(repo, tmp_path / "out", as_="csv", hub=hub)
    assert report.lost == []
    assert (scan(tmp_path / "out").ids, scan(root).ids) == (["2", "1"], ["2", "1"])
    assert [dict(one.extra) for one in scan(tmp_path / "out").samples] == [{"licence": "CC0"}, {"licence": ""}]
    images = {path: data for path, data in tree(root).items() if path != "train.csv"}
    assert {path: data for path, data in tree(tmp_path / "out").items() if path != "train.csv"} == images
    assert upload_dataset(tmp_path / "out", repo, hub=hub).changed is False


def test_what_a_layout_loses_is_told(hub, repo, tmp_path):
    root = lay(tmp_path / "ds", "a.png")
    write(root / "train.csv", table(["id", "control", "prompt", "note"], ["x/y", "a.png", "Hi", "n"]))
    upload_dataset(root, repo, hub=hub)
    report = download_dataset(repo, tmp_path / "out", hub=hub)
    assert {loss.what: loss.count for loss in report.lost} == {"id": 1, "column note": 1, "file name": 1}
    assert tree(tmp_path / "out").keys() == {"train/control_images/x_y.png", "train/training_images/x_y.txt"}


def test_the_same_command_again_fetches_no_image(hub, hub_log, uploaded, tmp_path):
    first = download_dataset(uploaded, tmp_path / "out", hub=hub)
    again = download_dataset(uploaded, tmp_path / "out", hub=hub)
    assert (again.bytes["read"], again.bytes["written"], again.bytes["kept"]) == (0, 0, first.bytes["written"])


def test_a_download_that_was_stopped_fetches_the_rest(hub, uploaded, photos, tmp_path):
    download_dataset(uploaded, tmp_path / "out", hub=hub)
    gone = tmp_path / "out/train/training_images/suit_blue.webp"
    size = gone.stat().st_size
    gone.unlink()
    report = download_dataset(uploaded, tmp_path / "out", hub=hub)
    assert (report.bytes["read"], report.bytes["written"]) == (size, size)
    assert tree(tmp_path / "out") == plain(tree(photos))


def test_a_file_that_differs_is_not_overwritten_without_force(hub, uploaded, photos, tmp_path):
    mine = write(tmp_path / "out/train/training_images/suit_blue.webp", b"mine")
    with pytest.raises(RefusedError, match="suit_blue"):
        download_dataset(uploaded, tmp_path / "out", hub=hub)
    assert tree(tmp_path / "out") == {"train/training_images/suit_blue.webp": b"mine"}
    download_dataset(uploaded, tmp_path / "out", hub=hub, force=True)
    assert mine.read_bytes() == (photos / "train/training_images/suit_blue.webp").read_bytes()


def test_only_what_is_wanted_is_fetched(hub, hub_log, uploaded, photos, tmp_path):
    report = download_dataset(uploaded, tmp_path / "out", hub=hub, splits=["train"], only=["cat_eyes*"])
    files = {path for path in tree(photos) if path.startswith("train/") and "/cat_eyes" in path}
    assert tree(tmp_path / "out").keys() == files
    assert report.bytes["read"] <= report.bytes["written"] + 2 * ranges.GAP
    with pytest.raises(UsageError, match="has no sample 'dog'"):
        download_dataset(uploaded, tmp_path / "none", hub=hub, only=["dog"])
    assert not (tmp_path / "none").exists()


def test_columns_of_a_repo_that_qflux_wrote_are_not_asked_for(hub, uploaded, tmp_path):
    with pytest.raises(UsageError, match="was written by qflux"):
        download_dataset(uploaded, tmp_path / "out", hub=hub, columns={"prompt": "caption"})


def test_neighbours_are_fetched_in_one_request(hub, hub_log, repo, tmp_path):
    root = lay_split(tmp_path / "ds", bases=[f"s{number:03}" for number in range(60)])
    upload_dataset(root, repo, hub=hub)
    forget(hub_log)
    download_dataset(repo, tmp_path / "out", hub=hub)
    assert tree(tmp_path / "out").keys() == tree(root).keys()
    forget_after = [request for request in hub_log if "/resolve/" in request.path]
    assert len(forget_after) < 15


def test_an_older_revision_comes_back_as_it_was(hub, repo, tmp_path):
    root = lay_split(tmp_path / "ds", bases="ab")
    old = upload_dataset(root, repo, hub=hub).commit
    write(root / "train/training_images/a.txt", "New.")
    upload_dataset(root, repo, hub=hub)
    download_dataset(repo, tmp_path / "old", hub=hub, revision=old)
    assert (tmp_path / "old/train/training_images/a.txt").read_text() == "Prompt of a."
    download_dataset(repo, tmp_path / "new", hub=hub)
    assert (tmp_path / "new/train/training_images/a.txt").read_text() == "New."


@pytest.mark.parametrize("what", ["repo", "revision", "split"])
def test_what_is_not_there_is_not_found(hub, uploaded, tmp_path, what):
    options = {"revision": {"revision": "nope"}, "split": {"splits": ["val"]}}.get(what, {})
    with pytest.raises(NotFoundError) as error:
        download_dataset(uploaded + "x" * (what == "repo"), tmp_path / "out", hub=hub, **options)
    assert error.value.code == 4
    assert not (tmp_path / "out").exists()
    if what == "split":
        assert error.value.hint == "It has: train, test."


def test_a_byte_that_was_altered_on_the_way_is_noticed(hub, repo, tmp_path):
    root = lay_split(tmp_path / "ds", bases="ab")
    needle = picture("train/control_images/b.png")
    upload_dataset(root, repo, hub=hub)

    def flip(method: str, path: str, answer: Answer) -> Answer:
        at = answer.body.find(needle)
        if at < 0:
            return answer
        return Answer(answer.status, answer.headers, answer.body[: at + 9] + b"\xff" + answer.body[at + 10 :])

    with network(hub, after=flip) as way:
        with pytest.raises(VerificationError, match=r"train/control_images/b\.png came with other bytes") as error:
            download_dataset(repo, tmp_path / "out", hub=way.url, token=hub.token)
    assert error.value.code == 7
    assert not [path for path in tree(tmp_path / "out") if "b.png" in path and "control" in path]
    assert not [path for path in tree(tmp_path / "out") if "qflux-part" in path]


def test_shards_that_something_else_replaced_are_not_believed(hub, repo, tmp_path):
    root = lay_split(tmp_path / "ds", bases="ab")
    report = upload_dataset(root, repo, hub=hub)
    shard = next(one.path for one in report.operations if one.path.startswith("data/"))
    put(hub, repo, shard, b"PAR1 no more")
    with pytest.raises(DataError, match="2 errors; nothing was written") as error:
        download_dataset(repo, tmp_path / "out", hub=hub)
    codes = [finding.code for finding in error.value.report.findings]
    assert codes == ["broken-index", "undecodable-table", "empty-split"]


def test_many_images_larger_than_a_window_come_back(hub, repo, tmp_path):
    root = lay_split(tmp_path / "ds", bases="abcdefgh")
    for number, path in enumerate(sorted((root / "train/control_images").iterdir())):
        path.write_bytes(picture(path.name) + bytes([number]) * (ranges.WINDOW // 3))
    upload_dataset(root, repo, hub=hub)
    download_dataset(repo, tmp_path / "out", hub=hub)
    assert tree(tmp_path / "out") == plain(tree(root))


def test_the_command_prints_what_the_contract_says(hub, uploaded, tmp_path, capfd):
    command = ["download-dataset", uploaded, str(tmp_path / "out"), "--hub", hub.url, "--token", hub.token]
    assert run([*command, "--json", "--as", "csv"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert {*said} == {"source", "dest", "layout", "splits", "lost", "bytes", "findings", "seconds"}
    assert (said["source"], said["layout"], said["splits"]) == (uploaded, "csv", {"train": 9, "test": 3})
    assert run([*command, "--as", "csv", "-q"]) == 0
    assert capfd.readouterr().out == f"{tmp_path / 'out'}\n"


# --- repos that something else wrote ----------------------------------------------------------------------------


def test_a_dataset_of_push_to_hub_comes_as_files(hub, repo, tmp_path):
    controls = [[{"bytes": picture(f"{n}{k}.png"), "path": f"{n}{k}.png"} for k in range(2)] for n in "ba"]
    targets = [{"bytes": picture("b.jpg"), "path": "b.jpg"}, None]
    rows = {"id": ["b", "a"], "prompt": ["Do b.", " Do a.\n"], "control_images": controls, "target_image": targets}
    features = Features(
        {"id": Value("string"), "prompt": Value("string"), "control_images": [Image()], "target_image": Image()}
    )
    rows_table = pa.Table.from_pydict(
        rows | {"n": [1, 2]}, schema=features.arrow_schema.append(pa.field("n", pa.int64()))
    )
    api(hub).create_repo(repo, repo_type="dataset")
    out = io.BytesIO()
    pq.write_table(rows_table, out)
    put(hub, repo, "data/train-00000-of-00001.parquet", out.getvalue())
    report = download_dataset(repo, tmp_path / "csv", as_="csv", hub=hub)
    read = scan(tmp_path / "csv")
    assert (read.ids, [dict(one.extra) for one in read.samples]) == (["b", "a"], [{"n": "1"}, {"n": "2"}])
    assert {loss.what: loss.count for loss in report.lost} == {"prompt": 1}
    assert [len(one.controls) for one in read.samples] == [2, 2]
    with read["b"].controls[1].open() as file:
        assert file.read() == picture("b1.png")
    download_dataset(repo, tmp_path / "parquet", as_="parquet", hub=hub)
    assert scan(tmp_path / "parquet")["a"].prompt == " Do a.\n"


@pytest.mark.parametrize("name", ["photo_edits", "photo_edits_csv"])
def test_a_repo_of_plain_files_is_read_through_the_same_layouts(hub, repo, photos, tmp_path, name):
    source = photos.parent / name
    api(hub).create_repo(repo, repo_type="dataset")
    api(hub).upload_folder(repo_id=repo, repo_type="dataset", folder_path=source)
    report = download_dataset(repo, tmp_path / "out", as_="csv", splits=["test"], hub=hub)
    convert_dataset(source, tmp_path / "local", as_="csv", splits=["test"])
    assert tree(tmp_path / "out") == tree(tmp_path / "local")
    assert report.bytes["read"] < sum(map(len, tree(source).values()))


def test_splits_with_and_without_an_index_come_together(hub, repo, tmp_path):
    upload_dataset(lay_split(tmp_path / "ds", "train", "ab"), repo, hub=hub)
    convert_dataset(lay_split(tmp_path / "more", "test", "c"), tmp_path / "parquet", as_="parquet")
    put(
        hub,
        repo,
        "data/test-00000-of-00001.parquet",
        (tmp_path / "parquet/data/test-00000-of-00001.parquet").read_bytes(),
    )
    report = download_dataset(repo, tmp_path / "out", hub=hub)
    assert report.splits == {"train": 2, "test": 1}
    assert tree(tmp_path / "out").keys() == {**tree(tmp_path / "ds"), **tree(tmp_path / "more")}.keys()


def test_a_repo_that_holds_no_dataset_says_what_each_layout_misses(hub, repo, tmp_path):
    api(hub).create_repo(repo, repo_type="dataset")
    put(hub, repo, "notes.txt", b"hi")
    with pytest.raises(LayoutError, match="parquet: no Parquet file"):
        download_dataset(repo, tmp_path / "out", hub=hub)
