"""The columns of a shard: in which order they lie on disk, and what `datasets` calls what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qflux_hub import media
from qflux_hub.naming import Kind
from qflux_hub.sample import CAPTIONS, CONTROLS, MASK, TARGET

LAYOUT_VERSION = 1
"""Raised when the same samples would be written to other bytes on purpose; part of every shard's digest."""

PROMPT = "prompt"
_FEATURES: Mapping[Kind, Any] = {
    "image": {"_type": "Image"},
    "video": {"_type": "Video"},
    "audio": {"_type": "Audio"},
    "file": {"bytes": {"dtype": "binary", "_type": "Value"}, "path": {"dtype": "string", "_type": "Value"}},
}


def columns(extra: Sequence[str], held: Iterable[str] = media.IMAGES, prompt: str = PROMPT) -> tuple[str, ...]:
    """The columns of a shard in the order they lie on disk; ``held`` are those of its media."""
    return (*held, prompt, "id", *extra)


def features(extra: Sequence[str], held: Mapping[str, Kind] = media.IMAGES, prompt: str = PROMPT) -> dict[str, Any]:
    """The features of the dataset in `datasets`' JSON form, ``id`` first.

    ``Sequence`` rather than ``List``: versions before 4 do not know the latter, later ones read both.
    """
    text = {"dtype": "string", "_type": "Value"}
    kinds = {
        name: {"feature": _FEATURES[kind], "_type": "Sequence"} if media.is_list(name) else _FEATURES[kind]
        for name, kind in held.items()
    }
    documented = {name: kinds.pop(name) for name in (CONTROLS, MASK, TARGET) if name in kinds}
    further = {name: {"feature": text, "_type": "Sequence"} if name == CAPTIONS else text for name in extra}
    return {"id": text, **documented, **kinds, prompt: text, **further}
