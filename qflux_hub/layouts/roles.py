"""Which columns of a table with features play which role, by the names that people and trainers give them.

``control`` may hold a list of images, main first; ``control_1``, ``control_2``, … are further ones. Videos and sounds
may have columns of their own beside those of images. Of several names of one role and kind the first in the list below
counts, and the others are carried along or left aside like any column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from qflux_hub import codes
from qflux_hub.errors import UsageError
from qflux_hub.report import Found
from qflux_hub.sample import CAPTIONS, CONTROLS, MASK, TARGET

_NAMES = {
    "id": ("id",),
    "prompt": (
        "prompt",
        "edit_prompt",
        "edit_instruction",
        "edit",
        "instruction",
        "caption",
        "text",
        CAPTIONS,
    ),
    "control": (
        CONTROLS,
        "control",
        "control_image",
        "path_control",
        "input_image",
        "original_image",
        "source_image",
        "conditioning_image",
    ),
    "control video": ("control_videos", "control_video", "input_video", "source_video", "conditioning_video"),
    "control audio": ("control_audios", "control_audio", "input_audio", "source_audio", "conditioning_audio"),
    "mask": (MASK, "mask", "mask_image", "path_mask"),
    "mask video": ("control_mask_video", "mask_video"),
    "mask audio": ("control_mask_audio",),
    "target": (TARGET, "target", "edited_image", "output_image", "image", "path_target"),
    "target video": ("target_video", "edited_video", "output_video", "video"),
    "target audio": ("target_audio", "edited_audio", "output_audio", "audio"),
}
PIX2PIX = ("input_image", "edit_prompt", "edited_image")
"""Control, prompt and target, as diffusers' instruct-pix2pix scripts call them."""
_FIRST = {name: (role, place) for role, names in _NAMES.items() for place, name in enumerate(names)}
_NUMBERED = re.compile(r"(?:path_)?control_(?:image_)?([1-9][0-9]{0,8})")
_FILES = re.compile(r"(.+?)_file_names?", re.DOTALL)


def usual(role: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that usually plays a role, where there is one."""
    return next((name for name in names if _FIRST.get(name.casefold(), ("", 0))[0] == role), None)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of each role; ``controls`` in their order. Of several targets or masks, the first that is not empty
    plays the role, and the others are carried along: of a video and its sound or first frame, the video.
    """

    prompt: str
    controls: tuple[str, ...]
    id: str | None = None
    masks: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def all(self) -> set[str]:
        """Every column that plays a role."""
        return {name for name in (self.prompt, self.id, *self.masks, *self.targets, *self.controls) if name}


def meaning(name: str) -> tuple[str, int] | None:
    """(role, how usual the name is for it, 0 most); None for a column that means nothing. Controls have their number.

    Roles of videos and sounds say so: ``target video``. ``target_image_file_name`` and ``control_images_file_names``
    name files instead of holding images.
    """
    plain = name.strip().casefold()
    if plain == "file_name":
        return "target", len(_NAMES["target"])
    files = _FILES.fullmatch(plain)
    plain = files[1] if files else plain
    if numbered := _NUMBERED.fullmatch(plain):
        return f"control_{int(numbered[1])}", 0
    return _FIRST.get(plain)


def names_files(column: str) -> bool:
    """Holds the names of files, as `datasets`' imagefolder reads it."""
    return column.strip().casefold().endswith(("file_name", "file_names"))


def files_name(column: str) -> str:
    """What a column that names files calls them: ``depth`` for ``depth_file_name``."""
    files = _FILES.fullmatch(column)
    return files[1] if files else column


def is_free(column: str) -> bool:
    """Can be the name of a further column: it has no meaning, and changes that of no other."""
    return bool(column.strip()) and meaning(column) is None


def free_name(column: str) -> str:
    """The name under which a file is carried along that lies in ``column``, but does not play its role."""
    return column if is_free(column) else f"other_{column}"


def text(value: Any) -> str | None:
    """A value of a further column as text: JSON, where it is of one of its types."""
    if value is None or isinstance(value, str):
        return value
    is_json = isinstance(value, (bool, int, float, list, dict))
    return json.dumps(value, ensure_ascii=False, default=str) if is_json else str(value)


def captions(value: Any) -> tuple[str, ...]:
    """The captions that a cell holds: a list, also as the JSON of one, or a single text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError):
            value = json.loads(value)
    listed = value if isinstance(value, list) else [value] if value != "" else []
    return tuple(one for one in map(text, listed) if one is not None)


def called(columns: Mapping[str, str]) -> dict[str, str]:
    """Role -> column, as ``--column`` says. Raises UsageError for unknown roles and columns of two roles."""
    for role, column in columns.items():
        found = meaning(role)
        if found is None or "file_name" in role:
            raise UsageError(
                f"There is no role {role!r}.",
                hint="--column ROLE=COLUMN, with a role of: id, prompt, control, control_1, …, mask, target.",
            )
        if list(columns.values()).count(column) > 1:
            raise UsageError(f"--column names {column!r} for two roles.")
    return {found[0]: column for role, column in columns.items() if (found := meaning(role))}


def assign(
    names: Sequence[str], images: Sequence[str], columns: Mapping[str, str], path: str, found: Found
) -> Columns | None:
    """Which of ``names`` plays which role; ``images`` are those that can hold images or name them.

    None, and why is found, when a column that was named is not there, or there is none for the prompt, or none that
    holds images.
    """
    chosen = called(columns)
    lacking = [column for column in chosen.values() if column not in names]
    for column in lacking:
        message = f"{path} has no column {column!r}, named by --column; it has {', '.join(names)}."
        found(codes.MISSING_COLUMN(path, message))
    if lacking:
        return None
    best: dict[str, tuple[int, str]] = {}
    for name in names:
        meant = meaning(name)
        if meant is None or name in chosen.values() or (meant[0] not in ("id", "prompt") and name not in images):
            continue
        role, place = meant
        if role not in best or place < best[role][0]:
            best[role] = place, name
    roles = {role: name for role, (_, name) in best.items()} | chosen
    controls = [name for role, name in sorted(roles.items(), key=lambda item: _rank(item[0])) if "control" in role]
    masks, targets = (tuple(roles[role] for role in own if role in roles) for own in (_MASKS, _TARGETS))
    if "prompt" not in roles or not (controls or targets):
        lacks = "prompt" if "prompt" not in roles else "control"
        message = f"{path} has no column {lacks}; it has {', '.join(names)}."
        found(codes.MISSING_COLUMN(path, message, fix="use --column ROLE=NAME"))
        return None
    return Columns(roles["prompt"], tuple(controls), roles.get("id"), masks, targets)


_MASKS, _TARGETS = ("mask", "mask video", "mask audio"), ("target video", "target", "target audio")


def _rank(role: str) -> tuple[int, int]:
    """Orders roles of controls: the main one, those of numbers, then videos and sounds."""
    number = role.removeprefix("control_")
    return (int(number), 0) if number.isdigit() else (0, -1) if role == "control" else (1 << 40, len(role))
