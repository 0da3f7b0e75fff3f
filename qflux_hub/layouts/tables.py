"""The table layout: ``<split>.csv`` at the top, one row per sample, paths relative to the folder.

Both dialects of column names are read: ``image|target|target_image|path_target``, ``control|path_control``,
``control_N|path_control_N`` (in the order of N; gaps are allowed), ``mask|control_mask|path_mask``, ``prompt`` and
``id``. Every cell is text; other columns are carried along as text. Rows keep the order of the file. UTF-8; comma,
semicolon or tab. A mask that no column names is looked for as ``<stem>_mask.*`` beside the main control, then beside
the target.

The id of a sample is its ``id`` cell, else its target's stem, else its first control's stem; samples whose stems
clash are called by the path without extension instead.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches

from qflux_hub import codes
from qflux_hub.cells import Reference, split_cells
from qflux_hub.errors import UsageError
from qflux_hub.naming import (
    IMAGE_EXTENSIONS,
    base_of,
    control_stem,
    fold,
    is_image_name,
    is_portable_path,
    is_split_name,
    lacking,
    mask_stem,
    on_disk,
    prefer,
    split_extension,
    split_rank,
    stem,
)
from qflux_hub.report import Finding, Found
from qflux_hub.sample import CONTROLS, MASK, NO_EXTRA, TARGET, Blob, Sample
from qflux_hub.texts import clean_prompt, decode_table
from qflux_hub.tree import Tree, unreadable
from qflux_hub.writing import Output, Placed, bases, extension, numbers

NAME = "csv"
SHAPE = "train.csv  with the columns  image,control,control_1,prompt"

LOSES: Mapping[str, str] = {
    "sample": "it has no control image, or one with an extension that is not read",
    "id": "white space around it is no part of a cell",
    "prompt": "outer white space and line ends of Windows are no part of a prompt",
    "column": "its name has a meaning of its own here; or cells without a value, which become empty ones",
    "file": "some disk cannot hold it, or holds another file by it",
}

_ROLES = {
    "id": ("id",),
    "prompt": ("prompt",),
    "target": ("image", "target", "target_image", "path_target"),
    "mask": ("mask", "control_mask", "path_mask"),
    "control": ("control", "path_control"),
}
_MEANING = {column: role for role, columns in _ROLES.items() for column in columns}
_NUMBERED = re.compile(r"(?:path_)?control_([1-9][0-9]{0,8})")
_BADLY_NUMBERED = re.compile(r"(?:path_)?control_[0-9]+")
_OUTSIDE = re.compile(r"(?P<up>\.\.(/|$)|~[^/]*/)|/|[A-Za-z]:")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_DELIMITERS = (",", ";", "\t")
_RESERVED = frozenset({"id", "prompt", CONTROLS, MASK, TARGET})
_NAMED_SPLITS = ("train", "test")
"""A CSV of these names is meant as a split even when its columns are wrong, so that it is reported, not overlooked."""


Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """One row with its cells in place: where it begins in the file, and what each role says there, stripped.

    ``controls`` has (number, path) of every control column, also where the path is blank.
    """

    line: int
    id: str
    prompt: str
    target: str
    mask: str
    controls: tuple[tuple[int, str], ...]
    extra: Mapping[str, str | None]

    def images(self) -> list[str]:
        """The paths of the controls and the target that are not blank, the controls first."""
        return [path for path in (*(path for _, path in self.controls), self.target) if path]


@dataclass(frozen=True, slots=True)
class _Columns:
    """At which position of a row each role stands. ``controls``: (number, position), main (0) first."""

    count: int
    roles: Mapping[str, int]
    controls: Sequence[tuple[int, int]]
    extra: Mapping[str, int]
    unnamed: Sequence[int]

    def row(self, cells: Sequence[str], line: int) -> Row:
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
        )


def splits(tree: Tree, found: Found) -> tuple[str, ...]:
    """CSV files at the top that have a control column, train first, then in name order."""
    names = []
    for split, (name, *others) in _tables(tree).items():
        try:
            shaped = _is_shaped(tree, name)
        except OSError as error:
            if split in _NAMED_SPLITS:
                names.append(split)  # reading it will find the same
            else:
                found(unreadable(error))
            continue
        if shaped and not is_split_name(split):
            message = f"{name} has the shape of a split, but {split!r} is not a legal split name; it is left aside."
            found(codes.BAD_SPLIT_NAME(name, message, fix="rename it, with letters, digits and underscores"))
        elif shaped or split in _NAMED_SPLITS:
            names.append(split)
        else:
            found(codes.UNUSED_FILE(name, f"{name} has no control column; it is left aside."))
        if others:
            message = f"There are {len(others) + 1} tables of {split!r}: {name} is used, {', '.join(others)} is not."
            found(codes.AMBIGUOUS_FILE(others[0], message, fix="remove the one that is wrong"))
    return tuple(sorted(names, key=split_rank))


def doubt(tree: Tree, splits: Sequence[str]) -> str:  # noqa: ARG001 - the protocol's signature
    """None: a table with control columns is nothing else."""
    return ""


def missing(tree: Tree) -> str:
    """What keeps the tree from this layout."""
    tables = _tables(tree)
    for split, (name, *_) in tables.items():
        with suppress(OSError):
            if _is_shaped(tree, name):
                return f"{split!r} is no legal name of a split: letters, digits and underscores, but not 'all'"
    if tables:
        names = ", ".join(name for names in tables.values() for name in names)
        return f"{names}: no control column (control, path_control, control_1, …)"
    deeper = [folder for folder, names in tree.files.items() if any(f"{split}.csv" in names for split in _NAMED_SPLITS)]
    return "no train.csv or test.csv at the top" + (f"; {deeper[0]}/ has them" if deeper else "")


def _is_shaped(tree: Tree, name: str) -> bool:
    """Has a control column."""
    start = tree.read(name)[:65536].decode("utf-8-sig", "replace")
    return bool(_control_numbers(_split_header(start, {})[1]))


def _tables(tree: Tree) -> dict[str, list[str]]:
    """Split -> the tables of that name, the one to read first: small letters before large ones."""
    tables: dict[str, list[str]] = defaultdict(list)
    for name in sorted(tree.files.get("", ()), key=str.swapcase):
        split, extension = split_extension(name)
        if extension == ".csv":
            tables[split].append(name)
    return tables


def read(tree: Tree, split: str, columns: Mapping[str, str], found: Found) -> Iterator[Sample]:
    """The samples of ``<split>.csv`` in the order of its rows.

    The table's text is held as a whole (it is small beside the images); files are looked up as samples are taken.
    """
    called = _called(columns)
    path = _tables(tree)[split][0]
    try:
        text = decode_table(tree.read(path), path, found)
    except OSError as error:
        found(unreadable(error))
        return
    rows = _rows(text, path, called, found) if text is not None else None
    if rows is None:
        return
    files = Files(tree, path, found, listed={_without_extension(image) for row in rows for image in row.images()})
    usable = 0
    for row, name in zip(rows, ids_of(rows, path, split, found), strict=True):
        try:
            sample = _sample(row, split, name, path, files, found)
        except OSError as error:
            found(unreadable(error, (split, name), row.line))
            continue
        if sample is not None:
            usable += 1
            yield sample
    if not usable:
        why = f"none of its rows ({len(rows):,}) has control images that are there" if rows else "it has no rows"
        found(codes.EMPTY_SPLIT(path, f"Split {split!r} has no sample with a control image: {why}."))


def references(tree: Tree, columns: Mapping[str, str]) -> Iterator[Reference]:
    """The cells of all tables that name images of the tree; tables that cannot be read have none."""

    def ignore(_: Finding) -> None:
        """What is wrong is found by ``read``."""

    called = _called(columns)
    for split in splits(tree, ignore):
        table = _tables(tree)[split][0]
        text = None
        with suppress(OSError):
            text = decode_table(tree.read(table), table, ignore)
        if text is None:
            continue
        files = Files(tree, table, ignore, set())
        header: _Columns | None = None
        try:
            delimiter, _ = _split_header(text, called)
            records = split_cells(text, delimiter)
        except csv.Error:
            continue
        for number, record in enumerate(records):
            cells = [cell.text for cell in record.cells]
            if not any(map(str.strip, cells)):
                continue
            if header is None:
                header = _columns([cell.strip() for cell in cells], table, called, ignore)
                if header is None:
                    break
            elif len(cells) == header.count:
                for position in (at for role, at in header.roles.items() if role not in ("id", "prompt")):
                    path = normal_path(cells[position].strip())
                    meant = files.candidates(path) if path else []
                    if len(meant) == 1:
                        cell, exact = cells[position], meant == [path]
                        yield Reference(table, number, position, record.line, delimiter, cell, meant[0], exact)


def unused(tree: Tree, columns: Mapping[str, str], used: Collection[str], found: Found) -> None:
    """Find the images that no row names, one finding a folder. ``used``: those of the samples that were read."""
    spare = {
        folder: [name for name in names if is_image_name(name) and posixpath.join(folder, name) not in used]
        for folder, names in tree.files.items()
    }
    if not any(spare.values()):
        return
    named = {reference.file for reference in references(tree, columns)}
    bases = {_without_extension(file) for file in named}  # whose masks are not named, but found
    for folder, names in spare.items():
        left = []
        for name in names:
            path = posixpath.join(folder, name)
            if path not in named and posixpath.join(folder, base_of(stem(name))) not in bases:
                left.append(path)
        if left:
            others = {1: " is", 2: " and 1 more image are"}.get(len(left), f" and {len(left) - 1:,} more images are")
            message = f"{left[0]}{others} named by no row."
            found(codes.UNUSED_IMAGE(left[0], message, fix="add rows for them, or leave them: they stay here"))


def _sample(row: Row, split: str, name: str, path: str, files: Files, found: Found) -> Sample | None:
    """The sample of a row, or None when it has to be left out; every reason is found."""
    key = (split, name)
    named = [(number, cell) for number, cell in row.controls if cell]
    if not named:
        message = f"{path}, line {row.line}: no control image is named, so the sample is left out."
        found(codes.MISSING_CONTROL(path, message, line=row.line, sample=key))
        return None
    last, first = named[-1][0], named[0][1]
    blank = [number for number, cell in row.controls if not cell and number < last]
    if 0 in blank:
        message = f"{path}, line {row.line}: {name!r} has no main control; its first is {first}."
        found(codes.MISSING_MAIN_CONTROL(path, message, line=row.line, sample=key))
    if any(blank):
        lacks = ", ".join(f"control_{number}" for number in blank if number)
        message = f"{path}, line {row.line}: {name!r} has control_{last} but not {lacks}."
        found(codes.CONTROL_GAP(path, message, line=row.line, sample=key))
    if is_image_name(row.prompt) and not any(map(str.isspace, row.prompt)):
        message = f"{path}, line {row.line}: the prompt is {row.prompt!r}, which looks like a path."
        found(codes.SHIFTED_CELLS(path, message, line=row.line, fix=_UNSHIFT, sample=key))
    controls = [files.find(cell, row, key) for _, cell in named]
    target = files.find(row.target, row, key) if row.target else None
    mask = files.find(row.mask, row, key) if row.mask else files.mask(controls[0], target, row, key)
    if None in controls or (row.target and target is None) or (row.mask and mask is None):
        return None
    blob = files.tree.blob
    return Sample(
        id=name,
        split=split,
        prompt=row.prompt,
        controls=tuple(blob(control) for control in controls if control),
        mask=blob(mask) if mask else None,
        target=blob(target) if target else None,
        extra=row.extra,
        place=f"{path}:{row.line}",
    )


_UNSHIFT = "compare the row with the header: a cell is missing or too many"


def _rows(text: str, path: str, called: Mapping[str, str], found: Found) -> list[Row] | None:
    """All rows with as many cells as the header; the others are found. None when the header cannot be used."""
    delimiter, _ = _split_header(text, called)
    if delimiter != ",":
        kind = "tabs" if delimiter == "\t" else "semicolons"
        found(codes.OTHER_DELIMITER(path, f"{path} is separated by {kind}."))
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))  # the usual one is 128 KB a cell
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows: list[Row] = []
    header: _Columns | None = None
    dropped: set[int] = set()
    line = 1
    try:
        for cells in reader:
            if not any(map(str.strip, cells)):
                pass
            elif header is None:
                header = _columns([cell.strip() for cell in cells], path, called, found)
                if header is None:
                    return None
            elif len(cells) == header.count:
                rows.append(header.row(cells, line))
                dropped.update(position for position in header.unnamed if cells[position])
            else:
                found(_ragged(path, line, len(cells), header.count))
            line = reader.line_num + 1
    except csv.Error as error:
        found(codes.UNDECODABLE_TABLE(path, f"{path}, line {line}: {error}.", line=line))
        return None
    finally:
        csv.field_size_limit(limit)
    if header is None:
        found(codes.MISSING_COLUMN(path, f"{path} is empty: its first line must name the columns.", line=1))
        return None
    for position in sorted(dropped):
        message = f"{path}: column {position + 1} has no name, so what it holds is left aside."
        found(codes.UNNAMED_COLUMN(path, message, line=1, fix="name it, or remove it"))
    return rows


def _ragged(path: str, line: int, cells: int, expected: int) -> Finding:
    fix = 'put quotes around a prompt that holds a comma: "a cat, then a dog"' if cells > expected else None
    return codes.RAGGED_ROW(path, f"{path}, line {line}: {cells} cells, the header has {expected}.", line=line, fix=fix)


def _split_header(text: str, called: Mapping[str, str]) -> tuple[str, list[str]]:
    """(delimiter, names): the delimiter by which the first line has the most columns that mean something.

    ``called`` maps the columns that the user named to their roles.
    """
    line = text.lstrip("\r\n ").partition("\n")[0].partition("\r")[0]

    def meaning(delimiter: str) -> int:
        return sum(bool(_meaning(name)) or name.strip().strip('"') in called for name in line.split(delimiter))

    delimiter = max(_DELIMITERS, key=meaning)  # the first of equals: a comma
    return delimiter, line.strip().split(delimiter)


def _normal(name: str) -> str:
    return name.strip().strip('"').strip().casefold()


def _control_numbers(names: Sequence[str]) -> list[tuple[int, int]]:
    """(number, position) of the control columns, main (0) first, then by number."""
    roles = enumerate(map(_meaning, names))
    return sorted((int(role[8:] or 0), position) for position, role in roles if role.startswith("control"))


def _called(columns: Mapping[str, str]) -> dict[str, str]:
    """Column -> role, from role -> column. Raises UsageError for unknown roles and columns of two roles."""
    called: dict[str, str] = {}
    for role, column in columns.items():
        meaning = _meaning(role)
        if not meaning:
            roles = "id, prompt, control, control_1, control_2, …, mask, target"
            raise UsageError(f"There is no role {role!r}.", hint=f"--column ROLE=COLUMN, with a role of: {roles}.")
        if called.setdefault(column, meaning) != meaning:
            raise UsageError(f"--column names {column!r} for two roles, {called[column]} and {meaning}.")
    return called


def _columns(names: list[str], path: str, called: Mapping[str, str], found: Found) -> _Columns | None:
    """What each column means; None, and every problem found, when the table cannot be read by them.

    A role that the user gave to another column (``called``) is taken from the one that usually has it.
    """
    problems: list[Finding] = []
    for column in called.keys() - set(names):
        message = f"{path} has no column {column!r}, named by --column; it has {', '.join(names)}."
        problems.append(codes.MISSING_COLUMN(path, message, line=1))
    meant = [called.get(name) or ("" if _meaning(name) in called.values() else _meaning(name)) for name in names]
    roles: dict[str, int] = {}
    for position, role in enumerate(meant):
        if role in roles:
            message = f"{path}: the columns {names[roles[role]]!r} and {names[position]!r} both mean {role}."
            problems.append(codes.DUPLICATE_COLUMN(path, message, line=1, fix="rename or remove one of them"))
        elif role:
            roles[role] = position
    controls = _control_numbers(meant)
    if "prompt" not in roles or not controls:
        lacks = " and ".join([*(["prompt"] if "prompt" not in roles else []), *(["control"] if not controls else [])])
        message = f"{path} has no column {lacks}; it has {', '.join(names)}."
        problems.append(codes.MISSING_COLUMN(path, message, line=1, fix="rename the column, or use --column ROLE=NAME"))
    extra: dict[str, int] = {}
    for position, name in enumerate(names):
        if not name or meant[position]:
            continue
        if name in extra:
            problems.append(codes.DUPLICATE_COLUMN(path, f"{path}: two columns are called {name!r}.", line=1))
        if name in _RESERVED:
            message = f"{path}: the column {name!r} would clash with the dataset's own."
            problems.append(codes.RESERVED_COLUMN(path, message, line=1, fix="rename it"))
        extra[name] = position
    for problem in problems or _oddities(names, [number for number, _ in controls], extra, path):
        found(problem)
    unnamed = [position for position, name in enumerate(names) if not name]
    return None if problems else _Columns(len(names), roles, controls, extra, unnamed)


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
        if _BADLY_NUMBERED.fullmatch(_normal(name)) and not _meaning(name):
            message = f"{path}: the column {name!r} is no control: they are numbered control_1, control_2, …"
            yield codes.BAD_CONTROL_NUMBER(path, message, line=1, fix="rename it with its right number")
    if 0 not in numbers:
        message = f"{path} has no column for the main control; the first control is control_{numbers[0]}."
        yield codes.MISSING_MAIN_CONTROL(path, message, line=1)
    if lacks := lacking(numbers):
        yield codes.CONTROL_GAP(path, f"{path} has a column control_{numbers[-1]} but not {lacks}.", line=1)


def _meaning(name: str) -> str:
    """The role of a column by its name: "id", "prompt", "control", "control_2", …; "" when it has none."""
    name = _normal(name)
    numbered = _NUMBERED.fullmatch(name)
    return f"control_{int(numbered[1])}" if numbered else _MEANING.get(name, "")


def normal_path(cell: str) -> str:
    """A cell as a path with `/`, `.` and `..` resolved; leading `..` stay, so that they can be refused."""
    return posixpath.normpath(cell.replace("\\", "/")) if cell else ""


def _split(path: str) -> tuple[str, str]:
    """(folder, name) of a normal path, three times as fast as `posixpath` does it; the folder of `/a.png` is `/`."""
    folder, slash, name = path.rpartition("/")
    return folder or slash, name


def _without_extension(path: str) -> str:
    return split_extension(path)[0] if is_image_name(path) else path


def ids_of(rows: Sequence[Row], path: str, split: str, found: Found) -> list[str]:
    """One id per row: its cell, else the stem of its target or first control, by its path where stems clash."""
    sources = [row.id or row.target or next(iter(row.images()), "") for row in rows]
    stems = [source if row.id else stem(source) for row, source in zip(rows, sources, strict=True)]
    clashing = {name for name, count in Counter(stems).items() if count > 1}
    ids = [
        _without_extension(source) if name in clashing and not row.id else name
        for row, source, name in zip(rows, sources, stems, strict=True)
    ]
    first: dict[str, int] = {}
    for number, (row, name) in enumerate(zip(rows, ids, strict=True)):
        if not name:
            ids[number] = f"line {row.line}"
        elif name in first:
            message = f"{path}, line {row.line}: the id {name!r} stands in line {first[name]} already."
            fix = "remove one row" if row.id else "add an id column that tells them apart"
            found(codes.DUPLICATE_ID(path, message, line=row.line, fix=fix, sample=(split, name)))
        else:
            first[name] = row.line
    return ids


@dataclass(slots=True)
class Files:
    """Looks up the files that a table names, in the tree's listing, and finds what is wrong with them.

    ``listed`` has every path that some row names, without its extension, so that such a file is never taken for another
    row's mask.
    """

    tree: Tree
    table: str
    found: Found
    listed: set[str]
    _by_stem: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    _folded: dict[str, str] = field(default_factory=dict)

    def find(self, path: str, row: Row, key: Key) -> str | None:
        """The path of the image that a cell means, or None when there is none (and why is found)."""
        place = f"{self.table}, line {row.line}"
        candidates = self.candidates(path)
        if candidates == [path]:
            return path
        if len(candidates) == 1:
            right = candidates[0]
            message = f"{place}: {path} is {right} on disk, which is taken."
            self.found(codes.CORRECTED_EXTENSION(self.table, message, line=row.line, fix=f"write {right}", sample=key))
            return right
        if way_out := _OUTSIDE.match(path):  # asked last: the listing has no file outside, but may have `a:b.png`
            why = "leads out of" if way_out["up"] else "is absolute; paths are relative to"
            message = f"{place}: {path} {why} the dataset's folder."
            advice = "copy the file in, and write its path from there"
            self.found(codes.OUTSIDE_ROOT(self.table, message, line=row.line, fix=advice, sample=key))
            return None
        if not candidates and path.count(" ") >= 2 and not is_image_name(path):
            message = f"{place}: {path[:60]!r} stands where a path should, but reads like a prompt."
            self.found(
                codes.SHIFTED_CELLS(self.table, message, line=row.line, fix=_UNSHIFT, sample=key, severity="error")
            )
            return None
        message, fix = self._why_missing(path, candidates)
        self.found(codes.MISSING_FILE(self.table, f"{place}: {message}", line=row.line, fix=fix, sample=key))
        return None

    def candidates(self, path: str) -> list[str]:
        """The image of that very name, else those that differ by their extension."""
        folder, name = _split(path)
        base, extension = split_extension(name)
        names = self._images(folder).get(base if extension in IMAGE_EXTENSIONS else name, ())
        return [path] if name in names else [posixpath.join(folder, other) for other in names]

    def mask(self, control: str | None, target: str | None, row: Row, key: Key) -> str | None:
        """The mask found by its name beside the main control, else beside the target."""
        masks = []
        for image in filter(None, (control, target)):
            folder, name = _split(image)
            beside = self._images(folder).get(mask_stem(split_extension(name)[0]))
            for mask in prefer(beside) if beside else ():
                path = posixpath.join(folder, mask)
                if _without_extension(path) in self.listed:
                    message = f"{path} is not the mask of {key[1]!r}, because {self.table} names it as another image."
                    self.found(codes.SHADOWED_NAME(path, message, line=row.line, sample=key))
                elif path not in masks:
                    masks.append(path)
        if len(masks) > 1:
            message = f"{key[1]!r} has several masks: {masks[0]} is used, {', '.join(masks[1:])} is not."
            self.found(codes.MASK_TWICE(masks[1], message, sample=key))
        return masks[0] if masks else None

    def _images(self, folder: str) -> dict[str, list[str]]:
        """Stem -> names of the images of a folder."""
        images = self._by_stem.get(folder)
        if images is None:
            images = self._by_stem[folder] = {}
            for name in self.tree.files.get(folder, ()):
                base, extension = split_extension(name)
                if extension in IMAGE_EXTENSIONS:
                    images.setdefault(base, []).append(name)
        return images

    def _why_missing(self, path: str, candidates: Sequence[str]) -> tuple[str, str | None]:
        folder, name = _split(path)
        if candidates:
            names = " and ".join(other.removeprefix(f"{folder}/") for other in candidates)
            return f"there is no {path}, but {names}; which one is meant?", "name one of them"
        if path == "." or path in self.tree.files or any(other.startswith(path + "/") for other in self.tree.files):
            return f"{path} is a folder.", "name a file"
        if name in self.tree.files.get(folder, ()):
            return f"{path} has no image's extension.", None
        if _ADDRESS.match(path):
            return f"{path} is an address.", "download the file into the dataset's folder"
        near = self._near(path)
        hint = f" Did you mean {near}?" if near else ""
        if folder and folder not in self.tree.files:
            return f"there is no folder {folder}/ for {path}.{hint}", "paths are relative to the dataset's folder"
        return f"there is no file {path}, nor with another image extension.{hint}", None

    def _near(self, path: str) -> str | None:
        """The image whose path differs from ``path`` by case, Unicode form, separators or extension only."""
        if not self._folded:
            for folder in sorted(self.tree.files, reverse=True):
                for other, names in self._images(folder).items():
                    self._folded[fold(posixpath.join(folder, other))] = posixpath.join(folder, names[0])
        return self._folded.get(fold(_without_extension(path)))


# --- writing ----------------------------------------------------------------------------------------------------


def place(splits: Mapping[str, Sequence[Sample]]) -> dict[str, list[Placed]]:
    """Every file where it lay, when that is a path that any disk can hold; else ``<split>/control/<id>.png`` and so on.

    A file that several samples share is written once.
    """
    fitting = {split: [sample for sample in samples if _fits(sample)] for split, samples in splits.items()}
    room = Room()
    paths = {split: [recorded(sample, room) for sample in samples] for split, samples in fitting.items()}
    for split, samples in fitting.items():
        canonical = bases(samples, longest="_control_999999999.jpeg")
        named = paths[split]
        listed = {
            _without_extension(path)
            for sample, own in zip(samples, named, strict=True)
            for path, (role, _) in zip(own or (), sample.media(), strict=False)
            if role != MASK
        }
        for number, sample in enumerate(samples):
            own = named[number]
            if own is None or (sample.mask is None and _would_find_mask(sample, own, room, listed)):
                named[number] = room.fresh(split, sample, canonical[number])
    return {split: list(_placed(samples, paths[split])) for split, samples in fitting.items()}


def _fits(sample: Sample) -> bool:
    return bool(sample.controls) and all(extension(blob).lower() in IMAGE_EXTENSIONS for _, blob in sample.media())


@dataclass(slots=True)
class Room:
    """Which files have which paths. Keys are paths with case and Unicode form set aside, as some disks do."""

    files: dict[str, tuple[str, object]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def takes(self, path: str, blob: Blob) -> bool:
        """Whether this file can lie there: nothing else does, nor is it a folder, nor below a file."""
        key = on_disk(path)
        above = key.split("/")[:-1]
        other = self.files.get(key)
        if other is not None:
            return other == (path, _content(blob))
        return key not in self.folders and not any("/".join(above[:n]) in self.files for n in range(1, len(above) + 1))

    def put(self, path: str, blob: Blob) -> None:
        """Let it lie there."""
        key = on_disk(path)
        self.files[key] = (path, _content(blob))
        while "/" in key:
            key = key.rpartition("/")[0]
            self.folders.add(key)

    def has_image(self, path: str) -> bool:
        """Whether an image lies at this path, whatever its extension."""
        return any(on_disk(path + ending) in self.files for ending in IMAGE_EXTENSIONS)

    def fresh(self, split: str, sample: Sample, base: str) -> tuple[str, ...]:
        """Paths that nothing else has, made of ``base``; nor has another file the name of the sample's mask."""
        attempt = 1
        while True:
            stem, at = base if attempt == 1 else f"{base}-{attempt}", iter(numbers(sample))
            paths = [
                f"{split}/{'target' if role == TARGET else 'control'}/"
                + (mask_stem(stem) if role == MASK else stem if role == TARGET else control_stem(stem, next(at)))
                for role, _ in sample.media()
            ]
            masks = (f"{split}/{folder}/{mask_stem(stem)}" for folder in ("control", "target"))
            if not any(map(self.has_image, (*paths, *masks))):
                break
            attempt += 1
        named = tuple(path + extension(blob) for path, (_, blob) in zip(paths, sample.media(), strict=True))
        for path, (_, blob) in zip(named, sample.media(), strict=True):
            self.put(path, blob)
        return named


def _content(blob: Blob) -> object:
    """What two blobs share that are the same file."""
    return blob.sha256 or (blob.name, blob.size, blob.opener)


def recorded(sample: Sample, room: Room, below: str = "") -> tuple[str, ...] | None:
    """The paths that a sample's files had; None when one of them cannot have it, or does not begin with ``below``."""
    for _, blob in sample.media():
        name = blob.name
        if not (
            name.startswith(below)
            and is_portable_path(name)
            and name == normal_path(name.strip())
            and room.takes(name, blob)
        ):
            return None
        room.put(name, blob)
    return tuple(blob.name for _, blob in sample.media())


def _would_find_mask(sample: Sample, paths: Sequence[str], room: Room, listed: Collection[str]) -> bool:
    """Whether the mask of another sample would be taken for one of this sample, which has none."""
    images = zip(paths, sample.media(), strict=True)
    first = {role: path for path, (role, _) in reversed(list(images))}
    masks = (mask_stem(_without_extension(path)) for path in first.values())
    return any(room.has_image(mask) and mask not in listed for mask in masks)


def _placed(samples: Sequence[Sample], paths: Sequence[tuple[str, ...] | None]) -> Iterator[Placed]:
    columns = _extra_columns(samples)
    used: set[str] = set()
    for sample, own in zip(samples, paths, strict=True):
        name = base = without_nul(sample.id).strip() or "x"
        attempt = 1
        while name in used:
            attempt += 1
            name = f"{base}-{attempt}"
        used.add(name)
        prompt = clean_prompt(without_nul(sample.prompt).strip())
        extra = {column: without_nul(sample.extra.get(column) or "") for column in columns}
        yield Placed(sample, name, prompt, extra, own or ())


def _extra_columns(samples: Sequence[Sample]) -> list[str]:
    """The further columns of a split that can stand in a table beside its own, in the order they come in."""
    found = dict.fromkeys(column for sample in samples for column in sample.extra)
    plain = (column for column in found if column.strip() and column == column.strip() and not _SIGNS.search(column))
    return [column for column in plain if not _meaning(column) and column not in _RESERVED]


_SIGNS = re.compile('[\0\r\n\t",;\ufeff]')


def without_nul(text: str) -> str:
    """The text as a table can hold it."""
    return text.replace("\0", "")


def outputs(placed: Mapping[str, Sequence[Placed]]) -> Iterator[Output]:
    """All images, each once, then the tables."""
    written: set[str] = set()
    for samples in placed.values():
        for one in samples:
            for path, blob in one.files():
                if path not in written:
                    written.add(path)
                    yield Output(path, blob)
    by_stem: dict[str, set[str]] = defaultdict(set)
    for path in written:
        by_stem[_without_extension(path)].add(path)
    for split, samples in placed.items():
        yield Output.of(f"{split}.csv", "".join(_lines(samples, by_stem)).encode())


def _lines(samples: Sequence[Placed], by_stem: Mapping[str, Collection[str]]) -> Iterator[str]:
    """The lines of a table. Columns that no row needs are left out: id and mask where the files' names say the same."""
    controls = max((len(one.of(CONTROLS)) for one in samples), default=1)
    rows = [
        Row(0, "", "", next(iter(one.of(TARGET)), ""), "", tuple(enumerate(one.of(CONTROLS))), NO_EXTRA)
        for one in samples
    ]
    ids = ids_of(rows, "", "", lambda _: None) != [one.id for one in samples]
    targets = any(one.of(TARGET) for one in samples)
    masks = any(one.of(MASK) and not _finds_its_mask(one, by_stem) for one in samples)
    extra = list(samples[0].extra) if samples else []

    def cells(one: Placed) -> Iterator[str]:
        if ids:
            yield one.id
        if targets:
            yield next(iter(one.of(TARGET)), "")
        own = one.of(CONTROLS)
        yield from (own[number] if number < len(own) else "" for number in range(controls))
        if masks:
            yield next(iter(one.of(MASK)), "")
        yield one.prompt
        yield from (one.extra[column] or "" for column in extra)

    header = [
        *(["id"] * ids),
        *(["image"] * targets),
        *(f"control_{number}" if number else "control" for number in range(controls)),
    ]
    yield _line([*header, *(["mask"] * masks), "prompt", *extra])
    yield from (_line(cells(one)) for one in samples)


def _finds_its_mask(one: Placed, by_stem: Mapping[str, Collection[str]]) -> bool:
    """Whether a reader finds the mask by its name, as ``Files.mask`` does."""
    for path in (one.of(CONTROLS)[0], *one.of(TARGET)):
        found = by_stem.get(mask_stem(_without_extension(path)), ())
        if found:
            return set(found) == set(one.of(MASK))
    return False


def _line(cells: Iterable[str]) -> str:
    """Cells with quotes around those that need them; for leading white space, which would be skipped, too."""
    return (
        ",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' if _QUOTED.search(cell) else cell for cell in cells) + "\n"
    )


_QUOTED = re.compile(r'[",;\t\r\n]|^\s|\s$')
