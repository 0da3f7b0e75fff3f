"""How bytes travel: by Xet where a Hub speaks it, otherwise without; and that it is said which way was taken."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path

import pytest

from qflux_hub import download_dataset, download_lora, load_editing_dataset, upload_dataset, upload_lora
from qflux_hub.fetch import fetch_to_cache
from qflux_hub.hub import Hub, Token
from qflux_hub.localhub import LocalHub
from qflux_hub.report import Progress
from qflux_hub.state import store
from tests.builders import lay_split
from tests.jobtools import Answer, api, network
from tests.weights import QWEN, lora, put


def without_xet(method: str, path: str, answer: Answer) -> Answer:
    """A mirror: it repeats what the Hub says of its content store, and has none."""
    return Answer(404, [], b'{"error":"Not found"}') if "xet-" in path else answer


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFLUX_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.parametrize("accelerated", [False, True])
@pytest.mark.parametrize("xet", [True, False])
def test_datasets_and_weights_take_the_way_that_is_there_and_say_which(
    hub: LocalHub,
    repo: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    xet: bool,
    accelerated: bool,
) -> None:
    monkeypatch.setenv("HF_HUB_ENABLE_HF_TRANSFER", "1" if accelerated else "0")
    caplog.set_level(logging.INFO, "qflux_hub")
    weights = put(tmp_path / "a.safetensors", lora(modules=QWEN[:2], rank=2, seed=repo))
    root, style = lay_split(tmp_path / "ds", "train", "ab"), f"{repo}-lora"

    def lane() -> list[str]:
        said = [line.removeprefix("Content travels by ") for line in caplog.messages if "travels" in line]
        caplog.clear()
        return said

    with network(hub, after=None if xet else without_xet) as way:
        there = {"hub": way.url, "token": hub.token}
        high = "Xet, high performance." if accelerated else "Xet."
        upload_dataset(root, repo, **there)
        assert lane() == [high if xet else "LFS over HTTP."]
        assert load_editing_dataset(repo, "train", **there)["id"][:] == ["a", "b"]
        assert lane() == [high if xet else "HTTP."]
        download_dataset(repo, tmp_path / "out", **there)
        assert lane() == [f"HTTP, in byte ranges, up to {13 if accelerated else 4} at once."]
        upload_lora(weights, style, **there)
        assert lane() == [high if xet else "LFS over HTTP."]
        assert Path(download_lora(style, **there)).read_bytes() == weights.read_bytes()
        assert lane() == [high if xet else "HTTP."]


def test_large_files_of_datasets_come_in_parallel_ranges_without_xet(
    hub: LocalHub, repo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_ENABLE_HF_TRANSFER", "1")
    data = bytes(65 * 1024 * 1024) + repo.encode()
    client = api(hub)
    client.create_repo(repo, repo_type="dataset")
    commit = client.upload_file(path_or_fileobj=data, path_in_repo="a.tar", repo_id=repo, repo_type="dataset").oid
    with network(hub, after=without_xet) as way:
        opened = Hub(way.url, Token(hub.token, "given"))
        (file,) = opened.heads(repo, ["a.tar"], commit)
        fetched = fetch_to_cache(opened, repo, file, commit, Progress(), "dataset")
        asked = [line for line in way.seen if "/storage/" in line or "/resolve/" in line]
    assert hashlib.sha256(fetched.path.read_bytes()).digest() == hashlib.sha256(data).digest()
    assert opened.lane == "HTTP in parallel ranges (hf_transfer)"
    assert len(asked) >= 7


def test_a_hub_without_xet_is_not_asked_again_for_a_day(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    def upload(seed: str) -> int:
        way.seen.clear()
        path = put(tmp_path / f"{seed}.safetensors", lora(modules=QWEN[:2], rank=2, seed=repo + seed))
        assert upload_lora(path, repo, hub=far, token=hub.token).lane == "LFS over HTTP"
        return sum("xet-write-token" in line for line in way.seen)

    with network(hub, after=without_xet) as way:
        far = way.url.replace(
            "127.0.0.1", "127.1"
        )  # hubs on this machine are asked every time; this looks like another
        assert upload("a") == 1
        assert upload("b") == 0
        store(f"{far} without Xet", str(int(time.time() // 86400) - 1), b"")  # as yesterday left it
        assert upload("c") == 1


def test_a_hub_that_no_longer_takes_lfs_is_asked_anew(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    path = put(tmp_path / "a.safetensors", lora(modules=QWEN[:2], rank=2, seed=repo))
    with network(hub) as way:
        far = way.url.replace("127.0.0.1", "127.1")
        store(f"{far} without Xet", str(int(time.time() // 86400)), b"")
        way.after = lambda _, where, answer: Answer(410, [], b"{}") if "/info/lfs/" in where else answer
        with pytest.raises(Exception, match="410"):
            upload_lora(path, repo, hub=far, token=hub.token)
        assert upload_lora(path, repo, hub=far, token=hub.token).lane == "Xet"
