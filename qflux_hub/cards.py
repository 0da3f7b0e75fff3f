"""The card (README.md) of a dataset repo, merged as text so that the user's words survive byte for byte.

Three places are ours: in the front matter, the files and the facts of the config named ``default``; in the body, what
stands between two marker lines. A new card also gets a title, a sentence and a few tags, which belong to the user from
then on. The same data gives the same card: nothing here knows the time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from qflux_hub import media
from qflux_hub.configs import CardFacts, SplitFacts, read_card, with_files, with_info
from qflux_hub.frontmatter import CardText, take_apart
from qflux_hub.naming import Kind, is_image_name, split_rank
from qflux_hub.sample import CAPTIONS, CONTROLS, MASK, TARGET

__all__ = ["BEGIN", "END", "CardFacts", "SplitFacts", "dataset_card", "read_card", "with_block"]

BEGIN, END = "<!-- qflux:begin -->", "<!-- qflux:end -->"
_BLOCK = re.compile(
    rf"(?:\A|(?<=[\r\n])){BEGIN}(?=[ \t]*[\r\n])(?:(?!{BEGIN})[\S\s])*?(?<=[\r\n]){END}(?=[ \t]*(?:[\r\n]|\Z))"
)
"""A marker counts where it is a line of its own; a beginning without an end is the user's text."""
_ORIGIN = "Made with qflux {}."

_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
_MEANINGS = {
    "id": "Name of the sample, unique in its split",
    CONTROLS: "What the edit starts from: the main control image first, then further ones",
    MASK: "Where the edit applies; empty for samples without a mask",
    TARGET: "What the edit leads to; empty for samples without a target",
    "prompt": "What to change, in words",
    CAPTIONS: "Further captions, beside the prompt",
}
_WITHOUT_CONTROLS = {TARGET: "What the prompt describes", "prompt": "What there is to see or hear, in words"}
_EXTRA = "Carried over from the source"
_NOUNS: Mapping[Kind, str] = {"image": "image", "video": "video", "audio": "sound"}
_TASKS = ("text-to-image", "image-to-image", "text-to-video", "image-to-video", "video-to-video", "text-to-audio")
"""Those of the Hub's categories that a dataset of prompts, controls and targets can be meant for."""


def dataset_card(
    existing: str | None,
    *,
    repo_id: str,
    splits: Sequence[SplitFacts],
    features: Mapping[str, Any],
    version: str,
    drop: Collection[str] = (),
) -> str:
    """The card of a dataset repo after an upload, from the one that is there (None or empty: a new one).

    ``existing`` must be decoded with its byte order mark and line ends kept. ``splits`` are all that qflux keeps in
    the repo, whether or not this upload changes them; other splits of the default config stay as they are, but for
    those in ``drop``, whose files are gone. ``features`` are in `datasets`' JSON form, ``version`` is qflux's.
    Raises DataError, naming the line, for a card that cannot be read or merged into.
    """
    splits = sorted(splits, key=lambda split: split_rank(split.name))
    card = take_apart(existing or "")
    if not existing:
        card = _new(card, repo_id, splits, features)
    matter = with_files(card.matter, splits, drop)
    matter = with_info(matter, splits, features)
    card = card.with_matter(matter)
    lines = _block(repo_id, splits, read_card(card.text), features)
    return card.text.removesuffix(card.body) + with_block(card, lines, version)


def _new(card: CardText, repo_id: str, splits: Sequence[SplitFacts], features: Mapping[str, Any]) -> CardText:
    """A card with what is written once and never changed."""
    samples = sum(split.samples for split in splits)
    bounds = [f"{low}<n<{high}" for low, high in pairwise(_SIZES)]
    sizes = [f"n<{_SIZES[0]}", *bounds, f"n>{_SIZES[-1]}"]
    before, after = _kinds(splits, features)
    noun = "file" if len(after) != 1 else _NOUNS[after[0]]
    task = f"{before[0] if before else 'text'}-to-{after[0]}" if after else ""
    is_editing = task == "image-to-image" and after == before
    matter = card.matter
    if task in _TASKS:
        matter = matter.put(("task_categories",), [task])
    matter = matter.put(("tags",), [*(["image-editing"] if is_editing else []), "qflux"])
    matter = matter.put(("size_categories",), [sizes[min(max(len(str(samples)) - 3, 0), len(sizes) - 1)]])
    title = repo_id.rpartition("/")[2]
    controls = "control images" if before == ["image"] else "controls"
    sentence = (
        f"{'An image-editing dataset. ' if is_editing else ''}Each sample holds the {controls} that an edit starts "
        f"from, the prompt that says what to change and, where there is one, the target {noun} that it leads to."
        if before
        else f"Each sample holds a prompt and the {noun} that it describes."
    )
    return CardText("---\n", matter, "---\n", f"\n# {title}\n\n{sentence}\n")


def _kinds(splits: Sequence[SplitFacts], features: Mapping[str, Any]) -> tuple[list[Kind], list[Kind]]:
    """(kinds of the controls, kinds of the targets) that the samples have."""
    found: dict[str, list[Kind]] = {CONTROLS: [], TARGET: []}
    for column in media.named():
        if column in features and (role := media.role(column)) in found:
            found[role].append(media.kind(column))
    if not any(most for _, most in (split.controls for split in splits)):
        found[CONTROLS] = []
    return found[CONTROLS], found[TARGET]


def with_block(card: CardText, lines: Sequence[str], version: str) -> str:
    """The body with ``lines`` between the markers, which come last where there are none.

    The version that wrote a block stays while the block says the same: a newer qflux alone is nothing to upload.
    """
    newline = card.matter.newline

    def made_with(release: str) -> str:
        return newline.join((BEGIN, *lines, _ORIGIN.format(release), END))

    new = made_with(".".join(version.split(".")[:2]))
    found = _BLOCK.search(card.body)
    if found is None:
        ended = (card.closing + card.body).endswith(("\n", "\r"))
        return card.body + ("" if ended else newline) + newline + new + newline
    written = re.search(_ORIGIN.format(r"(\S+)"), found.group())
    if written and made_with(written[1]) == found.group():
        return card.body
    return card.body[: found.start()] + new + card.body[found.end() :]


def _block(repo_id: str, splits: Sequence[SplitFacts], listed: CardFacts, features: Mapping[str, Any]) -> list[str]:
    """What stands between the markers. Of the splits that the card lists beside ours, it gives what is known."""
    rows = {
        split.name: f"{split.samples:,} | {_range(*split.controls)} | {split.masks:,} | {split.targets:,} "
        f"| {_size(split.bytes)}"
        for split in splits
    }
    for name in listed.files or ():
        samples = f"{listed.samples[name]:,}" if name in listed.samples else "?"
        rows.setdefault(name, f"{samples} | ? | ? | ? | ?")
    formats: Counter[str] = Counter()
    for split in splits:
        formats.update(split.formats)
    noun = "Images" if all(is_image_name(f"x.{name}") for name in formats) else "Files"
    meanings = _MEANINGS if _kinds(splits, features)[0] else _MEANINGS | _WITHOUT_CONTROLS
    counted = ", ".join(
        f"{count:,} {name.upper()}" for name, count in sorted(formats.items(), key=lambda i: (-i[1], i[0]))
    )
    return [
        "<!-- qflux rewrites this part on every upload; write above or below it. -->",
        "",
        "## Contents",
        "",
        "| Split | Samples | Controls per sample | With mask | With target | Size |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(f"| {_code(name)} | {rows[name]} |" for name in sorted(rows, key=split_rank)),
        "",
        *((f"{noun}: {counted}.", "") if counted else ()),
        "| Column | Type | Meaning |",
        "| --- | --- | --- |",
        *(
            f"| {_code(name)} | {_kind(feature)} | {meanings.get(media.role(name), _EXTRA)} |"
            for name, feature in features.items()
        ),
        "",
        "## Use",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        f'dataset = load_dataset("{repo_id}")',
        "```",
        "",
        "or, with qflux:",
        "",
        "```python",
        "from qflux_hub import load_editing_dataset",
        "",
        f'dataset = load_editing_dataset("{repo_id}")',
        "```",
        "",
    ]


def _kind(feature: Mapping[str, Any]) -> str:
    """A feature in words: text, image, list of image."""
    if "feature" in feature:
        return f"list of {_kind(feature['feature'])}"
    if "bytes" in feature:
        return "file"
    kind = str(feature.get("dtype") or feature.get("_type") or "struct").lower()
    return "text" if kind == "string" else kind


def _range(least: int, most: int) -> str:
    return f"{least}" if least == most else f"{least} to {most}"


def _size(count: int) -> str:
    """Bytes in decimal units."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"


def _code(name: str) -> str:
    """A name from outside as code, such that Markdown shows it and nothing else comes of it."""
    if re.fullmatch(r"[\w.-]+", name):
        return f"`{name}`"
    return f"<code>{re.sub(r'[^A-Za-z0-9 ]', lambda found: f'&#{ord(found.group())};', name)}</code>"
