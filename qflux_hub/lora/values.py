"""One pass over a weights file: its hashes and, when asked, what is wrong with its numbers.

The two hashes run in threads of their own beside the check; all three release the interpreter's lock. Numbers are
judged as integers of their width, which needs no float type of numpy's: in IEEE formats, a number's bits without the
sign grow with its size, past the infinities to the NaNs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO

from qflux_hub.lora.header import Header, Tensor

PIECE = 4 * 1024 * 1024
_INFINITY = {"F16": (2, 0x7C00), "BF16": (2, 0x7F80), "F32": (4, 0x7F800000), "F64": (8, 0x7FF0000000000000)}
"""dtype -> bytes of a number, and the bits of infinity."""


@dataclass(slots=True)
class Values:
    """Names of tensors whose numbers stand out. ``tail`` counts the bytes at the end that are all zero."""

    nan: list[str] = field(default_factory=list)
    infinite: list[str] = field(default_factory=list)
    zero: list[str] = field(default_factory=list)
    tail: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a pass is to find: the file's hash, that of the data section alone, what is wrong with the numbers."""

    sha256: bool = True
    tensor_sha256: bool = False
    values: bool = False


@dataclass(frozen=True, slots=True)
class Contents:
    """What a pass found, None where it was not asked to. Hashes are SHA-256 in hex."""

    sha256: str | None = None
    tensor_sha256: str | None = None
    values: Values | None = None

    def has(self, wanted: Wanted) -> bool:
        """Whether everything that is wanted is there."""
        return not (
            (wanted.sha256 and self.sha256 is None)
            or (wanted.tensor_sha256 and self.tensor_sha256 is None)
            or (wanted.values and self.values is None)
        )

    def joined(self, other: Contents) -> Contents:
        """With what ``other`` knows and this does not."""
        return Contents(
            self.sha256 or other.sha256, self.tensor_sha256 or other.tensor_sha256, self.values or other.values
        )


def read_through(file: BinaryIO, header: Header, advance: Callable[[int], None], wanted: Wanted) -> Contents:
    """Read ``file`` (at its start) to its end. Its size must be that of the header."""
    whole, data = hashlib.sha256(), hashlib.sha256()
    judge = _Judge() if wanted.values else None
    with ThreadPoolExecutor(2) as pool:
        waiting: list[Future[None]] = []

        def take(piece: bytes, *, is_data: bool) -> None:
            """One piece behind: the next is read, and judged, while this one is hashed."""
            for done in waiting:
                done.result()
            waiting.clear()
            if wanted.sha256:
                waiting.append(pool.submit(whole.update, piece))
            if wanted.tensor_sha256 and is_data:
                waiting.append(pool.submit(data.update, piece))
            advance(len(piece))

        for piece in _pieces(file, header.data_start):
            take(piece, is_data=False)
        if judge is None:
            for piece in _pieces(file, header.data_size):
                take(piece, is_data=True)
        else:
            for tensor in header.tensors:
                for piece in _pieces(file, tensor.end - tensor.begin):
                    take(piece, is_data=True)
                    judge.look(tensor, piece)
                judge.end(tensor)
        for done in waiting:
            done.result()
    return Contents(
        whole.hexdigest() if wanted.sha256 else None,
        data.hexdigest() if wanted.tensor_sha256 else None,
        judge.values if judge else None,
    )


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        piece = file.read(min(size, PIECE))
        if not piece:
            return
        yield piece
        size -= len(piece)


class _Judge:
    """Looks at pieces of one tensor after the other."""

    def __init__(self) -> None:
        import numpy as np

        self._np = np
        self.values = Values()
        self._largest = 0
        self._quiet = 0
        """Zero bytes since the last piece that held anything else."""

    def look(self, tensor: Tensor, piece: bytes) -> None:
        np = self._np
        width = _INFINITY.get(tensor.dtype, (1, 0))[0]
        usable = len(piece) - len(piece) % width
        numbers = np.frombuffer(piece[:usable] if usable < len(piece) else piece, f"<u{width}")
        unsigned = numbers.dtype.type((1 << (8 * width - 1)) - 1)
        largest = int((numbers & unsigned).max(initial=0))
        self._largest = max(self._largest, largest)
        self._quiet = 0 if largest else self._quiet + len(piece)

    def end(self, tensor: Tensor) -> None:
        _, infinity = _INFINITY.get(tensor.dtype, (1, 1 << 64))
        if self._largest > infinity:
            self.values.nan.append(tensor.name)
        elif self._largest == infinity:
            self.values.infinite.append(tensor.name)
        elif self._largest == 0 and tensor.elements:
            self.values.zero.append(tensor.name)
        self._largest = 0
        self.values.tail = self._quiet
