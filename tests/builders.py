"""Tiny datasets and tiny valid images for tests, each made in a line.

    lay(tmp_path, "train/control_images/a.png", "train/training_images/a.txt", "train/training_images/a.png")
    lay(tmp_path, "train/control/a.png", train_csv="control,prompt\ntrain/control/a.png,Add a cat\n")

Every picture decodes, is of the format its name says, and differs from those of other names.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from qflux_hub import layouts
from qflux_hub.naming import split_extension
from qflux_hub.report import Finding
from qflux_hub.sample import Sample
from qflux_hub.tree import FolderTree

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tiff": "TIFF",
    ".tif": "TIFF",
    ".gif": "GIF",
}


@cache
def picture(name: str = "a.png", size: tuple[int, int] = (4, 3), mode: str = "RGB", **options: Any) -> bytes:
    """The bytes of a valid image, in the format of ``name``'s extension; its colours depend on ``name``.

    ``options`` go to Pillow's ``save``; ``format="JPEG"`` makes a picture whose name lies about it.
    """
    red, green, blue = zlib.crc32(name.encode(errors="surrogateescape")).to_bytes(4, "big")[1:]
    image = Image.new("RGB", size, (red, green, blue))
    image.putpixel((0, 0), (255 - red, green, blue))
    out = io.BytesIO()
    image.convert(mode).save(out, **{"format": FORMATS.get(split_extension(name)[1], "PNG")} | options)
    return out.getvalue()


@cache
def clip(name: str = "a.mp4", frames: int = 4, size: tuple[int, int] = (32, 16), rate: int = 8) -> bytes:
    """The bytes of a valid video or sound, in the format of ``name``'s extension; what it shows depends on ``name``.

    A sound has a thousand values for each frame, and as many times the rate.
    """
    seed = zlib.crc32(name.encode())
    kind = split_extension(name)[1]
    if kind in SOUNDS:
        import numpy
        import soundfile

        out = io.BytesIO()
        values = numpy.random.default_rng(seed).uniform(-0.5, 0.5, 1000 * frames)
        soundfile.write(out, values, 1000 * rate, format=SOUNDS[kind])
        return out.getvalue()
    import av

    out = io.BytesIO()
    container, codec = VIDEOS[kind]
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=25 if kind == ".mpeg" else rate)
        stream.width, stream.height = size
        for number in range(frames):
            colour = tuple((seed + 40 * number).to_bytes(8, "little")[:3])
            shown = av.VideoFrame.from_image(Image.new("RGB", size, colour))
            file.mux(stream.encode(shown))
        file.mux(stream.encode())
    return out.getvalue()


VIDEOS = {
    ".mp4": ("mp4", "mpeg4"),
    ".mov": ("mov", "mpeg4"),
    ".mkv": ("matroska", "mpeg4"),
    ".webm": ("webm", "libvpx"),
    ".avi": ("avi", "mpeg4"),
    ".mpeg": ("mpeg", "mpeg1video"),
}
"""Extension -> container and codec, as FFmpeg calls them."""
SOUNDS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}


def write(path: Path, content: bytes | str) -> Path:
    """Write a file, making its folders; text is UTF-8 with its line ends as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lay(root: Path, *names: str, **tables: str | bytes) -> Path:
    """Make a file for each of ``names`` under ``root`` and return ``root``.

    Images are pictures, videos and sounds are clips, other files say ``Prompt of <stem>.``, and ``train_csv="…"``
    writes ``train.csv``.
    """
    for name in names:
        stem, extension = split_extension(name.rsplit("/", 1)[-1])
        made = picture(name) if extension in FORMATS else clip(name) if extension in (*VIDEOS, *SOUNDS) else None
        write(root / name, made or f"Prompt of {stem}.\n")
    for name, content in tables.items():
        write(root / name.replace("_csv", ".csv"), content)
    return root


def lay_split(root: Path, split: str = "train", bases: Iterable[str] = ("a", "b"), extension: str = ".png") -> Path:
    """Make a split of the directory layout: prompt, main control and target for each of ``bases``."""
    for base in bases:
        names = (
            f"control_images/{base}{extension}",
            f"training_images/{base}{extension}",
            f"training_images/{base}.txt",
        )
        lay(root, *(f"{split}/{name}" for name in names))
    return root


def table(*rows: Sequence[str], **dialect: Any) -> str:
    """CSV text of ``rows``, the first of which is the header; quoted where it must be."""
    text = io.StringIO()
    csv.writer(text, **{"lineterminator": "\n"} | dialect).writerows(rows)
    return text.getvalue()


@dataclass(slots=True)
class Scan:
    """What a folder was read as: samples by split, in reading order, and everything that was found."""

    layout: str
    splits: dict[str, list[Sample]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def samples(self) -> list[Sample]:
        """The samples of all splits."""
        return [sample for samples in self.splits.values() for sample in samples]

    def __getitem__(self, id: str) -> Sample:
        """The one sample of that id."""
        (sample,) = (sample for sample in self.samples if sample.id == id)
        return sample

    @property
    def ids(self) -> list[str]:
        return [sample.id for sample in self.samples]

    @property
    def codes(self) -> list[str]:
        """The codes of the findings, in order, repeated ones too."""
        return [finding.code for finding in self.findings]

    def finding(self, code: str) -> Finding:
        """The one finding of that code."""
        (finding,) = (finding for finding in self.findings if finding.code == code)
        return finding


def scan(root: Path, layout: str | None = None, columns: dict[str, str] | None = None, **options: Any) -> Scan:
    """Read all splits of a folder; ``options`` go to ``FolderTree``."""
    tree = FolderTree(root, **options)
    findings = list(tree.findings)
    match = layouts.detect(tree, layout, findings.append)
    result = Scan(match.layout.NAME, findings=findings)
    for split in match.splits:
        result.splits[split] = list(match.layout.read(tree, split, columns or {}, findings.append))
    return result


def roles(sample: Sample) -> dict[str, Any]:
    """A sample's media by their names: {"controls": […], "mask": …, "target": …}."""
    return {
        "controls": [control.name for control in sample.controls],
        "mask": sample.mask and sample.mask.name,
        "target": sample.target and sample.target.name,
    }
