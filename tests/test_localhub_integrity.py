"""The embedded Hub believes nothing: what clients claim is recomputed, and what lies on disk is checked when read."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hubtools import Answer, api, ask, commit_lines, lfs_batch, run_client, send_lfs
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import HfHubHTTPError

from qflux_hub.errors import NotFoundError
from qflux_hub.localhub import LocalHub, fsck, xethash

REPO = "datasets/me/ds"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "hub") as running:
        api(running).create_repo("me/ds", repo_type="dataset")
        yield running


@dataclass(slots=True)
class Forger:
    """A client of the content store that may lie. Chunks are stored plain; a file is one term over all of them."""

    store: str
    token: str
    chunks: list[bytes]

    @property
    def leaves(self) -> list[tuple[bytes, int]]:
        return [(xethash.chunk_hash(chunk), len(chunk)) for chunk in self.chunks]

    @property
    def xorb_name(self) -> bytes:
        return xethash.root(self.leaves)

    def xorb(self) -> bytes:
        sizes = [len(chunk).to_bytes(3, "little") for chunk in self.chunks]
        return b"".join(b"\0" + size + b"\0" + size + chunk for size, chunk in zip(sizes, self.chunks, strict=True))

    def send_xorb(self, body: bytes | None = None, name: bytes | None = None) -> Answer:
        url = f"{self.store}/v1/xorbs/default/{xethash.printed(name or self.xorb_name)}"
        return ask(url, "POST", token=self.token, body=self.xorb() if body is None else body)

    def send_shard(
        self,
        *,
        name: bytes | None = None,
        proof: bytes | None = None,
        sha256: str | None = None,
        length: int | None = None,
        end: int | None = None,
        xorb: bytes | None = None,
        version: str = "v1",
    ) -> Answer:
        content = b"".join(self.chunks)
        file = name or xethash.file_hash(self.leaves)
        digest = xethash.parsed(sha256 or hashlib.sha256(content).hexdigest())
        proven = proof or xethash.range_hash(chunk for chunk, _ in self.leaves)
        size, last = (len(content) if length is None else length), (len(self.chunks) if end is None else end)
        tag = b"HFRepoMetaData\0" + bytes(
            [85, 105, 103, 69, 106, 123, 129, 87, 131, 165, 189, 217, 92, 205, 209, 74, 169]
        )
        body = tag + struct.pack("<QQ", 2, 0)
        body += file + struct.pack("<IIQ", 3 << 30, 1, 0)
        body += (xorb or self.xorb_name) + struct.pack("<IIII", 0, size, 0, last)
        body += proven + bytes(16) + digest + bytes(16)
        body += (b"\xff" * 32 + bytes(16)) * 2
        return ask(f"{self.store}/{version}/shards", "POST", token=self.token, body=body)


@pytest.fixture
def forger(hub: LocalHub) -> Forger:
    given = ask(f"{hub.url}/api/{REPO}/xet-write-token/main", token=hub.token).json
    return Forger(given["casUrl"], given["accessToken"], [os.urandom(50_000), b"text " * 3_000, os.urandom(70_000)])


def test_an_honest_xorb_and_shard_are_taken(hub: LocalHub, forger: Forger) -> None:
    assert forger.send_xorb().json == {"was_inserted": True}
    assert forger.send_xorb().json == {"was_inserted": False}
    assert forger.send_shard().json == {"result": 1}
    assert b'{"type": "result"}' in forger.send_shard(version="v2").body
    content = b"".join(forger.chunks)
    value = {"path": "x.bin", "algo": "sha256", "oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
    body = commit_lines({"key": "lfsFile", "value": value})
    assert ask(f"{hub.url}/api/{REPO}/commit/main", "POST", token=hub.token, body=body).status == 200
    assert (
        Path(api(hub).hf_hub_download("me/ds", "x.bin", repo_type="dataset", cache_dir=hub.dir)).read_bytes() == content
    )
    assert fsck(hub.dir).is_sound


def test_a_footer_after_the_chunks_is_left_out(hub: LocalHub, forger: Forger) -> None:
    assert forger.send_xorb(forger.xorb() + b"XETBLOB" + bytes(100)).json == {"was_inserted": True}
    assert next(hub.dir.glob("xorb/*/*")).read_bytes() == forger.xorb()


@pytest.mark.parametrize(
    "lie", ["another name", "a flipped bit", "cut off", "empty", "a wrong length", "an unknown scheme"]
)
def test_a_xorb_that_lies_is_refused(hub: LocalHub, forger: Forger, lie: str) -> None:
    body = bytearray(forger.xorb())
    if lie == "a flipped bit":
        body[1_000] ^= 1
    if lie == "cut off":
        del body[-1]
    if lie == "empty":
        body.clear()
    if lie == "a wrong length":
        body[5] ^= 1
    if lie == "an unknown scheme":
        body[4] = 3
    got = forger.send_xorb(bytes(body), bytes(32) if lie == "another name" else None)
    assert (got.status, got.json["error"][:4]) == (
        400,
        "Xorb" if lie not in ("another name", "a flipped bit") else "The ",
    )
    assert not list(hub.dir.glob("xorb/*/*"))
    assert not list(hub.dir.glob("incoming/*"))


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"name": bytes(range(32))}, "its chunks hash to"),
        ({"proof": bytes(range(32))}, "proof"),
        ({"sha256": "0" * 64}, "its SHA-256 is"),
        ({"length": 1}, "bytes long"),
        ({"end": 4}, "are not in xorb"),
        ({"end": 0}, "are not in xorb"),
        ({"xorb": bytes(range(32))}, "is not stored in this hub"),
    ],
)
def test_a_shard_that_lies_is_refused(forger: Forger, lie: dict[str, bytes | int | str], said: str) -> None:
    forger.send_xorb()
    got = forger.send_shard(**lie)  # type: ignore[arg-type]
    assert (got.status, said in got.json["error"]) == (400, True), got.json
    [line] = [line for line in forger.send_shard(version="v2", **lie).body.splitlines() if b"error" in line]  # type: ignore[arg-type]
    assert said.encode() in line
    assert b'"retryable": false' in line


def test_what_is_not_a_shard_is_refused(hub: LocalHub, forger: Forger) -> None:
    del hub
    for body in (b"", b"x" * 500, b"HFRepoMetaData\0" + bytes(10)):
        assert ask(f"{forger.store}/v1/shards", "POST", token=forger.token, body=body).status == 400


def test_the_content_store_asks_for_its_own_token(hub: LocalHub, forger: Forger) -> None:
    reader = ask(f"{hub.url}/api/{REPO}/xet-read-token/main", token=hub.token).json["accessToken"]
    for token, status in (("", 401), (hub.token, 401), (forger.token[:-1] + "x", 401), (reader, 403)):
        forger.token = token
        assert forger.send_xorb().status == status


def test_one_repo_cannot_read_the_files_of_another_by_their_hash(hub: LocalHub, forger: Forger) -> None:
    forger.send_xorb()
    forger.send_shard()
    api(hub).create_repo("me/other")
    given = ask(f"{hub.url}/api/models/me/other/xet-read-token/main", token=hub.token).json
    url = f"{given['casUrl']}/v2/reconstructions/{xethash.printed(xethash.file_hash(forger.leaves))}"
    assert ask(url, token=given["accessToken"]).status == 404
    assert ask(url, token=forger.token).status == 200
    content = b"".join(forger.chunks)
    value = {"path": "x.bin", "algo": "sha256", "oid": hashlib.sha256(content).hexdigest()}
    body = commit_lines({"key": "lfsFile", "value": value})
    assert ask(f"{hub.url}/api/models/me/other/commit/main", "POST", token=hub.token, body=body).status == 400


@pytest.mark.parametrize("body", [b"other bytes", b"too short", b"much too long a body"])
def test_an_lfs_object_that_lies_is_refused(hub: LocalHub, body: bytes) -> None:
    _, item = lfs_batch(hub, REPO, b"these bytes")
    got = ask(item["actions"]["upload"]["href"], "PUT", body=body)
    assert got.status == (413 if len(body) > 11 else 400)
    assert ask(item["actions"]["verify"]["href"], "POST", body=b"{}").status == 404
    assert not list(hub.dir.glob("lfs/*/*"))
    assert not list(hub.dir.glob("incoming/*"))


def test_an_upload_in_parts_is_what_was_announced_or_nothing(hub: LocalHub) -> None:
    content = os.urandom(17_000_000)

    def begin() -> tuple[str, list[str]]:
        _, item = lfs_batch(hub, REPO, content, transfers=["basic", "multipart"])
        upload = item["actions"]["upload"]
        return upload["href"], [upload["header"]["00001"], upload["header"]["00002"]]

    def finish(href: str, count: int = 2) -> Answer:
        parts = [{"partNumber": number, "etag": "x"} for number in range(1, count + 1)]
        return ask(href, "POST", body=json.dumps({"oid": "x", "parts": parts}).encode())

    href, (one, two) = begin()
    assert ask(one, "PUT", body=content[:100]).status == 400
    assert ask(two, "PUT", body=content[16_000_000:] + b"x").status == 413
    assert ask(one, "PUT", body=content[:16_000_000]).status == 200
    assert finish(href, 1).status == 400
    assert finish(href).status == 400  # the second part is not there
    assert ask(two, "PUT", body=content[16_000_000:]).status == 404
    href, (one, two) = begin()
    assert ask(two, "PUT", body=content[16_000_000:]).status == 200
    assert ask(one, "PUT", body=content[:16_000_000]).status == 200
    assert finish(href).status == 200
    assert finish(href).status == 404
    assert ask(one, "PUT", body=bytes(16_000_000)).status == 404
    assert fsck(hub.dir).is_sound
    assert not list(hub.dir.glob("parts/*"))


def test_a_commit_cannot_name_what_was_not_uploaded_or_another_size(hub: LocalHub) -> None:
    digest = send_lfs(hub, REPO, b"content", "a.bin")
    for oid, size in (("0" * 64, 7), (digest, 8)):
        body = commit_lines({"key": "lfsFile", "value": {"path": "b.bin", "algo": "sha256", "oid": oid, "size": size}})
        assert ask(f"{hub.url}/api/{REPO}/commit/main", "POST", token=hub.token, body=body).status == 400
    assert api(hub).list_repo_files("me/ds", repo_type="dataset") == [".gitattributes", "a.bin"]


def flip(path: Path, position: int) -> None:
    """Damage one byte of a file."""
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("way", ["xet", "lfs"])
def test_a_flipped_byte_at_rest_is_found_and_not_served(hub: LocalHub, tmp_path: Path, way: str) -> None:
    content = os.urandom(400_000)
    if way == "lfs":
        send_lfs(hub, REPO, content, "x.bin")
    else:
        api(hub).upload_file(path_or_fileobj=content, path_in_repo="x.bin", repo_id="me/ds", repo_type="dataset")
    assert fsck(hub.dir).is_sound
    flip(next(hub.dir.glob(f"{'xorb' if way == 'xet' else 'lfs'}/*/*")), 300_000)
    link = ask(f"{hub.url}/{REPO}/resolve/main/x.bin", "HEAD").headers["location"]
    assert ask(link, range="bytes=0-1000").body == content[:1001]
    got = ask(link, range="bytes=290000-310000")
    assert (got.status, "damaged" in got.json["error"]) == (410, True)
    with pytest.raises((RuntimeError, HfHubHTTPError), match="410"):
        api(hub).hf_hub_download("me/ds", "x.bin", repo_type="dataset", cache_dir=tmp_path / "cache")
    [damage, *more] = fsck(hub.dir).damages
    assert "are not what was stored" in damage.message
    assert len(more) == (1 if way == "xet" else 0)


def test_a_flipped_byte_in_the_database_is_found_and_not_served(hub: LocalHub) -> None:
    api(hub).upload_file(path_or_fileobj=b"some text", path_in_repo="x.txt", repo_id="me/ds", repo_type="dataset")
    with sqlite3.connect(hub.dir / "hub.sqlite") as db:
        db.execute("UPDATE blob SET data = ? WHERE data = ?", (b"some tixt", b"some text"))
    db.close()
    got = ask(f"{hub.url}/{REPO}/resolve/main/x.txt")
    assert (got.status, "damaged" in got.json["error"]) == (410, True)
    [damage] = fsck(hub.dir).damages
    assert damage.what.startswith("blob ")


SEND = """
    from huggingface_hub import HfApi
    HfApi().upload_file(path_or_fileobj=file, path_in_repo="x.bin", repo_id="me/ds", repo_type="dataset")
"""


@pytest.mark.parametrize("found_by", ["fsck", "a reader"])
@pytest.mark.parametrize("home", ["first", "second"])
def test_damage_is_mended_when_any_client_sends_the_content_again(
    hub: LocalHub, tmp_path: Path, found_by: str, home: str
) -> None:
    content = os.urandom(2_000_000)
    (tmp_path / "x.bin").write_bytes(content)
    run_client(hub, tmp_path / "first", SEND, file=str(tmp_path / "x.bin"))
    flip(next(hub.dir.glob("xorb/*/*")), 700_000)
    link = ask(f"{hub.url}/{REPO}/resolve/main/x.bin", "HEAD").headers["location"]
    assert (ask(link).status == 410) if found_by == "a reader" else (not fsck(hub.dir).is_sound)
    run_client(hub, tmp_path / home, SEND, file=str(tmp_path / "x.bin"))
    assert ask(link).body == content
    assert fsck(hub.dir).is_sound


def test_damage_of_an_lfs_object_is_mended_when_it_is_sent_again(hub: LocalHub) -> None:
    digest = send_lfs(hub, REPO, b"content" * 1_000, "a.bin")
    stored = hub.dir / "lfs" / digest[:2] / digest
    stored.unlink()
    assert [damage.what for damage in fsck(hub.dir).damages] == [f"content lfs/{digest}"]
    send_lfs(hub, REPO, b"content" * 1_000, "a.bin")
    assert fsck(hub.dir).is_sound


def test_an_answer_about_chunks_names_only_those_that_one_has(hub: LocalHub, forger: Forger) -> None:
    forger.send_xorb()
    forger.send_shard()
    api(hub).create_repo("me/other")
    given = ask(f"{hub.url}/api/models/me/other/xet-write-token/main", token=hub.token).json
    asked = forger.leaves[0][0]
    got = ask(f"{given['casUrl']}/v1/chunks/default/{xethash.printed(asked)}", token=given["accessToken"])
    assert got.status == 200
    assert forger.xorb_name in got.body
    key = got.body[-200 + 72 : -200 + 104]
    assert key != bytes(32)
    for chunk, _ in forger.leaves:
        assert chunk not in got.body
        assert xethash.keyed(chunk, key) in got.body
    unknown = xethash.printed(bytes(range(32)))
    assert ask(f"{given['casUrl']}/v1/chunks/default/{unknown}", token=given["accessToken"]).status == 404


def test_a_link_to_a_xorb_is_good_for_its_own_run_of_chunks(hub: LocalHub) -> None:
    files = {name: os.urandom(200_000) for name in ("a.bin", "b.bin")}
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    api(hub).create_commit("me/ds", operations, commit_message="m", repo_type="dataset")
    given = ask(f"{hub.url}/api/{REPO}/xet-read-token/main", token=hub.token).json
    runs = []
    for name in files:
        [file] = api(hub).get_paths_info("me/ds", name, repo_type="dataset")
        plan = ask(f"{given['casUrl']}/v2/reconstructions/{file.xet_hash}", token=given["accessToken"]).json
        [[fetch]] = plan["xorbs"].values()
        runs.append((fetch["url"], "bytes={start}-{end}".format(**fetch["ranges"][0]["bytes"])))
    (one, first), (two, second) = runs
    assert one.partition("?")[0] == two.partition("?")[0]
    assert ask(one, range=first).status == ask(two, range=second).status == 206
    assert ask(one, range=second).status == ask(two, range=first).status == ask(one).status == 403
    assert ask(one.replace("first=", "first=0"), range=first).status == 403


def test_uploading_again_repairs(hub: LocalHub, forger: Forger) -> None:
    forger.send_xorb()
    stored = next(hub.dir.glob("xorb/*/*"))
    flip(stored, 60_000)
    assert not fsck(hub.dir).is_sound
    assert forger.send_xorb().json == {"was_inserted": True}
    assert stored.read_bytes() == forger.xorb()
    assert fsck(hub.dir).is_sound


def test_fsck_counts_what_it_checked_and_what_is_left_over(hub: LocalHub) -> None:
    send_lfs(hub, REPO, b"content", "a.bin")
    (hub.dir / "incoming" / "dead").write_bytes(b"x" * 10)
    seen: list[tuple[str, int, int]] = []
    report = fsck(hub.dir, lambda *step: seen.append(step))
    assert report.is_sound
    assert (report.checked["content"], report.checked["commit"], report.checked["ref"]) == (1, 2, 1)
    assert (report.leftover_files, report.leftover_bytes) == (1, 10)
    assert ("content", 1, 1) in seen
    with pytest.raises(NotFoundError):
        fsck(hub.dir / "no")
