"""``upload``: the first upload of a dataset, qflux beside ``datasets``' ``push_to_hub``; ``again``: the same once more,
when nothing changed; ``slow``: a first upload over a network that is slower than packing.

Every run is a new process. A first upload also has a new hub, which runs in a process of its own on the same machine,
and empty caches. Rounds are interleaved and begin with another client each time. Samples are about 1 MB.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path

from tests.bench.data import photos, tiny
from tests.bench.hub import Traffic, served
from tests.bench.link import slow_link
from tests.bench.measure import Cost, Costs, cost, environment, python
from tests.bench.tables import Goal, Result, Setup, Table, megabytes, seconds, times

REPO = "me/photos"
SLOW = 50_000_000
"""Bytes per second of the slow network: a gigabit line, half of it used by others."""
MB = 1_000_000


def qflux(folder: Path) -> list[str]:
    """The command line, as a user types it."""
    return python("-m", "qflux_hub", "upload-dataset", str(folder), REPO, "--quiet")


def push_to_hub(folder: Path) -> list[str]:
    """A script with the usual few lines of ``datasets``."""
    return python("-m", "tests.bench.push", str(folder), REPO)


CLIENTS: dict[str, Callable[[Path], list[str]]] = {"qflux": qflux, "push_to_hub": push_to_hub}
Runs = dict[str, tuple[Costs, Traffic]]


def upload(setup: Setup) -> Result:
    """First upload of 200 and of 1,000 samples. Goals: as fast or faster, half the memory, one commit."""
    table, goals = _table("First upload"), []
    for count in (20, 60) if setup.quick else (200, 1_000):
        runs = _first(photos(setup, count), setup)
        (ours, traffic), (theirs, _) = runs["qflux"], runs["push_to_hub"]
        table.rows += _rows(count, runs)
        goals += [
            Goal(f"{count} samples: at least as fast", ours.wall <= theirs.wall),
            Goal(f"{count} samples: at most half the memory", ours.peak <= theirs.peak / 2),
            Goal(f"{count} samples: one commit", traffic.commits == 1),
        ]
    return Result([table], goals)


def again(setup: Setup) -> Result:
    """The same uploads when nothing changed, and one of 100,000 samples of one pixel by qflux alone.

    Goals: a fifth and an eighth of the time, 0.8 s, four requests, no content sent; 10 s for 100,000 samples.
    """
    table, goals = _table("Second upload, nothing changed"), []
    for count in (20, 60) if setup.quick else (200, 1_000):
        runs = _second(photos(setup, count), setup)
        (ours, traffic), (theirs, _) = runs["qflux"], runs["push_to_hub"]
        table.rows += _rows(count, runs)
        goals += [
            Goal(f"{count} samples: at most a fifth of the time", ours.wall <= theirs.wall / 5),
            Goal(f"{count} samples: no content sent", traffic.content == 0),
            Goal(f"{count} samples: at most four requests", traffic.requests <= 4),
        ]
    goals += [
        Goal(f"{count} samples: at most an eighth of the time", ours.wall <= theirs.wall / 8),
        Goal(f"{count} samples: under 0.8 s", ours.least_wall < 0.8),
    ]
    count = 1_000 if setup.quick else 100_000
    runs = _second(tiny(setup, count), setup, ("qflux",))
    table.rows += _rows(count, runs)
    goals.append(Goal(f"{count:,} samples of one pixel: under 10 s", runs["qflux"][0].least_wall < 10))
    return Result([table], goals)


def slow(setup: Setup) -> Result:
    """First upload of 1,000 samples at 50 MB/s. Goal: memory stays bounded while content waits for the network."""
    count = 60 if setup.quick else 1_000
    runs = _first(photos(setup, count), setup, rate=SLOW)
    (ours, _), (theirs, _) = runs["qflux"], runs["push_to_hub"]
    table = _table(f"First upload at {SLOW // MB} MB/s")
    table.rows += _rows(count, runs)
    goals = [
        Goal(f"{count} samples: at least as fast", ours.wall <= theirs.wall),
        Goal(f"{count} samples: under 900 MB", ours.peak < 900 * MB),
    ]
    return Result([table], goals)


def _first(dataset: Path, setup: Setup, rate: float | None = None) -> Runs:
    costs: dict[str, list[Cost]] = {name: [] for name in CLIENTS}
    traffic = {}
    for number in range(setup.rounds):
        for name in _turns(number):
            home = setup.scratch / name
            with served(home / "served") as hub, slow_link(hub.url, rate) if rate else nullcontext(hub.url) as url:
                env = environment(home, HF_ENDPOINT=url, HF_TOKEN=hub.token)
                costs[name].append(cost(CLIENTS[name](dataset), env))
                traffic[name] = hub.traffic()
            shutil.rmtree(home)
    return {name: (Costs(tuple(costs[name])), traffic[name]) for name in CLIENTS}


def _second(dataset: Path, setup: Setup, clients: Sequence[str] = tuple(CLIENTS)) -> Runs:
    costs: dict[str, list[Cost]] = {name: [] for name in clients}
    traffic = {}
    with ExitStack() as hubs:
        running = {name: hubs.enter_context(served(setup.scratch / name / "served")) for name in clients}
        for number in range(-1, setup.rounds):  # the one before the first is the upload that is repeated
            for name in _turns(number, clients):
                env = environment(setup.scratch / name, HF_ENDPOINT=running[name].url, HF_TOKEN=running[name].token)
                spent, traffic[name] = cost(CLIENTS[name](dataset), env), running[name].traffic()
                if number >= 0:
                    costs[name].append(spent)
    for name in clients:
        shutil.rmtree(setup.scratch / name)
    return {name: (Costs(tuple(costs[name])), traffic[name]) for name in clients}


def _turns(number: int, clients: Iterable[str] = CLIENTS) -> list[str]:
    return sorted(clients, reverse=number % 2 == 1)


def _table(title: str) -> Table:
    headings = ("samples", "client", "wall s", "least", "cpu s", "peak MB", "sent MB", "requests", "commits")
    return Table(title, (*headings, "wall", "cpu", "memory"))


def _rows(count: int, runs: Runs) -> Iterator[tuple[str, ...]]:
    """One row per client; the last three columns are its cost divided by that of qflux."""
    base, _ = runs["qflux"]
    for name, (costs, traffic) in runs.items():
        yield (
            f"{count:,}",
            name,
            seconds(costs.wall),
            seconds(costs.least_wall),
            seconds(costs.cpu),
            megabytes(costs.peak),
            megabytes(traffic.content),
            f"{traffic.requests:,}",
            f"{traffic.commits}",
            times(costs.wall / base.wall),
            times(costs.cpu / base.cpu),
            times(costs.peak / base.peak),
        )
