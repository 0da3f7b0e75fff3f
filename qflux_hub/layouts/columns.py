"""What the columns of a CSV split mean: two dialects of names, and what is wrong or odd about a header."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from qflux_hub import codes
from qflux_hub.errors import UsageError
from qflux_hub.layouts.roles import captions, usual
from qflux_hub.layouts.rows import Row, normal_path
from qflux_hub.naming import lacking
from qflux_hub.report import Finding, Found
from qflux_hub.sample import CAPTIONS, CONTROLS, MASK, NO_EXTRA, TARGET
from qflux_hub.texts import clean_prompt

_ROLES = {
    "id": ("id",),
    "prompt": ("prompt",),
    "captions": (CAPTIONS,),
    "target": ("image", "target", "target_image", "path_target"),
    "mask": ("mask", "control_mask", "path_mask"),
    "control": ("control", "path_control"),
}
_MEANING = {column: role for role, columns in _ROLES.items() for column in columns}
_NUMBERED = re.compile(r"(?:path_)?control_([1-9][0-9]{0,8})")
_BADLY_NUMBERED = re.compile(r"(?:path_)?control_[0-9]+")
_DELIMITERS = (",", ";", "\t")
RESERVED = frozenset({"id", "prompt", CONTROLS, MASK, TARGET})


@dataclass(frozen=True, slots=True)
class Columns:
    """At which position of a row each role stands. ``controls``: (number, position), main (0) first."""

    count: int
    roles: Mapping[str, int]
    controls: Sequence[tuple[int, int]]
    extra: Mapping[str, int]
    unnamed: Sequence[int]

    def row(self, cells: Sequence[str], line: int) -> Row:
        """The row of these cells, as many as there are columns."""

        def cell(role: str) -> str:
            return cells[self.roles[role]].strip() if role in self.roles else ""

        return Row(
            line=line,
            id=cell("id"),
            prompt=clean_prompt(cell("prompt")),
            target=normal_path(cell("target")),
            mask=normal_path(cell("mask")),
            controls=tuple([(number, normal_path(cells[position].strip())) for number, position in self.controls]),
            extra={name: cells[position] for name, position in self.extra.items()} if self.extra else NO_EXTRA,
            captions=captions(cells[self.roles["captions"]]) if "captions" in self.roles else (),
        )


def split_header(text: str, called: Mapping[str, str]) -> tuple[str, list[str]]:
    """(delimiter, names): the delimiter by which the first line has the most columns that mean something.

    ``called`` maps the columns that the user named to their roles.
    """
    line = text.lstrip("\r\n ").partition("\n")[0].partition("\r")[0]

    def known(delimiter: str) -> int:
        return sum(bool(meaning(name)) or name.strip().strip('"') in called for name in line.split(delimiter))

    delimiter = max(_DELIMITERS, key=known)  # the first of equals: a comma
    return delimiter, line.strip().split(delimiter)


def _normal(name: str) -> str:
    return name.strip().strip('"').strip().casefold()


def control_numbers(names: Sequence[str]) -> list[tuple[int, int]]:
    """(number, position) of the control columns, main (0) first, then by number."""
    roles = enumerate(map(meaning, names))
    return sorted((int(role[8:] or 0), position) for position, role in roles if role.startswith("control"))


def called_roles(columns: Mapping[str, str]) -> dict[str, str]:
    """Column -> role, from role -> column. Raises UsageError for unknown roles and columns of two roles."""
    called: dict[str, str] = {}
    for role, column in columns.items():
        meant = meaning(role)
        if not meant:
            roles = "id, prompt, control, control_1, control_2, …, mask, target"
            raise UsageError(f"There is no role {role!r}.", hint=f"--column ROLE=COLUMN, with a role of: {roles}.")
        if called.setdefault(column, meant) != meant:
            raise UsageError(f"--column names {column!r} for two roles, {called[column]} and {meant}.")
    return called


def columns_of(names: list[str], path: str, called: Mapping[str, str], found: Found) -> Columns | None:
    """What each column means; None, and every problem found, when the table cannot be read by them.

    A role that the user gave to another column (``called``) is taken from the one that usually has it.
    """
    problems: list[Finding] = []
    for column in called.keys() - set(names):
        message = f"{path} has no column {column!r}, named by --column; it has {', '.join(names)}."
        problems.append(codes.MISSING_COLUMN(path, message, line=1))
    meant = [called.get(name) or ("" if meaning(name) in called.values() else meaning(name)) for name in names]
    roles: dict[str, int] = {}
    for position, role in enumerate(meant):
        if role in roles:
            message = f"{path}: the columns {names[roles[role]]!r} and {names[position]!r} both mean {role}."
            problems.append(codes.DUPLICATE_COLUMN(path, message, line=1, fix="rename or remove one of them"))
        elif role:
            roles[role] = position
    controls = control_numbers(meant)
    if "prompt" not in roles or not controls:
        lacks = [*(["prompt"] if "prompt" not in roles else []), *(["control"] if not controls else [])]
        message = f"{path} has no column {' and '.join(lacks)}; it has {', '.join(names)}."
        likely = {role: usual(role, names) for role in lacks}
        given = " ".join(f"--column {role}={name or 'NAME'}" for role, name in likely.items())
        problems.append(
            codes.MISSING_COLUMN(path, message, line=1, fix=f"rename the column, or say which it is: {given}")
        )
    extra: dict[str, int] = {}
    for position, name in enumerate(names):
        if not name or meant[position]:
            continue
        if name in extra:
            problems.append(codes.DUPLICATE_COLUMN(path, f"{path}: two columns are called {name!r}.", line=1))
        if name in RESERVED:
            message = f"{path}: the column {name!r} would clash with the dataset's own."
            problems.append(codes.RESERVED_COLUMN(path, message, line=1, fix="rename it"))
        extra[name] = position
    for problem in problems or _oddities(names, [number for number, _ in controls], extra, path):
        found(problem)
    unnamed = [position for position, name in enumerate(names) if not name]
    return None if problems else Columns(len(names), roles, controls, extra, unnamed)


def _oddities(names: Sequence[str], numbers: Sequence[int], extra: Collection[str], path: str) -> Iterator[Finding]:
    """What is odd about the columns; they are used as they are."""
    extra = [name for name in extra if not _BADLY_NUMBERED.fullmatch(_normal(name))]
    if extra:
        message = f"{path} has columns that mean nothing to qflux: {', '.join(extra)}. They are carried along as text."
        near = {name: get_close_matches(_normal(name), _MEANING, 1, 0.75) for name in extra}
        like = next((f"{_MEANING[roles[0]]}={name}" for name, roles in near.items() if roles), "")
        fix = f"--column {like}, if that is what it holds" if like else None
        yield codes.UNKNOWN_COLUMN(path, message, line=1, fix=fix)
    for name in names:
        if _BADLY_NUMBERED.fullmatch(_normal(name)) and not meaning(name):
            message = f"{path}: the column {name!r} is no control: they are numbered control_1, control_2, …"
            yield codes.BAD_CONTROL_NUMBER(path, message, line=1, fix="rename it with its right number")
    if 0 not in numbers:
        message = f"{path} has no column for the main control; the first control is control_{numbers[0]}."
        yield codes.MISSING_MAIN_CONTROL(path, message, line=1)
    if lacks := lacking(numbers):
        yield codes.CONTROL_GAP(path, f"{path} has a column control_{numbers[-1]} but not {lacks}.", line=1)


def meaning(name: str) -> str:
    """The role of a column by its name: "id", "prompt", "control", "control_2", …; "" when it has none."""
    name = _normal(name)
    numbered = _NUMBERED.fullmatch(name)
    return f"control_{int(numbered[1])}" if numbered else _MEANING.get(name, "")
