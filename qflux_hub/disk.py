"""Files of the local disk, handled so that neither a crash nor another program loses one.

Nothing is overwritten but on purpose, what is written appears whole or not at all, and what must not be lost is synced.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qflux_hub.errors import QfluxError, UsageError

HEAD = 1 << 16
"""Bytes by which ``head_digest`` knows a file, together with its size: whole images would take long to read."""


_WAYS_OUT = {
    errno.ENOSPC: "Make room, and run the same command again.",
    errno.EDQUOT: "Make room, and run the same command again.",
    errno.EACCES: "Take a place that you may write to, or change its rights.",
    errno.EPERM: "Take a place that you may write to, or change its rights.",
    errno.EROFS: "Take a place that you may write to, or change its rights.",
}


def way_out(error: OSError) -> str:
    """What to do when a place cannot be written to."""
    return _WAYS_OUT.get(error.errno or 0, "Take another place.")


@contextmanager
def writing_to(place: str | os.PathLike[str]) -> Iterator[None]:
    """Tell what a disk refuses as a QfluxError that names ``place`` and a way out."""
    try:
        yield
    except OSError as error:
        raise QfluxError(_refused(place, error), hint=way_out(error)) from error


def require_writable(place: str | os.PathLike[str]) -> None:
    """Raises UsageError, before any work is done, for a place whose name or folder cannot take a file or folder."""
    path = Path(place)
    try:
        with suppress(FileNotFoundError):
            path.lstat()
        folder = next(one for one in path.absolute().parents if one.exists())
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UsageError(_refused(place, error), hint=way_out(error)) from error


def _refused(place: str | os.PathLike[str], error: OSError) -> str:
    """``place`` is shortened: a path that is too long would fill the screen."""
    shown = os.fspath(place)
    shown = shown if len(shown) <= 160 else f"{shown[:80]}…{shown[-60:]}"
    return f"{shown!r} cannot be written to: {error.strerror or error}."


def is_own_folder(root: Path, folder: str) -> bool:
    """Is a folder of ``root``, and no link on the way."""
    path = root / folder
    real = os.path.join(os.path.realpath(root), folder).rstrip("/")  # noqa: PTH118 - beside realpath
    return path.is_dir() and os.path.realpath(path) == real


def move(path: Path, to: Path) -> None:
    """Rename a file to a name that is free. A link and an unlink, because a rename would overwrite."""
    try:
        os.link(path, to, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # no hard links on this disk
        if os.path.lexists(to):
            raise FileExistsError(errno.EEXIST, "the name is taken", os.fspath(to)) from None
        path.rename(to)
    else:
        path.unlink()


def put(fresh: Path, path: Path, beside: Path) -> None:
    """Put a file in the place of another, in one go. From another disk it is copied ``beside`` the other one first."""
    try:
        fresh.replace(path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy(fresh, beside)
        beside.replace(path)
        fresh.unlink()


def write(path: Path, content: bytes, like: Path | None = None) -> None:
    """Write a file that appears whole or not at all; with the mode and owner of ``like``."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            if like:
                stat = like.stat()
                with suppress(OSError):  # only root gives files away
                    os.fchown(file.fileno(), stat.st_uid, stat.st_gid)
                os.fchmod(file.fileno(), stat.st_mode & 0o7777)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def copy(path: Path, to: Path) -> None:
    """Copy a file with its mode and times, so that it is on the disk."""
    shutil.copy2(path, to)
    with to.open("rb") as file:
        os.fsync(file.fileno())


def keep(path: Path, to: Path) -> None:
    """Let a file lie at ``to`` as well: by a hard link, so that it costs nothing, or as a copy."""
    try:
        os.link(path, to, follow_symlinks=False)
    except OSError:  # another disk, or one without hard links
        copy(path, to)


def sync(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network disks sync no folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def head_digest(path: Path) -> str:
    """SHA-256 of a file's size and first bytes: what a renamed file is recognised by."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return hashlib.sha256(b"%d\n" % size + file.read(HEAD)).hexdigest()


def is_same(path: Path, other: Path) -> bool:
    """One file under two names, or two equal ones: a rename that was half done, also when copied that way."""
    if path.is_symlink() or other.is_symlink() or not (path.is_file() and other.is_file()):
        return False
    if path.samefile(other):
        return True
    return path.stat().st_size == other.stat().st_size and digest(path) == digest(other)
