"""Files written so that nothing that is there is lost.

A layout names the files (``Output``), and ``Folder.write`` makes them: each appears whole or not at all, files that are
there and equal stay as they are, different ones are never overwritten unless forced. Sizes are bytes, paths have ``/``
and are relative to the target folder.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from blake3 import blake3

from qflux_hub import codes, disk
from qflux_hub.errors import DataError, OutsideRootError, RefusedError, UsageError, VerificationError
from qflux_hub.naming import (
    MEDIA_EXTENSIONS,
    PROMPT_EXTENSION,
    is_litter,
    split_extension,
)
from qflux_hub.parts import SMALL, compared
from qflux_hub.report import Finding, Task
from qflux_hub.sample import Blob, Sample
from qflux_hub.spill import Table
from qflux_hub.tree import stamp_of

WORKERS, FETCHERS = 4, 16
"""Files that are made at once, and those that are copied at once from a Hub, where each waits for its answers."""
_PIECE = 256 << 10
_WAITING = 64
"""Files that wait for a worker; more are not planned ahead."""
_AT_MOST = 5
_READ = (*MEDIA_EXTENSIONS, PROMPT_EXTENSION, ".csv", ".json", ".jsonl", ".parquet", ".tar")
"""Extensions of files in which a layout looks for samples."""


class Sink(Protocol):
    """Takes the bytes of a file."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Take the next bytes."""


@dataclass(frozen=True, slots=True)
class Output:
    """One file to write: a copy of ``blob``, or what ``pour`` puts into a sink, the same at every call.

    ``reads`` gives the blobs that ``pour`` opens, in their order.
    """

    path: str
    blob: Blob | None = None
    pour: Callable[[Sink, Callable[[int], None]], None] | None = None
    reads: Callable[[], Iterable[Blob]] | None = None

    @property
    def holds_media(self) -> bool:
        """Whether it has more than texts."""
        return self.blob is not None or self.reads is not None

    @classmethod
    def of(cls, path: str, content: bytes) -> Output:
        """A small file of these bytes."""

        return cls.of_lines(path, lambda: [content])

    @classmethod
    def of_lines(cls, path: str, lines: Callable[[], Iterable[bytes]]) -> Output:
        """A text of any length, of which ``lines`` gives one after the other."""

        def pour(sink: Sink, _: Callable[[int], None]) -> None:
            waiting, size = list[bytes](), 0
            for line in lines():
                waiting.append(line)
                size += len(line)
                if size >= _PIECE:
                    sink.write(b"".join(waiting))
                    waiting, size = [], 0
            sink.write(b"".join(waiting))

        return cls(path, pour=pour)


Arrange = Callable[[Iterable[Output]], Iterable[Output]]


@dataclass(slots=True)
class Written:
    """How many bytes were written, and how many were there already; and what lay there beside them."""

    written: int = 0
    kept: int = 0
    findings: list[Finding] = field(default_factory=list)


class Folder:
    """The target of a conversion. Nothing is made before ``write``; then up to ``copiers`` files are copied at once."""

    def __init__(self, root: str | os.PathLike[str], copiers: int = WORKERS) -> None:
        self.root = Path(root)
        self._copiers, self._pouring = copiers, threading.Semaphore(WORKERS)
        self._real = os.path.realpath(self.root)
        self._prefix = f"{self.root}/"
        self._ready: set[str] = set()

    def write(
        self,
        outputs: Callable[[], Iterable[Output]],
        *,
        force: bool,
        task: Task,
        arrange: Arrange = lambda outputs: outputs,
    ) -> Written:
        """Make all files, several at a time: those that hold media, then the texts and tables that tell of them, so
        that none of these is there without its images. ``outputs`` is called once for each, and once to look.

        ``arrange`` is given the former that are not there yet, and puts them into an order that suits their source.

        Raises RefusedError, before anything is written, when a file is there with another content (unless ``force``);
        OutsideRootError when a link leads out of the folder; VerificationError when bytes are not those recorded;
        DataError when a source changed or cannot be read.
        """
        done, there = Written(), Table()
        different, first = 0, list[str]()
        if self.root.exists():
            paths = Table()
            for output in outputs():
                paths.claim(output.path)
                final = self._place(output.path)
                if os.path.lexists(final):
                    size = self._size_if_equal(Path(final), output)
                    if size is None:
                        different += 1
                        first += [output.path] if different <= _AT_MOST else []
                    elif there.claim(output.path):
                        done.kept += size
                        task.advance(size if output.blob else 0)
            if others := sorted(path for path in _files_below(self.root) if path not in paths):
                more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
                message = f"{self.root} has other files, {others[0]}{more}, which may be read as part of the dataset."
                done.findings.append(codes.OTHER_FILES(others[0], message))
        if different and not force:
            more = f" and {different - _AT_MOST:,} more" if different > _AT_MOST else ""
            raise RefusedError(
                f"{self.root} has other files of these names: {', '.join(first)}{more}; nothing was written.",
                hint="Take another folder, or replace them with --force.",
            )
        texts = 0

        def lacking(*, media: bool) -> Iterator[Output]:
            nonlocal texts
            for output in outputs():
                texts += not output.holds_media
                if output.holds_media is media and not (there and output.path in there):
                    yield output

        done.written += self._make_all(arrange(lacking(media=True)), task)
        if texts:  # to look for them takes as long as to plan all files
            done.written += self._make_all(lacking(media=False), task)
        return done

    def _make_all(self, outputs: Iterable[Output], task: Task) -> int:
        """Make files, several at a time, and return their bytes."""
        written = 0
        with ThreadPoolExecutor(self._copiers) as pool:
            waiting: deque[Future[int]] = deque()
            try:
                for output in outputs:
                    waiting.append(pool.submit(self._make, output, task))
                    if len(waiting) >= _WAITING:
                        written += waiting.popleft().result()
                return written + sum(one.result() for one in waiting)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _place(self, path: str) -> str:
        """Where a file will lie, which is inside, also when links are followed.

        As text: to make `Path`s takes a tenth of the time of small files (measured).
        """
        folder = path.rpartition("/")[0]
        if folder not in self._ready:
            real = os.path.realpath(self._prefix + folder)
            if real != self._real and not real.startswith(self._real.rstrip(os.sep) + os.sep):
                raise OutsideRootError(
                    f"{path} would be written to {real}, outside of {self.root}.", hint="Remove the link."
                )
            self._ready.add(folder)
        return self._prefix + path

    def _size_if_equal(self, final: Path, output: Output) -> int | None:
        """The size of the file that is there, if it is what would be written."""
        try:
            if final.is_symlink() or not final.is_file():
                return None
            size = final.stat().st_size
            with final.open("rb") as file:
                if output.blob is None:
                    comparing = _Comparing(file)
                    _pour(output, comparing)
                    return size if comparing.equal and not file.read(1) else None
                if size != output.blob.size:
                    return None
                if output.blob.sha256 is not None:
                    return size if hashlib.file_digest(file, "sha256").digest() == output.blob.sha256 else None
                comparing = _Comparing(file)
                for piece in _pieces(output.blob):
                    comparing.write(piece)
                    if not comparing.equal:
                        return None
                return size
        except OSError as error:
            raise _unreadable(error, output.path) from error

    def _make(self, output: Output, task: Task) -> int:
        """Write one file beside its place, and move it there when it is whole."""
        final = self._place(output.path)
        above, slash, name = final.rpartition("/")
        beside = f"{above}{slash}.{hashlib.sha256(name.encode()).hexdigest()[:16]}.qflux-part"
        try:
            try:
                file = open(beside, "w+b", buffering=0)  # noqa: PTH123, SIM115 - closed below
            except FileNotFoundError:
                os.makedirs(above, exist_ok=True)  # noqa: PTH103
                file = open(beside, "w+b", buffering=0)  # noqa: PTH123, SIM115
            try:
                with file:
                    sink = _Written(file, None if output.blob and output.blob.sha256 else blake3())
                    if output.blob:
                        _copy(output.blob, sink, task)
                    else:
                        with self._pouring:  # a shard takes memory
                            _pour(output, sink, task.advance)
                    _require_written(file, sink.digest, output)
                os.replace(beside, final)  # noqa: PTH105
            except BaseException:
                with suppress(OSError):
                    os.unlink(beside)  # noqa: PTH108
                raise
        except OSError as error:
            place = Path(error.filename or beside)
            if not place.is_relative_to(self.root) and not self.root.is_relative_to(place):  # of the source
                message = f"{error.filename} cannot be read: {error.strerror or error}."
                raise DataError(message, hint="Mend it, and run the same command again.") from error
            message = f"{output.path} cannot be written to {str(self.root)!r}: {error.strerror or error}."
            raise DataError(message, hint=disk.way_out(error)) from error
        return sink.size


def require_folder(dest: str | os.PathLike[str]) -> None:
    """Raises UsageError for what is no folder to write to: a file, an empty text, which as a path is this folder, or a
    place that takes no folder. One that is there may have all files already, so that nothing need be written.
    """
    if not os.fspath(dest):
        raise UsageError("The folder to write to is an empty text.", hint="For the current folder, write '.'.")
    if not os.path.lexists(dest):
        disk.require_writable(dest)
    if Path(dest).exists() and not Path(dest).is_dir():
        raise UsageError(f"{os.fspath(dest)} is a file.", hint="Give a folder to write to.")


def _pour(output: Output, sink: Sink, advance: Callable[[int], None] = lambda _: None) -> None:
    if output.pour is not None:
        output.pour(sink, advance)


def _files_below(root: Path) -> Iterator[str]:
    """The files of a folder that a reader would see."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_litter(name)]
        above = Path(folder).relative_to(root).as_posix()
        read = (name for name in names if not is_litter(name) and split_extension(name)[1] in _READ)
        yield from (name if above == "." else f"{above}/{name}" for name in read)


class _Written:
    """Writes all it is given, of which a file without a buffer may take less, and hashes it if ``digest`` is given.

    BLAKE3, because nobody else reads these hashes: it takes a fourth of the time of SHA-256 (measured: 6 GB/s).
    """

    def __init__(self, file: BinaryIO, digest: blake3 | None) -> None:
        self._file = file
        self.size, self.digest = 0, digest

    def write(self, data: bytes | memoryview) -> int:
        if self.digest:
            self.digest.update(data)
        self.size += len(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        return len(data)


_OWN = threading.local()


def _buffer() -> memoryview:
    """Memory of this thread to read pieces into: new memory for each takes as long as hashing it (measured)."""
    if not hasattr(_OWN, "buffer"):
        _OWN.buffer = memoryview(bytearray(_PIECE))
    return _OWN.buffer  # type: ignore[no-any-return]


def _require_written(file: BinaryIO, written: blake3 | None, output: Output) -> None:
    """Read a file back. Raises VerificationError when it is not what was written, or what was recorded: where there is
    a recorded hash, that of what came is not taken by itself.
    """
    read: Any = blake3() if written else hashlib.sha256()
    buffer = _buffer()
    file.seek(0)
    while count := file.readinto(buffer):  # type: ignore[attr-defined]  # BinaryIO hides it
        read.update(buffer[:count])
    if written and read.digest() != written.digest():
        message = f"{output.path} reads back with other bytes than were written."
        raise VerificationError(message, hint="This disk, or its driver, alters data.")
    if output.blob and output.blob.sha256 and read.digest() != output.blob.sha256:
        raise _altered(output.blob)


def _copy(blob: Blob, sink: Sink, task: Task) -> None:
    """Copy a blob's bytes, which must be as many as it says."""
    size = 0
    for piece in _pieces(blob):
        sink.write(piece)
        size += len(piece)
        task.advance(len(piece))
    if size != blob.size:
        if blob.sha256:
            raise _altered(blob)
        raise DataError(f"{blob.name} changed while it was read.", hint="Run the same command again.")


def _altered(blob: Blob) -> VerificationError:
    return VerificationError(
        f"{blob.name} came with other bytes than were recorded.",
        hint="Try again; if it stays so, the source's storage, something on the way or this disk is damaged.",
    )


def _pieces(blob: Blob) -> Iterator[memoryview]:
    """The bytes of a blob, in pieces that are overwritten by the next of this thread."""
    buffer = _buffer()
    with blob.open() as file:
        while count := file.readinto(buffer):  # type: ignore[attr-defined]  # BinaryIO hides it
            yield buffer[:count]
        require_unchanged(blob, file)


def require_unchanged(blob: Blob, file: BinaryIO) -> None:
    """Asked when all of it was read. Raises DataError when the file is not any more what the blob was made of."""
    if blob.stamp is not None and blob.stamp != stamp_of(file):
        raise DataError(f"{blob.name} changed while it was read.", hint="Run the same command again.")


class _Comparing:
    """A sink that compares what it is given with a file instead of writing it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.equal = True

    def write(self, data: bytes | memoryview) -> int:
        if self.equal and self._file.read(len(data)) != data:
            self.equal = False
        return len(data)


def _unreadable(error: OSError, path: str) -> DataError:
    reason = error.strerror or str(error)
    message = f"{path} cannot be compared with what is there: {reason} ({error.filename or 'unknown file'})."
    return DataError(message, hint="Mend that file, or take another folder.")


@dataclass(frozen=True, slots=True)
class _Verifying:
    """Opens a blob's bytes, in memory unless they are many, when they are those that were recorded."""

    blob: Blob

    def __call__(self, name: str) -> BinaryIO:  # noqa: ARG002 - every opener takes the blob's name
        blob = self.blob
        if blob.size >= SMALL and blob.sha256 is not None:
            return compared(blob.open(), blob.size, blob.sha256, lambda: _altered(blob))
        with self.blob.open() as file:
            data = file.read()
        if hashlib.sha256(data).digest() != self.blob.sha256:
            raise _altered(self.blob)
        return io.BytesIO(data)


def verified(sample: Sample) -> Sample:
    """The sample with blobs that are compared with their recorded hashes when they are opened."""
    if not any(blob.sha256 for _, blob in sample.media()):
        return sample

    def checked(blob: Blob | None) -> Blob | None:
        return replace(blob, opener=_Verifying(blob)) if blob and blob.sha256 else blob

    controls = tuple(replace(one, opener=_Verifying(one)) if one.sha256 else one for one in sample.controls)
    others = {name: checked(one) or one for name, one in sample.others.items()}
    return replace(sample, controls=controls, mask=checked(sample.mask), target=checked(sample.target), others=others)
