"""The embedded Hub beside a plain file server: what the protocol costs, with the real clients.

The file server is the standard library's, taking a PUT and giving a GET of the same random bytes on the same disk.
"""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.hub import ServedHub, served
from tests.bench.measure import ROOT, Costs, cost, environment, high_water, python
from tests.bench.tables import Goal, Result, Setup, Table, megabytes, seconds, times

MEMORY = 300_000_000
PIECE = 1_000_000

_UPLOAD = """
import sys
from huggingface_hub import HfApi
api = HfApi()
api.create_repo("me/big", repo_type="dataset", exist_ok=True)
api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo="big.bin", repo_id="me/big", repo_type="dataset")
"""
_DOWNLOAD = """
from huggingface_hub import hf_hub_download
hf_hub_download("me/big", "big.bin", repo_type="dataset")
"""
_PUT = """
import http.client, sys
from pathlib import Path
there = http.client.HTTPConnection("127.0.0.1", int(sys.argv[2]))
with open(sys.argv[1], "rb") as file:
    there.request("PUT", "/big.bin", file, {"Content-Length": str(Path(sys.argv[1]).stat().st_size)})
there.getresponse().read()
"""
_GET = """
import http.client, sys
there = http.client.HTTPConnection("127.0.0.1", int(sys.argv[2]))
there.request("GET", "/big.bin")
response = there.getresponse()
with open(sys.argv[1] + ".back", "wb") as file:
    while piece := response.read(1 << 20):
        file.write(piece)
"""


def hub(setup: Setup) -> Result:
    """Upload and download of one large file of random bytes."""
    size = 100_000_000 if setup.quick else 1_000_000_000
    big = setup.scratch / "big.bin"
    with big.open("wb") as file:
        for _ in range(size // PIECE):
            file.write(os.urandom(PIECE))
    names = ("put", "get", "upload", "download")
    rounds: dict[str, list] = {name: [] for name in names}
    peak = 0
    for number in range(setup.rounds):
        home = setup.scratch / f"hub-{number}"
        with _file_server(home / "plain") as port:
            rounds["put"].append(cost(python("-c", _PUT, str(big), port), environment(home)))
            rounds["get"].append(cost(python("-c", _GET, str(big), port), environment(home)))
        with served(home / "served") as there:
            env = _client(home / "one", there)
            rounds["upload"].append(cost(python("-c", _UPLOAD, str(big)), env))
            rounds["download"].append(cost(python("-c", _DOWNLOAD), _client(home / "two", there)))
            peak = max(peak, high_water(there.pid))
        shutil.rmtree(home)
    costs = {name: Costs(tuple(rounds[name])) for name in names}
    table = Table(f"One file of {megabytes(size)} MB of random bytes", ("", "wall s", "plain server s", "ratio"))
    for name, plain in (("upload", "put"), ("download", "get")):
        ours, theirs = costs[name].least_wall, costs[plain].least_wall
        table.rows.append((f"{name} (huggingface_hub, Xet)", seconds(ours), seconds(theirs), times(ours / theirs)))
    memory = Table("Memory of the embedded Hub", ("", "peak MB"), [("both", megabytes(peak))])
    return Result([table, memory], [Goal(f"the Hub stays under {megabytes(MEMORY)} MB", peak < MEMORY)])


def _client(home: Path, there: ServedHub) -> dict[str, str]:
    return environment(home, HF_ENDPOINT=there.url, HF_TOKEN=there.token)


@contextmanager
def _file_server(folder: Path) -> Iterator[str]:
    """The port of a plain server on ``folder``, in a process of its own."""
    folder.mkdir(parents=True)
    command = python("-m", "tests.bench.hubs", str(folder))
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


class _Plain(http.server.SimpleHTTPRequestHandler):
    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        with Path(self.translate_path(self.path)).open("wb") as file:
            while left:
                piece = self.rfile.read(min(left, 1 << 20))
                file.write(piece)
                left -= len(piece)
            os.fsync(file.fileno())
        self.send_response(201)
        self.end_headers()

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Plain)
    print(server.server_address[1], flush=True)
    server.serve_forever()
