"""A weights file on disk: read once, described, hashed at most once.

Hashes are remembered with size, time and inode of the file (see ``state``), so that an unchanged file is not read
again. A file that changes while it is read is an error: a trainer is writing it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from qflux_hub import codes
from qflux_hub.lora.alpha import ADAPTER_CONFIG, TRAIN_CONFIG
from qflux_hub.lora.describe import Lora, add_contents, describe, unreadable
from qflux_hub.lora.header import Header, HeaderError, read_header
from qflux_hub.lora.settings import SettingsError, read_settings
from qflux_hub.lora.values import Contents, Values, Wanted, read_through
from qflux_hub.report import Found, Progress
from qflux_hub.sample import Blob, Stamp, stamp
from qflux_hub.state import now_ns, remember
from qflux_hub.tree import FolderOpener, stamp_of

_LARGEST_CONFIG = 4 * 1024 * 1024


@dataclass(slots=True)
class Weights:
    """A weights file. ``lora`` describes it; ``header`` is None when it breaks a rule."""

    path: Path
    size: int
    stamp: Stamp
    lora: Lora
    header: Header | None = None
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The file's hash, after ``read_weights``."""
        return self.lora.sha256 or ""

    @property
    def blob(self) -> Blob:
        """The file as the local cache knows it."""
        return Blob(self.path.name, self.size, FolderOpener(str(self.path.parent)), self.stamp)


def open_weights(path: Path, shown: str, configs: Mapping[str, Mapping[str, Any]] | None = None) -> Weights:
    """Read the header of a file and describe it. ``configs`` come before those that lie beside the file."""
    with path.open("rb", buffering=0) as file:
        size, stamp = os.fstat(file.fileno()).st_size, stamp_of(file)
        try:
            header = read_header(lambda begin, end: _read(file, begin, end), size)
        except HeaderError as error:
            return Weights(path, size, stamp, unreadable(shown, size, error))
        found: list[Any] = []
        known = {**(configs or {}), **configs_beside(path, found.append)}
        lora = describe(shown, header, lambda begin, end: _read(file, begin, end), configs=known)
    lora.findings += found
    return Weights(path, size, stamp, lora, header, known)


def _read(file: BinaryIO, begin: int, end: int) -> bytes:
    return os.pread(file.fileno(), end - begin, begin)


def configs_beside(path: Path, found: Found) -> dict[str, dict[str, Any]]:
    """The configurations that belong to a file: peft's beside it, a trainer's beside it or one folder up."""
    configs: dict[str, dict[str, Any]] = {}
    for place in (path.parent / ADAPTER_CONFIG, path.parent / TRAIN_CONFIG, path.parent.parent / TRAIN_CONFIG):
        if place.name not in configs and place.is_file() and place.stat().st_size < _LARGEST_CONFIG:
            with suppress(OSError):
                configs |= read_config(place, found)
    return configs


def read_config(path: Path, found: Found) -> dict[str, dict[str, Any]]:
    """{name: settings} of one configuration; nothing when it cannot be read, which is found."""
    try:
        return {path.name: read_settings(path.name, path.read_bytes())}
    except SettingsError as error:
        found(codes.BAD_CONFIG(path.name, f"{path.name}: {error}."))
        return {}


def read_weights(weights: Weights, progress: Progress, wanted: Wanted) -> None:
    """Hash a file whose header is right, and look at its numbers, as wanted; unless that is remembered."""
    header = weights.header
    if header is None:
        return
    with remember(weights.path.parent) as memory:
        contents = _remembered(memory.known(weights.blob))
        if not contents.has(wanted):
            started = now_ns()
            with weights.path.open("rb", buffering=0) as file, progress.task("Reading", weights.size) as task:
                contents = read_through(file, header, task.advance, wanted).joined(contents)
                changed = (os.fstat(file.fileno()).st_size, stamp_of(file)) != (weights.size, weights.stamp)
            if changed or not is_unchanged(weights):
                message = f"{weights.lora.path} changed while it was read; a trainer may be writing it."
                weights.lora.findings.append(codes.CHANGED_WEIGHTS(weights.lora.path, message))
                weights.lora.valid = False
                return
            memory.learn(weights.blob, asdict(contents), started)
    if not wanted.values:
        contents = replace(contents, values=None)
    add_contents(weights.lora, header, contents)


def learn_sha256(weights: Weights, sha256: str, read_at_ns: int) -> None:
    """Note the hash of a file that was read from ``read_at_ns`` on, and has not changed since it was opened."""
    weights.lora.sha256 = sha256
    with remember(weights.path.parent) as memory:
        known = Contents(sha256).joined(_remembered(memory.known(weights.blob)))
        memory.learn(weights.blob, asdict(known), read_at_ns)


def is_unchanged(weights: Weights) -> bool:
    """Whether the file at the path is still the one that was described."""
    try:
        stat = weights.path.stat()
    except OSError:
        return False
    return (stat.st_size, stamp(stat.st_mtime_ns, stat.st_ino)) == (weights.size, weights.stamp)


def _remembered(known: Any) -> Contents:
    if not isinstance(known, dict):
        return Contents()
    values = known.get("values")
    return Contents(known.get("sha256"), known.get("tensor_sha256"), Values(**values) if values else None)
