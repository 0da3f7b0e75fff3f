"""What an upload will do, worked out before anything is written or sent.

Pure: takes the samples with the hashes of their images, and what the Hub has; gives the shards to keep, to write and
to delete. A dry run prints exactly the plan that a real run executes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from qflux_hub import index, media, shards
from qflux_hub.errors import RefusedError
from qflux_hub.features import LAYOUT_VERSION
from qflux_hub.index import Entry, Index, Media, Remote, ShardRecord
from qflux_hub.naming import Kind, kind_of
from qflux_hub.report import Action, Changes, Operation
from qflux_hub.sample import Blob, Sample
from qflux_hub.sniff import ImageFacts


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard of the dataset as it will be. ``record`` is known when it is on the Hub already and stays."""

    path: str
    digest: str
    entries: tuple[Entry, ...]
    record: ShardRecord | None = None

    @property
    def bytes(self) -> int:
        """Its encoded size, before Parquet."""
        return sum(entry.encoded for entry in self.entries)


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """One split: its shards in id order, what changes, and whether its index has to be written."""

    name: str
    shards: tuple[Shard, ...]
    changes: Changes
    index_action: Action


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything an upload will do to the data. ``target`` is T; ``extra`` the text columns beside ours; ``held``
    those of media, with their kinds.
    """

    target: int
    extra: tuple[str, ...]
    splits: tuple[SplitPlan, ...]
    deletions: tuple[Operation, ...]
    held: Mapping[str, Kind]

    @property
    def to_write(self) -> list[Shard]:
        """The shards that are not on the Hub yet."""
        return [shard for split in self.splits for shard in split.shards if shard.record is None]

    def unwanted(self, files: Iterable[str]) -> list[str]:
        """Of these files, those that may not be there any more: they go, or lie among the shards of a split."""
        gone, splits = {one.path for one in self.deletions}, {split.name for split in self.splits}
        shards = {shard.path for split in self.splits for shard in split.shards}
        return [path for path in files if path in gone or (index.shard_split(path) in splits and path not in shards)]

    def operations(self, remote: Remote) -> Iterator[Operation]:
        """One per data file, split by split."""
        for split in self.splits:
            for shard in split.shards:
                yield _shard_operation(shard, remote)
            path = index.path(split.name)
            size = remote.files[path][0] if split.index_action == "keep" else None
            yield Operation(path, split.index_action, "index of the split", size)
        yield from self.deletions


def entries(samples: Sequence[Sample], facts: Mapping[str, ImageFacts], hashes: Mapping[str, bytes]) -> list[Entry]:
    """The index rows of samples whose images were hashed, in source order."""

    def described(role: str, blob: Blob) -> Media:
        column, known = media.column(role, blob.name), facts[blob.name]
        width, height = (known.width, known.height) if kind_of(blob.name) not in ("video", "audio") else (0, 0)
        return Media(column, blob.name, hashes[blob.name], blob.size, width, height)

    return [
        index.entry(sample, order, (described(role, blob) for role, blob in sample.media()))
        for order, sample in enumerate(samples)
    ]


def make(
    rows: Mapping[str, Sequence[Entry]],
    extra: tuple[str, ...],
    remote: Remote,
    *,
    shard_size: int | None,
    prune: Collection[str] = (),
    foreign: Mapping[str, Sequence[str]],
    taken_over: Mapping[str, Mapping[str, str]],
    mirror: bool = False,
) -> Plan:
    """The plan that makes the splits in ``rows`` what these say. ``extra``: the text columns beside ours, in order.

    ``shard_size`` is an explicit wish for T; otherwise the dataset keeps the T it has. ``prune`` are splits to delete
    as a whole, ``foreign`` the data files of a split that something else wrote: those of a split in ``rows`` are an
    error unless it is ``taken_over`` (its contents by id are then known) or ``mirror``; then they are deleted. Raises
    RefusedError.
    """
    total = sum(entry.encoded for split in rows.values() for entry in split)
    known = [one.target for one in remote.indexes.values()]
    target = shards.target_size(total, shard_size or max(known, default=shards.DEFAULT_TARGET))
    held = columns(entry for split in rows.values() for entry in split)
    splits = tuple(
        _plan_split(
            name,
            sorted(split, key=lambda entry: entry.id.encode()),
            remote,
            target,
            extra,
            held,
            taken_over.get(name, {}),
        )
        for name, split in rows.items()
    )
    in_the_way = {name: paths for name in rows if (paths := foreign.get(name, ()))}
    doomed = {name: foreign.get(name, ()) for name in prune}
    refused = {name: paths for name, paths in in_the_way.items() if name not in taken_over and not mirror}
    if refused:
        name, paths = next(iter(refused.items()))
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        raise RefusedError(
            f"The split {name!r} on the Hub lies in files of another kind: {paths[0]}{more}.",
            hint="--mirror replaces them by this source; they stay in the repo's history.",
        )
    return Plan(target, extra, splits, tuple(_deletions(splits, remote, prune, in_the_way | doomed)), held)


def columns(rows: Iterable[Entry]) -> dict[str, Kind]:
    """The columns that the media of these rows have, and what they hold."""
    return media.of_dataset((one.role, kind_of(one.name)) for row in rows for one in row.media)


def _plan_split(
    name: str,
    rows: Sequence[Entry],
    remote: Remote,
    target: int,
    extra: tuple[str, ...],
    held: Mapping[str, Kind],
    taken_over: Mapping[str, str],
) -> SplitPlan:
    known = remote.indexes.get(name)
    places = {entry.id: entry for entry in known.entries} if known else {}
    lengths = shards.Rows(shards.shard_window(target))
    for entry in rows:
        lengths.add(entry.id, entry.encoded)
    planned = []
    for piece in lengths.cut():
        part = rows[piece.start : piece.stop]
        path = index.shard_path(name, part[0].id)
        digest = index.digest(part, target, extra, LAYOUT_VERSION, held)
        record = known.shards.get(path) if known else None
        if record is not None and record.digest == digest and _is_there(path, record, remote):
            planned.append(Shard(path, digest, tuple(_placed(row, places[row.id]) for row in part), record))
        else:
            planned.append(Shard(path, digest, tuple(part)))
    return SplitPlan(
        name, tuple(planned), _changes(rows, known, taken_over), _index_action(name, planned, known, remote)
    )


def _is_there(path: str, record: ShardRecord, remote: Remote) -> bool:
    """The index's word for a shard counts only when the Hub lists that very file."""
    return remote.files.get(path) == (record.size, record.sha256)


def _placed(row: Entry, there: Entry) -> Entry:
    """A row of a shard that stays, with the places of its images taken from the index."""
    return index.placed(row, there.shard, [one.offset for one in there.media])


def _changes(rows: Sequence[Entry], known: Index | None, taken_over: Mapping[str, str]) -> Changes:
    before = {**taken_over, **(known.contents() if known else {})}
    now = {entry.id: entry.content for entry in rows}
    unchanged = sum(before.get(name) == content for name, content in now.items())
    both = len(before.keys() & now.keys())
    return Changes(len(now), len(now) - both, both - unchanged, len(before) - both, unchanged)


def _index_action(name: str, planned: Sequence[Shard], known: Index | None, remote: Remote) -> Action:
    if index.path(name) not in remote.files:
        return "add"
    if known is None or any(shard.record is None for shard in planned):
        return "update"
    now = [entry for shard in planned for entry in shard.entries]
    return "keep" if now == list(known.entries) and len(planned) == len(known.shards) else "update"


def _deletions(
    splits: Sequence[SplitPlan], remote: Remote, prune: Collection[str], foreign: Mapping[str, Sequence[str]]
) -> Iterator[Operation]:
    why: dict[str, str] = {}
    for split in splits:
        planned = {shard.path for shard in split.shards}
        for path in sorted(remote.files):
            if index.shard_split(path) == split.name and index.is_shard(path) and path not in planned:
                why[path] = "its samples moved or are gone"
        why |= dict.fromkeys(foreign.get(split.name, ()), "replaced by this source")
    for name in sorted(prune):
        for path in sorted(remote.files):
            if index.shard_split(path) == name or path == index.path(name) or path in foreign.get(name, ()):
                why.setdefault(path, f"the source has no split {name!r}")
    return (Operation(path, "delete", reason, remote.files[path][0]) for path, reason in why.items())


def _shard_operation(shard: Shard, remote: Remote) -> Operation:
    samples = "1 sample" if len(shard.entries) == 1 else f"{len(shard.entries):,} samples"
    if shard.record:
        return Operation(shard.path, "keep", f"{samples} unchanged", shard.record.size)
    if shard.path in remote.files:
        return Operation(shard.path, "update", f"{samples}, some changed", shard.bytes)
    return Operation(shard.path, "add", samples, shard.bytes)
