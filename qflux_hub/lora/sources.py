"""Which files on disk are meant: a file, a folder, a pattern, several files; and the checkpoints of a training.

A folder is never searched below its top but for checkpoints: what lies deeper is not uploaded by accident. Pickles are
refused by their names; they can run code when they are loaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from qflux_hub.errors import NotFoundError, RefusedError, UsageError

SUFFIX = ".safetensors"
DEFAULT_NAME = "pytorch_lora_weights.safetensors"
"""The name under which loaders look when none is given."""
ADAPTER_NAME = "adapter_model.safetensors"
"""The only name under which peft looks."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".npz", ".joblib")
_TWINS = re.compile(r"(?i)(?P<stem>.*?)(?P<side>[._-]?(?:high|low)(?:[_-]?noise)?)(?P<rest>\.safetensors)")
_FOLDER = re.compile(r"checkpoint-(?P<last>last-)?(?:\d+-)*(?P<step>\d+)(?P<tail>-last)?")
_NUMBERED = re.compile(r"(?P<stem>.*?)[._-]*(?:step|epoch)?[._-]*(?P<step>\d{1,12})")

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The weights of one step of a training. ``last`` when their name says that they are the end."""

    path: Path
    step: int | None
    last: bool = False


def resolve(source: Source, checkpoint: str | None = None) -> list[Path]:
    """The weights files that ``source`` names. Raises NotFoundError, UsageError with the choices, RefusedError."""
    if isinstance(source, (str, os.PathLike)):
        return _one(str(Path(source).expanduser()), checkpoint)
    named = [path for one in source for path in _one(str(Path(one).expanduser()), checkpoint)]
    if not named:
        raise UsageError("No file was given.", hint=f"Give a {SUFFIX} file or the folder that holds it.")
    return list(dict.fromkeys(named))


def _one(text: str, checkpoint: str | None) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        return _of_checkpoint(path, checkpoint) if checkpoint else _of_folder(path)
    if checkpoint:
        raise UsageError(f"--checkpoint chooses in a folder, and {text} is none.")
    if path.exists():
        refuse_pickle(path)
        if path.suffix.lower() != SUFFIX:
            raise UsageError(f"{text} is no {SUFFIX} file.", hint=f"LoRA weights are uploaded as {SUFFIX} files only.")
        return [path]
    names = sorted(glob(text)) if has_magic(text) else []  # noqa: PTH207 - a pattern may be absolute
    found = [Path(name) for name in names if name.lower().endswith(SUFFIX)]
    if not found:
        raise NotFoundError(f"There is no {text}.", hint=_near(path))
    return found


def refuse_pickle(path: Path) -> None:
    """Raises RefusedError for a file that is a pickle by its name."""
    if path.suffix.lower() in _PICKLES:
        raise RefusedError(
            f"{path} is a pickle; those can run code when they are loaded, and are never uploaded.",
            hint="Load it where you trust it (torch.load(..., weights_only=True)) and save the tensors with "
            "safetensors.torch.save_file.",
        )


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f"The folder {path.parent} does not exist either."
    there = sorted(one.name for one in path.parent.glob(f"*{SUFFIX}"))[:8]
    return f"In that folder: {', '.join(there)}." if there else f"No {SUFFIX} file lies in '{path.parent}'."


def _of_folder(folder: Path) -> list[Path]:
    """The canonical name, else the only file, else a pair that belongs together; else the choices, as an error."""
    for name in (DEFAULT_NAME, ADAPTER_NAME):
        if (folder / name).is_file():
            return [folder / name]
    there = _weights(folder)
    if len(there) == 1 or (len(there) == 2 and twin_of(there[0]) == there[1]):
        return there
    points = checkpoints(folder)
    if not there and not points:
        pickles = [path.name for path in sorted(folder.iterdir()) if path.suffix.lower() in _PICKLES]
        if pickles:
            refuse_pickle(folder / pickles[0])
        raise NotFoundError(f"No {SUFFIX} file lies in '{folder}'.", hint="Give the file itself, or its folder.")
    choices = [path.name for path in there] or [one.path.relative_to(folder).as_posix() for one in points]
    how = "Give one of them."
    if points:
        steps = ", ".join(str(one.step) for one in points if one.step is not None)
        how += f" An upload also takes --checkpoint last, or --checkpoint STEP ({_short(steps)})."
    raise UsageError(f"{folder} holds several LoRAs: {_short(', '.join(choices))}.", hint=how)


def _short(text: str) -> str:
    return text if len(text) <= 400 else text[:397] + "…"


def _weights(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.is_file() and not path.name.startswith("."))


def checkpoints(folder: Path) -> list[Checkpoint]:
    """The checkpoints of a training's output, by step: folders of their own, or files with a number at the end."""
    found = []
    for path in sorted(folder.iterdir()):
        named = _FOLDER.fullmatch(path.name) if path.is_dir() else None
        if named and (inside := _in_checkpoint(path)):
            found.append(Checkpoint(inside, int(named["step"]), bool(named["last"] or named["tail"])))
    files = _weights(folder)
    numbered = {path: _NUMBERED.fullmatch(path.stem) for path in files}
    stems = {named["stem"] for named in numbered.values() if named}
    for path, named in numbered.items():
        if named:
            found.append(Checkpoint(path, int(named["step"])))
        elif path.stem in stems:
            found.append(Checkpoint(path, None, last=True))
    return sorted(found, key=lambda one: (one.step is None, one.step or 0, one.last))


def _in_checkpoint(folder: Path) -> Path | None:
    for name in (DEFAULT_NAME, ADAPTER_NAME):
        if (folder / name).is_file():
            return folder / name
    there = _weights(folder)
    return there[0] if len(there) == 1 else None


def _of_checkpoint(folder: Path, wanted: str) -> list[Path]:
    points = checkpoints(folder)
    if wanted == "last" and points:
        return [max(points, key=lambda one: (one.last, one.step is None, one.step or 0)).path]
    if wanted.isdigit():
        fitting = [one.path for one in points if one.step == int(wanted)]
        if fitting:
            return fitting[:1]
    if wanted != "last" and not wanted.isdigit():
        raise UsageError(f"--checkpoint {wanted!r} is neither `last` nor a number of steps.")
    steps = _short(", ".join(str(one.step) for one in points if one.step is not None))
    known = f"There are: {steps}." if points else "No checkpoint lies there at all."
    raise NotFoundError(f"{folder} has no checkpoint {wanted}.", hint=known)


def twin_of(path: Path) -> Path | None:
    """The other half of a pair for high and low noise, whether or not it exists; None for other names."""
    found = _TWINS.fullmatch(path.name)
    if found is None:
        return None
    side = found["side"]
    other = re.sub(r"(?i)high|low", lambda word: _opposite(word.group()), side)
    return path.with_name(found["stem"] + other + found["rest"])


def _opposite(word: str) -> str:
    other = "low" if word.lower() == "high" else "high"
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other


def missing_twins(paths: Iterable[Path]) -> list[Path]:
    """Files that exist and belong to one of ``paths``, but are not among them."""
    given = {path.resolve() for path in paths}
    twins = [twin for path in given if (twin := twin_of(path)) and twin.is_file()]
    return [twin for twin in twins if twin.resolve() not in given]


def check_path(path: str) -> None:
    """Raises UsageError for a path that a repo cannot hold, or that would not arrive as it is written."""
    parts = path.split("/")
    reason = ""
    if not path or path.endswith("/"):
        reason = "it names no file"
    elif path.startswith("/") or re.match(r"[A-Za-z]:", path):
        reason = "it is not relative to the repo"
    elif "\\" in path:
        reason = "folders are divided by /"
    elif any(part in ("", ".", "..") for part in parts):
        reason = "it has an empty part, or one of dots"
    elif parts[0] in (".git", ".cache", ".gitattributes"):
        reason = "that name belongs to the repo itself"
    elif any(ord(character) < 32 or ord(character) == 127 for character in path):
        reason = "it has control characters"
    elif any(len(part.encode()) > 255 for part in parts) or path != path.strip():
        reason = "it is too long, or begins or ends with a space"
    if reason:
        raise UsageError(f"{path!r} cannot be a path in a repo: {reason}.", hint="For example configs/train.yaml.")
