"""Which columns of a table with features play which role, by the names that people and trainers give them.

``control`` may hold a list of images, main first; ``control_1``, ``control_2``, … are further ones. Of several names of
one role the first in the list below counts, and the others are carried along or left aside like any column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qflux_hub import codes
from qflux_hub.errors import UsageError
from qflux_hub.report import Found
from qflux_hub.sample import CONTROLS, MASK, TARGET

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
    "mask": (MASK, "mask", "mask_image", "path_mask"),
    "target": (TARGET, "target", "edited_image", "output_image", "image", "path_target"),
}
_FIRST = {name: (role, place) for role, names in _NAMES.items() for place, name in enumerate(names)}
_NUMBERED = re.compile(r"(?:path_)?control_(?:image_)?([1-9][0-9]{0,8})")
_FILES = re.compile(r"(.+?)_file_names?")


@dataclass(frozen=True, slots=True)
class Columns:
    """The column of each role; ``controls`` in their order."""

    prompt: str
    controls: tuple[str, ...]
    id: str | None = None
    mask: str | None = None
    target: str | None = None

    def all(self) -> set[str]:
        """Every column that plays a role."""
        return {name for name in (self.prompt, self.id, self.mask, self.target, *self.controls) if name}


def meaning(name: str) -> tuple[str, int] | None:
    """(role, how usual the name is for it, 0 most); None for a column that means nothing. Controls have their number.

    ``target_image_file_name`` and ``control_images_file_names`` name files instead of holding images.
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


def is_free(column: str) -> bool:
    """Can be the name of a further column: it has no meaning, and changes that of no other."""
    return bool(column.strip()) and meaning(column) is None


def text(value: Any) -> str | None:
    """A value of a further column as text: JSON, where it is of one of its types."""
    if value is None or isinstance(value, str):
        return value
    is_json = isinstance(value, (bool, int, float, list, dict))
    return json.dumps(value, ensure_ascii=False, default=str) if is_json else str(value)


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
    controls = sorted((int(role.partition("_")[2] or 0), name) for role, name in roles.items() if "control" in role)
    if "prompt" not in roles or not (controls or "target" in roles):
        lacks = "prompt" if "prompt" not in roles else "control"
        message = f"{path} has no column {lacks}; it has {', '.join(names)}."
        found(codes.MISSING_COLUMN(path, message, fix="use --column ROLE=NAME"))
        return None
    return Columns(
        roles["prompt"], tuple(name for _, name in controls), roles.get("id"), roles.get("mask"), roles.get("target")
    )
