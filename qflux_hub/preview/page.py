"""The gallery as one file: pictures, data, style and script in a page that needs no network.

The page is written from top to bottom as pictures come, beside its final name, and renamed when it is whole. Pictures
stand in inert blocks, so that a browser keeps them as text until they are looked at. Sizes are bytes unless they are
called sides, which are pixels.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import html
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from qflux_hub import __version__
from qflux_hub.errors import UsageError
from qflux_hub.preview.gallery import Gallery, Picture
from qflux_hub.preview.thumbnails import draw_all
from qflux_hub.report import Progress

MOST_PICTURES = 40_000
"""What one page holds; beyond, the samples with findings and the first of each split are taken."""
WEIGHT = 128_000_000
"""Bytes that a page should not be heavier than: as far as that goes, its pictures are large."""
SIDES = (1024, 768, 512, 384, 320, 256, 224, 192, 160)
BLOCK = 32
"""Pictures in one block: what a browser takes apart at a time."""

_PER_PIXEL, _PER_MASK = 0.13, 0.02
"""Measured on photographs of 3:2, in bytes of base64 for each pixel of the square around them."""
_FOLDER = Path(__file__).parent
_SLOT = "{{%s}}"


@dataclass(frozen=True, slots=True)
class Written:
    """A page that was written. ``read``: bytes of the images that were drawn."""

    made: int
    unreadable: int
    side: int
    read: int
    size: int


def write(gallery: Gallery, target: Path, progress: Progress) -> Written:
    """Write the whole gallery to ``target``. Holds a few pictures in memory at a time."""
    side = choose_side(gallery.pictures)
    made = read = fine = 0
    style, script = asset("gallery.css"), asset("gallery.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{_sha256(style)}'; "
        f"script-src 'sha256-{_sha256(script)}'; base-uri 'none'; form-action 'none'"
    )
    before, after = skeleton(gallery, policy, f"<style>{style}</style>")
    with whole_file(target) as file, progress.task("Drawing", len(gallery.pictures), "pictures") as task:
        file.write(before.encode())
        for number, thumbnail in enumerate(draw_all(gallery.pictures, side, far=gallery.is_remote)):
            if number % BLOCK == 0:
                start = f'<script type="text/plain" id="block-{number // BLOCK}">\n'
                file.write((start if number == 0 else f"</script>\n{start}").encode())
            if thumbnail.damage:
                gallery.add_damage(number, thumbnail.damage)
            if thumbnail.problem:
                file.write(f"!{json.dumps(thumbnail.problem)[1:-1].replace('<', ' ')}\n".encode())
                fine += thumbnail.is_fine
            else:
                file.write(base64.b64encode(thumbnail.data) + b"\n")
                made += 1
                read += gallery.pictures[number].blob.size
            task.advance()
        file.write(b"</script>\n" if gallery.pictures else b"")
        file.write(f'<script type="application/json" id="data">{as_json(gallery.data(side))}</script>\n'.encode())
        file.write(f"<script>{script}</script>\n{after}".encode())
        size = file.tell()
    return Written(made, len(gallery.pictures) - made - fine, side, read, size)


def choose_side(pictures: Sequence[Picture]) -> int:
    """The largest side with which the page is expected to stay below ``WEIGHT``."""
    masks = sum(picture.is_mask for picture in pictures)
    per_pixel = (len(pictures) - masks) * _PER_PIXEL + masks * _PER_MASK
    return next((side for side in SIDES if per_pixel * side * side <= WEIGHT), SIDES[-1])


def skeleton(gallery: Gallery, policy: str, style: str) -> tuple[str, str]:
    """The page before and after what differs: the slot for pictures, data and script."""
    page = asset("gallery.html")
    values = {"title": gallery.title, "version": __version__, "policy": policy}
    for name, value in values.items():
        page = page.replace(_SLOT % name, html.escape(value))
    before, _, after = page.replace(_SLOT % "style", style).partition(_SLOT % "data")
    return before, after


def as_json(data: Any) -> str:
    """JSON that can stand inside of a script element, whatever its texts hold."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


@cache
def asset(name: str) -> str:
    """A file of this package's page."""
    return (_FOLDER / name).read_text(encoding="utf-8")


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is complete, or not at all.

    Until then it lies beside it. What a run that was killed left there is taken over by the next one; two at a time
    are kept apart by a lock: UsageError.
    """
    part = target.with_name(f".{target.name}.qflux-part")
    with _locked(part) as file:
        try:
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            part.unlink()
            raise


def _locked(part: Path) -> BinaryIO:
    while True:
        file = part.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            name = part.name.removeprefix(".").removesuffix(".qflux-part")
            raise UsageError(f"Another run is writing {name!r}.", hint="Wait for it, or name another --out.") from None
        if part.exists() and os.path.samestat(os.fstat(file.fileno()), part.stat()):
            return file
        file.close()  # another run made it the page in the meantime


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
