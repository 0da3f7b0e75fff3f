"""Content on disk: large bytes in files that appear whole or not at all, and are checked whenever they are read.

A name such as ``lfs/<sha256>`` or ``xorb/<hash>`` is a row of the database (size, and a checksum of every 64 KiB) and
a file. The row is the truth: a file without a row is left over from a dead process and is collected later, a row
without a file is damage. Files are renamed into place and removed only under the database's write lock, so that no
other process can be between the two steps.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from qflux_hub.localhub.db import Database, now_ms
from qflux_hub.localhub.problems import DamagedError

BLOCK = 64 * 1024
SUM_BYTES = 16
PIECE = 1024 * 1024
"""Bytes that are read, checked and handed on at once."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A file that is whole and on disk, but not yet visible under its name."""

    path: Path
    size: int
    sums: bytes


class Incoming:
    """A file being written beside its place; what was not published by the time it is closed leaves nothing."""

    def __init__(self, path: Path, *, adopt: bool = False) -> None:
        self.path = path
        self.size = 0
        self._file: BinaryIO = path.open("rb" if adopt else "xb", buffering=0)
        self._rest = bytearray()
        self._sums = bytearray()

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        view = memoryview(data)
        written = 0
        while written < len(view):
            written += os.write(self._file.fileno(), view[written:])
        self._remember(view)

    def reread(self, take: Callable[[memoryview], object]) -> None:
        """Take an adopted file as it lies: its bytes are summed, and shown to ``take`` in order."""
        while piece := self._file.read(PIECE):
            view = memoryview(piece)
            take(view)
            self._remember(view)

    def _remember(self, view: memoryview) -> None:
        self.size += len(view)
        if self._rest:
            missing = BLOCK - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            if len(self._rest) < BLOCK:
                return
            self._sums += checksum(self._rest)
            self._rest.clear()
        whole = len(view) - len(view) % BLOCK
        for start in range(0, whole, BLOCK):
            self._sums += checksum(view[start : start + BLOCK])
        self._rest += view[whole:]

    def seal(self) -> Sealed:
        """Flush to disk. The bytes are final from here on."""
        if self._rest:
            self._sums += checksum(self._rest)
        os.fsync(self._file.fileno())
        return Sealed(self.path, self.size, bytes(self._sums))


class ContentFiles:
    """The files of one hub directory."""

    def __init__(self, root: Path, db: Database) -> None:
        self.root = root
        self.incoming = root / "incoming"
        self._db = db
        self.incoming.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Where the bytes of a name lie."""
        kind, _, digest = name.partition("/")
        return self.root / kind / digest[:2] / digest

    def receive(self) -> Incoming:
        """A new file beside its place."""
        return Incoming(self.incoming / secrets.token_hex(16))

    def adopt(self, path: Path, take: Callable[[memoryview], object]) -> Incoming:
        """A file that came together elsewhere in the directory, summed and shown to ``take`` as it is read once."""
        with ExitStack() as undo:
            incoming = undo.enter_context(Incoming(path, adopt=True))
            incoming.reread(take)
            undo.pop_all()
        return incoming

    def publish(self, db: sqlite3.Connection, name: str, sealed: Sealed, *, repair: bool) -> bool:
        """Make sealed bytes visible under ``name``, inside the caller's write transaction.

        False when the name is taken: what is there stays. With ``repair``, for a name that :meth:`is_damaged`, it is
        replaced, so that uploading again mends a directory.
        """
        if not repair and db.execute("SELECT 1 FROM content WHERE name = ?", (name,)).fetchone():
            return False
        place = self.path(name)
        if not place.parent.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(place.parent.parent)
            sync_folder(self.root)
        sealed.path.rename(place)
        sync_folder(place.parent)
        db.execute("DELETE FROM distrusted WHERE name = ?", (name,))
        db.execute(
            "INSERT OR REPLACE INTO content (name, size, created, sums) VALUES (?, ?, ?, ?)",
            (name, sealed.size, now_ms(), sealed.sums),
        )
        return True

    def distrust(self, db: sqlite3.Connection, name: str) -> bool:
        """Note, inside the caller's transaction, that a name is damaged; False when it was noted before.

        Clients are then told that it is not there, so they send it again, and that mends it.
        """
        return bool(db.execute("INSERT OR IGNORE INTO distrusted VALUES (?)", (name,)).rowcount)

    def is_distrusted(self, name: str) -> bool:
        """Whether a name was found damaged and not mended since."""
        return self._db.connection.execute("SELECT 1 FROM distrusted WHERE name = ?", (name,)).fetchone() is not None

    def has(self, name: str) -> bool:
        """Whether bytes are known under ``name``."""
        return self._db.connection.execute("SELECT 1 FROM content WHERE name = ?", (name,)).fetchone() is not None

    def read(self, name: str, start: int, end: int) -> Iterator[memoryview]:
        """The bytes [start, end) of a name, in order, checked before they are handed out; DamagedError otherwise."""
        first = start // BLOCK
        blocks = -(-end // BLOCK) - first
        row = self._db.connection.execute(
            "SELECT size, substr(sums, ?, ?) AS sums FROM content WHERE name = ?",
            (first * SUM_BYTES + 1, blocks * SUM_BYTES, name),
        ).fetchone()
        if row is None:
            raise DamagedError(f"{name} is missing from the hub's database", name=name)
        yield from self._read_checked(name, row["size"], row["sums"], start, end)

    def is_damaged(self, name: str) -> bool:
        """Whether a name is known but its bytes are not what was stored. Reads them all; hold no lock."""
        row = self._db.connection.execute("SELECT size FROM content WHERE name = ?", (name,)).fetchone()
        try:
            for _ in self.read(name, 0, row["size"]) if row else ():
                pass
        except DamagedError:
            return True
        return False

    def _read_checked(self, name: str, size: int, sums: bytes, start: int, end: int) -> Iterator[memoryview]:
        position = start - start % BLOCK
        stop = min(size, -(-end // BLOCK) * BLOCK)
        try:
            file = self.path(name).open("rb", buffering=0)
        except FileNotFoundError as error:
            raise DamagedError(f"{name}: the file is gone", name=name) from error
        with file:
            file.seek(position)
            origin = position
            while position < stop:
                piece = _read_exactly(file, min(PIECE, stop - position))
                if piece is None:
                    message = f"{name}: the file is shorter than the {size} bytes that were stored"
                    raise DamagedError(message, name=name)
                for offset in range(0, len(piece), BLOCK):
                    number = (position - origin + offset) // BLOCK * SUM_BYTES
                    if checksum(piece[offset : offset + BLOCK]) != sums[number : number + SUM_BYTES]:
                        message = f"{name}: bytes at {position + offset} are not what was stored"
                        raise DamagedError(message, name=name)
                yield piece[max(0, start - position) : end - position]
                position += len(piece)


def checksum(block: bytes | bytearray | memoryview) -> bytes:
    """What is remembered of one block."""
    return blake3(block).digest(SUM_BYTES)


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a small text file beside its place, flush it and rename it."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.rename(path)
    sync_folder(path.parent)


def _read_exactly(file: BinaryIO, size: int) -> memoryview | None:
    buffer = bytearray(size)
    view = memoryview(buffer)
    filled = 0
    while filled < size:
        count = file.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            return None
        filled += count
    return view
