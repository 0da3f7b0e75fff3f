"""The card of a LoRA's repo, merged as text: what the user wrote stays byte for byte.

In the front matter, keys that are missing are added and tags united; a key that is there is the user's, and a
difference is reported. In the body, only what stands between the two marker lines is ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qflux_hub import codes
from qflux_hub.cards import with_block
from qflux_hub.frontmatter import CardText, FrontMatter, take_apart
from qflux_hub.lora.bases import BASES, Base
from qflux_hub.lora.describe import Lora
from qflux_hub.report import Found

CARD = "README.md"
TAGS = ("lora", "diffusers", "template:diffusion-lora")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the gallery. ``control`` is the path in the repo of what the edit started from."""

    path: str
    prompt: str
    control: str | None = None


@dataclass(frozen=True, slots=True)
class CardInput:
    """What a card is made of. ``files`` are the weights' names in the repo, the main one first."""

    repo_id: str
    lora: Lora
    files: Sequence[str]
    base_model: str | None = None
    trigger: str | None = None
    gallery: Sequence[Picture] = ()


def base_of(lora: Lora, wished: str | None, named: str | None) -> str | None:
    """The Hub id of the base model: as wished, as a configuration names it, or the only one that fits."""
    if wished:
        return wished
    if named and named in BASES:
        return named
    if len(lora.family.candidates) == 1 and lora.family.confidence == "high":
        return lora.family.candidates[0]
    return named if named and _HUB_ID.fullmatch(named) else None


def model_card(existing: str | None, given: CardInput, version: str, found: Found) -> str:
    """The card after an upload, from the one that is there. Raises DataError for one that cannot be merged into."""
    base = BASES.get(given.base_model or "")
    card = take_apart(existing or "")
    matter = card.matter
    for key, value in _facts(given, base).items():
        matter = _with_key(matter, key, value, found)
    matter = _with_list(matter, "tags", TAGS, lambda one: one, found)
    if given.gallery:
        matter = _with_list(matter, "widget", _widget(given.gallery), _output, found)
    if not existing:
        title = given.repo_id.rpartition("/")[2]
        card = CardText("---\n", matter, "---\n", f"\n# {title}\n\n{_sentence(given, base)}\n")
    _tell_gaps(given, base, matter, found)
    card = card.with_matter(matter)
    return card.text.removesuffix(card.body) + with_block(card, _block(given), version)


def _facts(given: CardInput, base: Base | None) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if given.base_model:
        facts |= {"base_model": given.base_model, "base_model_relation": "adapter"}
    if base and base.license:
        facts["license"] = base.license
        if base.license == "other":
            facts |= {"license_name": base.license_name, "license_link": base.license_link}
    pipeline = base.pipeline if base else "image-to-image" if any(one.control for one in given.gallery) else None
    if pipeline:
        facts["pipeline_tag"] = pipeline
    facts["library_name"] = "peft" if given.lora.format == "peft" else "diffusers"
    trigger = given.trigger or next(iter(given.lora.trigger), None)
    if trigger:
        facts["instance_prompt"] = trigger
    return facts


def _with_key(matter: FrontMatter, key: str, value: Any, found: Found) -> FrontMatter:
    """A key that is not there is added; one that says something else is the user's."""
    now = matter.data.get(key)
    if now is None and key not in matter.data:
        if key.startswith("license_") and matter.data.get("license") != "other":
            return matter
        return matter.put((key,), value)
    if now != value and now != [value]:
        message = f"{CARD} says {key}: {now}; this upload would say {value}. The card's word stands."
        found(codes.KEPT_IN_CARD(CARD, message))
    return matter


def _with_list(matter: FrontMatter, key: str, wanted: Sequence[Any], name: Any, found: Found) -> FrontMatter:
    """Items that are not in the list are added at its end."""
    now = matter.data.get(key)
    if now in (None, []):
        return matter.put((key,), list(wanted))
    if not isinstance(now, list):
        found(codes.KEPT_IN_CARD(CARD, f"{CARD}: {key} is no list and stays as it is."))
        return matter
    there = [name(item) for item in now]
    for item in wanted:
        if name(item) not in there:
            matter = matter.insert((key,), len(there), item)
            there.append(name(item))
    return matter


def _widget(gallery: Sequence[Picture]) -> list[dict[str, Any]]:
    return [{"text": one.prompt or "-", "output": {"url": one.path}} for one in gallery]


def _output(item: Any) -> Any:
    output = item.get("output") if isinstance(item, dict) else None
    return output.get("url") if isinstance(output, dict) else None


def _tell_gaps(given: CardInput, base: Base | None, matter: FrontMatter, found: Found) -> None:
    data = matter.data
    if not data.get("base_model"):
        names = ", ".join(given.lora.family.candidates)
        message = f"The card names no base model; {f'it may be {names}' if names else 'the keys do not tell it'}."
        found(codes.UNKNOWN_BASE(CARD, message, fix="--base-model user/name"))
    elif not data.get("license") and not (base and base.license):
        found(codes.UNKNOWN_LICENSE(CARD, f"The card says no licence: that of {data['base_model']} is not known here."))


def _sentence(given: CardInput, base: Base | None) -> str:
    what = {"image-to-image": "image editing", "text-to-image": "image generation"}
    kind = f" for {what.get(base.pipeline, 'video generation')}" if base else ""
    on = f", trained on [{given.base_model}](https://huggingface.co/{given.base_model})" if given.base_model else ""
    return f"LoRA weights{kind}{on}."


def _block(given: CardInput) -> list[str]:
    """What stands between the markers."""
    lora = given.lora
    rows = [("File", ", ".join(f"`{name}`" for name in given.files)), ("Format", str(lora.format))]
    if lora.rank:
        rows.append(("Rank", ", ".join(str(rank) for rank in lora.ranks)))
    if lora.alpha is not None:
        rows.append(("Alpha", f"{lora.alpha:g}" + ("" if lora.scale is None else f" (scale {lora.scale:g})")))
    rows.append(("Weights", str(lora.dtype)))
    trigger = given.trigger or next(iter(lora.trigger), None)
    if trigger:
        rows.append(("Trigger", f"`{trigger.replace('`', '')}`"))
    lines = [
        "<!-- qflux rewrites this part on every upload; write above or below it. -->",
        "",
    ]
    if given.gallery:
        lines += ["<Gallery />", ""]
        lines += _pairs(given.gallery)
    lines += ["## The weights", "", "| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows), ""]
    return lines + _use(given)


def _pairs(gallery: Sequence[Picture]) -> list[str]:
    """Before and after, side by side."""
    edits = [one for one in gallery if one.control]
    if not edits:
        return []
    rows = [f"| ![before]({one.control}) | ![after]({one.path}) | {_cell(one.prompt)} |" for one in edits]
    return ["| Before | After | Prompt |", "| --- | --- | --- |", *rows, ""]


def _cell(text: str) -> str:
    return re.sub(r"[|<>\r\n]", lambda found: {"|": "\\|", "<": "&lt;", ">": "&gt;"}.get(found.group(), " "), text)


def _use(given: CardInput) -> list[str]:
    lines = ["## Use", ""]
    loads = {"diffusers-peft", "diffusers-old", "kohya", "comfyui-peft", "flux-diffusers-kohya", "xlabs"}
    if given.base_model and given.lora.format in loads:
        lines += [
            "```python",
            "from diffusers import DiffusionPipeline",
            "",
            f'pipe = DiffusionPipeline.from_pretrained("{given.base_model}")',
            f'pipe.load_lora_weights("{given.repo_id}", weight_name="{given.files[0]}")',
            "```",
            "",
        ]
    if given.lora.format in ("comfyui-peft", "kohya"):
        lines += [f"In ComfyUI, put `{given.files[0]}` into `models/loras`.", ""]
    return [
        *lines,
        "Download it with its hash verified:",
        "",
        "```python",
        "from qflux_hub import download_lora",
        "",
        f'path = download_lora("{given.repo_id}", "{given.files[0]}")',
        "```",
        "",
    ]


def check_card(text: str) -> None:
    """Raises DataError for a card whose front matter the Hub would refuse."""
    data: Mapping[str, Any] = take_apart(text).matter.data
    matter = take_apart(text).matter
    for key, kinds in {"tags": (list,), "widget": (list,), "license": (str, list), "base_model": (str, list)}.items():
        if data.get(key) is not None and not isinstance(data[key], kinds):
            raise matter.refusal(f"`{key}` must be {' or '.join(_KINDS[kind] for kind in kinds)}", (key,))


_KINDS = {list: "a list", str: "a text"}
