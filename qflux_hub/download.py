"""Write a dataset of a Hub out as files: straight from its shards, by the byte ranges that its index tells.

Splits without an index, and repos that something else wrote, are read by the layout that they have. Every image is
compared with its recorded SHA-256 and every text with its hash; files that are there and equal are not fetched again,
so the same command goes on where it was stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Unpack

from qflux_hub import layouts, remote
from qflux_hub.errors import LayoutError, NotFoundError, VerificationError
from qflux_hub.hub import Hub, check_repo_id, open_hub
from qflux_hub.index import Index
from qflux_hub.naming import split_rank
from qflux_hub.options import DownloadKeywords, DownloadOptions
from qflux_hub.ranges import Ranges, place
from qflux_hub.remote import Head
from qflux_hub.report import Finding, Progress, WriteReport
from qflux_hub.repotree import RepoTree
from qflux_hub.sample import Sample
from qflux_hub.source import Scan, keep_only, stop_at_errors
from qflux_hub.writing import Output

HUB = "hub"


def download_dataset(
    repo_id: str,
    dest: str | os.PathLike[str],
    *,
    as_: str = "directory",
    progress: Progress | None = None,
    **options: Unpack[DownloadKeywords],
) -> WriteReport:
    """Write the dataset repo ``repo_id`` to the folder ``dest`` in the layout called ``as_``, in source order.

    Files get the names and bytes that were uploaded, where the layout can hold them; what it cannot hold is in ``lost``
    of the report, and is said to ``progress`` before anything is written. Options: ``options.DownloadOptions``. Raises
    AuthError, NotFoundError (repo, revision or split), HubError; VerificationError when bytes differ from those
    recorded; RefusedError when a file is there with another content.
    """
    chosen, progress = DownloadOptions(as_=as_, **options), progress or Progress()
    layout = layouts.called(chosen.as_)
    check_repo_id(repo_id)
    started = time.perf_counter()
    with open_hub(chosen.hub, chosen.token) as hub, Ranges() as ranges:
        scan, tree = _scan(hub, repo_id, chosen, ranges, progress)
        keep_only(scan, chosen.only)

        def arrange(outputs: Iterable[Output]) -> Iterator[Output]:
            """Copies as they lie in the shards, then the files that hold texts."""
            files = list(outputs)
            ranges.expect(blob for one in files for blob in ([one.blob] if one.blob else one.reads))
            yield from sorted(files, key=lambda one: (0, *place(one.blob)) if one.blob else (1, "", 0))

        lost, done = layouts.write(layout, scan.splits, dest, force=chosen.force, progress=progress, arrange=arrange)
    return WriteReport(
        source=repo_id,
        dest=os.fspath(dest),
        layout=layout.NAME,
        splits={split: len(samples) for split, samples in scan.splits.items()},
        lost=lost,
        bytes={"read": ranges.received + tree.received, "written": done.written, "kept": done.kept},
        findings=scan.findings,
        seconds=time.perf_counter() - started,
    )


def _scan(
    hub: Hub, repo_id: str, options: DownloadOptions, ranges: Ranges, progress: Progress
) -> tuple[Scan, RepoTree]:
    """The samples of the wanted splits, in source order, with images as ranges of the shards."""
    findings = list[Finding](hub.findings)
    head = remote.read(hub, repo_id, options.revision, findings.append)
    if head.state is None:
        raise NotFoundError(
            f"There is no dataset {repo_id} on {hub.endpoint} that this account may see.",
            hint="Check the spelling, and which account the token belongs to.",
            what="repo",
        )
    if head.missing:
        hint = "It is a branch, a tag or a commit id."
        raise NotFoundError(f"{repo_id} has no revision {options.revision!r}.", hint=hint, what="revision")
    own = {} if options.layout else {name: known for name in head.remote.indexes if (known := _known(head, name))}
    tree = RepoTree(
        hub, repo_id, head.commit or "", head.remote.files, {path for one in own.values() for path in one.shards}
    )
    match = _others(tree, own, options, findings)
    there = sorted({*own, *match.splits} if match else own, key=split_rank)
    unknown = [split for split in options.splits if split not in there]
    if unknown:
        names = " or ".join(map(repr, unknown))
        raise NotFoundError(f"{repo_id} has no split {names}.", hint=f"It has: {', '.join(there) or 'none'}.")
    scan = Scan(repo_id, HUB, {}, findings)
    with progress.task("Reading", None, "samples") as task:
        for split in options.splits or there:
            scan.splits[split] = []
            samples: Iterable[Sample] = ()
            if split in own:
                samples = _samples(hub, repo_id, head, split, own[split], ranges)
            elif match:
                samples = match.layout.read(tree, split, options.columns, findings.append)
            for sample in samples:
                scan.splits[split].append(sample)
                task.advance()
    stop_at_errors(scan, "nothing was written", strict=False)
    return scan, tree


def _known(head: Head, split: str) -> Index | None:
    """The index of a split, if it tells of all that lies there."""
    return head.remote.indexes[split] if head.is_known(split) else None


def _others(
    tree: RepoTree, own: Mapping[str, Index], options: DownloadOptions, findings: list[Finding]
) -> layouts.Match | None:
    """The layout of what lies in the repo without an index; None when there is nothing else.

    Raises LayoutError when nothing in the repo can be read.
    """
    met: list[Finding] = []
    try:
        match = layouts.detect(tree, options.layout, met.append)
    except LayoutError:
        if own:
            return None
        raise
    splits = tuple(split for split in match.splits if split not in own)
    findings += met
    return layouts.Match(match.layout, splits) if splits else None


def _samples(hub: Hub, repo_id: str, head: Head, split: str, known: Index, ranges: Ranges) -> Sequence[Sample]:
    """The samples that an index tells of, in source order."""
    rows = {row.id: row for row in known.entries}
    found = list(remote.samples(hub, repo_id, head.commit or "", split, known, rows, ranges))
    if len(found) < len(rows):
        raise VerificationError(f"The shards of {split!r} lack {len(rows) - len(found):,} samples of its index.")
    return sorted(found, key=lambda sample: rows[sample.id].order)
