"""A scan as a gallery: which samples it has, which pictures they need, which findings stand beside which sample.

``Gallery.data`` is what the page's script reads. Pictures are numbered in the order in which samples need them; an
image that several samples use is one picture.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qflux_hub import __version__, checks, codes
from qflux_hub.hubscan import HUB
from qflux_hub.naming import Kind, kind_of
from qflux_hub.preview.opened import Opened
from qflux_hub.report import Finding
from qflux_hub.sample import CAPTIONS, CONTROLS, MASK, ROLES, TARGET, Blob, Sample
from qflux_hub.sniff import ImageFacts, Problem

Key = tuple[str, str]
"""(split, id)."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One image to draw; a mask is drawn as a tint. ``facts`` are None for images that nobody looked at yet.

    A video is drawn by its first frame, a sound not at all.
    """

    blob: Blob
    is_mask: bool
    facts: ImageFacts | None

    @property
    def kind(self) -> Kind:
        """What it is; a name that says nothing is taken for an image's."""
        kind = kind_of(self.blob.name)
        return "image" if kind == "file" else kind


@dataclass(slots=True)
class Gallery:
    """What is shown. ``total``: samples there are; more than ``samples`` when not all fit."""

    opened: Opened
    samples: list[Sample]
    total: int
    pictures: list[Picture] = field(default_factory=list)
    numbers: dict[tuple[Blob, bool], int] = field(default_factory=dict)
    users: dict[Blob, list[Key]] = field(default_factory=dict)

    @classmethod
    def of(cls, opened: Opened, most_pictures: int | None) -> Gallery:
        """All samples, or as many as ``most_pictures`` allow: first those with findings, then each split's first."""
        every = list(opened.scan.samples())
        gallery = cls(opened, _choose(every, opened.scan.findings, most_pictures), len(every))
        facts = opened.scan.facts
        for sample in gallery.samples:
            for role, blob in sample.media():
                if role not in ROLES:  # which are told of in words
                    continue
                gallery.users.setdefault(blob, []).append((sample.split, sample.id))
                key = (blob, role == MASK)
                if key not in gallery.numbers:
                    gallery.numbers[key] = len(gallery.pictures)
                    gallery.pictures.append(Picture(blob, role == MASK, facts.get(blob.name)))
        return gallery

    @property
    def is_remote(self) -> bool:
        """Whether it shows a repo rather than a folder."""
        return self.opened.scan.layout == HUB

    @property
    def title(self) -> str:
        """What the dataset is called, in short."""
        source = self.opened.scan.source
        return source if self.is_remote else Path(source).resolve().name or source

    def add_damage(self, number: int, why: str) -> None:
        """A picture could not be drawn: a finding for every sample that needs it."""
        blob = self.pictures[number].blob
        damage: Problem = "not-a-video" if self.pictures[number].kind == "video" else "damaged-image"
        facts = ImageFacts(problem=damage, detail=why)
        for key in dict.fromkeys(self.users[blob]):
            self.opened.scan.findings += checks.check_image(blob, facts, key)

    def data(self, side: int | None = None) -> dict[str, Any]:
        """Everything but the pictures, for the page's script. ``side``: of the pictures, when all have the same."""
        scan = self.opened.scan
        beside, rest = _place(scan.findings, self.samples)
        splits = {name: place for place, name in enumerate(scan.splits)}
        shown = Counter(sample.split for sample in self.samples)
        return {
            "version": __version__,
            "title": self.title,
            "source": scan.source,
            "layout": scan.layout,
            "side": side,
            "counts": scan.counts(),
            "total": self.total,
            "splits": [[name, shown[name], len(samples)] for name, samples in scan.splits.items()],
            "codes": {finding.code: codes.CODES[finding.code].title for finding in scan.findings},
            "findings": [_told(finding) for finding in rest],
            "pictures": [self._picture(picture) for picture in self.pictures],
            "samples": [
                [
                    splits[sample.split],
                    sample.id,
                    sample.prompt,
                    [self.numbers[blob, False] for role, blob in sample.media() if role == CONTROLS],
                    next((self.numbers[blob, True] for role, blob in sample.media() if role == MASK), None),
                    next((self.numbers[blob, False] for role, blob in sample.media() if role == TARGET), None),
                    [_told(finding) for finding in beside.get((sample.split, sample.id), ())],
                    dict(_further(sample)),
                ]
                for sample in self.samples
            ],
        }

    def _picture(self, picture: Picture) -> list[Any]:
        """[name, width, height, bytes of the file, what is wrong with it, what it is if no image].

        0 pixels where they are not known.
        """
        width, height = self.opened.sizes.get(picture.blob, (0, 0))
        clip = "" if picture.kind == "image" else picture.kind
        return [picture.blob.name, width, height, picture.blob.size, problem(picture.facts), clip]


def _further(sample: Sample) -> Iterator[tuple[str, str]]:
    """What else belongs to a sample: captions, texts, and the names of files without a role."""
    if sample.captions:
        yield CAPTIONS, "\n".join(sample.captions)
    yield from ((name, value) for name, value in sample.extra.items() if value)
    yield from ((name, blob.name) for name, blob in sample.others.items())


def problem(facts: ImageFacts | None) -> str:
    """Why an image cannot be shown, in one sentence; "" when nothing speaks against it."""
    return codes.CODES[facts.problem].title if facts is not None and facts.problem else ""


def _told(finding: Finding) -> list[Any]:
    return [finding.code, finding.severity, finding.message, finding.fix]


def _choose(samples: Sequence[Sample], findings: Iterable[Finding], most_pictures: int | None) -> list[Sample]:
    if most_pictures is None or sum(1 for sample in samples for _ in sample.media()) <= most_pictures:
        return list(samples)
    concerned = set(_place(findings, samples)[0])
    rank = Counter[str]()  # how many of its split stand before a sample, so that all splits are there
    order = []
    for place, sample in enumerate(samples):
        order.append(((sample.split, sample.id) not in concerned, rank[sample.split], place))
        rank[sample.split] += 1
    kept, pictures = [], 0
    for _, _, place in sorted(order):
        pictures += sum(1 for _ in samples[place].media())
        if pictures > most_pictures:
            break
        kept.append(place)
    return [samples[place] for place in sorted(kept)]


def _place(findings: Iterable[Finding], samples: Iterable[Sample]) -> tuple[dict[Key, list[Finding]], list[Finding]]:
    """(findings by sample, those that concern no sample that is shown).

    A finding about a file without naming a sample stands beside all samples that use the file.
    """
    users: dict[str, list[Key]] = defaultdict(list)
    keys: set[Key] = set()
    for sample in samples:
        key = (sample.split, sample.id)
        keys.add(key)
        for name in {sample.origin, *(blob.name for _, blob in sample.media())} - {""}:
            users[name].append(key)
    beside: dict[Key, list[Finding]] = defaultdict(list)
    rest = []
    for finding in findings:
        if finding.sample in keys and finding.sample is not None:
            beside[finding.sample].append(finding)
        elif finding.sample is None and users.get(finding.place):
            for key in users[finding.place]:
                beside[key].append(finding)
        else:
            rest.append(finding)
    return beside, rest
