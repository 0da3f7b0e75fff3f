"""The family of base models that a LoRA fits, from the names and shapes of its modules; the variant from metadata.

Models of one family have the same modules, so keys alone never tell FLUX.1-dev from Kontext: what cannot be told apart
is listed. Widths are the model's hidden sizes, counts its numbers of blocks; a LoRA may leave blocks out, so a count
proves something only where it is larger than another family has.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from qflux_hub.lora.bases import BASES, WORDS, of_family
from qflux_hub.lora.keys import Keys, bare, blocks

Confidence = Literal["high", "medium", "low", "none"]

NAMES_BASE = ("base_model", "base_model_name_or_path", "pretrained_model_name_or_path", "modelspec.implementation_base")
"""Metadata keys whose value may be a Hub id."""


@dataclass(frozen=True, slots=True)
class Family:
    """What a LoRA fits. ``candidates`` are Hub ids that cannot be told apart; ``evidence`` is why, in words."""

    name: str | None
    confidence: Confidence = "none"
    candidates: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The family as ``--json`` prints it."""
        return {
            "name": self.name,
            "confidence": self.confidence,
            "candidates": list(self.candidates),
            "evidence": list(self.evidence),
        }


def find_family(keys: Keys, metadata: Mapping[str, str], named: str | None = None) -> Family:
    """The family of a file. ``named`` is a base model that a config beside it, or the user, names."""
    name, confidence, evidence = _by_shape(_Shape.of(keys))
    candidates = of_family(name) if name else ()
    for source, told in _told(metadata, named):
        fitting = tuple(one for one in told if not candidates or one in candidates)
        if fitting:
            families = {BASES[one].family for one in fitting if one in BASES}
            name = name or next(iter(families), None)
            return Family(name, "high", fitting, (*evidence, source))
        evidence = (*evidence, f"{source}, which its shapes contradict")
        confidence = "low"
    return Family(name, confidence, candidates, evidence)


def _told(metadata: Mapping[str, str], named: str | None) -> list[tuple[str, tuple[str, ...]]]:
    """(where it says so, the models it may mean), the most telling first."""
    found = []
    if named and (known := _known(named)):
        found.append((f"the config names {named}", known))
    for key in NAMES_BASE:
        if known := _known(metadata.get(key, "")):
            found.append((f"metadata {key}: {metadata[key]}", known))
    for key in ("ss_base_model_version", "modelspec.architecture", "ss_sd_model_name"):
        word = metadata.get(key, "").split("/")[0].lower()
        if word in WORDS:
            found.append((f"metadata {key}: {metadata[key]}", WORDS[word]))
        elif known := _known(metadata.get(key, "")):
            found.append((f"metadata {key}: {metadata[key]}", known))
    return found


def _known(text: str) -> tuple[str, ...]:
    """A Hub id, or a local path that ends like a known one."""
    if text in BASES:
        return (text,)
    name = re.split(r"[/\\]", text.rstrip("/\\"))[-1].lower()
    name = re.sub(r"^models--[^-]+--", "", name).removesuffix(".safetensors")
    return tuple(one for one in BASES if name and one.split("/")[1].lower() == name)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Module names as one text to search in, numbers of blocks, and the widths that modules take in."""

    names: str
    blocks: Mapping[str, int]
    width: int
    context: int
    """What cross attention takes in, 0 without."""

    @staticmethod
    def of(keys: Keys) -> _Shape:
        widths: Counter[int] = Counter()
        context = 0
        for module, pair in keys.pairs.items():
            into, _ = pair.width
            if re.search(r"attn2[._]to_[kv]", module):
                context = max(context, into)
            elif re.search(r"to_q|to_k|qkv|[._]q$|img_attn|attention", module):
                widths[into] += 1
        if not widths:
            widths.update(pair.width[0] for pair in keys.pairs.values())
        width = widths.most_common(1)[0][0] if widths else 0
        return _Shape("\n".join(bare(module) for module in keys.modules), blocks(keys.modules), width, context)

    def has(self, *parts: str) -> bool:
        """Whether all expressions are found; ``.`` matches the separators of both flat and dotted names."""
        return all(re.search(part, self.names) for part in parts)

    def count(self, kind: str) -> int:
        return self.blocks.get(kind, 0)


Verdict = tuple[str | None, Confidence, tuple[str, ...]]


def _by_shape(shape: _Shape) -> Verdict:
    """The family by keys and shapes; the more special rule comes first."""
    for rule in (_unet, _ltx2, _flux2, _chroma, _two_streams, _joint, _wan, _z_image, _ltx):
        if verdict := rule(shape):
            return verdict
    if shape.has(r"^(?:text_encoder|lora_te|te\d?[._]|text_model)"):
        return None, "none", ("only text encoder modules",)
    return None, "none", ("no known module names",)


def _unet(shape: _Shape) -> Verdict | None:
    if not shape.has(r"(?:down|up|input|output)_blocks|mid_block|middle_block"):
        return None
    if shape.has(r"lora_te2[._]"):
        return "sdxl", "high", ("a second text encoder",)
    known = {2048: "sdxl", 1024: "sd2", 768: "sd15"}
    if shape.context in known:
        return known[shape.context], "high", (f"a UNet whose cross attention takes {shape.context}",)
    depth = re.search(r"transformer_blocks[._]([2-9])", shape.names)
    if depth:
        return "sdxl", "medium", ("a UNet with several transformer blocks in a row",)
    return None, "none", ("a UNet, without cross attention to tell which",)


def _ltx2(shape: _Shape) -> Verdict | None:
    return ("ltx2", "high", ("audio modules",)) if shape.has(r"audio_attn|to_gate_logits|audio_ff") else None


def _flux2(shape: _Shape) -> Verdict | None:
    singles, doubles = _singles(shape), _doubles(shape)
    own = shape.has(r"to_qkv_mlp_proj|ff[._]linear_in|_modulation_(?:img|txt)")
    sizes = {6144: "flux2", 4096: "flux2-klein-9b", 3072: "flux2-klein-4b"}
    if own and shape.width in sizes:
        return sizes[shape.width], "high", (f"FLUX.2 module names, width {shape.width}",)
    if singles and doubles and shape.width in (6144, 4096) and not shape.has("attn1"):
        return sizes[shape.width], "high", (f"double and single blocks, width {shape.width}",)
    if shape.width == 3072 and (doubles, singles) == (5, 20):
        why = "5 double and 20 single blocks: FLUX.2 klein 4B, or FLUX.1 with blocks left out"
        return "flux2-klein-4b", "low", (why,)
    return None


def _chroma(shape: _Shape) -> Verdict | None:
    return ("chroma", "high", ("distilled guidance modules",)) if shape.has("distilled_guidance_layer") else None


def _two_streams(shape: _Shape) -> Verdict | None:
    """FLUX.1 and HunyuanVideo: double blocks, then single ones."""
    singles, doubles = _singles(shape), _doubles(shape)
    if not singles and not shape.has(r"double_blocks"):
        return None
    if shape.has(r"token_refiner|context_embedder[._]token") or doubles == 20 or singles in (39, 40):
        return "hunyuan-video", "high", (f"{doubles} double and {singles} single blocks, token refiner",)
    if shape.has(r"double_blocks\.\d+\.img_attn_qkv"):
        return "hunyuan-video", "medium", ("module names of HunyuanVideo",)
    if shape.width in (0, 3072):
        certain = doubles > 8 or singles > 24
        return "flux1", "high" if certain else "medium", (f"{doubles} double and {singles} single blocks, width 3072",)
    return None


def _joint(shape: _Shape) -> Verdict | None:
    """Transformers of one kind of block in which text and image attend to each other."""
    count = max(shape.count("transformer_blocks"), shape.count("joint_blocks"))
    joint = shape.has(r"add_[qk]_proj|img_mlp|txt_mlp|img_mod|joint_blocks")
    if not count or shape.has(r"attn[12][._]"):
        return None
    if shape.width == 3072 and (joint or count > 24):
        certain = shape.has(r"img_mlp|txt_mlp|img_mod") or count > 48
        why = f"{count} transformer blocks, width 3072, no single blocks"
        return "qwen-image", "high" if certain else "medium", (why,)
    if shape.width == 2432:
        return "sd3.5-large", "high", (f"{count} joint blocks, width 2432",)
    if shape.width == 1536:
        return "sd3", "high" if joint else "medium", (f"{count} joint blocks, width 1536",)
    return None


def _wan(shape: _Shape) -> Verdict | None:
    count = shape.count("blocks")
    if not count or not shape.has(r"self_attn|cross_attn|attn[12][._]to_|(?m:^)blocks[._]\d+[._]ffn"):
        return None
    sizes = {1536: "wan-1.3b", 5120: "wan-14b", 3072: "wan2.2-5b"}
    if shape.width not in sizes:
        return None
    if shape.has(r"k_img|add_k_proj") and shape.width == 5120:
        return "wan-14b-i2v", "high", (f"{count} Wan blocks, width 5120, image cross attention",)
    return sizes[shape.width], "high", (f"{count} Wan blocks, width {shape.width}",)


def _z_image(shape: _Shape) -> Verdict | None:
    if not shape.has(r"noise_refiner|context_refiner|layers[._]\d+[._]attention"):
        return None
    return (
        "z-image",
        "high" if shape.width == 3840 else "low",
        (f"{shape.count('layers')} layers, width {shape.width}",),
    )


def _ltx(shape: _Shape) -> Verdict | None:
    count = shape.count("transformer_blocks")
    if not count or not shape.has(r"attn1[._]"):
        return None
    sizes = {2048: "ltx", 4096: "ltx-13b"}
    if shape.width in sizes:
        return sizes[shape.width], "medium", (f"{count} transformer blocks, width {shape.width}",)
    return None


def _singles(shape: _Shape) -> int:
    return max(shape.count("single_transformer_blocks"), shape.count("single_blocks"))


def _doubles(shape: _Shape) -> int:
    double = shape.count("double_blocks")
    return double or shape.count("transformer_blocks")


def named_base(config: Mapping[str, Any]) -> str | None:
    """The base model that a trainer's or adapter's config names, wherever it does."""
    waiting: list[Any] = [config]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, dict):
            for key in ("pretrained_model_name_or_path", "base_model_name_or_path", "name_or_path"):
                if isinstance(value.get(key), str) and value[key]:
                    return str(value[key])
            waiting += value.values()
    return None


def training_facts(metadata: Mapping[str, str]) -> dict[str, str]:
    """What metadata says of the training, under plain names."""
    names = {
        "ss_steps": "steps", "ss_epoch": "epochs", "ss_num_train_images": "images", "ss_learning_rate": "learning rate",
        "ss_unet_lr": "learning rate", "ss_resolution": "resolution", "modelspec.resolution": "resolution",
        "ss_optimizer": "optimizer", "ss_network_module": "network", "modelspec.title": "title",
    }  # fmt: skip
    facts: dict[str, str] = {}
    for key, name in names.items():
        if metadata.get(key, "").strip() not in ("", "None"):
            facts.setdefault(name, metadata[key].strip())
    for key in ("training_info", "software"):
        told = _json(metadata.get(key, ""))
        for name, plain in (("step", "steps"), ("epoch", "epochs"), ("name", "software")):
            if name in told:
                facts.setdefault(plain, str(told[name]))
    return facts


def trigger_words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The words that metadata names as triggers; else the tag that nearly every caption had."""
    for key in ("modelspec.trigger_phrase", "trigger_words", "trigger_word", "trigger", "instance_prompt",
                "ss_instance_prompt"):  # fmt: skip
        words = metadata.get(key, "").strip()
        if words and words != "None":
            return (words,)
    folders = [tags for tags in _json(metadata.get("ss_tag_frequency", "")).values() if isinstance(tags, dict)]
    counts: Counter[str] = Counter()
    for tags in folders:
        counts.update({tag.strip(): count for tag, count in tags.items() if isinstance(count, int)})
    ranked = counts.most_common(2)
    if ranked and (len(ranked) == 1 or ranked[0][1] > 1.2 * ranked[1][1]) and len(ranked[0][0]) <= 60:
        return (ranked[0][0],)
    return ()


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
