"""The index beside the shards: what is on the Hub, and where exactly each image lies.

``.qflux/index/<split>.parquet`` has one row per sample and, in its schema metadata, one record per shard. The next
upload compares with it instead of reading images back; a reader takes from it the byte range of each image that it
wants. Offsets and lengths are bytes in the shard; widths and heights pixels as displayed; hashes are SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq

from qflux_hub import arrays
from qflux_hub.errors import FormatError, VerificationError
from qflux_hub.sample import CONTROLS, MASK, TARGET, Sample
from qflux_hub.shards import encoded_size

FORMAT = 1
FOLDER = ".qflux/index"


@dataclass(frozen=True, slots=True)
class Media:
    """One image of a sample: its role's column, its path in the source, its facts, and its place in the shard."""

    role: str
    name: str
    sha256: bytes
    size: int
    width: int
    height: int
    offset: int = -1


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: a sample without its text and pixels.

    ``order`` is its position in the source, from 0; ``encoded`` the bytes that it adds to a shard, by which shards are
    cut; ``media`` are in the order of ``Sample.media``; ``shard`` is the path of the shard that holds it.
    """

    id: str
    order: int
    encoded: int
    prompt_sha256: bytes
    extra_sha256: bytes
    media: tuple[Media, ...]
    shard: str = ""

    @property
    def content(self) -> str:
        """A hash of what makes two versions of a sample equal: texts and image bytes, not where they lie."""
        images = b"".join(_ROLE_BYTE[media.role] + media.sha256 for media in self.media)
        return hashlib.sha256(self.prompt_sha256 + self.extra_sha256 + images).hexdigest()


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """``digest`` is of what the shard holds, ``sha256`` of the file; both in hex. ``size`` in bytes."""

    digest: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Index:
    """The index of one split. ``target`` is T, the size that shards aim at; ``extra`` the text columns beside ours."""

    target: int
    extra: tuple[str, ...]
    shards: Mapping[str, ShardRecord]
    entries: tuple[Entry, ...]

    def contents(self) -> dict[str, str]:
        """Id -> hash of the content, of every sample."""
        return {entry.id: entry.content for entry in self.entries}


@dataclass(frozen=True, slots=True)
class Remote:
    """The data of a dataset on the Hub. ``files``: path -> (size, SHA-256 in hex or None); ``indexes`` by split."""

    files: Mapping[str, tuple[int, str | None]]
    indexes: Mapping[str, Index]


def path(split: str) -> str:
    """Where the index of a split lies in the repo."""
    return f"{FOLDER}/{split}.parquet"


def split_of(name: str) -> str | None:
    """The split whose index lies at ``name``; None when that is no index."""
    folder, _, file = name.rpartition("/")
    return file.removesuffix(".parquet") if folder == FOLDER and file.endswith(".parquet") else None


def shard_path(split: str, first_id: str) -> str:
    """``data/<split>/<slug>-<8 hex>.parquet``: it says where the shard begins, never its number or their count."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", first_id.lower()).strip("-.")[:40] or "x"
    return f"data/{split}/{slug}-{hashlib.sha256(first_id.encode()).hexdigest()[:8]}.parquet"


def shard_split(path: str) -> str | None:
    """The split whose folder holds the data file at ``path``; None for any other file."""
    parts = path.split("/")
    return parts[1] if len(parts) == 3 and parts[0] == "data" and path.endswith(".parquet") else None


def is_shard(path: str) -> bool:
    """Has a name that ``shard_path`` gives; a shard whose index was lost is known by it."""
    return shard_split(path) is not None and _SHARD.fullmatch(path.rpartition("/")[2]) is not None


_SHARD = re.compile(r"[a-z0-9._-]{1,40}-[0-9a-f]{8}\.parquet")


def entry(sample: Sample, order: int, media: Iterable[Media]) -> Entry:
    """The row of a sample whose images have been hashed."""
    extra = json.dumps(sorted(sample.extra.items()), ensure_ascii=False)
    return Entry(sample.id, order, encoded_size(sample), _sha256(sample.prompt), _sha256(extra), tuple(media))


def digest(entries: Iterable[Entry], target: int, extra: Sequence[str], layout_version: int) -> str:
    """What a shard of ``entries`` (in id order) will hold, as a hex SHA-256.

    Covers the recipe's version, T, the columns, and per row its id, texts and images with their file names; not the
    order in the source. Equal digest: equal shard, so it is neither packed nor sent.
    """
    hashed = hashlib.sha256(json.dumps([FORMAT, layout_version, target, list(extra)]).encode())
    for row in entries:
        identifier = row.id.encode()
        hashed.update(len(identifier).to_bytes(4, "big") + identifier + row.prompt_sha256 + row.extra_sha256)
        for media in row.media:
            name = media.name.rpartition("/")[2].encode()
            hashed.update(_ROLE_BYTE[media.role] + media.sha256 + len(name).to_bytes(4, "big") + name)
        hashed.update(b"\n")
    return hashed.hexdigest()


_ROLE_BYTE = {TARGET: b"t", CONTROLS: b"c", MASK: b"m"}


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


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
    pq.write_table(table, out, compression="zstd", use_dictionary=["shard", "media.list.element.role"])
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


def placed(row: Entry, shard: str, offsets: Sequence[int]) -> Entry:
    """``row`` with the place that packing gave to its images."""
    media = tuple(replace(media, offset=offset) for media, offset in zip(row.media, offsets, strict=True))
    return replace(row, shard=shard, media=media)
