"""The index as a Parquet file: one row per sample, its images as a list, and the shards in the schema's metadata.

``encoded``, ``size``, ``offset`` and ``length`` are bytes, ``width`` and ``height`` pixels.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq

from qflux_hub import arrays
from qflux_hub.errors import FormatError, VerificationError
from qflux_hub.index import FORMAT, Entry, Index, Media, ShardRecord

_HASH = pa.binary(32)
_MEDIA = pa.struct(
    [
        pa.field("role", pa.string()),
        pa.field("name", pa.string()),
        pa.field("sha256", _HASH),
        pa.field("size", pa.int64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64()),
    ]
)
_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("order", pa.int64()),
        pa.field("encoded", pa.int64()),
        pa.field("prompt_sha256", _HASH),
        pa.field("extra_sha256", _HASH),
        pa.field("shard", pa.string()),
        pa.field("media", pa.list_(_MEDIA)),
    ]
)


_TOGETHER = 512
"""Rows whose columns lie beside each other. An edit touches most of its row's columns, and what is sent of an index
again is pieces of 64 kB: for one edit among 10,000 samples 150 kB of 2 MB, and 540 when each column is one piece."""


def write(index: Index) -> bytes:
    """The index as a Parquet file; the same index gives the same bytes."""
    shards = {
        name: {"digest": shard.digest, "sha256": shard.sha256, "size": shard.size}
        for name, shard in sorted(index.shards.items())
    }
    metadata = {
        "qflux_format": str(FORMAT),
        "qflux_target_bytes": str(index.target),
        "qflux_extra_columns": json.dumps(list(index.extra)),
        "qflux_shards": json.dumps(shards),
    }
    out = io.BytesIO()
    table = pa.Table.from_arrays(_columns(index.entries), schema=_SCHEMA.with_metadata(metadata))
    names = ["shard", "media.list.element.role"]
    pq.write_table(
        table, out, compression="zstd", use_dictionary=names, write_statistics=False, row_group_size=_TOGETHER
    )
    return out.getvalue()


def _columns(entries: Sequence[Entry]) -> list[pa.Array]:
    """The columns of ``_SCHEMA``."""
    media = [media for entry in entries for media in entry.media]
    sizes = arrays.integers([one.size for one in media], pa.int64())
    places = [
        arrays.texts([one.role for one in media]),
        arrays.texts([one.name for one in media]),
        arrays.hashes([one.sha256 for one in media], _HASH),
        sizes,
        arrays.integers([one.width for one in media], pa.int32()),
        arrays.integers([one.height for one in media], pa.int32()),
        arrays.integers([one.offset for one in media], pa.int64()),
        sizes,
    ]
    return [
        arrays.texts([entry.id for entry in entries]),
        arrays.integers([entry.order for entry in entries], pa.int64()),
        arrays.integers([entry.encoded for entry in entries], pa.int64()),
        arrays.hashes([entry.prompt_sha256 for entry in entries], _HASH),
        arrays.hashes([entry.extra_sha256 for entry in entries], _HASH),
        arrays.texts([entry.shard for entry in entries]),
        arrays.lists([len(entry.media) for entry in entries], arrays.structs(_MEDIA, places)),
    ]


def read(data: bytes, name: str) -> Index:
    """The index in the bytes of the file called ``name``.

    Raises FormatError when a newer qflux wrote it, VerificationError when it cannot be read: it is then rebuilt.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        metadata = {key.decode(): value.decode() for key, value in (file.schema_arrow.metadata or {}).items()}
        written = int(metadata.get("qflux_format", "0"))
        if written > FORMAT:
            raise FormatError(
                f"{name} has format {written}; this qflux knows {FORMAT}.", hint="Update: pip install -U qflux-hub"
            )
        shards = {key: ShardRecord(**value) for key, value in json.loads(metadata["qflux_shards"]).items()}
        entries = tuple(_entries(file.read()))
        extra = tuple(json.loads(metadata["qflux_extra_columns"]))
        return Index(int(metadata["qflux_target_bytes"]), extra, shards, entries)
    except (pa.ArrowException, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise VerificationError(f"{name} is not a readable index: {error}.") from error


def _entries(table: pa.Table) -> Iterator[Entry]:
    """The rows, made column by column: a third of the time that dictionaries of all values take."""
    lists = table["media"].combine_chunks()
    roles, *facts = (
        lists.values.field(name).to_pylist() for name in ("role", "name", "sha256", "size", "width", "height", "offset")
    )
    media = list(map(Media, map(sys.intern, roles), *facts))
    texts = ("id", "order", "encoded", "prompt_sha256", "extra_sha256", "shard")
    *columns, paths = (table[name].to_pylist() for name in texts)
    ends = lists.offsets.to_pylist()
    parts = (tuple(media[start:end]) for start, end in pairwise(ends))
    return map(Entry, *columns, parts, map(sys.intern, paths))
