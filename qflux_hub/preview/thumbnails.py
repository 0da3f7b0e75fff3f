"""Small pictures of images, drawn in threads (Pillow releases the interpreter) and within a bound of memory.

Every picture is drawn as ``sniff`` reads the file: by the decoder of the format that its first bytes tell and by no
other, turned as its EXIF orientation says. Colour profiles are not applied, because trainers do not apply them
either; nothing of a file's metadata is carried over. JPEG is decoded at an eighth, a quarter or half of its size where
that is enough. Sizes are pixels.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from qflux_hub import codes, videos
from qflux_hub.preview.gallery import Picture, problem
from qflux_hub.sniff import SILENCE, Format, ImageFacts, sniff

QUALITY, EFFORT = 74, 2
"""Of the WebP that is written. Effort 4, Pillow's default, takes twice the time for 4 % fewer bytes."""
MASK_COLOUR = (255, 31, 107)
THREADS = 8
"""At most. For images behind a network always, because most of the time they are waited for."""
LARGE = 64 * 2**20
"""Bytes of memory: an image that takes more is drawn one at a time, in a thread for such images."""
TOO_LARGE = 2**30
"""Bytes of memory that one image may take; beyond lie decompression bombs and scans that no trainer takes."""

_PER_PIXEL: dict[Format, int] = {"jpeg": 4, "png": 4, "webp": 16, "bmp": 4, "tiff": 8, "gif": 4}
"""Bytes of memory that decoding and shrinking take for each pixel, measured; WebP decodes into several canvases."""
_ALPHA = 4
"""The same for weighing colours by their opacity before they are mixed."""
_PROGRESSIVE = 6
"""The same for the coefficients of a progressive JPEG, which are all kept whatever size it is decoded at."""
_PLUGINS: dict[Format, Callable[[IO[bytes]], Image.Image]] = {
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "gif": GifImagePlugin.GifImageFile,
}
_ALONE = ThreadPoolExecutor(1, thread_name_prefix="large-pictures")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A WebP file, or in one sentence why there is none. ``damage``: why decoding failed, which nobody knew before.

    ``is_fine``: nothing is wrong with the file, but it has no picture, such as a sound.
    """

    data: bytes
    problem: str = ""
    damage: str = ""
    is_fine: bool = False


def draw_all(pictures: Iterable[Picture], side: int, *, far: bool = False) -> Iterator[Thumbnail]:
    """Thumbnails in the order of ``pictures``; a few are under way at a time, more when they come from ``far``."""
    threads = THREADS if far else min(THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Thumbnail]] = deque()
        try:
            for picture in pictures:
                waiting.append(pool.submit(draw, picture, side))
                if len(waiting) > 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def draw(picture: Picture, side: int) -> Thumbnail:
    """The image in a square of ``side`` pixels, never enlarged. Failing is an answer, whatever the file holds."""
    known = problem(picture.facts)
    if known:
        return Thumbnail(b"", known)
    if picture.kind != "image":
        return _draw_clip(picture, side)
    try:
        with picture.blob.open() as raw:
            file = raw if isinstance(raw, io.BytesIO) else io.BufferedReader(raw)  # type: ignore[type-var]
            facts = picture.facts or sniff(file, picture.blob.size)
            if facts.problem:
                return Thumbnail(b"", problem(facts))
            file.seek(0)
            with SILENCE:
                return _draw(file, facts, side, is_mask=picture.is_mask)
    except OSError as error:
        if error.errno is not None:  # the file, not what is in it
            return Thumbnail(b"", f"The file cannot be read: {error.strerror}.")
        return _damaged(error)
    except Exception as error:  # noqa: BLE001 - Pillow's plug-ins raise nearly everything; all of it means the same
        return _damaged(error)


def _draw_clip(picture: Picture, side: int) -> Thumbnail:
    """The first frame of a video, where the library for that is installed; a sound has nothing to show."""
    if picture.kind == "audio":
        return Thumbnail(b"", "A sound: it has no picture.", is_fine=True)
    if not videos.is_available():
        message = 'A video: its first frame is shown with `pip install "qflux-hub[video]"`.'
        return Thumbnail(b"", message, is_fine=True)
    try:
        with picture.blob.open() as file:
            shown = videos.first_picture(file)
    except OSError as error:
        return Thumbnail(b"", f"The file cannot be read: {error.strerror}.")
    except videos.NotAVideoError as error:
        return Thumbnail(b"", codes.NOT_A_VIDEO.title, f"{error}")
    small = _small(shown, side)
    return _encoded(_tint(small) if picture.is_mask else small)


def _damaged(error: Exception) -> Thumbnail:
    said = codes.DAMAGED_IMAGE.title
    return Thumbnail(b"", said, f"it cannot be decoded ({type(error).__name__}: {error})")


def _draw(file: IO[bytes], facts: ImageFacts, side: int, *, is_mask: bool) -> Thumbnail:
    assert facts.format is not None  # noqa: S101 - sniff gives a format or a problem
    with _PLUGINS[facts.format](file) as image:
        pixels = image.width * image.height
        coefficients = pixels * _PROGRESSIVE if image.info.get("progressive") else 0
        image.draft(None, (side * 3 // 2, side * 3 // 2))
        each = _PER_PIXEL[facts.format] + (_ALPHA if image.mode in ("LA", "RGBA") else 0)
        cost = image.width * image.height * each + coefficients
        if cost > TOO_LARGE:
            return Thumbnail(b"", f"Too large to be shown: {pixels / 1e6:,.0f} megapixels.")
        small = _ALONE.submit(_small, image, side).result() if cost > LARGE else _small(image, side)
    if facts.format != "tiff" and facts.orientation in _TURNS:  # Pillow turns TIFF by itself
        small = small.transpose(_TURNS[facts.orientation])
    if is_mask:
        small = _tint(small)
    return _encoded(small)


def _encoded(small: Image.Image) -> Thumbnail:
    out = io.BytesIO()
    small.save(out, "WEBP", quality=QUALITY, method=EFFORT, icc_profile=b"", exif=b"", xmp=b"")
    return Thumbnail(out.getvalue())


def _small(image: Image.Image, side: int) -> Image.Image:
    """The image at its final size, before it is turned, as L, RGB or RGBA."""
    if image.mode in ("1", "P") and image.width * image.height > 16 * side * side:
        image.thumbnail((4 * side, 4 * side))  # by picking pixels, so that not all of them need more than a byte
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        image = _eight_bits(image)
    if image.mode not in ("L", "RGB", "RGBA"):
        with_alpha = image.has_transparency_data
        image = image.convert("RGBA" if with_alpha else "L" if image.mode == "1" else "RGB")
    elif "transparency" in image.info:
        image = image.convert("RGBA")
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    image.load()  # one that is small already was not
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Deep greys as L: 16 bits by their upper half, others by what is in them."""
    if image.mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    low, high = image.getextrema()
    assert isinstance(low, (int, float)) and isinstance(high, (int, float))  # noqa: S101, PT018 - one band
    if image.mode == "I" and low >= 0 and high < 2**16:  # how Pillow opens a 16-bit PNG
        low, high = 0, 2**16
    scale = 255 / ((high - low) or 1)
    return image.point(lambda value: value * scale + (-low * scale)).convert("L")


def _tint(mask: Image.Image) -> Image.Image:
    """A mask as colour that is opaque where the mask is white; its own alpha says nothing to a trainer."""
    tinted = Image.new("RGB", mask.size, MASK_COLOUR)
    tinted.putalpha(mask.convert("L"))
    return tinted
