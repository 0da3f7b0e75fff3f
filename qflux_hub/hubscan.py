"""A dataset repo read as a scan: splits that qflux wrote by their index, all others by the layout that they have.

Images are byte ranges of the repo's files; nothing is fetched but what is looked into.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qflux_hub import codes, hubrows, layouts, remote
from qflux_hub.errors import LayoutError, NotFoundError, UsageError, VerificationError
from qflux_hub.hub import Hub
from qflux_hub.index import Index
from qflux_hub.naming import split_rank
from qflux_hub.options import DownloadOptions, PreviewOptions
from qflux_hub.ranges import Ranges
from qflux_hub.remote import Head
from qflux_hub.report import Finding, Progress
from qflux_hub.repos import RepoState
from qflux_hub.repotree import RepoTree
from qflux_hub.sample import Sample
from qflux_hub.source import Scan, counted

HUB = "hub"
"""What stands for the layout of a repo."""


@dataclass(frozen=True, slots=True)
class RepoScan:
    """``scan``: the samples of the wanted splits, in source order. ``indexes``: of those that have one."""

    scan: Scan
    indexes: Mapping[str, Index]
    tree: RepoTree


def read_repo(
    hub: Hub,
    repo_id: str,
    options: DownloadOptions | PreviewOptions,
    progress: Progress,
    *,
    whole: bool,
    ranges: Ranges | None = None,
) -> RepoScan:
    """Read a dataset repo. ``whole``: all of it is wanted, see ``RepoTree``.

    What is wrong with it is in the scan. Raises NotFoundError when repo, revision or split are not there, LayoutError
    when nothing in the repo can be read.
    """
    findings = list[Finding](hub.findings)
    head = remote.read(hub, repo_id, options.revision, findings.append, card=False)
    if head.state is None:
        may_be_folder = isinstance(options, PreviewOptions)
        missing = f"folder {repo_id!r} here, and no such dataset" if may_be_folder else f"dataset {repo_id}"
        raise NotFoundError(
            f"There is no {missing} on {hub.endpoint} that this account may see.",
            hint="Check the spelling, and which account the token belongs to.",
            what="repo",
        )
    if head.missing:
        hint = "It is a branch, a tag or a commit id."
        raise NotFoundError(f"{repo_id} has no revision {options.revision!r}.", hint=hint, what="revision")
    own = {} if options.layout else {name: known for name in head.remote.indexes if (known := _known(head, name))}
    shards = {path for one in own.values() for path in one.shards}
    tree = RepoTree(hub, repo_id, head.state.commit, head.state.files, shards, whole=whole)
    match = _others(tree, own, options.layout, findings)
    if options.columns and match is None:
        message = f"--column names columns of a table; {repo_id} was written by qflux, whose columns are known."
        raise UsageError(message, hint="Leave it out.")
    there = sorted({*own, *match.splits} if match else own, key=split_rank)
    unknown = [split for split in options.splits if split not in there]
    if unknown:
        names = " or ".join(map(repr, unknown))
        raise NotFoundError(f"{repo_id} has no split {names}.", hint=f"It has: {', '.join(there) or 'none'}.")
    scan = Scan(repo_id, HUB, {}, findings)
    with progress.task("Reading", None, "samples") as task:
        for split in options.splits or there:
            samples: Iterable[Sample] = ()
            if split in own:
                samples = _samples(hub, repo_id, head.state, split, own[split], ranges)
            elif match:
                samples = match.layout.read(tree, split, options.columns, findings.append)
            scan.splits[split] = list(counted(samples, task))
    return RepoScan(scan, own, tree)


def _known(head: Head, split: str) -> Index | None:
    """The index of a split, if it tells of all that lies there."""
    return head.remote.indexes[split] if head.is_known(split) else None


def _others(
    tree: RepoTree, own: Mapping[str, Index], layout: str | None, findings: list[Finding]
) -> layouts.Match | None:
    """The layout of what lies in the repo without an index; None when there is nothing else.

    Raises LayoutError when nothing in the repo can be read.
    """
    met: list[Finding] = []
    try:
        match = layouts.detect(tree, layout, met.append)
    except LayoutError as error:
        if not own:
            raise
        paths = [f"{folder}/{name}".lstrip("/") for folder, names in tree.files.items() for name in names]
        if data := [path for path in paths if path.endswith((".parquet", ".tar"))]:
            others = f" and {len(data) - 1:,} others are" if len(data) > 1 else " is"
            message = f"{data[0]}{others} left aside: no index tells of it. {error.message.splitlines()[0]}"
            findings.append(codes.UNINDEXED_DATA(data[0], message))
        return None
    splits = tuple(split for split in match.splits if split not in own)
    findings += met
    return layouts.Match(match.layout, splits) if splits else None


def _samples(
    hub: Hub, repo_id: str, state: RepoState, split: str, known: Index, ranges: Ranges | None
) -> Sequence[Sample]:
    """The samples that an index tells of, in source order."""
    rows = {row.id: row for row in known.entries}
    found = list(hubrows.samples(hub, repo_id, state, split, known, rows, ranges))
    if len(found) < len(rows):
        raise VerificationError(f"The shards of {split!r} lack {len(rows) - len(found):,} samples of its index.")
    return sorted(found, key=lambda sample: rows[sample.id].order)
