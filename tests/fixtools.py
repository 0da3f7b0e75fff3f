"""What the tests of repairs share: a folder as a value, and processes that are killed in the middle of a repair.

``python -m tests.fixtools`` is a small server: every line of its input is a call of ``fix_dataset`` that it makes in
a process of its own, forked off, which kills itself with SIGKILL right before the n-th time that it changes anything
on disk. The interpreter itself tells of these moments (``sys.addaudithook``), so nothing is patched.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qflux_hub.report import Progress, Task

ROOT = Path(__file__).parents[1]
CHANGING = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.utime"}

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
"""A folder in memory where there is one: killing a process loses no page cache, and an fsync costs nothing there."""

Snapshot = dict[str, tuple[bytes, int, int]]


def snapshot(root: Path, *, times: bool = True) -> Snapshot:
    """Every file but those of logs: {path: (bytes, mode, mtime)}; folders have their names only."""
    found: Snapshot = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.split("/")[0] == ".qflux":
            continue
        if path.is_symlink():
            found[name] = (str(path.readlink()).encode(), 0, 0)
        elif path.is_dir():
            found[name + "/"] = (b"", 0, 0)
        else:
            stat = path.stat()
            found[name] = (path.read_bytes(), stat.st_mode, stat.st_mtime_ns if times else 0)
    return found


class Meanwhile(Progress):
    """Does something when the repairing begins, or after some changes."""

    def __init__(self, do: Callable[[], object], *, after: int = 0) -> None:
        self._do, self._after = do, after

    def task(self, label: str, total: int | None, unit: str = "B") -> Task:  # noqa: ARG002 - the seam's signature
        if label != "Repairing":
            return Task()
        task = _MeanwhileTask(self._do, self._after)
        task.advance(0)
        return task


class _MeanwhileTask(Task):
    def __init__(self, do: Callable[[], object], left: int) -> None:
        self._do, self._left = do, left

    def advance(self, amount: int = 1) -> None:
        self._left -= amount
        if self._left == 0:
            self._left = -1
            self._do()


class Runner:
    """Makes calls of ``fix_dataset`` in processes that may be killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, root: Path | None, *, kill_at: int = 0, kill_after: float = 0, **options: Any) -> bool:
        """Make one call; False when it was killed before it was done, at a step or after some seconds."""
        call = {"root": root and str(root), "kill_at": kill_at, "kill_after": kill_after, "options": options}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(call, default=str) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer in ("done", "killed"), answer
        return bool(answer == "done")


@contextmanager
def runner() -> Iterator[Runner]:
    """A running server."""
    command = [sys.executable, "-m", "tests.fixtools"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Runner(process)
        assert process.stdin
        process.stdin.close()


def _serve() -> None:
    import qflux_hub.fix  # noqa: F401 - everything is imported once, before the forks

    for line in sys.stdin:
        call = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_call(call))
        if call["kill_after"]:
            time.sleep(call["kill_after"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps("killed" if killed else "done" if status == 0 else f"status {status}"), flush=True)


def _call(call: dict[str, Any]) -> int:
    from qflux_hub import fix_dataset

    left = call["kill_at"]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGING or writing:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if left:
        sys.addaudithook(watch)
    try:
        fix_dataset(call["root"], **call["options"])
    except Exception as error:  # noqa: BLE001 - told by the exit code
        print(error, file=sys.stderr, flush=True)
        return 3
    return 0


if __name__ == "__main__":
    _serve()
