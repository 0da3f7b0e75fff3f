"""What shards on the Hub hold: samples with their images as byte ranges, and the rows of files without an index.

Only what is asked for is fetched; pyarrow is imported when there is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from qflux_hub import index, media
from qflux_hub.errors import VerificationError
from qflux_hub.hub import Hub
from qflux_hub.index import Entry, Index, Media
from qflux_hub.ranges import Ranges, Span
from qflux_hub.report import Progress
from qflux_hub.repos import RepoState
from qflux_hub.sample import CAPTIONS, CONTROLS, MASK, ROLES, TARGET, Blob, Sample

_AT_ONCE = 4

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def samples(
    hub: Hub,
    repo_id: str,
    state: RepoState,
    split: str,
    known: Index,
    ids: Collection[str],
    ranges: Ranges | None = None,
) -> Iterator[Sample]:
    """The samples called ``ids``, their texts read from the shards' text columns, their images as byte ranges.

    ``ranges`` reads them together with their neighbours. Raises VerificationError for texts that are not those that
    the index tells of.
    """
    rows = {row.id: row for row in known.entries if row.id in ids}
    shards = sorted({row.shard for row in rows.values()})

    def texts_of(shard: str) -> pa.Table:
        with hub.open(repo_id, shard, state.commit, state.files[shard].size) as file:
            return _texts(file, shard, known.extra)

    with ThreadPoolExecutor(_AT_ONCE) as pool:  # a few small requests each, one after the other
        for shard, table in zip(shards, pool.map(texts_of, shards), strict=True):
            for texts in table.to_pylist():
                row = rows.get(texts.pop("id"))
                if row is None:
                    continue
                spans = [Span(hub, repo_id, state.commit, shard, one.offset, one.size, ranges) for one in row.media]
                sample = _sample(row, split, texts, spans)
                now = index.entry(sample, 0, ())
                if (row.prompt_sha256, row.extra_sha256) != (now.prompt_sha256, now.extra_sha256):
                    raise VerificationError(
                        f"The texts of {sample.id!r} in {shard} are not those that were uploaded.",
                        hint="Try again; if it stays so, the Hub's storage or something on the way is damaged.",
                    )
                yield sample


def _sample(row: Entry, split: str, texts: dict[str, Any], spans: Sequence[Span]) -> Sample:
    """The sample of a row, its texts and where its files lie."""
    by_role: dict[str, list[Blob]] = {}
    for one, span in zip(row.media, spans, strict=True):
        by_role.setdefault(media.role(one.role), []).append(Blob(one.name, one.size, span, sha256=one.sha256))
    return Sample(
        id=row.id,
        split=split,
        prompt=texts.pop("prompt"),
        controls=tuple(by_role.pop(CONTROLS, ())),
        mask=next(iter(by_role.pop(MASK, ())), None),
        target=next(iter(by_role.pop(TARGET, ())), None),
        captions=tuple(texts.pop(CAPTIONS, None) or ()),
        extra={name: value for name, value in texts.items() if value is not None},
        place=row.shard,
        others={name: own[0] for name, own in by_role.items()},
    )


def _texts(file: BinaryIO, shard: str, extra: Sequence[str]) -> pa.Table:
    """The text columns of a shard. Raises VerificationError when it cannot be what its index tells of."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file).read(columns=["id", "prompt", *extra])
    except (pa.ArrowException, OSError) as error:
        raise VerificationError(
            f"{shard} came with other bytes than were uploaded: {error}.",
            hint="Try again; if it stays so, the Hub's storage or something on the way is damaged.",
        ) from error


def held(hub: Hub, repo_id: str, commit: str | None, sizes: Mapping[str, int], progress: Progress) -> Index | None:
    """The samples in data files (path -> size) that no index tells of: those that something else wrote, such as
    ``push_to_hub``, and shards whose index is lost. It does not say where in the files images lie.

    Reads all of them, one row group in memory at a time. None when there are none, or when they are no samples as
    documented: other columns, files that are not embedded, ids that stand twice. Raises VerificationError for a shard
    that cannot be read.
    """
    if not sizes or commit is None:
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: dict[str, Entry] = {}
    extra: set[str] = set()
    with progress.task("Comparing", sum(sizes.values())) as task:
        for path in sizes:
            try:
                with hub.open(repo_id, path, commit, sizes[path]) as file:
                    for row, texts in _rows(pq.ParquetFile(file), path):
                        if row.id in rows:
                            return None
                        rows[row.id] = row
                        extra |= texts
            except (pa.ArrowException, OSError, ValueError) as error:
                if index.is_shard(path):
                    raise VerificationError(
                        f"{path} cannot be read, and no index tells what is in it: {error}.",
                        hint="--mirror replaces it by this source; it stays in the repo's history.",
                    ) from error
                return None
            task.advance(sizes[path])
    return Index(0, tuple(sorted(extra)), {}, tuple(rows.values()))


_FILE = "struct<bytes:binary,path:string>"


def _rows(parquet: pq.ParquetFile, path: str) -> Iterator[tuple[Entry, set[str]]]:
    """The rows of a file, and the names of their texts. Raises ValueError when they are no samples."""
    kinds = {field.name: _plain(field.type) for field in parquet.schema_arrow}
    files = sorted((name for name, kind in kinds.items() if kind in (_FILE, f"list<{_FILE}>")), key=_order)
    texts = kinds.keys() - {*files, "id", "prompt"}
    strange = [name for name in texts if kinds[name] != ("list<string>" if name == CAPTIONS else "string")]
    if strange or not files or any(kinds.get(name) != "string" for name in ("id", "prompt")):
        raise ValueError(f"it has not the columns of samples, but {', '.join(kinds)}")
    for number in range(parquet.num_row_groups):
        for row in parquet.read_row_group(number).to_pylist():
            present = [(name, file) for name in files for file in _listed(row[name])]
            if not row["id"] or row["prompt"] is None or any(file["bytes"] is None for _, file in present):
                raise ValueError("a row lacks its id, its prompt, or the bytes of a file")
            extra = {name: row[name] for name in texts - {CAPTIONS} if row[name] is not None}
            captions = tuple(row.get(CAPTIONS) or ())
            sample = Sample(id=row["id"], split="", prompt=row["prompt"], controls=(), extra=extra, captions=captions)
            yield replace(index.entry(sample, 0, map(_described, present)), shard=path), texts


def _order(column: str) -> int:
    """Where a column stands among the files of a sample."""
    role = media.role(column)
    return ROLES.index(role) if role in ROLES else len(ROLES)


def _listed(value: Any) -> Sequence[Any]:
    return [one for one in (value if isinstance(value, list) else [value]) if one is not None]


def _described(file: tuple[str, Mapping[str, Any]]) -> Media:
    column, held = file
    return Media(column, held["path"] or "", hashlib.sha256(held["bytes"]).digest(), len(held["bytes"]), 0, 0)


def _plain(kind: pa.DataType) -> str:
    """A type without the names of its list items and the width of its offsets, in which writers differ."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{_plain(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{','.join(sorted(f'{field.name}:{_plain(field.type)}' for field in kind))}>"
    return str(kind).removeprefix("large_")
