"""How the bytes of large files travel: by Xet where the Hub speaks it, by git LFS and plain HTTP where it does not.

Which one is found out once per endpoint, by asking for an access token of its content store; a client that only assumes
Xet fails there after minutes. ``HF_HUB_ENABLE_HF_TRANSFER=1`` keeps its meaning, "use the whole line": with Xet it is
more requests at once, without Xet large files are fetched in parallel ranges by ``hf_transfer``, in a process of its
own, because that package holds the interpreter's lock for the whole transfer.

Functions raise what the clients raise; ``hub`` translates. Sizes are bytes, hashes hex.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

PIECE = 1024 * 1024
PARALLEL_FROM = 64 * 1024 * 1024
"""Bytes from which parallel ranges are worth a process."""
_PARTS, _PART = 8, 10 * 1024 * 1024
_NO_TOKEN_ROUTE = (404, 405, 501)
_OTHER_404 = ("RepoNotFound", "RevisionNotFound", "GatedRepo")
_WITHOUT_XET: set[str] = set()
"""Endpoints that were asked and do not speak Xet."""

_HIGH_PERFORMANCE: Mapping[str, int] = {
    "data.max_concurrent_file_ingestion": 100,
    "client.ac_max_upload_concurrency": 124,
    "client.ac_min_upload_concurrency": 4,
    "client.ac_initial_upload_concurrency": 16,
    "client.ac_max_download_concurrency": 124,
    "client.ac_min_download_concurrency": 4,
    "client.ac_initial_download_concurrency": 16,
    "reconstruction.min_reconstruction_fetch_size": 1_000_000_000,
    "reconstruction.max_reconstruction_fetch_size": 16_000_000_000,
    "reconstruction.download_buffer_size": 3_152_000_000,
    "reconstruction.download_buffer_perfile_size": 784_000_000,
    "reconstruction.download_buffer_limit": 12_632_000_000,
}
"""What ``HF_XET_HIGH_PERFORMANCE=1`` changes in hf_xet 1.8, which reads that variable only at import."""
_MODEST: Mapping[str, int] = {"client.ac_max_upload_concurrency": 4}
"""Otherwise hf_xet, in search of bandwidth, takes up to 64 pieces of 64 MB into memory at once: whole shards."""
_CHOSEN_BY_USER = ("HF_XET_HIGH_PERFORMANCE", "HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY")


@dataclass(frozen=True, slots=True)
class Sent:
    """A streamed file: its SHA-256 (hex) and size, and how many bytes of it were new to the Hub."""

    sha256: str
    size: int
    new_bytes: int


@dataclass(frozen=True, slots=True)
class Access:
    """A token of the content store. ``url`` is where a new one is had, with ``headers``."""

    store: str
    token: str
    expires: int
    url: str
    headers: Mapping[str, str]

    @property
    def arguments(self) -> dict[str, Any]:
        """As hf_xet takes them."""
        return {
            "endpoint": self.store,
            "token": self.token,
            "token_expiry_unix_secs": self.expires,
            "token_refresh_url": self.url,
            "token_refresh_headers": dict(self.headers),
            "custom_headers": {name: v for name, v in self.headers.items() if name.lower() != "authorization"},
        }


def is_accelerated() -> bool:
    """Whether the user asked for the whole line."""
    return os.environ.get("HF_HUB_ENABLE_HF_TRANSFER", "").strip().upper() in ("1", "ON", "YES", "TRUE")


def xet_access(endpoint: str, url: str, headers: Mapping[str, str]) -> Access | None:
    """Access to the content store of ``endpoint``, by its token route ``url``; None when there is none. One request."""
    from huggingface_hub import constants
    from huggingface_hub.utils import hf_raise_for_status, http_backoff

    if constants.HF_HUB_DISABLE_XET or endpoint in _WITHOUT_XET:
        return None
    response = http_backoff("GET", url, headers=dict(headers), follow_redirects=True)
    if response.status_code in _NO_TOKEN_ROUTE and response.headers.get("X-Error-Code") not in _OTHER_404:
        _WITHOUT_XET.add(endpoint)
        return None
    hf_raise_for_status(response)
    told = response.json()
    return Access(told["casUrl"], told["accessToken"], int(told["exp"]), url, headers)


def lane(access: Access | None) -> str:
    """The way that is taken, in words for people."""
    if access is not None:
        return "Xet, high performance" if is_accelerated() else "Xet"
    return "HTTP in parallel ranges (hf_transfer)" if is_accelerated() else "LFS over HTTP"


@lru_cache(maxsize=2)
def _session(process: int, accelerated: bool) -> Any:  # noqa: ARG001 - a forked child must not use its parent's
    """The session of hf_xet in this process: a pool of connections and a cache of known chunks."""
    import hf_xet

    config = hf_xet.XetConfig()
    known = set(config.keys())
    wanted = _HIGH_PERFORMANCE if accelerated else {} if any(map(os.environ.get, _CHOSEN_BY_USER)) else _MODEST
    return hf_xet.XetSession(config.with_config({key: value for key, value in wanted.items() if key in known}))


def session() -> Any:
    """The session of hf_xet that this process uses now."""
    return _session(os.getpid(), is_accelerated())


# --- sending ----------------------------------------------------------------------------------------------------


class Upload(Protocol):
    """One file under way: written piece by piece, then finished or aborted."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes; blocks while too many are under way."""

    def finish(self) -> Sent:
        """Wait until all of it is there."""

    def abort(self) -> None:
        """Forget it."""


class XetUpload:
    """Into the content store; what that has already is not sent again."""

    def __init__(self, access: Access, name: str) -> None:
        import hf_xet

        self._commit = session().new_upload_commit(**access.arguments)
        self._stream = self._commit.start_upload_stream(name=name, sha256=hf_xet.COMPUTE_SHA256)

    def write(self, data: bytes, /) -> None:
        """Chunks are cut, compared and sent in native threads."""
        self._stream.write(data)

    def finish(self) -> Sent:
        """Nothing is usable before this: the last thing sent is the list of the chunks."""
        facts = self._stream.finish().xet_info
        report = self._commit.wait_to_finish()
        return Sent(facts.sha256, facts.file_size, report.dedup_metrics.total_bytes_uploaded)

    def abort(self) -> None:
        """Cancels what is under way."""
        self._commit.abort()


class LfsUpload:
    """As an LFS object, through a temporary copy: LFS wants to know hash and size before the first byte.

    ``repo`` holds endpoint, repo_type, repo_id and revision, as the client takes them.
    """

    def __init__(self, repo: Mapping[str, Any], name: str, headers: Mapping[str, str], token: str | bool) -> None:
        self._repo, self._name, self._headers, self._token = repo, name, dict(headers), token
        self._file = tempfile.NamedTemporaryFile(prefix="qflux-")  # noqa: SIM115 - closed by finish and abort
        self._hash, self._size = hashlib.sha256(), 0

    def write(self, data: bytes, /) -> None:
        """Nothing is sent yet."""
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)

    def finish(self) -> Sent:
        """Ask whether the content is there, and send it if not: in one piece, or in the parts that the Hub names."""
        from huggingface_hub.lfs import UploadInfo, post_lfs_batch_info

        token: Any = self._token  # False means none; None would let the client look for one
        with self._file as file:
            file.flush()
            actions, errors, _ = post_lfs_batch_info(
                [UploadInfo(self._size, b"", self._hash.digest())],
                token=token,
                headers=self._headers,
                transfers=["basic", "multipart"],
                **self._repo,
            )
            if errors:
                raise RuntimeError(str(errors[0].get("error", {}).get("message", "refused by the LFS server")))
            wanted = actions[0].get("actions") or {}
            if "upload" in wanted:
                self._send(Path(file.name), wanted["upload"])
            if "verify" in wanted:
                _ask("POST", wanted["verify"]["href"], headers=self._headers, json=self._named)
        return Sent(self._hash.hexdigest(), self._size, self._size if wanted else 0)

    @property
    def _named(self) -> dict[str, Any]:
        return {"oid": self._hash.hexdigest(), "size": self._size}

    def _send(self, path: Path, action: Mapping[str, Any]) -> None:
        """In parts when the answer says how large they are; their addresses are under their numbers."""
        header = action.get("header") or {}
        if "chunk_size" not in header:
            _ask("PUT", action["href"], content=_Span(path, 0, self._size), headers={"Content-Length": str(self._size)})
            return
        size, parts = int(header["chunk_size"]), []
        addresses = sorted((int(name), url) for name, url in header.items() if name.isdigit())
        if len(addresses) != -(-self._size // size):
            raise RuntimeError(f"the LFS server names {len(addresses)} parts of {size:,} bytes for {self._size:,}")
        for at, (number, url) in enumerate(addresses):
            span = _Span(path, at * size, min(size, self._size - at * size))
            answer = _ask("PUT", url, content=span, headers={"Content-Length": str(span.size)})
            parts.append({"partNumber": number, "etag": answer.headers["etag"]})
        json = {"oid": self._hash.hexdigest(), "parts": parts}
        headers = {"Accept": "application/vnd.git-lfs+json", "Content-Type": "application/vnd.git-lfs+json"}
        _ask("POST", action["href"], headers=headers, json=json)

    def abort(self) -> None:
        """The copy goes."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class _Span:
    """Some bytes of a file, as a body that can be sent again."""

    path: Path
    begin: int
    size: int

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self.begin)
            left = self.size
            while left:
                piece = file.read(min(PIECE, left))
                left -= len(piece)
                yield piece


def _ask(method: Any, url: str, **options: Any) -> Any:
    """One request, repeated when it fails for a moment. Addresses of a storage get no token: they carry their own."""
    from huggingface_hub.utils import hf_raise_for_status, http_backoff

    response = http_backoff(method, url, **options)
    hf_raise_for_status(response)
    return response


# --- fetching ---------------------------------------------------------------------------------------------------


def fetch_by_xet(access: Access, xet_hash: str, size: int, start: int) -> Iterator[bytes]:
    """The bytes of a file from ``start`` on, in order."""
    import hf_xet

    group = session().new_download_stream_group(**access.arguments)
    try:
        yield from group.download_stream(hf_xet.XetFileInfo(xet_hash, size), start=start or None)
    except BaseException:
        group.abort()
        raise
    group.finish()


def fetch_by_http(url: str, headers: Mapping[str, str], size: int, start: int) -> Iterator[bytes]:
    """The bytes of a file from ``start`` on; a server that ignores ranges is read past what is known already."""
    with get(url, headers, (start, size) if start else None) as response:
        skip = start if response.status_code == 200 else 0
        for piece in response.iter_bytes(PIECE):
            if skip >= len(piece):
                skip -= len(piece)
                continue
            yield piece[skip:]
            skip = 0


@contextmanager
def get(url: str, headers: Mapping[str, str], span: tuple[int, int] | None = None) -> Iterator[Any]:
    """A response whose body is read as it is needed; nothing of it is read when the context ends early."""
    from huggingface_hub.utils import hf_raise_for_status
    from huggingface_hub.utils._http import http_stream_backoff

    wanted = dict(headers) | {"Accept-Encoding": "identity"}
    if span:
        wanted["Range"] = f"bytes={span[0]}-{span[1] - 1}"
    with http_stream_backoff("GET", url, headers=wanted, follow_redirects=True) as response:
        hf_raise_for_status(response)
        yield response


_CHILD = """
import json, sys
import hf_transfer
hf_transfer.download(**json.load(sys.stdin))
"""


def fetch_in_parallel(url: str, headers: Mapping[str, str], target: Path) -> None:
    """Fetch a file by parallel ranges, in a process of its own. Raises RuntimeError.

    The target must not exist: a longer file would keep its tail. Nothing is verified here. The headers, which may hold
    a token, go by a pipe and not by the command line.
    """
    order = {
        "url": url,
        "filename": str(target),
        "max_files": _PARTS,
        "chunk_size": _PART,
        "parallel_failures": 3,
        "max_retries": 5,
        "headers": dict(headers) | {"accept-encoding": "identity"},
    }
    done = subprocess.run(  # noqa: S603 - our own interpreter and our own text
        [sys.executable, "-c", _CHILD], input=json.dumps(order), text=True, capture_output=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise RuntimeError(f"hf_transfer failed: {reason}")
