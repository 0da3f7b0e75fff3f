"""The embedded Hub in a process that may be killed and started again on its directory and its port.

python -m tests.faults.hub DIR LOG        # serves until SIGTERM; one JSON line per request goes to LOG
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import IO

from qflux_hub.localhub import LocalHub, RequestLog
from tests.bench.measure import ROOT

CONTENT = ("/xorbs/", "/lfs/object/", "/lfs/part/")


class KillableHub:
    """A hub on a folder. ``url`` and ``token`` stay what they are when it is killed and started again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.dir = folder / "hub"
        self._log, self._errors = folder / "requests.jsonl", folder / "errors.txt"
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.RLock()
        self._closed = False
        self.url = self.token = ""
        self.start()

    def start(self) -> None:
        """Serve; nothing happens when it is served already."""
        with self._lock:
            if self._process is not None or self._closed:
                return
            command = [sys.executable, "-m", "tests.faults.hub", str(self.dir), str(self._log)]
            with self._errors.open("a") as errors:
                self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
            told = json.loads(_first_line(self._process.stdout))
            if self.url and told["url"] != self.url:
                raise RuntimeError(f"it was started again at {told['url']} and not at {self.url}")
            self.url, self.token = told["url"], told["token"]

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process = None

    def close(self) -> None:
        """Kill it, and let nobody start it again."""
        with self._lock:
            self._closed = True
            self.kill()

    def limit_files(self, size: int | None) -> None:
        """Let it write files of ``size`` bytes at most, as if its disk were full; None takes the limit away."""
        if self._process is not None:
            limit = resource.RLIM_INFINITY if size is None else size
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def content_received(self) -> int:
        """Bytes of files that arrived so far."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.endswith("}")]
        return sum(line["bytes_received"] for line in lines if any(part in line["path"] for part in CONTENT))

    def errors(self) -> str:
        """What it wrote to stderr."""
        return self._errors.read_text()


def _first_line(pipe: IO[str] | None) -> str:
    line = pipe.readline() if pipe else ""
    if not line:
        raise RuntimeError("the hub did not start")
    return line


def main() -> None:
    folder, log = sys.argv[1:]
    with Path(log).open("a") as lines:

        def write(entry: RequestLog) -> None:
            print(json.dumps(asdict(entry)), file=lines, flush=True)

        with LocalHub(folder, log=write) as hub:
            print(json.dumps({"url": hub.url, "token": hub.token}), flush=True)
            hub.serve()


if __name__ == "__main__":
    main()
