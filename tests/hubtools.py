"""What tests of the embedded Hub share: real clients in processes of their own, and requests without a client.

The clients read their settings when they are imported, so a client that has to be another machine (its own HF_HOME)
is another process.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("HF_HOME", tempfile.mkdtemp(prefix="hf-home-"))
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from huggingface_hub import HfApi

from qflux_hub.localhub import LocalHub, RequestLog


@dataclass(slots=True)
class Traffic:
    """A request log to hand to a hub: ``LocalHub(dir, log=traffic.add)``."""

    requests: list[RequestLog]

    def add(self, request: RequestLog) -> None:
        self.requests.append(request)

    def count(self, method: str, part: str) -> int:
        """Requests whose path holds ``part``."""
        return len(self._some(method, part))

    def received(self, method: str, part: str) -> int:
        """Body bytes that the hub received in such requests."""
        return sum(request.bytes_received for request in self._some(method, part))

    def _some(self, method: str, part: str) -> list[RequestLog]:
        return [request for request in self.requests if request.method == method and part in request.path]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back from a request without a client."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def api(hub: LocalHub, token: str | None = None) -> HfApi:
    """The real client, in this process, for the hub's own user unless a token is given."""
    return HfApi(hub.url, token=token or hub.token)


def ask(url: str, method: str = "GET", *, token: str = "", body: bytes | None = None, **headers: str) -> Answer:
    """One request, no redirect followed. Header names are written with underscores."""
    parts = urlsplit(url)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        named["authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body, named)
        response = connection.getresponse()
        return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def commit_lines(*operations: dict[str, Any], **header: str) -> bytes:
    """The body of a commit request."""
    lines = [{"key": "header", "value": {"summary": "m", **header}}, *operations]
    return b"\n".join(json.dumps(line).encode() for line in lines)


def lfs_batch(hub: LocalHub, repo: str, content: bytes, **options: Any) -> tuple[str, dict[str, Any]]:
    """Announce content as an LFS object of a repo (``datasets/me/ds``): its SHA-256, and what the hub answers."""
    digest = hashlib.sha256(content).hexdigest()
    body = json.dumps({"operation": "upload", "objects": [{"oid": digest, "size": len(content)}], **options}).encode()
    answer = ask(f"{hub.url}/{repo}.git/info/lfs/objects/batch", "POST", token=hub.token, body=body)
    return digest, answer.json["objects"][0]


def send_lfs(hub: LocalHub, repo: str, content: bytes, path: str) -> str:
    """Upload content as an LFS object and commit it; its SHA-256."""
    digest, item = lfs_batch(hub, repo, content)
    if "actions" in item:
        assert ask(item["actions"]["upload"]["href"], "PUT", body=content).status == 200
        assert ask(item["actions"]["verify"]["href"], "POST", body=b"{}").status == 200
    value = {"path": path, "algo": "sha256", "oid": digest, "size": len(content)}
    body = commit_lines({"key": "lfsFile", "value": value})
    assert ask(f"{hub.url}/api/{repo}/commit/main", "POST", token=hub.token, body=body).status == 200
    return digest


def environment(hub: LocalHub, home: Path, *, token: str = "", xet: bool = True) -> dict[str, str]:
    """The variables of another machine: its own cache, this hub, this token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "QFLUX"))}
    settings = {"HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_TOKEN": token or hub.token}
    settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    if not xet:
        settings["HF_HUB_DISABLE_XET"] = "1"
    return kept | settings


def run_client(
    hub: LocalHub,
    home: Path,
    source: str,
    *,
    token: str = "",
    xet: bool = True,
    settings: dict[str, str] | None = None,
    **values: Any,
) -> Any:
    """Run a piece of Python on another machine. It sees ``values``; what it assigns to ``result`` comes back.

    ``settings`` are further environment variables.
    """
    header = "import json, os, sys\nglobals().update(json.loads(sys.argv[1]))\nresult = None\n"
    # Some clients abort in their native threads when the interpreter ends; what was computed is out before.
    footer = "\nprint(json.dumps(result), flush=True)\nos._exit(0)\n"
    done = subprocess.run(
        [sys.executable, "-c", header + textwrap.dedent(source) + footer, json.dumps(values)],
        env=environment(hub, home, token=token, xet=xet) | (settings or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
