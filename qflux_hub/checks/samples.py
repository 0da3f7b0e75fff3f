"""Checks of samples and splits that open no image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from qflux_hub import codes, media
from qflux_hub.report import Finding
from qflux_hub.sample import Sample

_SAME_PROMPT = 5
"""Fewer samples with one prompt are not worth a word; nor are those of less than a twentieth of their split."""


def check_sample(sample: Sample, *, allow_empty_prompt: bool) -> Iterator[Finding]:
    """What is wrong with a sample by itself, without opening its images."""
    where, colon, number = sample.origin.rpartition(":")
    line = int(number) if colon and number.isdigit() else None
    where, key = where if line else sample.origin, (sample.split, sample.id)
    if not sample.prompt:
        message = f"{f'{where}, line {line}' if line else where or sample.id}: the prompt is empty."
        if allow_empty_prompt:
            yield codes.EMPTY_PROMPT(where, message, line=line, fix="", sample=key, severity="note")
        else:
            yield codes.EMPTY_PROMPT(where, message, line=line, sample=key)
    for blobs in media.too_large(sample):
        name, noun = blobs[0].name, "has" if len(blobs) == 1 else "and the other controls have"
        message = (
            f"{name} {noun} {sum(blob.size for blob in blobs):,} bytes; a cell on the Hub holds {media.LARGEST:,}."
        )
        yield codes.TOO_LARGE_FILE(name, message, sample=key)
    if sample.target is None and sample.split == "train":
        yield codes.MISSING_TARGET(where, f"{sample.id!r} has no target.", line=line, sample=key)


def check_columns(samples: Iterable[Sample]) -> Iterator[Finding]:
    """Names under which some samples have texts and others files, which no column can hold."""
    texts, files = set[str](), dict[str, Sample]()
    for sample in samples:
        texts |= sample.extra.keys()
        files |= dict.fromkeys(sample.others, sample)
    for name in sorted(texts & files.keys()):
        where = files[name].others[name].name
        message = f"Some samples have a text called {name!r}, others a file, such as {where}."
        yield codes.DUPLICATE_COLUMN(where, message)


def check_split(split: str, samples: Sequence[Sample]) -> Iterator[Finding]:
    """What is odd about the samples of a split beside each other."""
    yield from _check_evenness(split, samples)
    yield from _check_prompts(split, samples)


def _check_evenness(split: str, samples: Sequence[Sample]) -> Iterator[Finding]:
    """What a trainer that takes the shape of the first sample for all of a batch will stop at, or drop."""
    numbers = Counter(len(sample.controls) for sample in samples)
    if len(numbers) > 1:
        spread = ", ".join(f"{count:,} with {number}" for number, count in sorted(numbers.items()))
        message = (
            f"{split}: samples differ in their number of controls ({spread}). Batches of several stop at the one that "
            "has fewest, or drop what others have more."
        )
        yield codes.UNEVEN_CONTROLS(split, message, fix=_REMEDY)
    for code, noun, lacking in (
        (codes.UNEVEN_MASKS, "mask", [sample.id for sample in samples if sample.mask is None]),
        (codes.UNEVEN_TARGETS, "target", [sample.id for sample in samples if sample.target is None]),
    ):
        if 0 < len(lacking) < len(samples):
            message = (
                f"{split}: {len(lacking):,} of {len(samples):,} samples {'has' if len(lacking) == 1 else 'have'} no "
                f"{noun}, such as {lacking[0]!r}. Batches of several stop there, or drop all {noun}s."
            )
            yield code(split, message, fix=_REMEDY)


_REMEDY = "train with a batch size of 1, or make all samples alike"


def _check_prompts(split: str, samples: Sequence[Sample]) -> Iterator[Finding]:
    """Prompts that many samples share: how a template looks that nobody filled in."""
    shared = Counter(sample.prompt for sample in samples if sample.prompt)
    for prompt, count in shared.most_common(3):
        if count >= _SAME_PROMPT and count * 20 >= len(samples):
            said = prompt if len(prompt) <= 60 else prompt[:59].rstrip() + "…"
            share = "all" if count == len(samples) else f"{count:,} of"
            message = f"{split}: {share} {len(samples):,} samples have the prompt {said!r}."
            yield codes.IDENTICAL_PROMPTS(split, message, fix="fine for a model of one edit; else write what differs")
