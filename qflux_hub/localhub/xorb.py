"""Xorbs: up to 64 MB of chunks in one body, as hf_xet sends and fetches them.

A xorb is a run of chunks, each an 8-byte header (version 0, stored length u24, scheme u8, raw length u24; little
endian) and its stored bytes. Scheme 0 is plain, 1 an LZ4 frame, 2 an LZ4 frame over bytes grouped by their position
modulo four. A footer may follow; its first byte is not 0. Nothing a client says about a xorb is believed: chunks are
decoded and hashed as they stream in.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import lz4.frame

from qflux_hub.localhub import xethash

MAX_BYTES = 64 * 1024 * 1024 + 1024 * 1024
"""Serialized size that is accepted: the protocol's 64 MiB, and room for a footer."""
MAX_CHUNK = 2 * 1024 * 1024
"""Raw bytes of one chunk that are accepted. Clients cut at 128 KiB; this bounds what decoding may allocate."""

_HEADER = 8
_ENTRY = struct.Struct("<32sII")


class XorbError(ValueError):
    """The bytes are not a xorb."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: its hash, and where it ends in the stored and in the raw bytes of its xorb."""

    hash: bytes
    stored_end: int
    raw_end: int


@dataclass(frozen=True, slots=True)
class ChunkTable:
    """The chunks of one xorb in order. ``packed`` is what the database keeps: 40 bytes per chunk."""

    packed: bytes

    def __len__(self) -> int:
        return len(self.packed) // _ENTRY.size

    def __getitem__(self, index: int) -> Chunk:
        return Chunk(*_ENTRY.unpack_from(self.packed, index * _ENTRY.size))

    def __iter__(self) -> Iterator[Chunk]:
        return (Chunk(*fields) for fields in _ENTRY.iter_unpack(self.packed))

    def stored_start(self, index: int) -> int:
        """Where chunk ``index`` begins in the stored bytes (``len(self)`` is allowed: the end)."""
        return self[index - 1].stored_end if index else 0

    def raw_start(self, index: int) -> int:
        """Where chunk ``index`` begins in the raw bytes (``len(self)`` is allowed: the end)."""
        return self[index - 1].raw_end if index else 0

    def leaves(self, start: int = 0, end: int | None = None) -> list[tuple[bytes, int]]:
        """(hash, raw bytes) of the chunks in [start, end)."""
        found = []
        before = self.raw_start(start)
        stop = len(self) if end is None else end
        for digest, _, raw_end in _ENTRY.iter_unpack(self.packed[start * _ENTRY.size : stop * _ENTRY.size]):
            found.append((digest, raw_end - before))
            before = raw_end
        return found

    def hash(self) -> bytes:
        """The name of the xorb."""
        return xethash.root(self.leaves())


class XorbCheck:
    """Decodes and hashes a xorb while it streams in; holds at most one incomplete chunk."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._entries: list[bytes] = []
        self._stored = 0
        self._raw = 0
        self._received = 0
        self._in_footer = False

    @property
    def kept(self) -> int:
        """How many of the bytes so far belong to chunks. A footer says nothing that is not recomputed."""
        return self._stored if self._in_footer else self._received

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes; XorbError at the first chunk that is malformed."""
        self._received += len(data)
        if self._in_footer:
            return
        view = memoryview(data)
        if self._pending:
            view = self._complete_pending(view)
        position = 0
        while len(view) - position >= _HEADER and view[position] == 0:
            end = position + _HEADER + int.from_bytes(view[position + 1 : position + 4], "little")
            if end > len(view):
                break
            self._take(view[position:end])
            position = end
        self._in_footer = position < len(view) and view[position] != 0
        if not self._in_footer:
            self._pending += view[position:]

    def finish(self) -> ChunkTable:
        """The chunks that were seen; XorbError when the last is cut off or there is none."""
        if self._pending and not self._in_footer:
            raise XorbError("the last chunk is cut off")
        if not self._entries:
            raise XorbError("no chunk in the body")
        return ChunkTable(b"".join(self._entries))

    def _complete_pending(self, view: memoryview) -> memoryview:
        """Take the chunk that an earlier call began, if it ends in ``view``; what is left of ``view``."""
        while len(self._pending) < (wanted := self._pending_bytes()):
            if not view:
                return view
            missing = wanted - len(self._pending)
            self._pending += view[:missing]
            view = view[missing:]
        self._take(memoryview(bytes(self._pending)))
        self._pending.clear()
        return view

    def _pending_bytes(self) -> int:
        if len(self._pending) < _HEADER:
            return _HEADER
        return _HEADER + int.from_bytes(self._pending[1:4], "little")

    def _take(self, chunk: memoryview) -> None:
        raw = decode_chunk(chunk)
        self._stored += len(chunk)
        self._raw += len(raw)
        self._entries.append(_ENTRY.pack(xethash.chunk_hash(raw), self._stored, self._raw))


def decode_chunk(chunk: memoryview) -> bytes | memoryview:
    """The raw bytes of one stored chunk, header included in ``chunk``; XorbError when it lies about itself."""
    scheme = chunk[4]
    raw_length = int.from_bytes(chunk[5:8], "little")
    body = chunk[_HEADER:]
    if raw_length > MAX_CHUNK:
        raise XorbError(f"a chunk of {raw_length} bytes; at most {MAX_CHUNK} are accepted")
    raw: bytes | memoryview
    if scheme == 0:
        raw = body
    elif scheme in (1, 2):
        raw = _decompress(body, raw_length)
        if scheme == 2:
            raw = _ungroup(raw)
    else:
        raise XorbError(f"unknown compression scheme {scheme}")
    if len(raw) != raw_length or not raw_length:
        raise XorbError(f"a chunk says {raw_length} raw bytes and holds {len(raw)}")
    return raw


def whole_chunks(stored: memoryview) -> int:
    """How many of these bytes are whole chunks; the rest is the beginning of the next one."""
    position = 0
    while position + _HEADER <= len(stored):
        end = position + _HEADER + int.from_bytes(stored[position + 1 : position + 4], "little")
        if end > len(stored):
            break
        position = end
    return position


def decode(stored: memoryview) -> Iterator[bytes | memoryview]:
    """The raw bytes of a run of whole stored chunks, chunk by chunk."""
    position = 0
    while position < len(stored):
        end = position + _HEADER + int.from_bytes(stored[position + 1 : position + 4], "little")
        if end > len(stored):
            raise XorbError("the last chunk is cut off")
        yield decode_chunk(stored[position:end])
        position = end


def _decompress(body: memoryview, raw_length: int) -> bytes:
    # One byte more than announced is enough to see a lie; a small body may unpack to gigabytes.
    try:
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(body, max_length=raw_length + 1))
    except (RuntimeError, EOFError) as error:
        raise XorbError(f"a chunk does not decompress: {error}") from error


def _ungroup(grouped: bytes | memoryview) -> bytes:
    """Undo byte grouping: four runs (bytes 0, 1, 2, 3 of every four; the first runs take the remainder)."""
    whole, rest = divmod(len(grouped), 4)
    raw = bytearray(len(grouped))
    start = 0
    for lane in range(4):
        end = start + whole + (lane < rest)
        raw[lane::4] = grouped[start:end]
        start = end
    return bytes(raw)
