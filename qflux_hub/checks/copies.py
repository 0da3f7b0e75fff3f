"""Checks for images that are the same: by their bytes, or by how they look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from qflux_hub import codes
from qflux_hub.naming import kind_of
from qflux_hub.report import Finding
from qflux_hub.sample import MASK, Blob, Sample
from qflux_hub.sniff import ImageFacts

_NEAR = 4
"""Bits of 64 in which the likenesses of two images may differ to be called near-duplicates."""
_BANDS = tuple((shift, (1 << width) - 1) for shift, width in ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12)))
"""One more than ``_NEAR``: likenesses that differ in fewer bits agree in at least one of them."""


def check_copies(split: str, samples: Sequence[Sample], hashes: Mapping[str, bytes]) -> Iterator[Finding]:
    """Samples and images of a split that are there twice. ``hashes`` maps the names of blobs to SHA-256, where another
    one is as large.

    One finding stands for all copies of an image, since references are shared on purpose; masks are often equal.
    """
    if len(set(hashes.values())) == len(hashes) and _name_each_file_once(samples):
        return  # nothing is there twice, as in most splits
    explained: set[str] = set()
    first: dict[tuple[object, ...], Sample] = {}
    for sample in samples:
        key = (sample.split, sample.id)
        target = hashes.get(sample.target.name) if sample.target else None
        for control in sample.controls:
            if sample.target and target and hashes.get(control.name) == target:
                message = (
                    f"{sample.target.name} and {control.name} are the same {_noun(control.name)}: nothing is edited."
                )
                yield codes.TARGET_IS_CONTROL(sample.target.name, message, sample=key)
                explained |= {sample.target.name, control.name}
        pictures = tuple(hashes.get(blob.name) for role, blob in sample.media() if role != MASK)
        if None in pictures:
            continue
        other = first.setdefault((target is None, sample.prompt, *pictures), sample)
        if other is not sample:
            message = f"{sample.id!r} is the same as {other.id!r}: controls, target and prompt."
            where = sample.first.name
            yield codes.DUPLICATE_SAMPLE(where, message, sample=key)
            explained |= {blob.name for _, blob in sample.media()}
    same: dict[bytes, dict[str, tuple[str, str]]] = defaultdict(dict)
    for sample in samples:
        for role, blob in sample.media():
            if role != MASK and blob.name in hashes and blob.name not in explained:
                same[hashes[blob.name]].setdefault(blob.name, (sample.split, sample.id))
    for users in same.values():
        if len(users) > 1:
            one, *others = users
            more = "" if len(others) == 1 else f" and {len(others) - 1:,} more"
            noun = _noun(one)
            message = f"{split}: {others[0]}{more} {'is' if not more else 'are'} the same {noun} as {one}."
            yield codes.DUPLICATE_IMAGE(others[0], message, sample=users[others[0]])


def _noun(name: str) -> str:
    """What a file is, in a word."""
    return {"video": "video", "audio": "sound"}.get(kind_of(name), "image")


def _name_each_file_once(samples: Sequence[Sample]) -> bool:
    """Whether no image is used twice; tables may name one file in many rows."""
    names = [blob.name for sample in samples for _, blob in sample.media()]
    return len(set(names)) == len(names)


def check_splits(samples: Iterable[Sample], hashes: Mapping[str, bytes]) -> Iterator[Finding]:
    """Images of ``train`` that stand in another split as well, masks set aside."""
    places: dict[bytes, dict[str, tuple[str, str]]] = defaultdict(dict)
    for sample in samples:
        for role, blob in sample.media():
            if role != MASK and blob.name in hashes:
                places[hashes[blob.name]].setdefault(sample.split, (blob.name, sample.id))
    for by_split in places.values():
        if "train" in by_split:
            for split, (name, sample_id) in by_split.items():
                if split != "train":
                    message = f"{name} in {split} is the same {_noun(name)} as {by_split['train'][0]} in train."
                    fix = f"remove one of them, or do not judge by {split}"
                    yield codes.SAME_IMAGE_IN_SPLITS(name, message, fix=fix, sample=(split, sample_id))


def check_likeness(
    samples: Iterable[Sample], facts: Mapping[str, ImageFacts], hashes: Mapping[str, bytes]
) -> Iterator[Finding]:
    """Images that nearly look like an earlier one in the same role: targets, main controls, first controls, …

    Equal bytes are not reported again, and an edit may look like its own control. Only the nearest is named.
    """
    by_role: dict[int, dict[str, tuple[Blob, tuple[str, str]]]] = defaultdict(dict)
    for sample in samples:
        roles = ([(-1, sample.target)] if sample.target else []) + list(enumerate(sample.controls))
        for role, blob in roles:
            if blob.name in facts and facts[blob.name].likeness:
                by_role[role].setdefault(blob.name, (blob, (sample.split, sample.id)))
    for images in by_role.values():
        seen: dict[int, str] = {}
        bands: list[dict[int, list[int]]] = [defaultdict(list) for _ in _BANDS]
        for name, (_, key) in images.items():
            likeness = int(facts[name].likeness, 16)
            near = [likeness] if likeness in seen else _near(likeness, bands)
            near = [other for other in near if hashes.get(seen[other], b"other") != hashes.get(name, b"")]
            if near:
                other = min(near, key=lambda other: ((other ^ likeness).bit_count(), seen[other]))
                yield _near_duplicate(name, seen[other], (other ^ likeness).bit_count(), key)
            if likeness not in seen:
                seen[likeness] = name
                for band, (shift, mask) in zip(bands, _BANDS, strict=True):
                    band[likeness >> shift & mask].append(likeness)


def _near(likeness: int, bands: Sequence[Mapping[int, Sequence[int]]]) -> list[int]:
    """All likenesses within reach of one."""
    candidates = {
        other
        for band, (shift, mask) in zip(bands, _BANDS, strict=True)
        for other in band.get(likeness >> shift & mask, ())
    }
    return [other for other in candidates if (other ^ likeness).bit_count() <= _NEAR]


def _near_duplicate(name: str, other: str, bits: int, key: tuple[str, str]) -> Finding:
    if bits == 0:
        message = f"{name} has the perceptual hash of {other}: a cache that is keyed by it takes one for the other."
        return codes.NEAR_DUPLICATE(name, message, fix="remove one, or train without that cache", sample=key)
    message = f"{name} nearly looks like {other} ({bits} of 64 bits differ)."
    return codes.NEAR_DUPLICATE(name, message, fix="remove one, if they show the same", sample=key, severity="note")
