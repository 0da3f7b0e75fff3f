"""The rows of a table file with their places: CSV, JSON, JSON Lines, Parquet, Arrow.

A row is a mapping of column to value and stands on a line, counted from 1; rows of the binary kinds are counted
instead. Cells of a CSV are text without outer white space, other values are what the file says. All that is wrong with
a file is found in one reading: a row that cannot be used does not hide the next one.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from qflux_hub import codes
from qflux_hub.report import Found
from qflux_hub.texts import decode_table

KINDS = ("csv", "json", "jsonl", "parquet", "arrow")
ROWS = "data"
"""The field of a JSON file that holds its rows, where they are not the whole file."""
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class Record:
    """One row: its line, or its number where the file has no lines, and its values by column."""

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """All rows of a file that can be read, in their order, and how many there are with those that cannot.

    ``listed``: a JSON file is the list of them itself.
    """

    kind: str
    rows: Sequence[Record]
    count: int
    listed: bool = False

    @property
    def unit(self) -> str:
        """What a row's place is counted in: ``line`` or ``row``."""
        return "row" if self.kind in ("parquet", "arrow") else "line"

    def columns(self) -> list[str]:
        """All columns of all rows, in the order they come in."""
        return list(dict.fromkeys(name for row in self.rows for name in row.values))


def read_table(data: bytes, kind: str, path: str, known: Collection[str], found: Found) -> Table | None:
    """The rows in the bytes of the file at ``path``; None, and ``found``, when it cannot be read as ``kind``.

    ``known`` are names of columns, by which a CSV is told to be separated by semicolons or tabs.
    """
    if kind in ("parquet", "arrow"):
        return _binary(data, kind, path, found)
    text = decode_table(data, path, found)
    if text is None:
        return None
    if kind == "csv":
        return _csv(text, path, known, found)
    return _json(text, path, found) if kind == "json" else _json_lines(text, path, found)


# --- CSV --------------------------------------------------------------------------------------------------------


def _csv(text: str, path: str, known: Collection[str], found: Found) -> Table | None:
    first = text.lstrip("\r\n ").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=lambda sign: sum(name.strip(' "\r') in known for name in first.split(sign)))
    if delimiter != ",":
        found(codes.OTHER_DELIMITER(path, f"{path} is separated by {_DELIMITERS[delimiter]}."))
    rows: list[Record] = []
    header: list[str] = []
    line, ragged = 1, 0
    with _long_cells(text):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            for record in reader:
                cells = [cell.strip() for cell in record]
                if not any(cells):
                    pass
                elif not header:
                    header = cells
                    _check_header(header, path, line, found)
                elif len(cells) == len(header):
                    rows.append(Record(line, {name: cell for name, cell in zip(header, cells, strict=True) if name}))
                else:
                    message = f"{path}, line {line}: {len(cells)} cells, the header has {len(header)}."
                    fix = 'put quotes around a text that holds a comma: "a cat, then a dog"'
                    found(codes.RAGGED_ROW(path, message, line=line, fix=fix if len(cells) > len(header) else ""))
                    ragged += 1
                line = reader.line_num + 1
        except csv.Error as error:
            found(codes.UNDECODABLE_TABLE(path, f"{path}, line {line}: {error}.", line=line))
            return None
    return Table("csv", rows, len(rows) + ragged)


def _check_header(header: Sequence[str], path: str, line: int, found: Found) -> None:
    for name, count in Counter(header).items():
        if name and count > 1:
            message = f"{path}: {count} columns are called {name!r}."
            found(codes.DUPLICATE_COLUMN(path, message, line=line, fix="rename or remove one of them"))
    if "" in header:
        message = f"{path}: column {header.index('') + 1} has no name, so what it holds is left aside."
        found(codes.UNNAMED_COLUMN(path, message, line=line, fix="name it, or remove it"))


@contextmanager
def _long_cells(text: str) -> Iterator[None]:
    """The usual limit is 128 KB a cell."""
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))
    try:
        yield
    finally:
        csv.field_size_limit(limit)


# --- JSON -------------------------------------------------------------------------------------------------------


class _Pairs:
    """Decodes JSON and remembers names that stand twice in one object, of which Python keeps the last."""

    def __init__(self) -> None:
        self.twice: list[str] = []
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object)

    def decode(self, text: str, at: int) -> tuple[Any, int]:
        """(value, where it ends)."""
        self.twice.clear()
        value: tuple[Any, int] = self._decoder.raw_decode(text, at)
        return value

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.twice += [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        return dict(pairs)


def _json(text: str, path: str, found: Found) -> Table | None:
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = _json_lines(text, path, lambda _: None)
        is_lines = lines is not None and len(lines.rows) > 1
        fix = 'it is JSON Lines: name it .jsonl, or write {"data": [row, row]}' if is_lines else None
        place = getattr(error, "lineno", 1)
        found(codes.UNDECODABLE_TABLE(path, f"{path}, line {place}: no JSON, {_why(error)}.", line=place, fix=fix))
        return None
    listed = isinstance(whole, list)
    if not listed and not (isinstance(whole, dict) and isinstance(whole.get(ROWS), list)):
        has = f"; it has {', '.join(map(repr, whole))}" if isinstance(whole, dict) and whole else ""
        message = f"{path} has no list {ROWS!r} that holds its rows{has}."
        fix = f'write {{"{ROWS}": [{{"caption": …}}, …]}}'
        found(codes.UNDECODABLE_TABLE(path, message, line=1, fix=fix))
        return None
    pairs, line, before, count = _Pairs(), 1, 0, 0
    rows: list[Record] = []
    for count, at in enumerate(_elements(text, listed=listed), 1):  # noqa: B007 - how many there were
        line += text.count("\n", before, at)
        before = at
        rows += _record(*pairs.decode(text, at)[:1], line, pairs.twice, path, found)
    return Table("json", rows, count, listed)


def _elements(text: str, *, listed: bool) -> Iterator[int]:
    """Where in a JSON text that was found sound the rows begin."""
    decode, at = json.JSONDecoder().raw_decode, _skip(text, 0)
    starts = [at]
    if not listed:
        at = _skip(text, at + 1)
        while text[at] != "}":
            name, at = decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
            if name == ROWS:
                starts = [at]  # of two of that name, Python's reading takes the last, too
            at = _skip(text, decode(text, at)[1])
            at = _skip(text, at + 1) if text[at] == "," else at
    at = _skip(text, starts[0] + 1)
    while text[at] != "]":
        yield at
        at = _skip(text, decode(text, at)[1])
        at = _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    """Past white space."""
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _json_lines(text: str, path: str, found: Found) -> Table | None:
    pairs = _Pairs()
    rows: list[Record] = []
    count = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        count += 1
        start = _skip(line, 0)
        try:
            value, end = pairs.decode(line, start)
            if (end := _skip(line, end)) != len(line):
                raise json.JSONDecodeError("more follows", line, end)
        except (ValueError, RecursionError) as error:
            if count == 1:
                with suppress(ValueError, RecursionError):
                    json.loads(text)
                    message = f"{path}, line {number}: a row of JSON Lines stands on one line, this is JSON."
                    found(codes.UNDECODABLE_TABLE(path, message, line=number, fix="name it .json"))
                    return None
            found(codes.UNDECODABLE_TABLE(path, f"{path}, line {number}: no JSON, {_why(error)}.", line=number))
        else:
            rows += _record(value, number, pairs.twice, path, found)
    return Table("jsonl", rows, count)


def _record(value: Any, line: int, twice: Iterable[str], path: str, found: Found) -> list[Record]:
    """The row, unless it is none."""
    for name in twice:
        message = f"{path}, line {line}: {name!r} stands twice in one row."
        found(codes.DUPLICATE_COLUMN(path, message, line=line, fix="remove one of them"))
    if isinstance(value, dict):
        return [Record(line, value)]
    message = f"{path}, line {line}: a row is an object with columns, this is {_shown(value)}."
    found(codes.UNDECODABLE_TABLE(path, message, line=line))
    return []


def _why(error: Exception) -> str:
    """What Python's decoder says, in lower case and with the place in its line only."""
    if isinstance(error, json.JSONDecodeError):
        said = error.msg[:1].lower() + error.msg[1:]
        return f"{said.removesuffix(' at')} at column {error.colno}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"


# --- Parquet and Arrow ------------------------------------------------------------------------------------------


def _binary(data: bytes, kind: str, path: str, found: Found) -> Table | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = pa.BufferReader(data)
    try:
        if kind == "parquet":
            table = pq.read_table(source)
        elif data.startswith(b"ARROW1"):
            table = pa.ipc.open_file(source).read_all()
        else:  # the framing of `datasets`' own files
            table = pa.ipc.open_stream(source).read_all()
        table.validate(full=True)  # reading values of damaged Arrow can end the process
        values = table.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = str(error).splitlines()[0].rstrip(".")
        found(codes.UNDECODABLE_TABLE(path, f"{path} cannot be read as {kind.capitalize()}: {said}."))
        return None
    return Table(kind, [Record(number, row) for number, row in enumerate(values, 1)], len(values))
