"""Shards: what hf_xet says about files and xorbs, and what it is answered when it asks for known chunks.

A 48-byte header (tag, version 2, footer size), then records of 48 bytes: files (header, terms, with flag bit 31 one
verification record per term, with flag bit 30 the SHA-256), a bookend, xorbs (header, chunks), a bookend. An answer
has no files, and adds lookup tables and a 200-byte footer. Little endian throughout.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

from qflux_hub.localhub import xethash
from qflux_hub.localhub.xorb import ChunkTable

_TAG = b"HFRepoMetaData\x00" + bytes([85, 105, 103, 69, 106, 123, 129, 87, 131, 165, 189, 217, 92, 205, 209, 74, 169])
_HEADER = struct.Struct("<32sQQ")
_RECORD = struct.Struct("<32sIIII")
_BOOKEND = b"\xff" * 32 + bytes(16)
_FOOTER_BYTES = 200
_WITH_VERIFICATION = 1 << 31
_WITH_SHA256 = 1 << 30
_DEDUP_CHUNK = 1 << 31
_TERM = struct.Struct("<32sIII")

ANSWER_SECONDS = 21 * 24 * 3600
"""How long a client may rely on an answer: what hf_xet itself allows for a shard in its cache."""


class ShardError(ValueError):
    """The bytes are not a shard, or one of another version."""


@dataclass(frozen=True, slots=True)
class Term:
    """A run of chunks [start, end) of one xorb; ``length`` is its raw bytes."""

    xorb: bytes
    length: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One file as a client describes it: nothing here is verified yet."""

    hash: bytes
    terms: tuple[Term, ...]
    verification: tuple[bytes, ...]
    sha256: str | None


def pack_terms(terms: Iterable[Term]) -> bytes:
    """Terms as the database keeps them."""
    return b"".join(_TERM.pack(term.xorb, term.length, term.start, term.end) for term in terms)


def unpack_terms(packed: bytes) -> list[Term]:
    """The inverse of :func:`pack_terms`."""
    return [Term(*fields) for fields in _TERM.iter_unpack(packed)]


def parse(data: bytes) -> list[ShardFile]:
    """The files of an uploaded shard, with or without footer; ShardError says what is wrong.

    What it says about xorbs is not read: the hub knows its xorbs from their bytes.
    """
    if len(data) < _HEADER.size or not data.startswith(_TAG):
        raise ShardError("this is not a shard")
    _, version, _ = _HEADER.unpack_from(data)
    if version != 2:
        raise ShardError(f"a shard of version {version}; this hub reads version 2")
    try:
        return _parse_files(data, _HEADER.size)
    except struct.error as error:
        raise ShardError("the shard is cut off") from error


def _parse_files(data: bytes, position: int) -> list[ShardFile]:
    files = []
    while data[position : position + 32] != _BOOKEND[:32]:
        digest, flags, count, _, _ = _RECORD.unpack_from(data, position)
        position += _RECORD.size
        terms = []
        for _ in range(count):
            xorb, _, length, start, end = _RECORD.unpack_from(data, position)
            terms.append(Term(xorb, length, start, end))
            position += _RECORD.size
        verification = []
        if flags & _WITH_VERIFICATION:
            for _ in range(count):
                verification.append(_RECORD.unpack_from(data, position)[0])
                position += _RECORD.size
        sha256 = None
        if flags & _WITH_SHA256:
            sha256 = xethash.printed(_RECORD.unpack_from(data, position)[0])
            position += _RECORD.size
        files.append(ShardFile(digest, tuple(terms), tuple(verification), sha256))
    return files


def answer(xorbs: Iterable[tuple[bytes, ChunkTable]], key: bytes) -> bytes:
    """A shard without files that tells a client which chunks these xorbs hold.

    Chunk hashes are keyed: a client recognises the chunks that it has, and learns nothing about the others. Their
    plain hashes would be enough to claim, and then read, a file that somebody else keeps private.
    """
    body = bytearray(_BOOKEND)
    xorb_rows: list[tuple[int, int]] = []
    chunk_rows: list[tuple[int, int, int]] = []
    index = 0
    stored_bytes = raw_bytes = 0
    for digest, table in sorted(xorbs, key=lambda item: item[0]):
        last = table[len(table) - 1]
        body += _RECORD.pack(digest, 0, len(table), last.raw_end, last.stored_end)
        xorb_rows.append((_first_word(digest), index))
        offset = 0
        for number, (chunk, length) in enumerate(table.leaves()):
            flags = _DEDUP_CHUNK if xethash.asks_dedup(chunk) else 0
            keyed = xethash.keyed(chunk, key)
            body += _RECORD.pack(keyed, offset, length, flags, 0)
            chunk_rows.append((_first_word(keyed), index, number))
            offset += length
        index += 1 + len(table)
        stored_bytes += last.stored_end
        raw_bytes += last.raw_end
    body += _BOOKEND
    tables = _HEADER.size + len(body)
    xorb_rows.sort()
    chunk_rows.sort()
    lookups = b"".join(struct.pack("<QI", *row) for row in xorb_rows)
    chunk_lookup = tables + len(lookups)
    lookups += b"".join(struct.pack("<QII", *row) for row in chunk_rows)
    now = int(time.time())
    footer = struct.pack("<9Q", 1, _HEADER.size, _HEADER.size + _RECORD.size, tables, 0, tables, len(xorb_rows),
                         chunk_lookup, len(chunk_rows))  # fmt: skip
    footer += key + struct.pack("<2Q", now, now + ANSWER_SECONDS) + bytes(48)
    footer += struct.pack("<4Q", stored_bytes, 0, raw_bytes, tables + len(lookups))
    return _HEADER.pack(_TAG, 2, _FOOTER_BYTES) + bytes(body) + lookups + footer


def _first_word(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "little")
