"""The embedded Hub without a client: ranges, entity tags, redirects, signatures and what is said about errors."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hubtools import Answer, api, ask, commit_lines, send_lfs
from huggingface_hub import CommitOperationAdd

from qflux_hub.errors import RefusedError
from qflux_hub.localhub import LocalHub

TEXT = b"a plain text of some length\n" * 40
LARGE = os.urandom(300_000) + bytes(100_000)


@dataclass(frozen=True, slots=True)
class Place:
    """A URL that gives content out, the content, and its entity tag."""

    url: str
    content: bytes
    etag: str


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with LocalHub(tmp_path_factory.mktemp("hub")) as running:
        client = api(running)
        client.create_repo("me/ds", repo_type="dataset", private=True)
        files = [CommitOperationAdd("a/text.txt", TEXT), CommitOperationAdd("a/xet.bin", LARGE)]
        client.create_commit("me/ds", files, commit_message="m", repo_type="dataset")
        send_lfs(running, "datasets/me/ds", LARGE[::-1], "lfs.bin")
        yield running


def head(hub: LocalHub, path: str) -> Answer:
    return ask(f"{hub.url}/datasets/me/ds/resolve/main/{path}", "HEAD", token=hub.token)


@pytest.fixture(params=["regular", "raw", "xet", "lfs", "xorb"])
def place(hub: LocalHub, request: pytest.FixtureRequest) -> Place:
    base = f"{hub.url}/datasets/me/ds"
    if request.param in ("regular", "raw"):
        route = {"regular": "resolve", "raw": "raw"}[request.param]
        url = f"{base}/{route}/main/a/text.txt"
        return Place(url, TEXT, head(hub, "a/text.txt").headers["etag"])
    if request.param == "xorb":
        return xorb_place(hub)
    found = head(hub, {"xet": "a/xet.bin", "lfs": "lfs.bin"}[request.param]).headers
    return Place(found["location"], LARGE if request.param == "xet" else LARGE[::-1], found["x-linked-etag"])


def xorb_place(hub: LocalHub) -> Place:
    found = head(hub, "a/xet.bin").headers
    token = ask(found["link"].split(">")[0].strip("<"), token=hub.token).json
    url = f"{token['casUrl']}/v2/reconstructions/{found['x-xet-hash']}"
    plan = ask(url, token=token["accessToken"]).json
    [(name, [run])] = plan["xorbs"].items()
    stored = next(hub.dir.glob(f"xorb/*/{name}")).read_bytes()
    return Place(run["url"], stored, f'"{name}"')


def test_all_of_a_file_comes_with_its_length_and_tag(hub: LocalHub, place: Place) -> None:
    got = ask(place.url, token=hub.token)
    assert (got.status, got.body) == (200, place.content)
    assert (got.headers["etag"], got.headers["accept-ranges"]) == (place.etag, "bytes")
    assert int(got.headers["content-length"]) == len(place.content)
    seen = ask(place.url, "HEAD", token=hub.token)
    assert (seen.status, seen.body, seen.headers["content-length"]) == (200, b"", got.headers["content-length"])


@pytest.mark.parametrize(
    ("wanted", "start", "end"), [("0-0", 0, 1), ("10-99", 10, 100), ("100-", 100, None), ("-7", -7, None)]
)
def test_a_range_is_cut_out(hub: LocalHub, place: Place, wanted: str, start: int, end: int | None) -> None:
    got = ask(place.url, token=hub.token, range=f"bytes={wanted}")
    piece = place.content[start:end]
    first = start % len(place.content)
    assert (got.status, got.body, got.headers["content-length"]) == (206, piece, str(len(piece)))
    assert got.headers["content-range"] == f"bytes {first}-{first + len(piece) - 1}/{len(place.content)}"


def test_a_range_that_reaches_past_the_end_ends_there(hub: LocalHub, place: Place) -> None:
    size = len(place.content)
    got = ask(place.url, token=hub.token, range=f"bytes={size - 5}-{size + 99}")
    assert (got.status, got.body) == (206, place.content[-5:])
    assert ask(place.url, token=hub.token, range=f"bytes=-{size + 99}").body == place.content


@pytest.mark.parametrize("wanted", ["{size}-", "{size}-{size}", "-0"])
def test_a_range_past_the_end_is_416(hub: LocalHub, place: Place, wanted: str) -> None:
    got = ask(place.url, token=hub.token, range=f"bytes={wanted.format(size=len(place.content))}")
    assert (got.status, got.headers["content-range"]) == (416, f"bytes */{len(place.content)}")


@pytest.mark.parametrize("wanted", ["bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=-"])
def test_what_is_not_one_range_is_ignored(hub: LocalHub, place: Place, wanted: str) -> None:
    got = ask(place.url, token=hub.token, range=wanted)
    assert (got.status, got.body) == (200, place.content)


def test_a_known_tag_is_not_sent_again(hub: LocalHub, place: Place) -> None:
    got = ask(place.url, token=hub.token, if_none_match=place.etag)
    assert (got.status, got.body) == (304, b"")
    assert ask(place.url, token=hub.token, if_none_match='"other"').status == 200
    assert ask(place.url, token=hub.token, range="bytes=0-1", if_range='"other"').body == place.content


def test_a_large_file_is_redirected_to_another_origin(hub: LocalHub) -> None:
    got = head(hub, "a/xet.bin").headers
    assert got["location"].startswith(hub.url.replace("127.0.0.1", "localhost") + "/storage/")
    assert got["x-linked-size"] == str(len(LARGE))
    assert (
        got["x-linked-etag"]
        == got["etag"]
        == f'"{api(hub).get_paths_info("me/ds", "a/xet.bin", repo_type="dataset")[0].lfs.sha256}"'
    )
    assert got["x-repo-commit"] == api(hub).dataset_info("me/ds").sha
    assert got["link"].endswith('>; rel="xet-auth"')
    assert "x-xet-hash" not in head(hub, "lfs.bin").headers


def test_under_a_name_without_a_twin_files_are_given_directly(hub: LocalHub) -> None:
    url = f"{hub.url}/datasets/me/ds/resolve/main/a/xet.bin"
    got = ask(url, token=hub.token, host="hub.lan:1234")
    assert (got.status, got.body, got.headers["x-linked-size"]) == (200, LARGE, str(len(LARGE)))
    assert got.headers["link"].startswith("<http://hub.lan:1234/api/datasets/me/ds/xet-read-token/")


def test_links_to_storage_are_signed(hub: LocalHub) -> None:
    link = head(hub, "a/xet.bin").headers["location"]
    assert ask(link.partition("?")[0]).status == 403
    assert ask(link[:-1] + ("0" if link[-1] != "0" else "1")).status == 403
    assert ask(link.replace("expires=1", "expires=2")).status == 403
    assert ask(link, "PUT", body=b"x").status == 404


def test_raw_shows_the_pointer_of_a_large_file(hub: LocalHub) -> None:
    got = ask(f"{hub.url}/datasets/me/ds/raw/main/lfs.bin", token=hub.token)
    assert got.body.startswith(b"version https://git-lfs.github.com/spec/v1\noid sha256:")
    assert got.headers["content-type"] == "text/plain; charset=utf-8"


def test_an_uploaded_page_is_not_a_page_of_the_hub(hub: LocalHub) -> None:
    api(hub).upload_file(
        path_or_fileobj=b"<script>1</script>", path_in_repo="p.html", repo_id="me/ds", repo_type="dataset"
    )
    assert head(hub, "p.html").headers["content-type"] == "text/plain; charset=utf-8"


def test_paths_are_taken_with_a_slash_at_the_end_and_escapes(hub: LocalHub) -> None:
    for path in ("/api/datasets/me/ds/", "/api/datasets/me/ds/tree/main/", "/api/datasets/me/ds/tree/main/a%2F"):
        assert ask(hub.url + path, token=hub.token).status == 200
    assert ask(f"{hub.url}/datasets/me/ds/resolve/refs%2Fheads%2Fmain/a/text.txt", token=hub.token).body == TEXT
    assert ask(f"{hub.url}/datasets/me/ds/resolve/refs/heads/main/a/text.txt", token=hub.token).body == TEXT


def test_health_needs_no_token(hub: LocalHub) -> None:
    assert ask(f"{hub.url}/health").json == {"status": "ok", "repos": 1}


def test_errors_are_json_with_the_codes_that_clients_know(hub: LocalHub) -> None:
    cases = {
        "/api/datasets/me/ds": (401, "RepoNotFound"),
        "/datasets/me/ds/resolve/main/a/text.txt": (401, "RepoNotFound"),
        "/nope/resolve/main/f": (401, "RepoNotFound"),
        "/api/spaces/me/s": (404, "RepoNotFound"),
        "/api/nothing": (404, None),
    }
    for path, expected in cases.items():
        got = ask(hub.url + path)
        assert (got.status, got.headers.get("x-error-code")) == expected, path
        assert got.json["error"]
    missing = head(hub, "no.txt").headers
    assert (missing["x-error-code"], len(missing["x-repo-commit"])) == ("EntryNotFound", 40)
    wrong = ask(f"{hub.url}/api/whoami-v2", authorization="Bearer hf_wrong")
    assert (wrong.status, wrong.headers["x-error-message"]) == (401, "Invalid credentials in Authorization header")


def test_a_request_id_is_given_back(hub: LocalHub) -> None:
    assert ask(f"{hub.url}/health", x_request_id="mine").headers["x-request-id"] == "mine"
    assert "Root=1-2" in ask(f"{hub.url}/health", x_amzn_trace_id="Root=1-2").headers["x-request-id"]


@pytest.mark.parametrize("body", [b"", b"not json", b'{"key": "file", "value": {}}', b'{"key": "header", "value": {}}'])
def test_a_commit_that_makes_no_sense_is_refused(hub: LocalHub, body: bytes) -> None:
    got = ask(f"{hub.url}/api/datasets/me/ds/commit/main", "POST", token=hub.token, body=body)
    assert got.status == 400


@pytest.mark.parametrize("path", ["../x", "a//b", "/x", ".git/config", "a/./b", "..\\x", "a\nb", ""])
def test_a_path_that_is_not_plain_is_refused(hub: LocalHub, path: str) -> None:
    body = commit_lines({"key": "file", "value": {"path": path, "content": "eA==", "encoding": "base64"}})
    assert ask(f"{hub.url}/api/datasets/me/ds/commit/main", "POST", token=hub.token, body=body).status == 422


def test_a_name_is_a_file_or_a_folder_but_not_both(hub: LocalHub) -> None:
    for path in ("a", "a/text.txt/b"):
        body = commit_lines({"key": "file", "value": {"path": path, "content": "eA==", "encoding": "base64"}})
        assert ask(f"{hub.url}/api/datasets/me/ds/commit/main", "POST", token=hub.token, body=body).status == 400


def test_the_hub_listens_on_loopback_alone(hub: LocalHub) -> None:
    port = int(hub.url.rpartition(":")[2])
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", port))
    with pytest.raises(RefusedError, match="a token that nobody chose"):
        LocalHub(hub.dir, host="0.0.0.0")  # noqa: S104 - that is what is refused
