"""The metadata layout of `datasets`' imagefolder and videofolder: ``metadata.jsonl`` beside the files its rows name.

``metadata.jsonl``, ``.csv``, ``.parquet`` or ``.json`` (a list of objects) lies in the folder of its split, or at the
top for a single split called train; paths are relative to it. A column ``<name>_file_name`` names one image and
``<name>_file_names`` a list of them: ``target_image_file_name``, ``control_images_file_names``,
``control_mask_file_name``, and of videos ``target_video_file_name`` and so on; a plain ``file_name`` is the target.
Prompts (``prompt``, ``text``, ``caption``, …) are taken as they stand; of a list of them, the first is the prompt.
Without any control column the samples have none: text to image. Other columns are carried along: as files, when all
that they name lie there, else as text. Rows keep their order.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from qflux_hub import codes, media
from qflux_hub.errors import DataError
from qflux_hub.layouts import roles
from qflux_hub.layouts.room import Room, recorded
from qflux_hub.layouts.rows import Files, Row, normal_path, with_ids
from qflux_hub.layouts.splitting import illegal, legal
from qflux_hub.naming import is_split_name, split_extension
from qflux_hub.placing import Fitting, Placed, Plan, Stems, has_media, is_held
from qflux_hub.report import Found
from qflux_hub.sample import CAPTIONS, CONTROLS, MASK, NO_EXTRA, NO_OTHERS, ROLES, TARGET, Sample
from qflux_hub.spill import Mapped, Spilled, Table
from qflux_hub.texts import decode_table, lines
from qflux_hub.tree import Tree, unreadable
from qflux_hub.writing import Output, Sink

NAME = "metadata"
SHAPE = "train/metadata.jsonl  with  prompt, control_images_file_names, target_image_file_name"
LOSES: Mapping[str, str] = {
    "sample": "it has no file, or one with an extension that is not read",
    "column": "its name means an image or another role here",
    "other": "its name means something else here, or its extension is not that of an image, video or sound",
    "file": "some disk cannot hold it, or holds another file by it, or it lies outside of its split's folder",
}
_KINDS = ("jsonl", "csv", "parquet", "json")
_ID, _PROMPT = "id", "prompt"
_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_TOGETHER = 4_096
"""Rows that are objects at a time."""
_MIXED = {TARGET: "target", CONTROLS: "control", MASK: "mask"}
"""What files of a role are called when they are of several kinds; else by their column on the Hub."""

Record = tuple[int, Mapping[str, Any]]
"""(line or row, from 1; column -> value)"""


def splits(tree: Tree, found: Found) -> tuple[str, ...]:
    """Folders at the top with a metadata file; else train, when one lies at the top itself."""
    files = _files(tree)
    for split, paths in files.items():
        if is_split_name(split) and len(paths) > 1:
            message = f"There are {len(paths)} tables of {split!r}: {paths[0]} is used, {', '.join(paths[1:])} is not."
            found(codes.AMBIGUOUS_FILE(paths[1], message, fix="remove the one that is wrong"))
    return legal(files, found)


def missing(tree: Tree) -> str:
    """What keeps the tree from this layout."""
    return illegal(_files(tree)) or "no metadata.jsonl, .csv, .parquet or .json at the top or in the folder of a split"


def evidence(tree: Tree, splits: Sequence[str]) -> Sequence[str]:
    """The metadata files of the splits."""
    return [_files(tree)[split][0] for split in splits]


def doubt(tree: Tree, splits: Sequence[str]) -> str:
    """A metadata file that names no images describes something else."""
    for split in splits:
        with suppress(OSError, DataError):
            for _, record in _records(tree, _files(tree)[split][0], lambda _: None):
                if any(roles.names_files(name) for name in record):
                    return ""
                break
    return "no column that names images"


def _files(tree: Tree) -> dict[str, list[str]]:
    """Split -> its metadata files, the one to read first."""
    found = {}
    for folder in ("", *sorted(folder for folder in tree.files if folder and "/" not in folder)):
        names = tree.files.get(folder, ())
        paths = [posixpath.join(folder, f"metadata.{kind}") for kind in _KINDS if f"metadata.{kind}" in names]
        if paths:
            found[folder or "train"] = paths
            if not folder:
                break
    return found


def read(tree: Tree, split: str, columns: Mapping[str, str], found: Found) -> Iterator[Sample]:
    """The samples of ``split`` in the order of its rows. The table is held as a whole until it is taken apart."""
    path = _files(tree)[split][0]
    try:
        records = Spilled(_records(tree, path, found))
    except OSError as error:
        found(unreadable(error))
        return
    names = list(dict.fromkeys(name for _, record in records for name in record))
    naming = [name for name in names if roles.names_files(name) or name in columns.values()]
    chosen = roles.assign(names, naming, columns, path, found) if records else None
    if chosen is None:
        if not records:
            found(codes.EMPTY_SPLIT(path, f"Split {split!r} has no sample: {path} has no rows."))
        return
    folder = posixpath.dirname(path)
    files = Files(tree, path, found, ())
    spare = [name for name in names if name not in chosen.all() and name != CAPTIONS]
    others = [name for name in spare if name in naming and _lie_there(name, records, files, folder)]
    carried = [name for name in spare if name not in others]
    rows = Spilled(_row(line, record, chosen, carried, others, folder) for line, record in records)
    del records
    usable = 0

    def is_sample(row: Row) -> bool:
        return bool(row.controls or (row.target and not chosen.controls))

    for row, name in with_ids(rows, path, split, found, is_sample=is_sample):
        key = (split, name)
        if not is_sample(row):
            what = "control" if chosen.controls else "file"
            message = f"{path}, line {row.line}: no {what} is named, so the sample is left out."
            found(codes.MISSING_CONTROL(path, message, line=row.line, sample=key))
            continue
        controls = [files.find(own, row, key) for _, own in row.controls]
        target, mask = (files.find(own, row, key) if own else None for own in (row.target, row.mask))
        further = {called: files.find(own, row, key) for called, own in row.others}
        if (
            None in controls
            or None in further.values()
            or (row.target and target is None)
            or (row.mask and mask is None)
        ):
            continue
        try:
            sample = Sample(
                id=name,
                split=split,
                prompt=row.prompt,
                controls=tuple(tree.blob(control) for control in controls if control),
                mask=tree.blob(mask) if mask else None,
                target=tree.blob(target) if target else None,
                extra=row.extra,
                place=f"{path}:{row.line}",
                captions=row.captions,
                others={called: tree.blob(other) for called, other in further.items() if other} or NO_OTHERS,
            )
        except OSError as error:
            found(unreadable(error, key, row.line))
            continue
        usable += 1
        yield sample
    if not usable:
        found(codes.EMPTY_SPLIT(path, f"Split {split!r} has no sample that can be read."))


def _named(value: Any, folder: str) -> list[str]:
    """The paths that a cell names."""
    if isinstance(value, str) and value.lstrip().startswith("["):  # how a CSV holds a list
        with suppress(ValueError):
            value = json.loads(value)
    listed = value if isinstance(value, list) else [value]
    return [normal_path(posixpath.join(folder, one.strip())) for one in listed if isinstance(one, str) and one]


def _lie_there(column: str, records: Iterable[Record], files: Files, folder: str) -> bool:
    """Whether a column names one file in each row, or none, and all of them lie there."""
    named = False
    for _, record in records:
        paths = _named(record.get(column), folder)
        if len(paths) > 1 or not all(map(files.has, paths)):
            return False
        named = named or bool(paths)
    return named


def _row(
    line: int,
    record: Mapping[str, Any],
    chosen: roles.Columns,
    carried: Iterable[str],
    others: Iterable[str],
    folder: str,
) -> Row:
    def named(columns: Iterable[str]) -> dict[str, str]:
        return {column: paths[0] for column in columns if (paths := _named(record.get(column), folder))}

    controls = [path for column in chosen.controls for path in _named(record.get(column), folder)]
    targets, masks = list(named(chosen.targets).items()), list(named(chosen.masks).items())
    spare = [*targets[1:], *masks[1:], *named(others).items()]
    prompt = record.get(chosen.prompt)
    prompts = roles.captions(prompt) if isinstance(prompt, list) else (roles.text(prompt) or "",)
    extra = {name: text for name in carried if (text := roles.text(record.get(name))) is not None}
    return Row(
        line=line,
        id=roles.text(record.get(chosen.id)) or "" if chosen.id else "",
        prompt=next(iter(prompts), ""),
        target=targets[0][1] if targets else "",
        mask=masks[0][1] if masks else "",
        controls=tuple(enumerate(controls)),
        extra=extra or NO_EXTRA,
        captions=(*prompts[1:], *(roles.captions(record.get(CAPTIONS)) if chosen.prompt != CAPTIONS else ())),
        others=tuple((_called(column, carried), path) for column, path in spare),
    )


def _called(column: str, carried: Iterable[str]) -> str:
    """The name of a file without a role: that of its column, but for its ending where no text has that name."""
    name = roles.files_name(column)
    return roles.free_name(column if name in carried else name)


def _records(tree: Tree, path: str, found: Found) -> Iterator[Record]:
    """The rows of a metadata file; those that cannot be read are found."""
    kind = split_extension(path)[1][1:]
    if kind == "parquet":
        yield from _parquet(tree.read(path), path, found)
        return
    text = decode_table(tree.read(path), path, found) if kind == "csv" else _decoded(tree.read(path), path, found)
    if text is None:
        return
    if kind == "csv":
        reader = csv.DictReader(lines(text), strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    cells = len(row) - (None in row) + len(row.get(None) or ()) - list(row.values()).count(None)
                    message = (
                        f"{path}, line {reader.line_num}: {cells} cells, the header has {len(reader.fieldnames or ())}."
                    )
                    found(codes.RAGGED_ROW(path, message, line=reader.line_num))
                else:
                    yield reader.line_num, row
        except csv.Error as error:
            message = f"{path}, line {reader.line_num}: {error}."
            found(codes.UNDECODABLE_TABLE(path, message, line=reader.line_num))
    elif kind == "jsonl":
        for number, line in enumerate(_LINES.finditer(text), 1):
            if line[0].strip():
                yield from ((number, row) for row in _objects(line[0].removesuffix("\n"), path, number, found))
    else:
        yield from enumerate(_objects(text, path, None, found), 1)


def _decoded(data: bytes, path: str, found: Found) -> str | None:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found(codes.UNDECODABLE_TABLE(path, f"{path}, line {line}: not UTF-8 text.", line=line, fix="save it as UTF-8"))
        return None


def _objects(text: str, path: str, line: int | None, found: Found) -> Iterator[Mapping[str, Any]]:
    """The objects of a JSON text: one, or a list of them, as it is or under ``data``."""
    try:
        value = json.loads(text)
    except ValueError as error:
        place = line or getattr(error, "lineno", None)
        found(codes.UNDECODABLE_TABLE(path, f"{path}, line {place}: {error}.", line=place))
        return
    if line is None and isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    for number, one in enumerate(value if isinstance(value, list) else [value], 1):
        if isinstance(one, dict):
            yield one
        else:
            message = f"{path}, {'line' if line else 'row'} {line or number}: this is no object with columns."
            found(codes.UNDECODABLE_TABLE(path, message, line=line))


def _parquet(data: bytes, path: str, found: Found) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(pa.BufferReader(data)).to_pylist()
    except pa.ArrowException as error:
        found(codes.UNDECODABLE_TABLE(path, f"{path} cannot be read as Parquet: {error}."))
        return
    yield from enumerate(rows, 1)


# --- writing ----------------------------------------------------------------------------------------------------


def place(splits: Mapping[str, Sequence[Sample]]) -> Iterator[Placed]:
    """Every file where it lay, if that is in its split's folder; else ``<split>/control/<id>.png`` and so on.

    A table that lay at the top, with all its files outside of a folder train, lies there again.
    """
    room, fitting = Room(), {split: Fitting(samples, has_media) for split, samples in splits.items()}
    others = _others(fitting.values())
    kept = {
        split: Spilled(recorded(one, room, f"{split}/", others) for _, one in fits) for split, fits in fitting.items()
    }
    if [*splits] == ["train"] and not any(kept["train"]):
        room, at_top = Room(), Room()
        as_they_lay = Spilled(recorded(one, at_top, "", others) for _, one in fitting["train"])
        if all(own and not any(path.startswith("train/") for path in own) for own in as_they_lay):
            for (number, one), own in zip(fitting["train"], as_they_lay, strict=True):
                yield _placed(number, one, own or ())
            return
    for split, fits in fitting.items():
        stems = Stems(fits)
        for (number, one, base), own in zip(stems, kept[split], strict=True):
            yield _placed(number, one, own or room.fresh(split, one, base, others))


def _others(fitting: Iterable[Fitting]) -> set[str]:
    """The names of files without a role that can be read back as such: no text has that name, all are media."""
    texts, bad, every = set[str](), set[str](), set[str]()
    for sample in (sample for fits in fitting for _, sample in fits):
        texts.update(sample.extra)
        bad.update(name for name, blob in sample.others.items() if not is_held(blob))
        every.update(sample.others)
    return {name for name in every - texts - bad if _may_stand(name) and roles.files_name(f"{name}_file_name") == name}


def _placed(number: int, sample: Sample, paths: tuple[str, ...]) -> Placed:
    extra = {name: text for name, text in sample.extra.items() if text is not None and _may_stand(name)}
    return Placed(number, sample, sample.id, sample.prompt, extra, paths, sample.captions)


def _may_stand(column: str) -> bool:
    return roles.is_free(column) and not roles.names_files(column)


def outputs(placed: Mapping[str, Plan]) -> Iterator[Output]:
    """All files, each once, then the tables. All tables have the same columns, or `datasets` refuses them."""
    written = Table()
    for plan in placed.values():
        for one in plan:
            yield from (Output(path, blob) for path, blob in one.files() if written.claim(path))
    columns = _columns(placed.values())
    even = len({(frozenset(_roles(plan)), frozenset(plan.extra), plan.captions) for plan in placed.values()}) == 1
    for split, plan in placed.items():
        above = f"{split}/" if next(plan[0].files())[0].startswith(f"{split}/") else ""
        rows = Mapped(plan, partial(_record, split, columns))
        if even:
            yield Output.of_lines(f"{above}metadata.jsonl", partial(_as_json, rows))
        else:  # a column without any value in one split has no type in JSON, and another in the other split
            yield Output(f"{above}metadata.parquet", pour=partial(_pour, rows, columns))


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of a table beside id and prompt; ``files`` has that of each role and of each name without one."""

    lists: Sequence[str]
    files: Mapping[str, str]
    extra: Sequence[str]


def _columns(plans: Collection[Plan]) -> _Columns:
    kinds: dict[str, set[str]] = {}
    for plan in plans:
        for role, columns in _roles(plan).items():
            kinds.setdefault(role, set()).update(columns)
    order = [*(role for role in ROLES if role in kinds), *sorted(kinds.keys() - set(ROLES))]
    names = {role: next(iter(kinds[role])) if len(kinds[role]) == 1 else _MIXED[role] for role in order}
    files = {role: f"{name}_file_name{'s' * (role == CONTROLS)}" for role, name in names.items()}
    lists = [CAPTIONS] if any(plan.captions for plan in plans) else []
    return _Columns(lists, files, [*dict.fromkeys(name for plan in plans for name in plan.extra)])


def _roles(plan: Plan) -> dict[str, set[str]]:
    """The columns in which files of each role, and of each name without one, would lie in Parquet."""
    found: dict[str, set[str]] = {}
    for column, _ in plan.media:
        found.setdefault(media.role(column), set()).add(column)
    return found


def _record(split: str, columns: _Columns, one: Placed) -> dict[str, Any]:
    row: dict[str, Any] = {_ID: one.id, _PROMPT: one.prompt} | {name: list(one.captions) for name in columns.lists}
    for role, column in columns.files.items():
        paths = [path.removeprefix(f"{split}/") for path in one.of(role)]
        row[column] = paths if role == CONTROLS else next(iter(paths), None)
    return row | {name: one.extra.get(name) for name in columns.extra}


def _as_json(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    return (f"{json.dumps(row, ensure_ascii=False)}\n".encode() for row in rows)


def _pour(rows: Iterable[dict[str, Any]], columns: _Columns, sink: Sink, _: Callable[[int], None]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists = [*columns.lists, columns.files.get(CONTROLS, "")]
    names = [_ID, _PROMPT, *columns.lists, *columns.files.values(), *columns.extra]
    schema = pa.schema([pa.field(name, pa.list_(pa.string()) if name in lists else pa.string()) for name in names])
    rest, batches = iter(rows), list[pa.RecordBatch]()
    while some := list(islice(rest, _TOGETHER)):
        batches.append(pa.RecordBatch.from_pylist(some, schema=schema))
    out = io.BytesIO()
    pq.write_table(pa.Table.from_batches(batches, schema=schema), out)
    sink.write(out.getbuffer())
