"""What differs between two LoRAs: keys, ranks, alpha, dtype, metadata; and, if asked, the weights themselves.

The update of a module is s·B·A, far larger than its halves. Its norm and the angle between two of them are computed on
the small side: ‖B·A‖² = tr((BᵀB)(AAᵀ)) and ⟨B₁A₁, B₂A₂⟩ = tr((B₂ᵀB₁)(A₁A₂ᵀ)), products of rank by rank.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qflux_hub.lora.describe import Lora
from qflux_hub.lora.header import Header, Read, Tensor
from qflux_hub.lora.keys import Pair, bare, read_keys

_KINDS: Mapping[str, str] = {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8"}
"""dtypes whose numbers are read, as numpy names them."""
_FACTS = ("format", "rank", "alpha", "scale", "dtype", "tensors")


@dataclass(frozen=True, slots=True)
class Module:
    """One module in both files: Frobenius norms of its scaled updates, and the cosine of the angle between them."""

    name: str
    a: float | None
    b: float | None
    cosine: float | None

    def to_dict(self) -> dict[str, Any]:
        """The module as ``--json`` prints it."""
        return {"module": self.name, "a": self.a, "b": self.b, "cosine": self.cosine}


@dataclass(slots=True)
class Comparison:
    """What ``compare_loras`` returns. ``same_tensors`` is None when the data of a remote file was not read."""

    a: Lora
    b: Lora
    same_tensors: bool | None
    added: list[str]
    removed: list[str]
    changed: dict[str, dict[str, Any]]
    modules: list[Module] | None = None

    @property
    def findings(self) -> list[Any]:
        """Those of both files."""
        return [*self.a.findings, *self.b.findings]

    @property
    def failed(self) -> bool:
        """Whether one of them is not a LoRA that can be used."""
        return self.a.failed or self.b.failed

    def to_dict(self) -> dict[str, Any]:
        """The comparison as ``--json`` prints it."""
        told = {
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "same_tensors": self.same_tensors,
            "keys": {"added": self.added, "removed": self.removed},
            "changed": self.changed,
        }
        return told if self.modules is None else told | {"modules": [module.to_dict() for module in self.modules]}


@dataclass(frozen=True, slots=True)
class Side:
    """One file to compare: its description, its header, and a way to its bytes."""

    lora: Lora
    header: Header | None
    read: Read


def compare(a: Side, b: Side, *, full: bool) -> Comparison:
    """Compare two files; ``full`` reads the weights."""
    old, new = ({t.name: t for t in side.header.tensors} if side.header else {} for side in (a, b))
    changed: dict[str, dict[str, Any]] = {}
    for fact in _FACTS:
        _differ(changed, fact, getattr(a.lora, fact), getattr(b.lora, fact))
    for loader in {**a.lora.loaders, **b.lora.loaders}:
        _differ(changed, f"scale in {loader}", a.lora.loaders.get(loader), b.lora.loaders.get(loader))
    _differ(changed, "family", a.lora.family.name, b.lora.family.name)
    for name in old.keys() & new.keys():
        _differ(changed, name, _kind(old[name]), _kind(new[name]))
    for key in sorted(a.lora.metadata.keys() | b.lora.metadata.keys()):
        _differ(changed, f"metadata.{key}", a.lora.metadata.get(key), b.lora.metadata.get(key))
    comparison = Comparison(
        a.lora,
        b.lora,
        _same(a, b),
        sorted(new.keys() - old.keys()),
        sorted(old.keys() - new.keys()),
        changed,
    )
    if full and a.header and b.header:
        comparison.modules = list(_modules(a, b))
    return comparison


def _differ(changed: dict[str, dict[str, Any]], name: str, a: Any, b: Any) -> None:
    if a != b:
        changed[name] = {"a": a, "b": b}


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


def _same(a: Side, b: Side) -> bool | None:
    """Whether all tensors are the same bytes, as far as hashes and headers tell."""
    if a.header is None or b.header is None or a.header.tensors != b.header.tensors:
        return False
    if a.lora.tensor_sha256 and b.lora.tensor_sha256:
        return bool(a.lora.tensor_sha256 == b.lora.tensor_sha256)
    if a.lora.sha256 and a.lora.sha256 == b.lora.sha256:
        return True
    return None


def _modules(a: Side, b: Side) -> Iterator[Module]:
    old, new = _pairs(a), _pairs(b)
    for key in sorted({*old, *new}, key=_natural):
        left, right = (_Update(side, pairs[key]) if key in pairs else None for side, pairs in ((a, old), (b, new)))
        cosine = None
        if left and right and left.fits(right):
            length = left.norm * right.norm
            cosine = max(-1.0, min(1.0, left.dot(right) / length)) if length else None
        yield Module(
            bare((old.get(key) or new[key]).module), left.norm if left else None, right.norm if right else None, cosine
        )


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]


def _pairs(side: Side) -> dict[str, Pair]:
    """Whole pairs by a name that all formats share."""
    pairs = read_keys(side.header).pairs.values() if side.header else ()
    return {re.sub(r"[._]", "_", bare(pair.module)): pair for pair in pairs if _is_readable(pair)}


def _is_readable(pair: Pair) -> bool:
    return all(half is not None and half.dtype in _KINDS and len(half.shape) > 1 for half in (pair.down, pair.up))


class _Update:
    """The scaled update of one module, as its two halves: down (rank × in), up (out × rank)."""

    def __init__(self, side: Side, pair: Pair) -> None:
        if pair.down is None or pair.up is None or side.header is None:
            raise ValueError("half a pair")
        down, up = _load(side, side.header, pair.down), _load(side, side.header, pair.up)
        self.down = down.reshape(down.shape[0], -1)
        self.up = up.reshape(up.shape[0], -1)
        self.scale = side.lora.scale if side.lora.scale is not None else 1.0
        self.norm = max(self.dot(self), 0.0) ** 0.5

    def fits(self, other: _Update) -> bool:
        """Whether both change the same weight."""
        return bool(self.down.shape[1] == other.down.shape[1] and self.up.shape[0] == other.up.shape[0])

    def dot(self, other: _Update) -> float:
        """The inner product of both updates."""
        between = (other.up.T @ self.up).astype("float64")
        return float((between.T * (self.down @ other.down.T)).sum()) * self.scale * other.scale


def _load(side: Side, header: Header, tensor: Tensor) -> Any:
    """A tensor as float32."""
    import numpy as np

    data = side.read(header.data_start + tensor.begin, header.data_start + tensor.end)
    if tensor.dtype == "BF16":
        numbers = (np.frombuffer(data, _KINDS["BF16"]).astype("<u4") << 16).view("<f4")
    else:
        numbers = np.frombuffer(data, _KINDS[tensor.dtype]).astype("float32")
    return numbers.reshape(tensor.shape)
