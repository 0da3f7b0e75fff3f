"""One pass over image files: header, checksums and, when wished, SHA-256 and pixels. On all cores, each file once.

Sizes are bytes. Of JPEG and WebP files that need not be hashed, only the header and the end are read. What is read
whole is held whole up to ``_WHOLE``; larger files are read in pieces, and again for their pixels. Files that the local
cache knows are not opened.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from typing import BinaryIO, NamedTuple

from qflux_hub import sounds, videos
from qflux_hub.errors import MissingExtraError
from qflux_hub.naming import AUDIO_EXTENSIONS, VIDEO_EXTENSIONS, Kind, kind_of, split_extension
from qflux_hub.report import Progress
from qflux_hub.sample import Blob
from qflux_hub.sniff import BOMB_PIXELS, Checksums, ImageFacts, look, sniff
from qflux_hub.state import Memory
from qflux_hub.tree import stamp_of

_WHOLE = 4 << 20
_PIECE = 1 << 20
_BATCH_FILES, _BATCH_BYTES = 64, 2 << 20
"""What a thread is given at once, of files small enough that handing them over would cost more than hashing them."""
_READERS = 8
"""Threads that read at a time when they wait for the disk."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a file beside its header: its checksums, hash, a decoding of all of it, tones, likeness.

    ``probe``: what a library says of a video or sound, where it is installed. ``unknown``: it may be anything, and is
    not looked at.
    """

    sums: bool = True
    hash: bool = True
    decode: bool = False
    tones: bool = False
    likeness: bool = False
    probe: bool = False
    unknown: bool = False

    @property
    def pixels(self) -> bool:
        """Whether it has to be decoded."""
        return self.decode or self.tones or self.likeness


def read_image(blob: Blob, wish: Wish, known: ImageFacts | None = None) -> tuple[ImageFacts, bytes]:
    """(facts, SHA-256) of an image; no hash where none is wished or the file has a problem.

    ``known`` are the facts of its header, where it was looked at before. Files that cannot be read, or are not those
    that were listed any more, have a problem.
    """
    if wish.hash and blob.size <= _WHOLE:  # one call reads it
        problem, data = _load(blob)
        return (problem, b"") if problem else _judge(io.BytesIO(data), blob, wish, known, data)
    try:
        with blob.open() as file:
            facts, digest = _judge(file, blob, wish, known)
            if blob.stamp is not None and stamp_of(file) != blob.stamp:
                return ImageFacts(problem="changed-file"), b""
    except OSError as error:
        return _unreadable(error), b""
    return facts, digest


def _load(blob: Blob) -> tuple[ImageFacts | None, bytes]:
    """(problem or None, all bytes) of a file that is not large."""
    try:
        with blob.open() as file:
            data = _all(file, blob.size)
            changed = len(data) != blob.size or (blob.stamp is not None and stamp_of(file) != blob.stamp)
    except OSError as error:
        return _unreadable(error), b""
    return ImageFacts(problem="changed-file") if changed else None, data


def _unreadable(error: OSError) -> ImageFacts:
    if isinstance(error, FileNotFoundError):
        return ImageFacts(problem="changed-file")
    return ImageFacts(problem="unreadable-file", detail=error.strerror or str(error))


def _judge(
    file: BinaryIO, blob: Blob, wish: Wish, known: ImageFacts | None, data: bytes | None = None
) -> tuple[ImageFacts, bytes]:
    """``read_image`` of a file that is open; ``data`` is all of it, where it was read."""
    kind = kind_of(blob.name)
    facts = known or (ImageFacts() if wish.unknown else sniff(file, blob.size, kind))
    if facts.problem:
        return facts, b""
    digest = hashlib.sha256()
    sums = Checksums() if wish.sums and facts.format == "png" else None
    takers = [*([digest.update] if wish.hash else []), *([sums.feed] if sums else [])]
    if takers:
        if data is not None:
            for take in takers:
                take(data)
        elif not _feed(file, blob.size, takers):
            return ImageFacts(problem="changed-file"), b""
        if sums and (why := sums.verdict()):
            return replace(facts, problem="damaged-image", detail=why), b""
    if kind in ("video", "audio"):
        if (wish.probe or wish.decode) and can_probe(blob.name):
            facts = _probed(file, kind, facts, decode=wish.decode)
        return facts, digest.digest() if wish.hash and not facts.problem else b""
    if wish.pixels and not wish.unknown and not _undecoded(facts):
        seen = look(file, tones=wish.tones, likeness=wish.likeness)
        if seen.problem:
            return replace(facts, problem=seen.problem, detail=seen.detail), b""
        facts = replace(facts, tones=seen.tones, likeness=seen.likeness)
    return facts, digest.digest() if wish.hash else b""


def _probed(file: BinaryIO, kind: Kind, facts: ImageFacts, *, decode: bool) -> ImageFacts:
    """The facts of a video or sound, with what its library says; as they are where that is not installed."""
    file.seek(0)
    try:
        if kind == "video":
            video = videos.look_at_video(file, decode=decode)
            return replace(facts, width=video.width, height=video.height, frames=video.frames, rate=video.rate)
        if facts.format in sounds.READ:
            sound = sounds.look_at_sound(file, decode=decode)
            return replace(facts, frames=sound.frames, rate=float(sound.rate))
    except videos.NotAVideoError as error:
        return replace(facts, problem="not-a-video", detail=str(error))
    except sounds.NotASoundError as error:
        return replace(facts, problem="not-a-sound", detail=str(error))
    return facts


def can_probe(name: str) -> bool:
    """Whether a library is installed that opens the video or sound of that name. None opens m4a sounds."""
    kind, extension = kind_of(name), split_extension(name)[1]
    return videos.is_available() if kind == "video" else sounds.is_available() and extension != ".m4a"


def require_libraries(kinds: Collection[Kind]) -> None:
    """Raise MissingExtraError where files of these kinds cannot be decoded, because a library is not installed."""
    for kind, library in missing_libraries(kinds):
        raise MissingExtraError(
            f"Decoding {kind} files needs the library {library}, which is not installed.",
            hint=f'pip install "qflux-hub[{kind}]"',
        )


def missing_libraries(kinds: Collection[Kind]) -> Iterator[tuple[Kind, str]]:
    """(kind, library) for those of ``kinds`` that cannot be opened here; the extra is called like the kind."""
    if "video" in kinds and not videos.is_available():
        yield "video", "av"
    if "audio" in kinds and not sounds.is_available():
        yield "audio", "soundfile"


def _all(file: BinaryIO, size: int) -> bytes:
    """All bytes of a file that has ``size``, or more of one that has grown."""
    data = file.read(size + 1)
    while len(data) < size and (piece := file.read(size + 1 - len(data))):  # a short read of a network's
        data += piece
    return data


def _feed(file: BinaryIO, size: int, takers: Sequence[Callable[[bytes], object]]) -> bool:
    """Give all pieces of a file to ``takers``; whether it had ``size``."""
    file.seek(0)
    read = 0
    while piece := file.read(_PIECE):
        read += len(piece)
        for take in takers:
            take(piece)
    return read == size


def look_at(blob: Blob, *, decode: bool) -> ImageFacts:
    """The image's facts from its header, or from decoding all of it."""
    return read_image(blob, Wish(sums=False, hash=False, decode=decode))[0]


def read_images(
    blobs: Iterable[Blob],
    wishes: Mapping[str, Wish],
    facts: dict[str, ImageFacts],
    hashes: dict[str, bytes],
    memory: Memory,
    progress: Progress,
    *,
    decoded: bool = False,
) -> None:
    """Fill ``facts`` and ``hashes``, by name, with what ``wishes`` ask of each blob. What was read is remembered.

    Files whose facts are there already are only hashed, if that is wished and they have no problem; ``decoded`` says
    that they were decoded for them.
    """
    jobs: list[_Job] = []
    for blob in blobs:
        wish, known = wishes[blob.name], facts.get(blob.name)
        if known and (known.problem or blob.name in hashes or not wish.hash):
            continue
        recalled = None if known else _recall(memory, blob, wish)
        if recalled:
            facts[blob.name], digest = recalled
            if digest:
                hashes[blob.name] = digest
        else:
            jobs.append(_Job(blob, wish, known))
    memory.let_go()
    if not jobs:
        return
    started, slow = time.time_ns(), any(job.wish.decode or job.wish.likeness for job in jobs)
    in_bytes = any(job.wish.sums for job in jobs)
    total = sum(job.blob.size for job in jobs) if in_bytes else len(jobs)
    label = "Decoding" if slow else "Checking" if in_bytes else "Looking at"
    with progress.task(label, total, "B" if in_bytes else "images") as task:
        for job, (seen, digest) in zip(jobs, _in_threads(jobs, alone=slow), strict=True):
            name = job.blob.name
            facts[name] = seen
            if digest:
                hashes[name] = digest
            if seen.problem not in _PASSING if seen.problem else job.wish.sums:
                row = [digest.hex(), job.wish.decode or (decoded and job.known is not None), *seen.to_row()]
                memory.learn(job.blob, row, started)
            task.advance(job.blob.size if in_bytes else 1)


_PASSING = ("unreadable-file", "changed-file")
"""Problems that may be gone the next time, although the file is the same."""


def require_likeness() -> None:
    """Raise MissingExtraError where the library for likenesses is not installed."""
    if find_spec("imagehash") is None:
        raise MissingExtraError(
            "Near-duplicates are found with the library imagehash, which is not installed.",
            hint='pip install "qflux-hub[duplicates]"',
        )


class _Job(NamedTuple):
    blob: Blob
    wish: Wish
    known: ImageFacts | None


_ROW = 2 + len(fields(ImageFacts))


def _recall(memory: Memory, blob: Blob, wish: Wish) -> tuple[ImageFacts, bytes] | None:
    """(facts, SHA-256) of an unchanged file; no hash of one with a problem. None when it must be read, or when an older
    qflux learned less of it.
    """
    row = memory.known(blob)
    if row is None or len(row) != _ROW:
        return None
    digest, decoded, *rest = row
    facts = ImageFacts.from_row(rest)
    lacking = (
        (wish.hash and not digest)
        or (wish.decode and not decoded)
        or (wish.tones and not (facts.tones or _undecoded(facts)))
        or (wish.probe and not facts.frames)
        or (wish.likeness and not (facts.likeness or _undecoded(facts)))
    )
    return None if lacking and not facts.problem else (facts, bytes.fromhex(digest))


def _undecoded(facts: ImageFacts) -> bool:
    """Too large to be decoded at all."""
    return 2 * facts.width * facts.height > BOMB_PIXELS


def _in_threads(jobs: Sequence[_Job], *, alone: bool) -> Iterator[tuple[ImageFacts, bytes]]:
    """Results in order, from threads: hashing and decoding release the interpreter, and disks like company.

    A few batches are under way at a time, so that neither memory nor an interruption waits for all of them; ``alone``
    makes one of every job, where each takes long.
    """
    cores = os.cpu_count() or 1
    threads, gate = min(32, cores + _READERS), _Gate()
    pool = ThreadPoolExecutor(max_workers=cores + 1 if alone else threads)
    try:
        waiting: deque[Future[list[tuple[ImageFacts, bytes]]]] = deque()
        for batch in _batches(jobs, alone=alone):
            waiting.append(pool.submit(_read_batch, batch, gate))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BaseException:  # Ctrl-C, for example: what is under way need not be waited for
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _batches(jobs: Sequence[_Job], *, alone: bool) -> Iterator[list[_Job]]:
    """Jobs in their order; files that are read in pieces stand alone."""
    batch: list[_Job] = []
    held = 0
    for job in jobs:
        size = job.blob.size if job.wish.sums or job.wish.pixels else 0
        if batch and (alone or len(batch) == _BATCH_FILES or held + size > _BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(job)
        held += size
    if batch:
        yield batch


class _Gate:
    """Lets one thread read small files while the others hash what was read.

    Opening and reading small files is mostly work of the interpreter, of which there is one: threads that all do it
    take it from each other at every call (measured with files of 66 KB on two cores: two such threads take as long as
    one, and twice the CPU time). Where reading waits for the disk instead, more may read.
    """

    def __init__(self) -> None:
        self._free = threading.Semaphore(1)
        self._readers, self._lock = 1, threading.Lock()

    def read(self, jobs: Sequence[_Job]) -> list[_Read]:
        """What can be had of ``jobs`` without much work beside opening and reading."""
        with self._free:
            began, worked = time.perf_counter(), time.thread_time()
            read = [_read_first(job) for job in jobs]
            worked = time.thread_time() - worked
            waited = time.perf_counter() - began - worked
        if waited > 0.02 and waited > 4 * worked:
            with self._lock:
                if self._readers < _READERS:
                    self._readers += 1
                    self._free.release()
        return read


class _Read(NamedTuple):
    """A job half done: the result where there is one, else the whole file, and its facts where they are known."""

    result: tuple[ImageFacts, bytes] | None
    data: bytes = b""
    facts: ImageFacts | None = None


_QUICK = (".jpg", ".jpeg", ".webp", *VIDEO_EXTENSIONS, *AUDIO_EXTENSIONS)
_HEADERS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")
"""How files begin whose facts are found without decoding them."""


def _read_first(job: _Job) -> _Read:
    if not (job.wish.hash or job.wish.pixels) and job.blob.name.lower().endswith(_QUICK):
        return _Read(read_image(*job))
    problem, data = _load(job.blob)
    if problem or job.known:
        return _Read((problem, b"") if problem else None, data, job.known)
    return _Read(None, data, _early(job, data))


def _early(job: _Job, data: bytes) -> ImageFacts | None:
    """Facts that take no time, so that the thread that reads may find them."""
    is_image = kind_of(job.blob.name) == "image"
    return sniff(io.BytesIO(data), len(data)) if is_image and data.startswith(_HEADERS) else None


def _read_batch(jobs: Sequence[_Job], gate: _Gate) -> list[tuple[ImageFacts, bytes]]:
    if len(jobs) == 1 or any(job.blob.size > _WHOLE for job in jobs):
        return [read_image(*job) for job in jobs]
    read = gate.read(jobs)
    return [
        one.result or _judge(io.BytesIO(one.data), job.blob, job.wish, one.facts, one.data)
        for job, one in zip(jobs, read, strict=True)
    ]
