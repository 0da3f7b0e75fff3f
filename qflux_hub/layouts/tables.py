"""The table layout: ``<split>.csv`` at the top, one row per sample, paths relative to the folder.

Both dialects of column names are read: ``image|target|target_image|path_target``, ``control|path_control``,
``control_N|path_control_N`` (in the order of N; gaps are allowed), ``mask|control_mask|path_mask``, ``prompt`` and
``id``. Every cell is text; ``captions`` holds one, or several as a JSON list; other columns are carried along as text.
Rows keep the order of the file. UTF-8; comma, semicolon or tab. A mask that no column names is looked for as
``<stem>_mask.*`` beside the main control, then beside the target.

The id of a sample is its ``id`` cell, else its target's stem, else its first control's stem; samples whose stems
clash are called by the path without extension instead.
"""

from __future__ import annotations

import csv
import json
import posixpath
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from qflux_hub import codes
from qflux_hub.cells import Reference, split_cells
from qflux_hub.layouts.columns import (
    RESERVED,
    Columns,
    called_roles,
    columns_of,
    control_numbers,
    meaning,
    split_header,
)
from qflux_hub.layouts.room import Room, recorded
from qflux_hub.layouts.rows import UNSHIFT, Files, Row, normal_path, with_ids, without_extension
from qflux_hub.naming import (
    base_of,
    is_media_name,
    is_split_name,
    mask_stem,
    split_extension,
    split_rank,
    stem,
)
from qflux_hub.placing import Fitting, Placed, Plan, Stems, has_media
from qflux_hub.report import Finding, Found
from qflux_hub.sample import CAPTIONS, CONTROLS, MASK, TARGET, Sample
from qflux_hub.spill import Spilled, Table
from qflux_hub.texts import clean_prompt, decode_table, lines
from qflux_hub.tree import Tree, unreadable
from qflux_hub.writing import Output

NAME = "csv"
SHAPE = "train.csv  with the columns  image,control,control_1,prompt"

LOSES: Mapping[str, str] = {
    "sample": "it has no control, or a file with an extension that is not read",
    "id": "white space around it is no part of a cell",
    "prompt": "outer white space and line ends of Windows are no part of a prompt",
    "other": "cells name only files that have a role",
    "column": "its name has a meaning of its own here; or cells without a value, which become empty ones",
    "file": "some disk cannot hold it, or holds another file by it",
}

_NAMED_SPLITS = ("train", "test")
"""A CSV of these names is meant as a split even when its columns are wrong, so that it is reported, not overlooked."""


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


def evidence(tree: Tree, splits: Sequence[str]) -> Sequence[str]:
    """The tables of the splits."""
    return [_tables(tree)[split][0] for split in splits]


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
    return bool(control_numbers(split_header(start, {})[1]))


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

    The table's text is held as a whole until it is taken apart; files are looked up as samples are taken.
    """
    called = called_roles(columns)
    path = _tables(tree)[split][0]
    try:
        text = decode_table(tree.read(path), path, found)
    except OSError as error:
        found(unreadable(error))
        return
    rows = _rows(text, path, called, found) if text is not None else None
    if rows is None:
        return
    del text
    files = Files(tree, path, found, rows)
    usable = 0
    for row, name in with_ids(rows, path, split, found, is_sample=_has_control):
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

    called = called_roles(columns)
    for split in splits(tree, ignore):
        table = _tables(tree)[split][0]
        text = None
        with suppress(OSError):
            text = decode_table(tree.read(table), table, ignore)
        if text is None:
            continue
        files = Files(tree, table, ignore, ())
        header: Columns | None = None
        try:
            delimiter, _ = split_header(text, called)
            records = split_cells(text, delimiter)
        except csv.Error:
            continue
        for number, record in enumerate(records):
            cells = [cell.text for cell in record.cells]
            if not any(map(str.strip, cells)):
                continue
            if header is None:
                header = columns_of([cell.strip() for cell in cells], table, called, ignore)
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
        folder: [name for name in names if is_media_name(name) and posixpath.join(folder, name) not in used]
        for folder, names in tree.files.items()
    }
    if not any(spare.values()):
        return
    named = {reference.file for reference in references(tree, columns)}
    bases = {without_extension(file) for file in named}  # whose masks are not named, but found
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
    if is_media_name(row.prompt) and not any(map(str.isspace, row.prompt)):
        message = f"{path}, line {row.line}: the prompt is {row.prompt!r}, which looks like a path."
        found(codes.SHIFTED_CELLS(path, message, line=row.line, fix=UNSHIFT, sample=key))
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
        captions=row.captions,
        place=f"{path}:{row.line}",
    )


def _has_control(row: Row) -> bool:
    return any(cell for _, cell in row.controls)


def _rows(text: str, path: str, called: Mapping[str, str], found: Found) -> Sequence[Row] | None:
    """All rows with as many cells as the header; the others are found. None when the header cannot be used."""
    delimiter, _ = split_header(text, called)
    if delimiter != ",":
        kind = "tabs" if delimiter == "\t" else "semicolons"
        found(codes.OTHER_DELIMITER(path, f"{path} is separated by {kind}."))
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))  # the usual one is 128 KB a cell
    reader = csv.reader(lines(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows = Spilled[Row]()
    header: Columns | None = None
    dropped: set[int] = set()
    line = 1
    try:
        for cells in reader:
            if not any(map(str.strip, cells)):
                pass
            elif header is None:
                header = columns_of([cell.strip() for cell in cells], path, called, found)
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


def place(splits: Mapping[str, Sequence[Sample]]) -> Iterator[Placed]:
    """Every file where it lay, when that is a path that any disk can hold; else ``<split>/control/<id>.png`` and so on.

    A file that several samples share is written once.
    """
    room = Room()
    fitting = {split: Fitting(samples, _fits) for split, samples in splits.items()}
    kept = {split: Spilled(recorded(one, room) for _, one in fits) for split, fits in fitting.items()}
    for split, fits in fitting.items():
        listed, ids = Table(), Table()
        for (_, sample), own in zip(fits, kept[split], strict=True):
            for path, (role, _) in zip(own or (), sample.media(), strict=False):
                if path and role != MASK:
                    listed.claim(without_extension(path))
        columns = _extra_columns(sample for _, sample in fits)
        stems = Stems(fits)
        for (number, sample, base), own in zip(stems, kept[split], strict=True):
            if own is None or (sample.mask is None and _would_find_mask(sample, own, room, listed)):
                own = room.fresh(split, sample, base)
            yield _placed(number, sample, own, columns, ids)


def _fits(sample: Sample) -> bool:
    return bool(sample.controls) and has_media(sample)


def _would_find_mask(sample: Sample, paths: Sequence[str], room: Room, listed: Table) -> bool:
    """Whether the mask of another sample would be taken for one of this sample, which has none."""
    images = zip(paths, sample.media(), strict=True)
    first = {role: path for path, (role, _) in reversed(list(images))}
    masks = (mask_stem(without_extension(path)) for path in first.values() if path)
    return any(room.has_file(mask) and mask not in listed for mask in masks)


def _placed(number: int, sample: Sample, paths: tuple[str, ...], columns: Sequence[str], ids: Table) -> Placed:
    name = base = without_nul(sample.id).strip() or "x"
    attempt = 1
    while not ids.claim(name):
        attempt += 1
        name = f"{base}-{attempt}"
    prompt = clean_prompt(without_nul(sample.prompt).strip())
    extra = {column: without_nul(sample.extra.get(column) or "") for column in columns}
    return Placed(number, sample, name, prompt, extra, paths, sample.captions)


def _extra_columns(samples: Iterable[Sample]) -> list[str]:
    """The further columns of a split that can stand in a table beside its own, in the order they come in."""
    found = dict.fromkeys(column for sample in samples for column in sample.extra)
    plain = (column for column in found if column.strip() and column == column.strip() and not _SIGNS.search(column))
    return [column for column in plain if not meaning(column) and column not in RESERVED]


_SIGNS = re.compile('[\0\r\n\t",;\ufeff]')


def without_nul(text: str) -> str:
    """The text as a table can hold it."""
    return text.replace("\0", "")


def outputs(placed: Mapping[str, Plan]) -> Iterator[Output]:
    """All images, each once, then the tables."""
    written, masks = Table(), Table()
    for plan in placed.values():
        for path, blob in (file for one in plan for file in one.files()):
            if written.claim(path):
                base = without_extension(path)
                if base.endswith(mask_stem("")):
                    masks.put(base, (*(masks.get(base) or ()), path))
                yield Output(path, blob)
    for split, plan in placed.items():
        yield Output.of_lines(f"{split}.csv", partial(_lines, plan, masks))


def _lines(plan: Plan, masks: Table) -> Iterator[bytes]:
    """The lines of a table. Columns that no row needs are left out: id and mask where the files' names say the same."""
    controls, columns = 1, {CAPTIONS} if plan.captions else set[str]()
    for one in plan:
        controls = max(controls, len(one.of(CONTROLS)))
        columns.update(["image"] if one.of(TARGET) else [])
        columns.update(["mask"] if one.of(MASK) and not _finds_its_mask(one, masks) else [])
    columns.update([] if _are_called_by_files(plan) else ["id"])

    def cells(one: Placed) -> Iterator[str]:
        if "id" in columns:
            yield one.id
        if "image" in columns:
            yield next(iter(one.of(TARGET)), "")
        own = one.of(CONTROLS)
        yield from (own[number] if number < len(own) else "" for number in range(controls))
        if "mask" in columns:
            yield next(iter(one.of(MASK)), "")
        yield one.prompt
        if CAPTIONS in columns:
            yield json.dumps(one.captions, ensure_ascii=False) if one.captions else ""
        yield from (one.extra[column] or "" for column in plan.extra)

    first = [name for name in ("id", "image") if name in columns]
    numbered = [f"control_{number}" if number else "control" for number in range(controls)]
    last = [name for name in ("mask", "prompt", CAPTIONS) if name in columns or name == "prompt"]
    yield _line([*first, *numbered, *last, *plan.extra])
    yield from (_line(cells(one)) for one in plan)


def _are_called_by_files(plan: Plan) -> bool:
    """Whether readers call all samples as they are called without being told, as ``with_ids`` does."""

    def named(one: Placed) -> str:
        return next(iter((*one.of(TARGET), *one.of(CONTROLS))))

    met, clashing = Table(), Table()
    for one in plan:
        if not met.claim(name := stem(named(one))):
            clashing.claim(name)
    return all(
        one.id == (without_extension(named(one)) if stem(named(one)) in clashing else stem(named(one))) for one in plan
    )


def _finds_its_mask(one: Placed, masks: Table) -> bool:
    """Whether a reader finds the mask by its name, as ``Files.mask`` does."""
    for path in (one.of(CONTROLS)[0], *one.of(TARGET)):
        found = masks.get(mask_stem(without_extension(path)))
        if found:
            return set(found) == set(one.of(MASK))
    return False


def _line(cells: Iterable[str]) -> bytes:
    """Cells with quotes around those that need them; for leading white space, which would be skipped, too."""
    quoted = (f'"{cell.replace(chr(34), chr(34) * 2)}"' if _QUOTED.search(cell) else cell for cell in cells)
    return f"{','.join(quoted)}\n".encode()


_QUOTED = re.compile(r'[",;\t\r\n]|^\s|\s$')
