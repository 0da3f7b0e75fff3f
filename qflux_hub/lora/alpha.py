"""Where a LoRA's alpha is written, and the scale that each loader will use: alpha / rank.

Alpha is the most silent defect of LoRA files: a file that lost it loads everywhere, at another strength than it was
trained with. The places are searched in the order of ``find_alpha``; two that disagree are reported, never settled.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qflux_hub.lora.header import FIRST, Header, Read, Tensor
from qflux_hub.lora.keys import Keys, component

WINDOW = 512 * 1024
"""Bytes of one further read for alphas of a remote file."""
TENSORS = "alpha tensors"
ADAPTER_METADATA = "lora_adapter_metadata"
FLAT = ("lora_alpha", "network_alpha", "alpha", "ss_network_alpha")
ADAPTER_CONFIG = "adapter_config.json"
TRAIN_CONFIG = "train_config.yaml"

LOADERS = {
    "diffusers": (TENSORS, ADAPTER_METADATA),
    "comfyui": (TENSORS,),
    "peft": (ADAPTER_CONFIG,),
}
"""Where each loader looks for alpha. Without it, diffusers and ComfyUI take alpha = rank; peft does not load at all."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one place says. ``rank`` is None where it says none."""

    source: str
    alpha: float
    rank: int | None = None
    rslora: bool = False


@dataclass(frozen=True, slots=True)
class Alpha:
    """What is known. ``said`` are all places, in the order of their weight; ``mixed`` when modules have several."""

    said: tuple[Said, ...] = ()
    mixed: Mapping[float, int] | None = None
    partial: tuple[int, int] | None = None
    """(alpha tensors read, alpha tensors there), when a remote file was read in part."""

    @property
    def value(self) -> float | None:
        """Alpha, by the first place that names it."""
        return self.said[0].alpha if self.said else None

    @property
    def source(self) -> str | None:
        """That place."""
        return self.said[0].source if self.said else None

    def scale(self, rank: int | None) -> float | None:
        """The scale as trained, None when it is not known."""
        return _scale(self.said[0], rank) if self.said and rank else None

    def loaders(self, rank: int | None, format: str | None) -> dict[str, float | None]:
        """The scale that each loader will use; None for one that cannot know it and does not load."""
        scales: dict[str, float | None] = {}
        for loader, places in LOADERS.items():
            found = [said for said in self.said if said.source in places]
            assumed = None if loader == "peft" else 1.0
            scales[loader] = _scale(found[0], rank) if found and rank else assumed
        if format not in ("peft", "peft-bare") and scales["peft"] is None:
            del scales["peft"]
        return scales

    def conflict(self, rank: int | None) -> str:
        """Two places that lead to different scales, in words; "" when all agree."""
        scales = {said.source: _scale(said, rank or said.rank or 1) for said in self.said}
        if len({round(scale, 6) for scale in scales.values()}) < 2:
            return ""
        return "; ".join(f"{said.source} says {said.alpha:g}" for said in self.said)


def _scale(said: Said, rank: int | None) -> float:
    of = rank or said.rank or 1
    return said.alpha / (math.sqrt(of) if said.rslora else of)


def find_alpha(
    header: Header, keys: Keys, read: Read, configs: Mapping[str, Mapping[str, Any]], *, everything: bool
) -> Alpha:
    """Search all places. ``configs`` are files beside the weights, by name.

    ``everything``: every alpha tensor is read, as is cheap for local files; else one more read at most.
    """
    said: list[Said] = []
    tensors = [pair.alpha for pair in keys.pairs.values() if pair.alpha is not None]
    values = dict(_values(header, tensors, read, everything=everything))
    counts = Counter(values.values())
    if counts:
        said.append(Said(TENSORS, counts.most_common(1)[0][0]))
    said += _from_metadata(header.metadata, keys)
    for name, config in configs.items():
        said += from_config(name, config)
    partial = (len(values), len(tensors)) if len(values) < len(tensors) else None
    return Alpha(tuple(said), dict(counts.most_common()) if len(counts) > 1 else None, partial)


def _values(header: Header, tensors: list[Tensor], read: Read, *, everything: bool) -> Iterator[tuple[str, float]]:
    begin = len(header.seen) - header.data_start
    missing = [tensor for tensor in tensors if tensor.end > begin]
    for tensor in tensors:
        if tensor.end <= begin:
            at = header.data_start + tensor.begin
            yield from _decoded(tensor, header.seen[at : at + tensor.end - tensor.begin])
    if everything:
        for tensor in missing:
            yield from _decoded(tensor, read(header.data_start + tensor.begin, header.data_start + tensor.end))
    elif missing and len(missing) == len(tensors) and len(header.seen) <= FIRST:
        start = header.data_start + missing[0].begin
        window = read(start, min(header.size, start + WINDOW))
        for tensor in missing:
            at, end = tensor.begin - missing[0].begin, tensor.end - missing[0].begin
            if end <= len(window):
                yield from _decoded(tensor, window[at:end])


def _decoded(tensor: Tensor, data: bytes) -> Iterator[tuple[str, float]]:
    """(name, value) of a tensor of one number. Values that are no number are left out."""
    value = scalar(tensor.dtype, data) if tensor.elements == 1 else None
    if value is not None and math.isfinite(value):
        yield tensor.name, value


def scalar(dtype: str, data: bytes) -> float | None:
    """One number of the common dtypes."""
    if dtype == "BF16":
        return float(struct.unpack("<f", b"\0\0" + data)[0])
    format = {"F16": "<e", "F32": "<f", "F64": "<d", "I64": "<q", "I32": "<i"}.get(dtype)
    return None if format is None else float(struct.unpack(format, data)[0])


def _from_metadata(metadata: Mapping[str, str], keys: Keys) -> Iterator[Said]:
    adapters = _json(metadata.get(ADAPTER_METADATA, ""))
    prefixes = list(dict.fromkeys(component(module) for module in keys.pairs))
    for prefix in [*(f"{one}." for one in prefixes), ""]:
        alpha = _number(adapters.get(f"{prefix}lora_alpha"))
        if alpha is not None:
            rank, rslora = adapters.get(f"{prefix}r"), adapters.get(f"{prefix}use_rslora") is True
            yield Said(ADAPTER_METADATA, alpha, rank if isinstance(rank, int) else None, rslora)
            break
    for key in FLAT:
        alpha = _number(metadata.get(key))
        if alpha is not None:
            yield Said(f"metadata {key}", alpha)


def from_config(name: str, config: Mapping[str, Any]) -> Iterator[Said]:
    """From ``adapter_config.json`` of peft, or ``model.lora`` of a trainer's config, wherever that lies in it."""
    if name.rpartition("/")[2] == ADAPTER_CONFIG:
        places: Iterable[Any] = [config]
    else:
        places = _find(config, "lora") or [config]
    for place in places:
        alpha = _number(place.get("lora_alpha") or place.get("alpha")) if isinstance(place, dict) else None
        if alpha is not None:
            rank = place.get("r") or place.get("rank")
            yield Said(
                ADAPTER_CONFIG if name.rpartition("/")[2] == ADAPTER_CONFIG else name.rpartition("/")[2],
                alpha,
                rank if isinstance(rank, int) else None,
                place.get("use_rslora") is True,
            )
            return


def _find(config: Any, wanted: str) -> list[Any]:
    """All mappings under a key of that name."""
    found, waiting = [], [config]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, dict):
            found += [inner for key, inner in value.items() if key == wanted and isinstance(inner, dict)]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
