"""Checks of samples and their images: each yields findings and changes nothing.

What concerns names and tables is found while reading, by the layouts; here is what concerns content. Every finding's
documentation stands in ``codes``.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from qflux_hub import codes
from qflux_hub.naming import split_extension
from qflux_hub.report import Finding, Severity
from qflux_hub.sample import Blob, Sample
from qflux_hub.sniff import EXTENSIONS, ImageFacts, crc_error, decode_error, sniff
from qflux_hub.tree import stamp_of

_ADVICE = {
    "empty-file": "copy or download it again",
    "lfs-pointer": "run `git lfs pull` where the dataset came from",
    "html-file": "download it again, logged in",
    "not-an-image": "replace it by an image, or remove it from the dataset",
    "truncated-image": "copy or download it again",
    "damaged-image": "copy or download it again",
}
_PIECE = 1 << 20


def check_sample(sample: Sample, *, allow_empty_prompt: bool) -> Iterator[Finding]:
    """What is wrong with a sample by itself, without opening its images."""
    where, _, number = sample.origin.partition(":")
    line, key = int(number) if number else None, (sample.split, sample.id)
    if not sample.prompt:
        message = f"{sample.origin or sample.id}: the prompt is empty."
        fix = None if allow_empty_prompt else "write the prompt, or allow it with --allow-empty-prompt"
        severity: Severity = "note" if allow_empty_prompt else "error"
        yield codes.EMPTY_PROMPT(where, message, line=line, fix=fix, sample=key, severity=severity)
    if sample.target is None and sample.split == "train":
        yield codes.MISSING_TARGET(where, f"{sample.id!r} has no target image.", line=line, sample=key)


def look_at(blob: Blob, *, decode: bool) -> ImageFacts:
    """The image's facts from its header, or from decoding all of it."""
    with blob.open() as file:
        facts = sniff(file, blob.size)
        if decode and facts.problem is None:
            file.seek(0)
            why = decode_error(file)
            if why:
                return ImageFacts(facts.format, problem="damaged-image", detail=f"it cannot be decoded ({why})")
    return facts


def check_image(blob: Blob, facts: ImageFacts, sample: tuple[str, str]) -> Iterator[Finding]:
    """What is wrong with one image file."""
    if facts.problem:
        code, said = codes.CODES[facts.problem], _SAID[facts.problem]
        detail = f": {facts.detail}" if facts.detail and facts.problem not in ("empty-file", "lfs-pointer") else ""
        yield code(blob.name, f"{blob.name} {said}{detail}.", fix=_ADVICE[facts.problem], sample=sample)
    elif facts.format:
        stem, extension = split_extension(blob.name)
        if extension not in EXTENSIONS[facts.format]:
            right = EXTENSIONS[facts.format][0]
            message = f"{blob.name} is a {facts.format.upper()} file."
            name = stem.rpartition("/")[2] + right
            yield codes.WRONG_EXTENSION(blob.name, message, fix=f"rename it to {name}", sample=sample)


_SAID = {
    "empty-file": "has no bytes",
    "lfs-pointer": "is a Git LFS pointer, not the image",
    "html-file": "is a web page, not an image",
    "not-an-image": "is not an image",
    "truncated-image": "is cut off",
    "damaged-image": "is damaged",
}


def fingerprint(blob: Blob, facts: ImageFacts) -> tuple[bytes, str]:
    """(SHA-256, why the content is damaged or ""), from one pass over the file.

    The checksums of a PNG are walked in the same pass. Raises OSError when the file cannot be read; a file that is
    not the one that was listed any more is reported as damaged.
    """
    with blob.open() as file:
        if blob.stamp is not None and stamp_of(file) != blob.stamp:
            return b"", "it changed while it was read"
        if facts.format == "png":
            data = file.read(blob.size + 1)
            why = crc_error(data) if len(data) == blob.size else "it changed while it was read"
            return hashlib.sha256(data).digest(), why
        digest, size = hashlib.sha256(), 0
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
        return digest.digest(), "" if size == blob.size else "it changed while it was read"


def check_splits(samples: Iterable[Sample], hashes: Mapping[str, bytes]) -> Iterator[Finding]:
    """Images of ``train`` that stand in another split as well. ``hashes`` maps blob names to SHA-256."""
    places: dict[bytes, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        for _, blob in sample.media():
            if blob.name in hashes:
                places[hashes[blob.name]].setdefault(sample.split, blob.name)
    for by_split in places.values():
        if "train" in by_split and len(by_split) > 1:
            for split, name in by_split.items():
                if split != "train":
                    message = f"{name} in {split} is the same image as {by_split['train']} in train."
                    yield codes.SAME_IMAGE_IN_SPLITS(name, message)
