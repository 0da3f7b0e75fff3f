"""Sequences and tables that lie in temporary databases: what went in comes out, in little memory, on any disk."""

from __future__ import annotations

import gc
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qflux_hub import spill
from qflux_hub.errors import QfluxError
from qflux_hub.sample import Blob, Sample
from qflux_hub.spill import Mapped, Spilled, Table
from qflux_hub.tree import FolderOpener
from tests.jobtools import environment, script

TEXTS = st.text(max_size=6) | st.just("\ud800")  # JSON can have half a pair
VALUES = st.none() | st.integers() | TEXTS | st.binary(max_size=3) | st.tuples(st.integers(), TEXTS)


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(spill, "FEW", 3)
    monkeypatch.setattr(spill, "_AT_ONCE", 4)


def sample(number: int, opener: FolderOpener) -> Sample:
    target = Blob(f"train/{number}.png", number, opener, stamp=number << 64 | 7, sha256=bytes([number]))
    return Sample(f"{number:04}", "train", f"prompt {number}", (), target=target, extra={"a": None}, captions=("b",))


def test_samples_come_back_as_they_were():
    opener = FolderOpener("/somewhere")
    samples = [sample(number, opener) for number in range(50)]
    spilled = Spilled(samples)
    assert (len(spilled), list(spilled), spilled[-1], spilled[7]) == (50, samples, samples[-1], samples[7])
    assert list(spilled[2:11]) == samples[2:11]
    assert list(spilled[5:][3:9]) == samples[8:14]
    assert list(spilled[9:4]) == []
    assert spilled[40].target.opener is opener  # an open file or a cache is one for all
    with pytest.raises(IndexError):
        spilled[50]


def test_samples_can_be_added_while_others_are_read():
    spilled = Spilled(range(10))
    reading = iter(spilled)
    seen = [next(reading) for _ in range(5)]
    for number in range(10, 30):
        spilled.append(number)
    assert seen + list(reading) == list(range(10))  # as many as there were
    assert list(spilled) == list(range(30))


def test_several_threads_read_at_once():
    spilled, sums = Spilled(range(2_000)), []
    threads = [threading.Thread(target=lambda: sums.append(sum(spilled))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [sum(range(2_000))] * 8


def test_what_is_made_of_a_sequence_is_made_when_it_is_asked_for():
    made = []
    mapped = Mapped(Spilled(range(20)), lambda number: made.append(number) or number * 2)
    part = mapped[5:8]
    assert made == []
    assert (list(part), made) == ([10, 12, 14], [5, 6, 7])


@given(st.lists(st.tuples(TEXTS, VALUES)))
@settings(max_examples=100, deadline=None)
def test_a_table_is_a_dictionary_in_the_order_of_its_keys(pairs):
    claimed, latest, put = Table(), Table(), {}
    for key, value in pairs:
        assert claimed.claim(key, value) is (key not in put)
        put.setdefault(key, value)
        latest.put(key, value)
    assert list(claimed.items()) == sorted(put.items(), key=lambda item: item[0])
    assert (len(claimed), bool(claimed)) == (len(put), bool(put))
    assert dict(latest.items()) == dict(pairs)
    assert all(key in claimed and claimed.get(key) == value for key, value in put.items())
    assert "no such key" not in claimed
    assert claimed.get("no such key") is None


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted where Linux lists them")
def test_files_go_with_what_lay_in_them():
    def held() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = held()
    items, table = Spilled("x" * 1_000 for _ in range(5_000)), Table()
    for number in range(100_000):
        table.claim(f"a rather long name of a file, number {number}")
    assert held() > before
    del items, table
    assert held() == before


def test_memory_does_not_grow_with_what_is_held(tmp_path):
    """A process that holds 20 and 200 MB of text takes about the same: what is there at once, and SQLite's pages."""
    source = (
        "import sys, resource; from qflux_hub.spill import Spilled, Table; count = {}\n"
        "items, table = Spilled('x' * 1_000 + str(number) for number in range(count)), Table()\n"
        "print(sum(map(len, items)), [table.claim('%0100d' % number) for number in range(count // 10)].count(True))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform != 'darwin' else 1 << 20))"
    )
    env = environment(tmp_path)
    few, many = (
        int(script(source.replace("{}", str(count)), env=env).stdout.split()[-1]) for count in (20_000, 200_000)
    )
    assert many < few + 15


@pytest.mark.skipif(sys.platform != "linux", reason="the file size is limited by a shell of Linux")
def test_a_full_disk_is_told(tmp_path):
    source = (
        "import resource, signal; from qflux_hub.spill import Spilled\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "Spilled('x' * 1_000 for number in range(20_000))"
    )
    done = script(source, env=environment(tmp_path))
    assert "QfluxError: A temporary file cannot be written or read: " in done.stderr


def test_a_sample_with_more_than_its_target_comes_back(tmp_path):
    opener = FolderOpener(str(tmp_path))
    one = replace(sample(1, opener), controls=(Blob("a", 1, opener),), others={"depth": Blob("b", 2, opener)})
    assert list(Spilled([one] * 5)) == [one] * 5


def test_errors_have_a_way_out(monkeypatch):
    table = Table()
    for number in range(9):
        table.claim(str(number))
    table._database._connection.close()
    with pytest.raises(QfluxError) as raised:
        table.claim("more")
    assert "TMPDIR" in raised.value.hint
