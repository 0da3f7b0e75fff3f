"""How far a job is: bars on a terminal, and for logs a line now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console as Rich
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from qflux_hub.cli import words
from qflux_hub.report import Progress, Task

_QUIET_SECONDS, _LOG_EVERY = 2.0, 10.0
"""A task shorter than the first says nothing; on a pipe, a longer one speaks once in the second."""


class BarProgress(Progress):
    """Bars with amounts and remaining time, gone when the task ends."""

    def __init__(self, console: Rich) -> None:
        self._console = console

    def task(self, label: str, total: int | None, unit: str = "B") -> Task:
        """A bar, unless there is nothing to do."""
        if total == 0:
            return Task()
        amount = DownloadColumn() if unit == "B" else MofNCompleteColumn()
        columns = [
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=None),
            amount,
            TextColumn(unit if unit != "B" else ""),
        ]
        bars = Bars(*columns, TimeRemainingColumn(), console=self._console, transient=True, refresh_per_second=8)
        return _BarTask(bars, label, total)

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(words.visible(text), markup=False, highlight=False, style="yellow")


class _BarTask(Task):
    def __init__(self, bars: Bars, label: str, total: int | None) -> None:
        self._bars = bars
        self._id = bars.add_task(label, total=total)

    def advance(self, amount: int = 1) -> None:
        self._bars.advance(self._id, amount)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


class LineProgress(Progress):
    """For logs: a line when a task has taken a while, and then one now and then."""

    def __init__(self, console: Rich) -> None:
        self._console = console

    def task(self, label: str, total: int | None, unit: str = "B") -> Task:
        """A task that speaks now and then."""
        return _LineTask(self._console, label, total, unit)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(words.visible(text), markup=False, highlight=False)


class _LineTask(Task):
    def __init__(self, console: Rich, label: str, total: int | None, unit: str) -> None:
        self._console, self._label, self._total, self._unit = console, label, total, unit
        self._done = 0
        self._started = time.monotonic()
        self._next = self._started + _QUIET_SECONDS

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _LOG_EVERY
            self._console.print(
                words.progress_line(self._label, self._done, self._total, self._unit, now - self._started)
            )
