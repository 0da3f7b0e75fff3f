"""What edits cost: ``edit``, a few in the middle of a dataset, from the machine that uploaded it and from another one;
``curve``, one to a thousand; ``killed``, an upload that is stopped half-way and started again.

Bytes are those of request bodies, counted at the Hub. qflux and ``push_to_hub`` edit the same files in the same order,
each against a hub of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

from tests.bench.data import photos
from tests.bench.generate import DEFAULTS, folders, write_sample
from tests.bench.hub import ServedHub, served
from tests.bench.measure import ROOT, cost, environment
from tests.bench.tables import Goal, Result, Setup, Table, seconds
from tests.bench.uploads import CLIENTS, MB, qflux

MIDDLE, SMALL = 688, 256
"""Sides of pictures, in pixels: samples of 450 kB, and of 60 kB."""


def edit(setup: Setup) -> Result:
    """1 changed, 10 added, 5 deleted of 2,000 samples. Goals: 3.5 times the new bytes, a fifth of ``push_to_hub``'s."""
    count = 100 if setup.quick else 2_000
    table = Table(
        f"1 changed, 10 added, 5 deleted of {count:,} samples", ("machine", "client", "new MB", "sent MB", "ratio", "s")
    )
    goals = []
    dataset = _Copy(photos(setup, count, MIDDLE), setup.scratch / "edited", MIDDLE)
    with _hubs(setup) as hubs:
        for name, hub in hubs.items():
            cost(CLIENTS[name](dataset.root), _machine(setup, hub, name))
            hub.traffic()
        for number, machine in enumerate(("the same", "another"), 1):
            new = dataset.change(Random(number).sample(range(count // 2), 1), number)  # noqa: S311 - repeatable
            new += dataset.add(10, number)
            dataset.delete(range(count // 2 + 20 * number, count // 2 + 20 * number + 5 * 3, 3))
            sent = {}
            for name, hub in hubs.items():
                home = name if machine == "the same" else f"{name}-elsewhere"
                spent = cost(CLIENTS[name](dataset.root), _machine(setup, hub, home))
                sent[name] = hub.traffic().received
                table.rows.append((machine, name, *_sizes(new, sent[name]), seconds(spent.wall)))
            goals += [
                Goal(f"{machine} machine: at most 3.5 times the new bytes", sent["qflux"] <= 3.5 * new),
                Goal(f"{machine} machine: at most a fifth of push_to_hub's", sent["qflux"] <= sent["push_to_hub"] / 5),
            ]
    return Result([table], goals)


def curve(setup: Setup) -> Result:
    """1, 10, 100 and 1,000 samples changed of 10,000, and 1 and 10 of 40,000. Goal: what counts is the edits.

    Not only they: of a few edits in a small dataset, some share the pieces of 64 kB that are sent.
    """
    table = Table(
        "Samples changed, shards of 32 MB", ("samples", "changed", "client", "new MB", "sent MB", "ratio", "s")
    )
    sent: dict[tuple[int, int], int] = {}
    few, many = (400, 1_600) if setup.quick else (10_000, 40_000)
    steps = tuple(edits for edits in (1, 10, 100, 1_000) if edits <= few // 4)
    for count, edited in ((few, steps), (many, (1, 10))):
        dataset = _Copy(photos(setup, count, SMALL), setup.scratch / "edited", SMALL)
        with _hubs(setup) as hubs:
            commands = {name: CLIENTS[name](dataset.root) for name in hubs if count == few or name == "qflux"}
            commands["qflux"] += ["--shard-size", "32MB"]
            for name, command in commands.items():
                cost(command, _machine(setup, hubs[name], name))
                hubs[name].traffic()
            for number, edits in enumerate(edited, 1):
                new = dataset.change(Random(number).sample(range(count), edits), number)  # noqa: S311 - repeatable
                for name, command in commands.items():
                    spent = cost(command, _machine(setup, hubs[name], name))
                    received = hubs[name].traffic().received
                    if name == "qflux":
                        sent[count, edits] = received
                    row = (f"{count:,}", f"{edits:,}", name, *_sizes(new, received), seconds(spent.wall))
                    table.rows.append(row)
    goals = [
        Goal(
            f"four times the samples, {edits} changed: at most 1.5 times the bytes",
            sent[many, edits] <= 1.5 * sent[few, edits],
        )
        for edits in (1, 10)
    ]
    more = all(sent[few, b] <= 10 * sent[few, a] for a, b in pairwise(steps))
    return Result([table], [*goals, Goal("ten times the edits, at most ten times the bytes", more)])


def killed(setup: Setup) -> Result:
    """SIGKILL when half of 1,000 samples has arrived, then the same command. Goal: little is sent again."""
    dataset = photos(setup, 60 if setup.quick else 1_000)
    large, small = ("16MB", "4MB") if setup.quick else ("256MB", "64MB")
    clients = {f"qflux, {size} shards": [*qflux(dataset), "--shard-size", size] for size in (large, small)}
    clients["push_to_hub"] = CLIENTS["push_to_hub"](dataset)
    total = sum(path.stat().st_size for path in dataset.rglob("*.*") if path.suffix != ".txt")
    table = Table("Killed half-way and started again", ("client", "MB", "before", "after", "sent again", "s after"))
    again = {}
    for name, command in clients.items():
        home = setup.scratch / "killed"
        with served(home / "served") as hub:
            env = environment(home, HF_ENDPOINT=hub.url, HF_TOKEN=hub.token)
            before = _run_until(command, env, hub, total // 2)
            spent = cost(command, env)
            after = hub.traffic().received
        shutil.rmtree(home)
        again[name] = (before + after - total) / total
        table.rows.append(
            (
                name,
                *(f"{amount / MB:,.0f}" for amount in (total, before, after)),
                f"{again[name]:.0%}",
                seconds(spent.wall),
            )
        )
    first, second, _ = again.values()
    goals = [Goal("at most 60 % are sent again", first <= 0.6), Goal("less with smaller shards", second <= first)]
    return Result([table], goals)


def _run_until(command: Sequence[str], env: dict[str, str], hub: ServedHub, received: int) -> int:
    """Run a command until the hub has received so many bytes, then kill it; how many it received."""
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        arrived = 0
        while arrived < received:
            if process.poll() is not None:
                raise RuntimeError(f"it ended with {process.returncode} before {received:,} bytes were there")
            arrived += hub.traffic().received
        process.kill()
    time.sleep(1)  # what was on its way
    return arrived + hub.traffic().received


@contextmanager
def _hubs(setup: Setup) -> Iterator[dict[str, ServedHub]]:
    """A hub for each client."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(served(setup.scratch / name / "served")) for name in CLIENTS}
    for folder in setup.scratch.iterdir():
        shutil.rmtree(folder)


def _machine(setup: Setup, hub: ServedHub, name: str) -> dict[str, str]:
    """A machine of that name: it has its own caches, empty at first."""
    return environment(setup.scratch / name, HF_ENDPOINT=hub.url, HF_TOKEN=hub.token)


def _sizes(new: int, sent: int) -> tuple[str, str, str]:
    return f"{new / MB:.2f}", f"{sent / MB:.2f}", f"{sent / new:.1f}×"


class _Copy:
    """A copy of a dataset, to be edited. Its files are links to the others until they are replaced."""

    def __init__(self, dataset: Path, root: Path, side: int) -> None:
        self.root, self._fresh = shutil.copytree(dataset, root, copy_function=os.link), root.with_name("fresh")
        self._options = replace(DEFAULTS, side=side)
        for folder in folders(self._fresh, self._options):
            folder.mkdir(parents=True)

    def change(self, samples: Iterable[int], revision: int) -> int:
        """New targets and prompts; the bytes of the files."""
        for number in samples:
            write_sample(self._fresh, number, revision=revision, options=self._options)
        return self._take_over()

    def add(self, count: int, revision: int) -> int:
        """New samples, evenly between the others; the bytes of their files."""
        size, new = len(self._names()), 0
        for number in range(count):
            index = 1_000_000 * revision + number
            write_sample(self._fresh, index, options=self._options)
            before = f"sample_{size * (2 * number + 1) // (2 * count):06d}"
            for path in self._fresh.rglob(f"sample_{index:06d}*"):
                path.rename(path.with_name(path.name.replace(f"sample_{index:06d}", f"{before}-{revision}")))
            new += self._take_over()
        return new

    def delete(self, samples: Iterable[int]) -> None:
        """Samples that go, with all their files."""
        for number in samples:
            for path in list(self.root.rglob(f"sample_{number:06d}[._]*")):
                path.unlink()

    def _names(self) -> list[str]:
        return [path.stem for path in self.root.rglob("*.txt")]

    def _take_over(self) -> int:
        """Move what was written beside the copy into it. Old enough that the local cache believes its time."""
        new = 0
        for path in [path for path in self._fresh.rglob("*") if path.is_file()]:
            new += path.stat().st_size
            os.utime(path, (time.time() - 60, time.time() - 60))
            path.replace(self.root / path.relative_to(self._fresh))
        return new
