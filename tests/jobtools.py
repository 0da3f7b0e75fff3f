"""What tests of jobs share: a repo's content as `datasets` gives it, the command line, and a bad network.

The network is a real server between client and hub that can lose, alter or delay answers; nothing is patched.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi
from huggingface_hub.utils import get_session

from qflux_hub import load_editing_dataset
from qflux_hub.hub import Hub, Token
from qflux_hub.localhub import LocalHub, RequestLog
from qflux_hub.repos import Add
from tests.builders import lay_split

Row = dict[str, Any]


def api(hub: LocalHub, token: str = "") -> HfApi:
    """The real client, for the hub's own user unless a token is given."""
    return HfApi(hub.url, token=token or hub.token)


def rows(hub: LocalHub, repo: str, split: str = "train", revision: str | None = None) -> list[Row]:
    """The rows of a split in their order on the Hub; images are {"bytes", "path"}."""
    dataset: Any = load_editing_dataset(repo, split, revision=revision, hub=hub)
    return list(dataset.with_format("arrow")[:].to_pylist())


def prompts(hub: LocalHub, repo: str, split: str = "train", revision: str | None = None) -> dict[str, str]:
    """id -> prompt."""
    return {row["id"]: row["prompt"] for row in rows(hub, repo, split, revision)}


def files(hub: LocalHub, repo: str, revision: str | None = None) -> dict[str, str]:
    """path -> git object id of every file of a dataset repo."""
    info = api(hub).dataset_info(repo, revision=revision, files_metadata=True)
    return {file.rfilename: str(file.blob_id) for file in info.siblings or ()}


def shards(hub: LocalHub, repo: str, split: str = "train") -> dict[str, str]:
    """path -> git object id of the data files of a split."""
    return {path: oid for path, oid in files(hub, repo).items() if path.startswith(f"data/{split}/")}


def commits(hub: LocalHub, repo: str, revision: str | None = None) -> list[str]:
    """Titles of the commits, newest first."""
    return [commit.title for commit in api(hub).list_repo_commits(repo, repo_type="dataset", revision=revision)]


def put(hub: LocalHub, repo: str, path: str, content: bytes, **options: Any) -> None:
    """Someone else commits a file."""
    api(hub).upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=repo, repo_type="dataset", **options)


def put_raw(hub: LocalHub, repo: str, path: str, content: bytes) -> None:
    """Someone else commits a file, such as a card that the client would refuse to send."""
    add = Add(path, len(content), content=content)
    Hub(hub.url, Token(hub.token, "given")).commit(repo, [add], [], parent=None, message="Not by the client")


def push(hub: LocalHub, repo: str, split: str) -> None:
    """A split of two rows as `datasets` writes it: the file and the card of ``push_to_hub``."""
    out = io.BytesIO()
    pq.write_table(pa.table({"id": ["p", "q"], "prompt": ["Do p.", "Do q."]}), out)
    put(hub, repo, f"data/{split}-00000-of-00001.parquet", out.getvalue())
    card = fetch(hub, repo, "README.md").decode() if "README.md" in files(hub, repo) else ""
    entry = f"  - split: {split}\n    path: data/{split}-*\n"
    new = f"---\nconfigs:\n- config_name: default\n  data_files:\n{entry}---\n"
    put(hub, repo, "README.md", (card.replace("data_files:\n", f"data_files:\n{entry}", 1) or new).encode())


def fetch(hub: LocalHub, repo: str, path: str, revision: str = "main") -> bytes:
    """The bytes of a file of a dataset repo, as they are now."""
    url = f"{hub.url}/datasets/{repo}/resolve/{revision}/{path}"
    response = get_session().get(url, headers={"authorization": f"Bearer {hub.token}"})
    response.raise_for_status()
    return bytes(response.content)


def writes(log: list[RequestLog]) -> list[str]:
    """The requests that were sent to change something; the client's telemetry changes nothing."""
    changing = [request for request in log if request.method not in ("GET", "HEAD")]
    return [f"{request.method} {request.path}" for request in changing if "telemetry" not in request.path]


def forget(log: list[RequestLog]) -> None:
    """Begin to count requests. A hub logs a request after its answer, so the last ones are waited for."""
    while True:
        seen = len(log)
        time.sleep(0.02)
        if len(log) == seen:
            log.clear()
            return


def lay_endless(root: Path) -> Path:
    """Samples whose controls have headers like any other and would take minutes to read: 26 times 2 GB of nothing,
    nearly as much as a cell on the Hub holds.

    All of a size, because a check reads whole only what may be a copy of another. Returns the file that is read first.
    """
    controls = lay_split(root, "train", ascii_lowercase, ".jpg") / "train/control_images"
    for name in ascii_lowercase:
        with (controls / f"{name}.jpg").open("r+b") as file:
            file.seek(2_000_000_000 - 2)
            file.write(b"\xff\xd9")
    return controls / "a.jpg"


def tree(root: Path) -> dict[str, bytes]:
    """Relative path -> content of every file of a folder."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


# --- processes --------------------------------------------------------------------------------------------------


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The variables of a machine with its own caches, and those of the Hub that are given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "QFLUX"))}
    own = {"HF_HOME": str(home / "hf"), "QFLUX_CACHE_DIR": str(home / "cache"), "QFLUX_HUB_DIR": str(home / "hub")}
    return kept | own | {"HF_ENDPOINT": "http://127.0.0.1:9", "COLUMNS": "80"} | variables


def start(*arguments: str, env: Mapping[str, str], **options: Any) -> subprocess.Popen[str]:
    """``qflux …`` as a process of its own."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "qflux_hub", *arguments]
    return subprocess.Popen(command, env=dict(env), **({"stdout": pipe, "stderr": pipe, "text": True} | options))


def wait_until_open(process: subprocess.Popen[str], path: Path) -> None:
    """Wait until a process has a file open."""
    folder = Path(f"/proc/{process.pid}/fd")
    while process.poll() is None:
        with contextlib.suppress(OSError):
            if any(link.readlink() == path for link in folder.iterdir()):
                return
        time.sleep(0.02)
    raise AssertionError(f"it ended before it opened {path}")


def interrupt(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Press Ctrl-C, and again when nothing comes of it, as a person does. Returns what was printed.

    A signal that arrives just before the interpreter begins to wait for a lock is dealt with only after the wait.
    """
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=15)
    process.kill()
    out, err = process.communicate()
    raise AssertionError(f"Ctrl-C did not end it; it printed {out!r} and {err!r}")


def qflux(*arguments: str, env: Mapping[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
    """``qflux …``, run to its end."""
    command = [sys.executable, "-m", "qflux_hub", *arguments]
    return subprocess.run(
        command, env=dict(env), check=False, timeout=60, **({"capture_output": True, "text": True} | options)
    )


def script(source: str, *, env: Mapping[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
    """A plain script without a ``__main__`` guard, as people write them."""
    home = Path(env["HF_HOME"]).parent
    home.mkdir(parents=True, exist_ok=True)
    path = home / "script.py"
    path.write_text(source)
    return subprocess.run(
        [sys.executable, str(path)], env=dict(env), check=False, timeout=60, capture_output=True, text=True, **options
    )


# --- a bad network ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Answer:
    """What the hub answered, on its way to the client. With ``cut``, the connection ends after so many bytes of the
    body, and after ``then``.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    cut: int | None = None
    then: Callable[[], object] = lambda: None


class Served(Protocol):
    """A running hub, in this process or in another."""

    @property
    def url(self) -> str: ...


Before = Callable[[str, str], Answer | None]
Sent = Callable[[str, str, bytes], bytes]
After = Callable[[str, str, Answer], Answer | None]


@dataclass(slots=True)
class Network:
    """A way to a hub. ``before(method, path)`` runs before a request is passed on, and may answer in the hub's place;
    ``sent(method, path, body)`` gives the body that the hub gets; ``after(method, path, answer)`` the answer to pass
    back, or None to cut the connection instead.
    """

    url: str = ""
    before: Before = lambda _method, _path: None
    sent: Sent = lambda _method, _path, body: body
    after: After = lambda _method, _path, answer: answer
    seen: list[str] = field(default_factory=list)


@contextlib.contextmanager
def network(
    hub: Served, *, before: Before | None = None, sent: Sent | None = None, after: After | None = None
) -> Iterator[Network]:
    """A server on loopback that passes requests on to ``hub`` and their answers back."""
    way = Network()
    way.before, way.sent, way.after = before or way.before, sent or way.sent, after or way.after
    target = urlsplit(hub.url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def pass_on(self) -> None:
            body = self._body()
            way.seen.append(f"{self.command} {self.path}")
            answer = way.before(self.command, self.path) or self._answer(way.sent(self.command, self.path, body))
            final = way.after(self.command, self.path, answer)
            if final is None:
                self.close_connection = True
                return
            self.send_response_only(final.status)
            for name, value in final.headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            # A HEAD request is told the length of what it does not get.
            length = dict(final.headers).get("content-length", "0") if self.command == "HEAD" else str(len(final.body))
            self.send_header("content-length", length)
            self.end_headers()
            self.wfile.write(final.body[: final.cut])
            if final.cut is not None:
                self.wfile.flush()
                final.then()
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = pass_on  # noqa: N815 - what the server calls

        def _answer(self, body: bytes) -> Answer:
            there = http.client.HTTPConnection(target.hostname or "", target.port, timeout=30)
            try:
                there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        there.putheader(name, value)
                there.putheader("content-length", str(len(body)))
                there.endheaders(body)
                response = there.getresponse()
                return Answer(response.status, response.getheaders(), response.read())
            finally:
                there.close()

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def log_message(self, format: str, *values: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    way.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield way
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def is_commit(method: str, path: str) -> bool:
    """Whether a request publishes."""
    return method == "POST" and "/commit/" in path


def once(action: Callable[[], object], when: Callable[[str, str], bool] = is_commit) -> Before:
    """Do something before the first request that ``when`` picks."""
    waiting = [action]

    def before(method: str, path: str) -> None:
        if waiting and when(method, path):
            waiting.pop()()

    return before
