"""A file of a repo in the local cache or a folder: fetched once, hashed while it comes, resumed, never doubted.

The cache is the client's own (``blobs`` by hash, ``snapshots`` by commit, ``refs`` by name), so that other programs
find what was fetched here. What is new: a file is only there when its hash is right; what broke off goes on where it
ended, also in another run; and what lies in the cache is compared with its hash, by a look at its size and time where
it was read before.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from qflux_hub import codes
from qflux_hub.errors import HubError, RefusedError, VerificationError
from qflux_hub.hub import Hub
from qflux_hub.report import Finding, Progress, Task
from qflux_hub.repos import RemoteHead, RepoType
from qflux_hub.sample import Blob
from qflux_hub.state import now_ns, remember
from qflux_hub.tree import FolderOpener, stamp_of

TRIES = 5
"""How often a broken stream is taken up again without a byte of progress."""
_PIECE = 1024 * 1024


@dataclass(slots=True)
class Fetched:
    """A file that is here. ``verified`` against the hash that the Hub, or the cache, names it by."""

    path: Path
    file: RemoteHead
    received: int = 0
    from_cache: bool = False
    verified: bool = True
    findings: list[Finding] = field(default_factory=list)


def fetch_to_cache(
    hub: Hub,
    repo_id: str,
    file: RemoteHead,
    revision: str | None,
    progress: Progress,
    repo_type: RepoType = "model",
) -> Fetched:
    """The file in the cache, fetched unless a right copy is there. Raises VerificationError, HubError."""
    folder = hub.cache_of(repo_id, repo_type)
    blob = folder / "blobs" / file.etag
    fetched = Fetched(blob, file)
    if blob.exists() and not is_right(blob, file, progress):
        message = f"The cached copy of {file.path} had another hash than its name; it was replaced."
        fetched.findings.append(codes.DAMAGED_CACHE(file.path, message))
        real = blob.resolve()  # may lie in a store that several repos share; wrong for one is wrong for all
        blob.unlink()
        real.unlink(missing_ok=True)
    if blob.exists():
        fetched.from_cache = True
    else:
        blob.parent.mkdir(parents=True, exist_ok=True)
        partial = blob.with_name(f"{file.etag}.partial")
        fetched.received = _fetch(_Source(hub, repo_id, repo_type, file), partial, blob, progress)
    fetched.path = _point(folder, file, revision)
    return fetched


def fetch_to_folder(
    hub: Hub, repo_id: str, file: RemoteHead, folder: Path, progress: Progress, *, force: bool
) -> Fetched:
    """The file under its own name in ``folder``. Raises RefusedError where another file is in the way."""
    target = folder / file.path
    if target.exists():
        if target.is_file() and is_right(target, file, progress):
            return Fetched(target, file, from_cache=True)
        if not force or not target.is_file():
            raise RefusedError(
                f"{target} exists and is another file; nothing was fetched.",
                hint="Choose another folder, or replace it with --force.",
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{file.etag[:16]}.partial")
    cached = hub.cache_of(repo_id) / "blobs" / file.etag
    if cached.exists() and is_right(cached, file, progress):
        shutil.copyfile(cached, partial)
        partial.replace(target)
        return Fetched(target, file, from_cache=True)
    return Fetched(target, file, _fetch(_Source(hub, repo_id, "model", file), partial, target, progress))


def cached(hub: Hub, repo_id: str, path: str, revision: str | None, progress: Progress) -> Fetched | None:
    """The copy in the cache, without asking the Hub; None when there is none, or a wrong one."""
    folder = hub.cache_of(repo_id)
    commit = cached_commit(hub, repo_id, revision)
    pointer = folder / "snapshots" / commit / path if commit else None
    if pointer is None or not pointer.is_symlink() or not pointer.exists():
        return None
    etag = pointer.readlink().name
    file = RemoteHead(path, commit or "", pointer.stat().st_size, etag)
    return Fetched(pointer, file, from_cache=True) if is_right(pointer, file, progress) else None


def cached_commit(hub: Hub, repo_id: str, revision: str | None) -> str | None:
    """The commit that a revision had when it was last asked for."""
    if is_commit(revision):
        return revision
    reference = hub.cache_of(repo_id) / "refs" / (revision or "main")
    return reference.read_text().strip() if reference.is_file() else None


def cached_names(hub: Hub, repo_id: str, commit: str) -> list[str]:
    """The files of a commit that are in the cache."""
    snapshot = hub.cache_of(repo_id) / "snapshots" / commit
    return sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a full commit id, whose files never change."""
    return revision is not None and len(revision) == 40 and all(c in "0123456789abcdef" for c in revision)


def is_right(path: Path, file: RemoteHead, progress: Progress) -> bool:
    """Whether a file on disk has the content that ``file`` names. Read only if it was not read before."""
    real = path.resolve()
    with real.open("rb", buffering=0) as opened:
        size, stamp = os.fstat(opened.fileno()).st_size, stamp_of(opened)
        if file.size and size != file.size:
            return False
        blob = Blob(real.name, size, FolderOpener(str(real.parent)), stamp)
        with remember(real.parent) as memory:
            known = memory.known(blob)
            key = "sha256" if file.sha256 else "git"
            if not isinstance(known, dict) or key not in known:
                started, digest = now_ns(), _new_hash(file, size)
                with progress.task("Checking", size) as task:
                    _update(digest, opened, task)
                known = {**(known if isinstance(known, dict) else {}), key: digest.hexdigest()}
                memory.learn(blob, known, started)
    return bool(known[key] == file.etag)


def _new_hash(file: RemoteHead, size: int) -> hashlib._Hash:
    """SHA-256 of a large file; of a small one, what git hashes: a header and the content."""
    if file.sha256:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def _update(digest: hashlib._Hash, opened: BinaryIO, task: Task) -> int:
    """Hash what is left of a file; returns how many bytes that was."""
    total, buffer = 0, memoryview(bytearray(_PIECE))
    while count := opened.readinto(buffer):  # type: ignore[attr-defined]  # every open file has it
        digest.update(buffer[:count])
        task.advance(count)
        total += count
    return total


@dataclass(frozen=True, slots=True)
class _Source:
    """A file where it lies."""

    hub: Hub
    repo_id: str
    repo_type: RepoType
    file: RemoteHead


def _fetch(source: _Source, partial: Path, target: Path, progress: Progress) -> int:
    """Fetch into ``partial``, compare hashes, and make it ``target``; returns the bytes received.

    A wrong hash is fetched once more, from the beginning. One process fetches at a time; another one waits, and finds
    the file there.
    """
    file, received = source.file, 0
    with _locked(partial) as opened, progress.task("Fetching", file.size) as task:
        if target.exists() and not target.is_symlink() and is_right(target, file, Progress()):
            return 0
        for parallel in (True, False):
            done = _in_parallel(source, partial) if parallel else None
            digest, count = done or _resume(source, opened, partial, task)
            received += count
            if digest == file.etag:
                opened.flush()
                partial.replace(target)
                return received
            opened.truncate(0)
        partial.unlink()
    raise VerificationError(
        f"{file.path} of {source.repo_id} came twice with another hash than the Hub names; nothing was kept.",
        hint="Something on the way changes it: a proxy, a mirror, or the Hub's storage.",
    )


@contextmanager
def _locked(partial: Path) -> Iterator[BinaryIO]:
    """The partial file, open for nobody else. It may be replaced by its last owner meanwhile."""
    while True:
        with partial.open("a+b") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)
            if partial.exists() and os.path.samestat(partial.stat(), os.fstat(opened.fileno())):
                yield opened
                return


def _resume(source: _Source, opened: BinaryIO, partial: Path, task: Task) -> tuple[str, int]:
    """Take up the file where it ended; returns (hash of all of it, bytes received). Bounded without progress."""
    hub, repo_id, repo_type, file = source.hub, source.repo_id, source.repo_type, source.file
    digest, tries = _new_hash(file, file.size), 0
    if os.fstat(opened.fileno()).st_size > file.size:
        opened.truncate(0)
    opened.seek(0)
    start = at = _update(digest, opened, task)
    while at < file.size:
        before = at
        try:
            at += _update(digest, opened, task)  # what a broken attempt left
            if at == 0:
                for _ in hub.fetch_into(repo_id, file, partial, repo_type):
                    at += _update(digest, opened, task)
                at += _update(digest, opened, task)
            with _Beside(digest, opened) as beside:
                for piece in hub.fetch(repo_id, file, at, repo_type) if at < file.size else ():
                    taken = piece[: file.size - at]
                    beside.take(taken)
                    task.advance(len(taken))
                    at += len(taken)
        except HubError:
            tries = 1 if at > before else tries + 1
            if tries > TRIES:
                raise
        else:
            tries = 1 if at > before else tries + 1
            if tries > TRIES:
                raise HubError(
                    f"{repo_id} ends {file.path} after {at:,} of {file.size:,} bytes.", hint="Try again later."
                )
    if start == 0 and digest.hexdigest() != file.etag:  # read too early, if the client did not write it in order
        digest = _new_hash(file, file.size)
        opened.seek(0)
        _update(digest, opened, Task())
    return digest.hexdigest(), at - start


class _Beside:
    """Hashes and writes in threads, one piece behind, while the next one is fetched. Pieces may have 64 MB."""

    def __init__(self, digest: hashlib._Hash, opened: BinaryIO) -> None:
        self._takers: tuple[Callable[[bytes], object], ...] = (digest.update, opened.write)
        self._pool = ThreadPoolExecutor(len(self._takers))
        self._waiting: list[Future[object]] = []

    def take(self, piece: bytes) -> None:
        self._wait()
        self._waiting = [self._pool.submit(taker, piece) for taker in self._takers]

    def _wait(self) -> None:
        for done in self._waiting:
            done.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._wait()
        finally:
            self._pool.shutdown()


def _in_parallel(source: _Source, partial: Path) -> tuple[str, int] | None:
    """The same by parallel ranges, if that is the way for this file and nothing of it is here yet."""
    file = source.file
    if partial.stat().st_size:
        return None
    beside = partial.with_name(f"{partial.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        if not source.hub.fetch_fast(source.repo_id, file, beside, source.repo_type):
            return None
        digest = _new_hash(file, file.size)
        with beside.open("rb") as opened:
            _update(digest, opened, Task())
        if digest.hexdigest() == file.etag:
            beside.replace(partial)
        return digest.hexdigest(), file.size
    finally:
        beside.unlink(missing_ok=True)


def _point(folder: Path, file: RemoteHead, revision: str | None) -> Path:
    """Make the snapshot of the commit name the file, and the revision the commit."""
    pointer = folder / "snapshots" / file.commit / file.path
    pointer.parent.mkdir(parents=True, exist_ok=True)
    _replace(pointer, lambda beside: beside.symlink_to(os.path.relpath(folder / "blobs" / file.etag, pointer.parent)))
    if not is_commit(revision):
        reference = folder / "refs" / (revision or "main")
        reference.parent.mkdir(parents=True, exist_ok=True)
        _replace(reference, lambda beside: beside.write_text(file.commit))
    return pointer


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    make(beside)
    beside.replace(path)
