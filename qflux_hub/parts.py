"""Parts of files as files of their own, read as they are asked for: videos may be larger than the memory.

Offsets and sizes are bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any, BinaryIO, cast

SMALL = 16 << 20
"""What has fewer bytes is faster read at once."""


class _Part(io.RawIOBase):
    def __init__(self, size: int, read_at: Callable[[int, int], bytes], close: Callable[[], object]) -> None:
        self._size, self._read_at, self._close = size, read_at, close
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer).cast("B")
        data = self._read_at(self._at, max(0, min(len(room), self._size - self._at)))
        room[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._close()
        super().close()


def part(
    size: int, read_at: Callable[[int, int], bytes], *, piece: int, close: Callable[[], object] = lambda: None
) -> BinaryIO:
    """A file of ``size`` bytes, of which ``read_at(offset, length)`` gives some: ``piece`` at a time, or more; of 0,
    what is asked for and nothing else.
    """
    plain = _Part(size, read_at, close)
    return cast(BinaryIO, io.BufferedReader(plain, piece) if piece else plain)


def part_of(file: BinaryIO, offset: int, size: int) -> BinaryIO:
    """``size`` bytes of an open file from ``offset`` on; closing it closes the file."""

    def read_at(at: int, length: int) -> bytes:
        file.seek(offset + at)
        return file.read(length)

    return part(size, read_at, piece=1 << 20, close=file.close)


class _Compared(io.RawIOBase):
    def __init__(self, file: BinaryIO, size: int, digest: bytes, wrong: Callable[[], Exception]) -> None:
        self._file, self._left, self._digest, self._wrong = file, size, digest, wrong
        self._sum = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer).cast("B")
        data = self._file.read(min(len(room), self._left) or 1)
        self._sum.update(data)
        self._left -= len(data)
        if self._left < 0 or ((not self._left or not data) and self._sum.digest() != self._digest):
            raise self._wrong()
        room[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def compared(file: BinaryIO, size: int, digest: bytes, wrong: Callable[[], Exception]) -> BinaryIO:
    """An open file that is read from its beginning to its end; ``wrong()`` is raised when its SHA-256 is another.

    That is with its last bytes at the latest, so that what was read before must not be used by itself.
    """
    return cast(BinaryIO, io.BufferedReader(_Compared(file, size, digest, wrong), 1 << 20))
