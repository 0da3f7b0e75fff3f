"""What a gallery shows: a folder as ``qflux check`` reads it, or a dataset repo."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field

from qflux_hub.errors import UsageError
from qflux_hub.hub import Hub, check_repo_id, open_hub
from qflux_hub.hubscan import read_repo
from qflux_hub.options import CheckOptions, PreviewOptions
from qflux_hub.report import Progress
from qflux_hub.sample import Blob
from qflux_hub.source import Scan, Source, check_dataset, judge_samples, look_at_images
from qflux_hub.state import remember


@dataclass(frozen=True, slots=True)
class Opened:
    """A scan, and the sizes of images that are known without opening them: width and height as displayed, in pixels."""

    scan: Scan
    sizes: dict[Blob, tuple[int, int]] = field(default_factory=dict)


def open_source(source: Source, options: PreviewOptions, progress: Progress, stack: ExitStack) -> Opened:
    """Read ``source`` and judge it: a folder as a check does, a repo without fetching its images.

    An existing path is a folder, whatever a Hub has under that name. A connection stays open as long as ``stack``.
    """
    name = os.fspath(source)
    if os.path.lexists(name) or not _may_be_a_repo(name):
        if options.revision:
            message = f"--revision is for a repo, and {name!r} is looked for as a folder."
            raise UsageError(message, hint="Leave it out, or give user/name of a repo.")
        return _folder(source, options, progress)
    check_repo_id(name)
    return _repo(stack.enter_context(open_hub(options.hub, options.token)), name, options, progress)


def _may_be_a_repo(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/")


def _folder(source: Source, options: PreviewOptions, progress: Progress) -> Opened:
    scan = check_dataset(
        source,
        layout=options.layout,
        columns=options.columns,
        splits=options.splits,
        follow_links=options.follow_links,
        decode=options.decode,
        progress=progress,
    )
    facts = ((blob, scan.facts[blob.name]) for blob in scan.blobs().values())
    return Opened(scan, {blob: (fact.width, fact.height) for blob, fact in facts if fact.width})


def _repo(hub: Hub, repo_id: str, options: PreviewOptions, progress: Progress) -> Opened:
    if options.follow_links:
        raise UsageError(f"There is no folder {repo_id!r}, and a repo has no links.", hint="Leave --follow-links out.")
    repo = read_repo(hub, repo_id, options, progress, whole=False)
    opened = Opened(repo.scan)
    for split, known in repo.indexes.items():
        rows = {row.id: row for row in known.entries}
        for sample in repo.scan.splits.get(split, ()):
            facts = zip(sample.media(), rows[sample.id].media, strict=True)
            opened.sizes.update({blob: (media.width, media.height) for (_, blob), media in facts})
    judge_samples(repo.scan, CheckOptions())
    if options.decode:
        with remember(repo_id) as memory:  # which knows nothing of a repo's files, and learns nothing
            look_at_images(repo.scan, memory, progress, decode=True)
    return opened
