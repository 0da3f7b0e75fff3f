"""Convert a dataset on disk from one layout to another: images keep their bytes, what gets lost is said first."""

from __future__ import annotations

import os
import time
from typing import Unpack

from qflux_hub import layouts
from qflux_hub.errors import UsageError
from qflux_hub.options import ConvertKeywords, ConvertOptions
from qflux_hub.report import Progress, WriteReport
from qflux_hub.source import Source, keep_only, look_at_images, read_source, stop_at_errors
from qflux_hub.spill import Spilled
from qflux_hub.state import remember
from qflux_hub.writing import require_folder


def convert_dataset(
    source: Source,
    dest: str | os.PathLike[str],
    *,
    as_: str,
    progress: Progress | None = None,
    **options: Unpack[ConvertKeywords],
) -> WriteReport:
    """Write the dataset ``source`` to the folder ``dest`` in the layout called ``as_``.

    Images keep their bytes, and their names where the layout allows. What it cannot hold is in ``lost`` of the report,
    and is said to ``progress`` before anything is written. Files that are there and equal stay, so that the same
    command goes on where it was stopped. Options: ``options.ConvertOptions``. Raises DataError for a source with
    errors, RefusedError when a file is there with another content.
    """
    chosen, progress = ConvertOptions(as_=as_, **options), progress or Progress()
    layout = layouts.called(chosen.as_)
    require_folder(dest)
    _require_apart(source, dest)
    started = time.perf_counter()
    scan = read_source(source, chosen, progress, held=Spilled)
    keep_only(scan, chosen.only, held=Spilled)
    if chosen.decode:
        with remember(source) as memory:
            look_at_images(scan, memory, progress, decode=True)
    stop_at_errors(scan, "nothing was written", strict=False)
    lost, done = layouts.write(layout, scan.splits, dest, force=chosen.force, progress=progress)
    return WriteReport(
        source=scan.source,
        dest=os.fspath(dest),
        layout=layout.NAME,
        splits={split: len(samples) for split, samples in scan.splits.items()},
        lost=lost,
        bytes={"read": scan.counts()["bytes"], "written": done.written, "kept": done.kept},
        findings=[*scan.findings, *done.findings],
        seconds=time.perf_counter() - started,
    )


def _require_apart(source: Source, dest: str | os.PathLike[str]) -> None:
    """Raises UsageError when one folder lies in the other: what is written must not be read as part of the source."""
    read, written = (f"{os.path.realpath(place)}{os.sep}" for place in (source, dest))
    if read.startswith(written) or written.startswith(read):
        raise UsageError(
            f"{os.fspath(dest)} and {os.fspath(source)} lie in one another.", hint="Write to another folder."
        )
