"""Sequences, sets and tables of any length in little memory: beyond the first items they lie in a temporary database.

SQLite makes such a database as a file without a name, which is gone with the process, however that ends. It lies in the
folder that ``SQLITE_TMPDIR`` or ``TMPDIR`` names, else in ``/var/tmp`` or ``/tmp`` (SQLite, "Temporary Files Used By
SQLite"), and takes 0.3 to 1 kB for a sample.
"""

from __future__ import annotations

import io
import marshal
import pickle
import sqlite3
import threading
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import starmap
from typing import Any, Generic, TypeVar, overload

from qflux_hub.errors import QfluxError

FEW = 1_024
"""Items that are held in memory, where they are found faster."""
_AT_ONCE = 256
"""Items that travel to the database and back together."""
_PAGES = 2_000
"""Kilobytes of a database that SQLite keeps in memory."""

T = TypeVar("T")
U = TypeVar("U")


class Shared:
    """What many items of a sequence refer to and must stay one object, such as an opened file. It is not pickled."""

    __slots__ = ()


class Lazy(Sequence[T]):
    """A sequence whose items are made anew whenever they are asked for, in order best; so are those of its slices."""

    @abstractmethod
    def walk(self, start: int, stop: int) -> Iterator[T]:
        """The items at [start, stop), which are there."""

    def __iter__(self) -> Iterator[T]:
        return self.walk(0, len(self))

    @overload
    def __getitem__(self, at: int) -> T: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...

    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        places = range(len(self))[at]
        if isinstance(places, int):
            return next(self.walk(places, places + 1))
        if places.step != 1:
            raise ValueError("A lazy sequence has no slices with steps.")
        return _Slice(self, places.start, max(places.start, places.stop))


class _Slice(Lazy[T]):
    def __init__(self, whole: Lazy[T], start: int, stop: int) -> None:
        self._whole, self._start, self._stop = whole, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def walk(self, start: int, stop: int) -> Iterator[T]:
        return self._whole.walk(self._start + start, self._start + stop)


class Mapped(Lazy[U], Generic[T, U]):
    """What ``make`` makes of each item of another sequence."""

    def __init__(self, items: Sequence[T], make: Callable[[T], U]) -> None:
        self._items, self._make = items, make

    def __len__(self) -> int:
        return len(self._items)

    def walk(self, start: int, stop: int) -> Iterator[U]:
        """What is made of those at [start, stop)."""
        return map(self._make, self._items[start:stop])


class Spilled(Lazy[T]):
    """A sequence that can be added to. Items must be picklable, and are equal to what was added, not the same.

    One thread adds; any number may read what was added by then.
    """

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._held: list[T] = []
        self._length = 0
        self._database: _Database | None = None
        self._waiting: list[tuple[int, bytes]] = []
        self._packed = io.BytesIO()
        self._pickler = _Pickler(self._packed)
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        """Add an item at the end."""
        if self._length < FEW and self._database is None:
            self._held.append(item)
        else:
            self._packed.seek(0)
            self._packed.truncate()
            self._pickler.clear_memo()
            self._pickler.dump(item)
            self._waiting.append((self._length, self._packed.getvalue()))
            if len(self._waiting) >= _AT_ONCE:
                self._flush()
        self._length += 1

    def _flush(self) -> _Database:
        if self._database is None:
            self._database = _Database("CREATE TABLE items (at INTEGER PRIMARY KEY, item BLOB)")
        self._database.add("INSERT INTO items VALUES (?, ?)", self._waiting)
        self._waiting.clear()
        return self._database

    def __len__(self) -> int:
        return self._length

    def walk(self, start: int, stop: int) -> Iterator[T]:
        """The items at [start, stop), some of them ahead."""
        yield from self._held[start:stop]
        at, shared = max(start, len(self._held)), self._pickler.shared
        database = self._flush() if self._waiting and at < stop else self._database
        while at < stop and database is not None:
            end = min(at + _AT_ONCE, stop)
            rows, _ = database.run("SELECT item FROM items WHERE at >= ? AND at < ? ORDER BY at", (at, end))
            for (packed,) in rows:
                unpickler = pickle.Unpickler(io.BytesIO(packed))  # noqa: S301 - this process wrote it
                unpickler.persistent_load = shared.__getitem__  # type: ignore[method-assign]  # a method takes longer
                yield unpickler.load()
            at = end


class _Pickler(pickle.Pickler):
    """Keeps what is shared, and classes, whose names would take most of the time, in a list of its own."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.shared: list[object] = []
        self._numbers: dict[int, int] = {}

    def persistent_id(self, obj: object) -> int | None:
        if not isinstance(obj, (Shared, type)):
            return None
        number = self._numbers.get(id(obj))
        if number is None:
            number = self._numbers[id(obj)] = len(self.shared)
            self.shared.append(obj)
        return number


class Table:
    """Texts, each once, with a value: a number, text, bytes, None or a tuple of them. Nothing is taken out again."""

    def __init__(self) -> None:
        self._held: dict[str, Any] = {}
        self._length = 0
        self._database: _Database | None = None

    def claim(self, key: str, value: Any = None) -> bool:
        """Put a key in that is not there; False, and nothing changes, when it is."""
        if self._database is None and self._length < FEW:
            self._held.setdefault(key, value)
            claimed = len(self._held) > self._length
        else:
            claimed = self._spilled().run("INSERT OR IGNORE INTO items VALUES (?, ?)", _row(key, value))[1] > 0
        self._length += claimed
        return claimed

    def put(self, key: str, value: Any) -> None:
        """Give a key this value, whatever it had."""
        if not self.claim(key, value):
            if self._database is None:
                self._held[key] = value
            else:
                self._database.run("REPLACE INTO items VALUES (?, ?)", _row(key, value))

    def get(self, key: str) -> Any:
        """The value of a key; None for one that is not there."""
        if self._database is None:
            return self._held.get(key)
        found, _ = self._database.run("SELECT value FROM items WHERE key = ?", (_row(key)[0],))
        return marshal.loads(found[0][0]) if found else None  # noqa: S302 - this process wrote it

    def __contains__(self, key: str) -> bool:
        if self._database is None:
            return key in self._held
        return bool(self._database.run("SELECT 1 FROM items WHERE key = ?", (_row(key)[0],))[0])

    def __len__(self) -> int:
        return self._length

    def items(self) -> Iterator[tuple[str, Any]]:
        """(key, value) in the order of the keys' code points."""
        if self._database is None:
            yield from sorted(self._held.items())
            return
        least = b""
        query = "SELECT * FROM items WHERE key >= ? ORDER BY key LIMIT ?"
        while rows := self._database.run(query, (least, _AT_ONCE))[0]:
            for key, value in rows:
                yield key.decode(errors="surrogatepass"), marshal.loads(value)  # noqa: S302 - this process wrote it
            least = rows[-1][0] + b"\0"

    def _spilled(self) -> _Database:
        if self._database is None:
            self._database = _Database("CREATE TABLE items (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
            self._database.add("INSERT INTO items VALUES (?, ?)", starmap(_row, self._held.items()))
            self._held.clear()
        return self._database


def _row(key: str, value: Any = None) -> tuple[bytes, bytes]:
    """As bytes, because text from JSON may have lone surrogates; they sort as the text does."""
    return key.encode(errors="surrogatepass"), marshal.dumps(value)


class _Database:
    """One table in a temporary database, for several threads. Raises QfluxError when its disk takes no more."""

    def __init__(self, table: str) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        weakref.finalize(self, self._connection.close)
        for line in ("temp_store = FILE", "journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_PAGES}"):
            self.run(f"PRAGMA {line}")
        self.run(table)
        self.run("BEGIN")  # never ended: nothing of it is to last

    def add(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write rows."""
        try:
            with self._lock:
                self._connection.executemany(statement, rows)
        except sqlite3.Error as error:
            raise _refused(error) from error

    def run(self, statement: str, values: tuple[Any, ...] = ()) -> tuple[list[tuple[Any, ...]], int]:
        """The rows that a statement finds, and how many it wrote."""
        try:
            with self._lock:
                cursor = self._connection.execute(statement, values)
                return cursor.fetchall(), cursor.rowcount
        except sqlite3.Error as error:
            raise _refused(error) from error


def _refused(error: sqlite3.Error) -> QfluxError:
    return QfluxError(
        f"A temporary file cannot be written or read: {error}.",
        hint="Make room where TMPDIR says (else /var/tmp), or let it name another folder.",
    )
