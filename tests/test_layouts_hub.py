"""Every layout on its way to the Hub and back: uploaded, downloaded, and lying in a repo as it is."""

from __future__ import annotations

import threading
import time

import pytest

from qflux_hub import (
    VerificationError,
    convert_dataset,
    download_dataset,
    layouts,
    preview_dataset,
    upload_dataset,
)
from tests.builders import lay, lay_split, picture
from tests.jobtools import Answer, api, forget, network, tree, writes


@pytest.fixture(params=layouts.names())
def layout(request):
    return request.param


@pytest.fixture
def source(tmp_path, layout):
    """Two splits in the layout, with all that it can hold of several controls and a mask."""
    further = ("train/control_images/a_control_1.png", "train/control_images/a_mask.png")
    root = lay(lay_split(tmp_path / "photos", bases=["a", "b", "c d"]), *further)
    convert_dataset(lay_split(root, "test", "x"), tmp_path / layout, as_=layout)
    return tmp_path / layout


def test_what_was_uploaded_from_any_layout_comes_back_and_sends_nothing(hub, hub_log, repo, tmp_path, layout, source):
    before = upload_dataset(source, repo, hub=hub)
    assert {split: own.samples for split, own in before.splits.items()} == {"train": 3, "test": 1}
    assert download_dataset(repo, tmp_path / "back", as_=layout, hub=hub).lost == []
    assert tree(tmp_path / "back") == tree(source)
    forget(hub_log)
    again = upload_dataset(tmp_path / "back", repo, hub=hub)
    assert (again.changed, again.commit, again.bytes["sent"]) == (False, before.commit, 0)
    assert writes(hub_log) == []


def test_a_repo_of_any_layout_is_read_as_it_lies_there(hub, repo, tmp_path, layout, source):
    api(hub).create_repo(repo, repo_type="dataset")
    api(hub).upload_folder(repo_id=repo, repo_type="dataset", folder_path=source)
    assert download_dataset(repo, tmp_path / "back", as_=layout, hub=hub).lost == []
    assert tree(tmp_path / "back") == tree(source)
    some = download_dataset(repo, tmp_path / "some", as_=layout, hub=hub, splits=["train"], only=["a"])
    assert some.splits == {"train": 1}
    here = preview_dataset(source, out=tmp_path / "here.html")
    there = preview_dataset(repo, out=tmp_path / "there.html", hub=hub)
    assert (there.splits, there.pictures["made"], there.pictures["unreadable"]) == (
        here.splits,
        here.pictures["made"],
        0,
    )


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
def test_of_large_files_in_a_repo_only_what_is_wanted_is_fetched(hub, repo, tmp_path, layout):
    root = lay_split(tmp_path / "large", bases=[f"s{number}" for number in range(8)])
    for path in root.rglob("*.png"):
        path.write_bytes(picture(path.name) + path.name.encode() * 80_000)
    convert_dataset(root, tmp_path / "packed", as_=layout)
    api(hub).create_repo(repo, repo_type="dataset")
    api(hub).upload_folder(repo_id=repo, repo_type="dataset", folder_path=tmp_path / "packed")
    report = download_dataset(repo, tmp_path / "some", hub=hub, only=["s3"])
    everything = sum(map(len, tree(tmp_path / "packed").values()))
    assert report.bytes["written"] < report.bytes["read"] < everything * 0.5
    assert tree(tmp_path / "some") == {path: data for path, data in tree(root).items() if "s3" in path} | {
        "train/training_images/s3.txt": b"Prompt of s3."
    }


def test_every_file_of_a_plain_repo_is_asked_for_once(hub, hub_log, repo, tmp_path):
    root = lay_split(tmp_path / "plain", bases=[f"{base}{end}" for base in "abc" for end in ("", "-1", ".x", "_2")])
    api(hub).create_repo(repo, repo_type="dataset")
    api(hub).upload_folder(repo_id=repo, repo_type="dataset", folder_path=root)
    forget(hub_log)
    download_dataset(repo, tmp_path / "out", hub=hub)
    wanted = sorted(path.removeprefix("train/") for path in tree(root))

    def asked():
        return sorted(one.path.partition("/train/")[2] for one in hub_log if "/train/" in one.path)

    until = time.monotonic() + 60  # a request is logged after its answer
    while len(asked()) < len(wanted) and time.monotonic() < until:
        time.sleep(0.02)
    assert asked() == wanted


def test_many_files_of_a_plain_repo_are_asked_for_at_once(hub, repo, tmp_path):
    root = lay_split(tmp_path / "plain", bases=[f"s{number:02}" for number in range(16)])
    api(hub).create_repo(repo, repo_type="dataset")
    api(hub).upload_folder(repo_id=repo, repo_type="dataset", folder_path=root)
    here, most, lock = set[str](), [0], threading.Lock()

    def wait(_: str, path: str) -> None:
        if path.endswith(".png"):
            with lock:
                here.add(path)
                most[0] = max(most[0], len(here))
            time.sleep(0.05)
            with lock:
                here.discard(path)

    with network(hub, before=wait) as way:
        download_dataset(repo, tmp_path / "out", hub=way.url, token=hub.token)
    assert most[0] > 8


def test_a_large_file_of_a_plain_repo_comes_in_pieces_and_altered_is_not_written(hub, repo, tmp_path):
    root = lay_split(tmp_path / "plain", bases="a")
    large = root / "train/training_images/a.png"
    large.write_bytes(picture("a") + bytes(20 << 20) + b"the end")
    api(hub).create_repo(repo, repo_type="dataset")
    api(hub).upload_folder(repo_id=repo, repo_type="dataset", folder_path=root)
    sizes: list[int] = []

    def look(method: str, path: str, answer: Answer) -> Answer:
        sizes.append(len(answer.body))
        return answer

    with network(hub, after=look) as way:
        download_dataset(repo, tmp_path / "out", hub=way.url, token=hub.token)
    assert (tmp_path / "out/train/training_images/a.png").read_bytes() == large.read_bytes()
    assert (max(sizes), sizes.count(max(sizes))) == (8 << 20, 2)

    def alter(method: str, path: str, answer: Answer) -> Answer:
        return Answer(answer.status, answer.headers, answer.body.replace(b"the end", b"The end"))

    with network(hub, after=alter) as way, pytest.raises(VerificationError, match=r"a\.png came with other bytes"):
        download_dataset(repo, tmp_path / "again", hub=way.url, token=hub.token)
    assert not (tmp_path / "again/train/training_images/a.png").exists()


def test_bytes_of_a_plain_repo_that_come_altered_are_not_written(hub, repo, tmp_path):
    root = lay_split(tmp_path / "plain", bases="ab")
    api(hub).create_repo(repo, repo_type="dataset")
    api(hub).upload_folder(repo_id=repo, repo_type="dataset", folder_path=root)
    needle = picture("train/control_images/b.png")

    def flip(method: str, path: str, answer: Answer) -> Answer:
        if needle not in answer.body:
            return answer
        return Answer(answer.status, answer.headers, answer.body.replace(needle, needle[:-1] + b"?"))

    with network(hub, after=flip) as way:
        with pytest.raises(VerificationError, match=r"control_images/b\.png of .* arrives with other bytes") as error:
            download_dataset(repo, tmp_path / "out", hub=way.url, token=hub.token)
        with pytest.raises(VerificationError):
            download_dataset(repo, tmp_path / "out", hub=way.url, token=hub.token, only=["b"])
    assert error.value.code == 7
    assert not any("control_images/b.png" in path or path.endswith("b.txt") for path in tree(tmp_path / "out"))
