"""The index beside the shards: what is written is read back, and what is damaged is told from what is newer."""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qflux_hub import FormatError, VerificationError
from qflux_hub.index import Entry, Index, Media, ShardRecord, digest, entry
from qflux_hub.indexcache import keep, kept
from qflux_hub.indexfile import read, write
from qflux_hub.sample import CONTROLS, MASK, TARGET, Blob, Sample

HASH = st.binary(min_size=32, max_size=32)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
MEDIA = st.builds(
    Media,
    role=st.sampled_from([TARGET, CONTROLS, MASK]),
    name=TEXT,
    sha256=HASH,
    size=st.integers(0, 2**40),
    width=st.integers(1, 2**31 - 1),
    height=st.integers(1, 2**31 - 1),
    offset=st.integers(-1, 2**40),
)


ENTRY = st.builds(
    Entry,
    id=TEXT,
    order=st.integers(0, 2**40),
    encoded=st.integers(0, 2**40),
    prompt_sha256=HASH,
    extra_sha256=HASH,
    media=st.lists(MEDIA, max_size=4).map(tuple),
    shard=TEXT,
)
RECORD = st.builds(ShardRecord, digest=TEXT, sha256=TEXT, size=st.integers(0, 2**50))
INDEX = st.builds(
    Index,
    target=st.integers(1, 2**40),
    extra=st.lists(TEXT, max_size=3, unique=True).map(tuple),
    shards=st.dictionaries(TEXT, RECORD, max_size=3),
    entries=st.lists(ENTRY, max_size=4).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(INDEX)
def test_an_index_comes_back_as_it_was_written(index: Index) -> None:
    assert read(write(index), "x") == index
    assert write(index) == write(read(write(index), "x"))


@settings(max_examples=40, deadline=None)
@given(INDEX)
def test_a_kept_index_comes_back_as_it_was(index: Index) -> None:
    keep("hub me/ds train", "7f", index)
    assert kept("hub me/ds train", "7f") == index


SMALL = Index(
    100,
    ("author",),
    {"data/train/a-0.parquet": ShardRecord("d", "s", 9)},
    (
        Entry(
            "a", 0, 90, b"p" * 32, b"e" * 32, (Media(TARGET, "a.png", b"h" * 32, 9, 4, 3, 4),), "data/train/a-0.parquet"
        ),
    ),
)


def damaged(data: bytes) -> None:
    """Either read as an index, or told to be none; never anything else."""
    with contextlib.suppress(VerificationError, FormatError):
        read(data, "x")


def test_bytes_that_are_no_index_are_a_verification_error() -> None:
    for data in (b"", b"garbage", b"PAR1" * 9, write(SMALL)[:-1], write(SMALL)[:200], write(SMALL)[1:]):
        with pytest.raises(VerificationError, match="x is not a readable index"):
            read(data, "x")


def test_any_bit_may_be_turned_without_another_kind_of_error() -> None:
    whole = write(SMALL)
    chance = random.Random(7)  # noqa: S311 - to repeat it
    for _ in range(300):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        damaged(bytes(data))


def test_of_a_kept_index_only_the_last_version_counts_and_only_where_it_was() -> None:
    keep("hub me/ds train", "7f", SMALL)
    assert kept("hub me/ds test", "7f") is None
    assert kept("hub me/ds train", "80") is None
    keep("hub me/ds train", "80", SMALL)
    assert (kept("hub me/ds train", "7f"), kept("hub me/ds train", "80")) == (None, SMALL)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:0], lambda data: data[:40] + b"9" + data[41:]]
)
def test_a_kept_index_that_is_damaged_is_not_believed(
    damage: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QFLUX_CACHE_DIR", str(tmp_path))
    keep("hub me/ds train", "7f", SMALL)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    file.write_bytes(damage(file.read_bytes()))
    assert kept("hub me/ds train", "7f") is None


def with_metadata(**changes: str | None) -> bytes:
    table = pq.read_table(io.BytesIO(write(SMALL)))
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()} | changes
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({key: value for key, value in metadata.items() if value}), out)
    return out.getvalue()


@pytest.mark.parametrize(
    "changes",
    [
        {"qflux_shards": None},
        {"qflux_shards": "[]"},
        {"qflux_shards": "{broken"},
        {"qflux_shards": '{"a": {"digest": "d"}}'},
        {"qflux_shards": '{"a": {"digest": "d", "sha256": "s", "size": 1, "more": 2}}'},
        {"qflux_shards": '{"a": 7}'},
        {"qflux_target_bytes": "many"},
        {"qflux_target_bytes": None},
        {"qflux_extra_columns": None},
        {"qflux_extra_columns": "7"},
        {"qflux_format": "one"},
    ],
)
def test_metadata_that_make_no_sense_are_a_verification_error(changes: dict[str, str | None]) -> None:
    with pytest.raises(VerificationError):
        read(with_metadata(**changes), "x")


@pytest.mark.parametrize("changes", [{}, {"qflux_shards": None, "qflux_target_bytes": None}])
def test_a_newer_format_is_recognised_whatever_else_it_has(changes: dict[str, str | None]) -> None:
    with pytest.raises(FormatError, match="has format 2; this qflux knows 1"):
        read(with_metadata(qflux_format="2", **changes), "x")


def test_a_table_with_other_columns_is_a_verification_error() -> None:
    out = io.BytesIO()
    known = pq.read_table(io.BytesIO(write(SMALL))).schema.metadata
    pq.write_table(pa.table({"id": ["a"]}).replace_schema_metadata(known), out)
    with pytest.raises(VerificationError):
        read(out.getvalue(), "x")


# --- digests ----------------------------------------------------------------------------------------------------


def row(id: str = "a", prompt: str = "p", name: str = "a.png", extra: str | None = None, order: int = 0) -> Entry:
    def opener(_name: str) -> io.BytesIO:
        return io.BytesIO()

    sample = Sample(id, "train", prompt, (Blob(name, 3, opener),), extra={"x": extra} if extra else {})
    media = [Media(role, blob.name, b"h" * 32, blob.size, 1, 1) for role, blob in sample.media()]
    return entry(sample, order, media)


def test_a_digest_is_of_what_a_shard_holds_and_of_nothing_else() -> None:
    same = digest([row()], 100, ["x"], 1)
    assert digest([row(order=7)], 100, ["x"], 1) == same
    assert digest([row(name="elsewhere/a.png")], 100, ["x"], 1) == same  # shards hold the file's name alone
    others = [
        digest([row(id="b")], 100, ["x"], 1),
        digest([row(prompt="q")], 100, ["x"], 1),
        digest([row(name="b.png")], 100, ["x"], 1),
        digest([row(extra="1")], 100, ["x"], 1),
        digest([row(), row(id="b")], 100, ["x"], 1),
        digest([row()], 101, ["x"], 1),
        digest([row()], 100, [], 1),
        digest([row()], 100, ["x"], 2),
    ]
    assert len({same, *others}) == 9


def test_metadata_are_readable_by_others() -> None:
    metadata = pq.read_schema(io.BytesIO(write(SMALL))).metadata
    assert metadata[b"qflux_format"] == b"1"
    assert json.loads(metadata[b"qflux_shards"]) == {
        "data/train/a-0.parquet": {"digest": "d", "sha256": "s", "size": 9}
    }
