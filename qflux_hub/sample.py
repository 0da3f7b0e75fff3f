"""What everything is made of: a ``Sample`` refers to its media as ``Blob``s and holds none of their bytes.

Sizes are bytes. Names are paths in the tree that a blob comes from, with ``/``. All types are frozen, compared by
value and picklable; none of them holds a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

Opener = Callable[[str], BinaryIO]
"""Opens a blob's bytes by its name. Must be picklable; one opener serves all the blobs of a tree."""

CONTROLS, MASK, TARGET = "control_images", "control_mask", "target_image"
"""The names of the media roles, which are also the columns that their images have on the Hub."""
ROLES = (TARGET, CONTROLS, MASK)
"""All of them, in the order of ``Sample.media``."""
CAPTIONS = "captions"
"""The column of further captions."""

NO_EXTRA: Mapping[str, str | None] = {}
"""Shared by all samples without extra columns; never written to."""


Stamp = int
"""What a file system says of a file without opening it: equal stamps and sizes mean unchanged bytes.

Modification time in nanoseconds and inode in one number (see ``stamp``): a scan holds one for every image, and an
object with two numbers takes three times the memory.
"""


def stamp(mtime_ns: int, inode: int) -> Stamp:
    """Both in one number; ``unstamp`` takes it apart."""
    return mtime_ns << 64 | inode


def unstamp(packed: Stamp) -> tuple[int, int]:
    """(modification time in ns, inode)."""
    return packed >> 64, packed & 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True, slots=True)
class Blob:
    """A reference to the bytes of one file: on disk, in a tar, in a Parquet page or on the Hub.

    ``sha256`` is that of its bytes, where it was recorded beside them.
    """

    name: str
    size: int
    opener: Opener = field(repr=False)
    stamp: Stamp | None = None
    sha256: bytes | None = None

    def open(self) -> BinaryIO:
        """Open for reading, from the first byte. The caller closes."""
        return self.opener(self.name)

    def __reduce__(self) -> tuple[type[Blob], tuple[object, ...]]:  # half the time of what dataclasses have
        return Blob, (self.name, self.size, self.opener, self.stamp, self.sha256)


NO_OTHERS: Mapping[str, Blob] = {}
"""Shared by all samples without further files; never written to."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row: an edit from controls, under an optional mask, to an optional target. Each is an image, video or sound.

    ``controls`` has the main control first, then 1, 2, …; ``extra`` carries the columns that qflux gives no meaning,
    and ``others`` the files; ``captions`` are those beside the prompt, where there are several. ``place`` says where
    the sample was read from: ``train.csv:17``, or a folder with its ``/`` when it is the file there that has the
    sample's name and ``.txt``. ``id`` is unique in its split.
    """

    id: str
    split: str
    prompt: str
    controls: tuple[Blob, ...]
    mask: Blob | None = None
    target: Blob | None = None
    extra: Mapping[str, str | None] = field(default_factory=lambda: NO_EXTRA)
    place: str = ""
    captions: tuple[str, ...] = ()
    others: Mapping[str, Blob] = field(default_factory=lambda: NO_OTHERS)

    @property
    def origin(self) -> str:
        """Where the sample was read from: ``train.csv:17``, ``train/training_images/cat.txt``."""
        return f"{self.place}{self.id}.txt" if self.place.endswith("/") else self.place

    @property
    def first(self) -> Blob:
        """What the sample is looked at by: its target, else its main control. Every sample has an image."""
        return next(blob for _, blob in self.media())

    def media(self) -> Iterator[tuple[str, Blob]]:
        """(role, blob) of every file, in this order: target, controls, mask, others, whose names are their roles."""
        if self.target is not None:
            yield TARGET, self.target
        for control in self.controls:
            yield CONTROLS, control
        if self.mask is not None:
            yield MASK, self.mask
        yield from self.others.items()

    def __reduce__(self) -> tuple[type[Sample], tuple[object, ...]]:
        every = (self.id, self.split, self.prompt, self.controls, self.mask, self.target)
        return Sample, (*every, self.extra, self.place, self.captions, self.others)
