"""The embedded Hub in a process of its own, and what its request log says of a client.

python -m tests.bench.hub DIR LOG         # serves until SIGTERM; one JSON line per request goes to LOG
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qflux_hub.localhub import LocalHub, RequestLog
from tests.bench.measure import ROOT, environment, python

SETTLE_SECONDS = 0.2
"""A request is logged when its answer is out: the last of a client may be logged just after the client ended."""
_CONTENT = ("/xorbs/", "/lfs/object/", "/lfs/part/")


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a client sent: bytes of all request bodies (``received``), and of those that carry files (``content``)."""

    requests: int
    received: int
    content: int
    commits: int


class ServedHub:
    """A running hub."""

    def __init__(self, url: str, token: str, log: Path, pid: int) -> None:
        self.url, self.token, self.pid = url, token, pid
        self._log, self._seen = log, 0

    def requests(self) -> list[dict[str, Any]]:
        """What arrived since this was asked last, a dictionary of a ``RequestLog`` each."""
        time.sleep(SETTLE_SECONDS)
        lines = self._log.read_text().splitlines()
        fresh = [json.loads(line) for line in lines[self._seen :]]
        self._seen = len(lines)
        return fresh

    def traffic(self) -> Traffic:
        """The same in numbers."""
        fresh = self.requests()
        return Traffic(
            requests=len(fresh),
            received=sum(one["bytes_received"] for one in fresh),
            content=sum(one["bytes_received"] for one in fresh if any(part in one["path"] for part in _CONTENT)),
            commits=sum(one["method"] == "POST" and "/commit/" in one["path"] for one in fresh),
        )


@contextmanager
def served(folder: Path) -> Iterator[ServedHub]:
    """A new hub that keeps everything under ``folder``."""
    folder.mkdir(parents=True)
    log = folder / "requests.jsonl"
    command = python("-m", "tests.bench.hub", str(folder / "hub"), str(log))
    process = subprocess.Popen(command, cwd=ROOT, env=environment(folder / "home"), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield ServedHub(**json.loads(process.stdout.readline()), log=log, pid=process.pid)
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    folder, log = sys.argv[1:]
    with Path(log).open("w") as lines:

        def write(entry: RequestLog) -> None:
            print(json.dumps(asdict(entry)), file=lines, flush=True)

        with LocalHub(folder, port=0, log=write) as hub:
            print(json.dumps({"url": hub.url, "token": hub.token}), flush=True)
            hub.serve()


if __name__ == "__main__":
    main()
