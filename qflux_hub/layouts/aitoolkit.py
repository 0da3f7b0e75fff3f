"""The folders of ai-toolkit: targets with their captions in one folder, each control in a folder beside it.

``train/target/cat.png`` with ``train/target/cat.txt``, ``train/control/cat.jpg``, further controls of the same name in
``control_1/``, ``control_2/``, …, the mask in ``mask/``; or the same at the top, for a single split called train. The
folder of the targets may have any name, those of controls begin with it or with nothing (``photos_control``). The id is
the name without its extension; samples come in the order of their ids. Prompts are UTF-8, outer white space and CRLF
set aside. In its configuration, ``folder_path`` is the targets' folder, ``control_path`` the list of the others.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from qflux_hub import codes
from qflux_hub.errors import UsageError
from qflux_hub.layouts import directory, pairs
from qflux_hub.layouts.lookup import MEDIUM, Lookup
from qflux_hub.layouts.splitting import illegal, legal
from qflux_hub.naming import PROMPT_EXTENSION, prefer
from qflux_hub.placing import Fitting, Placed, Plan, Stems, extension, has_media
from qflux_hub.report import Found
from qflux_hub.sample import CONTROLS, MASK, ROLES, TARGET, Blob, Sample
from qflux_hub.texts import kept_prompt
from qflux_hub.tree import Tree, unreadable
from qflux_hub.writing import Output

NAME = "aitoolkit"
SHAPE = "train/target/cat.txt   train/target/cat.png   train/control/cat.png   train/control_1/cat.png"
LOSES: Mapping[str, str] = {
    **directory.LOSES,
    "sample": "it has no target or no control, or one with an extension that is not read",
    "captions": "there is one text for each file",
}
_SIDE = re.compile(
    r"(?P<base>.*?)[-_]?(?:(?P<mask>masks?)|(?:controls?|conditioning|source|input)[-_]?(?P<number>\d*))"
)
_DIRECTORY = (directory.CONTROL_FOLDER, directory.TARGET_FOLDER)


@dataclass(slots=True)
class _Set:
    """The folders of one split; controls in their order."""

    target: str
    controls: list[str] = field(default_factory=list)
    mask: str = ""


def splits(tree: Tree, found: Found) -> tuple[str, ...]:
    """Folders at the top that hold a folder of targets beside one of controls; else train, for such at the top."""
    return legal({split: [split] for split in _sets(tree)}, found)


def missing(tree: Tree) -> str:
    """What keeps the tree from this layout."""
    return (
        illegal(_sets(tree)) or "no folder of images with captions beside a folder control/ with images of their names"
    )


def evidence(tree: Tree, splits: Sequence[str]) -> Sequence[str]:
    """The folders of targets and controls."""
    sets = [_sets(tree)[split] for split in splits]
    return [f"{folder}/" for one in sets for folder in (one.target, *one.controls)]


def doubt(tree: Tree, splits: Sequence[str]) -> str:
    """A table in the same place tells of the files itself, and captions beside them are left from somewhere."""
    folders = ("", *splits)
    tables = [name for folder in folders for name in tree.files.get(folder, ()) if name.endswith((".csv", ".jsonl"))]
    return f"{tables[0]} may tell of the same files" if tables else ""


def _sets(tree: Tree) -> dict[str, _Set]:
    """Split -> its folders."""
    below: dict[str, list[str]] = {}
    for folder in sorted(tree.files):
        above, _, name = folder.rpartition("/")
        if name and "/" not in above:
            below.setdefault(above, []).append(name)
    sets = {
        above: one
        for above, names in below.items()
        if not any(name in _DIRECTORY for name in names) and (one := _set(tree, above, names))
    }
    top = sets.pop("", None)
    return sets or ({"train": top} if top else {})


def _set(tree: Tree, above: str, names: Sequence[str]) -> _Set | None:
    """The folders of a split among ``names``; None unless there is one folder of captions, and one of controls."""
    sides = {name: side for name in names if (side := _SIDE.fullmatch(name))}
    targets = [name for name in names if name not in sides and pairs.first(tree, posixpath.join(above, name))]
    if len(targets) != 1:
        return None
    one = _Set(posixpath.join(above, targets[0]))
    own = Lookup(tree, one.target)
    controls = []
    for name, side in sides.items():
        path = posixpath.join(above, name)
        media = Lookup(tree, path).of_kind(MEDIUM)
        if side["base"] in ("", targets[0]) and any(own.files(stem, MEDIUM) for stem, _ in media):
            if side["mask"]:
                one.mask = one.mask or path
            else:
                controls.append((int(side["number"] or 0), path))
    one.controls = [path for _, path in sorted(controls)]
    return one if one.controls else None


def read(tree: Tree, split: str, columns: Mapping[str, str], found: Found) -> Iterator[Sample]:
    """The samples of ``split`` in the order of their ids."""
    if columns:
        raise UsageError("--column names columns of a table; this is a folder of files.", hint="Leave it out.")
    one = _sets(tree)[split]
    sides = [Lookup(tree, folder) for folder in (*one.controls, one.mask) if folder]
    for target in pairs.captioned(tree, split, one.target, found):
        key = (split, target.id)
        files: dict[str, Blob] = {}
        try:
            for side in sides:
                if own := side.files(target.id, MEDIUM):
                    used, *others = prefer(own)
                    if others:
                        message = (
                            f"{side.path}/ has {len(own)} files for {target.id!r}: {used} is used, {others[0]} is not."
                        )
                        found(codes.AMBIGUOUS_FILE(f"{side.path}/{others[0]}", message, sample=key))
                    files[side.path] = tree.blob(f"{side.path}/{used}")
        except OSError as error:
            found(unreadable(error, key))
            continue
        controls = tuple(files[folder] for folder in one.controls if folder in files)
        if not controls:
            message = f"{target.place} has no control {one.controls[0]}/{target.id}.*, so the sample is left out."
            found(codes.MISSING_CONTROL(target.place, message, sample=key))
            continue
        yield replace(target, controls=controls, mask=files.get(one.mask))
    prompts = Lookup(tree, one.target)
    for side in sides:
        code = codes.ORPHAN_MASK if side.path == one.mask else codes.ORPHAN_CONTROL
        for stem in sorted({stem for stem, _ in side.of_kind(MEDIUM) if stem not in prompts}):
            path = f"{side.path}/{side.files(stem, MEDIUM)[0]}"
            found(code(path, f"{path} is not used: there is no {one.target}/{stem}{PROMPT_EXTENSION}."))


def place(splits: Mapping[str, Sequence[Sample]]) -> Iterator[Placed]:
    """Every sample that has a target and a control, under its id."""
    for split, samples in splits.items():
        fitting = Fitting(samples, lambda one: bool(one.target and one.controls) and has_media(one))
        for number, sample, base in Stems(fitting, longest=".jpeg").in_order():
            yield Placed(number, sample, base, kept_prompt(sample.prompt), {}, tuple(_paths(split, sample, base)))


def _paths(split: str, sample: Sample, base: str) -> Iterator[str]:
    number = 0
    for role, blob in sample.media():
        folder = {TARGET: "target", MASK: "mask", CONTROLS: f"control_{number}" if number else "control"}.get(role)
        number += role == CONTROLS
        yield f"{split}/{folder}/{base}{extension(blob)}" if role in ROLES else ""


def outputs(placed: Mapping[str, Plan]) -> Iterator[Output]:
    """The files of each sample, then its caption."""
    for split, samples in placed.items():
        for one in samples:
            yield from (Output(path, blob) for path, blob in one.files())
            yield Output.of(f"{split}/target/{one.id}{PROMPT_EXTENSION}", one.prompt.encode())
