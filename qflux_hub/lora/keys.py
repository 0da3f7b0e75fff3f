"""What the names of a LoRA's tensors say: which tool's naming it is, and which tensors belong to one module.

Every tensor is read on its own and votes; files in which two namings are mixed exist.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from qflux_hub.lora.header import Header, Tensor

Kind = Literal["down", "up", "alpha", "magnitude", "other"]

COMPONENTS = (
    "transformer", "transformer_2", "unet", "text_encoder", "text_encoder_2", "text_encoder_3", "prior", "connectors",
)  # fmt: skip
"""Parts of a pipeline, as diffusers names them in front of its keys."""
_COMPONENT = "|".join(COMPONENTS)
_PEFT = re.compile(r"(?P<module>.+?)\.lora_(?P<side>[AB])(?:\.(?P<adapter>[^.]+))?\.(?:weight|bias)")
_OLD = re.compile(r"(?P<module>.+?)(?:\.|(?<=to_[qkv])_|(?<=to_out)_)lora\.(?P<side>down|up)\.weight")
_KOHYA = re.compile(r"(?P<module>.+?)\.lora_(?P<side>down|up)\.weight")
_XLABS = re.compile(
    r"(?P<module>(?:.*\.)?(?:double|single)_blocks\.\d+\.processor\.\w*lora\d?)\.(?P<side>down|up)\.weight"
)
_ALPHA = re.compile(r"(?P<module>.+?)\.alpha")
_MAGNITUDE = re.compile(r"(?P<module>.+?)\.(?:dora_scale|lora_magnitude_vector(?:\..+)?)")
_LYCORIS = re.compile(
    r"(?P<module>.+?)\.(?:lokr_\w+|hada_\w+|[ab][12]\.weight|diff|diff_b|oft_\w+|w_norm|b_norm|on_input|lora_mid\.weight)"
)
_FRONT = re.compile(
    rf"\A(?:base_model\.model\.)?(?:(?:{_COMPONENT}|diffusion_model|model\.diffusion_model)\.)?"
    r"(?:lora_(?:unet|transformer|prior)_)?(?:lycoris_)?"
)
_IN_COMPONENT = re.compile(rf"(?:{_COMPONENT})\.")
_IN_ANYTHING = re.compile(rf"(?:{_COMPONENT}|base_model|diffusion_model)\.")
_BLOCK = re.compile(r"(?P<kind>[a-z_]*(?:blocks?|layers|resnets|attentions|refiner))[._](?P<number>\d+)(?=[._]|$)")


@dataclass(frozen=True, slots=True)
class Named:
    """A tensor whose name belongs to a LoRA. ``format`` is "" for names that all formats share."""

    tensor: Tensor
    module: str
    kind: Kind
    format: str = ""
    adapter: str | None = None


@dataclass(slots=True)
class Pair:
    """The low-rank pair of one module. The update of its weight is ``scale * up @ down``.

    Shapes: down (rank, in, …), up (out, rank, …); convolutions have two dimensions more.
    """

    module: str
    down: Tensor | None = None
    up: Tensor | None = None
    alpha: Tensor | None = None

    @property
    def rank(self) -> int | None:
        """The inner dimension, as the pair's first half says it."""
        if self.down is not None and self.down.shape:
            return self.down.shape[0]
        return self.up.shape[1] if self.up is not None and len(self.up.shape) > 1 else None

    @property
    def width(self) -> tuple[int, int]:
        """(in, out) features of the module; 0 where it is not known."""
        into = self.down.shape[1] if self.down is not None and len(self.down.shape) > 1 else 0
        out = self.up.shape[0] if self.up is not None and self.up.shape else 0
        return into, out


@dataclass(frozen=True, slots=True)
class Keys:
    """All names of a file, sorted out. ``votes`` counts the tensors of each format, the most frequent first."""

    pairs: Mapping[str, Pair]
    votes: Mapping[str, int]
    adapters: tuple[str, ...] = ()
    magnitudes: int = 0
    others: int = 0
    strangers: tuple[str, ...] = ()
    modules: tuple[str, ...] = field(default=())

    @property
    def format(self) -> str | None:
        """The format that most tensors vote for, None when none is a LoRA's."""
        return next(iter(self.votes), None)


def read_name(tensor: Tensor) -> Named | None:
    """What a tensor is by its name; None when it is none of a LoRA's. The first rule that matches wins."""
    name = tensor.name
    if found := _XLABS.fullmatch(name):
        return Named(tensor, found["module"], _side(found["side"]), "xlabs")
    if found := _MAGNITUDE.fullmatch(name):
        return Named(tensor, found["module"], "magnitude")
    if found := _PEFT.fullmatch(name):
        format = _peft_format(found["module"], found["adapter"])
        kind: Kind = "other" if name.endswith(".bias") else _side(found["side"])
        return Named(tensor, found["module"], kind, format, found["adapter"])
    if found := _KOHYA.fullmatch(name):
        flat = found["module"].startswith("lora_transformer_")
        return Named(tensor, found["module"], _side(found["side"]), "flux-diffusers-kohya" if flat else "kohya")
    if found := _OLD.fullmatch(name):
        return Named(tensor, found["module"], _side(found["side"]), "diffusers-old")
    if found := _LYCORIS.fullmatch(name):
        return Named(tensor, found["module"], "other", "lycoris")
    if found := _ALPHA.fullmatch(name):
        return Named(tensor, found["module"], "alpha")
    return None


def _side(word: str) -> Kind:
    return "down" if word in ("A", "down") else "up"


def _peft_format(module: str, adapter: str | None) -> str:
    if adapter is not None:
        return "diffsynth" if adapter == "default" and not _IN_ANYTHING.match(module) else "peft-in-training"
    if module.startswith("base_model.model."):
        return "peft"
    if module.startswith("diffusion_model."):
        return "comfyui-peft"
    return "diffusers-peft" if _IN_COMPONENT.match(module) else "peft-bare"


def read_keys(header: Header) -> Keys:
    """Sort out all names of a file."""
    pairs: dict[str, Pair] = {}
    votes: Counter[str] = Counter()
    adapters: dict[str, None] = {}
    others: dict[str, int] = defaultdict(int)
    strangers, alphas, magnitudes = [], [], 0
    for tensor in header.tensors:
        named = read_name(tensor)
        if named is None:
            strangers.append(tensor.name)
            continue
        if named.format:
            votes[named.format] += 1
        if named.adapter:
            adapters[named.adapter] = None
        if named.kind == "alpha":
            alphas.append(named)
        elif named.kind == "magnitude":
            magnitudes += 1
        elif named.kind == "other":
            others[named.module] += 1
        else:
            pair = pairs.setdefault(named.module, Pair(named.module))
            setattr(pair, named.kind, tensor)
    for named in alphas:
        if named.module in pairs:
            pairs[named.module].alpha = named.tensor
        elif named.module not in others:
            strangers.append(named.tensor.name)
    return Keys(
        pairs, dict(votes.most_common()), tuple(adapters), magnitudes, sum(others.values()), tuple(strangers),
        tuple(dict.fromkeys([*pairs, *others])),
    )  # fmt: skip


def bare(module: str) -> str:
    """A module's name without what its format puts in front."""
    return _FRONT.sub("", module, count=1)


def component(module: str) -> str:
    """The part of a pipeline that a module belongs to, ``transformer`` when the name does not say."""
    if found := re.match(rf"({_COMPONENT})\.", module):
        return found[1]
    if found := re.match(r"lora_te(\d?)_", module):
        return "text_encoder" if found[1] in ("", "1") else f"text_encoder_{found[1]}"
    return "unet" if re.search(r"(?:down|up|input|output)_blocks|mid_block", module) else "transformer"


def targets(modules: Iterable[str]) -> tuple[str, ...]:
    """Modules with the number of their block left out: ``transformer_blocks.*.attn.to_q``."""
    return tuple(sorted({_BLOCK.sub(lambda found: found[0][: -len(found["number"])] + "*", bare(m)) for m in modules}))


def blocks(modules: Iterable[str]) -> dict[str, int]:
    """How many blocks of each kind the modules name, by the highest number: {"transformer_blocks": 60}."""
    counts: dict[str, int] = {}
    for module in modules:
        found = _BLOCK.search(bare(module))
        if found:
            counts[found["kind"]] = max(counts.get(found["kind"], 0), int(found["number"]) + 1)
    return counts


_STRANGERS: tuple[tuple[str, str], ...] = (
    (r"(?:^|\.)(?:exp_avg|exp_avg_sq|param_groups|momentum_buffer)(?:$|\.)|^state\.\d", "an optimizer's state"),
    (r"^(?:emb_params|string_to_param|clip_[gl]|t5)(?:$|\.)|^<.*>$", "a textual-inversion embedding"),
    (r"^control(?:net|_model)|input_hint_block|controlnet_", "a ControlNet"),
    (r"^first_stage_model\.|^(?:encoder|decoder)\.(?:conv_in|mid|down|up)|^(?:post_)?quant_conv", "a VAE"),
    (r"^(?:model\.)?diffusion_model\.|^(?:single_)?transformer_blocks\.", "a full checkpoint"),
    (r"^(?:double|single|down|up|mid)_blocks?\.|^blocks\.|^layers\.", "a full checkpoint"),
    (r"^(?:text_model|encoder\.block|model\.layers|transformer\.h|bert)\.", "a text encoder or language model"),
)  # fmt: skip


def stranger(names: Iterable[str]) -> str:
    """What a file is whose names are no LoRA's, in words."""
    listed = list(names)
    if not listed:
        return "an empty file of no tensors"
    for pattern, what in _STRANGERS:
        if any(re.search(pattern, name) for name in listed):
            return what
    return f"something else (its first tensor is {listed[0]!r})"
