"""The database: one SQLite file in WAL mode, shared by every process that opens the directory.

Reads see the last commit, writes are serialised by SQLite's own lock across threads and processes. Nothing is cached
above it except content-addressed (immutable) values. ``synchronous=FULL``: what was acknowledged survives a power cut.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qflux_hub.errors import FormatError
from qflux_hub.localhub.problems import HttpError

VERSION = 1
LOCK_SECONDS = 60.0
"""How long a write waits for another process's write before the request is answered with 409."""
_LAYING_OUT = 5.0
"""Seconds for which a new file that another process lays out is waited for."""

_SCHEMA = """
CREATE TABLE account (name TEXT PRIMARY KEY COLLATE NOCASE, kind TEXT NOT NULL, created INTEGER NOT NULL);
CREATE TABLE member (org TEXT COLLATE NOCASE, user TEXT COLLATE NOCASE, PRIMARY KEY (org, user));
CREATE TABLE token (token TEXT PRIMARY KEY, user TEXT NOT NULL COLLATE NOCASE, role TEXT NOT NULL,
    created INTEGER NOT NULL);

CREATE TABLE repo (id INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, namespace TEXT NOT NULL COLLATE NOCASE,
    name TEXT NOT NULL COLLATE NOCASE, private INTEGER NOT NULL, gated TEXT NOT NULL DEFAULT '',
    created INTEGER NOT NULL, UNIQUE (type, namespace, name));
CREATE TABLE alias (type TEXT NOT NULL, namespace TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL COLLATE NOCASE,
    repo INTEGER NOT NULL, PRIMARY KEY (type, namespace, name));
CREATE TABLE ref (repo INTEGER NOT NULL, name TEXT NOT NULL, oid TEXT NOT NULL, message TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (repo, name));
CREATE TABLE history (repo INTEGER NOT NULL, oid TEXT NOT NULL, tree TEXT NOT NULL, parents TEXT NOT NULL,
    author TEXT NOT NULL, created INTEGER NOT NULL, title TEXT NOT NULL, message TEXT NOT NULL,
    PRIMARY KEY (repo, oid));
CREATE TABLE tree (oid TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE blob (oid TEXT PRIMARY KEY, size INTEGER NOT NULL, sha256 TEXT, data BLOB NOT NULL);
CREATE INDEX blob_sha256 ON blob (sha256) WHERE sha256 IS NOT NULL;
CREATE TABLE discussion (repo INTEGER NOT NULL, num INTEGER NOT NULL, title TEXT NOT NULL, author TEXT NOT NULL,
    status TEXT NOT NULL, pull INTEGER NOT NULL, base TEXT NOT NULL DEFAULT '', merged TEXT NOT NULL DEFAULT '',
    created INTEGER NOT NULL, PRIMARY KEY (repo, num));
CREATE TABLE event (id TEXT PRIMARY KEY, repo INTEGER NOT NULL, num INTEGER NOT NULL, type TEXT NOT NULL,
    author TEXT NOT NULL, created INTEGER NOT NULL, data TEXT NOT NULL);
CREATE INDEX event_place ON event (repo, num, created);

CREATE TABLE content (name TEXT PRIMARY KEY, size INTEGER NOT NULL, created INTEGER NOT NULL, sums BLOB NOT NULL);
CREATE TABLE distrusted (name TEXT PRIMARY KEY);
CREATE TABLE object (sha256 TEXT PRIMARY KEY, size INTEGER NOT NULL, xet TEXT);
CREATE TABLE holding (repo INTEGER NOT NULL, sha256 TEXT NOT NULL, created INTEGER NOT NULL,
    PRIMARY KEY (repo, sha256));
CREATE TABLE upload (id TEXT PRIMARY KEY, repo INTEGER NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
    created INTEGER NOT NULL);
CREATE TABLE xorb (hash TEXT PRIMARY KEY, used INTEGER NOT NULL, chunks BLOB NOT NULL);
CREATE TABLE xetfile (hash TEXT PRIMARY KEY, size INTEGER NOT NULL, sha256 TEXT NOT NULL, created INTEGER NOT NULL,
    terms BLOB NOT NULL);
CREATE TABLE piece (xorb TEXT NOT NULL, file TEXT NOT NULL, PRIMARY KEY (xorb, file));
CREATE INDEX piece_file ON piece (file);
CREATE TABLE dedup (chunk TEXT PRIMARY KEY, xorb TEXT NOT NULL);
CREATE INDEX dedup_xorb ON dedup (xorb);
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def now_ms() -> int:
    """Milliseconds since the epoch: how every time is stored."""
    return time.time_ns() // 1_000_000


class Database:
    """Connections to one file: one per thread, opened when a thread first asks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        # The file holds tokens. SQLite gives its -wal and -shm files the mode of the main file.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._create()

    def _create(self) -> None:
        with self.write() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise FormatError(
                    f"{self.path} was written by another version of the hub (format {version}, this one is {VERSION})",
                    hint="Use the qflux that wrote it, or another directory.",
                )

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection, outside any transaction: every statement sees the last commit."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(self.path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
            found.row_factory = sqlite3.Row
            _write_ahead(found)
            found.execute("PRAGMA synchronous = FULL")
            found.execute("PRAGMA cache_size = -4096")
            self._local.connection = found
            with self._lock:
                self._open.append(found)
        return found

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One write transaction: all of it or nothing. 409 when another writer does not let go."""
        db = self.connection
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise HttpError(409, "Another write to this hub is in progress; please retry") from error
            raise
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def close(self) -> None:
        """Close every thread's connection. The threads must be done."""
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()
            self._local = threading.local()


def _write_ahead(database: sqlite3.Connection) -> None:
    """Set the mode. While one process changes it, SQLite tells all others at once that the file is locked."""
    end = time.monotonic() + _LAYING_OUT
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return
