"""A dataset on the Hub as an upload finds it: its files, its indexes, its card, and its samples as references.

Only what is asked for is fetched; images are references to byte ranges.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from qflux_hub import cards, codes, frontmatter, index, indexcache, media
from qflux_hub.errors import DataError, NotFoundError, VerificationError
from qflux_hub.hub import Hub, RepoState
from qflux_hub.index import Entry, Index, Media, Remote
from qflux_hub.ranges import Ranges, Span
from qflux_hub.report import Found, Progress
from qflux_hub.sample import CAPTIONS, CONTROLS, MASK, ROLES, TARGET, Blob, Sample

CARD = "README.md"
_NO_BRANCH = re.compile(r"[0-9a-f]{40}|refs/.*")
"""Commit ids, pull requests and the like: they exist, or are mistaken."""


@dataclass(frozen=True, slots=True)
class Head:
    """The repo at the commit that a plan is based on; ``state`` is None when there is no such repo.

    ``missing``: the repo, or the branch that was asked for, has yet to be created.
    """

    state: RepoState | None
    remote: Remote
    card: str | None
    described: cards.CardFacts
    missing: bool = False

    @property
    def commit(self) -> str | None:
        """The commit, None for a repo that has none."""
        return self.state.commit if self.state else None

    def rows(self, split: str) -> Sequence[Entry]:
        """What the index tells of ``split``; nothing when there is none."""
        known = self.remote.indexes.get(split)
        return known.entries if known else ()

    def contents(self, split: str) -> dict[str, str]:
        """Id -> hash of the content, of the samples of ``split``."""
        return {row.id: row.content for row in self.rows(split)}

    def foreign(self, split: str) -> list[str]:
        """Data files of ``split`` that something else wrote: those its card names, or that lie where ours would."""
        patterns = (self.described.files or {}).get(split, (f"data/{split}-*", f"data/{split}.*"))
        return [
            path
            for path in sorted(self.remote.files)
            if (index.shard_split(path) == split and not index.is_shard(path))
            or (index.shard_split(path) is None and _is_data(path, patterns))
        ]

    def lost(self, split: str) -> list[str]:
        """Shards of ``split`` of which no index tells what is in them."""
        known = self.remote.indexes.get(split)
        lying = (path for path in sorted(self.remote.files) if index.shard_split(path) == split)
        return [path for path in lying if index.is_shard(path) and not (known and path in known.shards)]

    def is_known(self, split: str) -> bool:
        """Whether the indexes tell of every shard of ``split`` what is in it."""
        return not self.lost(split)

    def splits(self) -> set[str]:
        """Every split that the repo has: described by its card, indexed, or lying where ours would."""
        found = {index.split_of(path) or index.shard_split(path) for path in self.remote.files}
        return {split for split in found if split} | set(self.described.files or ())


def _is_data(path: str, patterns: Sequence[str]) -> bool:
    """Whether a card's globs mean this file; a bare ``*`` means neither the card itself nor hidden files."""
    plain = path != CARD and not any(part.startswith(".") for part in path.split("/"))
    return plain and any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


EMPTY = Head(None, Remote({}, {}), None, cards.CardFacts(), missing=True)


def read(hub: Hub, repo_id: str, revision: str | None, found: Found, *, card: bool = True) -> Head:
    """The head of ``revision``, with all indexes that can be read; without ``card``, the card is not.

    One request for the listing, one per index, one for the card. A branch that does not exist yet begins where main
    is. Raises AuthError, FormatError, HubError; DataError for a card that cannot be read; NotFoundError for a
    revision that cannot become a branch.
    """
    missing = False
    try:
        state = hub.state(repo_id, revision)
    except NotFoundError as error:
        if revision and _NO_BRANCH.fullmatch(revision):
            raise
        if error.what == "repo":
            return EMPTY
        state, missing = hub.state(repo_id), True
    indexes = {}
    for path in state.files:
        split = index.split_of(path)
        if split:
            try:
                indexes[split] = _believable(_index(hub, repo_id, state, path), path, state, found)
            except VerificationError as error:
                found(codes.BROKEN_INDEX(path, f"{error.message} {_ANEW}"))
    text = None
    if card and CARD in state.files:
        text = card_text(_unaltered(hub, repo_id, state, CARD))
    files = {file.path: (file.size, file.sha256) for file in state.files.values()}
    return Head(state, Remote(files, indexes), text, cards.read_card(text) if text else cards.CardFacts(), missing)


def _index(hub: Hub, repo_id: str, state: RepoState, path: str) -> Index:
    """An index, from the local cache when that has it: the listing says which one it is."""
    place, digest = place_of(hub, repo_id, path), state.files[path].sha256
    known = indexcache.kept(place, digest) if digest else None
    if known is None:
        from qflux_hub import indexfile  # an unchanged dataset gets by without it, and without pyarrow

        known = indexfile.read(_unaltered(hub, repo_id, state, path), path)
        if digest:
            indexcache.keep(place, digest, known)
    return known


def place_of(hub: Hub, repo_id: str, path: str) -> str:
    """Where a file lies, in the words of the local cache."""
    return f"{hub.name} {repo_id} {path}"


def _unaltered(hub: Hub, repo_id: str, state: RepoState, path: str) -> bytes:
    """A file with the hash that the listing names. Read once more when it comes altered, then VerificationError:
    words of others that were altered on the way would be written back, and samples that an index does not tell of
    would be taken for gone.
    """
    file = state.files[path]
    for _ in range(2):
        data = hub.read(repo_id, path, state.commit)
        if (hashlib.sha256(data).hexdigest() == file.sha256) if file.sha256 else git_blob(data) == file.blob:
            return data
    raise VerificationError(
        f"{path} came with other bytes than the Hub lists.",
        hint="Try again; if it stays so, the Hub's storage or something on the way is damaged.",
    )


def git_blob(content: bytes) -> str:
    """The id that git gives to a file: SHA-1 of a header and the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


_ANEW = "The next upload of its split writes it anew."


def _believable(known: Index, path: str, state: RepoState, found: Found) -> Index:
    """What an index says of shards that lie on the Hub as it says; of others, it knows nothing that can be used."""
    there = {name: (file.size, file.sha256) for name, file in state.files.items()}
    true = {name: shard for name, shard in known.shards.items() if there.get(name) == (shard.size, shard.sha256)}
    false = sorted(known.shards.keys() - true.keys())
    if not false:
        return known
    found(codes.BROKEN_INDEX(path, f"{path} does not agree with {false[0]}, which was replaced or removed. {_ANEW}"))
    return replace(known, shards=true, entries=tuple(entry for entry in known.entries if entry.shard in true))


def card_text(data: bytes) -> str:
    """A card's text, its line ends and byte order mark kept. Raises DataError when it is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{CARD} on the Hub is not UTF-8 in line {line}.", hint=frontmatter.HINT) from error


def samples(
    hub: Hub,
    repo_id: str,
    commit: str,
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
    for shard in sorted({row.shard for row in rows.values()}):
        with hub.open(repo_id, shard, commit) as file:
            table = _texts(file, shard, known.extra)
        for texts in table.to_pylist():
            row = rows.get(texts.pop("id"))
            if row is None:
                continue
            spans = [Span(hub, repo_id, commit, shard, one.offset, one.size, ranges) for one in row.media]
            blobs = [
                (one.role, Blob(one.name, one.size, span, sha256=one.sha256))
                for one, span in zip(row.media, spans, strict=True)
            ]
            by_role: dict[str, list[Blob]] = {}
            for column, blob in blobs:
                by_role.setdefault(media.role(column), []).append(blob)
            sample = Sample(
                id=row.id,
                split=split,
                prompt=texts.pop("prompt"),
                controls=tuple(by_role.pop(CONTROLS, ())),
                mask=next(iter(by_role.pop(MASK, ())), None),
                target=next(iter(by_role.pop(TARGET, ())), None),
                captions=tuple(texts.pop(CAPTIONS, None) or ()),
                extra={name: value for name, value in texts.items() if value is not None},
                place=shard,
                others={name: own[0] for name, own in by_role.items()},
            )
            now = index.entry(sample, 0, ())
            if (row.prompt_sha256, row.extra_sha256) != (now.prompt_sha256, now.extra_sha256):
                raise VerificationError(
                    f"The texts of {sample.id!r} in {shard} are not those that were uploaded.",
                    hint="Try again; if it stays so, the Hub's storage or something on the way is damaged.",
                )
            yield sample


def _texts(file: BinaryIO, shard: str, extra: Sequence[str]) -> pa.Table:
    """The text columns of a shard. Raises VerificationError when it cannot be what its index tells of."""
    try:
        return pq.ParquetFile(file).read(columns=["id", "prompt", *extra])
    except (pa.ArrowException, OSError) as error:
        raise VerificationError(
            f"{shard} came with other bytes than were uploaded: {error}.",
            hint="Try again; if it stays so, the Hub's storage or something on the way is damaged.",
        ) from error


def held(hub: Hub, repo_id: str, head: Head, split: str, progress: Progress) -> Index | None:
    """The samples in the data files of ``split`` that no index tells of: those that something else wrote, such as
    ``push_to_hub``, and shards whose index is lost. It does not say where in the files images lie.

    Reads all of them, one row group in memory at a time. None when there are none, or when they are no samples as
    documented: other columns, files that are not embedded, ids that stand twice. Raises VerificationError for a shard
    that cannot be read.
    """
    paths = [*head.foreign(split), *head.lost(split)]
    if not paths or head.commit is None:
        return None
    sizes = {path: head.remote.files[path][0] for path in paths}
    rows: dict[str, Entry] = {}
    extra: set[str] = set()
    with progress.task("Comparing", sum(sizes.values())) as task:
        for path in paths:
            try:
                with hub.open(repo_id, path, head.commit) as file:
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
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{_plain(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{','.join(sorted(f'{field.name}:{_plain(field.type)}' for field in kind))}>"
    return str(kind).removeprefix("large_")
