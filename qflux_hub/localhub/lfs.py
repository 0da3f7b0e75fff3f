"""Large files by their SHA-256: git-LFS uploads (in one piece or in parts), and reading whatever way they came in."""

from __future__ import annotations

import fcntl
import hashlib
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from qflux_hub.localhub.db import Database, now_ms
from qflux_hub.localhub.files import ContentFiles, Incoming
from qflux_hub.localhub.problems import HttpError
from qflux_hub.localhub.xet import XetStore, hold

PART_BYTES = 16 * 1000 * 1000
"""Files above this size are sent in parts of this size, when the client can."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Content:
    """A large file that is here: its size, and its Xet hash when it came through Xet."""

    sha256: str
    size: int
    xet: str | None


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in parts that is under way. Numbers count from 1."""

    id: str
    repo: int
    sha256: str
    size: int

    @property
    def parts(self) -> int:
        """How many parts it has."""
        return -(-self.size // PART_BYTES)

    def part_size(self, number: int) -> int:
        """The bytes of part ``number``."""
        return min(PART_BYTES, self.size - (number - 1) * PART_BYTES)


class LargeFiles:
    """The large files of one hub directory."""

    def __init__(self, db: Database, files: ContentFiles, xet: XetStore) -> None:
        self._db = db
        self._files = files
        self._xet = xet

    def find(self, sha256: str) -> Content | None:
        """The content of a SHA-256, None when it is not here."""
        row = self._db.connection.execute("SELECT * FROM object WHERE sha256 = ?", (sha256,)).fetchone()
        return Content(row["sha256"], row["size"], row["xet"]) if row else None

    def held(self, db: sqlite3.Connection, repo: int, sha256: str) -> Content | None:
        """The same, if this repo was given the content: knowing a hash does not make it readable."""
        query = "SELECT o.* FROM object o JOIN holding h ON h.sha256 = o.sha256 WHERE o.sha256 = ? AND h.repo = ?"
        row = db.execute(query, (sha256, repo)).fetchone()
        return Content(row["sha256"], row["size"], row["xet"]) if row else None

    def read(self, content: Content, start: int, end: int) -> Iterator[bytes | memoryview]:
        """The bytes [start, end), checked before they are handed out."""
        name = f"lfs/{content.sha256}"
        if content.xet is None or (self._files.has(name) and not self._files.is_distrusted(name)):
            return self._files.read(name, start, end)
        return self._xet.read(content.xet, start, end)

    def add(self, repo: int, sha256: str, size: int, incoming: Incoming, actual: str) -> None:
        """Publish bytes that were hashed while they arrived; 400 when they are not what was announced."""
        if incoming.size != size:
            raise HttpError(400, f"{incoming.size} bytes were sent for an object of {size} bytes")
        if actual != sha256:
            raise HttpError(400, f"The object sent as {sha256} has the SHA-256 {actual}")
        sealed, name = incoming.seal(), f"lfs/{sha256}"
        repair = self._files.is_damaged(name)
        with self._db.write() as db:
            self._files.publish(db, name, sealed, repair=repair)
            db.execute("INSERT OR IGNORE INTO object VALUES (?, ?, NULL)", (sha256, size))
            hold(db, repo, sha256)

    # -- uploads in parts

    def begin(self, repo: int, sha256: str, size: int) -> Upload:
        """Start an upload in parts."""
        upload = Upload(secrets.token_hex(16), repo, sha256, size)
        self.path(upload).parent.mkdir(exist_ok=True)
        with self._db.write() as db:
            db.execute("INSERT INTO upload VALUES (?, ?, ?, ?, ?)", (upload.id, repo, sha256, size, now_ms()))
            self.path(upload).touch()
        return upload

    def upload(self, upload_id: str) -> Upload:
        """An upload that was begun and not finished; 404 otherwise."""
        row = self._db.connection.execute("SELECT * FROM upload WHERE id = ?", (upload_id,)).fetchone()
        if row is None:
            raise HttpError(404, "This upload does not exist, or is finished")
        return Upload(row["id"], row["repo"], row["sha256"], row["size"])

    def path(self, upload: Upload) -> Path:
        """The file in which its parts come together, each at its place."""
        return self._files.root / "parts" / upload.id

    @contextmanager
    def open_parts(self, upload: Upload, *, alone: bool = False) -> Iterator[BinaryIO]:
        """The file of an upload that is not finished, locked: with ``alone`` against all others, else against that.

        So no part can be written to a file that is being checked, or was published. 409 when the lock is taken.
        """
        try:
            file = self.path(upload).open("r+b", buffering=0)
        except FileNotFoundError as error:
            raise HttpError(404, "This upload is finished") from error
        with file:
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise HttpError(409, "Parts of this upload are still on their way, or it is being finished") from error
            self.upload(upload.id)
            yield file

    def complete(self, upload: Upload, parts: int) -> None:
        """Check the whole and publish it; 400 when a part is missing, cut off or not what was announced."""
        if parts != upload.parts:
            raise HttpError(400, f"{parts} parts were named, the upload has {upload.parts}")
        digest = hashlib.sha256()
        with self.open_parts(upload, alone=True):
            try:
                with self._files.adopt(self.path(upload), digest.update) as incoming:
                    self.add(upload.repo, upload.sha256, upload.size, incoming, digest.hexdigest())
            finally:
                with self._db.write() as db:
                    db.execute("DELETE FROM upload WHERE id = ?", (upload.id,))


def check_sha256(text: object) -> str:
    """400 unless ``text`` is a SHA-256 in lower-case hex."""
    if not isinstance(text, str) or not _SHA256.fullmatch(text):
        raise HttpError(400, f"Not a SHA-256: {text!r}")
    return text
