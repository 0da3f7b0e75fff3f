"""Uploads while others commit, over networks that lose, alter and delay, and into interruptions.

The network is a real server between the real clients and the hub (``jobtools.network``).
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from qflux_hub import ConflictError, HubError, VerificationError, upload_dataset
from qflux_hub.localhub import LocalHub
from tests.builders import lay_split, write
from tests.jobtools import (
    Answer,
    api,
    commits,
    environment,
    fetch,
    files,
    interrupt,
    is_commit,
    lay_endless,
    network,
    once,
    prompts,
    put,
    rows,
    start,
    wait_until_open,
)


@pytest.fixture
def edited(tmp_path: Path, hub: LocalHub, repo: str) -> Path:
    """A dataset that was uploaded to ``repo``, and whose sample ``c`` has changed since."""
    root = lay_split(lay_split(tmp_path / "ds", "train", "abc"), "test", "x")
    upload_dataset(root, repo, hub=hub)
    write(root / "train/training_images/c.txt", "Another prompt.")
    return root


# --- others commit, too -----------------------------------------------------------------------------------------


def test_a_commit_of_an_unrelated_file_in_between_is_kept(hub: LocalHub, repo: str, edited: Path) -> None:
    with network(hub, before=once(lambda: put(hub, repo, "notes.txt", b"theirs"))) as way:
        report = upload_dataset(edited, repo, hub=way.url, token=hub.token)
    assert report.changed is True
    assert fetch(hub, repo, "notes.txt") == b"theirs"
    assert prompts(hub, repo)["c"] == "Another prompt."
    assert len(commits(hub, repo)) == 4
    assert sum("/commit/" in request for request in way.seen) == 2
    assert sum("/v2/shards" in request for request in way.seen) == 3  # the data once, the index twice


def test_a_card_that_was_written_in_between_is_merged_into(hub: LocalHub, repo: str, edited: Path) -> None:
    def words() -> None:
        put(hub, repo, "README.md", fetch(hub, repo, "README.md") + b"\nTheir words.\n")

    with network(hub, before=once(words)) as way:
        upload_dataset(edited, repo, hub=way.url, token=hub.token)
    assert fetch(hub, repo, "README.md").endswith(b"\nTheir words.\n")


def test_what_others_added_in_between_is_kept_and_listed(
    hub: LocalHub, repo: str, tmp_path: Path, edited: Path
) -> None:
    other = lay_split(tmp_path / "other", "train", "abcd")
    with network(hub, before=once(lambda: upload_dataset(other, repo, hub=hub))) as way:
        report = upload_dataset(edited, repo, hub=way.url, token=hub.token)
    assert {name: prompts(hub, repo)[name] for name in "cd"} == {"c": "Another prompt.", "d": "Prompt of d."}
    assert [finding.message for finding in report.findings] == ["train/d was added on the Hub by others; it is kept."]


def test_a_sample_that_others_changed_in_between_differently_is_a_conflict(
    hub: LocalHub, repo: str, tmp_path: Path, edited: Path
) -> None:
    other = lay_split(tmp_path / "other", "train", "abc")
    write(other / "train/training_images/c.txt", "A third prompt.")
    with network(hub, before=once(lambda: upload_dataset(other, repo, hub=hub))) as way:
        with pytest.raises(ConflictError, match=r"same samples of .*: train/c; nothing was published") as caught:
            upload_dataset(edited, repo, hub=way.url, token=hub.token)
    assert caught.value.code == 6
    assert [finding.code for finding in caught.value.report.findings] == ["edit-conflict"]
    assert prompts(hub, repo)["c"] == "A third prompt."


def test_a_shard_that_was_removed_by_hand_in_between_is_written_again(hub: LocalHub, repo: str, edited: Path) -> None:
    def remove() -> None:
        (path,) = [path for path in files(hub, repo) if path.startswith("data/train/")]
        api(hub).delete_file(path, repo, repo_type="dataset")

    with network(hub, before=once(remove)) as way:
        upload_dataset(edited, repo, hub=way.url, token=hub.token)
    assert prompts(hub, repo)["c"] == "Another prompt."


def test_a_change_of_another_split_in_between_is_kept(hub: LocalHub, repo: str, tmp_path: Path, edited: Path) -> None:
    other = lay_split(tmp_path / "other", "test", "xyz")
    with network(hub, before=once(lambda: upload_dataset(other, repo, hub=hub))) as way:
        upload_dataset(edited, repo, splits=["train"], hub=way.url, token=hub.token)
    assert prompts(hub, repo)["c"] == "Another prompt."
    assert [*prompts(hub, repo, "test")] == ["x", "y", "z"]


def test_somebody_who_always_commits_first_is_a_conflict_in_the_end(hub: LocalHub, repo: str, edited: Path) -> None:
    count = iter(range(9))

    def before(method: str, path: str) -> None:
        if is_commit(method, path):
            put(hub, repo, "notes.txt", str(next(count)).encode())

    with network(hub, before=before) as way:
        with pytest.raises(ConflictError, match="changed 3 times"):
            upload_dataset(edited, repo, hub=way.url, token=hub.token)
    assert prompts(hub, repo)["c"] == "Prompt of c."
    upload_dataset(edited, repo, hub=hub)
    assert prompts(hub, repo)["c"] == "Another prompt."


def test_of_two_first_uploads_at_once_none_undoes_the_other(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    one, two = lay_split(tmp_path / "one", "train", "ab"), lay_split(tmp_path / "two", "test", "xy")
    with network(hub, before=once(lambda: upload_dataset(two, repo, hub=hub))) as way:
        upload_dataset(one, repo, hub=way.url, token=hub.token)
    assert [*prompts(hub, repo)] == ["a", "b"]
    assert [*prompts(hub, repo, "test")] == ["x", "y"]
    card = fetch(hub, repo, "README.md").decode()
    assert "`train`" in card
    assert "`test`" in card


def test_of_two_first_uploads_of_the_same_split_all_samples_arrive(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    one, two = lay_split(tmp_path / "one", "train", "ab"), lay_split(tmp_path / "two", "train", "xy")
    with network(hub, before=once(lambda: upload_dataset(two, repo, hub=hub))) as way:
        upload_dataset(one, repo, hub=way.url, token=hub.token)
    assert [*prompts(hub, repo)] == ["a", "b", "x", "y"]


def test_uploads_of_many_splits_at_once_all_arrive(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    api(hub).create_repo(repo, repo_type="dataset")
    failures: list[BaseException] = []

    def upload(split: str) -> None:
        try:
            upload_dataset(lay_split(tmp_path / split, split, "ab"), repo, hub=hub)
        except BaseException as error:  # noqa: BLE001 - to be looked at in the main thread
            failures.append(error)

    threads = [threading.Thread(target=upload, args=(f"part{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {path.split("/")[1] for path in files(hub, repo) if path.startswith("data/")} == {"part0", "part1", "part2"}


# --- answers that are lost --------------------------------------------------------------------------------------


def lose(method: str, path: str, answer: Answer) -> Answer | None:
    return None if is_commit(method, path) else answer


def test_a_commit_whose_answer_was_lost_is_recognised_and_not_repeated(hub: LocalHub, repo: str, edited: Path) -> None:
    with network(hub, after=lose) as way:
        report = upload_dataset(edited, repo, tag="v1", hub=way.url, token=hub.token)
    assert report.changed is True
    assert report.commit == api(hub).dataset_info(repo).sha
    assert report.commit_url == f"{way.url}/datasets/{repo}/commit/{report.commit}"
    assert len(commits(hub, repo)) == 3
    assert [tag.target_commit for tag in api(hub).list_repo_refs(repo, repo_type="dataset").tags] == [report.commit]


def test_a_commit_that_did_not_happen_is_an_error_of_the_network(hub: LocalHub, repo: str, edited: Path) -> None:
    def cut(method: str, path: str) -> None:
        if is_commit(method, path):
            raise ConnectionError

    with network(hub, before=cut) as way:
        with pytest.raises(HubError) as caught:
            upload_dataset(edited, repo, hub=way.url, token=hub.token)
    assert caught.value.code == 5
    assert len(commits(hub, repo)) == 2
    assert upload_dataset(edited, repo, hub=hub).changed is True


@pytest.mark.parametrize("status", [500, 503])
def test_a_hub_that_fails_to_commit_is_an_error_of_the_hub(hub: LocalHub, repo: str, edited: Path, status: int) -> None:
    def fail(method: str, path: str) -> Answer | None:
        overloaded = Answer(status, [("content-type", "application/json")], b'{"error": "overloaded"}')
        return overloaded if is_commit(method, path) else None

    with network(hub, before=fail) as way:
        with pytest.raises(HubError, match=f"answered {status}.*overloaded"):
            upload_dataset(edited, repo, hub=way.url, token=hub.token)
    assert len(commits(hub, repo)) == 2


# --- bytes that are altered -------------------------------------------------------------------------------------


def alter_reads(_method: str, _path: str, answer: Answer) -> Answer:
    """Every range of content that is read back has one bit turned."""
    if answer.status == 206:
        answer.body = bytes([answer.body[0] ^ 1]) + answer.body[1:]
    return answer


def test_bytes_that_come_back_otherwise_are_found_out(hub: LocalHub, repo: str, edited: Path) -> None:
    with network(hub, after=alter_reads) as way:
        with pytest.raises(VerificationError, match=r"came back from data/train/.* with other bytes") as caught:
            upload_dataset(edited, repo, hub=way.url, token=hub.token)
    assert caught.value.code == 7


def test_a_commit_that_lists_something_else_is_found_out(hub: LocalHub, repo: str, edited: Path) -> None:
    def after(_method: str, path: str, answer: Answer) -> Answer:
        if f"/api/datasets/{repo}/revision/" in path:
            answer.body = answer.body.replace(b'"sha256":"', b'"sha256":"0')
        return answer

    with network(hub, after=after) as way:
        with pytest.raises(VerificationError, match="is not what was sent"):
            upload_dataset(edited, repo, hub=way.url, token=hub.token)


def test_a_shard_that_the_listing_hid_is_found_out_and_goes_the_next_time(
    hub: LocalHub, repo: str, tmp_path: Path
) -> None:
    """Its first sample is gone, so that it gets another name; under the old one, its samples would be there twice."""
    root = lay_split(tmp_path / "ds", "train", "abc")
    upload_dataset(root, repo, hub=hub)
    (old,) = [path for path in files(hub, repo) if path.startswith("data/")]
    for path in list(root.rglob("a.*")):
        path.unlink()

    def hide(_method: str, path: str, answer: Answer) -> Answer:
        if path.startswith(f"/api/datasets/{repo}?"):
            answer.body = answer.body.replace(old.encode(), old.replace("train", "trbin").encode())
        return answer

    with network(hub, after=hide) as way:
        with pytest.raises(VerificationError, match=f"is not what was sent: {old} is still there"):
            upload_dataset(root, repo, hub=way.url, token=hub.token)
    upload_dataset(root, repo, hub=hub)
    assert [*prompts(hub, repo)] == ["b", "c"]
    assert old not in files(hub, repo)


@pytest.mark.parametrize("how", ["other", "fewer"])
def test_what_others_added_is_not_packed_anew_from_altered_bytes(
    hub: LocalHub, repo: str, tmp_path: Path, how: str
) -> None:
    """Their image is read back, because its shard is written anew; a bit that turns on the way must not be kept."""
    mine, theirs = lay_split(tmp_path / "mine", "train", "abc"), lay_split(tmp_path / "theirs", "train", "abcd")
    altering = False

    def alter(_method: str, _path: str, answer: Answer) -> Answer:
        at = answer.body.find(b"PNG")
        if not altering or answer.status != 206 or at < 0:
            return answer
        if how == "other":
            answer.body = answer.body[: at + 50] + bytes([answer.body[at + 50] ^ 1]) + answer.body[at + 51 :]
        elif not answer.body.endswith(b"PAR1"):  # what reaches the footer is read for that alone
            answer.body = b"<html>Down for maintenance.</html>"
        return answer

    with network(hub, after=alter) as way:
        upload_dataset(mine, repo, hub=way.url, token=hub.token)
        upload_dataset(theirs, repo, hub=hub)
        write(mine / "train/training_images/c.txt", "Another prompt.")
        altering = True
        with pytest.raises(
            VerificationError, match=r"d\.png came from the Hub with other bytes .*nothing was published"
        ):
            upload_dataset(mine, repo, hub=way.url, token=hub.token)
        assert len(commits(hub, repo)) == 3
        altering = False
        upload_dataset(mine, repo, hub=way.url, token=hub.token)
    there = {row["id"]: row["target_image"]["bytes"] for row in rows(hub, repo)}
    assert there["d"] == (theirs / "train/training_images/d.png").read_bytes()


@pytest.mark.parametrize("how", ["refused", "altered"])
def test_texts_of_others_that_cannot_be_read_are_an_error_of_hub_or_verification(
    hub: LocalHub, repo: str, tmp_path: Path, how: str
) -> None:
    mine, theirs = lay_split(tmp_path / "mine", "train", "abc"), lay_split(tmp_path / "theirs", "train", "abcd")
    broken = False

    def after(_method: str, _path: str, answer: Answer) -> Answer:
        if not broken or answer.status != 206:
            return answer
        return Answer(410, [], b"gone") if how == "refused" else Answer(206, answer.headers, answer.body[::-1])

    with network(hub, after=after) as way:
        upload_dataset(mine, repo, hub=way.url, token=hub.token)
        upload_dataset(theirs, repo, hub=hub)
        write(mine / "train/training_images/c.txt", "Another prompt.")
        broken = True
        with pytest.raises(VerificationError if how == "altered" else HubError):
            upload_dataset(mine, repo, hub=way.url, token=hub.token)
    assert len(commits(hub, repo)) == 3


def test_a_card_that_comes_altered_is_not_merged_into(hub: LocalHub, repo: str, edited: Path) -> None:
    put(hub, repo, "README.md", fetch(hub, repo, "README.md") + b"\nOur words.\n")

    def alter(_method: str, path: str, answer: Answer) -> Answer:
        if path.endswith("README.md"):
            answer.body = answer.body.replace(b"Our words", b"Our wordz")
        return answer

    with network(hub, after=alter) as way:
        with pytest.raises(VerificationError, match=r"README\.md came with other bytes"):
            upload_dataset(edited, repo, hub=way.url, token=hub.token)
    upload_dataset(edited, repo, hub=hub)
    assert b"Our words." in fetch(hub, repo, "README.md")


# --- interruptions ----------------------------------------------------------------------------------------------


def lay_large(root: Path, megabytes: int) -> Path:
    """Images of a megabyte of noise each."""
    for number in range(megabytes):
        lay_split(root, "train", [f"s{number:03}"], ".jpg")
        path = root / f"train/control_images/s{number:03}.jpg"
        data = path.read_bytes()
        path.write_bytes(data[:-2] + os.urandom(1_000_000).replace(b"\xff", b"\xfe") + data[-2:])
    return root


def test_ctrl_c_ends_an_upload_soon_with_nothing_published_and_the_next_run_completes(
    hub: LocalHub, repo: str, tmp_path: Path
) -> None:
    root = lay_large(tmp_path / "ds", 100)
    sending = threading.Event()

    def slow(_method: str, path: str) -> None:
        if "/xorbs/" in path:
            sending.set()
            time.sleep(0.3)

    env = environment(tmp_path, HF_TOKEN=hub.token)
    with network(hub, before=slow) as way:
        upload = ("upload-dataset", str(root), repo, "--shard-size", "20MB")
        with start(*upload, env=env | {"HF_ENDPOINT": way.url}) as run:
            assert sending.wait(30)
            time.sleep(0.3)
            _, said = interrupt(run)
    assert run.returncode == 130
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert [path for path in files(hub, repo) if path.startswith("data/")] == []
    report = upload_dataset(root, repo, hub=hub, shard_size=20_000_000)
    assert report.changed is True
    assert len(rows(hub, repo)) == 100


def test_ctrl_c_while_images_are_read_ends_soon(tmp_path: Path) -> None:
    endless = lay_endless(tmp_path / "ds")
    with start("check", str(tmp_path / "ds"), env=environment(tmp_path)) as run:
        wait_until_open(run, endless)
        _, said = interrupt(run)
    assert (run.returncode, "Interrupted" in said, "Traceback" in said) == (130, True, False)
