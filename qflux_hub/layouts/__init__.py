"""The layouts that a dataset can lie in, and how to tell which one a tree has.

A layout is a module with the names of the ``Layout`` protocol. A new one is added to ``LAYOUTS``; the test suite that
every layout runs finds it there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from qflux_hub.errors import DataError, LayoutError, RefusedError, UsageError
from qflux_hub.layouts import aitoolkit, directory, lists, metadata, pairs, parquet, pix2pix, tables, tars
from qflux_hub.naming import on_disk
from qflux_hub.placing import Losses, Placed, Plan
from qflux_hub.report import Finding, Found, Loss, Progress
from qflux_hub.sample import Sample
from qflux_hub.tree import Tree
from qflux_hub.writing import WORKERS, Arrange, Folder, Output, Written


class Layout(Protocol):
    """One shape of a dataset on disk. Modules of this package are the implementations."""

    NAME: str
    """What ``--layout`` calls it."""
    SHAPE: str
    """What it looks like, in one line."""
    LOSES: Mapping[str, str]
    """What of a sample it may not hold, by the first word of ``Loss.what``, and why."""

    def splits(self, tree: Tree, found: Found) -> tuple[str, ...]:
        """The splits that ``tree`` has in this layout, in reading order; none when it has another shape.

        Opens no image. What looks like a split but is none is ``found``.
        """

    def evidence(self, tree: Tree, splits: Sequence[str]) -> Sequence[str]:
        """The files or folders by which these ``splits`` were recognised."""

    def doubt(self, tree: Tree, splits: Sequence[str]) -> str:
        """Why these ``splits`` are hardly meant in this layout, when another one fits too; "" when nothing is odd."""

    def missing(self, tree: Tree) -> str:
        """Why ``splits`` is empty, in words that go on from "directory: "."""

    def read(self, tree: Tree, split: str, columns: Mapping[str, str], found: Found) -> Iterator[Sample]:
        """The samples of one split, in the order of the source.

        Lazy: media are blobs, prompts are read as samples are taken. ``columns`` maps roles to the columns that the
        user named for them. A sample that cannot be built is ``found`` (with its id, where it has one) and not
        yielded, so one run reports all problems.
        """

    def place(self, splits: Mapping[str, Sequence[Sample]]) -> Iterator[Placed]:
        """Where samples will lie and what of them is held, split by split in the order in which they will be read back.

        Names that were recorded are kept where they are legal here and harmless on every disk.
        """

    def outputs(self, placed: Mapping[str, Plan]) -> Iterator[Output]:
        """The files that hold them."""


LAYOUTS: tuple[Layout, ...] = (directory, tables, metadata, parquet, pix2pix, tars, lists, aitoolkit, pairs)


_LOGGER = logging.getLogger(__name__)
_AT_MOST = 3
"""Files that are named where a layout was recognised by many."""


@dataclass(frozen=True, slots=True)
class Match:
    """The layout of a tree and its splits."""

    layout: Layout
    splits: tuple[str, ...]


def names() -> tuple[str, ...]:
    """The names that ``--layout`` takes."""
    return tuple(layout.NAME for layout in LAYOUTS)


def called(name: str) -> Layout:
    """The layout of that name. Raises UsageError when there is none."""
    for layout in LAYOUTS:
        if name == layout.NAME:
            return layout
    raise UsageError(f"There is no layout {name!r}.", hint=f"Layouts: {', '.join(names())}.")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at a tree says of one layout: its splits, and "" or what speaks against it."""

    tree: Tree = field(repr=False)
    match: Match
    doubt: str
    findings: Sequence[Finding]

    @property
    def line(self) -> str:
        """The verdict in one line: by which files it was recognised, or what is missing. To say so takes another look
        at all names, which is for those who read it.
        """
        layout, splits = self.match.layout, self.match.splits
        why = _listed(layout.evidence(self.tree, splits)) if splits else layout.missing(self.tree)
        return f"  {layout.NAME}: {why}{f', but {self.doubt}' if self.doubt else ''}"


def rank(tree: Tree, wanted: Sequence[Layout] = LAYOUTS) -> list[Verdict]:
    """What each layout says of ``tree``, the likeliest first: those that fit, those that fit but are hardly meant,
    those that do not fit; among equals in the order of the table.

    The same for a folder and for a repo. Opens tables and the first Parquet file, and no image.
    """
    seen: list[tuple[Match, list[Finding]]] = []
    for layout in wanted:
        met: list[Finding] = []
        seen.append((Match(layout, layout.splits(tree, met.append)), met))
    contested = sum(bool(match.splits) for match, _ in seen) > 1  # to doubt may take reading
    verdicts = []
    for match, met in seen:
        layout, splits = match.layout, match.splits
        doubt = layout.doubt(tree, splits) if splits and contested else ""
        verdicts.append(Verdict(tree, match, doubt, met))
    return sorted(verdicts, key=lambda one: (not one.match.splits, bool(one.doubt)))


def _listed(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _AT_MOST:,} more" if len(paths) > _AT_MOST else ""
    return ", ".join(paths[:_AT_MOST]) + more


def _lines(verdicts: Sequence[Verdict]) -> str:
    return "\n".join(one.line for one in verdicts)


def detect(tree: Tree, name: str | None, found: Found) -> Match:
    """The one layout that ``tree`` has, or the one called ``name``.

    What ``rank`` says is logged. Raises LayoutError, with all of it, when none fits or nothing tells which of
    several is meant; UsageError for an unknown name.
    """
    wanted = [layout for layout in LAYOUTS if name in (None, "auto", layout.NAME)]
    if not wanted:
        raise UsageError(f"There is no layout {name!r}.", hint=f"Layouts: {', '.join(names())}.")
    verdicts = rank(tree, wanted)
    fitting = [one for one in verdicts if one.match.splits]
    if not fitting:
        raise LayoutError(
            f"{tree.name} is not a dataset that qflux can read.\n{_lines(verdicts)}", hint=_advice(tree, wanted)
        )
    best, *others = fitting
    if others and (best.doubt or not others[0].doubt):
        rivals = [one.match for one in fitting if bool(one.doubt) == bool(best.doubt)]
        named = " and ".join(f"{match.layout.NAME} ({', '.join(match.splits)})" for match in rivals)
        options = " or ".join(f"--layout {match.layout.NAME}" for match in rivals)
        raise LayoutError(f"{tree.name} can be read as {named}.\n{_lines(verdicts)}", hint=f"Say which with {options}.")
    for finding in best.findings:  # what the other layouts took offence at does not matter
        found(finding)
    if _LOGGER.isEnabledFor(logging.INFO):
        _LOGGER.info("%s is read as %s:\n%s", tree.name, best.match.layout.NAME, _lines(verdicts))
    return best.match


def _advice(tree: Tree, wanted: Collection[Layout]) -> str:
    if not tree.files:
        return "The folder is empty."
    return "The dataset's folder is the one that holds:\n" + "\n".join(f"  {layout.SHAPE}" for layout in wanted)


def plan(layout: Layout, splits: Mapping[str, Sequence[Sample]]) -> tuple[dict[str, Plan], list[Loss]]:
    """Where the samples of each split that has some will lie, and what gets lost by it."""
    plans, losses = {split: Plan(samples) for split, samples in splits.items() if samples}, Losses()
    for one in layout.place({split: splits[split] for split in plans}):
        plans[one.source.split].add(one)
        losses.add(one)
    return plans, losses.told(plans.values(), layout.LOSES)


def write(
    layout: Layout,
    splits: Mapping[str, Sequence[Sample]],
    dest: str | os.PathLike[str],
    *,
    force: bool,
    progress: Progress,
    arrange: Arrange = lambda outputs: outputs,
    copiers: int = WORKERS,
) -> tuple[list[Loss], Written]:
    """Write samples to the folder ``dest``. What gets lost is said to ``progress`` before a byte is written.

    ``arrange`` and ``copiers``: see ``Folder``.

    Raises RefusedError when files are there with another content (unless ``force``), or when splits have names that
    some disks cannot tell apart; and as ``Folder.write`` does.
    """
    names: dict[str, str] = {}
    for split in splits:
        other = names.setdefault(on_disk(split), split)
        if other != split:
            raise RefusedError(
                f"The splits {other!r} and {split!r} would be the same on some disks; nothing was written.",
                hint="Write them apart, with --split.",
            )
    plans, told = plan(layout, splits)
    placed = {split: one for split, one in plans.items() if one}
    if plans and not placed:
        raise DataError(
            f"The {layout.NAME} layout holds none of these samples; nothing was written.",
            hint="; ".join(f"{loss.what} ({loss.count:,}): {loss.why}" for loss in told),
        )
    for loss in told:
        progress.say(f"The {layout.NAME} layout loses {loss.what} ({loss.count:,}): {loss.why}.")
    with progress.task("Writing", sum(one.size for one in placed.values())) as task:
        done = Folder(dest, copiers).write(lambda: layout.outputs(placed), force=force, task=task, arrange=arrange)
    if layout.NAME == tars.NAME:
        done.findings += tars.uneven(placed)
    return told, done
