"""Byte ranges of files on a Hub, read with their neighbours: what lies close together is fetched at once, and once.

Windows are up to 8 MB; what is large by itself is read in pieces of that size. A few of them are under way or held at
any time, so memory is bounded whatever is asked for; who asks in the order of ``place`` gets every window fetched just
before it is needed.
"""

from __future__ import annotations

import io
import logging
import threading
from bisect import bisect_right
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

from qflux_hub import lanes
from qflux_hub.hub import Hub
from qflux_hub.parts import SMALL, part
from qflux_hub.sample import Blob

WINDOW, GAP = 8 << 20, 256 << 10
"""Bytes that are fetched at once, and those between two wanted ranges that are fetched along with them."""
_HELD, _AHEAD = 8, 3
_FAST = 4
"""How many times more where the whole line was asked for."""
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Span:
    """Opens one range of a file on the Hub, through ``ranges`` where there are some."""

    hub: Hub
    repo_id: str
    commit: str
    path: str
    offset: int
    length: int
    ranges: Ranges | None = None

    def __call__(self, name: str) -> BinaryIO:  # noqa: ARG002 - every opener takes the blob's name
        """The bytes of the range, in memory; of a large one, as many at a time as windows have."""
        if self.length >= SMALL:
            return part(self.length, self.fetch, piece=WINDOW)
        return io.BytesIO(self.ranges.read(self) if self.ranges else self.fetch())

    def fetch(self, at: int = 0, length: int | None = None) -> bytes:
        """The bytes, or some of them, by a request of their own."""
        start = self.offset + at
        end = start + (self.length if length is None else length)
        data = self.hub.read(self.repo_id, self.path, self.commit, (start, end)) if start < end else b""
        return self.ranges.counted(data) if self.ranges else data

    def __reduce__(self) -> tuple[object, ...]:
        """What is fetched along with others here is fetched alone elsewhere."""
        return Span, (self.hub, self.repo_id, self.commit, self.path, self.offset, self.length)


@dataclass(frozen=True, slots=True)
class _Window:
    path: str
    start: int
    end: int


class Ranges:
    """The windows over all ranges that will be asked for. Use as a context manager; ``received`` counts bytes."""

    def __init__(self) -> None:
        self.received = 0
        self._windows: list[_Window] = []
        self._keys: list[tuple[str, int]] = []
        self._loads: dict[int, Future[bytes]] = {}
        self._begun: set[int] = set()
        self._lock = threading.Lock()
        self._factor = _FAST if lanes.is_accelerated() else 1
        self._pool = ThreadPoolExecutor(self._factor * _AHEAD + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def expect(self, blobs: Iterable[Blob]) -> None:
        """Say what will be asked for."""
        spans = [blob.opener for blob in blobs if isinstance(blob.opener, Span) and blob.size < SMALL]
        self._windows = []
        for span in sorted(spans, key=lambda span: (span.path, span.offset)):
            end, last = span.offset + span.length, self._windows[-1] if self._windows else None
            near = last is not None and last.path == span.path and span.offset <= last.end + GAP
            if last is not None and near and end - last.start <= WINDOW:
                self._windows[-1] = _Window(last.path, last.start, max(last.end, end))
            elif last is None or not (near and end <= last.end):
                self._windows.append(_Window(span.path, span.offset, end))
        self._keys = [(window.path, window.start) for window in self._windows]
        if self._windows:
            most = self._factor * _AHEAD + 1
            _LOGGER.info("Content travels by HTTP, in byte ranges, up to %s at once.", most)

    def read(self, span: Span) -> bytes:
        """The bytes of a range; those around it are fetched along with it, and the next windows after it."""
        number = bisect_right(self._keys, (span.path, span.offset)) - 1
        window = self._windows[number] if number >= 0 else None
        if window is None or window.path != span.path or span.offset + span.length > window.end:
            return span.fetch()
        with self._lock:
            load = self._loads.get(number)
            if load is None and number in self._begun:  # it was let go: whoever asks out of order gets it alone
                pass
            else:
                for one in range(number, min(number + 1 + self._factor * _AHEAD, len(self._windows))):
                    if one not in self._begun:
                        self._begun.add(one)
                        self._loads[one] = self._pool.submit(self._fetch, span, self._windows[one])
                load = self._loads[number]
                self._let_go(number)
        if load is None:
            return span.fetch()
        start = span.offset - window.start
        return load.result()[start : start + span.length]

    def _let_go(self, used: int) -> None:
        """Forget the windows that were begun first; ``used`` becomes the last one to go."""
        self._loads[used] = self._loads.pop(used)
        while len(self._loads) > self._factor * _HELD:
            self._loads.pop(next(iter(self._loads))).cancel()

    def _fetch(self, span: Span, window: _Window) -> bytes:
        return self.counted(span.hub.read(span.repo_id, window.path, span.commit, (window.start, window.end)))

    def counted(self, data: bytes) -> bytes:
        """The same bytes; how many they are is remembered."""
        with self._lock:
            self.received += len(data)
        return data


def place(blob: Blob) -> tuple[str, int]:
    """Where a blob lies: asked for in this order, all are fetched just before they are needed."""
    return (blob.opener.path, blob.opener.offset) if isinstance(blob.opener, Span) else ("", 0)
