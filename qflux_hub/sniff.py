"""What an image file is, from its first and last bytes, without decoding it.

Sizes are pixels, as displayed: an orientation in EXIF or XMP that turns the picture swaps width and height. Reads the
header and the last bytes, 64 KB of them where something follows the picture: 0.01 ms for most JPEG, PNG and WebP files,
where Pillow's ``open`` takes 0.03 to 0.4 ms and its ``verify`` does not notice a cut JPEG. What the header leaves open,
decoding decides: odd files, animated PNGs, formats that are rare among training images. ``Checksums`` walks those of a
PNG, for callers that read the whole file anyway; ``look`` decodes with Pillow.

Formats: PNG (RFC 2083), JPEG (ITU T.81), WebP (RFC 9649), BMP, TIFF 6.0, GIF89a, EXIF 2.32.
"""

from __future__ import annotations

import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self

from qflux_hub.containers import SOUNDS, Container, container_of, cut_off
from qflux_hub.naming import Kind

if TYPE_CHECKING:
    from PIL import Image

ImageFormat = Literal["png", "jpeg", "webp", "bmp", "tiff", "gif"]
Format = ImageFormat | Container
Problem = Literal[
    "empty-file",
    "lfs-pointer",
    "html-file",
    "not-an-image",
    "unsupported-format",
    "truncated-image",
    "damaged-image",
    "decompression-bomb",
    "not-a-video",
    "not-a-sound",
    "truncated-media",
    "unreadable-file",
    "changed-file",
]
Trait = Literal["16-bit-grey", "16-bit-colour", "cmyk", "alpha", "palette", "animated", "odd-exif", "broken-exif"]
"""What trainers take differently than people expect. Loaders overlook an odd EXIF block; at a broken one they stop."""

EXTENSIONS: dict[Format, tuple[str, ...]] = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg"),
    "webp": (".webp",),
    "bmp": (".bmp",),
    "tiff": (".tiff", ".tif"),
    "gif": (".gif",),
    "mp4": (".mp4", ".m4v", ".mov", ".m4a"),
    "mov": (".mov", ".mp4", ".m4v"),
    "m4a": (".m4a", ".mp4"),
    "mkv": (".mkv",),
    "webm": (".webm", ".mkv"),
    "avi": (".avi",),
    "mpeg": (".mpeg", ".mpg"),
    "wav": (".wav",),
    "flac": (".flac",),
    "ogg": (".ogg", ".opus"),
    "mp3": (".mp3",),
}
"""The extensions that each format is expected under, the usual one first."""

BOMB_PIXELS = 178_956_970
"""Pillow refuses to open an image that has more, and warns above half of it: a small file may fill the memory."""
_LARGE_PIXELS = 16_000_000
"""Images that have more are decoded one at a time, so that several threads together do not fill the memory."""
_NEARLY = 26
"""Greys this near to black or to white count as such: a tenth of the range, which is what JPEG leaves around edges."""
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
    """What the header says. ``problem`` is a finding's code, ``detail`` its reason in words; both empty when well.

    Of images that were decoded for it: ``tones``, the darkest and the brightest grey (0 to 255) and how many pixels in
    a thousand are neither nearly black nor nearly white; ``likeness``, the 64-bit perceptual hash in hex. Of videos and
    sounds that a library looked at: ``frames``, how many pictures or values there are, and ``rate``, how many a second.
    """

    format: Format | None = None
    width: int = 0
    height: int = 0
    orientation: int = 1
    problem: Problem | None = None
    detail: str = ""
    traits: tuple[Trait, ...] = ()
    tones: tuple[int, int, int] | None = None
    likeness: str = ""
    frames: int = 0
    rate: float = 0.0

    def to_row(self) -> list[Any]:
        """The facts as JSON keeps them."""
        return list(_ROW(self))

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Self:
        """The facts that ``to_row`` made. Raises TypeError or ValueError for anything else."""
        name, width, height, orientation, problem, detail, traits, tones, likeness, frames, rate = row
        traits, tones = tuple(traits), tuple(tones) if tones else None
        return cls(name, width, height, orientation, problem, detail, traits, tones, likeness, frames, rate)


_ROW = attrgetter(*ImageFacts.__slots__)


@dataclass(frozen=True, slots=True)
class _Header:
    """What the reader of a format returns: pixels as stored, the orientation, and traits."""

    width: int
    height: int
    orientation: int = 1
    traits: tuple[Trait, ...] = ()


class _BadImageError(Exception):
    """The file cannot be what its first bytes say; carries (problem, detail)."""


def sniff(file: BinaryIO, size: int, kind: Kind = "image") -> ImageFacts:
    """Facts of the image in ``file`` (seekable, at its start) of ``size`` bytes; of a video or sound, by ``kind``.

    Never raises for bad content.
    """
    reader = _Reader(file, size)
    if not reader.head:
        return ImageFacts(problem="empty-file", detail="it has no bytes")
    if kind in ("video", "audio"):
        return _sniff_container(reader, "not-a-video" if kind == "video" else "not-a-sound")
    name = _format(reader.head)
    if name is None:
        problem, detail = _stranger(reader.head)
        return ImageFacts(problem=problem, detail=detail)
    try:
        header = _READERS[name](reader)
    except _BadImageError as bad:
        problem, detail = bad.args
        return ImageFacts(name, problem=problem, detail=detail)
    except (EOFError, struct.error):
        return ImageFacts(name, problem="truncated-image", detail=f"its header ends after {size:,} bytes")
    width, height = header.width, header.height
    said = f"its header says {width:,} x {height:,} pixels"
    if width <= 0 or height <= 0:
        return ImageFacts(name, problem="damaged-image", detail=said)
    if width * height > BOMB_PIXELS:
        return ImageFacts(name, width, height, problem="decompression-bomb", detail=said)
    if header.orientation >= 5:
        width, height = height, width
    return ImageFacts(name, width, height, header.orientation, traits=header.traits)


def _sniff_container(reader: _Reader, otherwise: Literal["not-a-video", "not-a-sound"]) -> ImageFacts:
    """Facts of a video or sound by its container; ``otherwise`` is what is wrong with a file that is something else."""
    container = container_of(reader.head)
    if container is None:
        problem, detail = _stranger(reader.head)
        name = _format(reader.head)
        detail = f"it is a {name.upper()} image" if name else f"it is {detail} image" if detail[:2] == "a " else detail
        return ImageFacts(problem=problem if problem in ("lfs-pointer", "html-file") else otherwise, detail=detail)
    if otherwise == "not-a-video" and container in SOUNDS:
        return ImageFacts(container, problem=otherwise, detail=f"it is a sound ({container})")
    if otherwise == "not-a-sound" and container not in (*SOUNDS, "mp4", "mov"):
        return ImageFacts(container, problem=otherwise, detail=f"it is a video ({container})")
    why = cut_off(container, reader.file, reader.size)
    return ImageFacts(container, problem="truncated-media" if why else None, detail=why)


class Checksums:
    """The checksums of a PNG, fed piece by piece: 0.35 ms per megapixel. ``verdict`` says why they do not hold."""

    def __init__(self) -> None:
        self._at, self._head = 0, b""  # where the chunk under way begins, and its length and kind
        self._left, self._sum, self._crc = len(_PNG), b"", 0  # content to come, checksum so far: told and reckoned
        self._why = ""
        self._closed = False

    def feed(self, piece: bytes | memoryview) -> None:
        """The next bytes of the file. What follows the closing chunk is not looked at."""
        view = memoryview(piece)
        while len(view) and not (self._why or self._closed):
            if self._left:
                content, view = view[: self._left], view[self._left :]
                self._left -= len(content)
                self._crc = zlib.crc32(content, self._crc)
            elif len(self._head) == 8:
                wanted = 4 - len(self._sum)
                self._sum, view = self._sum + bytes(view[:wanted]), view[wanted:]
                if len(self._sum) == 4:
                    self._end()
            else:
                self._at = self._at or len(_PNG)
                wanted = 8 - len(self._head)
                self._head, view = self._head + bytes(view[:wanted]), view[wanted:]
                if len(self._head) == 8:
                    self._left, self._sum = int.from_bytes(self._head[:4], "big"), b""
                    self._crc = zlib.crc32(self._head[4:])

    def _end(self) -> None:
        length, kind = struct.unpack(">I4s", self._head)
        if self._crc != int.from_bytes(self._sum, "big"):
            self._why = f"the checksum of its {kind.decode('latin-1')} chunk at byte {self._at:,} is wrong"
        self._closed = kind == b"IEND"
        self._at, self._head = self._at + 12 + length, b""

    def verdict(self) -> str:
        """Why the checksums of what was fed do not hold, or "" when they do."""
        if self._why or self._closed:
            return self._why
        if len(self._head) == 8:
            return f"its {self._head[4:].decode('latin-1')} chunk at byte {self._at:,} ends after the file"
        return "it ends without its closing chunk"


def crc_error(data: bytes | bytearray | memoryview) -> str:
    """Why the checksums of a whole PNG do not hold, or "" when they do."""
    sums = Checksums()
    sums.feed(memoryview(data))
    return sums.verdict()


def look(file: BinaryIO, *, tones: bool = False, likeness: bool = False) -> ImageFacts:
    """What one decoding with Pillow says: ``problem`` and ``detail``, and what was asked for.

    ``tones`` are those of the picture as trainers take a mask: in grey, its alpha dropped. ``likeness`` is the hash by
    which the documented trainer names what it caches. Raises ModuleNotFoundError when the library for it is missing.
    4 to 22 ms per megapixel.
    """
    if likeness:
        import imagehash
    from PIL import Image, ImageOps

    file.seek(0)
    try:
        with SILENCE, Image.open(file) as image:
            with _ONE_AT_A_TIME if image.width * image.height > _LARGE_PIXELS else nullcontext():
                image.load()
            if tones and image.mode == "LAB":  # which Pillow converts to colours only
                return ImageFacts(problem="unsupported-format", detail=f"a CIELAB {image.format}")
            seen = _tones(image.convert("L").histogram()) if tones else None
            like = str(imagehash.phash(_in_colours(ImageOps.exif_transpose(image)))) if likeness else ""
    except Exception as error:  # noqa: BLE001 - Pillow's plug-ins raise nearly everything; all of it means the same
        problem, detail = _why(error)
        return ImageFacts(problem=problem, detail=detail)
    return ImageFacts(tones=seen, likeness=like)


def _in_colours(image: Image.Image) -> Image.Image:
    """The image; of a mode that Pillow converts to colours only, in colours."""
    return image.convert("RGB") if image.mode == "LAB" else image


def decode_error(file: BinaryIO) -> str:
    """Why Pillow cannot decode the image, or "" when it can."""
    return look(file).detail


def _why(error: Exception) -> tuple[Problem, str]:
    kind: Problem = "truncated-image" if "truncated" in str(error) else "damaged-image"
    if type(error).__name__ == "DecompressionBombError":
        kind = "decompression-bomb"
    return kind, f"{type(error).__name__}: {error}"


def _tones(histogram: Sequence[int]) -> tuple[int, int, int]:
    present = [grey for grey, count in enumerate(histogram) if count]
    return present[0], present[-1], round(1000 * sum(histogram[_NEARLY : 256 - _NEARLY]) / sum(histogram))


def _decoded(file: BinaryIO) -> _Header:
    """The header of an image that was decoded; raises whatever Pillow does."""
    from PIL import Image

    file.seek(0)
    with SILENCE, Image.open(file) as image:
        width, height, mode = image.width, image.height, image.mode
        traits: list[Trait] = []
        if mode.startswith(("I", "F")):
            traits.append("16-bit-grey")
        if mode == "CMYK":
            traits.append("cmyk")
        if image.palette:
            traits.append("palette")
        if image.has_transparency_data:
            traits.append("alpha")
        if image.format != "MPO" and getattr(image, "is_animated", False):
            traits.append("animated")
        orientation = 1
        try:
            orientation = _known(image.getexif().get(_ORIENTATION))
        except Exception:  # loaders that look for the orientation raise the same
            if image.format == "PNG":  # where EXIF may stand behind the pixels, which are therefore decoded first
                raise
            traits.append("broken-exif")
        if image.format == "TIFF" and orientation >= 5:  # Pillow turns these, and only these, by itself
            width, height = height, width
        with _ONE_AT_A_TIME if width * height > _LARGE_PIXELS else nullcontext():
            image.load()
    return _Header(width, height, orientation, tuple(traits))


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
_ONE_AT_A_TIME = threading.Lock()


def format_of(head: bytes) -> Format | None:
    """What a file is that begins like this; None when it is nothing that is known."""
    return _format(head) or container_of(head)


def _format(head: bytes) -> ImageFormat | None:
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


_OTHER_IMAGES = {
    b"\0\0\0\x0cjP  \r\n\x87\n": "a JPEG 2000",
    b"\xff\x4f\xff\x51": "a JPEG 2000",
    b"\0\0\0\x0cJXL \r\n\x87\n": "a JPEG XL",
    b"\xff\x0a": "a JPEG XL",
    b"8BPS": "a Photoshop",
    b"gimp xcf": "a GIMP",
    b"\0\0\1\0": "an ICO",
    b"icns": "an ICNS",
    b"DDS ": "a DDS",
    b"qoif": "a QOI",
    b"\x76\x2f\x31\x01": "an OpenEXR",
    b"#?RADIANCE": "a Radiance HDR",
    b"SIMPLE  =": "a FITS",
    b"<svg": "an SVG",
    **{b"P%d%c" % (kind, space): "a PPM" for kind in range(1, 8) for space in b" \n\r\t"},
}
_BRANDS = {
    b"avif": "an AVIF",
    b"avis": "an AVIF",
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1"), "a HEIC"),
    b"crx ": "a camera's raw",
}
_NO_IMAGES = {
    b"%PDF": "it is a PDF",
    b"%!PS": "it is PostScript",
    b"PK\3\4": "it is a ZIP archive",
    b"\x1f\x8b": "it is a gzip archive",
    b"RIFF": "it is a sound or a video",
    b"\x1a\x45\xdf\xa3": "it is a video",
    b"PAR1": "it is a Parquet file",
}


def _stranger(head: bytes) -> tuple[Problem, str]:
    """What a file is that begins like none of our formats, and how one can tell."""
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return "lfs-pointer", f"it begins with {head[:16]!r}"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "html-file", f"it begins with {head[:16]!r}"
    if head[4:8] == b"ftyp":
        brand = _BRANDS.get(head[8:12])
        return ("unsupported-format", brand) if brand else ("not-an-image", "it is a video")
    for start, kind in _OTHER_IMAGES.items():
        if head.startswith(start):
            return "unsupported-format", kind
    for start, kind in _NO_IMAGES.items():
        if head.startswith(start):
            return "not-an-image", kind
    if not head.strip(b"\0"):
        return "not-an-image", "it begins with zeros, as if its bytes had never been written"
    return "not-an-image", f"it begins with {head[:16]!r}"


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


def _png(reader: _Reader) -> _Header:
    kind, width, height, bits, colours, *methods = struct.unpack(">4sIIBBBBB", reader.at(12, 17))
    if kind != b"IHDR":
        raise _BadImageError("damaged-image", "its first chunk is not IHDR")
    traits: list[Trait] = []
    if bits == 16:
        traits.append("16-bit-colour" if colours & 2 else "16-bit-grey")
    if colours & 4:
        traits.append("alpha")
    if colours == 3:
        traits.append("palette")
    at, told, odd = 8, _Metadata(), methods > [0, 0, 1]
    while kind not in (b"IDAT", b"IEND"):  # metadata chunks stand before the pixels, as a rule few of them
        length, kind = struct.unpack(">I4s", reader.at(at, 8))
        if kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt") and length <= _TAIL:
            told.of_png(kind, reader.at(at + 8, length))
        if kind == b"tRNS" and "alpha" not in traits:
            traits.append("alpha")
        elif kind == b"acTL":  # an animation of one frame is none, but Pillow reads all of its structure
            odd = True
            traits += ["animated"] if reader.at(at + 8, 4) > b"\0\0\0\1" else []
        elif kind in (b"zTXt", b"iTXt") and length > 1000:  # may unfold to more than Pillow lets a text have
            odd = True
        at += 12 + length
    if not (reader.closes(_PNG_END, at) or _png_closes(reader, at)):
        raise _BadImageError(
            "truncated-image", f"it ends after {reader.size:,} bytes without the chunk that closes a PNG"
        )
    if odd and width * height <= BOMB_PIXELS:
        _by_pillow(reader)
    return _Header(width, height, told.orientation(), (*traits, *told.faults(reader)))


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


def _jpeg(reader: _Reader) -> _Header:
    at, told, frame = 2, _Metadata(), None
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
                frame = struct.unpack(">BHHB", reader.at(at + 4, 6))
            elif code == 0xE1:
                told.of_jpeg(reader.at(at + 4, length - 2))
            at += 2 + length
    if frame is None:
        raise _BadImageError("damaged-image", "its pixels begin before its size is told")
    # Motion photos and multi-picture files go on after the end marker. Where none is near the end, some writers
    # simply left it out: decoding decides before a file is called cut. Before the pixels, a thumbnail may have its own.
    if not reader.closes(b"\xff\xd9", at):
        why = decode_error(reader.file)
        if why:
            raise _BadImageError("truncated-image", f"it ends after {reader.size:,} bytes without a JPEG's end marker")
    bits, height, width, components = frame
    if bits != 8:
        return _by_pillow(reader)
    cmyk: tuple[Trait, ...] = ("cmyk",) if components == 4 else ()
    return _Header(width, height, told.orientation(), (*cmyk, *told.faults(reader)))


def _webp(reader: _Reader) -> _Header:
    (riff,) = struct.unpack("<I", reader.at(4, 4))
    if riff + 8 > reader.size:
        raise _BadImageError("truncated-image", f"its header promises {riff + 8:,} bytes, the file has {reader.size:,}")
    kind = reader.at(12, 4)
    if kind == b"VP8 ":
        if reader.at(23, 3) != b"\x9d\x01\x2a":
            raise _BadImageError("damaged-image", "its key frame has no start code")
        width, height = struct.unpack("<HH", reader.at(26, 4))
        return _Header(width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", reader.at(21, 4))
        return _Header((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1, 1, ("alpha",) if bits >> 28 & 1 else ())
    if kind == b"VP8X":
        flags, size = reader.at(20, 1)[0], reader.at(24, 6)
        width, height = (int.from_bytes(size[i : i + 3], "little") + 1 for i in (0, 3))
        told = _webp_metadata(reader, riff + 8) if flags & 0x0C else _Metadata()
        traits: list[Trait] = ["alpha"] if flags & 0x10 else []
        traits += ["animated"] if flags & 0x02 else []
        return _Header(width, height, told.orientation(), (*traits, *told.faults(reader)))
    raise _BadImageError("damaged-image", f"its first chunk is {kind!r}")


def _webp_metadata(reader: _Reader, end: int) -> _Metadata:
    at, told = 12, _Metadata()
    while at + 8 <= end:
        kind, length = struct.unpack("<4sI", reader.at(at, 8))
        if kind == b"EXIF":
            told.of_exif(reader.at(at + 8, min(length, _TAIL)))
        elif kind == b"XMP ":
            told.of_xmp(reader.at(at + 8, min(length, _TAIL)))
        at += 8 + length + (length & 1)
    return told


def _by_pillow(reader: _Reader) -> _Header:
    """What a decoder says: for BMP, TIFF and GIF, rare among training images and cheap to decode; and for odd JPEGs."""
    try:
        return _decoded(reader.file)
    except Exception as error:
        raise _BadImageError(*_why(error)) from error


class _Metadata:
    """What the metadata of one file says about its orientation: EXIF goes before XMP, as decoders read them."""

    def __init__(self) -> None:
        self._exif: int | None = None
        self._xmp: int | None = None
        self._cut = False

    def orientation(self) -> int:
        return self._exif or self._xmp or 1

    def faults(self, reader: _Reader) -> tuple[Trait, ...]:
        """What is wrong with the EXIF block: asked of Pillow, as loaders do, where it does not parse."""
        if not self._cut:
            return ()
        from PIL import Image

        reader.file.seek(0)
        try:
            with SILENCE, Image.open(reader.file) as image:
                image.getexif()
        except Exception:  # noqa: BLE001 - every kind of it stops a loader
            return ("broken-exif",)
        return ("odd-exif",)

    def of_exif(self, exif: bytes) -> None:
        """An EXIF block, with or without its marker. Only the first counts: a long one goes on in a second."""
        if self._exif is None:
            try:
                self._exif = _exif_orientation(exif.removeprefix(_EXIF)) or 0
            except struct.error:  # a cut block turns nothing: that is how the decoders read it, too
                self._exif, self._cut = 0, True

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
    """Tag 0x0112 of the first directory; None when it is absent. Raises struct.error for a cut or foreign block."""
    if not exif:
        return None
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        raise struct.error
    (at,) = struct.unpack_from(order + "I", exif, 4)
    (entries,) = struct.unpack_from(order + "H", exif, at)
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        tag, kind = struct.unpack_from(order + "HH", exif, entry)
        if tag == _ORIENTATION and kind in (3, 4):  # SHORT; some writers say LONG
            return _known(struct.unpack_from(order + ("H" if kind == 3 else "I"), exif, entry + 8)[0])
    return None


def _known(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


_READERS: dict[Format, Callable[[_Reader], _Header]] = {
    "png": _png,
    "jpeg": _jpeg,
    "webp": _webp,
    "bmp": _by_pillow,
    "tiff": _by_pillow,
    "gif": _by_pillow,
}
