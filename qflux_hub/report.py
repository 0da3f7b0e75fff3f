"""What qflux tells its caller: findings about the data, what a job did, and progress of the work.

The library prints nothing. It returns findings and reports as data and advances tasks of a ``Progress`` that the
caller passes in; the default one is silent. ``to_dict`` of a report is what ``--json`` prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Literal, Self

Severity = Literal["error", "warning", "note"]
Action = Literal["add", "update", "delete", "keep"]
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


@dataclass(frozen=True, slots=True)
class Operation:
    """One file of the repo and what becomes of it. ``size`` in bytes, None when it is known only once written."""

    path: str
    action: Action
    reason: str
    size: int | None

    def to_dict(self) -> dict[str, Any]:
        """The operation as ``--json`` prints it."""
        return {"path": self.path, "action": self.action, "reason": self.reason, "size": self.size}


@dataclass(frozen=True, slots=True)
class Changes:
    """How many samples of a split differ from those on the Hub, by id and content."""

    samples: int
    added: int
    changed: int
    removed: int
    unchanged: int

    def to_dict(self) -> dict[str, int]:
        """The counts as ``--json`` prints them."""
        return {
            "samples": self.samples,
            "added": self.added,
            "changed": self.changed,
            "removed": self.removed,
            "unchanged": self.unchanged,
        }


@dataclass(slots=True)
class UploadReport:
    """What an upload did, or with ``dry_run`` would do.

    ``bytes``: "source", of its images; "read" from files; "packed" into shards; "sent" as new to the Hub. ``tag``: the
    one that ``commit`` did not have before.
    """

    repo_id: str
    url: str
    revision: str
    commit: str | None
    changed: bool
    dry_run: bool
    private: bool
    splits: Mapping[str, Changes]
    operations: Sequence[Operation]
    bytes: Mapping[str, int]
    findings: Sequence[Finding]
    counts: Mapping[str, int]
    commit_url: str | None = None
    pull_request: str | None = None
    tag: str | None = None
    seconds: float = 0.0

    @property
    def answer(self) -> str:
        """The one thing a script wants, as ``--quiet`` prints it: where the dataset is to be seen."""
        if self.pull_request or self.commit_url:
            return self.pull_request or self.commit_url or ""
        return f"{self.url}/commit/{self.commit}" if self.commit else self.url

    def to_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "repo_id": self.repo_id,
            "url": self.url,
            "revision": self.revision,
            "commit": self.commit,
            "changed": self.changed,
            "dry_run": self.dry_run,
            "private": self.private,
            "splits": {name: changes.to_dict() for name, changes in self.splits.items()},
            "operations": [operation.to_dict() for operation in self.operations],
            "bytes": dict(self.bytes),
            "findings": [finding.to_dict() for finding in self.findings],
            "counts": dict(self.counts),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class SampleChange:
    """A sample that differs: field -> (old, new). Images are {"name", "size", "sha256"}, controls a list of them."""

    id: str
    fields: Mapping[str, tuple[Any, Any]]

    def to_dict(self) -> dict[str, Any]:
        """The change as ``--json`` prints it."""
        fields = {name: {"old": old, "new": new} for name, (old, new) in self.fields.items()}
        return {"id": self.id, "fields": fields}


@dataclass(frozen=True, slots=True)
class SplitDiff:
    """How a split differs from the Hub's: ids in order, and how many are the same."""

    added: Sequence[str]
    changed: Sequence[SampleChange]
    removed: Sequence[str]
    unchanged: int


@dataclass(frozen=True, slots=True)
class DiffReport:
    """How a source differs from a dataset repo."""

    repo_id: str
    splits: Mapping[str, SplitDiff]
    findings: Sequence[Finding]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "repo_id": self.repo_id,
            "splits": {
                name: {
                    "added": list(split.added),
                    "changed": [change.to_dict() for change in split.changed],
                    "removed": list(split.removed),
                    "unchanged": split.unchanged,
                }
                for name, split in self.splits.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not what it should be."""

    what: str
    message: str


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What checking a hub directory found.

    ``checked`` counts by kind; ``leftover`` files belong to nothing and go with ``gc``.
    """

    damages: tuple[Damage, ...]
    checked: dict[str, int]
    bytes_read: int
    leftover_files: int
    leftover_bytes: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damages

    @property
    def exit_code(self) -> int:
        """What a command ends with: as after a failed verification, when there is damage."""
        return 0 if self.is_sound else 7

    def to_dict(self) -> dict[str, object]:
        """The report as ``--json`` prints it."""
        return asdict(self) | {"sound": self.is_sound}


@dataclass(frozen=True, slots=True)
class GcReport:
    """What collecting garbage in a hub directory removed; ``bytes`` were freed on disk."""

    commits: int
    objects: int
    xorbs: int
    files: int
    bytes: int

    def to_dict(self) -> dict[str, object]:
        """The report as ``--json`` prints it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Loss:
    """What a layout cannot hold: ``what`` (a field, or ``column NAME``), of how many samples or files, and why."""

    what: str
    count: int
    why: str

    def to_dict(self) -> dict[str, Any]:
        """The loss as ``--json`` prints it."""
        return {"what": self.what, "count": self.count, "why": self.why}


@dataclass(frozen=True, slots=True)
class WriteReport:
    """A dataset written out as files.

    ``layout`` is the one that was written; ``splits``: how many samples of each. ``bytes``: "read" from the source,
    "written" to files, "kept" because they lay there already.
    """

    source: str
    dest: str
    layout: str
    splits: Mapping[str, int]
    lost: Sequence[Loss]
    bytes: Mapping[str, int]
    findings: Sequence[Finding]
    seconds: float

    @property
    def answer(self) -> str:
        """The one thing a script wants, as ``--quiet`` prints it: where the files are."""
        return self.dest

    def to_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "source": self.source,
            "dest": self.dest,
            "layout": self.layout,
            "splits": dict(self.splits),
            "lost": [loss.to_dict() for loss in self.lost],
            "bytes": dict(self.bytes),
            "findings": [finding.to_dict() for finding in self.findings],
            "seconds": round(self.seconds, 3),
        }


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

    def say(self, text: str) -> None:
        """Something that the user is to know before the work goes on."""
