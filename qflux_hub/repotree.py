"""A dataset repo on a Hub as a tree: the same layouts read it that read a local folder.

Small files are read as they are asked for, prompts many at a time, and compared with what the Hub lists. Of tars and
Parquet files only the blocks that are looked into are fetched; with ``whole``, when all of them is wanted, they are
downloaded into the hub's cache instead, which is faster, and compared with their SHA-256.
"""

from __future__ import annotations

import io
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Self

from qflux_hub.errors import VerificationError
from qflux_hub.fetch import fetch_to_cache
from qflux_hub.hub import Hub
from qflux_hub.naming import PROMPT_EXTENSION, is_litter
from qflux_hub.parts import SMALL, part
from qflux_hub.report import Finding, Progress
from qflux_hub.repos import RemoteFile
from qflux_hub.sample import Blob

_PACKED = (".parquet", ".tar")
_TEXTS, _READERS = 64, 16
"""Prompts that are fetched together, and how many of them at once."""
_BLOCK, _MOST, _HELD = 64 << 10, 8 << 20, 128
"""Bytes of a block; those that are fetched at once when blocks are read one after the other; blocks that are held."""


class RepoTree:
    """The files of a repo at one commit, but for hidden ones and those ``without``.

    ``received`` counts the bytes of what was read or downloaded.
    """

    def __init__(
        self,
        hub: Hub,
        repo_id: str,
        commit: str,
        files: Mapping[str, RemoteFile],
        without: Collection[str] = (),
        *,
        whole: bool,
    ) -> None:
        self.name = repo_id
        self.findings: list[Finding] = []
        self.files: dict[str, list[str]] = {}
        self._listed = files
        self._opener = _RepoOpener(hub, repo_id, commit, files, whole=whole)
        self._texts: dict[str, bytes] = {}
        self._fetched: set[str] = set()
        for path in sorted(files):
            folder, _, name = path.rpartition("/")
            if path not in without and not any(map(is_litter, path.split("/"))):
                self.files.setdefault(folder, []).append(name)

    @property
    def received(self) -> int:
        """Bytes that were read or downloaded until now."""
        return self._opener.received

    def blob(self, path: str) -> Blob:
        """The file at ``path``, verified when it is read as a whole."""
        if path not in self._listed:
            raise FileNotFoundError(2, "No such file", path)
        file = self._listed[path]
        return Blob(path, file.size, self._opener, sha256=bytes.fromhex(file.sha256) if file.sha256 else None)

    def read(self, path: str) -> bytes:
        """All bytes of a small file; with a prompt, those that come after it in its folder are fetched."""
        if path not in self._fetched and path.endswith(PROMPT_EXTENSION):
            batch = [path, *islice(self._after(path), _TEXTS - 1)]
            with ThreadPoolExecutor(_READERS) as pool:
                self._texts.update(zip(batch, pool.map(self._opener.content, batch), strict=True))
            self._fetched.update(batch)
        if path in self._texts:
            return self._texts.pop(path)
        with self.blob(path).open() as file:
            return file.read()

    def _after(self, path: str) -> Iterator[str]:
        """The small texts of a folder that come after one, but for those that were fetched."""
        folder, _, name = path.rpartition("/")
        names = self.files.get(folder, [])
        for other in islice(names, bisect_right(names, name), None):
            beside = f"{folder}/{other}".lstrip("/")
            if other.endswith(PROMPT_EXTENSION) and beside not in self._fetched and self._listed[beside].size < _BLOCK:
                yield beside


class _RepoOpener:
    """Opens the files of a repo; what was downloaded and compared once is not again."""

    def __init__(self, hub: Hub, repo_id: str, commit: str, files: Mapping[str, RemoteFile], *, whole: bool) -> None:
        self._hub, self._repo_id, self._commit, self._files, self._is_whole = hub, repo_id, commit, files, whole
        self._downloaded: dict[str, Path] = {}
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._runs: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self.received = 0

    def __reduce__(self) -> tuple[object, ...]:
        make = partial(_RepoOpener, whole=self._is_whole)
        return make, (self._hub, self._repo_id, self._commit, self._files)

    def __call__(self, name: str) -> BinaryIO:
        """The file's bytes, seekable."""
        size = self._files[name].size
        if not name.endswith(_PACKED):
            whole = size < SMALL
            return io.BytesIO(self.content(name)) if whole else part(size, partial(self._some, name), piece=_MOST)
        return self._whole(name).open("rb") if self._is_whole else _Blocks(self, name, size)

    def content(self, name: str) -> bytes:
        """A file's bytes, compared with what the Hub lists; read once more when they come altered."""
        for _ in range(2):
            data = self._counted(self._hub.read(self._repo_id, name, self._commit))
            if self._files[name].holds(data):
                return data
        raise self._altered(name)

    def _some(self, name: str, start: int, count: int) -> bytes:
        """Bytes of a large file, which are compared with what the Hub lists by whoever reads all of them."""
        return self.span(name, start, start + count) if count else b""

    def span(self, name: str, start: int, end: int) -> bytes:
        """The bytes of a range: large ones by a request of their own, others as parts of blocks."""
        if end - start >= _BLOCK:
            return self._counted(self._hub.read(self._repo_id, name, self._commit, (start, end)))
        first, last = start // _BLOCK, (end - 1) // _BLOCK
        data = b"".join(self._block(name, number) for number in range(first, last + 1))
        return data[start - first * _BLOCK : end - first * _BLOCK]

    def _block(self, name: str, number: int) -> bytes:
        """A block; along with it the next ones, ever more of them, when the one before was asked for last."""
        with self._lock:
            held = self._blocks.get((name, number))
            if held is not None:
                self._blocks.move_to_end((name, number))
                return held
            after, length = self._runs.get(name, (-1, 0))
            length = min(2 * length, _MOST // _BLOCK) if number == after else 1
            start, end = number * _BLOCK, min((number + length) * _BLOCK, self._files[name].size)
            self._runs[name] = number + length, length
        data = self._counted(self._hub.read(self._repo_id, name, self._commit, (start, end)))
        with self._lock:
            for place in range(0, len(data), _BLOCK):
                self._blocks[name, number + place // _BLOCK] = data[place : place + _BLOCK]
            while len(self._blocks) > 2 * _HELD:
                self._blocks.popitem(last=False)
        return data[:_BLOCK]

    def _counted(self, data: bytes) -> bytes:
        with self._lock:
            self.received += len(data)
        return data

    def _whole(self, name: str) -> Path:
        """The file in the cache, compared with the listed hash."""
        with self._lock:
            if name not in self._downloaded:
                (file,) = self._hub.heads(self._repo_id, [name], self._commit)
                fetched = fetch_to_cache(self._hub, self._repo_id, file, self._commit, Progress(), "dataset")
                self._downloaded[name] = fetched.path
                self.received += fetched.received
            return self._downloaded[name]

    def _altered(self, name: str) -> VerificationError:
        return VerificationError(
            f"{name} of {self._repo_id} arrives with other bytes than the Hub lists, twice.",
            hint="Something on the way, or this disk, alters data.",
        )


class _Blocks(io.RawIOBase, BinaryIO):
    """A file of a repo of which only the blocks are fetched that are read."""

    def __init__(self, opener: _RepoOpener, name: str, size: int) -> None:
        self._opener, self._name, self._size, self._at = opener, name, size, 0

    def read(self, size: int = -1, /) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        data = self._opener.span(self._name, self._at, end) if end > self._at else b""
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self
