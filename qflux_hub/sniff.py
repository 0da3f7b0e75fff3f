"""What an image file is, from its first and last bytes, without decoding it.

Sizes are pixels, as displayed: an orientation in EXIF or XMP that turns the picture swaps width and height. Reads the
header and the last bytes, 64 KB of them where something follows the picture: 0.01 ms for most JPEG, PNG and WebP files,
where Pillow's ``open`` takes 0.03 to 0.4 ms and its ``verify`` does not notice a cut JPEG. ``crc_error`` walks the
checksums of a PNG, for callers that hold the whole file anyway; ``decode_error`` decodes with Pillow.

Formats: PNG (RFC 2083), JPEG (ITU T.81), WebP (RFC 9649), BMP, TIFF 6.0, GIF89a, EXIF 2.32.
"""

from __future__ import annotations

import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Literal

Format = Literal["png", "jpeg", "webp", "bmp", "tiff", "gif"]
Problem = Literal["empty-file", "lfs-pointer", "html-file", "not-an-image", "truncated-image", "damaged-image"]

EXTENSIONS: dict[Format, tuple[str, ...]] = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg"),
    "webp": (".webp",),
    "bmp": (".bmp",),
    "tiff": (".tiff", ".tif"),
    "gif": (".gif",),
}
"""The extensions that each format is expected under, the usual one first."""

_HEAD = 4096  # one read holds most headers
_TAIL = 64 * 1024
_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_PNG_END = b"IEND\xae\x42\x60\x82"
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # JPEG markers without a length


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the header says. ``problem`` is a finding's code, ``detail`` its reason in words; both empty when well."""

    format: Format | None = None
    width: int = 0
    height: int = 0
    orientation: int = 1
    problem: Problem | None = None
    detail: str = ""


class _BadImageError(Exception):
    """The file cannot be what its first bytes say; carries (problem, detail)."""


def sniff(file: BinaryIO, size: int) -> ImageFacts:
    """Facts of the image in ``file`` (seekable, at its start) of ``size`` bytes. Never raises for bad content."""
    reader = _Reader(file, size)
    if not reader.head:
        return ImageFacts(problem="empty-file", detail="it has no bytes")
    name = _format(reader.head)
    if name is None:
        return ImageFacts(problem=_stranger(reader.head), detail=f"it begins with {reader.head[:16]!r}")
    try:
        width, height, orientation = _READERS[name](reader)
    except _BadImageError as bad:
        problem, detail = bad.args
        return ImageFacts(name, problem=problem, detail=detail)
    except (EOFError, struct.error):
        return ImageFacts(name, problem="truncated-image", detail=f"its header ends after {size:,} bytes")
    if width <= 0 or height <= 0:
        return ImageFacts(name, problem="damaged-image", detail=f"its header says {width} x {height} pixels")
    if orientation >= 5:
        width, height = height, width
    return ImageFacts(name, width, height, orientation)


def crc_error(data: bytes | bytearray | memoryview) -> str:
    """Why the checksums of a whole PNG do not hold, or "" when they do. 0.35 ms per megapixel."""
    view, at = memoryview(data), len(_PNG)
    while at + 12 <= len(view):
        length, kind = struct.unpack_from(">I4s", view, at)
        end = at + 12 + length
        if end > len(view):
            return f"its {kind.decode('latin-1')} chunk at byte {at} ends after the file"
        if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", view, end - 4)[0]:
            return f"the checksum of its {kind.decode('latin-1')} chunk at byte {at} is wrong"
        if kind == b"IEND":
            return ""
        at = end
    return "it ends without its closing chunk"


def decode_error(file: BinaryIO) -> str:
    """Why Pillow cannot decode the image, or "" when it can. 4 to 22 ms per megapixel."""
    try:
        _decoded(file)
    except Exception as error:  # noqa: BLE001 - Pillow's plug-ins raise nearly everything; all of it means the same
        return f"{type(error).__name__}: {error}"
    return ""


def _decoded(file: BinaryIO) -> tuple[int, int, int]:
    """Width and height as stored, and orientation, of an image that was decoded; raises whatever Pillow does."""
    from PIL import Image

    file.seek(0)
    with SILENCE, Image.open(file) as image:
        width, height = image.size
        orientation = _known(image.getexif().get(_ORIENTATION))
        if image.format == "TIFF" and orientation >= 5:  # Pillow turns these, and only these, by itself
            width, height = height, width
        image.load()
    return width, height, orientation


class _Silence:
    """Keeps what Pillow only warns of from being printed.

    Filters of warnings belong to the process, so threads that decode at the same time share one change of them.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.__exit__(None, None, None)


SILENCE = _Silence()
"""To decode within; any number of threads may be inside at once."""


def _format(head: bytes) -> Format | None:
    if head.startswith(_PNG):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    return "bmp" if head.startswith(b"BM") else None


def _stranger(head: bytes) -> Problem:
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return "lfs-pointer"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return "html-file" if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) else "not-an-image"


class _Reader:
    """A file with its size, read at absolute offsets; reading past the end is an EOFError. ``head`` is its start."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.head = file.read(_HEAD)

    def at(self, offset: int, length: int) -> bytes:
        if offset + length <= len(self.head):
            return self.head[offset : offset + length]
        self.file.seek(offset)
        data = self.file.read(length)
        if len(data) < length:
            raise EOFError
        return data

    def closes(self, marker: bytes, after: int) -> bool:
        """Whether ``marker`` stands past ``after`` and near the end, where it usually is the very last."""
        for length in (len(marker), 1024, _TAIL):
            start = max(after, self.size - length)
            if marker in self.at(start, max(0, self.size - start)):
                return True
        return False


def _png(reader: _Reader) -> tuple[int, int, int]:
    kind, width, height = struct.unpack(">4sII", reader.at(12, 12))
    if kind != b"IHDR":
        raise _BadImageError("damaged-image", "its first chunk is not IHDR")
    at, told = 8, _Orientations()
    while kind not in (b"IDAT", b"IEND"):  # metadata chunks stand before the pixels, as a rule few of them
        length, kind = struct.unpack(">I4s", reader.at(at, 8))
        if kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt") and length <= _TAIL:
            told.of_png(kind, reader.at(at + 8, length))
        at += 12 + length
    if not (reader.closes(_PNG_END, at) or _png_closes(reader, at)):
        raise _BadImageError(
            "truncated-image", f"it ends after {reader.size:,} bytes without the chunk that closes a PNG"
        )
    return width, height, told.best()


def _png_closes(reader: _Reader, at: int) -> bool:
    """Whether the chunks from ``at`` on come to the closing one; for files with other data behind the picture."""
    kind = b""
    try:
        while kind != b"IEND":
            length, kind = struct.unpack(">I4s", reader.at(at, 8))
            at += 12 + length
    except EOFError:
        return False
    return at <= reader.size


def _jpeg(reader: _Reader) -> tuple[int, int, int]:
    at, told, size = 2, _Orientations(), None
    while True:
        marker, code, length = struct.unpack(">BBH", reader.at(at, 4))
        if marker != 0xFF:
            return _by_pillow(reader)  # stray bytes between segments, which decoders pass over
        if code == 0xFF:  # fill byte
            at += 1
        elif code in _ALONE:
            at += 2
        elif code in (0xD9, 0xDA):
            break
        elif code == 0 or length < 2:
            return _by_pillow(reader)
        else:
            if code in _SOF:
                size = struct.unpack(">HH", reader.at(at + 5, 4))
            elif code == 0xE1:
                told.of_jpeg(reader.at(at + 4, length - 2))
            at += 2 + length
    if size is None:
        raise _BadImageError("damaged-image", "its pixels begin before its size is told")
    # Motion photos and multi-picture files go on after the end marker. Where none is near the end, some writers
    # simply left it out: decoding decides before a file is called cut. Before the pixels, a thumbnail may have its own.
    if not reader.closes(b"\xff\xd9", at):
        why = decode_error(reader.file)
        if why:
            raise _BadImageError("truncated-image", f"it ends after {reader.size:,} bytes without a JPEG's end marker")
    return size[1], size[0], told.best()


def _webp(reader: _Reader) -> tuple[int, int, int]:
    (riff,) = struct.unpack("<I", reader.at(4, 4))
    if riff + 8 > reader.size:
        raise _BadImageError("truncated-image", f"its header promises {riff + 8:,} bytes, the file has {reader.size:,}")
    kind = reader.at(12, 4)
    if kind == b"VP8 ":
        if reader.at(23, 3) != b"\x9d\x01\x2a":
            raise _BadImageError("damaged-image", "its key frame has no start code")
        width, height = struct.unpack("<HH", reader.at(26, 4))
        return width & 0x3FFF, height & 0x3FFF, 1
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", reader.at(21, 4))
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1, 1
    if kind == b"VP8X":
        flags, size = reader.at(20, 1)[0], reader.at(24, 6)
        width, height = (int.from_bytes(size[i : i + 3], "little") + 1 for i in (0, 3))
        return width, height, _webp_orientation(reader, riff + 8) if flags & 0x0C else 1
    raise _BadImageError("damaged-image", f"its first chunk is {kind!r}")


def _webp_orientation(reader: _Reader, end: int) -> int:
    at, told = 12, _Orientations()
    while at + 8 <= end:
        kind, length = struct.unpack("<4sI", reader.at(at, 8))
        if kind == b"EXIF":
            told.of_exif(reader.at(at + 8, min(length, _TAIL)))
        elif kind == b"XMP ":
            told.of_xmp(reader.at(at + 8, min(length, _TAIL)))
        at += 8 + length + (length & 1)
    return told.best()


def _by_pillow(reader: _Reader) -> tuple[int, int, int]:
    """What a decoder says: for BMP, TIFF and GIF, rare among training images and cheap to decode; and for odd JPEGs."""
    try:
        return _decoded(reader.file)
    except Exception as error:
        kind: Problem = "truncated-image" if "truncated" in str(error) else "damaged-image"
        raise _BadImageError(kind, f"{type(error).__name__}: {error}") from error


class _Orientations:
    """What the metadata of one file says about its orientation: EXIF goes before XMP, as decoders read them."""

    def __init__(self) -> None:
        self._exif: int | None = None
        self._xmp: int | None = None

    def best(self) -> int:
        return self._exif or self._xmp or 1

    def of_exif(self, exif: bytes) -> None:
        """An EXIF block, with or without its marker. Only the first counts: a long one goes on in a second."""
        if self._exif is None:
            self._exif = _exif_orientation(exif.removeprefix(_EXIF)) or 0

    def of_xmp(self, xmp: bytes) -> None:
        found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', xmp)
        self._xmp = self._xmp or (int(found[1]) if found else None)

    def of_jpeg(self, segment: bytes) -> None:
        """The content of an APP1 segment."""
        if segment.startswith(_EXIF):
            self.of_exif(segment)
        elif segment.startswith(_XMP):
            self.of_xmp(segment)

    def of_png(self, kind: bytes, data: bytes) -> None:
        """The content of an eXIf chunk, or of a text chunk, where ImageMagick keeps the EXIF of a converted JPEG."""
        keyword, _, text = data.partition(b"\0")
        if kind == b"eXIf":
            self.of_exif(data)
        elif keyword == b"XML:com.adobe.xmp":
            self.of_xmp(text)
        elif keyword == b"Raw profile type exif":
            with suppress(ValueError, zlib.error):
                text = zlib.decompress(text[1:]) if kind == b"zTXt" else text
                self.of_exif(bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii")))


def _exif_orientation(exif: bytes) -> int | None:
    """Tag 0x0112 of the first directory; None when it is absent or the EXIF block is broken."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    try:
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, at)
        for entry in range(at + 2, at + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == _ORIENTATION and kind in (3, 4):  # SHORT; some writers say LONG
                return _known(struct.unpack_from(order + ("H" if kind == 3 else "I"), exif, entry + 8)[0])
    except struct.error:
        pass  # a cut EXIF block turns nothing: that is how the decoders read it, too
    return None


def _known(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


_READERS: dict[Format, Callable[[_Reader], tuple[int, int, int]]] = {
    "png": _png,
    "jpeg": _jpeg,
    "webp": _webp,
    "bmp": _by_pillow,
    "tiff": _by_pillow,
    "gif": _by_pillow,
}
