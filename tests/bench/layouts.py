"""``convert``: one layout to another beside a plain copy of the same bytes; ``download``: a dataset of the Hub as files
beside what the client alone can do.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.bench.data import photos, tiny
from tests.bench.hub import ServedHub, served
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
PACKED, RAW = "me/packed", "me/raw"


def convert(setup: Setup) -> Result:
    """1,000 samples of about 1 MB between a folder, tars and Parquet, and 1,000 and 100,000 tiny ones into tars.

    Goals: twice the time of ``cp -r`` of the source, measured in turns; memory that does not grow with the samples.
    """
    sources = {"directory": photos(setup, 60 if setup.quick else 1_000)}
    env = environment(setup.scratch / "home")
    for layout in ("webdataset", "parquet"):
        sources[layout] = setup.scratch / layout
        cost(_convert(sources["directory"], sources[layout], layout), env)
    dest = setup.scratch / "dest"
    table, goals = Table("Convert", ("from", "to", "wall s", "least", "cpu s", "peak MB", "copy s", "wall")), []
    for first, second in PAIRS:
        ours, copies = [], []
        for _ in range(setup.rounds):
            copies.append(_spent(["cp", "-r", str(sources[first]), str(dest)], env, dest))
            ours.append(_spent(_convert(sources[first], dest, second), env, dest))
        own, copy = Costs(tuple(ours)), Costs(tuple(copies))
        ratio = own.least_wall / copy.least_wall
        cells = (seconds(own.wall), seconds(own.least_wall), seconds(own.cpu), megabytes(own.peak))
        table.rows.append((first, second, *cells, seconds(copy.least_wall), times(ratio)))
        goals.append(Goal(f"{first} to {second}: at most twice a copy", ratio <= 2))
    peaks = {}
    memory = Table("Convert, tiny samples", ("samples", "to", "wall s", "peak MB"))
    for count in (1_000, 5_000) if setup.quick else (1_000, 100_000):
        spent = _spent(_convert(tiny(setup, count), dest, "webdataset"), env, dest)
        peaks[count] = spent.peak
        memory.rows.append((f"{count:,}", "webdataset", seconds(spent.wall), megabytes(spent.peak)))
    few, many = peaks.values()
    goals.append(Goal("memory: at most 150 MB more for a hundred times the samples", many - few <= 150 * MB))
    return Result([table, memory], goals)


def download(setup: Setup) -> Result:
    """A dataset of 200 samples as files: from Parquet, and from a repo of plain files. Every run has empty caches.

    Goals: as fast as ``snapshot_download`` of the Parquet and writing its rows out; ten times as fast as
    ``snapshot_download`` of the plain files.
    """
    count = 20 if setup.quick else 200
    source, dest = photos(setup, count), setup.scratch / "dest"
    clients: dict[str, Callable[[], list[str]]] = {
        "qflux": lambda: python("-m", "qflux_hub", "download-dataset", PACKED, str(dest), "-q"),
        "snapshot, unpack": lambda: python("-m", "tests.bench.pull", PACKED, str(dest), "--unpack"),
        "snapshot, plain files": lambda: python("-m", "tests.bench.pull", RAW, str(dest)),
        "qflux, plain files": lambda: python("-m", "qflux_hub", "download-dataset", RAW, str(dest), "-q"),
    }
    with served(setup.scratch / "served") as hub:
        env = _environment(setup, hub)
        cost(python("-m", "qflux_hub", "upload-dataset", str(source), PACKED, "-q"), env)
        cost(python("-c", _PUSH, RAW, str(source)), env)
        runs: dict[str, list[Cost]] = {name: [] for name in clients}
        requests = {}
        for _ in range(setup.rounds):
            for name, command in clients.items():
                hub.traffic()
                runs[name].append(_spent(command(), _environment(setup, hub), dest))
                requests[name] = hub.traffic().requests
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


def _spent(command: list[str], env: dict[str, str], dest: Path) -> Cost:
    """What a command costs that makes ``dest``, which is not there before and after."""
    spent = cost(command, env)
    shutil.rmtree(dest)
    return spent


def _environment(setup: Setup, hub: ServedHub) -> dict[str, str]:
    """That of a machine that never saw the hub."""
    home = setup.scratch / "client"
    shutil.rmtree(home, ignore_errors=True)
    return environment(home, HF_ENDPOINT=hub.url, HF_TOKEN=hub.token)
