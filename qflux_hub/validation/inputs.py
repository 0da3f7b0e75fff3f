"""What validation rows ask for, and the files that they name.

Rules of sizes and frames are those of the pipelines that finetrainers drives (CogVideoX, CogView4, FLUX, HunyuanVideo,
LTX-Video, Wan): sizes in multiples of 16, frames one more than a multiple of 4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO

from qflux_hub import checks, codes
from qflux_hub.checks.reading import read_image
from qflux_hub.naming import kind_of
from qflux_hub.report import Finding, Found
from qflux_hub.sample import Blob
from qflux_hub.tree import unreadable
from qflux_hub.validation.rows import ADDRESS, Place, Reading, ValidationRow
from qflux_hub.videos import NotAVideoError, is_available, look_at_video

_GRID, _STEP = 16, 4
_ASPECT = 1.02
"""Aspects may differ by this factor: a few pixels of cropping, not another picture."""
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_NO_PICTURE = ("not-an-image", "unsupported-format")


def check_sizes(row: ValidationRow, place: Place, found: Found) -> None:
    """Find sizes and numbers of frames that models do not make."""
    for column, own, other in (("height", row.height, "width"), ("width", row.width, "height")):
        if own and getattr(row, other) is None:
            message = f"{column} is {own}, but there is no {other}: the model's default is used."
            found(place.finds(codes.ODD_SIZE, message, fix=f"add {other}"))
        if own and own % _GRID:
            message = f"{column} is {own}, which is no multiple of {_GRID}."
            found(place.finds(codes.ODD_SIZE, message, fix=f"write {_nearest(own, _GRID, 0)}"))
    if row.num_frames and row.num_frames % _STEP != 1:
        message = f"num_frames is {row.num_frames}, which is not one more than a multiple of {_STEP}."
        found(place.finds(codes.ODD_FRAMES, message, fix=f"write {_nearest(row.num_frames, _STEP, 1)}"))


def _nearest(number: int, step: int, rest: int) -> int:
    """The number above zero nearest to ``number`` that leaves ``rest`` when divided by ``step``."""
    return max(rest or step, round((number - rest) / step) * step + rest)


@dataclass(frozen=True, slots=True)
class _Opener:
    """Opens the files that a table names, by their path from its folder."""

    folder: str

    def __call__(self, name: str) -> BinaryIO:
        return Path(self.folder, name).open("rb", buffering=0)


@dataclass(frozen=True, slots=True)
class Shape:
    """Width and height of an image or video in pixels, as displayed; a video's number of frames."""

    width: int
    height: int
    frames: int | None = None


@dataclass(slots=True)
class Inputs:
    """Looks at every file that rows name, each once, and finds what is wrong with it."""

    reading: Reading
    decode: bool
    shapes: dict[tuple[str, str], Shape | None] = field(default_factory=dict)
    lacks_library: bool = False

    def check(self, row: ValidationRow, column: str, path: str) -> None:
        """The file that a row names in ``column``; and whether it has the shape of what the row asks for."""
        place, found = self.reading.place(row.line), self.reading.validation.findings.append
        key = (path, column)
        if key not in self.shapes:
            self.shapes[key] = self._look(path, column, place, found)
        shape, name = self.shapes[key], self.reading.written(path)
        if shape and row.width and row.height:
            ratio = shape.width * row.height / (shape.height * row.width)
            if not 1 / _ASPECT <= ratio <= _ASPECT:
                wanted = f"{row.width}×{row.height}"
                message = f"{name} is {shape.width}×{shape.height}, and is stretched to {wanted}."
                fix = f"crop it to the aspect of {wanted}, or ask for a size of its own aspect"
                found(place.finds(codes.STRETCHED_INPUT, message, fix=fix))
        if shape and shape.frames and row.num_frames and row.num_frames > shape.frames:
            message = f"{name} has {shape.frames:,} frames, num_frames is {row.num_frames:,}."
            most = (shape.frames - 1) // _STEP * _STEP + 1
            found(place.finds(codes.SHORT_VIDEO, message, fix=f"ask for {most:,}, or name a longer video"))

    def _look(self, path: str, column: str, place: Place, found: Found) -> Shape | None:
        """The shape of the file, where it is there and can be told; None, and why is found, otherwise."""
        if ADDRESS.match(path):
            message = f"{column} is an address, which is not fetched here: {path}."
            found(place.finds(codes.UNSEEN_INPUT, message))
            return None
        name = self.reading.written(path)
        try:
            size = Path(path).stat().st_size
            if not Path(path).is_file():
                found(place.finds(codes.MISSING_FILE, f"{column} is {name}, which is no file.", fix="name a file"))
                return None
        except (FileNotFoundError, NotADirectoryError, ValueError):
            found(_missing(path, name, column, place))
            return None
        except OSError as error:
            error.filename = name
            found(place.finds(codes.UNREADABLE_FILE, unreadable(error).message))
            return None
        blob = Blob(name, size, _Opener(str(self.reading.path.parent)))
        may_move = column.endswith("video_path")
        facts, _ = read_image(blob, checks.Wish(hash=False, decode=self.decode, probe=may_move))
        unseen = facts.problem in _NO_PICTURE or not (facts.problem or facts.width)
        if unseen and may_move:
            return self._look_at_video(blob, place, found)
        if not may_move and not facts.problem and kind_of(name) in ("video", "audio"):
            found(place.finds(codes.NOT_AN_IMAGE, f"{name} is not an image."))
            return None
        for finding in checks.check_image(blob, facts, ("", "")):
            message = f"{place}: {finding.message}"
            found(replace(finding, where=place.file, line=place.line, message=message, sample=None))
        return None if facts.problem else Shape(facts.width, facts.height, facts.frames or None)

    def _look_at_video(self, blob: Blob, place: Place, found: Found) -> Shape | None:
        """The same of what has no extension of a video; without the library, of no video."""
        if not is_available():
            if not self.lacks_library:
                message = "sizes and frames of videos are not known: the library av is not installed."
                found(place.finds(codes.UNSEEN_MEDIA, message, fix='pip install "qflux-hub[video]"'))
            self.lacks_library = True
            return None
        try:
            with blob.open() as file:
                facts = look_at_video(file, decode=self.decode)
        except NotAVideoError as error:
            found(place.finds(codes.NOT_A_VIDEO, f"{blob.name} cannot be shown as a video: {error}."))
            return None
        return Shape(facts.width, facts.height, facts.frames)


def _missing(path: str, name: str, column: str, place: Place) -> Finding:
    """What is not there: an error, unless the path is plainly one of another machine."""
    top = Path(path).parts[:2]
    if _DRIVE.search(path) or (name == path and len(top) == 2 and not Path(*top).exists()):
        message = f"{column} is {name}; this machine has no {Path(*top)}."
        fix = "look again on the machine that trains, or write a path from the table's folder"
        return place.finds(codes.MISSING_FILE, message, fix=fix, severity="warning")
    folder = Path(path).parent
    fix = "paths are relative to the folder of the table"
    if Path(name).exists() and not Path(name).is_absolute():
        fix = f"it is there from where you are; {fix}"
    elif folder.is_dir():
        near = get_close_matches(Path(path).name, [one.name for one in folder.iterdir()], 1)
        fix = f"did you mean {near[0]}?" if near else fix
    return place.finds(codes.MISSING_FILE, f"{column} is {name}, which does not exist.", fix=fix)
