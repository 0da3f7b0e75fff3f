"""The gallery: samples as pictures, in one page that needs nothing else, or served as they are looked at.

    SOURCE -> scan and findings -> gallery -> one page, written once      (``out``)
                                           -> pages and pictures on loopback, made when asked for   (``serve``)

Pictures are always drawn anew, small and without metadata, so no byte of the source's files reaches the browser as it
is; prompts and names reach it as text only.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from qflux_hub import disk
from qflux_hub.errors import UsageError
from qflux_hub.options import PreviewKeywords, PreviewOptions
from qflux_hub.report import Finding, Progress
from qflux_hub.source import Source

SUFFIXES = (".html", ".htm")


@dataclass(slots=True)
class Preview:
    """A gallery that was made: ``page`` is the file that was written, or ``url`` where it is served.

    ``splits``: samples of each. ``shown``: how many samples the gallery has, fewer than there are when a page would
    become too heavy. ``pictures``: "made", "unreadable", "side" in pixels. ``bytes``: "read" from the images, "page".
    A served one is served until ``close``, or as long as a ``with`` block; ``wait`` serves until Ctrl-C.
    """

    source: str
    layout: str
    page: str | None
    url: str | None
    splits: Mapping[str, int]
    shown: int
    pictures: Mapping[str, int]
    bytes: Mapping[str, int]
    findings: Sequence[Finding]
    counts: Mapping[str, int]
    seconds: float = 0.0
    _stop: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    @property
    def answer(self) -> str:
        """The one thing a script wants, as ``--quiet`` prints it: where the gallery is."""
        return self.page or self.url or ""

    def to_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "source": self.source,
            "layout": self.layout,
            "page": self.page,
            "url": self.url,
            "splits": dict(self.splits),
            "shown": self.shown,
            "pictures": dict(self.pictures),
            "bytes": dict(self.bytes),
            "findings": [finding.to_dict() for finding in self.findings],
            "counts": dict(self.counts),
            "seconds": round(self.seconds, 3),
        }

    def wait(self) -> None:
        """Serve until SIGINT or SIGTERM, then close. Only in the main thread; at once when nothing is served."""
        if self._stop is None:
            return
        done = threading.Event()
        before = {number: signal.signal(number, lambda *_: done.set()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            done.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.close()

    def close(self) -> None:
        """Stop serving. Nothing happens when nothing is served."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def preview_dataset(
    source: Source,
    *,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    **options: Unpack[PreviewKeywords],
) -> Preview:
    """Make a gallery of a folder, or of the dataset repo called ``source`` when there is no such path here.

    Writes one self-contained page to ``out``, by default ``<name>-preview.html`` in the current folder; an existing
    one is replaced, whole or not at all. With ``serve`` nothing is written: the gallery is served on loopback, under
    an address that cannot be guessed, and pictures are made when they are looked at. Of a repo only the byte ranges of
    the pictures that are shown are read.

    Of a folder, all findings of ``check_dataset`` stand beside its samples; what was read for them is remembered, so
    that only the first time takes as long as a check. A folder never costs a request. Options:
    ``options.PreviewOptions``. Raises LayoutError when nothing can be read as a dataset; for a repo AuthError,
    NotFoundError, HubError.
    """
    from qflux_hub.preview import page, serve
    from qflux_hub.preview.gallery import Gallery
    from qflux_hub.preview.opened import open_source

    chosen = PreviewOptions(out=None if out is None else os.fspath(out), **options)
    progress = progress or Progress()
    started = time.perf_counter()
    target = None if chosen.serve else _target(source, out)
    if chosen.serve and out is not None:
        raise UsageError("--out and --serve exclude each other.", hint="Call it twice for both.")
    if chosen.port and not chosen.serve:
        raise UsageError("--port is for --serve.", hint="Add --serve, or leave it out.")
    if not 0 <= chosen.port < 1 << 16:
        raise UsageError(f"--port {chosen.port} is none.", hint="It is at most 65535; 0 is any that is free.")
    with ExitStack() as stack:
        opened = open_source(source, chosen, progress, stack)
        gallery = Gallery.of(opened, most_pictures=None if chosen.serve else page.MOST_PICTURES)
        result = Preview(
            source=opened.scan.source,
            layout=opened.scan.layout,
            page=None,
            url=None,
            splits={split: len(samples) for split, samples in opened.scan.splits.items()},
            shown=len(gallery.samples),
            pictures={"made": 0, "unreadable": 0, "side": 0},
            bytes={"read": 0, "page": 0},
            findings=opened.scan.findings,
            counts={},
        )
        if target is None:
            result.url = stack.enter_context(serve.serving(gallery, chosen.port))
            result._stop = stack.pop_all().close
        else:
            with disk.writing_to(target):
                written = page.write(gallery, target, progress)
            result.page = os.fspath(target)
            result.pictures = {"made": written.made, "unreadable": written.unreadable, "side": written.side}
            result.bytes = {"read": written.read, "page": written.size}
    result.counts = opened.scan.counts()
    result.seconds = time.perf_counter() - started
    return result


def _target(source: Source, out: str | os.PathLike[str] | None) -> Path:
    """The file to write. Raises UsageError before any work is done when it cannot be one."""
    if out is None:
        named = Path(source)
        out = f"{named.name if named.name not in ('', '..') else named.resolve().name or 'dataset'}-preview.html"
    target = Path(out)
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{os.fspath(out)!r} is no name for a page.", hint="It ends with .html.")
    disk.require_writable(target)
    if target.is_dir():
        raise UsageError(f"{os.fspath(out)!r} is a folder.", hint="Name the file to write.")
    if not target.parent.is_dir():
        raise UsageError(f"There is no folder {os.fspath(target.parent)!r} to write to.", hint="Make it first.")
    return target
