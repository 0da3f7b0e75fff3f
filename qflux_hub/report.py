"""What qflux tells its caller: findings about the data, and progress of the work.

The library prints nothing. It returns findings as data and advances tasks of a ``Progress`` that the caller passes
in; the default one is silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing, with its place and its remedy.

    ``where`` is a path relative to the source, or an id; ``line`` counts from 1. ``sample`` is (split, id) when the
    finding concerns one sample, so that it can be left out or shown beside it.
    """

    code: str
    severity: Severity
    where: str
    message: str
    line: int | None = None
    fix: str | None = None
    sample: tuple[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The finding as ``--json`` prints it."""
        return {
            "code": self.code,
            "severity": self.severity,
            "where": self.where,
            "line": self.line,
            "message": self.message,
            "fix": self.fix,
        }

    @property
    def place(self) -> str:
        """``train.csv:17`` or a path."""
        return self.where if self.line is None else f"{self.where}:{self.line}"


Found = Callable[[Finding], None]
"""Where a reader or a check puts what it finds."""


def tally(findings: Iterable[Finding]) -> dict[str, int]:
    """{"errors", "warnings", "notes"}: how many of each."""
    counts = dict.fromkeys(SEVERITIES, 0)
    for finding in findings:
        counts[finding.severity] += 1
    return {f"{severity}s": count for severity, count in counts.items()}


class Task:
    """One piece of work under way, used as a context manager. This one is silent."""

    def advance(self, amount: int = 1) -> None:
        """``amount`` more units are done."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The work ended, well or not."""


class Progress:
    """Where a job tells how far it is. This one is silent; the command line passes one that draws."""

    def task(self, label: str, total: int | None, unit: str = "B") -> Task:  # noqa: ARG002 - the seam's signature
        """Begin a piece of work of ``total`` units (None: unknown); ``unit`` is ``B`` for bytes, or a plural noun."""
        return Task()
