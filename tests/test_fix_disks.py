"""Repairs where a disk ends in the middle of a dataset, and where it is full: in mount namespaces of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtools import ROOT

UNSHARE = ["unshare", "--map-root-user", "--mount"]


def may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = [*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not may_mount(), reason="needs user namespaces")

BEGIN = """
import errno, os, sys
from pathlib import Path
from qflux_hub import fix_dataset
from tests.builders import lay_split, picture, write
from tests.fixtools import snapshot
root = lay_split(Path(sys.argv[1]))
write(root / "train/control_images/a.png", picture("a.jpg"))
prompt = write(root / "train/training_images/a.txt", b"One\\r\\n")
prompt.chmod(0o640)
os.utime(prompt, ns=(10**18, 10**18))
write(root / "train/training_images/._a.txt", b"litter")
before = snapshot(root)
"""


def run(root: Path, mount: str, code: str) -> None:
    shell = f'mkdir -p "{root}/train/training_images"; {mount}; exec "$0" -c "$1" "{root}"'
    command = [*UNSHARE, "sh", "-euc", shell, sys.executable, BEGIN + code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_folder_on_another_disk_is_repaired_and_taken_back(tmp_path):
    code = """
assert os.stat(root / "train").st_dev != os.stat(prompt.parent).st_dev
report = fix_dataset(root, apply=True)
assert len(report.changes) == 3 and not report.findings, report
assert prompt.read_bytes() == b"One\\n" and prompt.stat().st_mode & 0o777 == 0o640
assert {path.name for path in prompt.parent.iterdir()} == {"a.txt", "a.png", "b.txt", "b.png"}
assert not fix_dataset(root, apply=True).changes
assert not fix_dataset(undo=report.undo).findings
assert snapshot(root) == before
assert not (root / ".qflux").exists()
"""
    run(tmp_path, f'mount -t tmpfs none "{tmp_path}/train/training_images"', code)


def test_a_full_disk_leaves_everything_as_it_was(tmp_path):
    code = """
with open(root / "rest", "wb", buffering=0) as rest:
    try:
        while True:
            rest.write(bytes(512))
    except OSError as error:
        assert error.errno == errno.ENOSPC
before = snapshot(root)
try:
    fix_dataset(root, apply=True)
except OSError as error:
    assert error.errno == errno.ENOSPC, error
else:
    raise AssertionError("it was not full")
assert snapshot(root) == before
assert not (root / ".qflux").exists()
"""
    run(tmp_path, f'mount -t tmpfs -o size=256k none "{tmp_path}"', code)


def test_a_disk_that_may_only_be_read_leaves_everything_as_it_was(tmp_path):
    code = """
import subprocess
subprocess.run(["mount", "-o", "remount,ro", root], check=True)
assert len(fix_dataset(root).changes) == 3
try:
    fix_dataset(root, apply=True)
except OSError as error:
    assert error.errno == errno.EROFS, error
else:
    raise AssertionError("it was written")
assert snapshot(root) == before
"""
    run(tmp_path, f'mount -t tmpfs none "{tmp_path}"', code)
