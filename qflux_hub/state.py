"""The local cache: what is known of files that were read before, so that unchanged ones are not read again.

It lives in the platform's cache directory (``QFLUX_CACHE_DIR``), never in a dataset, and may be deleted at any time:
then files are read once more. What it says of a file holds only while size, modification time and inode are what they
were, and only when the file was older than two seconds when it was read (git's rule for racy files: a later change
within the clock's grain would not show). A cache that is damaged, foreign or busy is not used, never believed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from qflux_hub.errors import QfluxError
from qflux_hub.sample import Blob, Stamp, unstamp

_DECODE = json.JSONDecoder().raw_decode
"""``json.loads`` without its checks, which take twice as long as a row."""
RACY_NS = 2_000_000_000
"""A file modified less than this before it was read may change again without its time changing."""
_VERSION = 1
_APPLICATION = 0x71666C78  # "qflx": tells our file from other people's
_SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
    folder TEXT, name TEXT, size INTEGER, mtime_ns INTEGER, inode INTEGER, known TEXT, PRIMARY KEY (folder, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (
    source TEXT, hub TEXT, commit_id TEXT, contents BLOB, PRIMARY KEY (source, hub)
) WITHOUT ROWID;
"""


def cache_root() -> Path:
    """``QFLUX_CACHE_DIR``, or the platform's cache directory for qflux."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("QFLUX_CACHE_DIR") or user_cache_path("qflux"))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a source and a repo held when they were last made equal: per split, id -> hash of the content, in hex.

    ``ours`` is the source, ``theirs`` the repo; they differ where other people's edits were kept.
    """

    commit: str
    ours: Mapping[str, Mapping[str, str]]
    theirs: Mapping[str, Mapping[str, str]]


@dataclass(slots=True)
class Memory:
    """The cache of one source, by the real path of its root. Use as a context manager; closing writes what was learned.

    ``usable`` is False when there is no cache that can be trusted; everything is then unknown and nothing is kept.
    """

    root: str
    _database: sqlite3.Connection | None = None
    _problem: Exception | None = None
    _learned: dict[tuple[str, str], tuple[int, int, int, str]] = field(default_factory=dict)
    _folders: dict[str, dict[str, tuple[int, int, int, str]]] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether there is a cache."""
        return self._database is not None

    def known(self, blob: Blob) -> Any:
        """What was learned of this very file, or None."""
        if self._database is None or blob.stamp is None:
            return None
        folder, _, name = blob.name.rpartition("/")
        row = self._folder(folder).get(name)
        if row is None or row[:3] != (blob.size, *_columns(blob.stamp)):
            return None
        return _DECODE(row[3])[0]

    def let_go(self) -> None:
        """Free the rows that were read, 100 MB for 200,000 files; they are read again when they are asked for."""
        self._folders.clear()

    def learn(self, blob: Blob, known: Any, read_at_ns: int) -> None:
        """Remember ``known`` (JSON) of a file that was read from ``read_at_ns`` on; racy files are not remembered."""
        if self._database is None or blob.stamp is None or unstamp(blob.stamp)[0] + RACY_NS > read_at_ns:
            return
        folder, _, name = blob.name.rpartition("/")
        row = (blob.size, *_columns(blob.stamp), json.dumps(known))
        self._learned[folder, name] = row

    def seen(self, hub: str) -> Seen | None:
        """What was last seen on ``hub`` (an endpoint, repo and revision), or None.

        Raises QfluxError when a part of it is there and cannot be read, as on a full disk after a kill.
        """
        if self._problem is not None:
            raise _unusable(self._problem) from self._problem
        if self._database is None:
            return None
        with contextlib.suppress(sqlite3.Error, ValueError, KeyError, zlib.error):
            row = self._database.execute(
                "SELECT commit_id, contents FROM seen WHERE source = ? AND hub = ?", (self.root, hub)
            ).fetchone()
            if row:
                contents = json.loads(zlib.decompress(row[1]))
                return Seen(row[0], contents["ours"], contents["theirs"])
        return None

    def saw(self, hub: str, seen: Seen) -> None:
        """Remember what source and repo hold now.

        Raises QfluxError where that should be possible and is not, as on a full disk: what was remembered before would
        make edits of one's own look like those of others.
        """
        if self._database is None:
            return
        contents = zlib.compress(json.dumps({"ours": seen.ours, "theirs": seen.theirs}).encode(), 1)
        try:
            with self._database:
                self._database.execute(
                    "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", (self.root, hub, seen.commit, contents)
                )
        except sqlite3.Error as error:
            if os.access(cache_root(), os.W_OK):
                raise _unusable(error) from error

    def forget(self, hub: str) -> None:
        """Know nothing any more of what was last seen on ``hub``."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error), self._database:
                self._database.execute("DELETE FROM seen WHERE source = ? AND hub = ?", (self.root, hub))

    def _folder(self, folder: str) -> dict[str, tuple[int, int, int, str]]:
        """All rows of a folder at once: one query for a folder of 100,000 files."""
        if folder not in self._folders:
            rows: dict[str, tuple[int, int, int, str]] = {}
            if self._database is not None:
                try:
                    found = self._database.execute(
                        "SELECT name, size, mtime_ns, inode, known FROM file WHERE folder = ?", (self._key(folder),)
                    )
                    rows = {name: (size, mtime, inode, known) for name, size, mtime, inode, known in found}
                except sqlite3.Error:
                    self._give_up()
            self._folders[folder] = rows
        return self._folders[folder]

    def _key(self, folder: str) -> str:
        return f"{self.root}/{folder}"

    def _give_up(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None

    def save(self) -> None:
        """Write what was learned. A cache that cannot be written is left as it is: it costs time, not truth."""
        if self._database is None or not self._learned:
            return
        rows = [(self._key(folder), name, *row) for (folder, name), row in self._learned.items()]
        with contextlib.suppress(sqlite3.Error), self._database:
            self._database.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._learned.clear()


@contextlib.contextmanager
def remember(source: str | os.PathLike[str]) -> Iterator[Memory]:
    """The cache of ``source``. What was learned is kept even when the work in the context fails."""
    root = os.path.realpath(source)
    try:
        root.encode()
    except UnicodeEncodeError:  # bytes of it are not UTF-8, which the database does not take
        root = os.fsencode(root).hex()
    memory = Memory(root, *_open(cache_root() / "files.sqlite"))
    try:
        yield memory
    finally:
        memory.save()
        memory._give_up()


def _unusable(error: Exception) -> QfluxError:
    return QfluxError(
        f"The local cache in {cache_root()} cannot be used: {error}.",
        hint="Make room there, or set QFLUX_CACHE_DIR to a folder that has some.",
    )


def _open(path: Path) -> tuple[sqlite3.Connection | None, Exception | None]:
    """The database, made when it is missing, replaced when it is ours but damaged or of another version.

    Only to be read where there is no place to write. None when that fails, too, or when it belongs to someone else; and
    why, when it holds something that could not be read.
    """
    for _ in range(2):
        database = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(path, timeout=5)
            # Another process may be making it: its tables and marks appear at once, so tables are looked for first.
            (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (application,) = database.execute("PRAGMA application_id").fetchone()
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if tables and application != _APPLICATION:
                database.close()
                return None, None
            if version == _VERSION:
                return database, None
            if not tables:
                _make(database)
                return database, None
        except (sqlite3.Error, OSError) as error:
            if database is not None:
                database.close()
            if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, sqlite3.OperationalError):
                return _open_to_read(path, error)
        else:
            database.close()
        with contextlib.suppress(OSError):
            path.unlink()
    return None, None


def _make(database: sqlite3.Connection) -> None:
    """Lay an empty database out, also while others do the same: SQLite waits for none of them to change the journal."""
    for waited in range(100):
        try:
            database.executescript(
                f"PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; {_SCHEMA}"
                f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION}; COMMIT;"
            )
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or waited == 99:
                raise
            time.sleep(0.05)
        else:
            return


def _open_to_read(path: Path, why: Exception) -> tuple[sqlite3.Connection | None, Exception | None]:
    """Without the files that SQLite writes beside it. Not when, after a kill, something waits in them."""
    waiting = path.with_name(f"{path.name}-wal")
    if waiting.exists() and waiting.stat().st_size:
        return None, why
    try:
        database = sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)
        kind = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    except sqlite3.Error:
        return None, None
    if kind == [_APPLICATION, _VERSION]:
        return database, None
    database.close()
    return None, None


def now_ns() -> int:
    """The time that ``learn`` compares with files' times."""
    return time.time_ns()


def _columns(packed: Stamp) -> tuple[int, int]:
    """Time and inode as SQLite's integers, which have a sign."""
    mtime_ns, inode = unstamp(packed)
    return mtime_ns, inode & 0x7FFF_FFFF_FFFF_FFFF


def store(place: str, version: str, content: bytes) -> None:
    """Keep what was fetched from ``place``, so that it need not be fetched again while it has that ``version``.

    Earlier versions are forgotten. Whole or not at all.
    """
    path = _content_path(place)
    beside = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(_seal(version, content) + content)
        beside.replace(path)


def stored(place: str, version: str) -> bytes | None:
    """What was kept of ``place``, or None when it has another ``version`` or is damaged."""
    with contextlib.suppress(OSError):
        data = _content_path(place).read_bytes()
        content = data[_SEAL:]
        if data[:_SEAL] == _seal(version, content):
            return content
    return None


_SEAL = 32


def _seal(version: str, content: bytes) -> bytes:
    """What tells that content is whole, and which version it is."""
    sealed = hashlib.sha256(version.encode() + b"\0")
    sealed.update(content)
    return sealed.digest()


def _content_path(place: str) -> Path:
    return cache_root() / "content" / hashlib.sha256(place.encode()).hexdigest()
