"""How the bytes of large files travel: by Xet where the Hub speaks it, by git LFS and plain HTTP where it does not.

Which one is found out by asking for an access token of its content store; a client that only assumes
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
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from qflux_hub.errors import QfluxError, UsageError

PIECE = 1024 * 1024
PARALLEL_FROM = 64 * 1024 * 1024
"""Bytes from which parallel ranges are worth a process."""
_PARTS, _PART = 8, 10 * 1024 * 1024
_LOOK = 0.01
"""Seconds between looks at a file that grows."""
_NO_TOKEN_ROUTE = (404, 405, 501)
_OTHER_404 = ("RepoNotFound", "RevisionNotFound", "GatedRepo")

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
_RETRIES: Mapping[str, str] = {"client.retry_base_delay": "2s"}
"""hf_xet waits at random up to this number to the power of 1 to 5 before it repeats what failed: 2 is at most 62 s in
all, enough for a Hub that starts anew. Its own 3 is up to 363 s (measured: 108 to 267 s until a Hub is given up)."""
_RETRIES_BY_USER = "HF_XET_CLIENT_RETRY_BASE_DELAY"


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


def is_xet_off() -> bool:
    """Whether the user wants no Xet."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_DISABLE_XET)


def xet_access(url: str, headers: Mapping[str, str]) -> Access | None:
    """Access to a Hub's content store, by its token route ``url``; None when there is none. One request."""
    from huggingface_hub.utils import hf_raise_for_status

    response = request("GET", url, headers=dict(headers), follow_redirects=True)
    if response.status_code in _NO_TOKEN_ROUTE and response.headers.get("X-Error-Code") not in _OTHER_404:
        return None
    hf_raise_for_status(response)
    try:
        told = response.json()
        return Access(told["casUrl"], told["accessToken"], int(told["exp"]), url, headers)
    except (ValueError, KeyError, TypeError) as error:
        raise RuntimeError(f"{url} gives no token of a content store") from error


LFS, HTTP, PARALLEL = "LFS over HTTP", "HTTP", "HTTP in parallel ranges (hf_transfer)"
"""The ways without Xet, in words for people."""


def xet_lane() -> str:
    """The way with it."""
    return "Xet, high performance" if is_accelerated() else "Xet"


@lru_cache(maxsize=4)
def _session(process: int, accelerated: bool, silence: float) -> Any:  # noqa: ARG001 - a forked child must not use its parent's
    """The session of hf_xet in this process: a pool of connections and a cache of known chunks."""
    import hf_xet

    config = hf_xet.XetConfig()
    known = set(config.keys())
    wanted: dict[str, int | str] = {}
    if accelerated:
        wanted |= _HIGH_PERFORMANCE
    elif not any(map(os.environ.get, _CHOSEN_BY_USER)):
        wanted |= _MODEST
    if not os.environ.get(_RETRIES_BY_USER):
        wanted |= _RETRIES
    if silence:
        wanted["client.read_timeout"] = f"{silence * 1000:.0f}ms"
    return hf_xet.XetSession(config.with_config({key: value for key, value in wanted.items() if key in known}))


def session(silence: float = 0) -> Any:
    """The session of hf_xet that this process uses now. ``silence``: seconds without a byte after which it repeats a
    request, five times; 0 is its own five minutes, which count from the first byte that is sent and so must stay for
    uploads. They are watched instead (``_Watch``); downloads cannot be aborted from outside.
    """
    return _session(os.getpid(), is_accelerated(), silence)


# --- patience ---------------------------------------------------------------------------------------------------


_LONGEST = 86_400


def patience() -> float:
    """Seconds without a byte after which a request counts as lost: 30, or ``QFLUX_PATIENCE``.

    The client's own requests wait for ever. A lost request is repeated five times, so that a Hub that takes requests
    and never answers is given up after less than four minutes. Raises UsageError for what is no such number.
    """
    text = os.environ.get("QFLUX_PATIENCE") or "30"
    with suppress(ValueError):
        if 0 < (seconds := float(text)) <= _LONGEST:
            return seconds
    raise UsageError(
        f"QFLUX_PATIENCE={text!r} is no number of seconds.", hint=f"It is more than 0, at most {_LONGEST:,}."
    )


def transfer_patience() -> float:
    """Seconds without a byte after which a transfer is given up: 120. It is more than hf_xet waits between retries, and
    more than an object store takes to look at what it was given.
    """
    return 4 * patience()


def request(method: Any, url: str, *, seconds: float | None = None, again: bool = True, **options: Any) -> Any:
    """The answer to a request that may be repeated, whatever its status. Failures of a moment are waited out, for as
    long as the Hub says; without ``again``, only those that it tells itself. ``seconds`` is the patience, when it is
    to be another.
    """
    from huggingface_hub.utils import http_backoff

    if not again:
        options["retry_on_exceptions"] = ()
    return http_backoff(method, url, timeout=seconds or patience(), **options)


class _Watch:
    """Aborts an upload while somebody waits for it and nothing moves; the time between the calls does not count.

    ``counters`` gives what changes when something moves. hf_xet notices a connection that breaks, not one that falls
    silent (its read timeout is five minutes, five times).
    """

    def __init__(self, counters: Callable[[], object], abort: Callable[[], object]) -> None:
        self._counters, self._abort = counters, abort
        self._limit = transfer_patience()
        self._waiting_since: float | None = None
        self._stalled = False
        self._ended = threading.Event()
        threading.Thread(target=self._look, name="qflux-watch", daemon=True).start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around each call that waits for the transfer. Raises TimeoutError when it was aborted."""
        self._waiting_since = time.monotonic()
        try:
            yield
        except (RuntimeError, OSError) as error:
            if self._stalled:
                raise TimeoutError(f"no byte moved for {self._limit:g} seconds") from error
            raise
        finally:
            self._waiting_since = None

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    def _look(self) -> None:
        last, moved = None, time.monotonic()
        while not self._ended.wait(min(1.0, self._limit / 4)):
            now, since = self._counters(), self._waiting_since
            if now != last or since is None:
                last, moved = now, time.monotonic()
            elif time.monotonic() - max(moved, since) > self._limit:
                self._stalled = True
                self._abort()
                return


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
        self._watch = _Watch(self._counters, self._commit.abort)

    def write(self, data: bytes, /) -> None:
        """Chunks are cut, compared and sent in native threads."""
        with self._watch.waiting():
            self._stream.write(data)

    def finish(self) -> Sent:
        """Nothing is usable before this: the last thing sent is the list of the chunks."""
        with self._watch.waiting():
            facts = self._stream.finish().xet_info
            report = self._commit.wait_to_finish()
        self._watch.end()
        return Sent(facts.sha256, facts.file_size, report.dedup_metrics.total_bytes_uploaded)

    def abort(self) -> None:
        """Cancels what is under way."""
        self._watch.end()
        self._commit.abort()

    def _counters(self) -> object:
        """Bytes seen and sent, and how far the list of chunks is. Repeated bytes do not count."""
        now = self._commit.progress()
        shard = now.shard
        listed = shard and (
            shard.total_shard_bytes_upload_completed,
            shard.total_shard_validation_entries_completed,
            shard.total_shards_completed,
            shard.total_shards_synced,
        )
        return now.total_bytes, now.total_bytes_completed, now.total_transfer_bytes_completed, listed


_LFS = {"Accept": "application/vnd.git-lfs+json", "Content-Type": "application/vnd.git-lfs+json"}


class LfsUpload:
    """As an LFS object, through a temporary copy: LFS wants to know hash and size before the first byte.

    ``repo_url`` is the repo's page.
    """

    def __init__(self, repo_url: str, name: str, revision: str | None, headers: Mapping[str, str]) -> None:
        self._batch_url = f"{repo_url}.git/info/lfs/objects/batch"
        self._name, self._revision, self._headers = name, revision, dict(headers)
        self._file = tempfile.NamedTemporaryFile(prefix="qflux-")  # noqa: SIM115 - closed by finish and abort
        self._hash, self._size = hashlib.sha256(), 0

    def write(self, data: bytes, /) -> None:
        """Nothing is sent yet. Raises QfluxError when the disk is full."""
        with self._room():
            self._file.write(data)
        self._hash.update(data)
        self._size += len(data)

    def finish(self) -> Sent:
        """Ask whether the content is there, and send it if not: in one piece, or in the parts that the Hub names."""
        with self._file as file:
            with self._room():
                file.flush()
            wanted = self._announce()
            if "upload" in wanted:
                self._send(Path(file.name), wanted["upload"])
            if "verify" in wanted:
                _ask("POST", wanted["verify"]["href"], headers=self._headers, json=self._named)
        return Sent(self._hash.hexdigest(), self._size, self._size if wanted else 0)

    def _announce(self) -> Mapping[str, Any]:
        """What the server wants done; nothing when it has the content."""
        order = {
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": [self._named],
            "hash_algo": "sha256",
            **({"ref": {"name": self._revision}} if self._revision else {}),
        }
        answer = _ask("POST", self._batch_url, headers=self._headers | _LFS, json=order)
        try:
            (told,) = answer.json()["objects"]
        except (ValueError, KeyError, TypeError) as error:
            raise RuntimeError(f"{self._batch_url} gives no answer of an LFS server") from error
        if "error" in told:
            raise RuntimeError(str(told["error"].get("message", "refused by the LFS server")))
        return told.get("actions") or {}

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
        _ask("POST", action["href"], headers=_LFS, json=json)

    def abort(self) -> None:
        """The copy goes."""
        with suppress(OSError):  # what the full disk did not take is tried once more
            self._file.close()

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise QfluxError(
                f"No room for a temporary copy of {self._name} in {tempfile.gettempdir()}: {error.strerror}.",
                hint="LFS over HTTP needs one per shard in flight. Set TMPDIR to a disk with room, or use Xet.",
            ) from error


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
    from huggingface_hub.utils import hf_raise_for_status

    response = request(method, url, seconds=transfer_patience(), **options)
    hf_raise_for_status(response)
    return response


# --- fetching ---------------------------------------------------------------------------------------------------


def fetch_by_xet(access: Access, xet_hash: str, size: int, start: int) -> Iterator[bytes]:
    """The bytes of a file from ``start`` on, in order."""
    import hf_xet

    group = session(silence=patience()).new_download_stream_group(**access.arguments)
    at = start
    try:
        for piece in group.download_stream(hf_xet.XetFileInfo(xet_hash, size), start=start or None):
            at += len(piece)
            yield piece
    except BaseException:
        group.abort()
        raise
    group.finish()
    if at < size:  # a download that never began ends like one that is complete (hf_xet 1.8)
        raise RuntimeError(f"it ended after {at:,} of {size:,} bytes")


def write_by_xet(access: Access, xet_hash: str, size: int, path: Path) -> Iterator[int]:
    """Have the client write a file to ``path``, anew; yields how much is there, every now and then until it is all.

    It writes from the beginning to the end (hf_xet 1.8). A copy less than taking its bytes as they come: two thirds of
    the time of this process.
    """
    import hf_xet

    group = session(silence=patience()).new_file_download_group(**access.arguments)
    with ThreadPoolExecutor(1, "qflux-xet") as pool:
        try:
            group.start_download_file(hf_xet.XetFileInfo(xet_hash, size), str(path))
            ended = pool.submit(group.wait_to_finish)
            while not ended.done():
                wait([ended], _LOOK)
                yield path.stat().st_size
            ended.result()
        except BaseException:
            group.abort()
            raise


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
    from huggingface_hub.utils import hf_raise_for_status, http_stream_backoff

    wanted = dict(headers) | {"Accept-Encoding": "identity"}
    if span:
        wanted["Range"] = f"bytes={span[0]}-{span[1] - 1}"
    with http_stream_backoff("GET", url, headers=wanted, follow_redirects=True, timeout=patience()) as response:
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
