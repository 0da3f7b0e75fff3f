"""What a gallery shows: a folder as ``qflux check`` reads it, or a dataset repo as its index describes it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field

from qflux_hub import codes, index, remote
from qflux_hub.errors import LayoutError, NotFoundError, UsageError
from qflux_hub.hub import Hub, check_repo_id, open_hub
from qflux_hub.options import CheckOptions, PreviewOptions
from qflux_hub.report import Progress
from qflux_hub.sample import Blob
from qflux_hub.source import Scan, Source, check_dataset, judge_samples, look_at_images, read_source
from qflux_hub.state import remember

HUB = "hub"
"""What stands for the layout of a repo."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A scan, and the sizes of images that are known without opening them: width and height as displayed, in pixels."""

    scan: Scan
    sizes: dict[Blob, tuple[int, int]] = field(default_factory=dict)


def open_source(
    source: Source, options: PreviewOptions, progress: Progress, stack: ExitStack, *, whole: bool
) -> Opened:
    """Read ``source`` and judge it; with ``whole``, every image of a folder is read once for its findings.

    An existing path is a folder, whatever a Hub has under that name. A connection stays open as long as ``stack``.
    """
    name = os.fspath(source)
    if os.path.lexists(name) or not _may_be_a_repo(name):
        return _folder(source, options, progress, whole=whole)
    check_repo_id(name)
    return _repo(stack.enter_context(open_hub(options.hub, options.token)), name, options, progress)


def _may_be_a_repo(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/")


def _folder(source: Source, options: PreviewOptions, progress: Progress, *, whole: bool) -> Opened:
    if whole:
        scan = check_dataset(
            source,
            layout=options.layout,
            columns=options.columns,
            splits=options.splits,
            follow_links=options.follow_links,
            decode=options.decode,
            progress=progress,
        )
    else:
        scan = read_source(source, options, progress)
        judge_samples(scan, CheckOptions())
        with remember(source) as memory:
            look_at_images(scan, memory, progress, decode=options.decode)
    facts = ((blob, scan.facts[blob.name]) for blob in scan.blobs().values())
    return Opened(scan, {blob: (fact.width, fact.height) for blob, fact in facts if fact.width})


def _repo(hub: Hub, repo_id: str, options: PreviewOptions, progress: Progress) -> Opened:
    if options.layout or options.columns or options.follow_links:
        raise UsageError(
            f"There is no folder {repo_id!r}, and a repo has no layout, columns or links to choose.",
            hint="Without these options the dataset repo of that name is shown.",
        )
    scan = Scan(repo_id, HUB, {}, list(hub.findings))
    head = remote.read(hub, repo_id, options.revision, scan.findings.append, card=False)
    if head.state is None:
        raise NotFoundError(
            f"There is no folder {repo_id!r} here, and no such dataset on {hub.endpoint} that this account may see.",
            hint="Check the spelling, and which account the token belongs to.",
            what="repo",
        )
    if head.missing:
        raise NotFoundError(
            f"{repo_id} has no revision {options.revision!r}.",
            hint="It is a branch, a tag or a commit id.",
            what="revision",
        )
    indexes = head.remote.indexes
    if not indexes:
        raise LayoutError(
            f"{repo_id} has no index of its images; qflux did not write it.",
            hint="Download it with `qflux download-dataset`, and preview the folder.",
        )
    indexed = {shard for known in indexes.values() for shard in known.shards}
    unseen = sorted(path for path in head.remote.files if _is_data(path) and path not in indexed)
    if unseen:
        others = f" and {len(unseen) - 1:,} others" if len(unseen) > 1 else ""
        message = f"{unseen[0]}{others} cannot be shown: something else than qflux wrote this, without an index."
        scan.findings.append(codes.UNINDEXED_DATA(unseen[0], message))
    unknown = [split for split in options.splits if split not in indexes]
    if unknown:
        raise UsageError(
            f"{repo_id} has no split {' or '.join(map(repr, unknown))}.", hint=f"It has: {', '.join(sorted(indexes))}."
        )
    opened = Opened(scan)
    with progress.task("Reading", None, "samples") as task:
        for split in options.splits or sorted(indexes, key=lambda split: (split != "train", split)):
            known = indexes[split]
            rows = {row.id: row for row in known.entries}
            samples = scan.splits[split] = []
            for sample in remote.samples(hub, repo_id, head.state.commit, split, known, rows):
                samples.append(sample)
                facts = zip(sample.media(), rows[sample.id].media, strict=True)
                opened.sizes.update({blob: (media.width, media.height) for (_, blob), media in facts})
                task.advance()
            samples.sort(key=lambda sample: rows[sample.id].order)
    judge_samples(scan, CheckOptions())
    if options.decode:
        with remember(repo_id) as memory:  # which knows nothing of a repo's files, and learns nothing
            look_at_images(scan, memory, progress, decode=True)
    return opened


def _is_data(path: str) -> bool:
    return path.endswith(".parquet") and index.split_of(path) is None
