"""The embedded Hub among other processes: several on one directory, killed at any point, stopped in the middle."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hubtools import api, ask, commit_lines, lfs_batch, run_client, send_lfs
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import HfHubHTTPError

from qflux_hub.errors import VerificationError
from qflux_hub.localhub import LocalHub, fsck, gc
from qflux_hub.localhub.db import VERSION, Database

SERVE = """
import sys, json
from qflux_hub.localhub import LocalHub
hub = LocalHub(sys.argv[1])
hub.start()
print(json.dumps([hub.url, hub.token]), flush=True)
hub.serve()
"""


@dataclass(slots=True)
class Served:
    """A hub in a process of its own; has what is needed of a LocalHub here."""

    dir: Path
    process: subprocess.Popen[str]
    url: str
    token: str

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serve(directory: Path) -> Iterator[Served]:
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(directory)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Served(directory, process, *json.loads(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def put_text(hub: Served | LocalHub, name: str, text: str, parent: str | None = None) -> int:
    """Commit one regular file; the status of the answer."""
    value = {"path": name, "content": text, "encoding": "utf-8"}
    header = {"parentCommit": parent} if parent else {}
    body = commit_lines({"key": "file", "value": value}, **header)
    return ask(f"{hub.url}/api/datasets/me/ds/commit/main", "POST", token=hub.token, body=body).status


def begin_upload(hub: Served, content: bytes, sent: int) -> http.client.HTTPConnection:
    """Make a repo and send it the first ``sent`` bytes of a file."""
    api(hub).create_repo("me/ds", repo_type="dataset")  # type: ignore[arg-type]
    _, item = lfs_batch(hub, "datasets/me/ds", content)  # type: ignore[arg-type]
    port = int(hub.url.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("PUT", item["actions"]["upload"]["href"].partition(str(port))[2])
    connection.putheader("Content-Length", str(len(content)))
    connection.endheaders()
    connection.send(content[:sent])
    return connection


def test_several_may_lay_out_one_directory_at_once(tmp_path: Path):
    """SQLite waits for nobody while it changes the journal of a new file."""
    for number in range(100):
        path, ready = tmp_path / f"{number}.sqlite", threading.Barrier(8)

        def lay_out(path: Path = path, ready: threading.Barrier = ready) -> int:
            ready.wait()
            database = Database(path)
            (version,) = database.connection.execute("PRAGMA user_version").fetchone()
            database.close()
            return int(version)

        with ThreadPoolExecutor(8) as pool:
            made = [pool.submit(lay_out) for _ in range(8)]
        assert [one.result() for one in made] == [VERSION] * 8


def test_two_processes_serve_one_directory(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub") as here, serve(tmp_path / "hub") as there:
        assert here.url != there.url
        assert here.token == there.token
        api(here).create_repo("me/ds", repo_type="dataset")
        content = os.urandom(300_000)
        api(there).upload_file(path_or_fileobj=content, path_in_repo="x.bin", repo_id="me/ds", repo_type="dataset")
        got = api(here).hf_hub_download("me/ds", "x.bin", repo_type="dataset", cache_dir=tmp_path / "cache")
        assert Path(got).read_bytes() == content
        token = here.add_user("you", "read")
        assert api(there, token).whoami()["name"] == "you"
        link = ask(f"{here.url}/datasets/me/ds/resolve/main/x.bin", "HEAD").headers["location"]
        moved = link.replace(here.url.rpartition(":")[2], there.url.rpartition(":")[2])
        assert ask(moved).body == content
        api(there).delete_repo("me/ds", repo_type="dataset")
        assert ask(f"{here.url}/api/datasets/me/ds", token=here.token).status == 404


def test_the_port_stays_with_the_directory_and_the_first_that_comes(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub") as first:
        url = first.url
        with LocalHub(tmp_path / "hub") as second:
            assert second.url != url
            first.stop()
            assert ask(f"{second.url}/health").status == 200
    with LocalHub(tmp_path / "hub") as again:
        assert again.url == url


def test_many_processes_may_open_a_new_directory_at_once(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        starting = [
            subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path / "hub")], stdout=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        for process in starting:
            stack.callback(process.stdout.close)  # type: ignore[union-attr]
            stack.callback(process.wait)
            stack.callback(process.kill)
        said = [json.loads(process.stdout.readline()) for process in starting]  # type: ignore[union-attr]
        assert len({url for url, _ in said}) == 4
        assert len({token for _, token in said}) == 1
        assert all(ask(f"{url}/api/whoami-v2", token=token).status == 200 for url, token in said)


def test_of_two_commits_on_one_parent_one_wins(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub") as here, serve(tmp_path / "hub") as there:
        api(here).create_repo("me/ds", repo_type="dataset")

        def race(hub: Served | LocalHub, name: str, parent: str) -> int:
            options = {"commit_message": "m", "repo_type": "dataset", "parent_commit": parent}
            try:
                api(hub).create_commit("me/ds", [CommitOperationAdd(name, name.encode())], **options)  # type: ignore[arg-type, call-overload]
            except HfHubHTTPError as error:
                return error.response.status_code
            return 200

        with ThreadPoolExecutor(4) as pool:
            for turn in range(8):
                head = api(here).dataset_info("me/ds").sha
                runs = [pool.submit(race, (here, there)[n % 2], f"{turn}-{n}.txt", str(head)) for n in range(4)]
                assert sorted(run.result() for run in runs) == [200, 412, 412, 412]
        assert len(api(here).list_repo_commits("me/ds", repo_type="dataset")) == 9


def test_concurrent_commits_without_a_parent_all_land(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub") as here, serve(tmp_path / "hub") as there:
        api(here).create_repo("me/ds", repo_type="dataset")
        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(lambda n: put_text((here, there)[n % 2], f"{n:02}.txt", str(n)), range(40)))
        assert done == [200] * 40
        files = api(here).list_repo_files("me/ds", repo_type="dataset")
        assert files == [".gitattributes", *[f"{n:02}.txt" for n in range(40)]]


def test_killed_while_committing_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    random.seed(1)
    acknowledged: list[str] = []
    with LocalHub(tmp_path / "hub") as hub:
        api(hub).create_repo("me/ds", repo_type="dataset")
    for number in range(4):
        with serve(tmp_path / "hub") as hub:
            stop = threading.Timer(random.uniform(0.05, 0.25), hub.kill)  # noqa: S311 - a moment, not a secret
            stop.start()
            with contextlib.suppress(OSError, http.client.HTTPException):
                for n in range(10_000):
                    name = f"{number}-{n:04}.txt"
                    assert put_text(hub, name, "x" * 20_000) == 200
                    acknowledged.append(name)
            stop.join()
        assert fsck(tmp_path / "hub").is_sound
    with LocalHub(tmp_path / "hub") as hub:
        assert set(acknowledged) <= set(api(hub).list_repo_files("me/ds", repo_type="dataset"))
    assert len(acknowledged) > 20


def test_killed_in_the_middle_of_an_upload_the_next_one_succeeds(tmp_path: Path) -> None:
    content = os.urandom(6_000_000)
    (tmp_path / "x.bin").write_bytes(content)
    with serve(tmp_path / "hub") as hub:
        connection = begin_upload(hub, content, 5_000_000)
        while not any(path.stat().st_size for path in (tmp_path / "hub/incoming").iterdir()):
            time.sleep(0.01)
        hub.kill()
        connection.close()
    report = fsck(tmp_path / "hub")
    assert (report.is_sound, report.leftover_files) == (True, 1)
    with serve(tmp_path / "hub") as hub:
        assert gc(tmp_path / "hub").files == 0
        source = """
            from huggingface_hub import HfApi
            HfApi().upload_file(path_or_fileobj=file, path_in_repo="x.bin", repo_id="me/ds", repo_type="dataset")
        """
        run_client(hub, tmp_path / "home", source, file=str(tmp_path / "x.bin"))  # type: ignore[arg-type]
        link = ask(f"{hub.url}/datasets/me/ds/resolve/main/x.bin", "HEAD").headers["location"]
        assert hashlib.sha256(ask(link).body).digest() == hashlib.sha256(content).digest()
    assert gc(tmp_path / "hub", keep_seconds=0).files == 1
    assert fsck(tmp_path / "hub").leftover_files == 0


COLLECT = """
import sys, time
from qflux_hub.localhub import gc
print("ready", flush=True)
gc(sys.argv[1], keep_seconds=0)
"""


def test_killed_while_collecting_the_live_data_stays(tmp_path: Path) -> None:
    random.seed(2)
    kept = os.urandom(200_000)
    with LocalHub(tmp_path / "hub") as hub:
        for name in ("me/kept", "me/gone"):
            api(hub).create_repo(name, repo_type="dataset")
        send_lfs(hub, "datasets/me/kept", kept, "kept.bin")
        for number in range(60):
            send_lfs(hub, "datasets/me/gone", os.urandom(2_000), f"{number}.bin")
        api(hub).delete_repo("me/gone", repo_type="dataset")
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", COLLECT, str(tmp_path / "hub")], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.uniform(0, 0.03))  # noqa: S311 - a moment, not a secret
        process.kill()
        process.wait()
        process.stdout.close()
        assert fsck(tmp_path / "hub").is_sound
    gc(tmp_path / "hub", keep_seconds=0)
    report = fsck(tmp_path / "hub")
    assert (report.is_sound, report.checked["content"], report.leftover_files) == (True, 1, 0)
    with LocalHub(tmp_path / "hub") as hub:
        got = api(hub).hf_hub_download("me/kept", "kept.bin", repo_type="dataset", cache_dir=tmp_path / "cache")
        assert Path(got).read_bytes() == kept


def test_a_collection_takes_what_nothing_leads_to(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub") as hub:
        client = api(hub)
        for name in ("me/a", "me/b"):
            client.create_repo(name, repo_type="dataset")
            client.upload_file(
                path_or_fileobj=b"\0both" * 9_000, path_in_repo="both.bin", repo_id=name, repo_type="dataset"
            )
        client.upload_file(
            path_or_fileobj=os.urandom(90_000), path_in_repo="a.bin", repo_id="me/a", repo_type="dataset"
        )
        client.create_branch("me/b", branch="side", repo_type="dataset")
        client.upload_file(
            path_or_fileobj=b"text", path_in_repo="s.txt", repo_id="me/b", repo_type="dataset", revision="side"
        )
        client.delete_branch("me/b", branch="side", repo_type="dataset")
        client.delete_repo("me/a", repo_type="dataset")
        young = gc(hub.dir)
        assert (young.commits, young.xorbs, young.files) == (0, 0, 0)
        report = gc(hub.dir, keep_seconds=0)
        assert (report.commits, young.objects, report.xorbs, report.files) == (1, 1, 1, 1)
        assert report.bytes > 90_000
        assert fsck(hub.dir).is_sound
        got = client.hf_hub_download("me/b", "both.bin", repo_type="dataset", cache_dir=tmp_path / "cache")
        assert Path(got).read_bytes() == b"\0both" * 9_000
        assert gc(hub.dir, keep_seconds=0).files == 0


def test_after_a_collection_a_client_does_not_build_on_what_is_gone(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(os.urandom(3_000_000))
    upload = """
        from huggingface_hub import HfApi
        HfApi().create_repo("me/ds", repo_type="dataset")
        HfApi().upload_file(path_or_fileobj=file, path_in_repo="x.bin", repo_id="me/ds", repo_type="dataset")
    """
    with LocalHub(tmp_path / "hub") as hub:
        for _ in range(2):
            run_client(hub, tmp_path / "home", upload, file=str(tmp_path / "x.bin"))
            api(hub).delete_repo("me/ds", repo_type="dataset")
            assert gc(hub.dir, keep_seconds=0).xorbs == 1
        run_client(hub, tmp_path / "home", upload, file=str(tmp_path / "x.bin"))
        assert fsck(hub.dir).is_sound


def test_a_directory_with_a_damaged_history_is_not_collected(tmp_path: Path) -> None:
    import sqlite3

    with LocalHub(tmp_path / "hub") as hub:
        api(hub).create_repo("me/ds", repo_type="dataset")
    db = sqlite3.connect(tmp_path / "hub/hub.sqlite")
    db.execute("UPDATE tree SET data = x'00'")
    db.commit()
    db.close()
    with pytest.raises(VerificationError, match="nothing was collected"):
        gc(tmp_path / "hub", keep_seconds=0)
    assert [damage.what.split()[0] for damage in fsck(tmp_path / "hub").damages] == ["tree"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_a_request_finish(tmp_path: Path, number: signal.Signals) -> None:
    content = os.urandom(5_000_000)
    with serve(tmp_path / "hub") as hub:
        connection = begin_upload(hub, content, 4_500_000)
        hub.process.send_signal(number)
        time.sleep(0.3)
        connection.send(content[4_500_000:])
        assert connection.getresponse().status == 200
        connection.close()
        assert hub.process.wait(60) == 0


def test_files_with_secrets_are_their_owners_alone(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub") as hub:
        assert (hub.dir / "token").read_text() == hub.token
        for name in ("token", "hub.sqlite", "hub.sqlite-wal"):
            assert (hub.dir / name).stat().st_mode & 0o777 == 0o600, name
        assert hub.dir.stat().st_mode & 0o777 == 0o700


def test_a_token_of_ones_own_is_taken(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub", host="127.0.0.2", token="hf_chosen") as hub:  # noqa: S106 - of this test
        assert hub.token == "hf_chosen"  # noqa: S105
        assert ask(f"{hub.url}/api/whoami-v2", token="hf_chosen").json["name"] == "me"  # noqa: S106
