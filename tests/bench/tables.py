"""What a benchmark is given and gives back, and how it is printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Setup:
    """``data``: datasets, kept between runs; ``scratch``: hubs and caches of this run, empty at first."""

    data: Path
    scratch: Path
    rounds: int
    quick: bool


@dataclass(slots=True)
class Table:
    """Cells are texts; those of the first row are the headings."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Goal:
    """Something that should hold, and whether it did this time. Noise can miss a goal: run again before believing."""

    text: str
    met: bool


@dataclass(frozen=True, slots=True)
class Result:
    """The tables of one benchmark, and what it was after."""

    tables: Sequence[Table]
    goals: Sequence[Goal]


def lines(result: Result, *, markdown: bool, goals: bool) -> Iterator[str]:
    """The result as text, for a terminal or to be pasted into a page."""
    for table in result.tables:
        yield from (f"**{table.title}**", "") if markdown else ("", table.title)
        yield from _markdown(table) if markdown else _aligned(table)
        yield ""
    if goals:
        yield from (f"{'met   ' if goal.met else 'MISSED'} {goal.text}" for goal in result.goals)


def _aligned(table: Table) -> Iterator[str]:
    cells = [table.headings, *table.rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))


def _markdown(table: Table) -> Iterator[str]:
    yield f"| {' | '.join(table.headings)} |"
    yield f"|{'|'.join('---:' for _ in table.headings)}|"
    for row in table.rows:
        yield f"| {' | '.join(row)} |"


def seconds(value: float) -> str:
    """Two digits behind the point."""
    return f"{value:.2f}"


def megabytes(value: float) -> str:
    """In decimal megabytes, without a unit."""
    return f"{value / 1e6:,.0f}"


def times(ratio: float) -> str:
    """``1.30×``."""
    return f"{ratio:.2f}×"
