"""The image test corpus of Pillow, each file as control, mask and target: `make corpus` fetches it and runs this.

About 1,000 files of 40 formats, of which 250 are broken in ways that somebody met. Not part of the tests that run on
every change: it takes minutes, and 47 MB from the package index. The nastiest shapes are made in test_sniff.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from qflux_hub.codes import CODES

CORPUS = os.environ.get("CORPUS")
SECONDS, MEMORY = 20, 500_000_000
ROOT = Path(__file__).parents[1]

if not CORPUS:
    pytest.skip("make corpus runs it", allow_module_level=True)


@pytest.fixture(scope="module")
def told():
    """One line per file and role. Fails when nothing is said for too long, naming what was said last."""
    command = [sys.executable, "-m", "tests.corpus", CORPUS]
    lines: queue.Queue[str] = queue.Queue()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        thread = threading.Thread(target=lambda: [lines.put(line) for line in process.stdout] + [lines.put("")])
        thread.start()
        seen = []
        while True:
            try:
                line = lines.get(timeout=3 * SECONDS)
            except queue.Empty:
                process.kill()
                pytest.fail(f"hangs behind {seen[-1]['file'] if seen else 'the start'}")
            if not line:
                break
            seen.append(json.loads(line))
        thread.join()
    assert process.returncode == 0, f"dies behind {seen[-1]['file'] if seen else 'the start'}"
    assert len(seen) > 2500
    return seen


def of(told, wrong):
    return [(Path(one["file"]).name, one["role"], one["errors"], one["loader"]) for one in told if wrong(one)]


def test_no_file_crashes_a_check(told):
    assert [one["crash"] for one in told if one["crash"]] == []


def test_no_file_takes_long_or_much_memory(told):
    assert of(told, lambda one: one["seconds"] > SECONDS) == []
    assert of(told, lambda one: one["peak"] > MEMORY) == []


def test_every_file_is_accepted_or_has_findings_that_can_be_explained(told):
    assert {code for one in told for code in one["errors"] + one["others"]} <= CODES.keys()
    print(Counter(code for one in told for code in one["errors"] or ["accepted"]))


def test_readable_means_what_a_decoder_means(told):
    ours = [one for one in told if one["format"]]
    assert of(ours, lambda one: one["loads"] != (not one["errors"])) == []


def test_what_is_none_of_our_formats_is_an_error(told):
    assert of(told, lambda one: not one["format"] and not one["errors"]) == []


def test_sizes_are_those_that_are_displayed(told):
    assert of(told, lambda one: not one["errors"] and one["size"] != one["displayed"]) == []
