"""Plans, which are pure: properties over made-up datasets, without a hub."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qflux_hub import RefusedError
from qflux_hub.index import Entry, Index, Media, Remote, ShardRecord, is_shard, path, shard_path, shard_split
from qflux_hub.plan import Plan, make
from qflux_hub.sample import CONTROLS

EMPTY = Remote({}, {})
Rows = dict[str, list[Entry]]


def row(id: str, version: int = 0, size: int = 1000, order: int = 0) -> Entry:
    digest = hashlib.sha256(f"{id} {version}".encode()).digest()
    media = (Media(CONTROLS, f"{id}.png", digest, size, 4, 3),)
    return Entry(id, order, size, digest, b"e" * 32, media)


def planned(rows: Mapping[str, Sequence[Entry]], remote: Remote = EMPTY, **options: Any) -> Plan:
    given = {"shard_size": None, "foreign": {}, "taken_over": {}} | options
    return make(rows, (), remote, **given)


def carry_out(plan: Plan, remote: Remote) -> Remote:
    """The Hub after a plan."""
    files, indexes = dict(remote.files), dict(remote.indexes)
    for split in plan.splits:
        records, entries = {}, []
        for shard in split.shards:
            record = shard.record or ShardRecord(shard.digest, hashlib.sha256(shard.digest.encode()).hexdigest(), 9)
            records[shard.path] = record
            files[shard.path] = (record.size, record.sha256)
            entries += [replace(entry, shard=shard.path) for entry in shard.entries]
        indexes[split.name] = Index(plan.target, plan.extra, records, tuple(entries))
        files[path(split.name)] = (1, "i")
    for operation in plan.deletions:
        del files[operation.path]
        indexes = {name: known for name, known in indexes.items() if path(name) != operation.path}
    return Remote(files, indexes)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
DATASET = st.dictionaries(
    st.sampled_from(["train", "test", "val"]),
    st.dictionaries(NAMES, st.integers(0, 2), min_size=1, max_size=30),
    min_size=1,
)


def rows_of(dataset: Mapping[str, Mapping[str, int]]) -> Rows:
    return {
        split: [row(id, version, order=order) for order, (id, version) in enumerate(samples.items())]
        for split, samples in dataset.items()
    }


@settings(max_examples=60, deadline=None)
@given(DATASET, DATASET, st.sampled_from([None, 1, 3000, 10_000]))
def test_what_was_carried_out_is_nothing_to_do_and_changes_are_counted_right(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]], size: int | None
) -> None:
    remote = carry_out(planned(rows_of(before), shard_size=size), EMPTY)
    plan = planned(rows_of(after), remote)
    for split in plan.splits:
        old, new = before.get(split.name, {}), after[split.name]
        both = old.keys() & new.keys()
        changed = sum(old[id] != new[id] for id in both)
        counts = split.changes
        assert (counts.samples, counts.added, counts.removed) == (len(new), len(new) - len(both), len(old) - len(both))
        assert (counts.changed, counts.unchanged) == (changed, len(both) - changed)
    there = carry_out(plan, remote)
    again = planned(rows_of(after), there)
    assert {operation.action for operation in again.operations(there)} == {"keep"}
    assert not again.to_write


@settings(max_examples=60, deadline=None)
@given(DATASET, DATASET, st.booleans())
def test_every_file_of_a_plan_stands_in_it_once_and_the_data_are_those_of_the_source(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]], prune: bool
) -> None:
    remote = carry_out(planned(rows_of(before), shard_size=3000), EMPTY)
    plan = planned(rows_of(after), remote, prune=before.keys() - after.keys() if prune else ())
    paths = [operation.path for operation in plan.operations(remote)]
    assert len(paths) == len(set(paths))
    there = carry_out(plan, remote)
    for split, samples in {**({} if prune else before), **after}.items():
        held = [entry.id for entry in there.indexes[split].entries]
        assert held == sorted(samples, key=str.encode)
    data = {name for name in there.files if shard_split(name)}
    assert data == {name for known in there.indexes.values() for name in known.shards}
    assert there.indexes.keys() == after.keys() | (set() if prune else before.keys())


def test_one_edit_rewrites_about_one_shard_wherever_it_is() -> None:
    ids = [hashlib.sha256(str(number).encode()).hexdigest()[:12] for number in range(2000)]
    chance = random.Random(7)  # noqa: S311 - to repeat it
    samples = {id: row(id) for id in ids}
    remote = carry_out(planned({"train": [*samples.values()]}, shard_size=200_000), EMPTY)
    written = []
    for number in range(36):
        edited, id = dict(samples), chance.choice(ids)
        if number % 3 == 0:
            del edited[id]
        elif number % 3 == 1:
            edited[id] = row(id, 1)
        else:
            edited[f"{id}x"] = row(f"{id}x")
        written.append(len(planned({"train": [*edited.values()]}, remote).to_write))
    assert max(written) <= 4
    assert sum(written) / len(written) < 1.15


def test_the_size_of_shards_is_kept_until_another_is_asked_for() -> None:
    rows = {"train": [row(f"s{number:03}") for number in range(100)]}
    remote = carry_out(planned(rows, shard_size=10_000), EMPTY)
    assert planned(rows, remote).target == 10_000
    assert planned({"test": rows["train"]}, remote).target == 10_000  # a new split takes that of the others
    bigger = planned(rows, remote, shard_size=50_000)
    assert bigger.target == 50_000
    assert len(bigger.splits[0].shards) < len(remote.indexes["train"].shards)


def test_a_dataset_never_needs_more_shards_than_one_commit_takes() -> None:
    rows = {"train": [row(f"s{number:05}") for number in range(5000)]}
    plan = planned(rows, shard_size=1)
    assert len(plan.splits[0].shards) <= 2000


def test_a_shard_that_is_not_what_its_record_says_is_written_again() -> None:
    rows = {"train": [row("a"), row("b")]}
    remote = carry_out(planned(rows), EMPTY)
    (shard,) = remote.indexes["train"].shards
    for there in ((9, "other"), (8, remote.files[shard][1]), None):
        files = {name: facts for name, facts in remote.files.items() if name != shard}
        files |= {shard: there} if there else {}
        assert [one.path for one in planned(rows, Remote(files, remote.indexes)).to_write] == [shard]


def test_files_of_another_kind_are_refused_or_replaced() -> None:
    rows, old = {"train": [row("a")]}, "data/train-00000-of-00001.parquet"
    remote = Remote({old: (5, "x"), "notes.txt": (1, None)}, {})
    with pytest.raises(RefusedError, match=r"data/train-00000-of-00001\.parquet"):
        planned(rows, remote, foreign={"train": [old]})
    for options in ({"mirror": True}, {"taken_over": {"train": {}}}):
        plan = planned(rows, remote, foreign={"train": [old]}, **options)
        assert [(one.path, one.action, one.size) for one in plan.deletions] == [(old, "delete", 5)]


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_any_id_makes_a_legal_name_of_a_file_that_is_known_as_ours(id: str) -> None:
    name = shard_path("train", id)
    assert len(name.encode()) < 80
    assert name.isascii()
    assert not set(name) & set('\\:*?"<>|[]{}#% \t\n')
    assert is_shard(name)
    assert shard_split(name) == "train"


@settings(max_examples=100, deadline=None)
@given(NAMES, NAMES)
def test_different_ids_have_different_names(one: str, two: str) -> None:
    assert (shard_path("train", one) == shard_path("train", two)) == (one == two)
