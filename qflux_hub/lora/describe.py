"""What a LoRA file is: format, rank, alpha, dtype, modules, base family; and everything wrong with it.

All of it comes from the header and a few small tensors; only hashes and the check of the numbers read the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qflux_hub import codes
from qflux_hub.lora.alpha import ADAPTER_CONFIG, Alpha, find_alpha
from qflux_hub.lora.family import Family, find_family, named_base, training_facts, trigger_words
from qflux_hub.lora.header import Header, HeaderError, Read
from qflux_hub.lora.keys import Keys, Pair, read_keys, stranger, targets
from qflux_hub.lora.values import Contents, Values
from qflux_hub.report import Finding

_SHOWN = 3
_AGREE = 1e-6


@dataclass(slots=True)
class Lora:
    """What ``inspect_lora`` returns. ``path`` is as the user named it; hashes are None where the data was not read.

    ``ranks`` counts modules by rank. ``scale`` is alpha / rank as trained, None when alpha is not known; ``loaders``
    says which scale each loader will use. ``values_checked``: whether the numbers themselves were looked at.
    """

    path: str
    size: int
    valid: bool = False
    sha256: str | None = None
    tensor_sha256: str | None = None
    format: str | None = None
    ranks: Mapping[int, int] = field(default_factory=dict)
    alpha: float | None = None
    alpha_source: str | None = None
    scale: float | None = None
    loaders: Mapping[str, float | None] = field(default_factory=dict)
    dtype: str | None = None
    modules: Sequence[str] = ()
    family: Family = field(default_factory=lambda: Family(None))
    trigger: Sequence[str] = ()
    training: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tensors: int = 0
    pairs: int = 0
    values_checked: bool = False
    commit: str | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def rank(self) -> int | None:
        """The rank of most modules."""
        return next(iter(self.ranks), None)

    @property
    def failed(self) -> bool:
        """Whether there are errors: the file is not a LoRA that can be used."""
        return any(finding.severity == "error" for finding in self.findings)

    @property
    def answer(self) -> str:
        """The one thing a script wants, as ``--quiet`` prints it: the format."""
        return self.format or ""

    def to_dict(self) -> dict[str, Any]:
        """The description as ``--json`` prints it."""
        return {
            "path": self.path,
            "size": self.size,
            "sha256": self.sha256,
            "tensor_sha256": self.tensor_sha256,
            "valid": self.valid,
            "format": self.format,
            "rank": self.rank,
            "ranks": {str(rank): count for rank, count in self.ranks.items()},
            "alpha": self.alpha,
            "alpha_source": self.alpha_source,
            "scale": self.scale,
            "loaders": dict(self.loaders),
            "dtype": self.dtype,
            "modules": list(self.modules),
            "family": self.family.to_dict(),
            "trigger": list(self.trigger),
            "training": dict(self.training),
            "metadata": dict(self.metadata),
            "tensors": self.tensors,
            "values_checked": self.values_checked,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def unreadable(path: str, size: int, error: HeaderError) -> Lora:
    """The description of a file whose header breaks a rule."""
    said = codes.CODES[error.problem](path, f"{path}: {error}.")
    return Lora(path, size, findings=[said])


def describe(
    path: str,
    header: Header,
    read: Read,
    *,
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    everything: bool = True,
) -> Lora:
    """Describe a file by its header. ``configs`` are the configurations beside it, by name.

    ``everything``: small tensors may be read one by one, as from a disk; else with one more read at most.
    """
    configs = configs or {}
    keys = read_keys(header)
    named = next(filter(None, map(named_base, configs.values())), None)
    alpha = find_alpha(header, keys, read, configs, everything=everything)
    ranks = Counter(pair.rank for pair in keys.pairs.values() if pair.rank is not None)
    dtypes = Counter(half.dtype for pair in keys.pairs.values() for half in (pair.down, pair.up) if half)
    if not dtypes:
        dtypes = Counter(tensor.dtype for tensor in header.tensors)
    described = Lora(
        path,
        header.size,
        format=keys.format,
        ranks={rank: count for rank, count in ranks.most_common() if rank is not None},
        alpha=alpha.value,
        alpha_source=alpha.source,
        dtype=next(iter(dict(dtypes.most_common())), None),
        modules=targets(keys.modules),
        metadata=header.metadata,
        tensors=len(header.tensors),
        pairs=len(keys.pairs),
        trigger=trigger_words(header.metadata),
        training=training_facts(header.metadata),
    )
    if keys.format is not None:
        described.scale = alpha.scale(described.rank)
        described.loaders = alpha.loaders(described.rank, keys.format)
        described.family = find_family(keys, header.metadata, named)
    described.findings += _findings(described, header, keys, alpha, dtypes, configs)
    described.valid = not described.failed
    return described


def add_contents(described: Lora, header: Header, contents: Contents) -> None:
    """Add the hashes and what the numbers showed."""
    described.sha256 = contents.sha256 or described.sha256
    described.tensor_sha256 = contents.tensor_sha256 or described.tensor_sha256
    if contents.values is not None and not described.values_checked:
        described.values_checked = True
        described.findings += judge_values(described.path, header, contents.values)
        described.valid = not described.failed


def _findings(
    described: Lora, header: Header, keys: Keys, alpha: Alpha, dtypes: Counter[str], configs: Mapping[str, Any]
) -> Iterator[Finding]:
    path = described.path
    for oddity in header.oddities:
        yield codes.ODD_HEADER(path, f"{path}: {oddity}.")
    if keys.format is None:
        what = stranger(tensor.name for tensor in header.tensors)
        yield codes.NOT_A_LORA(path, f"{path} is {what}, not a LoRA: no tensor is named like one.")
        return
    yield from _judge_pairs(path, keys)
    if keys.strangers:
        message = f"{path}: {len(keys.strangers):,} tensors belong to no module of a LoRA: {_some(keys.strangers)}."
        yield codes.UNKNOWN_TENSORS(path, message)
    if len(keys.votes) > 1:
        counted = ", ".join(f"{name} {count:,}" for name, count in keys.votes.items())
        yield codes.MIXED_FORMATS(path, f"{path}: its tensors are named in several ways: {counted}.")
    if keys.magnitudes:
        message = f"{path} holds DoRA magnitudes of {keys.magnitudes:,} modules; diffusers drops them silently."
        yield codes.DORA_DROPPED(path, message)
    if keys.adapters:
        message = f"{path}: its keys carry the adapter name {keys.adapters[0]!r}, as in a dump from training."
        yield codes.ADAPTER_IN_KEYS(path, message)
    if keys.format == "peft" and not any(name.endswith(ADAPTER_CONFIG) for name in configs):
        yield codes.NO_ADAPTER_CONFIG(path, f"{path}: peft needs {ADAPTER_CONFIG} beside it.")
    yield from _judge_alpha(described, keys, alpha)
    if len(dtypes) > 1:
        counted = ", ".join(f"{name} {count:,}" for name, count in dtypes.most_common())
        yield codes.MIXED_DTYPES(path, f"{path}: its weights have several dtypes: {counted}.")
    if described.dtype == "F32" and keys.pairs:
        yield codes.FLOAT32_WEIGHTS(path, f"{path} stores 32-bit floats; 16 bits would halve it without a loss.")


def _judge_pairs(path: str, keys: Keys) -> Iterator[Finding]:
    halves = [pair.module for pair in keys.pairs.values() if pair.down is None or pair.up is None]
    if halves:
        yield codes.UNPAIRED_WEIGHTS(
            path, f"{path}: {len(halves):,} modules have one half of their pair only: {_some(halves)}."
        )
    unequal = [pair for pair in keys.pairs.values() if not _fits(pair)]
    if unequal:
        pair = unequal[0]
        shapes = f"{list(pair.down.shape if pair.down else ())} and {list(pair.up.shape if pair.up else ())}"
        message = f"{path}: A and B do not fit in {len(unequal):,} modules, such as {pair.module}: {shapes}."
        yield codes.RANK_MISMATCH(path, message)


def _fits(pair: Pair) -> bool:
    if pair.down is None or pair.up is None:
        return True
    return len(pair.down.shape) > 1 and len(pair.up.shape) > 1 and pair.down.shape[0] == pair.up.shape[1]


def _judge_alpha(described: Lora, keys: Keys, alpha: Alpha) -> Iterator[Finding]:
    """Alpha that is missing, contradictory, or where loaders do not look."""
    path, rank = described.path, described.rank
    if not keys.pairs or rank is None:
        return
    used = ", ".join(f"{name} {scale:g}" for name, scale in described.loaders.items() if scale is not None)
    if not alpha.said:
        message = f"{path} does not say its alpha. Loaders take alpha = rank ({rank}) and use the scale: {used}."
        fix = "Name the training's configuration: --extra train_config.yaml --write-alpha"
        yield codes.MISSING_ALPHA(path, message, fix=fix)
        return
    if conflict := alpha.conflict(rank):
        yield codes.ALPHA_CONFLICT(path, f"{path}: {conflict}. Loaders use the scale: {used}.")
        return
    trained = described.scale or 0.0
    wrong = [name for name, scale in described.loaders.items() if scale is not None and abs(scale - trained) > _AGREE]
    if wrong:
        message = (
            f"{path} was trained with the scale {trained:g} (alpha {alpha.value:g} by {alpha.source}, "
            f"rank {rank}). Loaders use: {used}."
        )
        fix = "Write alpha where they look: --write-alpha"
        if wrong == ["comfyui"] and described.format in ("diffusers-peft", "diffusers-old", "peft-bare"):
            fix = f"This naming has no place for it that ComfyUI reads: load it there with strength {trained:g}."
        yield codes.SCALES_DIFFER(path, message, fix=fix)


def judge_values(path: str, header: Header, values: Values) -> Iterator[Finding]:
    """What is wrong with the numbers of a file."""
    for code, what, names in (
        (codes.NAN_WEIGHTS, "not a number", values.nan),
        (codes.INFINITE_WEIGHTS, "infinite", values.infinite),
    ):
        if names:
            yield code(
                path,
                f"{path}: weights are {what} in {len(names):,} of {len(header.tensors):,} tensors: {_some(names)}.",
            )
    keys = read_keys(header)
    ups = [pair.up.name for pair in keys.pairs.values() if pair.up]
    downs = {pair.down.name for pair in keys.pairs.values() if pair.down}
    zero = set(values.zero)
    if zero & downs and values.tail and _in_tail(header, zero & downs, values.tail):
        share = values.tail / max(1, header.data_size)
        message = f"{path}: its last {values.tail:,} bytes ({share:.0%}) are zeros. Is it still being written?"
        yield codes.ZERO_TAIL(path, message)
    elif ups and zero >= set(ups):
        yield codes.NO_EFFECT(path, f"{path}: all {len(ups):,} up halves (B) are zero; it changes nothing.")
    elif zero & set(ups):
        count = len(zero & set(ups))
        message = f"{path}: {count:,} of {len(ups):,} up halves (B) are zero and change nothing."
        yield codes.NO_EFFECT(path, message, severity="note")


def _in_tail(header: Header, names: set[str], tail: int) -> bool:
    begin = header.data_size - tail
    return any(tensor.begin >= begin for tensor in header.tensors if tensor.name in names)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, …"
