"""One pass over image files: facts, checksums, SHA-256 and, when wished, pixels. On all cores, each file once.

Sizes are bytes. A file is held whole while it is read, up to ``_WHOLE``; larger ones are read in pieces, and again for
their pixels. Files that the local cache knows are not opened.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from typing import BinaryIO, NamedTuple

from qflux_hub.errors import UsageError
from qflux_hub.report import Progress
from qflux_hub.sample import Blob
from qflux_hub.sniff import BOMB_PIXELS, Checksums, ImageFacts, look, sniff
from qflux_hub.state import Memory
from qflux_hub.tree import stamp_of

_WHOLE = 16 << 20
_PIECE = 1 << 20
_BATCH = 16
"""Files that a thread is given at once: handing over one costs as much time as hashing 50 KB."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a file beside its header: its hash, a decoding of all of it, its tones, its likeness."""

    hash: bool = True
    decode: bool = False
    tones: bool = False
    likeness: bool = False

    @property
    def pixels(self) -> bool:
        """Whether it has to be decoded."""
        return self.decode or self.tones or self.likeness


def read_image(blob: Blob, wish: Wish, known: ImageFacts | None = None) -> tuple[ImageFacts, bytes]:
    """(facts, SHA-256) of an image; no hash where none is wished or the file has a problem.

    ``known`` are the facts of its header, where it was looked at before. Files that cannot be read, or are not those
    that were listed any more, have a problem.
    """
    try:
        with blob.open() as file:
            facts, digest = _read(file, blob, wish, known)
            if blob.stamp is not None and stamp_of(file) != blob.stamp:
                return ImageFacts(problem="changed-file"), b""
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            return ImageFacts(problem="changed-file"), b""
        return ImageFacts(problem="unreadable-file", detail=error.strerror or str(error)), b""
    return facts, digest


def _read(file: BinaryIO, blob: Blob, wish: Wish, known: ImageFacts | None) -> tuple[ImageFacts, bytes]:
    digest, whole = hashlib.sha256(), wish.hash and blob.size <= _WHOLE
    if whole:
        data = _all(file, blob.size)
        if len(data) != blob.size:
            return ImageFacts(problem="changed-file"), b""
        file = io.BytesIO(data)
        digest.update(data)
    facts = known or sniff(file, blob.size)
    if facts.problem:
        return facts, b""
    if wish.hash:
        sums = Checksums() if facts.format == "png" else None
        if whole and sums:
            sums.feed(data)
        elif not whole and not _feed(file, blob.size, digest.update, sums.feed if sums else None):
            return ImageFacts(problem="changed-file"), b""
        if sums and (why := sums.verdict()):
            return replace(facts, problem="damaged-image", detail=why), b""
    if wish.pixels and not _undecoded(facts):
        seen = look(file, tones=wish.tones, likeness=wish.likeness)
        if seen.problem:
            return replace(facts, problem=seen.problem, detail=seen.detail), b""
        facts = replace(facts, tones=seen.tones, likeness=seen.likeness)
    return facts, digest.digest() if wish.hash else b""


def _all(file: BinaryIO, size: int) -> bytes:
    """All bytes of a file that has ``size``, or more of one that has grown."""
    data = file.read(size + 1)
    while len(data) < size and (piece := file.read(size + 1 - len(data))):  # a short read of a network's
        data += piece
    return data


def _feed(file: BinaryIO, size: int, *takers: Callable[[bytes], object] | None) -> bool:
    """Give all pieces of a file to ``takers``; whether it had ``size``."""
    file.seek(0)
    read = 0
    while piece := file.read(_PIECE):
        read += len(piece)
        for take in takers:
            if take:
                take(piece)
    return read == size


def look_at(blob: Blob, *, decode: bool) -> ImageFacts:
    """The image's facts from its header, or from decoding all of it."""
    return read_image(blob, Wish(hash=False, decode=decode))[0]


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
            facts[blob.name] = recalled.facts
            if recalled.sha256:
                hashes[blob.name] = recalled.sha256
        else:
            jobs.append(_Job(blob, wish, known))
    if not jobs:
        return
    started, slow = time.time_ns(), any(job.wish.decode or job.wish.likeness for job in jobs)
    in_bytes = any(job.wish.hash for job in jobs)
    total = sum(job.blob.size for job in jobs) if in_bytes else len(jobs)
    label = "Decoding" if slow else "Checking" if in_bytes else "Looking at"
    with progress.task(label, total, "B" if in_bytes else "images") as task:
        for job, (seen, digest) in zip(jobs, _in_threads(jobs, 1 if slow else _BATCH), strict=True):
            name = job.blob.name
            facts[name] = seen
            if digest:
                hashes[name] = digest
            if digest or (seen.problem and seen.problem not in _PASSING):
                row = [digest.hex(), job.wish.decode or (decoded and job.known is not None), *seen.to_row()]
                memory.learn(job.blob, row, started)
            task.advance(job.blob.size if in_bytes else 1)


_PASSING = ("unreadable-file", "changed-file")
"""Problems that may be gone the next time, although the file is the same."""


def require_likeness() -> None:
    """Raise UsageError where the library for likenesses is not installed."""
    if find_spec("imagehash") is None:
        raise UsageError(
            "Near-duplicates are found with the library imagehash, which is not installed.",
            hint='pip install "qflux-hub[duplicates]"',
        )


class _Job(NamedTuple):
    blob: Blob
    wish: Wish
    known: ImageFacts | None


@dataclass(frozen=True, slots=True)
class _Known:
    """What the local cache holds of a file that was read; no hash of one with a problem."""

    sha256: bytes
    facts: ImageFacts


def _recall(memory: Memory, blob: Blob, wish: Wish) -> _Known | None:
    """What is known of an unchanged file; None when it must be read, or when an older qflux learned less of it."""
    row = memory.known(blob)
    if row is None or len(row) != 2 + len(fields(ImageFacts)):
        return None
    digest, decoded, *rest = row
    facts = ImageFacts.from_row(rest)
    lacking = (
        (wish.decode and not decoded)
        or (wish.tones and not (facts.tones or _undecoded(facts)))
        or (wish.likeness and not (facts.likeness or _undecoded(facts)))
    )
    return None if lacking and not facts.problem else _Known(bytes.fromhex(digest), facts)


def _undecoded(facts: ImageFacts) -> bool:
    """Too large to be decoded at all."""
    return 2 * facts.width * facts.height > BOMB_PIXELS


def _in_threads(jobs: Sequence[_Job], batch: int) -> Iterator[tuple[ImageFacts, bytes]]:
    """Results in order, from threads: hashing and decoding release the interpreter, and disks like company.

    A few batches are under way at a time, so that neither memory nor an interruption waits for all of them.
    """
    threads = min(32, (os.cpu_count() or 1) + 1)
    pool = ThreadPoolExecutor(max_workers=threads)
    try:
        waiting: deque[Future[list[tuple[ImageFacts, bytes]]]] = deque()
        for start in range(0, len(jobs), batch):
            waiting.append(pool.submit(_read_batch, jobs[start : start + batch]))
            if len(waiting) > 4 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BaseException:  # Ctrl-C, for example: what is under way need not be waited for
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _read_batch(jobs: Sequence[_Job]) -> list[tuple[ImageFacts, bytes]]:
    return [read_image(*job) for job in jobs]
