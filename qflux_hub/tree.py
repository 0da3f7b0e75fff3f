"""A ``Tree`` is one sorted listing of files and a way to open them; here for a local folder.

Paths use ``/`` and are relative to the tree's root. The listing is made by one walk with ``os.scandir``, without a
``stat`` per file (measured: 3 million files in 2.7 s); sizes are asked for only when a blob is made.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import BinaryIO, Protocol, overload

from qflux_hub import codes
from qflux_hub.errors import LayoutError, UsageError
from qflux_hub.naming import is_junk, is_litter
from qflux_hub.report import Finding
from qflux_hub.sample import Blob, Stamp, stamp
from qflux_hub.spill import Shared

_PIECE = 1 << 16
_MANY = 1_000
"""From this many names on, a folder's listing is kept as ``Names``."""
_RUN = 4_096
"""Names that are sorted at once; of a larger folder, sorted runs are merged."""
_TOGETHER = 128
"""Names in one string: objects for all names take four times the memory; one string for all could not be searched."""


class Tree(Protocol):
    """What layouts read from."""

    @property
    def name(self) -> str:
        """How the user called it."""

    @property
    def files(self) -> Mapping[str, Sequence[str]]:
        """Folder ("" for the root) -> the sorted names of its files. Every folder that holds a file is there."""

    @property
    def findings(self) -> Sequence[Finding]:
        """What the walk met and left out."""

    def blob(self, path: str) -> Blob:
        """The file at ``path``. Raises OSError with this ``filename`` when it cannot be had, or is gone meanwhile."""

    def read(self, path: str) -> bytes:
        """All bytes of a small file; raises like ``blob``."""


@dataclass(frozen=True, slots=True)
class FolderOpener(Shared):
    """Opens the files of one local folder by their relative path."""

    root: str

    def __call__(self, name: str) -> BinaryIO:
        """Unbuffered: callers read in large pieces."""
        return open(f"{self.root}/{name}", "rb", buffering=0)  # noqa: PTH123 - the caller closes


def unreadable(error: OSError, sample: tuple[str, str] | None = None, line: int | None = None) -> Finding:
    """The finding for a file or folder of a tree that could not be opened."""
    message = f"{error.filename} cannot be read: {error.strerror}."
    return codes.UNREADABLE_FILE(error.filename, message, line=line, sample=sample)


class Names(Sequence[str]):
    """The sorted names of a folder, joined in pieces and made anew for whoever asks: a quarter of the memory of a list.

    Names are joined with NUL, which no name has and which sorts before all that one can go on with. So pieces sort
    like the names that they begin with, and are searched like those.
    """

    __slots__ = ("_count", "_pieces")

    def __init__(self, names: Iterable[str]) -> None:
        self._pieces: list[str] = []
        self._count, left = 0, iter(names)
        while together := [*islice(left, _TOGETHER)]:
            self._pieces.append("\0".join(together))
            self._count += len(together)

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(piece.split("\0") for piece in self._pieces)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in Cursor(self)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [*self][at]
        piece, within = divmod(range(self._count)[at], _TOGETHER)
        return self._pieces[piece].split("\0")[within]

    @classmethod
    def sorted(cls, names: Iterable[str]) -> Sequence[str]:
        """``names`` in order; those of a large folder without an object for each at any time."""
        left = iter(names)
        run = sorted(islice(left, _RUN))
        if len(run) < _MANY:
            return run
        pieces: list[str] = []
        while run:
            pieces += cls(run)._pieces
            run = sorted(islice(left, _RUN))
        return cls(_merged(pieces))


def _merged(pieces: list[str]) -> Iterator[str]:
    """The names of all pieces, each sorted in itself, in order. ``pieces`` is emptied meanwhile, which frees them.

    What comes before the first name of all pieces to come is in those that were taken.
    """
    pieces.sort(reverse=True)
    names: list[str] = []
    while pieces:
        names += "\0".join(pieces[-_RUN // _TOGETHER :]).split("\0")
        del pieces[-_RUN // _TOGETHER :]
        names.sort()
        sure = bisect_left(names, pieces[-1]) if pieces else len(names)
        yield from names[:sure]
        del names[:sure]


class Cursor:
    """Finds names in a sorted listing, those of a small tree as well. The piece that was looked into last is kept, so
    what lies near is found at once.
    """

    __slots__ = ("_piece", "_pieces")

    def __init__(self, names: Sequence[str]) -> None:
        self._pieces = (names if isinstance(names, Names) else Names(names))._pieces
        self._piece = [""]

    def __contains__(self, name: str) -> bool:
        return name in self.between(name, name + "\x01")  # with a NUL, it would end before a piece that begins so

    def between(self, low: str, high: str) -> Iterable[str]:
        """The names from ``low`` on that come before ``high``, in order."""
        piece = self._piece
        if piece[0] < low and high <= piece[-1]:
            return piece[bisect_left(piece, low) : bisect_left(piece, high)]
        return self._afar(low, high)

    def _afar(self, low: str, high: str) -> Iterable[str]:
        """The same, from the last piece on that begins before ``low``; others are split when it comes to them."""
        at = max(bisect_left(self._pieces, low), 1)
        for piece in self._pieces[at - 1 : at]:
            self._piece = piece.split("\0")
        end = bisect_left(self._pieces, high)
        found = self._piece[bisect_left(self._piece, low) : bisect_left(self._piece, high)]
        if end <= at:
            return found
        further = chain.from_iterable(self._pieces[one].split("\0") for one in range(at, end))
        return chain(found, takewhile(high.__gt__, further))


def stamp_of(file: BinaryIO) -> Stamp:
    """The stamp of an open local file, to compare with that of the blob it was opened from."""
    stat = os.fstat(file.fileno())
    return stamp(stat.st_mtime_ns, stat.st_ino)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A folder still to be listed: its path, that path with links resolved, and those of the folders it lies in.

    A link to one of the latter ends the walk instead of going round.
    """

    path: str
    real: str
    above: frozenset[str]


class FolderTree:
    """A local folder, listed once when it is made.

    Links that end outside of ``root`` are left out with a finding, unless ``follow_links``; so are names that are not
    UTF-8. Dot files and systems' litter (AppleDouble, Thumbs.db) are not listed. Raises LayoutError when there is no
    such folder.

    ``junk`` has the paths of the litter that may go; ``links`` those of the links that are followed, to where they end.
    """

    def __init__(self, root: str | os.PathLike[str], *, follow_links: bool = False) -> None:
        self.name = _shown(os.fspath(root))
        self.root = Path(root)
        if not self.name:  # as a path it would be this folder, which nobody means by it
            raise UsageError("The source is an empty text.", hint="For the current folder, write '.'.")
        if not self.root.exists():
            raise LayoutError(f"There is no folder {self.name!r}.", hint="Check the path; it is relative to here.")
        if not self.root.is_dir():
            raise LayoutError(f"{self.name!r} is a file.", hint="Give the folder that holds the dataset.")
        self.findings: list[Finding] = []
        self.junk: list[str] = []
        self.links: dict[str, str] = {}
        self._opener = FolderOpener(os.fspath(self.root))
        self._prefix = f"{self._opener.root}/"
        self._real_root = os.path.realpath(self.root)
        self._follow_links = follow_links
        self.files: dict[str, Sequence[str]] = dict(self._walk())
        self.findings.sort(key=lambda finding: finding.where)

    def _walk(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Every folder with files, parents first, names in code point order."""
        waiting = [_Waiting("", self._real_root, frozenset())]
        while waiting:
            folder = waiting.pop()
            folders: list[_Waiting] = []
            try:
                names = Names.sorted(self._list(folder, folders))
            except OSError as error:
                if not folder.path:
                    raise LayoutError(f"{self.name!r} cannot be listed: {error.strerror}.") from error
                error.filename = folder.path
                self.findings.append(unreadable(error))
                continue
            if names:
                yield folder.path, names
            waiting += sorted(folders, key=lambda folder: folder.path, reverse=True)

    def _list(self, folder: _Waiting, folders: list[_Waiting]) -> Iterator[str]:
        """The files of one folder as they come; the folders in it are put into ``folders``."""
        junk: list[str] = []
        above = folder.above | {folder.real}
        with os.scandir(self._prefix + folder.path) as entries:
            for entry in entries:
                name = entry.name
                if is_litter(name):
                    if is_junk(name) and name == _shown(name) and entry.is_file(follow_symlinks=False):
                        junk.append(f"{folder.path}/{name}".lstrip("/"))
                    continue
                if not (name.isascii() or self._is_decodable(f"{folder.path}/{name}".lstrip("/"))):
                    continue
                if entry.is_file(follow_symlinks=False):
                    yield name
                    continue
                path, target = f"{folder.path}/{name}".lstrip("/"), f"{folder.real}/{name}"
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    if target in above or not self._may_follow(path, target):
                        continue
                    self.links[path] = target
                if entry.is_dir():
                    folders.append(_Waiting(path, target, above))
                elif entry.is_file():
                    yield name
        if junk:
            self._report_junk(sorted(junk))

    def _report_junk(self, paths: list[str]) -> None:
        """One finding for what systems left in a folder."""
        self.junk += paths
        more = {1: " is", 2: " and 1 more file are"}.get(len(paths), f" and {len(paths) - 1:,} more files are")
        message = f"{paths[0]}{more} litter that a system left behind."
        self.findings.append(codes.JUNK(paths[0], message, fix="delete it"))

    def _is_decodable(self, path: str) -> bool:
        try:
            path.encode()
        except UnicodeEncodeError:
            message = f"{_shown(path)} has a name that is not UTF-8; it is left out."
            self.findings.append(codes.UNDECODABLE_NAME(_shown(path), message, fix="rename it"))
            return False
        return True

    def _may_follow(self, path: str, real: str) -> bool:
        if not os.path.exists(real):  # noqa: PTH110 - a string from realpath
            self.findings.append(
                codes.MISSING_FILE(
                    path, f"{path} is a link to {_shown(real)}, which does not exist.", fix="remove the link"
                )
            )
            return False
        inside = os.path.commonpath([real, self._real_root]) == self._real_root
        if not inside and not self._follow_links:
            self.findings.append(
                codes.OUTSIDE_ROOT(
                    path,
                    f"{path} is a link to {_shown(real)}, outside of {self.name}.",
                    fix="copy the file into the folder, or allow links with --follow-links",
                )
            )
            return False
        return True

    def blob(self, path: str) -> Blob:
        """The file at ``path``, with its size and stamp as of now."""
        try:
            stat = os.stat(self._prefix + path)  # noqa: PTH116 - half the cost of Path.stat, once per image
        except OSError as error:
            error.filename = path
            raise
        return Blob(path, stat.st_size, self._opener, stamp(stat.st_mtime_ns, stat.st_ino))

    def read(self, path: str) -> bytes:
        """All bytes of a small file; without a file object, which would take twice the time."""
        try:
            file = os.open(self._prefix + path, os.O_RDONLY)
            try:
                data = os.read(file, _PIECE)
                while piece := os.read(file, _PIECE):
                    data += piece
                return data
            finally:
                os.close(file)
        except OSError as error:
            error.filename = path
            raise


def _shown(path: str) -> str:
    """A path as it can be printed: Python lists bytes that are not UTF-8 as lone surrogates, which cannot."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")
