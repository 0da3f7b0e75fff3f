"""Caption and file of the same name side by side: ``a.txt`` beside ``a.jpg`` or ``a.mp4``, as finetrainers reads.

Pairs lie in the folder of their split, or at the top for a single split called train. They hold a target and a prompt,
no controls: text to image, video or sound. The id is the name without its extension; samples come in the order of their
ids. Prompts are UTF-8, outer white space and CRLF set aside. Captions without a file, and files without a caption, are
found.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence

from qflux_hub import codes
from qflux_hub.errors import UsageError
from qflux_hub.layouts import directory, lists
from qflux_hub.layouts.lookup import MEDIUM, PROMPT, Lookup
from qflux_hub.layouts.splitting import illegal, legal
from qflux_hub.naming import (
    PROMPT_EXTENSION,
    prefer,
    split_extension,
)
from qflux_hub.placing import Fitting, Placed, Plan, Stems, extension
from qflux_hub.report import Found
from qflux_hub.sample import TARGET, Sample
from qflux_hub.texts import decode_prompt, kept_prompt
from qflux_hub.tree import Tree, unreadable
from qflux_hub.writing import Output

NAME = "pairs"
SHAPE = "train/cat.txt   train/cat.jpg or cat.mp4"
LOSES: Mapping[str, str] = {
    **directory.LOSES,
    "sample": "it has no target, or one with an extension that is not read",
    "control": "there is no place for controls",
    "mask": "there is no place for masks",
    "captions": "there is one text for each file",
}
_OTHERS = (directory.CONTROL_FOLDER, directory.TARGET_FOLDER)
"""Folders of the directory layout, which are no splits."""


def splits(tree: Tree, found: Found) -> tuple[str, ...]:
    """Folders at the top that hold pairs; else train, when pairs lie at the top itself."""
    return legal({split: [split] for split in _folders(tree)}, found)


def missing(tree: Tree) -> str:
    """What keeps the tree from this layout."""
    return (
        illegal(_folders(tree))
        or "no .txt beside an image or video of the same name, at the top or in the folder of a split"
    )


def evidence(tree: Tree, splits: Sequence[str]) -> Sequence[str]:
    """The first caption of each split that has a file beside it."""
    return [posixpath.join(folder, first(tree, folder)) for folder in map(_folders(tree).__getitem__, splits)]


def doubt(tree: Tree, splits: Sequence[str]) -> str:  # noqa: ARG001 - the protocol's signature
    """Notes lie beside files in many folders."""
    return "a text beside a file may be anything"


def _folders(tree: Tree) -> dict[str, str]:
    """Split -> the folder of its pairs."""
    if first(tree, ""):
        return {"train": ""}
    tops = (folder for folder in sorted(tree.files) if "/" not in folder and folder not in ("", *_OTHERS))
    return {folder: folder for folder in tops if first(tree, folder)}


def first(tree: Tree, folder: str) -> str:
    """The first caption of a folder beside which a file of the same name lies; "" when there is none."""
    if lists.of_folder(tree.files.get(folder, ())):
        return ""
    files = Lookup(tree, folder)
    if not any(files.of_kind(PROMPT)):
        return ""
    return next((files.files(stem, PROMPT)[-1] for stem, _ in files.of_kind(MEDIUM) if stem in files), "")


def read(tree: Tree, split: str, columns: Mapping[str, str], found: Found) -> Iterator[Sample]:
    """The samples of ``split`` in the order of their ids."""
    if columns:
        raise UsageError("--column names columns of a table; this is a folder of files.", hint="Leave it out.")
    yield from captioned(tree, split, _folders(tree)[split], found)


def captioned(tree: Tree, split: str, folder: str, found: Found) -> Iterator[Sample]:
    """A sample for each caption of a folder beside which its target lies, in the order of their ids."""
    listed = Lookup(tree, folder)
    orphans = {stem for stem, _ in listed.of_kind(MEDIUM) if stem not in listed}
    for stem in sorted(orphans):
        path = posixpath.join(folder, listed.files(stem, MEDIUM)[0])
        found(codes.ORPHAN_TARGET(path, f"{path} is not used: there is no {stem}.txt beside it."))
    for stem in listed.bases():
        key = (split, stem)
        prompts, files = listed.files(stem, PROMPT), listed.files(stem, MEDIUM)
        prompt, file = (prefer(names)[0] if names else "" for names in (prompts, files))
        path = posixpath.join(folder, prompt)
        if not file:
            message = f"{path} has no image, video or sound of the same name, so the sample is left out."
            found(codes.MISSING_TARGET(path, message, sample=key))
            continue
        for names in (prompts, files):
            if len(names) > 1:
                used, *others = prefer(names)
                message = f"{stem!r} has {len(names)} files for one role: {used} is used, {', '.join(others)} is not."
                found(codes.AMBIGUOUS_FILE(posixpath.join(folder, others[0]), message, sample=key))
        try:
            text = decode_prompt(tree.read(path), path, key, found)
            if text is not None:
                target = tree.blob(posixpath.join(folder, file))
                yield Sample(id=stem, split=split, prompt=text, controls=(), target=target, place=path)
        except OSError as error:
            found(unreadable(error, key))


def place(splits: Mapping[str, Sequence[Sample]]) -> Iterator[Placed]:
    """Every sample that has a target, under its id. Pairs that lay at the top lie there again."""
    targets = (one.target for samples in splits.values() for one in samples if one.target)
    at_top = [*splits] == ["train"] and not any("/" in target.name for target in targets)
    for split, samples in splits.items():
        above, fitting = "" if at_top else f"{split}/", Fitting(samples, lists.has_target)
        for number, sample, base in Stems(fitting).in_order():
            paths = (f"{above}{base}{extension(blob)}" if role == TARGET else "" for role, blob in sample.media())
            yield Placed(number, sample, base, kept_prompt(sample.prompt), {}, tuple(paths))


def outputs(placed: Mapping[str, Plan]) -> Iterator[Output]:
    """The file of each sample, then its caption."""
    for samples in placed.values():
        for one in samples:
            yield from (Output(path, blob) for path, blob in one.files())
            yield Output.of(f"{split_extension(one.of(TARGET)[0])[0]}{PROMPT_EXTENSION}", one.prompt.encode())
