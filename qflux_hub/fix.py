"""Repairs of a dataset: shown, made, taken back.

The plan is made on paper: repairs are derived from what is found, the tree is read again as if they had been made, and
so on until nothing new is found. So one run is enough: a prompt that can be read brings its images to light, and a name
that became free can be taken. What is shown without ``apply`` is exactly what is done with it.

All changes are made or none, with a log that takes them back: see ``journal``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from qflux_hub import checks, codes, journal
from qflux_hub.errors import DataError, UsageError
from qflux_hub.fixes import REPAIRED, Action, Change, Evidence, Repair, plan_repairs
from qflux_hub.layouts import directory, tables
from qflux_hub.options import FixKeywords, FixOptions
from qflux_hub.report import Finding, Progress
from qflux_hub.sample import Blob
from qflux_hub.sniff import ImageFacts
from qflux_hub.source import Source, read_tree
from qflux_hub.tree import FolderTree

_LOOKS_AT_MOST = 20
"""Times that the tree is looked at anew. Every repair can bring others to light, but no chain of them is that long."""


_FOLLOWED = (directory.NAME, tables.NAME)
"""Layouts in which every mention of a file is known, and changed when the file is renamed."""


@dataclass(slots=True)
class FixReport:
    """What was repaired (``applied``) or would be; with ``undo``, the path of the log that takes it back.

    ``findings``: what was asked for and could not be repaired, and errors that kept samples from being looked at.
    ``taken_back``: the changes are those of an earlier run, which are undone now.
    """

    source: str
    applied: bool
    changes: Sequence[Change]
    findings: Sequence[Finding]
    undo: str | None = None
    taken_back: bool = False

    @property
    def failed(self) -> bool:
        """Something could not be repaired."""
        return any(finding.code != codes.INTERRUPTED_FIX.name for finding in self.findings)

    @property
    def answer(self) -> str:
        """The one thing a script wants, as ``--quiet`` prints it: the log that ``--undo`` takes."""
        return self.undo or ""

    def to_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "source": self.source,
            "applied": self.applied,
            "changes": [change.to_dict() for change in self.changes],
            "findings": [finding.to_dict() for finding in self.findings],
            "undo": self.undo,
        }


def fix_dataset(
    source: Source | None = None, *, progress: Progress | None = None, **options: Unpack[FixKeywords]
) -> FixReport:
    """Repair what can be repaired safely; without ``apply``, say what would be done.

    Repaired are wrong extensions and the table cells that name such files, encodings, byte order marks and line ends of
    prompts, encodings and marks of tables, control names of the old form, and systems' litter. ``undo`` takes a log and
    no source. Options: ``options.FixOptions``. Raises DataError when an earlier run was interrupted and this one is not
    to apply anything, or when its changes cannot be taken back; QfluxError when another one is at work.
    """
    chosen, progress = FixOptions(**options), progress or Progress()
    if chosen.undo is not None:
        if chosen.apply or chosen.only:
            raise UsageError("--undo takes a whole log back; --apply and --only do not go with it.")
        return _take_back(source, Path(chosen.undo), progress)
    if source is None:
        raise UsageError("There is nothing to repair.", hint="Give the folder of a dataset, or --undo LOG.")
    for code in chosen.only:
        if code not in REPAIRED:
            raise UsageError(f"There is no repair for {code!r}.", hint=f"Repairs: {', '.join(REPAIRED)}.")
    root = Path(source)
    if not chosen.apply:
        for place in journal.interrupted(root):
            raise DataError(
                f"An earlier repair of {root} was interrupted, so its files are half old, half new.",
                hint=f"--apply takes its changes back, then repairs anew; --undo {place} only takes them back.",
            )
        plan = _plan(root, chosen, progress)
        return FixReport(plan.name, False, plan.changes(), plan.left)
    with journal.alone(root):
        recovered = journal.recover(root, progress)
        plan = _plan(root, chosen, progress)
        told = plan.changes()
        log_path = (
            journal.perform(root, plan.steps(), [change.to_dict() for change in told], progress) if told else None
        )
    if recovered:
        message = f"An earlier repair had been interrupted; its changes ({recovered:,}) were taken back first."
        plan.left.insert(0, codes.INTERRUPTED_FIX(plan.name, message, severity="note"))
    return FixReport(plan.name, True, told, plan.left, os.fspath(log_path) if log_path else None)


def _take_back(source: Source | None, path: Path, progress: Progress) -> FixReport:
    log = journal.Log.read(path)
    if source is not None and not log.root.samefile(source):
        raise UsageError(f"{path} is not a log of {os.fspath(source)}.", hint="--undo needs no SOURCE.")
    with journal.alone(log.root):
        log = journal.Log.read(path)
        obstacles = log.take_back(progress)
    findings = [
        codes.CANNOT_UNDO(obstacle.path, f"{obstacle.path} {obstacle.why}; nothing was taken back.")
        for obstacle in obstacles
    ]
    changes = [] if findings else [Change(**change) for change in log.changes]
    return FixReport(os.fspath(log.root), not findings, changes, findings, taken_back=True)


@dataclass(slots=True)
class _Plan:
    """All repairs in order, the tree as it will be, and what stays."""

    tree: _Repaired
    repairs: list[Repair] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.tree.name

    def changes(self) -> list[Change]:
        """The changes in order; a file that is renamed twice is told of once."""
        told: list[Change] = []
        renamed: dict[str, int] = {}
        for change in (change for repair in self.repairs for change in repair.changes):
            if change.to is not None:
                at = renamed.pop(change.path, None)
                renamed[change.to] = len(told) if at is None else at
                if at is not None:
                    told[at] = replace(told[at], to=change.to, detail=f"{told[at].detail}; {change.detail}")
                    continue
            told.append(change)
        return told

    def steps(self) -> list[journal.Step]:
        """Every file once: renames, in an order in which names become free, then edits, then deletions."""
        renames: dict[str, str] = {}
        for repair in self.repairs:
            if repair.action == "rename":
                renames[repair.to] = renames.pop(repair.path, repair.path)
        deletions = [repair for repair in self.repairs if repair.action == "delete"]
        return [
            *(journal.Step("rename", path, to) for to, path in renames.items()),
            *(
                journal.Step("edit", path, content=content, before=self.tree.digests[path])
                for path, content in self.tree.contents.items()
            ),
            *(
                journal.Step("delete", repair.path, before=_digest(self.tree.base.read(repair.path)))
                for repair in deletions
            ),
        ]


def _plan(root: Path, options: FixOptions, progress: Progress) -> _Plan:
    """What to do, found by doing it on paper until nothing is left to do."""
    tree = _Repaired(FolderTree(root, follow_links=options.follow_links))
    plan = _Plan(tree)
    only = frozenset(options.only or REPAIRED)
    facts: dict[str, ImageFacts] = {}
    for _ in range(_LOOKS_AT_MOST):
        seen, errors = _look(tree, options, facts, progress)
        repairs, left = plan_repairs(seen, only)
        asked = {finding.code for finding in left}
        plan.left = left + [finding for finding in errors if finding.code not in asked]
        if not repairs:
            break
        tree.apply(repairs)
        plan.repairs += repairs
    return plan


def _look(
    tree: _Repaired, options: FixOptions, known: dict[str, ImageFacts], progress: Progress
) -> tuple[Evidence, list[Finding]]:
    """What there is to repair in the tree as it is on paper; and the errors that kept samples from being read.

    ``known``: facts of images by the path that they have on disk, looked at once.
    """
    scan = read_tree(tree, options, progress)
    errors = [finding for finding in scan.findings if finding.severity == "error"]
    blobs = scan.blobs()
    unknown = {tree.origin(name): blob for name, blob in blobs.items() if tree.origin(name) not in known}
    if unknown:
        with progress.task("Looking at", len(unknown), "images") as task, ThreadPoolExecutor() as pool:
            looks = pool.map(lambda blob: checks.look_at(blob, decode=options.decode), unknown.values())
            for origin, facts in zip(unknown, looks, strict=True):
                known[origin] = facts
                task.advance()
    facts_now = {name: known[tree.origin(name)] for name in blobs}
    findings = [*scan.findings]
    for name, blob in blobs.items():
        findings += checks.check_image(blob, facts_now[name], ("", ""))

    def hindrance(path: str, action: Action) -> str:
        if action == "rename" and scan.layout not in _FOLLOWED:
            return f"may be named in files of the {scan.layout} layout, which are not rewritten"
        return tree.hindrance(path, action)

    references = list(tables.references(tree, options.columns if scan.layout == tables.NAME else {}))
    return Evidence(
        findings=findings,
        facts=facts_now,
        references=references,
        junk=tree.junk,
        by_name=scan.layout == tables.NAME,
        read=tree.read,
        names=tree.names,
        hindrance=hindrance,
    ), errors


class _Repaired:
    """A tree as it will be once repairs are made. Files that are renamed are read where they still lie."""

    def __init__(self, base: FolderTree) -> None:
        self.base = base
        self.name = base.name
        self.files: dict[str, Sequence[str]] = dict(base.files)
        self.contents: dict[str, bytes] = {}
        self.digests: dict[str, str] = {}
        self.junk = [*base.junk]
        self._origins: dict[str, str] = {}
        self._names: dict[str, set[str]] = {}
        self._real_root = os.path.realpath(base.root)
        self._ends = {os.path.relpath(end, self._real_root) for end in base.links.values()}

    @property
    def findings(self) -> Sequence[Finding]:
        """What the walk met; of litter, only what is still there."""
        return [found for found in self.base.findings if found.code != codes.JUNK.name or found.where in self.junk]

    def origin(self, path: str) -> str:
        """Where a file lies on disk."""
        return self._origins.get(path, path)

    def blob(self, path: str) -> Blob:
        """The file at ``path``."""
        origin = self.origin(path)
        blob = self.base.blob(origin)
        return blob if origin == path else replace(blob, name=path, opener=_Elsewhere(blob))

    def read(self, path: str) -> bytes:
        """All bytes of a small file, as edited."""
        real = self._real(path)
        if real in self.contents:
            return self.contents[real]
        data = self.base.read(self.origin(path))
        self.digests[path] = _digest(data)  # so that a change made to the file from now on is not overwritten
        return data

    def names(self, folder: str) -> set[str]:
        """Everything that lies in a folder, also what no scan lists."""
        if folder not in self._names:
            place = self.base.root / folder
            self._names[folder] = {path.name for path in place.iterdir()} if place.is_dir() else set()
        return self._names[folder]

    def hindrance(self, path: str, action: Action) -> str:
        """Why a file must not be touched, in words that follow its name; "" when it may be."""
        links = [part for part in _with_parents(path) if part in self.base.links]
        if links:
            return "is a link" if links == [path] else f"lies behind the link {links[0]}"
        folder, _, name = path.rpartition("/")
        if name not in self.names(folder):
            return "is no file of its own"
        if action == "rename" and any(part in self._ends for part in _with_parents(path)):
            return "is where a link leads"
        return ""

    def apply(self, repairs: Iterable[Repair]) -> None:
        """See the tree as if these had been made, too."""
        moved: dict[str, dict[str, str]] = {}
        for repair in repairs:
            folder, _, name = repair.path.rpartition("/")
            if repair.action == "edit":
                self.contents[repair.path] = repair.content
            elif repair.action == "delete":
                self.junk.remove(repair.path)
                self.names(folder).discard(name)
            else:
                self._origins[repair.to] = self._origins.pop(repair.path, repair.path)
                moved.setdefault(folder, {})[name] = repair.to.rpartition("/")[2]
        for folder, names in moved.items():
            self.files[folder] = sorted(names.get(name, name) for name in self.files[folder])
            self._names[folder] = (self.names(folder) - names.keys()) | {*names.values()}

    def _real(self, path: str) -> str:
        """The path with links resolved, where it has any."""
        if not any(part in self.base.links for part in _with_parents(path)):
            return path
        return os.path.relpath(os.path.realpath(self.base.root / path), self._real_root)


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """Opens a blob that lies under another name."""

    blob: Blob

    def __call__(self, name: str) -> BinaryIO:  # noqa: ARG002 - the name that it will have
        return self.blob.open()


def _with_parents(path: str) -> list[str]:
    """``a``, ``a/b``, ``a/b/c``."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
