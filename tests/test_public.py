"""What other people's code relies on: the public names, documented, typed and cheap to import."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import qflux_hub

CONTRACT = {
    "upload_editing_dataset": ["root_dir", "repo_id", "private"],
    "upload_editing_dataset_from_csv": ["root_dir", "repo_id", "private"],
    "load_editing_dataset": ["repo_id", "split"],
    "upload_dataset": ["source", "repo_id", "private"],
    "scan_dataset": ["source"],
    "check_dataset": ["source"],
    "fix_dataset": ["source"],
    "upload_lora_safetensors": ["src_path", "repo_id"],
    "upload_lora": ["src", "repo_id", "private"],
    "download_lora": ["repo_id", "filename"],
    "inspect_lora": ["file_or_repo"],
    "compare_loras": ["a", "b"],
}


@pytest.mark.parametrize("name", qflux_hub.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(qflux_hub, name)
    assert name == "__version__" or inspect.getdoc(value), f"{name} has no docstring"


@pytest.mark.parametrize(("name", "positional"), CONTRACT.items())
def test_documented_parameters_keep_their_names_and_order_and_all_others_are_keywords(name, positional):
    parameters = inspect.signature(getattr(qflux_hub, name)).parameters.values()
    by_place = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert by_place == positional
    assert all(p.annotation is not p.empty for p in parameters)


def test_all_public_names_are_listed_once_and_reachable_by_dir():
    assert sorted(qflux_hub.__all__) == qflux_hub.__all__
    assert set(dir(qflux_hub)) == set(qflux_hub.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        qflux_hub.nope  # noqa: B018


def test_importing_the_package_has_no_side_effect(tmp_path):
    code = "import os, sys; before = dict(os.environ); import qflux_hub; assert dict(os.environ) == before"
    environment = {"HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: qflux_hub.scan_dataset("none", splits="train"), "splits"),
        (lambda: qflux_hub.convert_dataset("none", "out", as_="csv", only="cat"), "only"),
        (lambda: qflux_hub.download_dataset("me/none", "out", splits="train"), "splits"),
        (lambda: qflux_hub.fix_dataset("none", only="wrong-extension"), "only"),
        (lambda: qflux_hub.upload_lora("none", "me/none", samples="cat.png"), "samples"),
    ],
)
def test_a_text_is_no_list_of_texts(call, name):
    """It would be taken letter by letter."""
    with pytest.raises(qflux_hub.UsageError, match=f"{name} is one text, ") as wrong:
        call()
    assert wrong.value.hint.startswith(f"Give a list of them, such as {name}=['")
