"""Write a dataset of a Hub out as files: straight from its shards, by the byte ranges that its index tells.

Splits without an index, and repos that something else wrote, are read by the layout that they have. Every image is
compared with its recorded SHA-256 and every text with its hash; files that are there and equal are not fetched again,
so the same command goes on where it was stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Unpack

from qflux_hub import layouts
from qflux_hub.hub import check_repo_id, open_hub
from qflux_hub.hubscan import read_repo
from qflux_hub.options import DownloadKeywords, DownloadOptions
from qflux_hub.ranges import Ranges, place
from qflux_hub.report import Progress, WriteReport
from qflux_hub.source import keep_only, stop_at_errors
from qflux_hub.writing import FETCHERS, WORKERS, Output, require_folder


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
    require_folder(dest)
    started = time.perf_counter()
    with open_hub(chosen.hub, chosen.token) as hub, Ranges() as ranges:
        repo = read_repo(hub, repo_id, chosen, progress, whole=not chosen.only, ranges=ranges)
        scan = repo.scan
        stop_at_errors(scan, "nothing was written", strict=False)
        keep_only(scan, chosen.only)

        def arrange(outputs: Iterable[Output]) -> Iterator[Output]:
            """As they lie in the shards."""
            files = list(outputs)
            ranges.expect(
                blob for one in files for blob in ([one.blob] if one.blob else one.reads() if one.reads else ())
            )
            yield from sorted(files, key=lambda one: (0, *place(one.blob)) if one.blob else (1, "", 0))

        at_once = WORKERS if repo.indexes else FETCHERS  # what the index tells of is fetched many files at a time
        lost, done = layouts.write(
            layout, scan.splits, dest, force=chosen.force, progress=progress, arrange=arrange, copiers=at_once
        )
    return WriteReport(
        source=repo_id,
        dest=os.fspath(dest),
        layout=layout.NAME,
        splits={split: len(samples) for split, samples in scan.splits.items()},
        lost=lost,
        bytes={"read": ranges.received + repo.tree.received, "written": done.written, "kept": done.kept},
        findings=[*scan.findings, *done.findings],
        seconds=time.perf_counter() - started,
    )
