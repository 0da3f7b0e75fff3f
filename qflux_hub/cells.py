"""CSV text taken apart so that single cells can be replaced and everything else stays byte for byte.

Cells and records are those of Python's ``csv.reader``, strict and with ``skipinitialspace``; whatever it reads
differently is refused. Positions count from 0, lines from 1.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: where it stands in the text, its quotes included, and what it says."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Record:
    """One row, blank ones included: the line that it begins on, and its cells."""

    line: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A cell that names an image: the ``record``-th of ``table``, in it the ``position``-th.

    ``file`` is the image that it means, ``exact`` whether it has that name or another extension.
    """

    table: str
    record: int
    position: int
    line: int
    delimiter: str
    cell: str
    file: str
    exact: bool


def split_cells(text: str, delimiter: str) -> list[Record]:
    """The records of ``text``, which has no byte order mark. Raises csv.Error where it is no CSV."""
    field = re.compile(rf' *(?P<cell>"(?:[^"]|"")*"|[^{delimiter}\r\n"][^{delimiter}\r\n]*|)')
    records: list[Record] = []
    at, line = 0, 1
    while at < len(text):
        began, cells = line, []
        while True:
            found = field.match(text, at)
            if found is None:  # the pattern matches the empty string
                break
            raw = found["cell"]
            cells.append(Cell(*found.span("cell"), raw[1:-1].replace('""', '"') if raw.startswith('"') else raw))
            line += len(_LINE_END.findall(raw))
            at = found.end()
            if text[at : at + 1] != delimiter:
                break
            at += 1
        over = _LINE_END.match(text, at)
        if over is None and at < len(text):
            raise csv.Error(f"line {line}: {text[at]!r} after a cell")
        blank = at == cells[0].start and len(cells) == 1 and not text[at - 1 : at].strip("\r\n")
        records.append(Record(began, () if blank else tuple(cells)))
        at, line = (over.end() if over else at), line + 1
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
        if [[cell.text for cell in record.cells] for record in records] != [*rows]:
            raise csv.Error("its cells cannot be told apart with certainty")
    finally:
        csv.field_size_limit(limit)
    return records


def replace_cells(text: str, records: Sequence[Record], delimiter: str, said: Mapping[tuple[int, int], str]) -> str:
    """The text with other cells in the places of ``said``, (record, position); quoted when they were, or must be."""
    pieces, at = [], 0
    for (record, position), new in sorted(said.items()):
        cell = records[record].cells[position]
        quoted = text.startswith('"', cell.start) or re.search(rf'^$|^ |[{delimiter}"\r\n]', new)
        pieces += [text[at : cell.start], '"' + new.replace('"', '""') + '"' if quoted else new]
        at = cell.end
    return "".join([*pieces, text[at:]])


_LINE_END = re.compile(r"\r\n|\r|\n")
