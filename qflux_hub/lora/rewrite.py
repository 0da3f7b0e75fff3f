"""A weights file with another header: other metadata, and small tensors added. Tensors' bytes are copied as they are.

The header is written as the reference writer does: compact JSON, padded with spaces to a multiple of 8.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qflux_hub.lora.header import METADATA, PREFIX, Header

_PIECE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class NewTensor:
    """A tensor to add, with its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


def rewrite(
    source: Path, header: Header, target: Path, metadata: Mapping[str, str], added: Sequence[NewTensor] = ()
) -> None:
    """Write ``target`` with the tensors of ``source``, then ``added``, under ``metadata``."""
    entries: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    for tensor in header.tensors:
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [tensor.begin, tensor.end],
        }
    at = header.data_size
    for new in added:
        entries[new.name] = {"dtype": new.dtype, "shape": list(new.shape), "data_offsets": [at, at + len(new.data)]}
        at += len(new.data)
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % PREFIX)
    with source.open("rb") as old, target.open("wb") as new_file:
        new_file.write(len(text).to_bytes(PREFIX, "little") + text)
        old.seek(header.data_start)
        shutil.copyfileobj(old, new_file, _PIECE)
        for new in added:
            new_file.write(new.data)
