"""Alpha written where loaders look for it, from the configuration of the training.

diffusers reads it from the metadata of files in its own naming; ComfyUI, and diffusers for other namings, from tensors
of one number; peft from ``adapter_config.json``. The weights themselves stay as they are, byte for byte.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qflux_hub.errors import UsageError
from qflux_hub.lora.alpha import ADAPTER_CONFIG, ADAPTER_METADATA, from_config
from qflux_hub.lora.describe import Lora
from qflux_hub.lora.family import named_base
from qflux_hub.lora.header import Header
from qflux_hub.lora.keys import Keys, Pair, bare, component, read_keys
from qflux_hub.lora.rewrite import NewTensor, rewrite

_BY_METADATA = ("diffusers-peft", "diffusers-old", "peft-bare")
_BY_TENSORS = ("comfyui-peft", "kohya", "flux-diffusers-kohya")


def repaired(path: Path, header: Header, lora: Lora, configs: Configs, target: Path) -> bytes | None:
    """Write a copy whose alpha loaders find to ``target``, or return the ``adapter_config.json`` that says it.

    Neither where nothing has to be written. Raises UsageError when alpha is not known, or not settled.
    """
    if lora.rank is None or not any(one.code in _REPAIRABLE for one in lora.findings):
        return None
    alpha = _trained(configs) or lora.alpha
    if alpha is None:
        raise UsageError(
            f"--write-alpha: nothing says the alpha of {lora.path}.",
            hint="Name the training's configuration: --extra train_config.yaml",
        )
    keys = read_keys(header)
    if lora.format == "peft":
        return _adapter_config(lora, configs, keys, alpha)
    metadata, added = dict(header.metadata), []
    if lora.format in _BY_METADATA:
        metadata[ADAPTER_METADATA] = json.dumps(_adapter_metadata(keys, alpha), sort_keys=True)
    elif lora.format in _BY_TENSORS:
        if any(pair.alpha for pair in keys.pairs.values()):
            raise UsageError(
                f"--write-alpha: {lora.path} holds alpha tensors that say something else than its configuration.",
                hint="Only whoever trained it knows which is right; the file is not changed.",
            )
        added = [_alpha_tensor(pair, alpha) for pair in keys.pairs.values()]
        if "ss_network_alpha" in metadata:
            metadata["ss_network_alpha"] = f"{alpha:g}"
    else:
        raise UsageError(f"--write-alpha: files of the format {lora.format} have no place for alpha.")
    rewrite(path, header, target, metadata, added)
    return None


Configs = Mapping[str, Mapping[str, Any]]
_REPAIRABLE = ("missing-alpha", "scales-differ", "alpha-conflict")


def _trained(configs: Configs) -> float | None:
    """The alpha of a configuration, which weighs more than what a file happens to say."""
    return next((said.alpha for name, config in configs.items() for said in from_config(name, config)), None)


def _alpha_tensor(pair: Pair, alpha: float) -> NewTensor:
    return NewTensor(f"{pair.module}.alpha", "F32", (), struct.pack("<f", alpha))


def _adapter_metadata(keys: Keys, alpha: float) -> dict[str, Any]:
    """What diffusers writes: the configuration of each component, its keys prefixed by the component."""
    metadata: dict[str, Any] = {}
    for name in dict.fromkeys(component(module) for module in keys.pairs):
        pairs = [pair for pair in keys.pairs.values() if component(pair.module) == name and pair.rank]
        ranks = [pair.rank for pair in pairs if pair.rank]
        rank = max(set(ranks), key=ranks.count)
        others = {bare(pair.module): pair.rank for pair in pairs if pair.rank != rank}
        facts = {
            "r": rank,
            "lora_alpha": _plain(alpha),
            "rank_pattern": others,
            "alpha_pattern": {},
            "target_modules": sorted({bare(pair.module) for pair in pairs}),
            "use_dora": False,
            "lora_bias": False,
        }
        metadata |= {f"{name}.{key}": value for key, value in facts.items()}
    return metadata


def _adapter_config(lora: Lora, configs: Configs, keys: Keys, alpha: float) -> bytes:
    known = dict(configs.get(ADAPTER_CONFIG) or {})
    facts = {
        "peft_type": "LORA",
        "base_model_name_or_path": next(filter(None, map(named_base, configs.values())), None),
        "target_modules": sorted({bare(pair.module) for pair in keys.pairs.values()}),
    }
    config = facts | known | {"r": lora.rank, "lora_alpha": _plain(alpha)}
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def _plain(alpha: float) -> int | float:
    return int(alpha) if alpha == int(alpha) else alpha
