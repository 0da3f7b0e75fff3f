"""Uploads that were killed, starved or left without an answer: what shows, what is told, and what the next run sends.

``make faults`` does the same at random points; these are the points that must never fail.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from qflux_hub import HubError, QfluxError, RefusedError, upload_dataset
from qflux_hub.hub import Hub, Token
from qflux_hub.localhub import LocalHub, RequestLog
from qflux_hub.repos import Add
from tests.builders import lay_split, write
from tests.jobtools import (
    Answer,
    api,
    commits,
    environment,
    files,
    forget,
    is_commit,
    network,
    prompts,
    qflux,
    rows,
    start,
)
from tests.test_sync import settle
from tests.test_upload_network import lay_large

SHARD = 2_000_000
Quick = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Quick:
    """Patience for so many seconds, by default a tenth of one, and for four times that with transfers."""

    @contextmanager
    def patience(seconds: float = 0.1) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setenv("QFLUX_PATIENCE", str(seconds))
            yield

    return patience


def content(log: list[RequestLog]) -> int:
    """Bytes of files that arrived."""
    return sum(request.bytes_received for request in log if "/xorbs/" in request.path or "/lfs/object/" in request.path)


# --- killed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", ["0", "1"], ids=["xet", "lfs"])
def test_after_a_kill_nothing_shows_and_only_what_was_under_way_is_sent_again(
    hub: LocalHub, repo: str, tmp_path: Path, hub_log: list[RequestLog], lane: str
) -> None:
    root = settle(lay_large(tmp_path / "ds", 10))
    env = environment(tmp_path, HF_TOKEN=hub.token, HF_HUB_DISABLE_XET=lane)
    stored, enough = [], threading.Event()

    def count(method: str, path: str, answer: Answer) -> Answer:
        """A shard is stored when the list of its chunks is, or its LFS object."""
        if answer.status == 200 and ("/v2/shards" in path or "/lfs/verify/" in path):
            stored.append(path)
            if len(stored) == 3:
                enough.set()
                time.sleep(60)  # the answer does not come before the kill
        return answer

    forget(hub_log)
    upload = ("upload-dataset", str(root), repo, "--shard-size", str(SHARD), "--quiet")
    with network(hub, after=count) as way:
        with start(*upload, env=env | {"HF_ENDPOINT": way.url}) as run:
            assert enough.wait(60)
            run.kill()
    assert [path for path in files(hub, repo) if path.startswith("data/")] == []
    assert commits(hub, repo) == ["initial commit"]
    planned = upload_dataset(root, repo, hub=hub, shard_size=SHARD, dry_run=True)
    assert (planned.splits["train"].added, planned.splits["train"].unchanged) == (10, 0)
    with start(*upload, env=env | {"HF_ENDPOINT": hub.url}) as again:
        _, said = again.communicate(timeout=60)
    assert (again.returncode, said) == (0, "")
    total = sum(path.stat().st_size for path in root.rglob("*.jpg"))
    under_way = 2 * SHARD * 16 // 10  # one per worker, and one that is packed meanwhile
    assert total < content(hub_log) < total + under_way + 200_000
    assert len(rows(hub, repo)) == 10
    assert len(commits(hub, repo)) == 2
    assert upload_dataset(root, repo, hub=hub).changed is False


def test_a_killed_upload_of_edits_leaves_the_old_state_whole(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(tmp_path / "ds", "train", "abc")
    upload_dataset(root, repo, hub=hub)
    write(root / "train/training_images/c.txt", "Another prompt.")
    before, reached = files(hub, repo), threading.Event()

    def stop(method: str, path: str) -> None:
        if is_commit(method, path):
            reached.set()
            time.sleep(60)

    with network(hub, before=stop) as way:
        env = environment(tmp_path, HF_TOKEN=hub.token, HF_ENDPOINT=way.url)
        with start("upload-dataset", str(root), repo, env=env) as run:
            assert reached.wait(60)
            run.kill()
    assert files(hub, repo) == before
    assert prompts(hub, repo)["c"] == "Prompt of c."
    assert upload_dataset(root, repo, hub=hub, dry_run=True).splits["train"].changed == 1
    upload_dataset(root, repo, hub=hub)
    assert prompts(hub, repo)["c"] == "Another prompt."


def test_an_edit_after_an_upload_that_ended_behind_its_commit_is_no_conflict(
    hub: LocalHub, repo: str, tmp_path: Path
) -> None:
    """What was committed is ours, although the run did not live to note it; the user has gone on editing."""
    root = lay_split(tmp_path / "ds", "train", "abc")
    prompt = root / "train/training_images/c.txt"
    committed: list[str] = []

    def end(method: str, path: str) -> Answer | None:
        if is_commit(method, path):
            committed.append(path)
        return Answer(404, [], b"") if len(committed) == 2 and "/resolve/" in path else None

    with network(hub, before=end) as way:
        upload_dataset(root, repo, hub=way.url, token=hub.token)
        write(prompt, "Another prompt.")
        with pytest.raises(QfluxError):
            upload_dataset(root, repo, hub=way.url, token=hub.token)
        assert prompts(hub, repo)["c"] == "Another prompt."
        write(prompt, "A third prompt.")
        way.before = lambda method, path: Answer(503, [], b"") if is_commit(method, path) else None
        with pytest.raises(QfluxError):  # it noted what it was about to commit, and did not
            upload_dataset(root, repo, hub=way.url, token=hub.token)
        way.before = lambda _method, _path: None
        upload_dataset(root, repo, hub=way.url, token=hub.token)
    assert prompts(hub, repo)["c"] == "A third prompt."


# --- silence ----------------------------------------------------------------------------------------------------


@pytest.fixture
def silent(hub: LocalHub) -> Iterator[str]:
    """A way to the hub on which no content and no list of chunks is ever answered."""
    end = threading.Event()

    def wait(method: str, path: str) -> Answer | None:
        if "/xorbs/" in path or "/v2/shards" in path or is_commit(method, path):
            end.wait(60)
            return Answer(503, [], b"")
        return None

    with network(hub, before=wait) as way:
        yield way.url
        end.set()


def test_a_transfer_of_which_no_byte_moves_is_an_error(
    hub: LocalHub, repo: str, tmp_path: Path, silent: str, quick: Quick
) -> None:
    root = lay_split(tmp_path / "ds", "train", "abc")
    # A machine with other work may be too slow for so little patience with its first answers, too.
    with quick(), pytest.raises(HubError, match=r"no byte moved for 0\.4 seconds|timed out") as caught:
        upload_dataset(root, repo, hub=silent, token=hub.token)
    assert caught.value.code == 5
    assert upload_dataset(root, repo, hub=hub).changed is True


def test_a_commit_that_is_never_answered_is_an_error(
    hub: LocalHub, repo: str, tmp_path: Path, silent: str, quick: Quick
) -> None:
    root = lay_split(tmp_path / "ds", "train", "abc")
    upload_dataset(root, repo, hub=hub)
    (root / "train/training_images/c.txt").unlink()
    (root / "train/training_images/c.png").unlink()
    with quick(), pytest.raises(HubError, match=r"No answer from .*: timed out|no byte moved"):
        upload_dataset(root, repo, hub=silent, token=hub.token)
    assert len(commits(hub, repo)) == 2


def test_waiting_for_the_writer_is_no_stall(hub: LocalHub, repo: str, quick: Quick) -> None:
    api(hub).create_repo(repo, repo_type="dataset")
    data = b"x" * 1_000_000

    def write_slowly(sink: object) -> None:
        sink.write(data)  # type: ignore[attr-defined]
        time.sleep(4.2)
        sink.write(data)  # type: ignore[attr-defined]

    with quick(1):
        sent = Hub(hub.url, Token(hub.token, "given")).send(repo, "slow", write_slowly)
    assert sent.size == 2_000_000


@pytest.mark.parametrize("part", ["/reconstructions/", "/xorb"], ids=["plan", "content"])
def test_a_download_of_which_no_byte_moves_is_an_error(
    hub: LocalHub, repo: str, quick: Quick, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_BASE_DELAY", "0s")
    api(hub).create_repo(repo, repo_type="dataset")
    there = Hub(hub.url, Token(hub.token, "given"))
    sent = there.send(repo, "noise", lambda sink: sink.write(os.urandom(3_000_000)))
    there.commit(repo, [Add("noise", sent.size, sent.sha256)], [], parent=None, message="Noise")
    end, asked = threading.Event(), list[str]()

    def wait(_method: str, path: str) -> Answer | None:
        asked.append(path)
        if part in path:
            end.wait(60)
            return Answer(503, [], b"")
        return None

    with network(hub, before=wait) as way:
        here = Hub(way.url, Token(hub.token, "given"))
        head = here.head(repo, "noise", "main", "dataset")
        with quick(), pytest.raises(HubError, match="failed: ") as caught:
            list(here.fetch(repo, head, repo_type="dataset"))
        end.set()
    assert caught.value.code == 5
    assert 6 <= sum(part in path for path in asked) <= 12


def test_a_file_larger_than_what_is_stored_in_one_piece_goes_and_comes_whole(hub: LocalHub, repo: str) -> None:
    """More than the 64 MB of a xorb: several transfers are under way at once, in both directions."""
    api(hub).create_repo(repo, repo_type="dataset")
    there, noise = Hub(hub.url, Token(hub.token, "given")), os.urandom(70_000_000)
    sent = there.send(repo, "noise", lambda sink: sink.write(noise))
    there.commit(repo, [Add("noise", sent.size, sent.sha256)], [], parent=None, message="Noise")
    came = there.fetch(repo, there.head(repo, "noise", "main", "dataset"), repo_type="dataset")
    assert b"".join(came) == noise


# --- moments of weakness ----------------------------------------------------------------------------------------


def test_a_hub_that_is_busy_once_is_asked_again(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    busy = [Answer(429, [("retry-after", "0")], b"")]

    def refuse(_method: str, path: str) -> Answer | None:
        return busy.pop() if busy and "/api/repos/create" in path else None

    with network(hub, before=refuse) as way:
        report = upload_dataset(lay_split(tmp_path / "ds"), repo, hub=way.url, token=hub.token)
    assert busy == []
    assert report.changed is True


def test_a_tag_whose_answer_was_lost_is_recognised(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    lost: list[str] = []

    def lose(_method: str, path: str, answer: Answer) -> Answer | None:
        if "/tag/" in path and not lost:
            lost.append(path)
            return None
        return answer

    with network(hub, after=lose) as way:
        report = upload_dataset(lay_split(tmp_path / "ds"), repo, tag="v1", hub=way.url, token=hub.token)
    tags = {tag.name: tag.target_commit for tag in api(hub).list_repo_refs(repo, repo_type="dataset").tags}
    assert lost
    assert tags == {"v1": report.commit}


def test_the_same_command_with_its_tag_made_has_nothing_to_do(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(tmp_path / "ds")
    upload_dataset(root, repo, tag="v1", hub=hub)
    assert upload_dataset(root, repo, tag="v1", hub=hub).changed is False
    write(root / "train/training_images/a.txt", "Another prompt.")
    with pytest.raises(RefusedError, match="has a tag 'v1' already; nothing was sent"):
        upload_dataset(root, repo, tag="v1", hub=hub)


def test_a_page_in_place_of_an_answer_is_an_error_of_the_network(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    def portal(_method: str, path: str) -> Answer | None:
        page = Answer(200, [("content-type", "text/html")], b"<html>Please log in to this network.</html>")
        return page if "/api/" in path else None

    with network(hub, before=portal) as way:
        with pytest.raises(HubError, match="is no answer of a Hub") as caught:
            upload_dataset(lay_split(tmp_path / "ds"), repo, hub=way.url, token=hub.token)
    assert caught.value.code == 5


@pytest.mark.parametrize(("route", "name"), [("/refs", b"targetCommit"), ("?blobs=", b"rfilename")])
def test_an_answer_with_other_names_in_it_is_an_error_of_the_network(
    hub: LocalHub, repo: str, tmp_path: Path, route: str, name: bytes
) -> None:
    root = lay_split(tmp_path / "ds")
    upload_dataset(root, repo, tag="v1", hub=hub)

    def alter(_method: str, path: str, answer: Answer) -> Answer:
        if route in path:
            answer.body = answer.body.replace(b'"%b":' % name, b'"other":')
        return answer

    with network(hub, after=alter) as way:
        with pytest.raises(HubError, match="is no answer of a Hub"):
            upload_dataset(root, repo, tag="v2", hub=way.url, token=hub.token)


# --- no room ----------------------------------------------------------------------------------------------------


def test_no_room_for_the_copy_that_lfs_needs_is_told_as_such(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_large(tmp_path / "ds", 2)
    env = environment(tmp_path, HF_TOKEN=hub.token, HF_ENDPOINT=hub.url, HF_HUB_DISABLE_XET="1")
    room = (500_000, resource.RLIM_INFINITY)
    full = qflux(
        "upload-dataset", str(root), repo, env=env, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, room)
    )
    assert full.returncode == 1
    assert "No room for a temporary copy of data/train/" in full.stderr
    assert "TMPDIR" in full.stderr
    assert [path for path in files(hub, repo) if path.startswith("data/")] == []
    assert upload_dataset(root, repo, hub=hub).changed is True
