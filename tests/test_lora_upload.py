"""Uploading LoRA weights: what is on the Hub afterwards, and what was sent for it. Real clients, real files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer.main

from qflux_hub import (
    ConflictError,
    DataError,
    HubError,
    NotFoundError,
    RefusedError,
    UsageError,
    VisibilityError,
    compare_loras,
    download_lora,
    inspect_lora,
    options,
    upload_lora,
    upload_lora_safetensors,
)
from qflux_hub.cli import run
from qflux_hub.cli.commands import app
from qflux_hub.localhub import LocalHub, RequestLog
from qflux_hub.lora.results import LoraUpload
from tests.builders import picture
from tests.jobtools import Answer, api, environment, is_commit, network, once, qflux, writes
from tests.weights import QWEN, lora, numbers, pack, put, shapes

Log = list[RequestLog]
NAME = "pytorch_lora_weights.safetensors"
CONFIG = "model:\n  pretrained_model_name_or_path: Qwen/Qwen-Image-Edit\n  lora:\n    r: 2\n    lora_alpha: 1\n"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A LoRA under the canonical name, in a folder of its own."""
    return put(tmp_path / "out" / NAME, lora(modules=QWEN[:6]))


def actions(report: LoraUpload) -> dict[str, str]:
    return {file.path: file.action for file in report.files}


def codes(report: LoraUpload) -> set[str]:
    return {finding.code for finding in report.findings}


def files(hub: LocalHub, repo: str, revision: str | None = None) -> dict[str, bytes]:
    """path -> content of every file of a model repo but .gitattributes."""
    client = api(hub)
    names = [file.rfilename for file in client.model_info(repo, revision=revision).siblings or ()]
    return {name: fetch(hub, repo, name, revision) for name in names if name != ".gitattributes"}


def fetch(hub: LocalHub, repo: str, path: str, revision: str | None = None) -> bytes:
    import urllib.request

    url = f"{hub.url}/{repo}/resolve/{revision or 'main'}/{path}"
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {hub.token}"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return answer.read()


def asked(log: Log, repo: str) -> Log:
    """The requests about one repo; the last one of an earlier test may be logged late."""
    return [request for request in log if repo in request.path]


def commits(hub: LocalHub, repo: str, revision: str | None = None) -> list[str]:
    return [commit.title for commit in api(hub).list_repo_commits(repo, revision=revision)]


# --- the first upload, and the second ---------------------------------------------------------------------------


def test_a_first_upload_is_one_commit_of_weights_extra_files_and_card(hub: LocalHub, repo: str, weights: Path):
    config = put(weights.parent.parent / "cfg.yaml", CONFIG.encode())
    report = upload_lora(weights, repo, hub=hub, extra_files={str(config): "configs/train.yaml"})
    assert commits(hub, repo) == [f"Upload {NAME}", "initial commit"]
    there = files(hub, repo)
    assert there.keys() == {NAME, "configs/train.yaml", "README.md"}
    assert there[NAME] == weights.read_bytes()
    assert there["configs/train.yaml"] == config.read_bytes()
    assert actions(report) == {NAME: "add", "configs/train.yaml": "add", "README.md": "add"}


def test_the_report_says_what_was_done(hub: LocalHub, repo: str, weights: Path):
    told = upload_lora(weights, repo, hub=hub).to_dict()
    assert [*told] == [
        "repo_id", "url", "revision", "commit", "changed", "dry_run", "private", "files", "bytes", "lora", "findings",
        "seconds",
    ]  # fmt: skip
    assert told["commit"] == api(hub).model_info(repo).sha
    assert (told["url"], told["changed"], told["private"]) == (f"{hub.url}/{repo}", True, True)
    first = told["files"][0]
    assert first == {
        "path": NAME,
        "action": "add",
        "reason": "new",
        "size": weights.stat().st_size,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    assert told["lora"]["sha256"] == first["sha256"]
    assert told["lora"]["format"] == "diffusers-peft"
    assert told["bytes"]["sent"] > 0


def test_the_same_again_takes_two_requests_and_writes_nothing(hub: LocalHub, repo: str, weights: Path, hub_log: Log):
    extra = {str(put(weights.parent / "train_config.yaml", CONFIG.encode())): "train_config.yaml"}
    first = upload_lora(weights, repo, hub=hub, extra_files=extra)
    hub_log.clear()
    again = upload_lora(weights, repo, hub=hub, extra_files=extra)
    assert len(asked(hub_log, repo)) <= 2
    assert writes(asked(hub_log, repo)) == []
    assert set(actions(again).values()) == {"same"}
    assert (again.changed, again.commit, again.sent) == (False, first.commit, 0)


def test_an_unchanged_file_is_not_even_read_again(hub: LocalHub, repo: str, weights: Path):
    upload_lora(weights, repo, hub=hub)
    size = weights.stat().st_size
    content, stat = weights.read_bytes(), weights.stat()
    header = int.from_bytes(content[:8], "little") + 8
    with weights.open("r+b") as file:  # behind the header, size, time and inode as before: only reading would show it
        file.seek(header)
        file.write(bytes(size - header))
    import os

    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert upload_lora(weights, repo, hub=hub).changed is False


def test_other_weights_are_an_update_and_other_files_stay(hub: LocalHub, repo: str, weights: Path):
    upload_lora(weights, repo, hub=hub)
    api(hub).upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id=repo)
    weights.write_bytes(lora(modules=QWEN[:6], seed="other"))
    report = upload_lora(weights, repo, hub=hub)
    assert actions(report)[NAME] == "update"
    assert files(hub, repo)[NAME] == weights.read_bytes()
    assert files(hub, repo)["notes.txt"] == b"mine"


def test_known_content_under_another_name_is_copied_and_not_sent(hub: LocalHub, repo: str, weights: Path, hub_log: Log):
    upload_lora(weights, repo, hub=hub)
    hub_log.clear()
    report = upload_lora(weights, repo, hub=hub, remote_name="v1/first.safetensors", card=False)
    assert actions(report) == {"v1/first.safetensors": "copy"}
    assert report.sent == 0
    assert not [request for request in hub_log if "xorb" in request.path]
    assert files(hub, repo)["v1/first.safetensors"] == weights.read_bytes()


def test_a_dry_run_writes_nothing_and_says_the_plan(hub: LocalHub, repo: str, weights: Path, hub_log: Log):
    hub_log.clear()
    report = upload_lora(weights, repo, hub=hub, dry_run=True)
    assert writes(asked(hub_log, repo)) == []
    assert (report.dry_run, report.changed, actions(report)[NAME]) == (True, False, "add")


# --- the documented function ------------------------------------------------------------------------------------


def test_the_documented_call_returns_the_url_as_a_text_with_a_report(hub: LocalHub, repo: str, weights: Path):
    config = put(weights.parent / "adapter.json", b"{}")
    url = upload_lora_safetensors(
        src_path=str(weights.parent),
        repo_id=repo,
        token=hub.token,
        private=False,
        remote_name=NAME,
        commit_message="Upload trained LoRA model",
        extra_files={str(config): "adapter_config.json"},
        hub=hub,
    )
    assert url == f"{hub.url}/{repo}"
    assert f"Model uploaded to: {url}" == f"Model uploaded to: {hub.url}/{repo}"
    assert url.report.changed
    assert url.to_dict() == url.report.to_dict()
    assert commits(hub, repo)[0] == "Upload trained LoRA model"
    assert api(hub).model_info(repo).private is False


def test_what_the_documented_call_leaves_out_may_be_none(hub: LocalHub, repo: str, weights: Path):
    url = upload_lora_safetensors(
        str(weights), repo, token=None, private=None, remote_name=None, commit_message=None, extra_files=None, hub=hub
    )
    assert [file.path for file in url.report.files] == [NAME, "README.md"]


def test_a_single_file_of_any_name_gets_the_default_name(hub: LocalHub, repo: str, tmp_path: Path):
    report = upload_lora(put(tmp_path / "my-style.safetensors", lora()), repo, hub=hub)
    assert report.files[0].path == NAME


def test_an_adapter_of_peft_keeps_its_name_and_brings_its_configuration(hub: LocalHub, repo: str, tmp_path: Path):
    put(tmp_path / "adapter_config.json", json.dumps({"r": 2, "lora_alpha": 2, "peft_type": "LORA"}).encode())
    put(tmp_path / "adapter_model.safetensors", lora("peft"))
    report = upload_lora(tmp_path, repo, hub=hub)
    assert actions(report).keys() == {"adapter_model.safetensors", "adapter_config.json", "README.md"}


def test_a_new_repo_is_private_and_a_wish_is_obeyed(hub: LocalHub, repo: str, weights: Path):
    upload_lora(weights, repo, hub=hub)
    assert api(hub).model_info(repo).private is True
    with pytest.raises(VisibilityError, match="is private, but public was asked for"):
        upload_lora(weights, repo, False, hub=hub)
    assert upload_lora(weights, repo, False, hub=hub, keep_visibility=True).private is True


# --- which files ------------------------------------------------------------------------------------------------


def test_of_a_folder_the_only_file_is_meant(hub: LocalHub, repo: str, tmp_path: Path):
    path = put(tmp_path / "one.safetensors", lora())
    put(tmp_path / "deeper" / "two.safetensors", lora(seed="2"))
    upload_lora(tmp_path, repo, hub=hub, card=False)
    assert files(hub, repo) == {NAME: path.read_bytes()}


def test_several_files_are_listed_and_none_is_guessed(hub: LocalHub, repo: str, tmp_path: Path):
    for name in ("a", "b"):
        put(tmp_path / f"{name}.safetensors", lora(seed=name))
    with pytest.raises(UsageError, match=r"several LoRAs: a\.safetensors, b\.safetensors"):
        upload_lora(tmp_path, repo, hub=hub)


def test_high_and_low_noise_belong_together(hub: LocalHub, repo: str, tmp_path: Path):
    for side in ("high", "low"):
        put(tmp_path / f"wan_{side}_noise.safetensors", lora(seed=side))
    report = upload_lora(tmp_path, repo, hub=hub, card=False)
    assert actions(report) == {"wan_high_noise.safetensors": "add", "wan_low_noise.safetensors": "add"}
    half = upload_lora(tmp_path / "wan_high_noise.safetensors", repo, hub=hub, dry_run=True)
    assert "twin-left-out" in codes(half)


def test_several_files_go_in_one_commit_under_their_own_names(hub: LocalHub, repo: str, tmp_path: Path):
    paths = [put(tmp_path / f"{name}.safetensors", lora(seed=name)) for name in ("a", "b")]
    upload_lora(paths, repo, hub=hub, card=False)
    assert files(hub, repo).keys() == {"a.safetensors", "b.safetensors"}
    assert len(commits(hub, repo)) == 2
    assert upload_lora(str(tmp_path / "*.safetensors"), repo, hub=hub, card=False).changed is False


def test_checkpoints_are_chosen_by_step_or_as_the_last(hub: LocalHub, repo: str, tmp_path: Path):
    for folder in ("checkpoint-0-900", "checkpoint-1-1000", "checkpoint-last-1-1100-last"):
        put(tmp_path / folder / NAME, lora(seed=folder))
    with pytest.raises(UsageError, match="checkpoint-0-900") as refused:
        upload_lora(tmp_path, repo, hub=hub)
    assert "--checkpoint STEP (900, 1000, 1100)" in refused.value.hint
    report = upload_lora(tmp_path, repo, hub=hub, checkpoint="last", card=False)
    assert report.files[0].reason == "new, of checkpoint-last-1-1100-last"
    assert files(hub, repo)[NAME] == lora(seed="checkpoint-last-1-1100-last")
    upload_lora(tmp_path, repo, hub=hub, checkpoint="1000", card=False)
    assert files(hub, repo)[NAME] == lora(seed="checkpoint-1-1000")
    with pytest.raises(NotFoundError, match="no checkpoint 950"):
        upload_lora(tmp_path, repo, hub=hub, checkpoint="950")


def test_numbered_files_are_checkpoints_too_and_the_bare_name_is_the_last(hub: LocalHub, repo: str, tmp_path: Path):
    for name in ("job_000000900", "job_000001000", "job"):
        put(tmp_path / f"{name}.safetensors", lora(seed=name))
    upload_lora(tmp_path, repo, hub=hub, checkpoint="last", card=False)
    assert files(hub, repo)[NAME] == lora(seed="job")


# --- what is refused before the first request -------------------------------------------------------------------

BAD_PATHS = [
    "",
    "/a",
    "a/",
    "a//b",
    "a/./b",
    "../a",
    "a/../../b",
    "a\\b",
    "C:\\x",
    "a\nb",
    ".git/config",
    " a",
    "x" * 300,
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_a_repo_cannot_hold_are_refused(path: str, weights: Path):
    other = put(weights.parent / "x.txt", b"x")
    with pytest.raises(UsageError):
        upload_lora(weights, "me/none", extra_files={str(other): path or "/"})


def test_a_missing_extra_file_stops_everything_before_the_first_request(
    hub: LocalHub, repo: str, weights: Path, hub_log: Log
):
    hub_log.clear()
    with pytest.raises(NotFoundError, match=r"nope\.yaml"):
        upload_lora(weights, repo, hub=hub, extra_files={"nope.yaml": "a.yaml"})
    assert asked(hub_log, repo) == []


@pytest.mark.parametrize("second", [NAME, NAME.upper().replace("SAFETENSORS", "safetensors"), f"{NAME}/inside.txt"])
def test_files_that_want_one_place_are_refused(second: str, weights: Path):
    other = put(weights.parent / "x.txt", b"x")
    with pytest.raises(UsageError):
        upload_lora(weights, "me/none", extra_files={str(other): second})


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.ckpt", "optimizer.pkl"])
def test_pickles_are_refused_with_the_way_out(tmp_path: Path, weights: Path, name: str):
    pickle = put(tmp_path / name, b"\x80\x04.")
    with pytest.raises(RefusedError, match="pickle") as refused:
        upload_lora(pickle, "me/none")
    assert "save_file" in refused.value.hint
    with pytest.raises(RefusedError, match="pickle"):
        upload_lora(weights, "me/none", extra_files=[str(pickle)])


def test_a_folder_of_pickles_is_refused_as_such(tmp_path: Path):
    put(tmp_path / "pytorch_lora_weights.bin", b"\x80\x04.")
    with pytest.raises(RefusedError, match="pickle"):
        upload_lora(tmp_path, "me/none")


def test_an_error_is_told_once(weights: Path, capsys):
    weights.write_bytes(weights.read_bytes()[:-7])
    assert run(["upload-lora", str(weights), "me/none"]) == 1
    told = capsys.readouterr().err
    assert told.count("still being written") == 1
    assert "error: 1 error in what was to be uploaded; nothing was sent." in told


@pytest.mark.parametrize("base", ["not an id", "Qwen", "a/b/c", "-a/b", "", "https://huggingface.co/Qwen/Qwen-Image"])
def test_a_base_model_that_is_no_id_is_wrong_usage_before_anything_is_read(tmp_path: Path, base: str):
    with pytest.raises(UsageError, match=f"--base-model {base!r} is no id of a model") as wrong:
        upload_lora(tmp_path / "none.safetensors", "me/none", base_model=base)
    assert wrong.value.hint == "It is user/name, as in Qwen/Qwen-Image-Edit."


def test_broken_weights_are_refused_with_their_finding(weights: Path):
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(DataError, match="nothing was sent") as refused:
        upload_lora(weights, "me/none")
    found = refused.value.report.to_dict()["findings"][0]
    assert found["code"] == "truncated-weights"
    assert "still being written" in found["message"]


def test_a_checkpoint_that_is_no_lora_is_refused(tmp_path: Path):
    path = put(tmp_path / "model.safetensors", pack({"transformer_blocks.0.attn.to_q.weight": numbers((2, 2))}))
    with pytest.raises(DataError) as refused:
        upload_lora(path, "me/none")
    assert "full checkpoint, not a LoRA" in refused.value.report.findings[0].message


def test_weights_that_are_no_numbers_are_not_sent(hub: LocalHub, repo: str, tmp_path: Path, hub_log: Log):
    data = bytearray(lora())
    data[-2:] = b"\xc0\x7f"
    hub_log.clear()
    with pytest.raises(DataError) as refused:
        upload_lora(put(tmp_path / "a.safetensors", bytes(data)), repo, hub=hub)
    assert "not a number" in " ".join(one.message for one in refused.value.report.findings)
    assert writes(asked(hub_log, repo)) == []


def test_several_files_cannot_have_one_name(tmp_path: Path):
    paths = [put(tmp_path / f"{name}.safetensors", lora(seed=name)) for name in ("a", "b")]
    with pytest.raises(UsageError, match="one file"):
        upload_lora(paths, "me/none", remote_name="x.safetensors")


def test_a_read_token_is_refused_before_anything_is_hashed(hub: LocalHub, repo: str, weights: Path, hub_log: Log):
    token = hub.add_user("reader", "read")
    hub_log.clear()
    with pytest.raises(Exception, match="may only read"):
        upload_lora(weights, "reader/x", hub=hub.url, token=token)
    assert writes(asked(hub_log, repo)) == []


# --- branches, tags, pull requests ------------------------------------------------------------------------------


def test_a_branch_is_made_and_main_stays(hub: LocalHub, repo: str, weights: Path):
    upload_lora(weights, repo, hub=hub)
    weights.write_bytes(lora(seed="2"))
    report = upload_lora(weights, repo, hub=hub, revision="try")
    assert report.revision == "try"
    assert files(hub, repo, "try")[NAME] == lora(seed="2")
    assert files(hub, repo)[NAME] != lora(seed="2")


def test_a_tag_names_the_commit_and_is_never_moved(hub: LocalHub, repo: str, weights: Path):
    report = upload_lora(weights, repo, hub=hub, tag="v1")
    assert api(hub).list_repo_refs(repo).tags[0].target_commit == report.commit
    with pytest.raises(RefusedError, match="has a tag 'v1' already"):
        upload_lora(weights, repo, hub=hub, tag="v1")


def test_a_pull_request_leaves_main_as_it_is(hub: LocalHub, repo: str, weights: Path):
    upload_lora(weights, repo, hub=hub)
    before = api(hub).model_info(repo).sha
    weights.write_bytes(lora(seed="2"))
    report = upload_lora(weights, repo, hub=hub, create_pr=True)
    assert report.pull_request
    assert api(hub).model_info(repo).sha == before
    assert fetch(hub, repo, NAME, "refs%2Fpr%2F1") == lora(seed="2")


# --- others, and bad networks -----------------------------------------------------------------------------------


def test_a_commit_of_someone_else_is_planned_on(hub: LocalHub, repo: str, weights: Path):
    upload_lora(weights, repo, hub=hub)
    weights.write_bytes(lora(seed="2"))

    def other() -> None:
        api(hub).upload_file(path_or_fileobj=b"x", path_in_repo="other.txt", repo_id=repo)

    with network(hub, before=once(other)) as way:
        upload_lora(weights, repo, hub=way.url, token=hub.token)
    assert files(hub, repo)[NAME] == lora(seed="2")
    assert files(hub, repo)["other.txt"] == b"x"


def test_someone_who_never_stops_committing_is_a_conflict(hub: LocalHub, repo: str, weights: Path):
    upload_lora(weights, repo, hub=hub)
    weights.write_bytes(lora(seed="2"))
    count = []

    def other(method: str, path: str) -> None:
        if is_commit(method, path):
            count.append(1)
            api(hub).upload_file(path_or_fileobj=str(len(count)).encode(), path_in_repo="other.txt", repo_id=repo)

    with network(hub, before=other) as way, pytest.raises(ConflictError, match="changed 3 times"):
        upload_lora(weights, repo, hub=way.url, token=hub.token)
    assert len(count) == 3


def test_a_lost_answer_to_the_commit_is_found_out(hub: LocalHub, repo: str, weights: Path):
    upload_lora(weights, repo, hub=hub)
    weights.write_bytes(lora(seed="2"))
    with network(hub, after=lambda method, path, answer: None if is_commit(method, path) else answer) as way:
        report = upload_lora(weights, repo, hub=way.url, token=hub.token)
    assert report.changed
    assert report.commit == api(hub).model_info(repo).sha
    assert len(commits(hub, repo)) == 3


@pytest.mark.parametrize("part", ["/preupload/", "/xorbs/", "/commit/"])
def test_a_hub_that_is_busy_is_asked_again(hub: LocalHub, repo: str, weights: Path, part: str):
    upload_lora(weights, repo, hub=hub, card=False)
    weights.write_bytes(lora(modules=QWEN[:4], seed=repo))
    refused = []

    def busy(_: str, path: str) -> Answer | None:
        if part not in path or refused:
            return None
        refused.append(path)
        return Answer(429, [("retry-after", "0")], b"busy")

    with network(hub, before=busy) as way:
        upload_lora(weights, repo, hub=way.url, token=hub.token, card=False)
    assert refused
    assert len(commits(hub, repo)) == 3
    assert files(hub, repo)[NAME] == weights.read_bytes()


def test_a_commit_that_failed_is_not_taken_for_done(hub: LocalHub, repo: str, weights: Path):
    upload_lora(weights, repo, hub=hub)
    weights.write_bytes(lora(seed="2"))

    def fail(method: str, path: str, answer: Answer) -> Answer:
        return Answer(503, [], b"busy") if is_commit(method, path) else answer

    def before(method: str, path: str) -> None:
        if is_commit(method, path):
            raise ConnectionError("never passed on")

    with network(hub, before=before) as way, pytest.raises(HubError):
        upload_lora(weights, repo, hub=way.url, token=hub.token)
    assert files(hub, repo)[NAME] == lora(modules=QWEN[:6])


def _without_xet(method: str, path: str, answer: Answer) -> Answer:
    return Answer(404, [], b'{"error":"Not found"}') if "xet-" in path else answer


@pytest.mark.parametrize(("rank", "route"), [(1, "/lfs/object/"), (12, "/lfs/part/")])
def test_a_hub_without_xet_gets_the_weights_by_lfs(
    hub: LocalHub, repo: str, tmp_path: Path, hub_log: Log, rank: int, route: str
):
    pair = {"transformer.x.lora_A.weight": numbers((2, 8), seed=repo), "transformer.x.lora_B.weight": numbers((8, 2))}
    path = put(tmp_path / "a.safetensors", pack(shapes("diffusers-peft", QWEN, rank=rank, width=3072) | pair))
    with network(hub, after=_without_xet) as way:
        hub_log.clear()
        report = upload_lora(path, repo, hub=way.url, token=hub.token)
        assert report.lane == "LFS over HTTP"
        assert report.sent == path.stat().st_size
        assert upload_lora(path, repo, hub=way.url, token=hub.token).changed is False
    assert any(route in request.path for request in hub_log)
    assert files(hub, repo)[NAME] == path.read_bytes()


def test_a_file_that_is_written_while_it_is_sent_is_not_published(hub: LocalHub, repo: str, weights: Path):
    upload_lora(weights, repo, hub=hub)
    before = api(hub).model_info(repo).sha
    weights.write_bytes(lora(modules=QWEN[:6], seed="2"))

    def trainer() -> None:
        weights.write_bytes(lora(modules=QWEN[:6], seed="3"))

    is_preupload = lambda method, path: "/preupload/" in path  # noqa: E731, ARG005
    with network(hub, before=once(trainer, is_preupload)) as way, pytest.raises(DataError, match="changed while"):
        upload_lora(weights, repo, hub=way.url, token=hub.token)
    assert api(hub).model_info(repo).sha == before


# --- the card ---------------------------------------------------------------------------------------------------


def front_matter(card: bytes) -> dict[str, Any]:
    import yaml

    return yaml.safe_load(card.decode().split("---")[1])


def test_a_new_card_says_what_the_widget_and_the_model_tree_need(hub: LocalHub, repo: str, weights: Path):
    put(weights.parent / "train_config.yaml", CONFIG.encode())
    images = {name: put(weights.parent / name, picture(name)) for name in ("cat.png", "cat_control.png")}
    upload_lora(
        weights,
        repo,
        hub=hub,
        trigger="zwx style",
        samples=[f'{images["cat.png"]}:Make it: a "cat" # 1', str(images["cat_control.png"])],
    )
    card = files(hub, repo)["README.md"]
    assert front_matter(card) == {
        "base_model": "Qwen/Qwen-Image-Edit",
        "base_model_relation": "adapter",
        "license": "apache-2.0",
        "pipeline_tag": "image-to-image",
        "library_name": "diffusers",
        "instance_prompt": "zwx style",
        "tags": ["lora", "diffusers", "template:diffusion-lora"],
        "widget": [{"text": 'Make it: a "cat" # 1', "output": {"url": "images/cat.png"}}],
    }
    assert b"<Gallery />" in card
    assert b"| ![before](images/cat_control.png) | ![after](images/cat.png) |" in card
    assert b"Alpha | 1 (scale 0.5)" in card
    assert files(hub, repo)["images/cat.png"] == picture("cat.png")


USERS_CARD = (
    "---\r\n# my comment\r\ncustom: no\r\ntags: [mine, 'lora']   # kept\r\nlicense: mit\r\nversion: 1.10\r\n---\r\n"
    "# My own words\r\n\r\nNobody may touch these.  \r\n"
)


def test_a_users_card_survives_byte_for_byte_and_a_second_run_changes_nothing(hub: LocalHub, repo: str, weights: Path):
    client = api(hub)
    client.create_repo(repo)
    client.upload_file(path_or_fileobj=USERS_CARD.encode(), path_in_repo="README.md", repo_id=repo)
    report = upload_lora(weights, repo, hub=hub, base_model="Qwen/Qwen-Image-Edit")
    card = files(hub, repo)["README.md"].decode()
    assert "tags: [mine, 'lora', diffusers, \"template:diffusion-lora\"]   # kept\r\n" in card
    for line in USERS_CARD.splitlines(keepends=True):
        assert line in card or line.startswith("tags")
    assert front_matter(card.encode())["license"] == "mit"
    assert "kept-in-card" in codes(report)
    assert upload_lora(weights, repo, hub=hub, base_model="Qwen/Qwen-Image-Edit").changed is False
    assert files(hub, repo)["README.md"].decode() == card


def test_a_card_of_the_users_own_is_uploaded_as_it_is(hub: LocalHub, repo: str, weights: Path):
    card = put(weights.parent / "README.md", USERS_CARD.encode())
    upload_lora(weights, repo, hub=hub, extra_files={str(card): "README.md"})
    assert files(hub, repo)["README.md"] == USERS_CARD.encode()


@pytest.mark.parametrize("bad", ["---\ntags: [\n---\n", "---\nwidget: yes please\n---\n"])
def test_an_invalid_card_is_an_error_before_anything_is_sent(
    hub: LocalHub, repo: str, weights: Path, hub_log: Log, bad: str
):
    card = put(weights.parent / "README.md", bad.encode())
    hub_log.clear()
    with pytest.raises(DataError, match=r"README\.md, line [23]"):
        upload_lora(weights, repo, hub=hub, extra_files={str(card): "README.md"})
    assert asked(hub_log, repo) == []


def test_a_base_that_is_not_known_is_said_and_not_guessed(hub: LocalHub, repo: str, weights: Path):
    report = upload_lora(weights, repo, hub=hub)
    assert "unknown-base" in codes(report)
    assert "base_model" not in front_matter(files(hub, repo)["README.md"])


def test_the_licence_of_a_base_that_is_not_known_is_not_guessed(hub: LocalHub, repo: str, weights: Path):
    report = upload_lora(weights, repo, hub=hub, base_model="someone/own-model")
    (unknown,) = (finding for finding in report.findings if finding.code == "unknown-license")
    assert unknown.fix == "add `license` to the card's front matter"
    assert "license" not in front_matter(files(hub, repo)["README.md"])


# --- alpha ------------------------------------------------------------------------------------------------------


def test_alpha_is_written_into_the_metadata_of_diffusers_files(hub: LocalHub, repo: str, tmp_path: Path):
    config = put(tmp_path / "cfg" / "train_config.yaml", CONFIG.encode())
    path = put(tmp_path / "out" / NAME, lora(modules=QWEN[:4], metadata={"format": "pt"}))
    options: dict[str, Any] = {"extra_files": [str(config)], "write_alpha": True, "hub": hub}
    report = upload_lora(path, repo, **options)
    assert (report.lora.alpha, report.lora.alpha_source, report.lora.scale) == (1.0, "lora_adapter_metadata", 0.5)
    there = files(hub, repo)[NAME]
    size = int.from_bytes(there[:8], "little")
    metadata = json.loads(there[8 : 8 + size])["__metadata__"]
    assert metadata["format"] == "pt"
    told = json.loads(metadata["lora_adapter_metadata"])
    assert (told["transformer.r"], told["transformer.lora_alpha"]) == (2, 1)
    assert told["transformer.target_modules"] == sorted(QWEN[:4])
    assert there[8 + size :] == lora(modules=QWEN[:4])[-len(there[8 + size :]) :]
    assert path.read_bytes() == lora(modules=QWEN[:4], metadata={"format": "pt"})
    assert upload_lora(path, repo, **options).changed is False


@pytest.mark.parametrize("format", ["comfyui-peft", "kohya"])
def test_alpha_is_written_as_tensors_where_comfyui_reads_them(hub: LocalHub, repo: str, tmp_path: Path, format: str):
    put(tmp_path / "train_config.yaml", CONFIG.encode())
    path = put(tmp_path / "a.safetensors", lora(format, QWEN[:4]))
    report = upload_lora(path, repo, hub=hub, write_alpha=True, card=False)
    assert (report.lora.alpha_source, report.lora.loaders) == ("alpha tensors", {"diffusers": 0.5, "comfyui": 0.5})
    assert not {"missing-alpha", "scales-differ"} & codes(report)
    assert lora(format, QWEN[:4])[-200:] in files(hub, repo)[NAME]


def test_alpha_of_a_peft_file_goes_into_its_configuration(hub: LocalHub, repo: str, tmp_path: Path):
    put(tmp_path / "train_config.yaml", CONFIG.encode())
    path = put(tmp_path / "adapter_model.safetensors", lora("peft", QWEN[:2]))
    upload_lora(path, repo, hub=hub, write_alpha=True, card=False)
    told = json.loads(files(hub, repo)["adapter_config.json"])
    assert (told["r"], told["lora_alpha"], told["peft_type"]) == (2, 1, "LORA")


def test_a_configuration_that_is_given_is_the_one_that_is_repaired(hub: LocalHub, repo: str, tmp_path: Path):
    told = {"r": 2, "lora_alpha": 1, "peft_type": "LORA", "bias": "none"}
    config = put(tmp_path / "elsewhere" / "adapter_config.json", json.dumps(told).encode())
    path = put(tmp_path / "adapter_model.safetensors", lora("peft", QWEN[:2]))
    options: dict[str, Any] = {"extra_files": [str(config)], "write_alpha": True, "hub": hub, "card": False}
    report = upload_lora(path, repo, **options)
    assert (report.lora.alpha, report.lora.alpha_source) == (1.0, "adapter_config.json")
    assert json.loads(files(hub, repo)["adapter_config.json"])["bias"] == "none"


def test_alpha_that_nobody_knows_is_not_invented(weights: Path):
    with pytest.raises(UsageError, match="nothing says the alpha"):
        upload_lora(weights, "me/none", write_alpha=True)


# --- leaks ------------------------------------------------------------------------------------------------------

SECRET = "hf_" + "aB3dE5gH7j" * 4
LEAKY = f"token: {SECRET}\ndata: /home/anna/projects/faces/train.json\nmail: anna.b@mail.org\nlr: 1e-4\n"


def test_a_secret_refuses_the_upload_and_is_not_repeated(weights: Path):
    config = put(weights.parent / "train_config.yaml", LEAKY.encode())
    with pytest.raises(RefusedError, match="looks like a secret") as refused:
        upload_lora(weights, "me/none", extra_files=[str(config)])
    told = json.dumps(refused.value.report.to_dict())
    assert "train_config.yaml:1 holds what looks like a Hugging Face token" in told
    assert SECRET not in told


def test_paths_and_names_are_warnings(hub: LocalHub, repo: str, weights: Path):
    config = put(weights.parent / "train_config.yaml", LEAKY.split("\n", 1)[1].encode())
    report = upload_lora(weights, repo, hub=hub, extra_files=[str(config)])
    assert {"path-found", "name-found"} <= codes(report)
    assert files(hub, repo)["train_config.yaml"] == config.read_bytes()


def test_leaks_are_uploaded_only_when_that_is_said(hub: LocalHub, repo: str, weights: Path):
    config = put(weights.parent / "train_config.yaml", LEAKY.encode())
    report = upload_lora(weights, repo, hub=hub, extra_files=[str(config)], allow_leaks=True)
    assert files(hub, repo)["train_config.yaml"] == LEAKY.encode()
    assert {finding.severity for finding in report.findings if finding.code == "secret-found"} == {"warning"}


def test_scrubbed_copies_are_uploaded_and_the_files_stay(hub: LocalHub, repo: str, tmp_path: Path):
    metadata = {"ss_tag_frequency": '{"10_anna":{"anna":1}}', "ss_network_alpha": "2", "ss_output_name": "/home/anna/x"}
    path = put(tmp_path / "a.safetensors", lora("kohya", QWEN[:4], alpha=2.0, metadata=metadata))
    config = put(tmp_path / "train_config.yaml", LEAKY.encode())
    before = path.read_bytes()
    options: dict[str, Any] = {"extra_files": [str(config)], "scrub": True, "hub": hub}
    report = upload_lora(path, repo, **options)
    there = files(hub, repo)
    assert there["train_config.yaml"] == b"token: [removed]\ndata: train.json\nmail: [removed]\nlr: 1e-4\n"
    assert b"anna" not in there[NAME]
    assert b"ss_network_alpha" in there[NAME]
    size, old = (int.from_bytes(data[:8], "little") + 8 for data in (there[NAME], before))
    assert there[NAME][size:] == before[old:]
    assert (path.read_bytes(), config.read_bytes()) == (before, LEAKY.encode())
    assert not {"secret-found", "captions-found", "path-found"} & codes(report)
    assert [one.message for one in report.findings if one.code == "cleaned"] == [
        "a.safetensors goes up as a cleaned copy; metadata left out or shortened: ss_tag_frequency, ss_output_name.",
        "train_config.yaml goes up as a cleaned copy, without secrets (line 1); folders of paths (line 2); "
        "names (lines 2, 3).",
    ]
    assert upload_lora(path, repo, **options).changed is False


# --- the commands ------------------------------------------------------------------------------------------------


def test_the_command_tells_and_ends_as_documented(hub: LocalHub, repo: str, weights: Path, tmp_path: Path):
    env = environment(tmp_path / "home", HF_ENDPOINT=hub.url, HF_TOKEN=hub.token)
    first = qflux("upload-lora", str(weights), repo, "--json", env=env)
    assert first.returncode == 0
    assert json.loads(first.stdout)["files"][0]["action"] == "add"
    quiet = qflux("upload-lora", str(weights), repo, "-q", env=env)
    assert quiet.stdout.strip().startswith(f"{hub.url}/{repo}/commit/")
    told = qflux("upload-lora", str(weights), repo, env=env)
    assert "Nothing to do: the Hub has all of it." in told.stdout
    config = put(tmp_path / "c.yaml", LEAKY.encode())
    refused = qflux("upload-lora", str(weights), repo, "--extra", f"{config}:c.yaml", "--json", env=env)
    assert refused.returncode == 8
    told = json.loads(refused.stdout)
    assert told["error"]["type"] == "RefusedError"
    assert told["report"]["findings"][0]["code"] in ("missing-alpha", "secret-found")
    assert SECRET not in refused.stdout + refused.stderr


PAIRS = {
    "upload-lora": (upload_lora, options.LoraUploadOptions, options.LoraUploadKeywords, {"src", "repo_id"}),
    "download-lora": (download_lora, options.LoraDownloadOptions, options.LoraDownloadKeywords, {"repo_id"}),
    "inspect-lora": (inspect_lora, options.InspectOptions, options.InspectKeywords, {"file_or_repo"}),
    "compare-lora": (compare_loras, options.InspectOptions, options.InspectKeywords, {"a", "b"}),
}


@pytest.mark.parametrize("command", PAIRS)
def test_a_command_its_function_and_its_options_are_the_same(command: str):
    function, chosen, keywords, arguments = PAIRS[command]
    fields = {field.name for field in dataclasses.fields(chosen)}
    taken = {*get_type_hints(function)} - {"return", "options", "progress"} - arguments
    assert keywords.__annotations__.keys() | taken == fields
    assert fields | arguments <= {one.name for one in typer.main.get_command(app()).commands[command].params}
