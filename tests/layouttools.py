"""Datasets for tests of layouts: made up by hypothesis, in memory, with names that file systems do and do not like."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from hypothesis import strategies as st

from qflux_hub import media
from qflux_hub.naming import split_extension
from qflux_hub.sample import CONTROLS, MASK, TARGET, Blob, Sample

Splits = Mapping[str, Sequence[Sample]]


@dataclass(frozen=True)
class InMemory:
    """Opens bytes that need no file."""

    content: bytes

    def __call__(self, name: str) -> BinaryIO:  # noqa: ARG002 - openers take the blob's name
        return io.BytesIO(self.content)


def blob(name: str, content: bytes) -> Blob:
    return Blob(name, len(content), InMemory(content))


def sample(name: str, *, split: str = "train", prompt: str = "Add a hat.", controls: int = 1, **options: Any) -> Sample:
    """A sample as the directory layout would name its files; ``mask``, ``target``: whether it has one."""
    folder, own = f"{split}/control_images", f"{split}/{name}".encode()
    mask, target = options.pop("mask", False), options.pop("target", True)
    return Sample(
        id=name,
        split=split,
        prompt=prompt,
        controls=tuple(
            blob(f"{folder}/{name}{f'_control_{n}' if n else ''}.png", own + b" control %d" % n)
            for n in range(controls)
        ),
        mask=blob(f"{folder}/{name}_mask.png", own + b" mask") if mask else None,
        target=blob(f"{split}/training_images/{name}.jpg", own + b" target") if target else None,
        **options,
    )


PLAIN_IDS = st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_IDS = "a|A|a_mask|a_control_1|a_control_01|a_1|con|NUL.x|../up|a/b| a|a.|.hid|caf\u00e9|cafe\u0301|a.png|what?"
ODD_IDS = st.sampled_from([*_IDS.split("|"), "x" * 300, "line\nbreak", "-2", "a-2", "_mask", "\U0001f431 x"])
ODD_IDS |= TEXTS.filter(bool)
PROMPTS = TEXTS | st.sampled_from(
    ["", " x ", "a\r\nb", "\ufeffx", '"q", "r"', "a;b\tc", "a\0b", "one\n\ntwo", "\u2028"]
)
COLUMNS = st.sampled_from(["note", "Source", "prompt ", "image", "id", "a,b", "x;y", 'q"', "control_7", "caf\u00e9"])
_PATHS = "a.png|A.png|a.JPG|x/a.png|x/a_mask.png|../a.png|/etc/a.png|c:/a.png|con.webp|x/.a.png|x/a.png/b.png|x/a..png"
NAMES = st.sampled_from([*_PATHS.split("|"), "a\\b.png", "x/ a.png", "~/a.png", "caf\u00e9.png", "cafe\u0301.png"])


CAPTIONS = st.lists(TEXTS | st.sampled_from(["", "[1]", " x "]), max_size=2).map(tuple)
_ODD_OTHERS = [
    "depth",
    "wav",
    "a.b",
    "image",
    "note",
    "x_file_name",
    "txt",
    "json",
    "a.txt",
    "what?",
    "x/y",
    "captions",
]


@st.composite
def datasets(draw: st.DrawFn, ids: st.SearchStrategy[str] = ODD_IDS, *, odd: bool = True) -> Splits:
    """Splits of samples. Every file has a content of its own, so that it is known again wherever it lies."""
    made: dict[str, list[Sample]] = {}
    for split in draw(st.sampled_from([["train"], ["train", "test"]])):
        names = draw(st.lists(ids, min_size=1, max_size=5, unique=True))
        columns = draw(st.lists(COLUMNS if odd else PLAIN_IDS.map("x_{}".format), max_size=2, unique=True))
        others = draw(st.lists(st.sampled_from(_ODD_OTHERS if odd else ["depth", "wav"]), max_size=2, unique=True))
        made[split] = []
        for name in names:
            plain = sample(
                name,
                split=split,
                prompt=draw(PROMPTS) if odd else draw(TEXTS).strip().replace("\r", "").replace("\0", ""),
                controls=draw(st.integers(1, 3)),
                mask=draw(st.booleans()),
                target=draw(st.booleans()),
                extra={column: draw((TEXTS | st.none()) if odd else TEXTS.map(_plain)) for column in columns},
            )
            plain = _mixed(draw, plain, set(others) - set(columns), odd=odd) if draw(st.booleans()) else plain
            made[split].append(_renamed(draw, plain) if odd and draw(st.booleans()) else plain)
    return made


def _mixed(draw: st.DrawFn, one: Sample, others: Collection[str], *, odd: bool) -> Sample:
    """The sample with videos and sounds, several captions and files of no role."""

    def other(own: Blob) -> Blob:
        stem, _ = split_extension(own.name)
        return replace(own, name=stem + draw(st.sampled_from([".png", ".mp4", ".wav"])))

    def further(name: str) -> Blob:
        ending = draw(st.sampled_from([".png", ".webm", ".npy", "", ".txt"] if odd else [".png", ".flac"]))
        return blob(f"{one.split}/{name.split('/')[0]}/{one.id}{ending}", f"{one.split}/{one.id} {name}".encode())

    controls = tuple(map(other, one.controls))
    return replace(
        one,
        controls=controls if odd else media.grouped(controls),
        target=one.target and other(one.target),
        captions=draw(CAPTIONS),
        others={name: further(name) for name in sorted(others) if draw(st.booleans())},
    )


def _plain(text: str) -> str:
    return text.replace("\0", "").replace("\r", "")


def _renamed(draw: st.DrawFn, one: Sample) -> Sample:
    """The sample with files of other names."""

    def other(own: Blob) -> Blob:
        return Blob(draw(NAMES), own.size, own.opener)

    return replace(
        one,
        controls=tuple(map(other, one.controls)),
        mask=one.mask and other(one.mask),
        target=one.target and other(one.target),
    )


def content(own: Blob) -> bytes:
    with own.open() as file:
        return file.read()


def key(one: Sample) -> bytes:
    """What a sample is known by, whatever became of its texts."""
    return content(one.target) if one.target else min(map(content, one.controls))


def facts(one: Sample) -> dict[str, Any]:
    """All that a sample is, but for where its files lie."""
    roles = {role: [content(own) for name, own in one.media() if name == role] for role in (TARGET, CONTROLS, MASK)}
    others = {name: content(own) for name, own in one.others.items()}
    texts = {"prompt": one.prompt, "captions": one.captions, "extra": dict(one.extra)}
    return {"id": one.id, **texts, **roles, "others": others}


def actual_losses(before: Sequence[Sample], after: Sequence[Sample]) -> dict[str, int]:
    """What differs between samples that went in and those that came out, as ``Loss`` counts it."""
    counts: Counter[str] = Counter()
    out = {key(one): one for one in after}
    counts["sample"] = sum(key(one) not in out for one in before)
    order = [key(one) for one in before if key(one) in out]
    counts["order"] = sum(own != key(one) for own, one in zip(order, after, strict=True))
    for one in before:
        other = out.get(key(one))
        if other is None:
            continue
        counts["id"] += one.id != other.id
        counts["prompt"] += one.prompt != other.prompt
        counts["captions"] += one.captions != other.captions
        order = [[content(own) for own in version.controls] for version in (one, other)]
        counts["control order"] += sorted(order[0]) == sorted(order[1]) and order[0] != order[1]
        for column in one.extra.keys() | other.extra.keys():
            counts[f"column {column}"] += one.extra.get(column) != other.extra.get(column)
        there = {(role, content(own)): own.name for role, own in other.media()}
        for role, own in one.media():
            if (role, content(own)) not in there:
                counts[{TARGET: "target", MASK: "mask", CONTROLS: "control"}.get(role, f"other {role}")] += 1
            elif there[role, content(own)].rpartition("/")[2] != own.name.rpartition("/")[2]:
                counts["file name"] += 1
    return {what: count for what, count in counts.items() if count}
