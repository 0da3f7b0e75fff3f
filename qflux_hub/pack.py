"""Samples to one Parquet shard, and where in it every image, video and sound lies.

The recipe (every setting is measured): one page per image, so that an edit moves no other page; image bytes PLAIN and
uncompressed, so that they lie in the file as they lay on disk and Xet finds them again; image columns first, because
the first chunk of a file is what the Hub always deduplicates globally; page index on, so that a viewer or a range
reader fetches single images; no statistics of blobs, no content-defined chunking (it moves pages that would stay).
Metadata columns are Snappy. Row groups are cut like shards, at 32 to 96 MB: they are what a streaming reader holds.

Image bytes go from the file into the Arrow buffer that is written. Peak memory is the largest row group and a few
images, however many samples there are: they are asked for again, in order, for each thing that is needed of them, and a
few hundred are looked at together. Every column of a row group is one array all the same, because pyarrow ends the
pages of lists elsewhere where an array ends. The same samples give the same bytes with the same pyarrow.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from qflux_hub import arrays, codes, media
from qflux_hub.errors import DataError, VerificationError
from qflux_hub.features import PROMPT, columns, features
from qflux_hub.naming import Kind
from qflux_hub.pages import pages
from qflux_hub.sample import CAPTIONS, Blob, Sample
from qflux_hub.shards import ROW_GROUP, Rows, encoded_size
from qflux_hub.tree import stamp_of

_TOGETHER = 4_096
"""Samples that are held as objects at a time: 5 MB, and all of a row group unless they are tiny."""
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
    """A written shard: its size in bytes, and its end, which says where everything lies."""

    size: int
    held: tuple[str, ...]
    tail: bytes = field(repr=False)

    def offsets(self, samples: Sequence[Sample]) -> Iterator[tuple[int, ...]]:
        """For each of ``samples``, those that were packed: the offset of each medium in ``Sample.media`` order.

        A PLAIN page ends with its values: 4 bytes of length and the bytes, one after the other, nulls left out. So
        the offsets count back from the end of the page, whatever stands in its header.
        """
        starts = {name: array("q") for name in self.held}  # the sizes of all media of a column, then their offsets
        ends = {name: array("q", [0]) for name in self.held}  # how many a row and those before it have
        for sample in samples:
            for role, blob in sample.media():
                starts[media.column(role, blob.name)].append(blob.size)
            for name in self.held:
                ends[name].append(len(starts[name]))
        layout = pages(self.tail, self.size)
        for name in self.held:
            for page in layout[_leaf(name)]:
                at = page.end
                for number in reversed(range(ends[name][page.first], ends[name][page.last])):
                    starts[name][number] = at = at - starts[name][number]
                    at -= 4
                if at < page.offset:
                    raise VerificationError(f"A page of {_leaf(name)} is shorter than what it should hold.")
        taken = {name: iter(starts[name]) for name in self.held}
        for sample in samples:
            yield tuple(next(taken[media.column(role, blob.name)]) for role, blob in sample.media())


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

    They are gone through twice, and may be made anew each time they or parts of them are asked for.
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
    rows = Rows(ROW_GROUP)
    for sample in samples:
        rows.add(sample.id, encoded_size(sample))
    groups = [*rows.cut()]
    rooms = {name: _Room(max(map(rows.size, groups))) for name in held}
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
            table = _table(samples[group.start : group.stop], rooms, plan, advance)
            writer.write_table(table, row_group_size=len(group))
        counting.keep()  # what comes now is the page index and the footer
    return Packed(counting.size, tuple(held), counting.tail())


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
    """Memory for the media of one column of a row group, used again for the next.

    Groups that are allocated one by one stay with the allocator when they are freed, and a shard then holds several of
    them (measured: 340 MB instead of 250). The system's allocator gives the memory back at the end, and takes none for
    what is not written to: of ``size`` bytes, which all columns together need, each has its share.
    """

    def __init__(self, size: int) -> None:
        self._buffer = pa.allocate_buffer(size, pa.system_memory_pool())
        self._view = memoryview(self._buffer)
        self._used = 0

    def take(self, size: int) -> memoryview:
        """The next ``size`` bytes, to be written to."""
        start, self._used = self._used, self._used + size
        return self._view[start : self._used]

    def give(self) -> pa.Buffer:
        """What was taken, for Arrow; then it starts over, and what was given must not be used any more by then."""
        size, self._used = self._used, 0
        return self._buffer.slice(0, size)


class _Files:
    """A column of media: {bytes, path}, or lists of them; each file is read straight into the buffer it is in."""

    def __init__(self, column: str, room: _Room, advance: Callable[[int], None]) -> None:
        self._column, self._room, self._advance = column, room, advance
        self._counts, self._sizes = array("i"), array("i")
        self._valid, self._paths = arrays.Validity(), arrays.Texts()

    def extend(self, rows: Collection[Collection[Blob]]) -> None:
        """The media of the next rows."""
        if media.is_list(self._column):
            self._counts.extend(map(len, rows))
            blobs: list[Blob | None] = [blob for row in rows for blob in row]
        else:
            blobs = [next(iter(row), None) for row in rows]
        for blob in blobs:
            if blob:
                read_into(blob, self._room.take(blob.size))
                self._advance(blob.size)
        self._sizes.extend(blob.size if blob else 0 for blob in blobs)
        self._valid.extend(blobs)
        self._paths.extend([blob.name.rpartition("/")[2] if blob else None for blob in blobs])

    def array(self) -> pa.Array:
        """All rows; none can be added any more."""
        present = self._valid.buffer()
        data = [present, arrays.offsets(self._sizes), self._room.give()]
        bytes_ = pa.Array.from_buffers(pa.binary(), len(self._sizes), data)
        files = arrays.structs(_FILE, [bytes_, self._paths.array()], present)
        return arrays.lists(self._counts, files) if media.is_list(self._column) else files


def _table(
    samples: Iterable[Sample], rooms: Mapping[str, _Room], plan: pa.Schema, advance: Callable[[int], None]
) -> pa.Table:
    """One row group in memory, its media in ``rooms``.

    Of some thousand samples together, media are read column by column, as they lie where they come from a shard: what
    is fetched with a file is then asked for next.
    """
    files = {name: _Files(name, room, advance) for name, room in rooms.items()}
    prompt, _, *extra = (name for name in plan.names if name not in files)
    texts = {name: arrays.Texts() for name in (prompt, "id", *extra)}
    captions = array("i")
    rest = iter(samples)
    while some := list(islice(rest, _TOGETHER)):
        for name, column in files.items():
            column.extend([_of_column(sample, name) for sample in some])
        texts[prompt].extend([sample.prompt for sample in some])
        texts["id"].extend([sample.id for sample in some])
        for name in extra:
            if name == CAPTIONS:
                texts[name].extend([text for sample in some for text in sample.captions])
                captions.extend(len(sample.captions) for sample in some)
            else:
                texts[name].extend([sample.extra.get(name) for sample in some])
        del some
    made = {name: column.array() for name, column in files.items()}
    made |= {name: column.array() for name, column in texts.items()}
    if CAPTIONS in made:
        made[CAPTIONS] = arrays.lists(captions, made[CAPTIONS])
    return pa.Table.from_arrays([made[name] for name in plan.names], schema=plan)


def _of_column(sample: Sample, column: str) -> list[Blob]:
    """The media of a sample that lie in this column."""
    return [blob for role, blob in sample.media() if media.column(role, blob.name) == column]


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
