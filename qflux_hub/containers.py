"""What a video or sound file is, by its first bytes and by how its parts follow each other. Nothing is decoded.

Containers: ISO BMFF (ISO 14496-12: mp4, mov, m4a), Matroska (RFC 9559: mkv, webm), RIFF (avi, wav), MPEG program and
transport streams, FLAC (RFC 9639), Ogg (RFC 3533), MP3. Where a container tells how long it is, one that was cut off is
told from a whole one. Sizes and offsets are bytes.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Literal

Container = Literal["mp4", "mov", "m4a", "mkv", "webm", "avi", "mpeg", "wav", "flac", "ogg", "mp3"]

SOUNDS = frozenset({"m4a", "wav", "flac", "ogg", "mp3"})
"""Containers that hold no pictures."""
HEAD = 4096
"""Bytes that ``container_of`` wants."""

_BOXES = 10_000
_STREAMED = (0, 0xFFFFFFFF)
"""Sizes that writers leave in RIFF when they do not go back to write the true one."""


def container_of(head: bytes) -> Container | None:
    """The container that a file begins like; None when it is none of these."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _brand(head)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm" if b"webm" in head[:64] else "mkv"
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        kinds: dict[bytes, Container] = {b"AVI ": "avi", b"WAVE": "wav"}
        return kinds.get(head[8:12])
    if head.startswith((b"\0\0\1\xba", b"\0\0\1\xb3")) or (head[:1] == b"G" and head[188:189] == b"G"):
        return "mpeg"
    if head.startswith(b"fLaC"):
        return "flac"
    if head.startswith(b"OggS"):
        return "ogg"
    # MPEG audio: eleven bits of sync, then neither the reserved version nor layer (which ADTS has), rate nor frequency
    synced = len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x18 != 0x08
    is_frame = synced and head[1] & 0x06 != 0 and head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C
    return "mp3" if head.startswith(b"ID3") or is_frame else None


def _brand(head: bytes) -> Container | None:
    if head[4:8] != b"ftyp":  # what QuickTime wrote before it had brands
        return "mov"
    brand = head[8:12]
    if brand in (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"crx "):
        return None  # pictures
    return "mov" if brand == b"qt  " else "m4a" if brand in (b"M4A ", b"M4B ") else "mp4"


def cut_off(container: Container, file: BinaryIO, size: int) -> str:
    """Why a file of ``size`` bytes is not whole, or "" when it seems to be. Reads a few bytes of each part."""
    try:
        if container in ("mp4", "mov", "m4a"):
            return _walk_boxes(file, size)
        if container in ("mkv", "webm"):
            return _walk_elements(file, size)
        if container in ("avi", "wav"):
            told = struct.unpack("<4xI", _at(file, 0, 8))[0]
            return _ends(told + 8, size) if told not in _STREAMED else ""
        if container == "flac":
            return _walk_blocks(file)
    except (EOFError, IndexError, struct.error):
        return f"its header ends after {size:,} bytes"
    return ""


def _ends(end: int, size: int) -> str:
    """Says that something ends after the file; "" when it does not."""
    return f"{end:,} bytes were written, {size:,} are there" if end > size else ""


def _walk_boxes(file: BinaryIO, size: int) -> str:
    """The boxes of an ISO file: all of them inside, and one that says where pictures and sounds lie."""
    at, kinds = 0, set()
    for _ in range(_BOXES):
        if size - at < 8:  # some writers leave a few bytes at the end
            break
        length, kind = struct.unpack(">I4s", _at(file, at, 8))
        if length == 1:
            length = struct.unpack(">Q", _at(file, at + 8, 8))[0]
        elif length == 0:
            length = size - at
        if length < 8:
            return f"the box at byte {at:,} has no length" if kind.strip(b"\0") else ""
        kinds.add(kind)
        at += length
        if why := _ends(at, size):
            return f"its {kind.decode('latin-1')} box ends after the file: {why}"
    return "" if kinds & {b"moov", b"moof"} else "it has no moov box, which is written when a recording ends"


def _walk_elements(file: BinaryIO, size: int) -> str:
    """The header and the segment of a Matroska file, if that tells its length."""
    at = 0
    for _ in range(2):
        head = _at(file, at, min(12, max(0, size - at)))
        width = _width(head[0])
        start = width + _width(head[width])
        length = int.from_bytes(head[width:start], "big") & ((1 << 7 * (start - width)) - 1)
        if length == (1 << 7 * (start - width)) - 1:  # not known
            return ""
        at += start + length
        if why := _ends(at, size):
            return why
    return ""


def _width(first: int) -> int:
    """Bytes of an EBML number that begins with this one."""
    if not first:
        raise EOFError
    return 9 - first.bit_length()


def _walk_blocks(file: BinaryIO) -> str:
    """The metadata blocks of a FLAC file, which stand before its frames."""
    at = 4
    for _ in range(_BOXES):
        head = _at(file, at, 4)
        at += 4 + int.from_bytes(head[1:], "big")
        if head[0] & 0x80:
            _at(file, at, 2)
            return ""
    return "its metadata does not end"


def _at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    data = file.read(length)
    if len(data) < length:
        raise EOFError
    return data
