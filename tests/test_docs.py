"""The README's commands and snippets run, in their order, in an environment of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    home = tmp_path_factory.mktemp("reader")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    places = {"QFLUX_HUB_DIR": home / "hub", "QFLUX_CACHE_DIR": home / "cache", "HF_HOME": home / "hf"}
    for name in ("tests", "upload_dataset.py"):
        (home / name).symlink_to(ROOT / name)
    return home, os.environ | {"PATH": path} | {name: str(place) for name, place in places.items()}


def test_the_readme_has_commands_and_stays_readable():
    assert len(BLOCKS) >= 6
    assert len(README.splitlines()) < 400


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_readmes_blocks_run(number, environment):
    home, variables = environment
    language, code = BLOCKS[number]
    targets = [line.split()[1] for line in code.splitlines() if line.startswith("make ")]
    if targets:  # run by hand and by CI; here it is enough that make knows them
        subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, check=True, capture_output=True)
        return
    command = [sys.executable, "-c", code] if language == "python" else ["sh", "-euc", code]
    done = subprocess.run(command, cwd=home, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_exit_codes_of_the_readme_are_those_of_the_errors():
    from qflux_hub import errors

    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    raised = {
        kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.QfluxError)
    }
    assert listed == raised | {0, 130}


def test_the_example_script_runs(environment):
    home, variables = environment
    done = subprocess.run(
        [sys.executable, "upload_dataset.py"], cwd=home, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "prompt: " in done.stdout
