"""Run a command in a process of its own and say what it cost.

Wall and CPU time are seconds, CPU summed over the process and the children it waited for. Peak memory is bytes: the
kernel's high-water mark of resident memory (``VmHWM``), summed over the process and its living descendants and looked
at every 20 ms, which needs Linux. It counts shared libraries in full, for every client alike. For a single process,
as the clients here are, it is exact; for several it is an upper bound.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run cost: seconds, seconds, bytes."""

    wall: float
    cpu: float
    peak: int


@dataclass(frozen=True, slots=True)
class Costs:
    """The rounds of one command."""

    rounds: tuple[Cost, ...]

    @property
    def wall(self) -> float:
        """The median of the wall times."""
        return median(cost.wall for cost in self.rounds)

    @property
    def least_wall(self) -> float:
        """The smallest wall time: on a noisy machine, what comes closest to the truth."""
        return min(cost.wall for cost in self.rounds)

    @property
    def cpu(self) -> float:
        """The median of the CPU times."""
        return median(cost.cpu for cost in self.rounds)

    @property
    def least_cpu(self) -> float:
        """The smallest CPU time."""
        return min(cost.cpu for cost in self.rounds)

    @property
    def peak(self) -> float:
        """The median of the peaks."""
        return median(cost.peak for cost in self.rounds)


def python(*arguments: str) -> list[str]:
    """A command that runs this interpreter."""
    return [sys.executable, *arguments]


_NOT_OURS = ("HF_", "HUGGING", "QFLUX_", "PYTHONDONTWRITEBYTECODE")


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Our own environment without anything that configures a client, all caches under ``home``, no progress bars, and
    our modules compiled once, as they are where they are installed.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_OURS)}
    return kept | {
        "HF_HOME": str(home / "hf"),
        "QFLUX_CACHE_DIR": str(home / "qflux"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
        **variables,
    }


def cost(command: Sequence[str], env: Mapping[str, str]) -> Cost:
    """Run ``command`` from the project's root to its end. Raises RuntimeError, with its errors, when it fails."""
    with tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=errors)
        peak, ended = 0, 0
        while not ended:
            peak = max(peak, sum(map(high_water, _tree(process.pid))))
            time.sleep(SAMPLE_SECONDS)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace")
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, peak)


def _tree(pid: int) -> Iterator[int]:
    """The process and all its descendants that are alive."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _text(str(children)).split():
            yield from _tree(int(child))


def high_water(pid: int) -> int:
    """The most memory that a living process had, in bytes.

    Not ``ru_maxrss``, which a child inherits from whoever forked it.
    """
    _, _, rest = _text(f"/proc/{pid}/status").partition("VmHWM:")
    return int(rest.split(maxsplit=1)[0]) * 1024 if rest else 0


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # it ended meanwhile
        return ""
