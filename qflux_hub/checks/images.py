"""Checks of images by their facts: one image, and the images of one sample beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qflux_hub import codes
from qflux_hub.naming import MEDIA_EXTENSIONS, kind_of, split_extension
from qflux_hub.report import Finding
from qflux_hub.sample import MASK, Blob, Sample
from qflux_hub.sniff import BOMB_PIXELS, EXTENSIONS, Format, ImageFacts, Problem

_SAID: dict[Problem, str] = {
    "empty-file": "has no bytes",
    "lfs-pointer": "is a Git LFS pointer, not the image",
    "html-file": "is a web page, not an image",
    "not-an-image": "is not an image",
    "unsupported-format": "is {} file",
    "truncated-image": "is cut off",
    "damaged-image": "is damaged",
    "decompression-bomb": "is too large to be decoded",
    "not-a-video": "cannot be shown as a video",
    "not-a-sound": "cannot be heard as a sound",
    "truncated-media": "is cut off",
    "unreadable-file": "cannot be read",
    "changed-file": "changed while it was read",
}
"""What is said of a problem."""
_UNTOLD = ("empty-file", "lfs-pointer", "html-file", "unsupported-format")
"""Problems whose detail says nothing more."""
_NOUNS = {"video": "video", "audio": "sound"}
_EMPTY, _FULL, _BETWEEN = 26, 229, 100
"""Greys up to and from which a mask counts as black and white, and how many pixels in a thousand may lie between."""
_ASPECT = 1.02
"""Aspects may differ by this factor: a few pixels of cropping, not another picture."""


def check_image(blob: Blob, facts: ImageFacts, sample: tuple[str, str], role: str = "") -> Iterator[Finding]:
    """What is wrong with one image file. ``role`` matters to masks, of which trainers take other things."""
    if facts.problem:
        detail = f": {facts.detail}" if facts.detail and facts.problem not in _UNTOLD else ""
        said, noun = _SAID[facts.problem].format(facts.detail), _NOUNS.get(kind_of(blob.name))
        said = said.replace("an image", f"a {noun}").replace("the image", f"the {noun}") if noun else said
        message = f"{blob.name} {said}{detail}."
        yield codes.CODES[facts.problem](blob.name, message, sample=sample)
    elif facts.format:
        yield from _check_extension(blob, facts.format, sample)
        yield from _check_traits(blob, facts, sample, role)


def _check_extension(blob: Blob, format: Format, sample: tuple[str, str]) -> Iterator[Finding]:
    stem, extension = split_extension(blob.name)
    usual = EXTENSIONS[format]
    if extension not in usual:
        right = usual[0]
        fix = f"rename it to {stem.rpartition('/')[2]}{right}"
        if right not in MEDIA_EXTENSIONS:
            fix = f"save it as PNG, JPEG or WebP; {right} files are not read"
        message = f"{blob.name} is a {format.upper()} file."
        yield codes.WRONG_EXTENSION(blob.name, message, fix=fix, sample=sample)


def _check_traits(blob: Blob, facts: ImageFacts, sample: tuple[str, str], role: str) -> Iterator[Finding]:
    """What the header tells that trainers take differently than people expect."""
    name, traits = blob.name, facts.traits
    if "16-bit-grey" in traits:
        message = f"{name} is grey with more than 8 bits: decoders turn nearly all of it white."
        yield codes.SIXTEEN_BIT(name, message, sample=sample)
    if "16-bit-colour" in traits:
        message = f"{name} has 16 bits per colour; 8 of them are used."
        yield codes.SIXTEEN_BIT(name, message, fix="", sample=sample, severity="note")
    if "cmyk" in traits:
        yield codes.CMYK(name, f"{name} has CMYK colours, made for print.", sample=sample)
    if "alpha" in traits and role == MASK:
        message = f"{name} is a mask with an alpha channel, which is dropped: only its grey counts."
        fix = "put the mask into the grey values, without alpha"
        yield codes.ALPHA(name, message, fix=fix, sample=sample, severity="warning")
    elif "alpha" in traits:
        message = f"{name} has an alpha channel, which is dropped: what is transparent shows its hidden colour."
        yield codes.ALPHA(name, message, fix="put it on the background that you mean", sample=sample)
    if "palette" in traits:
        yield codes.PALETTE(
            name, f"{name} is stored with a palette of at most 256 colours, which loads well.", sample=sample
        )
    if "animated" in traits:
        message = f"{name} has several pictures; only the first is used."
        yield codes.ANIMATED(name, message, sample=sample)
    if facts.orientation != 1:
        message = f"{name} is turned by its metadata (orientation {facts.orientation}): shown upright, stored turned."
        yield codes.EXIF_ROTATION(name, message, fix="turn its pixels, if a tool of yours ignores it", sample=sample)
    if "broken-exif" in traits:
        message = f"{name} has an EXIF block at which loaders stop."
        yield codes.BROKEN_EXIF(name, message, sample=sample, severity="error")
    if "odd-exif" in traits:
        message = f"{name} has an EXIF block that is cut off, or is no EXIF; loaders overlook it."
        yield codes.BROKEN_EXIF(name, message, sample=sample)
    if 2 * facts.width * facts.height > BOMB_PIXELS:
        message = f"{name} has {facts.width:,} x {facts.height:,} pixels: decoders warn of it, and it was not decoded."
        fix = "make it smaller; no trainer uses that many"
        yield codes.DECOMPRESSION_BOMB(name, message, fix=fix, sample=sample, severity="warning")


def check_media(sample: Sample, facts: Mapping[str, ImageFacts]) -> Iterator[Finding]:
    """What is odd about the images of one sample beside each other; those with problems of their own set aside."""
    key, main = (sample.split, sample.id), next(iter(sample.controls), None)
    target, control = _size(sample.target, facts), _size(main, facts)
    if sample.mask:
        yield from _check_mask(sample.mask, facts, key)
        beside, size = (sample.target, target) if sample.target else (main, control)
        own = _size(sample.mask, facts)
        if beside and own and size and own != size:
            kind = "target" if sample.target else "control"
            message = f"{sample.mask.name} is {_shown(own)}, its {kind} {beside.name} is {_shown(size)}."
            fix = f"resize the mask to {_shown(size)}, without smoothing"
            yield codes.MASK_SIZE_DIFFERS(sample.mask.name, message, fix=fix, sample=key)
    if sample.target and main and target and control:
        ratio = target[0] * control[1] / (target[1] * control[0])
        if not 1 / _ASPECT <= ratio <= _ASPECT:
            message = (
                f"{sample.target.name} is {_shown(target)}, its control {main.name} is {_shown(control)}: "
                "another aspect, so that one is cropped or stretched to fit the other."
            )
            yield codes.ASPECT_DIFFERS(sample.target.name, message, sample=key)
    if sample.target and main and kind_of(sample.target.name) == kind_of(main.name) == "video":
        after, before = (facts[blob.name].frames if blob.name in facts else 0 for blob in (sample.target, main))
        if after and before and after != before:
            message = f"{sample.target.name} has {after:,} frames, its control {main.name} has {before:,}."
            yield codes.FRAMES_DIFFER(sample.target.name, message, sample=key)


def _check_mask(mask: Blob, facts: Mapping[str, ImageFacts], key: tuple[str, str]) -> Iterator[Finding]:
    tones = facts[mask.name].tones if mask.name in facts else None
    if tones is None:
        return
    darkest, brightest, between = tones
    if brightest < _EMPTY:
        low = f": its brightest pixel is {brightest} of 255" if brightest else ""
        fix = "scale it, so that what is masked is 255" if brightest else None
        yield codes.MASK_EMPTY(mask.name, f"{mask.name} is black all over{low}.", fix=fix, sample=key)
    elif darkest > _FULL:
        yield codes.MASK_FULL(mask.name, f"{mask.name} is white all over.", sample=key)
    elif between > _BETWEEN:
        message = f"{between / 10:.0f} % of {mask.name} is neither black nor white."
        yield codes.MASK_NOT_BINARY(mask.name, message, sample=key)


def _size(blob: Blob | None, facts: Mapping[str, ImageFacts]) -> tuple[int, int] | None:
    seen = facts.get(blob.name) if blob else None
    return (seen.width, seen.height) if seen and seen.width and not seen.problem else None


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
