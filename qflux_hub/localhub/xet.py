"""The content store of Xet: xorbs, the files made of their chunks, and what clients may skip sending.

What a client claims is recomputed before it is believed: xorbs are decoded and hashed while they arrive, and a shard
is accepted when the chunks of its terms exist, give the file's hash, prove the client's knowledge of them, and
decode to the SHA-256 that it names.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from qflux_hub.localhub import shard, xethash, xorb
from qflux_hub.localhub.db import Database, now_ms
from qflux_hub.localhub.files import ContentFiles, Sealed
from qflux_hub.localhub.problems import DamagedError, HttpError
from qflux_hub.localhub.shard import ShardFile, Term
from qflux_hub.localhub.xorb import ChunkTable

ANSWER_XORBS = 64
"""Xorbs described in one dedup answer: about 4 GB of content and 3 MB of answer."""

NOTED_MS = 10 * 60 * 1000
"""How old a note of use may be before it is written again: a write for every answer would cost more than the answer."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of chunks [start, end) of one xorb that a reader needs, and where its stored bytes lie: [first, last]."""

    xorb: str
    start: int
    end: int
    length: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How to put a range of a file together: drop ``skip`` raw bytes of the first piece."""

    skip: int
    pieces: tuple[Piece, ...]


class XetStore:
    """Xorbs and files of one hub directory. Hashes in its methods are printed ones."""

    def __init__(self, db: Database, files: ContentFiles) -> None:
        self._db = db
        self._files = files

    # -- xorbs

    def add_xorb(self, name: str, sealed: Sealed, table: ChunkTable) -> bool:
        """Publish a xorb that was checked while it arrived; False when it was there. 400 for another name's content."""
        actual = xethash.printed(table.hash())
        if actual != name:
            raise HttpError(400, f"The xorb sent as {name} hashes to {actual}")
        repair = self._files.is_damaged(f"xorb/{name}")
        with self._db.write() as db:
            fresh = self._files.publish(db, f"xorb/{name}", sealed, repair=repair)
            if fresh:
                db.execute("INSERT OR REPLACE INTO xorb VALUES (?, ?, ?)", (name, now_ms(), table.packed))
            else:
                db.execute("UPDATE xorb SET used = ? WHERE hash = ?", (now_ms(), name))
        return fresh

    def chunks(self, name: str) -> ChunkTable:
        """The chunks of a stored xorb."""
        row = self._db.connection.execute("SELECT chunks FROM xorb WHERE hash = ?", (name,)).fetchone()
        if row is None:
            raise DamagedError(f"xorb {name} is missing")
        return ChunkTable(row["chunks"])

    # -- shards

    def register(self, repo: int, data: bytes) -> Iterator[tuple[int, int]]:
        """Verify the files of a shard and make them known in a repo. Yields (files verified, files in all).

        400 when the shard claims anything that its chunks do not bear out. Nothing is known before all is verified.
        """
        try:
            claimed = [file for file in shard.parse(data) if file.terms]
        except shard.ShardError as error:
            raise HttpError(400, str(error)) from error
        sizes = {}
        tables: dict[bytes, ChunkTable] = {}
        for number, file in enumerate(claimed):
            yield number, len(claimed)
            sizes[file.hash] = self._verify(file, tables)
        with self._db.write() as db:
            self._check_present(db, tables)
            for file in claimed:
                self._record(db, repo, file, sizes[file.hash], tables)
        yield len(claimed), len(claimed)

    def _verify(self, file: ShardFile, tables: dict[bytes, ChunkTable]) -> int:
        name = xethash.printed(file.hash)
        if file.sha256 is None:
            raise HttpError(400, f"File {name}: the shard does not name its SHA-256")
        if len(file.verification) != len(file.terms):
            raise HttpError(400, f"File {name}: the shard does not prove knowledge of its chunks")
        leaves: list[tuple[bytes, int]] = []
        for term, proof in zip(file.terms, file.verification, strict=True):
            table = self._table(term.xorb, tables)
            if not term.start < term.end <= len(table):
                raise HttpError(400, f"File {name}: chunks {term.start} to {term.end} are not in xorb {_name(term)}")
            some = table.leaves(term.start, term.end)
            if sum(length for _, length in some) != term.length:
                raise HttpError(400, f"File {name}: a term of xorb {_name(term)} is not {term.length} bytes long")
            if xethash.range_hash(chunk for chunk, _ in some) != proof:
                raise HttpError(400, f"File {name}: the proof for a term of xorb {_name(term)} does not fit its chunks")
            leaves += some
        if xethash.file_hash(leaves) != file.hash:
            raise HttpError(400, f"File {name}: its chunks hash to {xethash.printed(xethash.file_hash(leaves))}")
        known = self._db.connection.execute("SELECT sha256 FROM xetfile WHERE hash = ?", (name,)).fetchone()
        actual = known["sha256"] if known else self._sha256(file.terms, tables)
        if actual != file.sha256:
            raise HttpError(400, f"File {name}: its SHA-256 is {actual}, not {file.sha256}")
        return sum(length for _, length in leaves)

    def _table(self, digest: bytes, tables: dict[bytes, ChunkTable]) -> ChunkTable:
        if digest not in tables:
            name = xethash.printed(digest)
            row = self._db.connection.execute("SELECT chunks FROM xorb WHERE hash = ?", (name,)).fetchone()
            if row is None:
                raise HttpError(400, f"Xorb {name} is not stored in this hub; upload it before the shard")
            tables[digest] = ChunkTable(row["chunks"])
        return tables[digest]

    def _sha256(self, terms: tuple[Term, ...], tables: dict[bytes, ChunkTable]) -> str:
        digest = hashlib.sha256()
        for term in terms:
            table = tables[term.xorb]
            for raw in self._decode(_name(term), table.stored_start(term.start), table.stored_start(term.end)):
                digest.update(raw)
        return digest.hexdigest()

    def _check_present(self, db: sqlite3.Connection, tables: dict[bytes, ChunkTable]) -> None:
        # A collection in another process may have taken an unused xorb while this shard was verified.
        for digest in tables:
            name = xethash.printed(digest)
            if not db.execute("UPDATE xorb SET used = ? WHERE hash = ?", (now_ms(), name)).rowcount:
                raise HttpError(503, f"Xorb {name} was collected meanwhile; please retry")

    def _record(
        self, db: sqlite3.Connection, repo: int, file: ShardFile, size: int, tables: dict[bytes, ChunkTable]
    ) -> None:
        name = xethash.printed(file.hash)
        # A file that is known may have been sent again because a xorb of it is damaged: the new terms count.
        db.execute("DELETE FROM piece WHERE file = ?", (name,))
        db.execute(
            "INSERT OR REPLACE INTO xetfile VALUES (?, ?, ?, ?, ?)",
            (name, size, file.sha256, now_ms(), shard.pack_terms(file.terms)),
        )
        db.executemany("INSERT OR IGNORE INTO piece VALUES (?, ?)", {(_name(term), name) for term in file.terms})
        db.execute(
            "INSERT INTO object VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET xet = excluded.xet WHERE xet IS NULL",
            (file.sha256, size, name),
        )
        hold(db, repo, str(file.sha256))
        first = file.terms[0]
        asked = {xethash.printed(tables[first.xorb][first.start].hash): _name(first)}
        for term in file.terms:
            for chunk, _ in tables[term.xorb].leaves(term.start, term.end):
                if xethash.asks_dedup(chunk):
                    asked[xethash.printed(chunk)] = _name(term)
        db.executemany("INSERT OR REPLACE INTO dedup VALUES (?, ?)", asked.items())

    def known_chunk(self, chunk: str, key: bytes) -> bytes | None:
        """A shard about the xorb that holds a chunk and those used together with it; None for an unknown chunk."""
        db = self._db.connection
        row = db.execute("SELECT d.xorb FROM dedup d JOIN xorb x ON x.hash = d.xorb WHERE d.chunk = ?",
                         (chunk,)).fetchone()  # fmt: skip
        if row is None:
            return None
        names = [row["xorb"]]
        others = db.execute(
            "SELECT DISTINCT b.xorb FROM piece a JOIN piece b ON b.file = a.file "
            "WHERE a.xorb = ? AND b.xorb <> ? AND 'xorb/' || b.xorb NOT IN (SELECT name FROM distrusted) LIMIT ?",
            (row["xorb"], row["xorb"], ANSWER_XORBS - 1),
        ).fetchall()
        names += [other["xorb"] for other in others]
        self._spare(names)
        return shard.answer(((xethash.parsed(name), self.chunks(name)) for name in names), key)

    def _spare(self, names: list[str]) -> None:
        """Note that a client may build on these xorbs from now on: a collection leaves them alone for a while."""
        query = "SELECT hash FROM xorb WHERE hash IN (SELECT value FROM json_each(?)) AND used < ?"
        stale = self._db.connection.execute(query, (json.dumps(names), now_ms() - NOTED_MS)).fetchall()
        if stale:
            with self._db.write() as db:
                db.executemany("UPDATE xorb SET used = ? WHERE hash = ?", [(now_ms(), row["hash"]) for row in stale])

    # -- reading

    def size(self, name: str) -> int | None:
        """The bytes of a file, None for an unknown one."""
        row = self._db.connection.execute("SELECT size FROM xetfile WHERE hash = ?", (name,)).fetchone()
        return int(row["size"]) if row else None

    def is_held(self, repo: int, name: str) -> bool:
        """Whether a repo may read the file of this Xet hash."""
        query = "SELECT 1 FROM xetfile f JOIN holding h ON h.sha256 = f.sha256 WHERE f.hash = ? AND h.repo = ?"
        return self._db.connection.execute(query, (name, repo)).fetchone() is not None

    def plan(self, name: str, start: int, end: int) -> Plan:
        """What to fetch for the raw bytes [start, end) of a file; the first and last term are cut at chunk borders."""
        row = self._db.connection.execute("SELECT terms FROM xetfile WHERE hash = ?", (name,)).fetchone()
        if row is None:
            raise DamagedError(f"file {name} is missing")
        pieces = []
        skip = position = 0
        for term in shard.unpack_terms(row["terms"]):
            before, position = position, position + term.length
            if position <= start or before >= end:
                continue
            table = self.chunks(_name(term))
            ends = [chunk.raw_end for chunk in table]
            base = table.raw_start(term.start)
            low, high = term.start, term.end
            if before < start:
                low = bisect_right(ends, base + start - before)
                skip = base + start - before - table.raw_start(low)
            if position > end:
                high = bisect_right(ends, base + end - before - 1) + 1
            length = table.raw_start(high) - table.raw_start(low)
            first, last = table.stored_start(low), table.stored_start(high) - 1
            pieces.append(Piece(_name(term), low, high, length, first, last))
        return Plan(skip, tuple(pieces))

    def read(self, name: str, start: int, end: int) -> Iterator[bytes | memoryview]:
        """The raw bytes [start, end) of a file, checked and decoded."""
        plan = self.plan(name, start, end)
        skip, left = plan.skip, end - start
        for piece in plan.pieces:
            for raw in self._decode(piece.xorb, piece.first, piece.last + 1):
                wanted = memoryview(raw)[skip : skip + left]
                skip = max(0, skip - len(raw))
                left -= len(wanted)
                if wanted:
                    yield wanted

    def _decode(self, name: str, first: int, end: int) -> Iterator[bytes | memoryview]:
        """The raw chunks of whole stored chunks [first, end) of a xorb."""
        pending = b""
        for stored in self._files.read(f"xorb/{name}", first, end):
            data = pending + bytes(stored) if pending else stored
            whole = xorb.whole_chunks(memoryview(data))
            yield from xorb.decode(memoryview(data)[:whole])
            pending = bytes(data[whole:])
        if pending:
            raise DamagedError(f"xorb {name}: the stored chunks do not end where they should")


def hold(db: sqlite3.Connection, repo: int, sha256: str) -> None:
    """Note that a repo may use a content, inside the caller's transaction."""
    db.execute("INSERT INTO holding VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET created = excluded.created",
               (repo, sha256, now_ms()))  # fmt: skip


def _name(term: Term) -> str:
    return xethash.printed(term.xorb)
