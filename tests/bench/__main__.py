"""Benchmarks: each prints a table of costs and ratios, measured within one run.

    python -m tests.bench                     # all, about half an hour, 6 GB of disk
    python -m tests.bench upload again        # only these
    python -m tests.bench --quick             # small sizes, to see that they run
    python -m tests.bench --markdown          # tables to paste into a page

Clients, hub and disk share one machine, over loopback: ratios say more than seconds, and neither says anything of a
real network but bytes and requests. Linux only (see ``measure``).
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from tests.bench.edits import curve, edit, killed
from tests.bench.hubs import hub
from tests.bench.layouts import convert, download, memory
from tests.bench.loras import lora
from tests.bench.scans import check, scan, start
from tests.bench.tables import Result, Setup, lines
from tests.bench.uploads import again, slow, upload

BENCHMARKS: dict[str, Callable[[Setup], Result]] = {
    "start": start,
    "scan": scan,
    "check": check,
    "upload": upload,
    "again": again,
    "edit": edit,
    "curve": curve,
    "killed": killed,
    "hub": hub,
    "slow": slow,
    "convert": convert,
    "memory": memory,
    "download": download,
    "lora": lora,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Benchmarks of qflux.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, no goals")
    parser.add_argument("--rounds", type=int, help="how often each upload is measured (3)")
    parser.add_argument("--markdown", action="store_true", help="tables to paste into a page")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "qflux-bench", metavar="DIR",
                        help="where datasets are kept between runs (%(default)s)")  # fmt: skip
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")

    args.data.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=args.data))
    setup = Setup(args.data.resolve(), scratch.resolve(), args.rounds or (1 if args.quick else 3), args.quick)
    print(machine())
    try:
        for name in args.names or BENCHMARKS:
            result = BENCHMARKS[name](setup)
            print("\n".join(lines(result, markdown=args.markdown, goals=not (args.markdown or args.quick))), flush=True)
    finally:
        shutil.rmtree(scratch)


def machine() -> str:
    """What the numbers were measured on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    packages = ("qflux-hub", "huggingface_hub", "hf-xet", "datasets", "pyarrow")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}, {versions}\n"


if __name__ == "__main__":
    main()
