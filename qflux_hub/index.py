"""The index beside the shards: what is on the Hub, and where exactly each image lies.

``.qflux/index/<split>.parquet`` has one row per sample and one record per shard. The next upload compares with it
instead of reading images back; a reader takes from it the byte range of each image that it wants. Offsets are bytes in
the shard; widths and heights pixels as displayed; hashes are SHA-256. How the file is written and read: ``indexfile``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from qflux_hub import media as media_columns
from qflux_hub.sample import CONTROLS, MASK, TARGET, Sample
from qflux_hub.shards import encoded_size

FORMAT = 1
FOLDER = ".qflux/index"


@dataclass(frozen=True, slots=True)
class Media:
    """One file of a sample: its column, its path in the source, its facts, and its place in the shard.

    ``width`` and ``height`` are 0 of what is no image.
    """

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

    _content: str = field(default="", init=False, repr=False, compare=False)

    @property
    def content(self) -> str:
        """A hash of what makes two versions of a sample equal: texts and image bytes, not where they lie."""
        if not self._content:
            files = b"".join([_mark(media.role) + media.sha256 for media in self.media])
            made = hashlib.sha256(self.prompt_sha256 + self.extra_sha256 + files).hexdigest()
            object.__setattr__(self, "_content", made)  # it is asked for again and again
        return self._content


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
    extra = _NOTHING
    if sample.extra or sample.captions:
        texts: list[object] = [*sorted(sample.extra.items()), *([sample.captions] if sample.captions else [])]
        extra = _sha256(json.dumps(texts, ensure_ascii=False))
    return Entry(sample.id, order, encoded_size(sample), _sha256(sample.prompt), extra, tuple(media))


def digest(
    entries: Iterable[Entry],
    target: int,
    extra: Sequence[str],
    layout_version: int,
    held: Mapping[str, str] = media_columns.IMAGES,
) -> str:
    """What a shard of ``entries`` (in id order) will hold, as a hex SHA-256.

    Covers the recipe's version, T, the columns, and per row its id, texts and images with their file names; not the
    order in the source. Equal digest: equal shard, so it is neither packed nor sent.
    """
    columns: list[object] = [list(extra), *([] if held == media_columns.IMAGES else [dict(held)])]
    hashed = hashlib.sha256(json.dumps([FORMAT, layout_version, target, *columns]).encode())
    for row in entries:
        identifier = row.id.encode()
        hashed.update(len(identifier).to_bytes(4, "big") + identifier + row.prompt_sha256 + row.extra_sha256)
        for media in row.media:
            name = media.name.rpartition("/")[2].encode()
            hashed.update(_mark(media.role) + media.sha256 + len(name).to_bytes(4, "big") + name)
        hashed.update(b"\n")
    return hashed.hexdigest()


_MARKS = {TARGET: b"t", CONTROLS: b"c", MASK: b"m"}


def _mark(column: str) -> bytes:
    """Stands for a column where hashes are made; of those that are not documented, none begins with a letter."""
    return _MARKS.get(column) or b"/" + hashlib.sha256(column.encode()).digest()[:8]


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


_NOTHING = _sha256("[]")
"""The hash of the further texts of a sample that has none."""


def placed(row: Entry, shard: str, offsets: Sequence[int]) -> Entry:
    """``row`` with the place that packing gave to its images."""
    media = tuple(
        # ``replace`` takes four times as long, and every row of every upload comes by here
        Media(one.role, one.name, one.sha256, one.size, one.width, one.height, offset)
        for one, offset in zip(row.media, offsets, strict=True)
    )
    return Entry(row.id, row.order, row.encoded, row.prompt_sha256, row.extra_sha256, media, shard)
