"""The rows of a validation file, typed.

A row has a ``caption`` and may have an image, a video or a control of either to start from, sizes in pixels, numbers of
frames and of inference steps, and frames per second; further columns are passed on to the model's pipeline. Paths are
relative to the file; what is empty is absent.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from qflux_hub import codes
from qflux_hub.errors import LayoutError
from qflux_hub.naming import split_extension
from qflux_hub.records import KINDS, Record, Table, read_table
from qflux_hub.report import Finding, Found, tally
from qflux_hub.tree import unreadable

CAPTION = "caption"
MEDIA = {"image_path": "image", "video_path": "video"} | {
    f"control_{kind}_path": f"control_{kind}" for kind in ("image", "video")
}
"""Columns that name a file, and what a row calls it."""
WHOLE = {
    "num_inference_steps": "steps, such as 50",
    "height": "pixels, such as 480",
    "width": "pixels, such as 768",
    "num_frames": "frames, such as 49",
}
RATE = "frame_rate"
KNOWN = (CAPTION, *MEDIA, *WHOLE, RATE)
ADDRESS = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ValidationRow:
    """One thing to generate. What a row does not say is None, and the model's own default holds.

    ``line``: where it stands, from 1; in Parquet and Arrow its number. ``image``, ``video``, ``control_image`` and
    ``control_video``: an absolute path, or an address that begins with ``http``. ``height`` and ``width`` in pixels,
    ``frame_rate`` in frames per second. ``extra``: the further columns that have a value.
    """

    line: int
    caption: str
    image: str | None = None
    video: str | None = None
    control_image: str | None = None
    control_video: str | None = None
    num_inference_steps: int | None = None
    height: int | None = None
    width: int | None = None
    num_frames: int | None = None
    frame_rate: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Validation:
    """A validation file as it was read: its rows in order, and what was found. Values that cannot be used are None.

    ``count``: how many rows there are with those that cannot be read; None when it is the file that cannot.
    """

    source: str
    rows: list[ValidationRow] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    count: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The file as ``--json`` prints it."""
        rows = [asdict(row) for row in self.rows]
        plain = json.loads(json.dumps(rows, default=str))  # tables may hold times and bytes
        return {"source": self.source, "rows": plain}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: the file as it was given, and its line there."""

    file: str
    unit: str
    line: int

    def finds(self, code: codes.Code, message: str, *, fix: str | None = None, **kind: Any) -> Finding:
        """A finding about this row; ``message`` goes on after its place."""
        return code(self.file, f"{self}: {message}", line=self.line, fix=fix, **kind)

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.line}"


@dataclass(frozen=True, slots=True)
class Reading:
    """The file, its rows as they stand there (None when it cannot be read), and as they are understood."""

    path: Path
    table: Table | None
    validation: Validation

    def place(self, line: int) -> Place:
        """The place of the row on that line."""
        return Place(self.validation.source, self.table.unit if self.table else "line", line)

    def written(self, path: str) -> str:
        """A file below the table's folder by its path from there."""
        with suppress(ValueError):
            return Path(path).relative_to(self.path.parent.absolute()).as_posix()
        return path


def read_rows(file: str | os.PathLike[str], *, allow_empty_prompt: bool) -> Reading:
    """Read a validation file, but none of the files that it names. Raises LayoutError when there is none."""
    name, path = os.fspath(file), Path(file)
    kind = split_extension(path.name)[1].removeprefix(".")
    if path.is_dir():
        raise LayoutError(f"{name!r} is a folder.", hint="Give the validation file in it.")
    if not path.exists():
        raise LayoutError(f"There is no file {name!r}.", hint="Check the path; it is relative to here.")
    if kind not in KINDS:
        kinds = ", ".join(f".{kind}" for kind in KINDS)
        raise LayoutError(f"{name!r} is no validation file by its name.", hint=f"It must end in one of {kinds}.")
    validation = Validation(name)
    found = validation.findings.append
    try:
        data = path.read_bytes()
    except OSError as error:
        error.filename = name
        found(unreadable(error))
        return Reading(path, None, validation)
    table = read_table(data, kind, name, KNOWN, found)
    if table is None:
        return Reading(path, None, validation)
    if not table.rows and not tally(validation.findings)["errors"]:
        found(codes.EMPTY_SPLIT(name, f"{name} has no rows.", fix="write one for each image or video to generate"))
    validation.count = table.count
    reading = Reading(path, table, validation)
    _check_columns(table.columns(), reading, found)
    folder = str(path.parent.absolute())
    allowed = allow_empty_prompt or CAPTION not in table.columns()  # said once is enough
    for record in _typed(table.rows) if kind == "csv" else table.rows:
        validation.rows.append(_row(record, folder, reading.place(record.line), found, allow_empty_prompt=allowed))
    return reading


def _check_columns(columns: Sequence[str], reading: Reading, found: Found) -> None:
    name, free = reading.validation.source, [column for column in columns if column not in KNOWN]
    near = {column: meant for column in free if (meant := _meant(column)) and meant not in columns}
    if columns and CAPTION not in columns:
        like = next((column for column, meant in near.items() if meant == CAPTION), None)
        fix = f"rename {like!r} to {CAPTION}" if like else f"add a column {CAPTION}"
        message = f"{name} has no column {CAPTION}; it has {', '.join(columns)}."
        found(codes.MISSING_COLUMN(name, message, line=1, fix=fix))
    elif "prompt" in columns:
        message = f"{name} has both {CAPTION} and prompt: {CAPTION} is used."
        found(codes.DUPLICATE_COLUMN(name, message, line=1, fix="remove prompt", severity="warning"))
    for column, meant in near.items():
        if meant != CAPTION:
            message = f"{name}: the column {column!r} means nothing to finetrainers."
            found(codes.UNKNOWN_COLUMN(name, message, line=1, fix=f"rename it to {meant}", severity="warning"))
    if others := [column for column in free if column not in near and column != "prompt"]:
        message = f"{name}: further columns are passed on to the model's pipeline: {', '.join(others)}."
        found(codes.UNKNOWN_COLUMN(name, message, line=1))


def _meant(column: str) -> str:
    """The known column that an unknown one was probably meant as; "" when there is none."""
    wrong = column.strip().lower()
    by_habit = {"prompt": CAPTION, "text": CAPTION} | {own: path for path, own in MEDIA.items()}
    return by_habit.get(wrong) or next(iter(get_close_matches(wrong, KNOWN, 1, 0.8)), "")


def _typed(rows: Sequence[Record]) -> list[Record]:
    """The rows of a CSV with numbers as such; in further columns, where all that is filled is a number or truth value.

    That is what pandas makes of them, by which finetrainers reads a CSV.
    """
    columns: dict[str, set[str]] = {}
    for row in rows:
        for name, text in row.values.items():
            columns.setdefault(name, set()).add(text)
    typed: dict[str, dict[str, Any]] = {}
    for name, texts in columns.items():
        values = {text: _value(text) for text in texts - {""}}
        if name in (*WHOLE, RATE) or (name not in KNOWN and not any(isinstance(one, str) for one in values.values())):
            typed[name] = values
    return [
        replace(row, values={name: typed.get(name, {}).get(text, text) for name, text in row.values.items()})
        for row in rows
    ]


def _value(text: str) -> Any:
    """The number or truth value that a cell says, else its text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    with suppress(ValueError):
        return int(text) if "_" not in text else text
    with suppress(ValueError):
        return float(text)
    return text


def _row(record: Record, folder: str, place: Place, found: Found, *, allow_empty_prompt: bool) -> ValidationRow:
    """The row with its values typed; those that cannot be used are found, and None."""
    values = {name: value for name, value in record.values.items() if not _is_absent(value)}
    fields: dict[str, Any] = {}
    caption = values.get(CAPTION)
    if isinstance(caption, str):
        fields[CAPTION] = caption
    elif caption is not None:
        found(place.finds(codes.WRONG_VALUE, f"{CAPTION} is {_shown(caption)}, which is no text."))
    elif not allow_empty_prompt:
        said = f"{CAPTION} is empty" if CAPTION in record.values else f"there is no {CAPTION}"
        found(place.finds(codes.EMPTY_PROMPT, f"{said}.", fix="write what is to be generated"))
    for column, own in MEDIA.items():
        path = values.get(column)
        if isinstance(path, str):
            fields[own] = path if ADDRESS.match(path) else os.path.normpath(Path(folder, path.strip()))
        elif path is not None:
            found(place.finds(codes.WRONG_VALUE, f"{column} is {_shown(path)}, which is no path."))
    for column, unit in WHOLE.items():
        if (value := values.get(column)) is not None:
            if _is_number(value) and value >= 1 and value == int(value):
                fields[column] = int(value)
            else:
                message = f"{column} is {_shown(value)}, which is no whole number from 1 on."
                found(place.finds(codes.WRONG_VALUE, message, fix=f"write a number of {unit}"))
    if (rate := values.get(RATE)) is not None:
        if _is_number(rate) and rate > 0:
            fields[RATE] = rate
        else:
            message = f"{RATE} is {_shown(rate)}, which is no number above 0."
            found(place.finds(codes.WRONG_VALUE, message, fix="write frames per second, such as 25"))
    extra = {name: value for name, value in values.items() if name not in KNOWN}
    return ValidationRow(record.line, **({CAPTION: ""} | fields), extra=extra)


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or value != value  # NaN is not itself


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
