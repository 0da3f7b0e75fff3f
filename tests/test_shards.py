import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflux_hub.shards import DEFAULT_TARGET, MAX_SHARDS, MB, ROW_GROUP, Rows, Window, shard_window, target_size

SMALL = Window(70, 160, slice(0, 8))


def cut(ids, sizes, window):
    rows = Rows(window)
    for name, size in zip(ids, sizes, strict=True):
        rows.add(name, size)
    return rows.cut()


def pieces(samples, window):
    """The pieces of {id: size}, as the sets of (id, size) that they hold."""
    ids = sorted(samples, key=str.encode)
    return [
        tuple((name, samples[name]) for name in ids[piece.start : piece.stop])
        for piece in cut(ids, [samples[name] for name in ids], window)
    ]


SETS = st.dictionaries(st.text(max_size=6), st.integers(1, 60) | st.integers(1, 400), max_size=120)


@given(SETS)
def test_every_sample_is_in_one_piece_in_order(samples):
    ids = list(samples)
    ranges = list(cut(ids, [samples[name] for name in ids], SMALL))
    assert [position for piece in ranges for position in piece] == list(range(len(ids)))
    assert all(ranges)


@given(SETS)
def test_pieces_lie_in_the_window_but_the_last_and_those_that_end_with_a_large_sample(samples):
    *full, last = pieces(samples, SMALL) or [()]
    for piece in full:
        size = sum(size for _, size in piece)
        assert size >= SMALL.least
        if size > SMALL.most:
            assert size - piece[-1][1] < SMALL.least
    assert sum(size for _, size in last) <= SMALL.most or not last[:-1] or sum(s for _, s in last[:-1]) < SMALL.least


@given(SETS)
def test_the_same_samples_are_cut_the_same(samples):
    assert pieces(samples, SMALL) == pieces(dict(reversed(samples.items())), SMALL)


def test_ids_are_cut_by_their_utf_8_bytes_on_every_machine():
    names = [f"sample_{number:04d}_\u00e9" for number in range(30)]
    ends = [piece.stop for piece in cut(names, [20] * 30, SMALL)]
    assert ends == [4, 10, 18, 26, 30]


def test_nothing_is_cut_into_no_pieces():
    assert list(cut([], [], SMALL)) == []


def test_what_fits_into_one_piece_is_not_cut():
    assert list(cut(["a", "b", "c"], [50, 50, 60], SMALL)) == [range(3)]
    assert list(cut(["a"], [10_000], SMALL)) == [range(1)]


def test_samples_without_size_are_cut_like_others():
    assert list(cut(["a", "b"], [0, 0], SMALL)) == [range(2)]


def realistic(count, rng):
    """Samples of about 1.5 MB, lognormal, with ids that sort all over."""
    return {f"{rng.getrandbits(40):010x}": int(rng.lognormvariate(14.0, 0.6)) for _ in range(count)}


def edited(samples, rng):
    """The samples after one edit: one more, one less, or one of another size."""
    samples = dict(samples)
    kind = rng.choice(["insert", "delete", "change", "append"])
    name = rng.choice(list(samples))
    if kind == "delete":
        del samples[name]
    elif kind == "change":
        samples[name] = int(rng.lognormvariate(14.0, 0.6))
    else:
        name = "ffffffffff" if kind == "append" else f"{rng.getrandbits(40):010x}"
        samples[name] = int(rng.lognormvariate(14.0, 0.6))
    return samples


@pytest.mark.parametrize(
    ("window", "count", "limit"),
    [(shard_window(DEFAULT_TARGET), 3000, 1.05), (ROW_GROUP, 800, 1.1)],
    ids=["shards", "row groups"],
)
def test_a_single_edit_rewrites_hardly_more_than_one_piece(window, count, limit):
    rng = random.Random(7)  # noqa: S311 - any numbers will do, the same ones every time
    samples = realistic(count, rng)
    before = set(pieces(samples, window))
    rewritten = [len(set(pieces(edited(samples, rng), window)) - before) for _ in range(300)]
    assert 1.0 <= sum(rewritten) / len(rewritten) <= limit
    assert len(before) > 10


def test_shards_and_row_groups_are_cut_by_different_votes():
    assert shard_window(DEFAULT_TARGET).part != ROW_GROUP.part


def test_time_grows_with_the_number_of_samples_only():
    def seconds(count):
        ids = [f"{number:07d}" for number in range(count)]
        started = time.perf_counter()
        assert sum(map(len, cut(ids, [1_500_000] * count, shard_window(DEFAULT_TARGET)))) == count
        return time.perf_counter() - started

    assert seconds(100_000) < 30 * min(seconds(10_000) for _ in range(3))


def test_the_target_doubles_until_all_shards_fit_into_one_commit():
    assert target_size(0) == target_size(1000 * DEFAULT_TARGET) == DEFAULT_TARGET
    assert target_size(1000 * DEFAULT_TARGET + 1) == 2 * DEFAULT_TARGET
    assert target_size(10**15) * MAX_SHARDS >= 10**15
    assert target_size(5 * MB, wanted=MB) == MB


def test_no_target_at_all_ends_too():
    assert target_size(10**9, wanted=1) * MAX_SHARDS >= 10**9
