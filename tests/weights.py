"""Small weights files for tests, written byte by byte after the key shapes of the tools that make them."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qflux_hub.lora.header import BITS

Entry = tuple[str, tuple[int, ...], bytes]
"""(dtype, shape, data)."""


def raw(header: bytes | str | Mapping[str, Any], data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file of this header, right or wrong, and this data."""
    text = header if isinstance(header, bytes) else header.encode() if isinstance(header, str) else None
    text = json.dumps(header, separators=(",", ":")).encode() if text is None else text
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def pack(tensors: Mapping[str, Entry], metadata: Mapping[str, str] | None = None) -> bytes:
    """A right file, as the reference writer lays it out: padded header, tensors in the given order."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata is not None else {}
    at, data = 0, []
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(content)]}
        at += len(content)
        data.append(content)
    text = json.dumps(header, separators=(",", ":")).encode()
    return raw(text + b" " * (-len(text) % 8), b"".join(data))


def numbers(shape: Iterable[int], dtype: str = "BF16", seed: str = "") -> Entry:
    """Small random numbers of a float type, the same for the same seed."""
    shape = tuple(shape)
    count = 1
    for length in shape:
        count *= length
    draw = random.Random(f"{seed}{shape}")  # noqa: S311 - weights, not secrets
    if dtype == "BF16":
        data = b"".join(struct.pack("<f", draw.gauss(0, 0.02))[2:] for _ in range(count))
    else:
        code = {"F16": "e", "F32": "f", "F64": "d"}[dtype]
        data = struct.pack(f"<{count}{code}", *(draw.gauss(0, 0.02) for _ in range(count)))
    return dtype, shape, data


def zeros(shape: Iterable[int], dtype: str = "BF16") -> Entry:
    """All zero."""
    shape = tuple(shape)
    count = 1
    for length in shape:
        count *= length
    return dtype, shape, bytes(count * BITS[dtype] // 8)


def scalar(value: float, dtype: str = "F32") -> Entry:
    """One number without a dimension, as alphas are stored."""
    if dtype == "BF16":
        return dtype, (), struct.pack("<f", value)[2:]
    return dtype, (), struct.pack({"F16": "<e", "F32": "<f"}[dtype], value)


NAMES = {
    "diffusers-peft": ("transformer.{}.lora_A.weight", "transformer.{}.lora_B.weight", ""),
    "diffusers-old": ("unet.{}.lora.down.weight", "unet.{}.lora.up.weight", ""),
    "peft": ("base_model.model.{}.lora_A.weight", "base_model.model.{}.lora_B.weight", ""),
    "peft-bare": ("{}.lora_A.weight", "{}.lora_B.weight", ""),
    "peft-in-training": ("{}.lora_A.lora_edit.weight", "{}.lora_B.lora_edit.weight", ""),
    "diffsynth": ("{}.lora_A.default.weight", "{}.lora_B.default.weight", ""),
    "comfyui-peft": (
        "diffusion_model.{}.lora_A.weight",
        "diffusion_model.{}.lora_B.weight",
        "diffusion_model.{}.alpha",
    ),
    "kohya": ("lora_unet_{_}.lora_down.weight", "lora_unet_{_}.lora_up.weight", "lora_unet_{_}.alpha"),
    "flux-diffusers-kohya": (
        "lora_transformer_{_}.lora_down.weight",
        "lora_transformer_{_}.lora_up.weight",
        "lora_transformer_{_}.alpha",
    ),
    "xlabs": ("{}.processor.qkv_lora1.down.weight", "{}.processor.qkv_lora1.up.weight", ""),
}
"""format -> names of down, up and alpha of a module; ``{_}`` is the module with its dots flattened."""

QWEN = tuple(f"transformer_blocks.{block}.attn.{name}" for block in range(60) for name in ("to_q", "add_q_proj"))
"""Modules of a Qwen-Image LoRA."""


def lora(
    format: str = "diffusers-peft",
    modules: Iterable[str] = ("transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.add_q_proj"),
    *,
    rank: int = 2,
    width: int = 8,
    dtype: str = "BF16",
    alpha: float | None = None,
    metadata: Mapping[str, str] | None = None,
    seed: str = "",
    more: Mapping[str, Entry] | None = None,
) -> bytes:
    """A LoRA of that naming. ``alpha`` is written as tensors, where the naming has them."""
    down, up, place = NAMES[format]
    tensors: dict[str, Entry] = {}
    for module in modules:
        words = {"_": module.replace(".", "_")}
        if alpha is not None and place:
            tensors[place.format(module, **words)] = scalar(alpha, dtype)
        tensors[down.format(module, **words)] = numbers((rank, width), dtype, f"{seed}{module}A")
        tensors[up.format(module, **words)] = numbers((width, rank), dtype, f"{seed}{module}B")
    return pack(tensors | dict(more or {}), metadata)


def shapes(
    format: str, modules: Mapping[str, tuple[int, int]] | Iterable[str], *, rank: int = 1, width: int = 8
) -> dict[str, Entry]:
    """Like ``lora`` but all zeros and quick, for files that are wide: module -> (in, out)."""
    down, up, _ = NAMES[format]
    sized = modules if isinstance(modules, Mapping) else dict.fromkeys(modules, (width, width))
    tensors = {}
    for module, (into, out) in sized.items():
        words = {"_": module.replace(".", "_")}
        tensors[down.format(module, **words)] = zeros((rank, into), "F16")
        tensors[up.format(module, **words)] = zeros((out, rank), "F16")
    return tensors


def put(path: Path, data: bytes) -> Path:
    """Write a file that the local cache may remember: older than its grain of time."""
    import os

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path
