"""``convert``: one layout to another beside a plain copy of the same bytes; ``download``: a dataset of the Hub as files
beside what the client alone can do.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.bench.data import photos, tiny
from tests.bench.hub import served
from tests.bench.measure import Cost, Costs, cost, environment, python
from tests.bench.tables import Goal, Result, Setup, Table, megabytes, seconds, times

MB = 1_000_000
PAIRS = (
    ("directory", "webdataset"),
    ("directory", "parquet"),
    ("webdataset", "directory"),
    ("webdataset", "parquet"),
    ("parquet", "directory"),
    ("parquet", "webdataset"),
)
ROW_GROUP = 96 * MB
PACKED, RAW = "me/packed", "me/raw"


def convert(setup: Setup) -> Result:
    """1,000 samples of about 1 MB between a folder, tars and Parquet.

    Sources come from the disk, not from memory, and the clock stops when the result is on the disk. Goal: twice the
    time of ``cp -r`` of the source or of the result, whichever takes longer: a conversion reads one and writes the
    other.
    """
    sources = {"directory": photos(setup, 60 if setup.quick else 1_000)}
    env = environment(setup.scratch / "home")
    for layout in ("webdataset", "parquet"):
        sources[layout] = setup.scratch / layout
        cost(_convert(sources["directory"], sources[layout], layout), env)
    places = _Places(setup.scratch / "made")
    copies: dict[str, list[Cost]] = {layout: [] for layout in sources}
    runs: dict[tuple[str, str], list[Cost]] = {pair: [] for pair in PAIRS}
    for _ in range(setup.rounds):
        for layout, source in sources.items():
            copies[layout].append(_on_disk(["cp", "-r", str(source), str(places.fresh())], env, source))
            places.empty()
        for first, second in PAIRS:
            source = sources[first]
            runs[first, second].append(_on_disk(_convert(source, places.fresh(), second), env, source))
            places.empty()
    plain = {layout: Costs(tuple(costs)).least_wall for layout, costs in copies.items()}
    table, goals = Table("Convert", ("from", "to", "wall s", "least", "cpu s", "peak MB", "copy s", "wall")), []
    for (first, second), costs in runs.items():
        own, copy = Costs(tuple(costs)), max(plain[first], plain[second])
        ratio = own.least_wall / copy
        cells = (seconds(own.wall), seconds(own.least_wall), seconds(own.cpu), megabytes(own.peak))
        table.rows.append((first, second, *cells, seconds(copy), times(ratio)))
        goals.append(Goal(f"{first} to {second}: at most twice a copy", ratio <= 2))
    return Result([table], goals)


def memory(setup: Setup) -> Result:
    """1,000 and 100,000 tiny samples from and to every layout that holds them.

    Goals: for a hundred times the samples at most 1.5 times the memory. Where Parquet is written, a row group more: it
    is made in memory, and only the larger dataset fills one. Where a table is read, three times its text.
    """
    counts = (1_000, 5_000) if setup.quick else (1_000, 100_000)
    env = environment(setup.scratch / "home")
    table = Table("Convert, tiny samples", ("from", "to", *(f"{count:,}, peak MB" for count in counts), "memory"))
    goals, places = [], _Places(setup.scratch / "made")
    folders = {"directory": {count: tiny(setup, count) for count in counts}}
    pairs = [("directory", layout) for layout in ("webdataset", "parquet", "csv", "metadata", "aitoolkit")]
    pairs += [(first, "directory") for _, first in pairs]
    for first, second in [*PAIRS, *(pair for pair in pairs if pair not in PAIRS)]:
        peaks = []
        made = folders.setdefault(second, {})
        for count in counts:
            dest = places.fresh()
            peaks.append(cost(_convert(folders[first][count], dest, second), env).peak)
            made.setdefault(count, dest)
        few, many = peaks
        tables = [folders[first][counts[-1]].rglob(f"*{kind}") for kind in (".csv", ".jsonl")]
        text = sum(path.stat().st_size for found in tables for path in found)
        room = 3 * text + ROW_GROUP * (second == "parquet")
        table.rows.append((first, second, *map(megabytes, peaks), times(many / few)))
        goals.append(Goal(f"{first} to {second}: at most 1.5 times the memory", many <= 1.5 * few + room))
    return Result([table], goals)


def download(setup: Setup) -> Result:
    """A dataset of 1,000 samples as files: from Parquet, and from a repo of plain files. Every run has empty caches.

    Goals: as fast as ``snapshot_download`` of the Parquet and writing its rows out; ten times as fast as
    ``snapshot_download`` of the plain files.
    """
    count = 20 if setup.quick else 1_000
    source, places = photos(setup, count), _Places(setup.scratch / "made")
    clients: dict[str, Callable[[str], list[str]]] = {
        "qflux": lambda dest: python("-m", "qflux_hub", "download-dataset", PACKED, dest, "-q"),
        "snapshot, unpack": lambda dest: python("-m", "tests.bench.pull", PACKED, dest, "--unpack"),
        "snapshot, plain files": lambda dest: python("-m", "tests.bench.pull", RAW, dest),
        "qflux, plain files": lambda dest: python("-m", "qflux_hub", "download-dataset", RAW, dest, "-q"),
    }
    with served(setup.scratch / "served") as hub:
        points = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token}
        env = environment(setup.scratch / "up", **points)
        cost(python("-m", "qflux_hub", "upload-dataset", str(source), PACKED, "-q"), env)
        cost(python("-c", _PUSH, RAW, str(source)), env)
        runs: dict[str, list[Cost]] = {name: [] for name in clients}
        requests = {}
        for _ in range(setup.rounds):
            for name, command in clients.items():
                hub.traffic()
                place = places.fresh()
                runs[name].append(cost(command(str(place / "dest")), environment(place / "home", **points)))
                requests[name] = hub.traffic().requests
                places.empty()
    found = {name: Costs(tuple(costs)) for name, costs in runs.items()}
    table = Table(f"Download, {count} samples", ("client", "wall s", "least", "cpu s", "peak MB", "requests", "wall"))
    base = found["qflux"].least_wall
    for name, own in found.items():
        cells = (seconds(own.wall), seconds(own.least_wall), seconds(own.cpu), megabytes(own.peak))
        table.rows.append((name, *cells, f"{requests[name]:,}", times(own.least_wall / base)))
    return Result(
        [table],
        [
            Goal("as fast as the client and a script", base <= found["snapshot, unpack"].least_wall),
            Goal("ten times as fast as plain files", 10 * base <= found["snapshot, plain files"].least_wall),
        ],
    )


_PUSH = """
import sys
from huggingface_hub import HfApi
repo, folder = sys.argv[1:]
api = HfApi()
api.create_repo(repo, repo_type="dataset")
api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder)
"""


def _convert(source: Path, dest: Path, layout: str) -> list[str]:
    return python("-m", "qflux_hub", "convert", str(source), str(dest), "--as", layout, "-q")


def _on_disk(command: list[str], env: dict[str, str], source: Path) -> Cost:
    """What a command costs that reads ``source`` from the disk, until all that it wrote is there."""
    for path in source.rglob("*.*"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return cost(["sh", "-c", '"$@" && sync', "sh", *command], env)


class _Places:
    """Folders that are not there yet. Files in those that were used are emptied, not deleted, to make room: ext4 passes
    over the inodes of deleted ones for minutes, and whoever makes files after that is slow.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True)
        self._root, self._used = root, 0

    def fresh(self) -> Path:
        """The next one; what was written before is on the disk by then."""
        os.sync()
        self._used += 1
        return self._root / str(self._used)

    def empty(self) -> None:
        """Give the room of the last one back."""
        for path in (self._root / str(self._used)).rglob("*"):
            if path.is_file() and not path.is_symlink():
                path.chmod(0o600)  # the client makes some of its files read-only
                os.truncate(path, 0)
