"""``scan``: how long it takes to see what a large dataset holds; ``check``: to find all that is wrong with its files;
``start``: how long the smallest commands take.
"""

from __future__ import annotations

from pathlib import Path

from tests.bench.data import photos, tiny
from tests.bench.measure import Cost, Costs, cost, environment, python
from tests.bench.tables import Goal, Result, Setup, Table, megabytes, seconds, times

MB = 1_000_000
PHOTOS = Path("tests/data/photo_edits")


def scan(setup: Setup) -> Result:
    """``qflux scan`` of 10,000 and 100,000 tiny samples. Goals at 100,000: 3 s, 150 MB, ten times 10,000."""
    headings = ("samples", "output", "wall s", "least", "cpu s", "µs per sample", "peak MB")
    table, goals = Table("Scan", headings), []
    small, large = (1_000, 5_000) if setup.quick else (10_000, 100_000)
    for output, flags in {"words": (), "--json": ("--json",)}.items():
        costs = {}
        for count in (small, large):
            command = python("-m", "qflux_hub", "scan", str(tiny(setup, count)), *flags)
            spent = costs[count] = _costs(command, setup)
            table.rows.append(
                (
                    f"{count:,}",
                    output,
                    seconds(spent.wall),
                    seconds(spent.least_wall),
                    seconds(spent.cpu),
                    f"{spent.least_wall / count * 1e6:.1f}",
                    megabytes(spent.peak),
                )
            )
        goals += [
            Goal(f"{large:,} samples, {output}: under 3 s", costs[large].wall < 3),
            Goal(f"{large:,} samples, {output}: under 150 MB", costs[large].peak < 150 * MB),
            Goal(
                f"{large:,} samples, {output}: linear",
                costs[large].least_cpu <= 1.2 * large / small * costs[small].least_cpu,
            ),
        ]
    return Result([table], goals)


READ = "import pathlib, sys\nfor path in pathlib.Path(sys.argv[1]).rglob('*.*'): path.read_bytes()"


def check(setup: Setup) -> Result:
    """``qflux check`` of 10,000 samples: 40,000 images of 0.4 megapixels, 4 GB in the page cache.

    Goals: three times the time in which Python reads the files one after another, 200 MB; and a second run that opens
    no image. Masks are PNG, whose checksums take as long as reading them three times.
    """
    count = 500 if setup.quick else 10_000
    folder = str(photos(setup, count, side=640))
    runs: dict[str, list[Cost]] = {"read": [], "first": [], "second": [], "--decode": []}
    for number in range(max(3, setup.rounds)):
        env = environment(setup.scratch / f"check-{number}")
        command = python("-m", "qflux_hub", "check", folder, "-q")
        runs["read"].append(cost(python("-c", READ, folder), env))
        runs["first"].append(cost(command, env))
        runs["second"].append(cost(command, env))
    runs["--decode"].append(cost([*command, "--decode"], environment(setup.scratch / "check-decode")))
    table = Table(f"Check, {count:,} samples", ("what", "wall s", "least", "cpu s", "peak MB", "wall"))
    found = {name: Costs(tuple(costs)) for name, costs in runs.items()}
    for name, spent in found.items():
        ratio = times(spent.least_wall / found["read"].least_wall)
        cells = (seconds(spent.wall), seconds(spent.least_wall), seconds(spent.cpu), megabytes(spent.peak))
        table.rows.append((name, *cells, ratio))
    return Result(
        [table],
        [
            Goal("first check: under three times reading", found["first"].least_wall < 3 * found["read"].least_wall),
            Goal("first check: under 200 MB", found["first"].peak < 200 * MB),
            Goal("second check: under half of the first", found["second"].least_wall < found["first"].least_wall / 2),
        ],
    )


def start(setup: Setup) -> Result:
    """Commands that do next to nothing. Goals: 0.3 s for the help, 0.6 s for a scan of the example dataset."""
    commands = {
        "python -c pass": python("-c", "pass"),
        "qflux --help": python("-m", "qflux_hub", "--help"),
        f"qflux scan {PHOTOS}": python("-m", "qflux_hub", "scan", str(PHOTOS)),
    }
    found = {name: _costs(command, setup) for name, command in commands.items()}
    base, help_page, example = found.values()
    table = Table("Start", ("command", "wall s", "least", "cpu s", "peak MB", "wall"))
    for name, spent in found.items():
        ratio = times(spent.least_wall / base.least_wall)
        cells = (seconds(spent.wall), seconds(spent.least_wall), seconds(spent.cpu), megabytes(spent.peak))
        table.rows.append((name, *cells, ratio))
    return Result(
        [table],
        [
            Goal("qflux --help: under 0.3 s", help_page.least_wall < 0.3),
            Goal("qflux scan of the example: under 0.6 s", example.least_wall < 0.6),
        ],
    )


def _costs(command: list[str], setup: Setup) -> Costs:
    env = environment(setup.scratch)
    cost(command, env)  # once, so that files and bytecode lie in the page cache
    return Costs(tuple(cost(command, env) for _ in range(max(3, setup.rounds))))
