"""What a picture says beside its pixels: where it was taken, the workflow that made it, texts with names and paths.

The cleaned copy has the same pixels, bit for bit: blocks are left out, nothing is encoded anew.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from qflux_hub import codes
from qflux_hub.lora.leaks import scan_text
from qflux_hub.report import Finding

_GPS, _ORIENTATION, _EXIF_IFD = 0x8825, 0x0112, 0x8769
_WORKFLOW_KEYS = frozenset({"workflow", "prompt", "parameters", "invokeai_metadata", "sd-metadata", "dream"})


def scan_image(where: str, data: bytes) -> Iterator[Finding]:
    """What the blocks of an image that are not pixels give away."""
    texts, position = _image_texts(data)
    if position:
        yield codes.POSITION_FOUND(where, f"{where} says where it was taken.")
    workflow = [key for key, text in texts.items() if key.lower() in _WORKFLOW_KEYS or _is_workflow(text)]
    if workflow:
        yield codes.WORKFLOW_FOUND(where, f"{where} holds the workflow that made it ({', '.join(workflow)}).")
    for key, text in texts.items():
        yield from scan_text(f"{where} ({key})", text, lines=False)


def _is_workflow(text: str) -> bool:
    return '"class_type"' in text or ('"nodes"' in text and '"links"' in text) or "\nNegative prompt:" in text


def _image_texts(data: bytes) -> tuple[dict[str, str], bool]:
    """(texts by the name of their place, whether there is a position)."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            texts = {str(key): _as_text(value) for key, value in image.info.items() if isinstance(value, (str, bytes))}
            texts = {key: text for key, text in texts.items() if key not in ("exif", "icc_profile")}
            exif = image.getexif()
            for tag, value in [*exif.items(), *exif.get_ifd(_EXIF_IFD).items()]:
                if isinstance(value, (str, bytes)):
                    texts[f"EXIF {tag:#06x}"] = _as_text(value)
            return {key: text for key, text in texts.items() if text}, bool(exif.get_ifd(_GPS))
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError):
        return {}, False


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    text = bytes(value).removeprefix(b"UNICODE\0").removeprefix(b"ASCII\0\0\0")
    decoded = text.decode("utf-16-le" if text[1:2] == b"\0" else "utf-8", "replace")
    printable = sum(character.isprintable() or character.isspace() for character in decoded)
    return decoded if decoded and printable > 0.9 * len(decoded) else ""


def clean_image(data: bytes) -> bytes:
    """The same pixels without texts, EXIF and XMP; an orientation stays. Unknown formats stay as they are."""
    for magic, clean in _CLEANERS:
        if data.startswith(magic):
            return clean(data)
    return data


def _orientation(data: bytes) -> int:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError):
        return 1


def _small_exif(orientation: int) -> bytes:
    """An EXIF block (TIFF, big-endian) of one entry."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, _ORIENTATION, 3, 1, orientation, 0, 0)


def _clean_png(data: bytes) -> bytes:
    out, at, orientation = [data[:8]], 8, _orientation(data)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"):
            out.append(data[at : at + 12 + length])
        if kind == b"IHDR" and orientation > 1:
            body = b"eXIf" + _small_exif(orientation)
            out.append(struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
        if kind == b"IEND":
            break
    return b"".join(out)


def _clean_jpeg(data: bytes) -> bytes:
    """Without the APP blocks but JFIF, the colour profile and Adobe's, and without comments."""
    out, at = [data[:2]], 2
    orientation = _orientation(data)
    if orientation > 1:
        block = b"Exif\0\0" + _small_exif(orientation)
        out.append(b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block)
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        kind = data[at + 1]
        if not (0xE1 <= kind <= 0xEF and kind not in (0xE2, 0xEE)) and kind != 0xFE:
            out.append(data[at : at + 2 + length])
        at += 2 + length
    return b"".join([*out, data[at:]])


def _clean_webp(data: bytes) -> bytes:
    out, at = [], 12
    orientation = _orientation(data)
    while at + 8 <= len(data):
        kind, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        block = data[at : at + 8 + length + length % 2]
        if kind == b"VP8X":  # its flags say which blocks follow
            flags = block[8] & ~0x0C | (0x08 if orientation > 1 else 0)
            block = block[:8] + bytes([flags]) + block[9:]
        if kind not in (b"EXIF", b"XMP "):
            out.append(block)
        at += 8 + length + length % 2
    if orientation > 1:
        exif = _small_exif(orientation)
        out.append(b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2))
    body = b"WEBP" + b"".join(out)
    return b"RIFF" + struct.pack("<I", len(body)) + body


_CLEANERS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _clean_png),
    (b"\xff\xd8", _clean_jpeg),
    (b"RIFF", _clean_webp),
)
