"""Masks whose pixels are looked at where there are too many to decode all of them: 2.5 ms a megapixel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from qflux_hub import codes
from qflux_hub.naming import kind_of
from qflux_hub.report import Finding
from qflux_hub.sample import Blob, Sample
from qflux_hub.sniff import ImageFacts


def choose_masks(samples: Sequence[Sample], most: int) -> list[Blob]:
    """The masks of a split, or at most ``most`` of many: always the same ones, and first those that are suspicious.

    Masks of one colour take fewer bytes than others, photos in the place of masks take more. So two fifths are the
    smallest files, a fifth the largest, and the rest is spread evenly.
    """
    masks = _masks(samples)
    if len(masks) <= most:
        return masks
    by_size = sorted(masks, key=lambda mask: mask.size)
    fifth = most // 5
    chosen = [*by_size[: 2 * fifth], *by_size[-fifth:], *masks[:: -(-len(masks) // (2 * fifth))]]
    return list({mask.name: mask for mask in chosen}.values())


def check_masks_seen(split: str, samples: Sequence[Sample], facts: Mapping[str, ImageFacts]) -> Iterator[Finding]:
    """How many masks of a split were looked at, where not all were."""
    masks = _masks(samples)
    looks = [facts.get(mask.name) for mask in masks]
    seen = sum(1 for look in looks if look and (look.tones or look.problem))
    if seen < len(masks):
        message = (
            f"{split}: of {len(masks):,} masks, the pixels of {seen:,} were looked at: of the smallest and the largest "
            "files, and of some between."
        )
        yield codes.MASKS_SAMPLED(split, message)


def _masks(samples: Sequence[Sample]) -> list[Blob]:
    """Each mask once that is an image; those of videos may be videos."""
    masks = {sample.mask.name: sample.mask for sample in samples if sample.mask}
    return [mask for name, mask in masks.items() if kind_of(name) not in ("video", "audio")]
