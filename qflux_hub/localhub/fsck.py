"""Checking a whole hub directory: everything that is stored is read, hashed and compared with what names it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from qflux_hub.localhub import shard, xethash
from qflux_hub.localhub.gitobjects import object_id, pack_commit, pointer, unpack_tree
from qflux_hub.localhub.problems import DamagedError
from qflux_hub.localhub.services import Services, open_existing
from qflux_hub.localhub.xorb import ChunkTable, XorbCheck, XorbError
from qflux_hub.report import Damage, FsckReport

Progress = Callable[[str, int, int], None]
"""Called with what is being checked, how many are done, and how many there are."""


def fsck(directory: str | Path | None = None, progress: Progress | None = None) -> FsckReport:
    """Check all of a hub directory (None: the default one). Others may use it meanwhile.

    Nothing is changed, except that damaged content is not taken for granted any more: sending it again mends it.
    """
    hub = open_existing(directory)
    try:
        return _Check(hub, progress or (lambda *_: None)).run()
    finally:
        hub.close()


class _Check:
    def __init__(self, hub: Services, progress: Progress) -> None:
        self._hub = hub
        self._db = hub.db.connection
        self._progress = progress
        self._damages: list[Damage] = []
        self._checked: Counter[str] = Counter()
        self._read = 0

    def run(self) -> FsckReport:
        for row in self._db.execute("PRAGMA integrity_check").fetchall():
            if row[0] != "ok":
                self._damaged("hub.sqlite", row[0])
        self._each("blob", "SELECT oid FROM blob", self._blob)
        self._each("tree", "SELECT oid FROM tree", self._tree)
        self._each("commit", "SELECT repo || ' ' || oid FROM history", self._commit)
        self._each("ref", "SELECT repo || ' ' || name FROM ref", self._ref)
        self._each("content", "SELECT name FROM content", self._content)
        self._each("object", "SELECT sha256 FROM object", self._object)
        self._each("xorb", "SELECT hash FROM xorb", self._xorb)
        self._each("file", "SELECT hash FROM xetfile", self._file)
        leftover = [size for path in leftovers(self._hub) if (size := size_of(path)) is not None]
        return FsckReport(tuple(self._damages), dict(self._checked), self._read, len(leftover), sum(leftover))

    def _each(self, kind: str, query: str, check: Callable[[str], None]) -> None:
        names = [row[0] for row in self._db.execute(query).fetchall()]
        for number, name in enumerate(names):
            self._progress(kind, number, len(names))
            try:
                check(name)
            except (DamagedError, XorbError, ValueError) as error:
                # It may have been collected since it was listed; that is no damage.
                if self._db.execute(f"SELECT ? IN ({query})", (name,)).fetchone()[0]:
                    self._damaged(f"{kind} {name}", str(error))
                    if isinstance(error, DamagedError) and error.name:
                        self._hub.found_damaged(error.name)
        self._checked[kind] = len(names)
        self._progress(kind, len(names), len(names))

    def _damaged(self, what: str, message: str) -> None:
        self._damages.append(Damage(what, message))

    def _blob(self, oid: str) -> None:
        data = self._hub.trees.blob(oid)
        self._read += len(data)
        row = self._db.execute("SELECT size, sha256 FROM blob WHERE oid = ?", (oid,)).fetchone()
        if row["sha256"] and data != pointer(row["sha256"], row["size"]):
            raise DamagedError("the pointer does not say what the database says")
        if not row["sha256"] and len(data) != row["size"]:
            raise DamagedError(f"{len(data)} bytes are stored, the database says {row['size']}")

    def _tree(self, oid: str) -> None:
        row = self._db.execute("SELECT data FROM tree WHERE oid = ?", (oid,)).fetchone()
        if row is None or object_id("tree", row["data"]) != oid:
            raise DamagedError("it is not what was stored")
        self._read += len(row["data"])
        for entry in unpack_tree(row["data"]):
            table = "tree" if entry.is_tree else "blob"
            if not self._db.execute(f"SELECT 1 FROM {table} WHERE oid = ?", (entry.oid,)).fetchone():  # noqa: S608
                raise DamagedError(f"{entry.name}: {table} {entry.oid} is missing")

    def _commit(self, place: str) -> None:
        repo, _, oid = place.partition(" ")
        row = self._db.execute("SELECT * FROM history WHERE repo = ? AND oid = ?", (repo, oid)).fetchone()
        if row is None:
            raise DamagedError("it is missing")
        parents = tuple(row["parents"].split())
        raw = pack_commit(row["tree"], parents, row["author"], row["created"], row["title"], row["message"])
        if object_id("commit", raw) != oid:
            raise DamagedError("it is not what was stored")
        if not self._db.execute("SELECT 1 FROM tree WHERE oid = ?", (row["tree"],)).fetchone():
            raise DamagedError(f"tree {row['tree']} is missing")
        for parent in parents:
            if not self._db.execute("SELECT 1 FROM history WHERE repo = ? AND oid = ?", (repo, parent)).fetchone():
                raise DamagedError(f"its parent {parent} is missing")

    def _ref(self, place: str) -> None:
        repo, _, name = place.partition(" ")
        query = (
            "SELECT 1 FROM ref r JOIN history h ON h.repo = r.repo AND h.oid = r.oid WHERE r.repo = ? AND r.name = ?"
        )
        if not self._db.execute(query, (repo, name)).fetchone():
            raise DamagedError("the commit that it points to is missing")

    def _content(self, name: str) -> None:
        row = self._db.execute("SELECT size FROM content WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise DamagedError("it is missing")
        kind, _, digest = name.partition("/")
        pieces = self._hub.files.read(name, 0, row["size"])
        if kind == "lfs":
            sha256 = hashlib.sha256()
            for piece in self._counted(pieces):
                sha256.update(piece)
            if sha256.hexdigest() != digest:
                raise DamagedError(f"its SHA-256 is {sha256.hexdigest()}")
            return
        check = XorbCheck()
        for piece in self._counted(pieces):
            check.feed(piece)
        table = check.finish()
        if xethash.printed(table.hash()) != digest or table.packed != self._hub.xet.chunks(digest).packed:
            raise DamagedError("its chunks are not what was stored")

    def _counted(self, pieces: Iterator[memoryview]) -> Iterator[memoryview]:
        for piece in pieces:
            self._read += len(piece)
            yield piece

    def _object(self, sha256: str) -> None:
        content = self._hub.large.find(sha256)
        stored = self._hub.files.has(f"lfs/{sha256}")
        if content is None or not (stored or content.xet):
            raise DamagedError("its content is missing")
        if content.xet and self._hub.xet.size(content.xet) != content.size:
            raise DamagedError(f"file {content.xet} is missing or of another size")

    def _xorb(self, digest: str) -> None:
        if not self._hub.files.has(f"xorb/{digest}"):
            raise DamagedError("its bytes are missing")

    def _file(self, digest: str) -> None:
        row = self._db.execute("SELECT size, sha256, terms FROM xetfile WHERE hash = ?", (digest,)).fetchone()
        if row is None:
            raise DamagedError("it is missing")
        leaves: list[tuple[bytes, int]] = []
        tables: dict[bytes, ChunkTable] = {}
        for term in shard.unpack_terms(row["terms"]):
            if term.xorb not in tables:
                tables[term.xorb] = self._hub.xet.chunks(xethash.printed(term.xorb))
            leaves += tables[term.xorb].leaves(term.start, term.end)
        if xethash.printed(xethash.file_hash(leaves)) != digest:
            raise DamagedError("its chunks do not hash to its name")
        sha256 = hashlib.sha256()
        for raw in self._hub.xet.read(digest, 0, row["size"]):
            sha256.update(raw)
        if sha256.hexdigest() != row["sha256"]:
            raise DamagedError(f"its SHA-256 is {sha256.hexdigest()}, not {row['sha256']}")


def size_of(path: Path) -> int | None:
    """The bytes of a file, None when it is gone meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def leftovers(hub: Services) -> Iterator[Path]:
    """Files under the directory that no row of the database speaks of: what dead processes left."""
    for kind in ("lfs", "xorb"):
        for path in (hub.directory / kind).glob("*/*"):
            if not hub.files.has(f"{kind}/{path.name}"):
                yield path
    yield from hub.files.incoming.iterdir()
    yield from hub.directory.glob(".token.*")
    for path in (hub.directory / "parts").glob("*"):
        if not hub.db.connection.execute("SELECT 1 FROM upload WHERE id = ?", (path.name,)).fetchone():
            yield path
