"""Where a Parquet file keeps each value: the byte ranges of its data pages, read from the page index.

pyarrow reads and writes page indexes but does not show them, and the exact range of one image is what lets a reader
fetch it alone. So the two structures that say it are read here: the file's footer and the offset index of a column
chunk, both in Thrift's compact protocol (parquet-format 2.10, ``parquet.thrift``; Thrift compact protocol spec).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from qflux_hub.errors import VerificationError

_MAGIC = b"PAR1"
_ROW_GROUPS, _COLUMNS, _ROWS = 4, 1, 3  # field numbers in FileMetaData and RowGroup
_META, _INDEX_AT, _INDEX_LENGTH, _PATH = 3, 4, 5, 3  # in ColumnChunk, and in its ColumnMetaData
_KIND, _PLAIN_SIZE, _PACKED_SIZE, _DATA, _ENCODING = 1, 2, 3, 5, 2  # in PageHeader and its DataPageHeader
_HEAD = 256  # bytes in which the header of a page fits that has no statistics
_SMALL = 16 << 10  # bytes up to which a page is read at once: it may hold many values
_LOCATIONS, _AT, _LENGTH, _FIRST_ROW = 1, 1, 2, 3  # in OffsetIndex and PageLocation


@dataclass(frozen=True, slots=True)
class Page:
    """One data page: ``length`` bytes from ``offset`` on, header included, holding rows [first, last) of the file."""

    offset: int
    length: int
    first: int
    last: int

    @property
    def end(self) -> int:
        """The first byte after the page."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a row group holds of a column: rows [first, last) of the file.

    Where its pages lie is said by ``length`` bytes from ``offset`` on, none in a file without page index.
    """

    column: str
    first: int
    last: int
    offset: int
    length: int


def pages(tail: bytes, size: int) -> dict[str, list[Page]]:
    """The data pages of every column, by its dotted leaf path, in row order.

    ``tail`` is the end of a file of ``size`` bytes, from the first byte of its page index on (or more of it). Raises
    VerificationError when it is no Parquet file or has no page index.
    """
    found: dict[str, list[Page]] = {}
    for group in chunks(tail):
        for chunk in group.values():
            found.setdefault(chunk.column, []).extend(located(chunk, tail, size - len(tail)))
    return found


def chunks(tail: bytes) -> Iterator[dict[str, Chunk]]:
    """Per row group, its column chunks by their dotted leaf paths, taken apart one group at a time.

    ``tail`` is the end of a file, with its footer. Raises VerificationError when that is no Parquet file.
    """
    if tail[-4:] != _MAGIC or len(tail) < 12:
        raise VerificationError("The file does not end like a Parquet file.", hint="Write or download it again.")
    (footer,) = struct.unpack("<I", tail[-8:-4])
    before = 0
    with _readable():
        for group in _Compact(tail, len(tail) - 8 - footer).items(_ROW_GROUPS):
            after = before + group[_ROWS]
            found = {}
            for chunk in group[_COLUMNS]:
                path = ".".join(part.decode() for part in chunk[_META][_PATH])
                found[path] = Chunk(path, before, after, chunk.get(_INDEX_AT, 0), chunk.get(_INDEX_LENGTH, 0))
            yield found
            before = after


def located(chunk: Chunk, data: bytes, start: int) -> Iterator[Page]:
    """The data pages of a chunk, in row order, one at a time: a file may have millions of them.

    ``data`` are the bytes of the file from ``start`` on. Raises VerificationError when the chunk's page index is not
    among them, or when it has none.
    """
    if not chunk.length:
        message = f"Column {chunk.column} has no page index."
        raise VerificationError(message, hint="Only qflux's own shards are read so.")
    with _readable():
        before: tuple[int, int, int] | None = None
        for location in _Compact(data, chunk.offset - start).items(_LOCATIONS):
            first = chunk.first + location[_FIRST_ROW]
            if before:
                yield Page(*before, first)
            before = location[_AT], location[_LENGTH], first
        if before:
            yield Page(*before, chunk.last)


@contextmanager
def _readable() -> Iterator[None]:
    """Makes one error of all those that damaged structures end in."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError, struct.error) as error:
        message = f"The Parquet footer cannot be read: {type(error).__name__}."
        raise VerificationError(message, hint="Write or download the file again.") from error


def values(file: BinaryIO, page: Page, levels: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of every value of an uncompressed PLAIN page of byte arrays, in order; nulls are not there.

    ``levels``: how many kinds of levels stand before the values, one if the column is optional, two if it is repeated
    too. Raises VerificationError for a page of another kind.
    """

    def number(at: int) -> int:
        if at - page.offset + 4 <= len(data):
            return int(struct.unpack_from("<I", data, at - page.offset)[0])
        file.seek(at)
        return int(struct.unpack("<I", file.read(4))[0])

    if page.offset < 0 or page.length < 0:
        raise VerificationError("The page index names a page that cannot be.")
    try:
        file.seek(page.offset)
        data = file.read(page.length if page.length <= _SMALL else _HEAD)
        head = _Compact(data, 0)
        header = head.struct()
        if header[_KIND] != 0 or header[_DATA][_ENCODING] != 0 or header[_PLAIN_SIZE] != header[_PACKED_SIZE]:
            raise VerificationError("The page is compressed, or its values are encoded.")
        at = page.offset + head.at
        for _ in range(levels):
            at += 4 + number(at)
        while at < page.end:
            length = number(at)
            yield at + 4, length
            at += 4 + length
    except (LookupError, TypeError, ValueError, OverflowError, struct.error) as error:
        raise VerificationError(f"A page's header cannot be read: {type(error).__name__}.") from error
    if at != page.end:
        raise VerificationError("The values of a page do not end where the page does.")


class _Compact:
    """A reader of Thrift's compact protocol: structs become {field number: value}."""

    def __init__(self, data: bytes, at: int) -> None:
        if at < 0:
            raise VerificationError("What was read of the file does not reach back to its footer or page index.")
        self.data, self.at = data, at

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._zigzag()
            fields[number] = self._value(kind & 15)
        return fields

    def items(self, wanted: int) -> Iterator[Any]:
        """The items of the list in the field ``wanted`` of a struct, one at a time; of what follows nothing is read."""
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._zigzag()
            if number == wanted:
                yield from self._items()
                return
            self._value(kind & 15)
        raise LookupError(wanted)

    def _value(self, kind: int) -> Any:
        if kind in (1, 2):  # a boolean field carries its value in its type
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind == 7:
            self.at += 8
            return struct.unpack_from("<d", self.data, self.at - 8)[0]
        if kind == 8:
            length = self._varint()
            self.at += length
            return self.data[self.at - length : self.at]
        if kind in (9, 10):
            return list(self._items())
        if kind == 12:
            return self.struct()
        raise VerificationError(f"The Parquet footer holds a value of unknown type {kind}.")

    def _items(self) -> Iterator[Any]:
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        kind = head & 15
        for _ in range(count):
            yield self._byte() == 1 if kind in (1, 2) else self._value(kind)

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
