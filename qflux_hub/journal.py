"""Changes to the files of one folder: all of them or none, and taken back on request.

Before the first change, a log is written and synced: ``.qflux/undo/<number>/log.json`` in the folder itself, with the
originals of edited and deleted files beside it. There, because only on the same disk are originals kept by a hard link
and new content put in place by a rename, and because a folder that is moved or copied takes its log along. No scan
lists folders that begin with a dot; a ``.gitignore`` keeps git out as well.

The file ``applied`` beside the log ends the work. A log without it was interrupted, and the next run takes its changes
back before it plans anew: what stood there before is certain, and safe in the log; the plan is not, because files may
have changed since. Taking back an applied log removes ``applied`` first, so that it is finished after an interruption
in the same way. Nothing is ever overwritten: a name that is taken, or content that is not what the log says, is an
obstacle, and with one obstacle nothing is done.

Paths are relative to the folder, with ``/``. Only regular files in the folder are touched, never through a link.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from qflux_hub import disk
from qflux_hub.errors import DataError, FormatError, OutsideRootError, QfluxError
from qflux_hub.report import Progress

Action = Literal["rename", "edit", "delete"]

_FORMAT = 1
_PLACE = (".qflux", "undo")
_LOG, _APPLIED = "log.json", "applied"
_THREADS = 16
"""New contents on their way to the disk at once: it syncs them together (measured: 8 times faster than one by one)."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do; no file has two. ``content``: once edited; ``before``: SHA-256 of what is edited or deleted."""

    action: Action
    path: str
    to: str | None = None
    content: bytes = b""
    before: str = ""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a change cannot be taken back."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class _Done:
    """A step as the log has it: SHA-256 of the file before and after; of a renamed one, of its size and head."""

    action: Action
    path: str
    to: str | None
    before: str
    after: str


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keep other processes from changing ``root`` by this module meanwhile. Raises QfluxError when one does."""
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield  # whoever reads the folder says what is wrong with it
        return
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise QfluxError(f"Another qflux is repairing {root}.", hint="Run again when it is done.") from None
        except OSError:
            pass  # some network disks lock no folders; there, one process at a time is up to the user
        yield
    finally:
        os.close(folder)


def perform(root: Path, steps: Sequence[Step], told: Sequence[Mapping[str, Any]], progress: Progress) -> Path:
    """Make all changes, in order, and return the path of the log. On any failure all are taken back.

    ``told`` is kept in the log for whoever takes the changes back. Raises DataError when a file changed since the
    steps were planned, OSError when the disk refuses.
    """
    for folder in _folders(steps):
        if not disk.is_own_folder(root, folder):
            raise DataError(f"{folder}/ is gone, or a link now.", hint="Run again when nothing writes to it.")
    place = _make_place(root)
    try:
        with progress.task("Keeping originals", len(steps), "files") as task:
            done: list[_Done] = []
            with ThreadPoolExecutor(_THREADS) as pool:
                for one in pool.map(lambda step: _prepare(root, place, *step), enumerate(steps)):
                    done.append(one)
                    task.advance()
        data = {"qflux_undo": _FORMAT, "changes": [*told], "steps": [asdict(one) for one in done]}
        disk.write(place / _LOG, json.dumps(data, ensure_ascii=False).encode())
        for above in (place, place.parent, place.parent.parent, root):
            disk.sync(above)
    except BaseException:
        _forget(root, place)
        raise
    log = Log(root, place, done, [dict(change) for change in told])
    made = 0
    try:
        with progress.task("Repairing", len(steps), "changes") as task:
            for number, one in enumerate(done):
                log.carry_out(number, one)
                made += 1
                task.advance()
        log.finish()
    except BaseException as error:
        obstacles = log.take_back(progress, made)
        if obstacles:
            raise _stuck(log, obstacles) from error
        raise
    return place / _LOG


def interrupted(root: Path) -> list[Path]:
    """The folders of the logs of work that was broken off, the newest first."""
    logs = [place for place in _places(root) if (place / _LOG).exists() and not (place / _APPLIED).exists()]
    return logs[::-1]


def recover(root: Path, progress: Progress) -> int:
    """Take back what was broken off; returns the number of changes. Raises DataError where that is not possible."""
    _check_place(root)
    count = 0
    for place in interrupted(root):
        log = Log.read(place)
        obstacles = log.take_back(progress)
        if obstacles:
            raise _stuck(log, obstacles)
        count += len(log.changes)
    for place in _places(root):
        if not (place / _LOG).exists():  # interrupted before its log was written, or after it was done with
            _forget(root, place)
    return count


def _stuck(log: Log, obstacles: Sequence[Obstacle]) -> DataError:
    listed = "\n".join(f"  {obstacle.path} {obstacle.why}" for obstacle in obstacles)
    return DataError(
        f"An interrupted repair of {log.root} cannot be taken back, because files changed since:\n{listed}",
        hint=f"Put them right by hand, with the originals in {log.place}, then delete that folder.",
    )


@dataclass(frozen=True, slots=True)
class Log:
    """A log that was written. ``changes``: what ``perform`` was told of them."""

    root: Path
    place: Path
    steps: Sequence[_Done]
    changes: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Log:
        """The log at ``path``, a file or its folder. Raises DataError when it is none, or lies elsewhere by now."""
        path = path / _LOG if path.is_dir() else path
        place = path.parent if path.parent.parts[-3:-1] == _PLACE else path.parent.absolute()
        root = place.parent.parent.parent
        if path.name != _LOG or place.parts[-3:-1] != _PLACE:
            raise DataError(
                f"{path} is not where an undo log lies.", hint="A log works in its place: .qflux/undo/0001/log.json."
            )
        _check_place(root)
        try:
            data = json.loads(path.read_bytes())
            if data["qflux_undo"] > _FORMAT:
                raise FormatError(f"{path} was written by a newer qflux.", hint="Update qflux.")
            steps = [_Done(**step) for step in data["steps"]]
            inside = [_is_inside(name) for step in steps for name in (step.path, step.to) if name is not None]
            inside += [step.path.rpartition("/")[0] == step.to.rpartition("/")[0] for step in steps if step.to]
            changes = [dict(change) for change in data["changes"]]
        except FileNotFoundError:
            raise DataError(
                f"There is no undo log {path}.", hint="It is gone once its changes are taken back."
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is not an undo log: {error}.") from error
        if not all(inside):
            raise OutsideRootError(f"{path} names files outside of {root}; it was not written by qflux.")
        return cls(root, place, steps, changes)

    def take_back(self, progress: Progress, made: int | None = None) -> list[Obstacle]:
        """Undo all changes and forget the log; with any obstacle, nothing is undone and all obstacles are returned.

        ``made``: how many of the steps were made, where that is known; the one after them may be half made.
        """
        steps = [*enumerate(self.steps)]
        obstacles = self._obstacles(steps[:made])
        if obstacles:
            return obstacles
        steps = steps if made is None else steps[: made + 1]
        (self.place / _APPLIED).unlink(missing_ok=True)
        disk.sync(self.place)
        with progress.task("Taking back", len(steps), "changes") as task:
            for number, one in reversed(steps):
                self._undo(number, one)
                task.advance()
        self._sync_folders()
        _forget(self.root, self.place)
        return []

    def carry_out(self, number: int, one: _Done) -> None:
        """Make one change whose original is kept."""
        path = self.root / one.path
        if one.action == "rename":
            disk.move(path, self.root / str(one.to))
            return
        if not path.is_file() or disk.digest(path) != one.before:
            raise DataError(f"{one.path} changed while it was repaired.", hint="Run again when nothing writes to it.")
        if one.action == "edit":
            disk.put(self._new(number), path, self._beside(number, path))
        else:
            path.unlink()

    def finish(self) -> None:
        """Mark the log as applied, once everything has reached the disk."""
        self._sync_folders()
        disk.write(self.place / _APPLIED, b"")
        disk.sync(self.place)

    def _obstacles(self, steps: Sequence[tuple[int, _Done]]) -> list[Obstacle]:
        """What keeps the changes from being taken back, found by going through them in reverse on paper."""
        moved: dict[str, Path | None] = {}

        def look(name: str) -> Path | None:
            path = moved.get(name, self.root / name)
            return path if path is not None and os.path.lexists(path) else None

        found: list[Obstacle] = []
        gone = {folder for folder in _folders(one for _, one in steps) if not disk.is_own_folder(self.root, folder)}
        for number, one in reversed(steps):
            if one.path.rpartition("/")[0] in gone:
                found.append(Obstacle(one.path, "cannot be put back: its folder is gone, or a link now"))
                continue
            here, kept = look(one.path), self._old(number)
            if one.action == "rename":
                there = look(str(one.to))
                if there and here and disk.is_same(there, here):
                    moved[str(one.to)] = None
                elif there and not there.is_symlink() and disk.head_digest(there) == one.before:
                    if here:
                        found.append(Obstacle(one.path, "is there again; it would be overwritten"))
                    moved[one.path], moved[str(one.to)] = there, None
                elif not here or disk.head_digest(here) != one.before:
                    found.append(Obstacle(str(one.to), "changed since" if there else "is gone"))
                continue
            digest = disk.digest(here) if here and here.is_file() and not here.is_symlink() else None
            if digest == one.before:
                continue  # not done, or undone already
            if here and (one.action == "delete" or digest != one.after):
                found.append(Obstacle(one.path, "changed since" if one.action == "edit" else "is there again"))
            elif not kept.is_file() or disk.digest(kept) != one.before:
                found.append(Obstacle(one.path, f"cannot be put back: its original {kept} is damaged"))
        return found

    def _undo(self, number: int, one: _Done) -> None:
        """Take one change back, if it was made."""
        path, kept = self.root / one.path, self._old(number)
        if one.action == "rename":
            there = self.root / str(one.to)
            if not os.path.lexists(there):
                return
            if not os.path.lexists(path):
                disk.move(there, path)
            elif disk.is_same(there, path):
                there.unlink()
            return
        self._beside(number, path).unlink(missing_ok=True)
        if not os.path.lexists(path) or (one.action == "edit" and disk.digest(path) == one.after):
            disk.put(kept, path, self._beside(number, path))

    def _sync_folders(self) -> None:
        for folder in _folders(self.steps):
            disk.sync(self.root / folder)

    def _old(self, number: int) -> Path:
        return self.place / f"old-{number}"

    def _new(self, number: int) -> Path:
        return self.place / f"new-{number}"

    def _beside(self, number: int, path: Path) -> Path:
        return path.parent / f".qflux-{self.place.name}-{number}"


def _prepare(root: Path, place: Path, number: int, step: Step) -> _Done:
    """Keep the original and lay the new content ready; nothing has changed after it."""
    path = root / step.path
    if path.is_symlink() or not path.is_file():
        raise DataError(f"{step.path} is no file any more.", hint="Run again when nothing writes to it.")
    if step.action == "rename":
        return _Done("rename", step.path, step.to, disk.head_digest(path), "")
    kept = place / f"old-{number}"
    disk.keep(path, kept)
    if disk.digest(kept) != step.before:
        raise DataError(f"{step.path} changed while it was looked at.", hint="Run again when nothing writes to it.")
    if step.action == "delete":
        return _Done("delete", step.path, None, step.before, "")
    disk.write(place / f"new-{number}", step.content, like=path)
    return _Done("edit", step.path, None, step.before, hashlib.sha256(step.content).hexdigest())


def _places(root: Path) -> list[Path]:
    """The folders of all logs, the oldest first."""
    undo = root.joinpath(*_PLACE)
    if not undo.is_dir():
        return []
    return sorted((place for place in undo.iterdir() if place.name.isdecimal()), key=lambda place: int(place.name))


def _make_place(root: Path) -> Path:
    undo = root.joinpath(*_PLACE)
    _check_place(root)
    last = max((int(place.name) for place in _places(root)), default=0)
    place = undo / f"{last + 1:04}"
    try:
        place.mkdir(parents=True)
        (undo / ".gitignore").write_bytes(b"*\n")
    except OSError:
        _forget(root, place)
        raise
    return place


def _check_place(root: Path) -> None:
    undo = root.joinpath(*_PLACE)
    if os.path.realpath(undo) != os.path.join(os.path.realpath(root), *_PLACE):  # noqa: PTH118 - beside realpath
        raise OutsideRootError(f"{undo} is a link; repairs are only logged in the folder itself.")


def _forget(root: Path, place: Path) -> None:
    """Remove a log that is done with, and the folders above when it was the last."""
    (place / _LOG).unlink(missing_ok=True)  # first: without it, the rest is known to be rubbish
    if place.exists():
        shutil.rmtree(place)
    undo = place.parent
    if not _places(root):
        with suppress(OSError):  # not there, or not ours alone
            (undo / ".gitignore").unlink(missing_ok=True)
            undo.rmdir()
            undo.parent.rmdir()


def _is_inside(name: object) -> bool:
    return isinstance(name, str) and "\0" not in name and not {"", ".", ".."} & {*name.split("/")}


def _folders(steps: Iterable[Step | _Done]) -> set[str]:
    """The folders of all files of the steps. No rename leads into another one."""
    return {step.path.rpartition("/")[0] for step in steps}
