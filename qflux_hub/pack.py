"""Samples to one Parquet shard, and where in it every image, video and sound lies.

The recipe (every setting is measured): one page per image, so that an edit moves no other page; image bytes PLAIN and
uncompressed, so that they lie in the file as they lay on disk and Xet finds them again; image columns first, because
the first chunk of a file is what the Hub always deduplicates globally; page index on, so that a viewer or a range
reader fetches single images; no statistics of blobs, no content-defined chunking (it moves pages that would stay).
Metadata columns are Snappy. Row groups are cut like shards, at 32 to 96 MB: they are what a streaming reader holds.

Image bytes go from the file into the Arrow buffer that is written. Peak memory is the largest row group and a few
images. The same samples give the same bytes with the same pyarrow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from qflux_hub import arrays, codes, media
from qflux_hub.errors import DataError, VerificationError
from qflux_hub.features import PROMPT, columns, features
from qflux_hub.naming import Kind
from qflux_hub.pages import Page, pages
from qflux_hub.sample import CAPTIONS, Blob, Sample
from qflux_hub.shards import ROW_GROUP, cut, encoded_size
from qflux_hub.tree import stamp_of

_FILE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


def _leaf(column: str) -> str:
    """The dotted path of the bytes in a column of media."""
    return f"{column}.list.element.bytes" if media.is_list(column) else f"{column}.bytes"


class Sink(Protocol):
    """Where a shard is written: a file, or a stream to the Hub."""

    def write(self, data: bytes, /) -> Any:
        """Take the next bytes."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A written shard: its size in bytes and, per sample, the offset of each of its media in ``Sample.media`` order."""

    size: int
    offsets: tuple[tuple[int, ...], ...]


def schema(extra: Sequence[str], held: Mapping[str, Kind] = media.IMAGES, prompt: str = PROMPT) -> pa.Schema:
    """The Arrow schema of a shard, with the features that `datasets` and the Hub's viewer read."""
    kinds = {name: pa.list_(_FILE) if media.is_list(name) else _FILE for name in held}
    kinds[CAPTIONS] = pa.list_(pa.string())
    fields = [pa.field(name, kinds.get(name, pa.string())) for name in columns(extra, held, prompt)]
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": features(extra, held, prompt)}})})


def pack(
    samples: Sequence[Sample],
    extra: Sequence[str],
    sink: Sink,
    advance: Callable[[int], None] = lambda _: None,
    held: Mapping[str, Kind] = media.IMAGES,
    prompt: str = PROMPT,
) -> Packed:
    """Write ``samples`` (ordered by id) as one Parquet file into ``sink``.

    ``extra`` are the names of the text columns beside the documented ones, that of further captions among them;
    ``held`` the columns of media, ``prompt`` that of prompts. ``advance`` is called with the bytes of media read.
    Raises DataError when a file has another size or stamp than its blob: it changed after it was checked, and its
    recorded hash would be a lie.
    """
    counting = _CountingSink(sink)
    out = pa.PythonFile(counting, mode="w")
    plan = schema(extra, held, prompt)
    text = [prompt, "id", *(f"{name}.list.element" if name == CAPTIONS else name for name in extra)]
    leaves = [_leaf(name) for name in held]
    uncompressed = {leaf: "none" for name in leaves for leaf in (name, name.removesuffix("bytes") + "path")}
    rows = cut([sample.id for sample in samples], [encoded_size(sample) for sample in samples], ROW_GROUP)
    groups = [samples[piece.start : piece.stop] for piece in rows]
    room = _Room(max(sum(blob.size for sample in group for _, blob in sample.media()) for group in groups))
    with pq.ParquetWriter(
        out,
        plan,
        compression=uncompressed | dict.fromkeys(text, "snappy"),
        use_dictionary=False,
        write_statistics=text,
        write_batch_size=1,
        data_page_size=4096,
        write_page_index=True,
    ) as writer:
        for group in groups:
            writer.write_table(_table(group, held, plan, room, advance), row_group_size=len(group))
            room.clear()
        counting.keep()  # what comes now is the page index and the footer
    return Packed(counting.size, tuple(_offsets(samples, held, pages(counting.tail(), counting.size))))


class _CountingSink:
    """Passes bytes on, counts them, and remembers those written after ``keep``; as a file for pyarrow."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._tail: list[bytes] | None = None
        self.size = 0

    def write(self, data: bytes) -> int:
        self._sink.write(data)
        if self._tail is not None:
            self._tail.append(data)
        self.size += len(data)
        return len(data)

    def keep(self) -> None:
        self._tail = []

    def tail(self) -> bytes:
        return b"".join(self._tail or ())

    def tell(self) -> int:
        return self.size

    def flush(self) -> None: ...

    def close(self) -> None: ...


class _Room:
    """Memory for the images of one row group, used again for the next.

    Groups that are allocated one by one stay with the allocator when they are freed, and a shard then holds several of
    them (measured: 340 MB instead of 250). The system's allocator gives the memory back at the end.
    """

    def __init__(self, size: int) -> None:
        self._buffer = pa.allocate_buffer(size, pa.system_memory_pool())
        self._used = 0

    def take(self, size: int) -> tuple[pa.Buffer, memoryview]:
        """The next ``size`` bytes, to be given to Arrow and to be written to."""
        start, self._used = self._used, self._used + size
        return self._buffer.slice(start, size), memoryview(self._buffer)[start : self._used]

    def clear(self) -> None:
        """Start over. What was taken must not be used any more."""
        self._used = 0


def _table(
    samples: Sequence[Sample], held: Iterable[str], plan: pa.Schema, room: _Room, advance: Callable[[int], None]
) -> pa.Table:
    """One row group in memory, its media in ``room``."""
    placed = [_by_column(sample) for sample in samples]
    made: dict[str, pa.Array] = {}
    for name in held:
        own = [blobs.get(name, ()) for blobs in placed]
        if media.is_list(name):
            made[name] = arrays.lists(map(len, own), _files([blob for blobs in own for blob in blobs], room, advance))
        else:
            made[name] = _files([next(iter(blobs), None) for blobs in own], room, advance)
    made[plan.names[len(made)]] = arrays.texts([sample.prompt for sample in samples])
    made["id"] = arrays.texts([sample.id for sample in samples])
    for name in plan.names[len(made) :]:
        if name == CAPTIONS:
            texts = arrays.texts([text for sample in samples for text in sample.captions])
            made[name] = arrays.lists([len(sample.captions) for sample in samples], texts)
        else:
            made[name] = arrays.texts([sample.extra.get(name) for sample in samples])
    return pa.Table.from_arrays([made[name] for name in plan.names], schema=plan)


def _by_column(sample: Sample) -> dict[str, list[Blob]]:
    """The media of a sample by their columns."""
    placed: dict[str, list[Blob]] = {}
    for role, blob in sample.media():
        placed.setdefault(media.column(role, blob.name), []).append(blob)
    return placed


def _files(blobs: Sequence[Blob | None], room: _Room, advance: Callable[[int], None]) -> pa.Array:
    """An array of {bytes, path}; each file is read straight into the buffer that the array lies on."""
    sizes = [blob.size if blob else 0 for blob in blobs]
    data, view = room.take(sum(sizes))
    for blob, end in zip(blobs, accumulate(sizes), strict=True):
        if blob:
            read_into(blob, view[end - blob.size : end])
            advance(blob.size)
    valid = arrays.validity(blobs)
    bytes_ = pa.Array.from_buffers(pa.binary(), len(blobs), [valid, arrays.offsets(sizes), data])
    paths = arrays.texts([blob.name.rpartition("/")[2] if blob else None for blob in blobs])
    return arrays.structs(_FILE, [bytes_, paths], valid)


def read_into(blob: Blob, view: memoryview) -> None:
    """Fill ``view`` with the blob's bytes. Raises DataError when the file is not the one that was checked, and
    VerificationError when it comes from a Hub and not as it was recorded there.
    """
    try:
        file = blob.open()
    except FileNotFoundError as error:
        raise _changed(blob) from error
    with file:
        at = 0
        while at < len(view):
            count = file.readinto(view[at:])  # type: ignore[attr-defined]  # raw files have it, BinaryIO hides it
            if not count:
                raise _other(blob)
            at += count
        if file.read(1):
            raise _other(blob)
        if blob.stamp is not None and blob.stamp != stamp_of(file):  # asked last, so that no change slips in between
            raise _changed(blob)
    if blob.sha256 is not None and hashlib.sha256(view).digest() != blob.sha256:
        raise _other(blob)


def _other(blob: Blob) -> DataError | VerificationError:
    """The error for bytes that are not those that were checked; whose hash is recorded comes from a Hub."""
    if blob.sha256 is None:
        return _changed(blob)
    return VerificationError(
        f"{blob.name} came from the Hub with other bytes than were recorded; nothing was published.",
        hint="Try again; if it stays so, the Hub's storage or something on the way is damaged.",
    )


def _changed(blob: Blob) -> DataError:
    finding = codes.CHANGED_FILE(blob.name, f"{blob.name} changed while it was uploaded.")
    return DataError(finding.message, hint="Run the same command again; nothing was published.", report=finding)


def _offsets(
    samples: Sequence[Sample], held: Iterable[str], layout: dict[str, list[Page]]
) -> Iterator[tuple[int, ...]]:
    """Per sample, the offset of each medium in the file, from the pages that hold them.

    A PLAIN page ends with its values: 4 bytes of length and the bytes, one after the other, nulls left out. So the
    offsets count back from the end of the page, whatever stands in its header.
    """
    placed = [_by_column(sample) for sample in samples]
    by_column: dict[str, list[list[int]]] = {}
    for name in held:
        leaf = _leaf(name)
        offsets: list[list[int]] = [[] for _ in samples]
        for page in layout[leaf]:
            at = page.end
            for row in reversed(range(page.first, page.last)):
                for blob in reversed(placed[row].get(name, ())):
                    offsets[row].append(at - blob.size)
                    at -= blob.size + 4
                offsets[row].reverse()
            if at < page.offset:
                raise VerificationError(f"A page of {leaf} is shorter than what it should hold.")
        by_column[name] = offsets
    for row, sample in enumerate(samples):
        taken = {name: iter(rows[row]) for name, rows in by_column.items()}
        yield tuple(next(taken[media.column(role, blob.name)]) for role, blob in sample.media())
