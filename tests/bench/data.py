"""The datasets of the benchmarks: made once by ``generate``, kept in the data folder, found again by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.bench.generate import DEFAULTS, write_samples, write_tiny_samples
from tests.bench.tables import Setup


def photos(setup: Setup, count: int, side: int = DEFAULTS.side) -> Path:
    """``count`` samples of about 1 MB (at the usual side), read once so that they lie in the page cache."""
    name = f"photos-{count}" + (f"-{side}" if side != DEFAULTS.side else "")
    options = replace(DEFAULTS, side=side)
    folder = _made(setup.data / name, lambda part: write_samples(part, range(count), options))
    for path in folder.rglob("*.*"):
        path.read_bytes()
    return folder


def tiny(setup: Setup, count: int) -> Path:
    """``count`` samples of one-pixel images."""
    return _made(setup.data / f"tiny-{count}", lambda part: write_tiny_samples(part, range(count)))


def _made(folder: Path, write: Callable[[Path], object]) -> Path:
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        write(part)
        part.rename(folder)
    return folder
