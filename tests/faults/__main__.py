"""Uploads under faults, at random points: does the same command end well, and is nothing lost, doubled or half there?

python -m tests.faults [--rounds N] [--minutes M] [--seed S] [--only ROUND] [--jobs N]

Ends with 1 when something that must hold did not; the folder of such a round is kept, and told.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

SCRATCH = Path(tempfile.mkdtemp(prefix="qflux-faults-"))
for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING", "QFLUX_"))]:
    del os.environ[name]
# Before any client is imported, because the clients read their variables then.
os.environ |= {
    "HF_HOME": str(SCRATCH / "hf"),
    "QFLUX_CACHE_DIR": str(SCRATCH / "cache"),
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}

from tests.faults.rounds import Outcome, Run, play  # noqa: E402


def main() -> None:
    arguments = _arguments()
    outcomes: list[Outcome] = []
    started = time.monotonic()
    for outcome in _played(arguments, started):
        outcomes.append(outcome)
        bad = f"\n    BROKEN: {outcome.broken}" if outcome.broken else ""
        print(f"{time.monotonic() - started:6.0f} s  {outcome}{bad}", flush=True)
    print(f"\nseed {arguments.seed}, {time.monotonic() - started:.0f} s, {os.cpu_count()} cores\n")
    print(_table(outcomes))
    broken = [outcome for outcome in outcomes if outcome.broken]
    if broken:
        print(f"\n{len(broken)} broken: {', '.join(str(one.number) for one in broken)}; left in {SCRATCH}")
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=60, help="begin no round after this time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="play this one round")
    parser.add_argument("--jobs", type=int, default=2, help="rounds at once")
    return parser.parse_args()


def _played(arguments: argparse.Namespace, started: float) -> Iterator[Outcome]:
    """The rounds as they end."""
    wanted = [arguments.only] if arguments.only is not None else range(arguments.rounds)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        under_way: set[Future[Outcome]] = set()
        for number in wanted:
            if time.monotonic() - started > arguments.minutes * 60:
                break
            if len(under_way) == arguments.jobs:
                ended, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in ended)
            under_way.add(pool.submit(play, number, arguments.seed, SCRATCH))
        yield from (one.result() for one in under_way)


def _table(outcomes: list[Outcome]) -> str:
    """Per kind of fault: how often, what the runs ended with, how long they took."""
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    for outcome in outcomes:
        for run in outcome.runs:
            runs[run.fault.kind].append(run)
    lines = [f"{'fault':16}  runs  reached  ended with 0    5    7  3 4 6 8    1  killed  longest s"]
    for kind, some in sorted(runs.items()):
        hit = [run for run in some if run.struck]
        well, network, altered, others, unforeseen, killed = (
            sum(run.code in codes for run in hit) for codes in ((0,), (5,), (7,), (3, 4, 6, 8), (1,), (-9,))
        )
        longest = max((run.seconds for run in hit), default=0)
        lines.append(
            f"{kind:16} {len(some):5} {len(hit):8} {well:13} {network:4} {altered:4} {others:8} {unforeseen:4} "
            f"{killed:7} {longest:10.1f}"
        )
    every = [run for some in runs.values() for run in some]
    sizes = [outcome for outcome in outcomes if outcome.again is not None and outcome.source]
    again = sum(one.again or 0 for one in sizes) / (sum(one.source for one in sizes) or 1)
    failed = sum(run.code != 0 for one in sizes for run in one.runs)
    hit = sum(bool(run.struck) for run in every)
    lines += [
        "",
        f"{len(outcomes)} rounds, {len(every)} runs under a fault, {hit} of them hit by it",
        f"{len(sizes)} first uploads: sent again {again:.0%} of their bytes, over {failed} runs that failed",
        f"{sum(bool(one.broken) for one in outcomes)} rounds in which something that must hold did not",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
