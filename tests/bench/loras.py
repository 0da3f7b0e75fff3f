"""``lora``: LoRA weights to a hub and back, qflux beside the Hub's own ``hf`` command; and what a second look costs.

Weights are 300 MB of random BF16 numbers, small as trained ones are. Commands run as new processes, against a new hub
of its own process; rounds are interleaved. The second upload is measured inside one process, beside a bare SHA-256 of
the same file, because starting Python takes longer than either.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench.hub import ServedHub, Traffic, served
from tests.bench.measure import ROOT, Cost, Costs, cost, environment, python
from tests.bench.tables import Goal, Result, Setup, Table, megabytes, seconds, times

REPO = "me/style"
NAME = "pytorch_lora_weights.safetensors"
_MODULES, _RANK = 720, 16
_HF = str(Path(sys.executable).with_name("hf"))

Command = Callable[[Path], list[str]]
UPLOADS: dict[str, Command] = {
    "qflux": lambda file: python("-m", "qflux_hub", "upload-lora", str(file), REPO, "--no-card", "--quiet"),
    "hf upload": lambda file: [_HF, "upload", REPO, str(file), NAME, "--private", "--quiet"],
}
_WITH_CARD: Command = lambda file: python("-m", "qflux_hub", "upload-lora", str(file), REPO, "--quiet")  # noqa: E731
DOWNLOADS: dict[str, Command] = {
    "qflux": lambda _: python("-m", "qflux_hub", "download-lora", REPO, "--quiet"),
    "hf download": lambda _: [_HF, "download", REPO, NAME, "--quiet"],
}

AGAIN = """
import hashlib, json, os, sys, time
from qflux_hub import upload_lora

file, repo, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
upload_lora(file, repo, card=False)
upload_lora(file, repo, card=False)

def bare():
    digest = hashlib.sha256()
    with open(file, "rb", buffering=0) as opened:
        while piece := opened.read(4 << 20):
            digest.update(piece)

def fresh():
    now = time.time() - 60
    os.utime(file, (now, now))  # so that the local cache does not know it
    began = time.perf_counter()
    assert not upload_lora(file, repo, card=False).changed
    return time.perf_counter() - began

def known():
    began = time.perf_counter()
    assert not upload_lora(file, repo, card=False).changed
    return time.perf_counter() - began

def hashed():
    began = time.perf_counter()
    bare()
    return time.perf_counter() - began

times = {"bare SHA-256": [], "second upload": [], "with the local cache": []}
for _ in range(rounds):
    times["bare SHA-256"].append(hashed())
    times["second upload"].append(fresh())
    times["with the local cache"].append(known())
print(json.dumps(times))
"""


def lora(setup: Setup) -> Result:
    """Goals: as fast as ``hf`` both ways, a second upload in the time of a hash, a header instead of a download."""
    size = 20 if setup.quick else 300
    file = weights(setup.data / f"lora-{size}.safetensors", size)
    tables, goals = [], []
    for title, commands in (("upload", UPLOADS), ("download", DOWNLOADS)):
        runs = _runs(setup, file, title, commands)
        tables.append(_commands(f"LoRA of {size} MB: {title}", runs))
        ours, theirs = runs["qflux"][0], next(costs for name, (costs, _) in runs.items() if name != "qflux")
        goals.append(Goal(f"{title}: no slower, verification included", ours.wall <= theirs.wall * 1.05))
    for table, found in (_second(setup, file, size), _inspected(setup)):
        tables.append(table)
        goals += found
    return Result(tables, goals)


def weights(path: Path, size: int) -> Path:
    """A LoRA of ``size`` megabytes, made once."""
    if not path.exists():
        width = size * 1_000_000 // (_MODULES * _RANK * 2 * 2)
        draw = random.Random(0)  # noqa: S311 - weights, not secrets
        header, at = {}, 0
        for module in range(_MODULES):
            name = f"transformer.transformer_blocks.{module // 12}.attn.to_{module % 12}"
            for side, shape in (("A", [_RANK, width]), ("B", [width, _RANK])):
                end = at + 2 * _RANK * width
                header[f"{name}.lora_{side}.weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
                at = end
        text = json.dumps(header).encode()
        part = path.with_suffix(".part")
        with part.open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for _ in range(_MODULES * 2):
                data = bytearray(draw.randbytes(2 * _RANK * width))
                data[1::2] = bytes(0x3C | byte & 0x83 for byte in data[1::2])
                out.write(data)
        os.utime(part, (1_700_000_000, 1_700_000_000))
        part.rename(path)
    path.read_bytes()
    return path


def _runs(setup: Setup, file: Path, title: str, commands: dict[str, Command]) -> dict[str, tuple[Costs, Traffic]]:
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    traffic = {}
    for number in range(setup.rounds):
        for name in sorted(commands, reverse=number % 2 == 1):
            home = setup.scratch / "lora"
            with served(home / "served") as hub:
                if title == "download":
                    cost(UPLOADS["qflux"](file), environment(home / "up", **_points_to(hub)))
                    hub.traffic()
                costs[name].append(cost(commands[name](file), environment(home / "client", **_points_to(hub))))
                traffic[name] = hub.traffic()
            shutil.rmtree(home)
    return {name: (Costs(tuple(costs[name])), traffic[name]) for name in commands}


def _commands(title: str, runs: dict[str, tuple[Costs, Traffic]]) -> Table:
    table = Table(title, ("client", "wall s", "least", "cpu s", "peak MB", "sent MB", "requests", "commits", "wall"))
    base, _ = runs["qflux"]
    for name, (costs, traffic) in runs.items():
        table.rows.append(
            (
                name,
                seconds(costs.wall),
                seconds(costs.least_wall),
                seconds(costs.cpu),
                megabytes(costs.peak),
                megabytes(traffic.content),
                f"{traffic.requests}",
                f"{traffic.commits}",
                times(costs.wall / base.wall),
            )
        )
    return table


def _second(setup: Setup, file: Path, size: int) -> tuple[Table, list[Goal]]:
    home = setup.scratch / "again"
    with served(home / "served") as hub:
        env = environment(home, **_points_to(hub))
        command = python("-c", AGAIN, str(file), REPO, str(max(5, setup.rounds)))
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        cost(_WITH_CARD(file), env)
        hub.requests()
        cost(_WITH_CARD(file), env)
        requests = [one for one in hub.requests() if "/api/agent-" not in one["path"]]  # asked by the client itself
        writes = [one for one in requests if one["method"] != "GET"]
    shutil.rmtree(home)
    measured = {name: min(values) for name, values in json.loads(done.stdout).items()}
    bare = measured["bare SHA-256"]
    table = Table(f"LoRA of {size} MB: the same again, in one process", ("what", "least s", "of a bare SHA-256"))
    table.rows = [(name, seconds(value), times(value / bare)) for name, value in measured.items()]
    goals = [
        Goal("the same again: within 1.3 times a bare SHA-256", measured["second upload"] <= 1.3 * bare),
        Goal("the same again, cached: no hashing", measured["with the local cache"] <= 0.5 * bare),
        Goal(f"the same again, with its card: {len(requests)} requests, at most 2", len(requests) <= 2),
        Goal("the same again: no write", not writes),
    ]
    return table, goals


def _inspected(setup: Setup) -> tuple[Table, list[Goal]]:
    """A header of a file of 2 GB that is mostly a hole."""
    home = setup.scratch / "inspect"
    with served(home / "served") as hub:
        file = home / "large.safetensors"
        _hole(file, 100_000_000 if setup.quick else 2_000_000_000)
        _put(hub, file)
        hub.traffic()
        spent = cost(python("-m", "qflux_hub", "inspect-lora", f"{REPO}/{NAME}"), environment(home, **_points_to(hub)))
        requests = [one for one in hub.requests() if "/storage/" in one["path"]]
        received = sum(request["bytes_sent"] for request in requests)
    shutil.rmtree(home)
    table = Table("Inspecting 2 GB on a hub", ("wall s", "ranges", "received MB"))
    table.rows = [(seconds(spent.wall), f"{len(requests)}", f"{received / 1e6:.2f}")]
    goals = [Goal("inspect: at most 2 ranges, under 1 MB", len(requests) <= 2 and received < 1_000_000)]
    return table, goals


def _hole(path: Path, size: int) -> None:
    width = size // (2 * 2 * _RANK * _MODULES)
    header, at = {}, 0
    for module in range(_MODULES):
        for side, shape in (("A", [_RANK, width]), ("B", [width, _RANK])):
            end = at + 2 * _RANK * width
            name = f"transformer.transformer_blocks.{module}.attn.to_q.lora_{side}.weight"
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
            at = end
    text = json.dumps(header).encode()
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        out.truncate(8 + len(text) + at)


def _put(hub: ServedHub, file: Path) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    client = HfApi(hub.url, token=hub.token)
    client.create_repo(REPO, private=True)
    client.upload_file(path_or_fileobj=file, path_in_repo=NAME, repo_id=REPO)


def _points_to(hub: ServedHub) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token}
