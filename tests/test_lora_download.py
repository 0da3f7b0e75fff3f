"""Downloading LoRA weights: what arrives is what the Hub names, over bad networks and damaged caches too."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from qflux_hub import (
    HubError,
    NotFoundError,
    RefusedError,
    UsageError,
    VerificationError,
    download_lora,
    upload_lora,
    upload_lora_safetensors,
)
from qflux_hub.fetch import fetch_to_folder
from qflux_hub.localhub import LocalHub, RequestLog
from qflux_hub.report import Progress
from qflux_hub.repos import RemoteHead
from tests.jobtools import After, Answer, api, environment, forget, network, qflux, script
from tests.weights import QWEN, lora, numbers, pack, put

Log = list[RequestLog]
NAME = "pytorch_lora_weights.safetensors"


def random_weights(megabytes: float, seed: str = "") -> bytes:
    """A LoRA whose bytes do not compress."""
    import random

    count = int(megabytes * 1e6) // 4
    data = random.Random(seed).randbytes(2 * count)  # noqa: S311 - weights, not secrets
    small = bytes(byte & 0x3F if at % 2 else byte for at, byte in enumerate(data))
    tensors = {"transformer.x.lora_A.weight": ("BF16", (1, count), small)}
    tensors["transformer.x.lora_B.weight"] = ("BF16", (count, 1), small[::-1][1:] + b"\x01")
    return pack(tensors)


@pytest.fixture(scope="module")
def there(hub: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """(repo, content) of a LoRA of some size on the Hub; nobody changes it."""
    data = random_weights(6, "there")
    path = put(tmp_path_factory.mktemp("there") / NAME, data)
    upload_lora(path, "me/there", hub=hub)
    return "me/there", data


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that nothing is in yet."""
    monkeypatch.setenv("QFLUX_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def blob(path: str) -> Path:
    return Path(path).resolve()


def changed(path_part: str, change: Any, *, times: int = 1) -> After:
    """Alter the bodies of the first ``times`` answers whose path holds a part."""
    left = [times]

    def after(method: str, path: str, answer: Answer) -> Answer | None:
        if (
            method == "GET"
            and path_part in path
            and answer.status in (200, 206)
            and left[0]
            and len(answer.body) > 1000
        ):
            left[0] -= 1
            return change(answer)
        return answer

    return after


def flipped(answer: Answer) -> Answer:
    body = bytearray(answer.body)
    body[len(body) // 2] ^= 1
    return Answer(answer.status, answer.headers, bytes(body))


def without_xet(after: After | None = None) -> After:
    """A hub that does not know Xet, and then something else."""

    def handle(method: str, path: str, answer: Answer) -> Answer | None:
        headers = [(name, value) for name, value in answer.headers if name.lower() not in ("x-xet-hash", "link")]
        answer = Answer(answer.status, headers, answer.body)
        if "xet-" in path:
            return Answer(404, [], b"{}")
        return after(method, path, answer) if after else answer

    return handle


# --- what is meant ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_cache")
def test_the_documented_call_returns_a_path_that_is_a_text(hub: LocalHub, there: tuple[str, bytes]):
    repo, data = there
    path = download_lora(repo_id=repo, filename=NAME, hub=hub)
    assert Path(path).read_bytes() == data
    assert Path(path).name == NAME
    assert f"LoRA weights downloaded to: {path}".endswith(NAME)
    told = path.to_dict()
    assert [*told] == [
        "repo_id", "revision", "commit", "path", "size", "sha256", "verified", "from_cache", "bytes", "lora",
        "findings", "seconds",
    ]  # fmt: skip
    assert (told["verified"], told["from_cache"]) == (True, False)
    assert told["sha256"] == hashlib.sha256(data).hexdigest()
    assert told["bytes"]["received"] == told["size"] == len(data)
    assert told["lora"]["format"] == "diffusers-peft"


@pytest.mark.usefixtures("fresh_cache")
def test_the_second_time_it_comes_from_the_cache_for_one_request(hub: LocalHub, there: tuple[str, bytes], hub_log: Log):
    repo, _ = there
    first = download_lora(repo, hub=hub)
    forget(hub_log)
    again = download_lora(repo, hub=hub)
    assert again == first
    assert again.report.from_cache
    assert again.report.received == 0
    assert len([request for request in hub_log if repo in request.path]) == 1
    hub_log.clear()
    pinned = download_lora(repo, NAME, hub=hub, revision=again.report.commit)
    assert pinned == first
    assert [request for request in hub_log if repo in request.path] == []


@pytest.mark.usefixtures("fresh_cache")
def test_the_new_name_of_a_repo_is_followed(hub: LocalHub, there: tuple[str, bytes]):
    repo, data = there

    def before(method: str, path: str) -> Answer | None:
        return Answer(307, [("location", path.replace("me/old", repo))], b"") if "me/old" in path else None

    with network(hub, before=before) as way:
        path = download_lora("me/old", NAME, hub=way.url, token=hub.token)
    assert blob(path).read_bytes() == data


@pytest.mark.usefixtures("fresh_cache")
def test_a_hub_that_sends_in_circles_is_left(hub: LocalHub, there: tuple[str, bytes]):
    def after(method: str, path: str, answer: Answer) -> Answer:
        return Answer(307, [("location", path)], b"") if method == "HEAD" else answer

    with network(hub, after=after) as way, pytest.raises(HubError, match="in a circle"):
        download_lora(there[0], hub=way.url, token=hub.token)
    assert sum(seen.startswith("HEAD") for seen in way.seen) <= 15


@pytest.mark.usefixtures("fresh_cache")
def test_a_token_goes_to_no_other_host(hub: LocalHub, there: tuple[str, bytes]):
    with network(hub) as other:

        def before(method: str, path: str) -> Answer | None:
            return Answer(307, [("location", other.url + path)], b"") if method == "HEAD" else None

        with network(hub, before=before) as way, pytest.raises(HubError, match="no answer of a Hub"):
            download_lora(there[0], NAME, hub=way.url, token=hub.token)
    assert other.seen == []


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("into", [None, "here"])
def test_alpha_is_found_in_the_configuration_of_the_repo(
    hub: LocalHub, repo: str, tmp_path: Path, hub_log: Log, into: str | None
):
    config = b"model:\n  lora: {r: 2, lora_alpha: 1}\n"
    api(hub).create_repo(repo)
    for name, content in ((f"v1/{NAME}", lora()), ("v1/train_config.yaml", config)):
        api(hub).upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=repo)
    folder = into and tmp_path / into
    first = download_lora(f"{repo}/v1/{NAME}", hub=hub, local_dir=folder)
    forget(hub_log)
    again = download_lora(f"{repo}/v1/{NAME}", hub=hub, local_dir=folder)
    assert len([request for request in hub_log if repo in request.path]) <= 1
    for path in (first, again):
        assert (path.report.lora.alpha, path.report.lora.alpha_source) == (1.0, "train_config.yaml")
        assert [(one.code, one.fix) for one in path.report.findings] == [
            ("scales-differ", "load it with strength 0.5 in diffusers, with strength 0.5 in comfyui")
        ]
    if folder:
        assert [path.name for path in (folder / "v1").iterdir()] == [NAME]


def test_alpha_that_a_repo_does_not_say_is_told_in_words_for_who_downloads(hub: LocalHub, there: tuple[str, bytes]):
    (found,) = download_lora(there[0], hub=hub).report.findings
    assert (found.code, found.fix) == (
        "missing-alpha",
        "ask its author for alpha; the strength to load it with is alpha / rank",
    )


@pytest.mark.usefixtures("fresh_cache")
def test_what_is_cached_is_found_by_the_client_and_the_other_way_round(hub: LocalHub, there: tuple[str, bytes]):
    repo, data = there
    path = Path(download_lora(repo, hub=hub))
    cache = path.parents[3]
    offline = HfApi(hub.url, token=hub.token).hf_hub_download(repo, NAME, cache_dir=cache, local_files_only=True)
    assert Path(offline).read_bytes() == data
    shutil.rmtree(cache)
    api(hub).hf_hub_download(repo, NAME, cache_dir=cache)
    assert download_lora(repo, hub=hub).report.from_cache


@pytest.mark.usefixtures("fresh_cache")
def test_without_a_name_the_only_candidate_is_taken(hub: LocalHub, repo: str, tmp_path: Path):
    upload_lora(put(tmp_path / "a.safetensors", lora()), repo, hub=hub, remote_name="style.safetensors")
    assert Path(download_lora(repo, hub=hub)).name == "style.safetensors"
    upload_lora(put(tmp_path / "b.safetensors", lora(seed="b")), repo, hub=hub, remote_name="other.safetensors")
    with pytest.raises(UsageError, match=r"several LoRAs: other\.safetensors .*, style\.safetensors"):
        download_lora(repo, hub=hub)
    assert Path(download_lora(f"{repo}/other.safetensors", hub=hub)).read_bytes() == lora(seed="b")


def test_a_name_that_is_missing_lists_what_is_there(hub: LocalHub, there: tuple[str, bytes]):
    repo, _ = there
    with pytest.raises(NotFoundError, match=r"no file 'pytorch_lora_weight\.safetensors'") as missing:
        download_lora(repo, "pytorch_lora_weight.safetensors", hub=hub)
    assert f"Did you mean '{NAME}'? There is: {NAME} (6.0 MB)" in missing.value.hint


def test_repos_and_revisions_that_do_not_exist_are_not_found(hub: LocalHub, there: tuple[str, bytes]):
    with pytest.raises(NotFoundError, match="There is no me/nothing"):
        download_lora("me/nothing", hub=hub)
    with pytest.raises(NotFoundError, match="no revision 'nope'"):
        download_lora(there[0], hub=hub, revision="nope")


@pytest.mark.usefixtures("fresh_cache")
def test_revisions_are_told_apart(hub: LocalHub, repo: str, tmp_path: Path):
    for number in ("1", "2"):
        upload_lora(
            put(tmp_path / f"{number}.safetensors", lora(seed=number)), repo, hub=hub, tag=f"v{number}", card=False
        )
    assert Path(download_lora(repo, hub=hub, revision="v1")).read_bytes() == lora(seed="1")
    assert Path(download_lora(repo, hub=hub)).read_bytes() == lora(seed="2")


@pytest.mark.usefixtures("fresh_cache")
def test_a_small_regular_file_is_verified_by_its_git_hash(hub: LocalHub, repo: str):
    client = api(hub)
    client.create_repo(repo)
    client.upload_file(path_or_fileobj=b"* text\n", path_in_repo=".gitattributes", repo_id=repo)
    text = pack(
        {
            "transformer.x.lora_A.weight": ("U8", (2, 8), b"a" * 16),
            "transformer.x.lora_B.weight": ("U8", (8, 2), b"b" * 16),
        }
    )
    from qflux_hub.hub import Hub, Token
    from qflux_hub.repos import Add

    add = Add(NAME, len(text), content=text)
    Hub(hub.url, Token(hub.token, "given")).commit(repo, [add], [], parent=None, message="As text", repo_type="model")
    path = download_lora(repo, hub=hub)
    assert Path(path).read_bytes() == text
    assert (path.report.verified, path.report.sha256) == (True, None)


# --- networks that lose or alter --------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("xet", [True, False])
def test_a_flipped_bit_is_noticed_and_fetched_again(hub: LocalHub, there: tuple[str, bytes], xet: bool):
    repo, data = there
    after = changed("/xorb" if xet else "/storage/", flipped)
    with network(hub, after=after if xet else without_xet(after)) as way:
        path = download_lora(repo, hub=way.url, token=hub.token)
    assert Path(path).read_bytes() == data
    assert path.report.received > len(data)
    assert path.report.lane == ("Xet" if xet else "HTTP")


@pytest.mark.usefixtures("fresh_cache")
def test_a_content_store_that_fails_once_is_asked_again(hub: LocalHub, there: tuple[str, bytes]):
    repo, data = there
    gone = changed("/xorb", lambda _: Answer(404, [], b"{}"))
    with network(hub, after=gone) as way:
        path = download_lora(repo, hub=way.url, token=hub.token)
    assert Path(path).read_bytes() == data
    assert path.report.lane == "Xet"


def test_a_client_that_writes_its_file_in_another_order_is_read_again(tmp_path: Path):
    data = bytes(range(256)) * 10_000

    class Backwards:
        """What fetching needs of a hub."""

        def cache_of(self, repo_id: str) -> Path:
            return tmp_path / "cache" / repo_id

        def fetch_fast(self, *_: Any) -> bool:
            return False

        def fetch_into(self, _repo_id: str, _file: RemoteHead, target: Path, _type: str) -> Iterator[int]:
            with target.open("r+b") as out:
                out.truncate(len(data))
                yield len(data)
                out.write(data)
            yield len(data)

    file = RemoteHead(NAME, "c" * 40, len(data), hashlib.sha256(data).hexdigest(), "x")
    done = fetch_to_folder(Backwards(), "me/x", file, tmp_path, Progress(), force=False)  # type: ignore[arg-type]
    assert done.path.read_bytes() == data


def test_content_that_stays_wrong_is_not_kept(hub: LocalHub, there: tuple[str, bytes], fresh_cache: Path):
    repo, _ = there
    with (
        network(hub, after=without_xet(changed("/storage/", flipped, times=99))) as way,
        pytest.raises(VerificationError, match="came twice with another hash"),
    ):
        download_lora(repo, hub=way.url, token=hub.token)
    assert not [path for path in fresh_cache.rglob("*") if path.is_file() and path.stat().st_size > 1_000_000]


@pytest.mark.usefixtures("fresh_cache")
def test_a_body_that_ends_early_is_taken_up_where_it_ended(hub: LocalHub, there: tuple[str, bytes]):
    repo, data = there

    def short(answer: Answer) -> Answer:
        return Answer(answer.status, answer.headers, answer.body[:2_000_000])

    with network(hub, after=without_xet(changed("/storage/", short))) as way:
        path = download_lora(repo, hub=way.url, token=hub.token)
    assert Path(path).read_bytes() == data
    assert path.report.received == len(data)


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again(hub: LocalHub, there: tuple[str, bytes], status: int):
    repo, data = there

    def busy(answer: Answer) -> Answer:
        return Answer(status, [("retry-after", "0")], b"busy")

    with network(hub, after=without_xet(changed("/storage/", busy))) as way:
        path = download_lora(repo, hub=way.url, token=hub.token)
    assert Path(path).read_bytes() == data


@pytest.mark.usefixtures("fresh_cache")
def test_a_server_that_ignores_ranges_is_read_past_what_is_known(hub: LocalHub, there: tuple[str, bytes]):
    repo, data = there
    shortened = changed("/storage/", lambda answer: Answer(answer.status, answer.headers, answer.body[:2_000_000]))

    def after(method: str, path: str, answer: Answer) -> Answer | None:
        if "/storage/" in path and answer.status == 206:
            answer = Answer(200, [h for h in answer.headers if h[0].lower() != "content-range"], data)
        return shortened(method, path, answer)

    with network(hub, after=without_xet(after)) as way:
        path = download_lora(repo, hub=way.url, token=hub.token)
    assert Path(path).read_bytes() == data


@pytest.mark.parametrize("xet", [True, False])
def test_a_broken_download_goes_on_in_another_run(
    hub: LocalHub, there: tuple[str, bytes], fresh_cache: Path, hub_log: Log, xet: bool
):
    repo, data = there
    etag = hashlib.sha256(data).hexdigest()
    with network(hub, after=None if xet else without_xet()) as way:
        done = download_lora(repo, hub=way.url, token=hub.token)
        whole = blob(done)
        partial = whole.with_name(f"{etag}.partial")
        partial.write_bytes(data[:4_000_000])
        whole.unlink()
        hub_log.clear()
        again = download_lora(repo, hub=way.url, token=hub.token)
    assert blob(again).read_bytes() == data
    assert again.report.received == len(data) - 4_000_000
    assert not partial.exists()


@pytest.mark.usefixtures("fresh_cache")
def test_a_partial_file_of_wrong_bytes_is_started_over(hub: LocalHub, there: tuple[str, bytes]):
    repo, data = there
    whole = blob(download_lora(repo, hub=hub))
    whole.with_name(f"{whole.name}.partial").write_bytes(b"x" * 1000)
    whole.unlink()
    assert blob(download_lora(repo, hub=hub)).read_bytes() == data


@pytest.mark.usefixtures("fresh_cache")
def test_two_at_once_fetch_it_once(hub: LocalHub, there: tuple[str, bytes]):
    from concurrent.futures import ThreadPoolExecutor

    repo, data = there
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: download_lora(repo, hub=hub), range(2)))
    assert [Path(path).read_bytes() == data for path in paths] == [True, True]
    assert sorted(path.report.received for path in paths) == [0, len(data)]


# --- the cache --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_cache")
def test_a_damaged_cache_is_noticed_and_replaced(hub: LocalHub, there: tuple[str, bytes]):
    repo, data = there
    path = download_lora(repo, hub=hub)
    with blob(path).open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    again = download_lora(repo, hub=hub)
    assert Path(again).read_bytes() == data
    assert not again.report.from_cache
    assert "damaged-cache" in {finding.code for finding in again.report.findings}


@pytest.mark.usefixtures("fresh_cache")
def test_a_truncated_cache_is_replaced_too(hub: LocalHub, there: tuple[str, bytes]):
    repo, data = there
    os.truncate(blob(download_lora(repo, hub=hub)), 1000)
    assert Path(download_lora(repo, hub=hub)).read_bytes() == data


@pytest.mark.usefixtures("fresh_cache")
def test_a_hub_that_does_not_answer_leaves_the_cached_copy_and_says_so(hub: LocalHub, there: tuple[str, bytes]):
    repo, data = there
    with network(hub) as way:
        download_lora(repo, hub=way.url, token=hub.token)
        gone = way.url

        def down(method: str, path: str, answer: Answer) -> Answer:
            return Answer(404 if "xet" in path else 400, [], b"")

        way.after = down
        path = download_lora(repo, hub=gone, token=hub.token)
    assert Path(path).read_bytes() == data
    (said,) = [finding for finding in path.report.findings if finding.code == "cached-copy"]
    assert "the Hub was not asked" in said.message


def test_offline_the_cache_is_used_and_that_is_said(hub: LocalHub, there: tuple[str, bytes], tmp_path: Path):
    repo, _ = there
    env = environment(tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN=hub.token)
    first = qflux("download-lora", repo, "-q", env=env)
    told = qflux("download-lora", repo, "--json", env=env | {"HF_HUB_OFFLINE": "1"})
    report = json.loads(told.stdout)
    assert (told.returncode, report["path"]) == (0, first.stdout.strip())
    assert (report["verified"], report["from_cache"]) == (True, True)
    assert "cached-copy" in [finding["code"] for finding in report["findings"]]
    nothing = qflux("download-lora", "me/other", "--json", env=env | {"HF_HUB_OFFLINE": "1"})
    assert nothing.returncode == 5


# --- a folder ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_cache")
def test_a_folder_gets_the_file_and_no_other_file_is_replaced(hub: LocalHub, there: tuple[str, bytes], tmp_path: Path):
    repo, data = there
    folder = tmp_path / "models"
    path = download_lora(repo, hub=hub, local_dir=folder)
    assert Path(path) == folder / NAME
    assert Path(path).read_bytes() == data
    assert [one.name for one in folder.iterdir()] == [NAME]
    assert download_lora(repo, hub=hub, local_dir=folder).report.received == 0
    Path(path).write_bytes(b"my own")
    with pytest.raises(RefusedError, match="is another file"):
        download_lora(repo, hub=hub, local_dir=folder)
    assert Path(path).read_bytes() == b"my own"
    assert Path(download_lora(repo, hub=hub, local_dir=folder, force=True)).read_bytes() == data


def test_a_name_cannot_lead_out_of_the_folder(hub: LocalHub, tmp_path: Path):
    with pytest.raises(UsageError, match="cannot be a path"):
        download_lora("me/there", "../../x.safetensors", hub=hub, local_dir=tmp_path)


# --- the whole line ---------------------------------------------------------------------------------------------


def test_xet_is_told_to_use_the_whole_line(hub: LocalHub, there: tuple[str, bytes], tmp_path: Path):
    env = environment(tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN=hub.token, HF_HUB_ENABLE_HF_TRANSFER="1")
    told = qflux("download-lora", there[0], "-v", env=env)
    assert told.returncode == 0
    assert "by Xet, high performance" in told.stdout
    assert "deprecated" not in told.stderr


@pytest.mark.parametrize("flips", [0, 1])
def test_without_xet_large_files_come_in_parallel_ranges_and_are_verified(
    hub: LocalHub, repo: str, tmp_path: Path, flips: int
):
    shapes = {"A": (16, 70_000), "B": (70_000, 16)}
    empty = {f"transformer.x{n}.lora_{s}.weight": ("F16", shapes[s], bytes(2_240_000)) for n in range(16) for s in "AB"}
    data = pack(
        empty | {"transformer.y.lora_A.weight": numbers((2, 8)), "transformer.y.lora_B.weight": numbers((8, 2))}
    )
    assert len(data) > 64 * 1024 * 1024
    path = put(tmp_path / NAME, data)
    api(hub).create_repo(repo)
    api(hub).upload_file(path_or_fileobj=path, path_in_repo=NAME, repo_id=repo)
    ranges = []

    def after(method: str, path: str, answer: Answer) -> Answer | None:
        if "/storage/" in path and method == "GET":
            ranges.append(len(answer.body))
            if len(answer.body) > 1000 and len(ranges) <= flips + 1 and flips:
                return flipped(answer)
        return answer

    with network(hub, after=without_xet(after)) as way:
        env = environment(tmp_path, HF_ENDPOINT=way.url, HF_TOKEN=hub.token, HF_HUB_ENABLE_HF_TRANSFER="1")
        told = qflux("download-lora", repo, "-q", env=env)
    assert told.returncode == 0, told.stderr
    assert Path(told.stdout.strip()).read_bytes() == data
    assert len([size for size in ranges if size == 10 * 1024 * 1024]) >= 5


# --- the whole story --------------------------------------------------------------------------------------------


def test_the_documented_example_works_from_a_plain_script(hub: LocalHub, repo: str, tmp_path: Path):
    put(tmp_path / "out" / NAME, lora(modules=QWEN[:2]))
    put(tmp_path / "train_config.yaml", b"model:\n  lora: {r: 2, lora_alpha: 2}\n")
    source = f"""
from qflux_hub import download_lora, upload_lora_safetensors

repo_url = upload_lora_safetensors(
    src_path={str(tmp_path / "out")!r},
    repo_id={repo!r},
    private=False,
    extra_files={{{str(tmp_path / "train_config.yaml")!r}: "train_config.yaml"}},
)
print(repo_url)
lora_path = download_lora(repo_id={repo!r})
print(lora_path)
"""
    env = environment(tmp_path / "home", HF_ENDPOINT=hub.url, HUGGINGFACE_HUB_TOKEN=hub.token)
    done = script(source, env=env)
    assert done.returncode == 0, done.stderr
    url, path = done.stdout.splitlines()
    assert url == f"{hub.url}/{repo}"
    assert Path(path).read_bytes() == lora(modules=QWEN[:2])
    assert done.stderr == ""


def test_a_killed_download_leaves_nothing_that_looks_whole(hub: LocalHub, there: tuple[str, bytes], tmp_path: Path):
    repo, data = there
    env = environment(tmp_path, HF_ENDPOINT="", HF_TOKEN=hub.token)
    import threading

    started = threading.Event()

    def slow(method: str, path: str, answer: Answer) -> Answer | None:
        if "/storage/" in path and method == "GET":
            started.set()
            return Answer(answer.status, answer.headers, answer.body[:3_000_000])
        return answer

    with network(hub, after=without_xet(slow)) as way:
        process = subprocess.Popen(
            [sys.executable, "-m", "qflux_hub", "download-lora", repo, "-q"],
            env=env | {"HF_ENDPOINT": way.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.wait(30)
        process.kill()
        process.communicate()
        way.after = without_xet()
        done = qflux("download-lora", repo, "-q", env=env | {"HF_ENDPOINT": way.url})
    assert Path(done.stdout.strip()).read_bytes() == data


def test_what_is_uploaded_by_one_and_downloaded_by_the_other_is_the_same(hub: LocalHub, repo: str, tmp_path: Path):
    path = put(tmp_path / NAME, random_weights(1, repo))
    url = upload_lora_safetensors(path, repo, hub=hub)
    assert url.report.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    theirs = api(hub).hf_hub_download(repo, NAME, cache_dir=tmp_path / "cache")
    assert Path(theirs).read_bytes() == path.read_bytes()


def test_a_hub_that_is_not_there_is_an_error_of_the_network(hub: LocalHub):
    with pytest.raises(HubError, match="No answer"):
        download_lora("me/there", hub="http://127.0.0.1:9", token=hub.token)
