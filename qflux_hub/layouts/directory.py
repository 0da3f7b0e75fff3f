"""The directory layout: ``<split>/control_images/`` beside ``<split>/training_images/``.

A sample is a prompt file ``training_images/<base>.txt``; its id is ``<base>``. Controls and the mask lie in
``control_images/``, the target beside the prompt; names are paired by ``naming.parse``. Samples come in the order of
their ids. Prompts are UTF-8, a byte order mark, outer white space and CRLF set aside.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from qflux_hub import codes
from qflux_hub.errors import UsageError
from qflux_hub.naming import (
    PROMPT_EXTENSION,
    Part,
    base_of,
    control_stem,
    fold,
    is_image_name,
    is_split_name,
    parse,
    prefer,
    split_extension,
)
from qflux_hub.report import Finding, Found
from qflux_hub.sample import Sample
from qflux_hub.texts import read_prompt
from qflux_hub.tree import Tree

NAME = "directory"
SHAPE = "train/control_images/cat.jpg   train/training_images/cat.txt   train/training_images/cat.png"
CONTROL_FOLDER, TARGET_FOLDER = "control_images", "training_images"


def splits(tree: Tree, found: Found) -> tuple[str, ...]:
    """Folders that hold ``control_images`` or ``training_images``, in name order."""
    shaped = _shaped(tree)
    for name in shaped:
        if not is_split_name(name):
            message = f"{name}/ has the shape of a split, but {name!r} is not a legal split name; it is left aside."
            found(codes.BAD_SPLIT_NAME(name, message, fix="rename it, with letters, digits and underscores"))
    return tuple(name for name in shaped if is_split_name(name))


def _shaped(tree: Tree) -> list[str]:
    parts = (folder.split("/") for folder in tree.files)
    return sorted({part[0] for part in parts if len(part) >= 2 and part[1] in (CONTROL_FOLDER, TARGET_FOLDER)})


def missing(tree: Tree) -> str:
    """What keeps the tree from this layout."""
    if CONTROL_FOLDER in tree.files or TARGET_FOLDER in tree.files:
        return f"{CONTROL_FOLDER}/ lies at the top; the folder above is the dataset, and this one a split such as train"
    lookalikes = sorted({folder for folder in tree.files if fold(folder.rsplit("/", 1)[-1]) in _FOLDED})
    seen = f" (did you mean {lookalikes[0]}/?)" if lookalikes else ""
    return f"no train/ or test/ that holds {CONTROL_FOLDER}/ and {TARGET_FOLDER}/{seen}"


_FOLDED = {fold(CONTROL_FOLDER), fold(TARGET_FOLDER)}


@dataclass(slots=True)
class _Files:
    """The file names of one sample by role, as they are met; several for one role when names are ambiguous."""

    controls: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    mask: list[str] = field(default_factory=list)
    target: list[str] = field(default_factory=list)
    mask_beside_target: list[str] = field(default_factory=list)


def read(tree: Tree, split: str, columns: Mapping[str, str], found: Found) -> Iterator[Sample]:
    """The samples of ``split`` in the order of their ids."""
    if columns:
        raise UsageError("--column names columns of a table; this is a folder of files.", hint="Leave it out.")
    control_folder, target_folder = f"{split}/{CONTROL_FOLDER}", f"{split}/{TARGET_FOLDER}"
    beside_controls = tree.files.get(control_folder, ())
    beside_prompts = tree.files.get(target_folder, ())
    prompts: dict[str, list[str]] = defaultdict(list)
    for name in beside_prompts:
        stem, extension = split_extension(name)
        if extension == PROMPT_EXTENSION:
            prompts[stem].append(name)
    table = {base: _Files() for base in prompts}
    orphans = _sort_controls(beside_controls, table, control_folder, found)
    _sort_targets(beside_prompts, table, target_folder, found)
    _report_unused(tree, split, found)
    near = _NearMisses(orphans)
    left_out = 0
    for base in sorted(table):
        files, key = table[base], (split, base)
        prompt_path = f"{target_folder}/{_one(prompts[base], target_folder, 'prompts', key, found)}"
        if not files.controls:
            left_out += 1
            message = f"{prompt_path} has no control image {control_folder}/{base}.*, so the sample is left out."
            found(codes.MISSING_CONTROL(prompt_path, message + near.hint(base), sample=key))
            continue
        prompt = read_prompt(tree, prompt_path, key, found)
        controls = [
            f"{control_folder}/{_one(files.controls[number], control_folder, 'controls', key, found)}"
            for number in sorted(files.controls)
        ]
        _report_numbers(files, base, control_folder, key, found)
        mask = _mask(files, control_folder, target_folder, key, found)
        target = f"{target_folder}/{_one(files.target, target_folder, 'targets', key, found)}" if files.target else None
        if prompt is not None:
            yield Sample(
                id=base,
                split=split,
                prompt=prompt,
                controls=tuple(tree.blob(path) for path in controls),
                mask=tree.blob(mask) if mask else None,
                target=tree.blob(target) if target else None,
                origin=prompt_path,
            )
    if left_out == len(table):
        _report_empty(split, table, beside_controls, orphans, found)


def _sort_controls(names: Iterable[str], table: dict[str, _Files], folder: str, found: Found) -> list[str]:
    """Give every image of the control folder to its sample; returns the names that belong to none."""
    orphans, near = [], _NearMisses(table)
    for name in names:
        if not is_image_name(name):
            continue
        stem = split_extension(name)[0]
        part = parse(stem, table)
        if part.role == "main":
            table[part.base].controls[0].append(name)
        elif part.role == "control":
            table[part.base].controls[part.index].append(name)
        elif part.role == "mask":
            table[part.base].mask.append(name)
        else:
            orphans.append(name)
            found(_orphan(part, name, folder, near))
            continue
        if part.shadowed:
            message = f"{name} belongs to {part.base!r}, not to {part.shadowed!r}, because {part.base}.txt exists."
            found(codes.SHADOWED_NAME(f"{folder}/{name}", message))
    return orphans


def _orphan(part: Part, name: str, folder: str, near: _NearMisses) -> Finding:
    path = f"{folder}/{name}"
    extension = name[len(split_extension(name)[0]) :]
    if part.role == "legacy":
        wanted = control_stem(part.base, part.index) + extension
        message = f"{path} is not used: a further control of {part.base!r} is called {wanted}."
        return codes.LEGACY_CONTROL_NAME(path, message, fix=f"rename it to {wanted}")
    if part.role == "bad-number":
        message = f"{path} is not used: controls of {part.base!r} are numbered _control_1, _control_2, …"
        return codes.BAD_CONTROL_NUMBER(path, message, fix="rename it with its right number")
    base = base_of(part.base)
    code = codes.ORPHAN_MASK if part.base.endswith("_mask") else codes.ORPHAN_CONTROL
    return code(path, f"{path} is not used: there is no {TARGET_FOLDER}/{base}.txt.{near.hint(base, '.txt')}")


def _sort_targets(names: Iterable[str], table: dict[str, _Files], folder: str, found: Found) -> None:
    """Give every image beside the prompts to its sample."""
    near = _NearMisses(table)
    for name in names:
        if not is_image_name(name):
            continue
        part = parse(split_extension(name)[0], table)
        path = f"{folder}/{name}"
        if part.role == "main":
            table[part.base].target.append(name)
        elif part.role == "mask":
            table[part.base].mask_beside_target.append(name)
        elif part.role == "other":
            message = f"{path} is not used: there is no {part.base}.txt beside it.{near.hint(part.base, '.txt')}"
            found(codes.ORPHAN_TARGET(path, message, fix=f"write the prompt to {folder}/{part.base}.txt"))
        else:
            message = f"{path} is not used: controls of {part.base!r} belong into {CONTROL_FOLDER}/."
            found(codes.ORPHAN_CONTROL(path, message, fix=f"move it to {CONTROL_FOLDER}/"))


def _one(names: list[str], folder: str, what: str, key: tuple[str, str], found: Found) -> str:
    """The one name to take, by the documented order of extensions."""
    if len(names) == 1:
        return names[0]
    taken, *others = prefer(names) if what != "prompts" else sorted(names, reverse=True)
    message = f"{folder}/ has {len(names)} {what} of {key[1]!r}: {taken} is used, {', '.join(others)} is not."
    found(codes.AMBIGUOUS_FILE(f"{folder}/{others[0]}", message, fix="remove the one that is wrong", sample=key))
    return taken


def _report_numbers(files: _Files, base: str, folder: str, key: tuple[str, str], found: Found) -> None:
    numbers = sorted(files.controls)
    if numbers[0] != 0:
        first = files.controls[numbers[0]][0]
        message = f"{key[1]!r} has no main control {folder}/{base}.*; its first is {first}."
        found(codes.MISSING_MAIN_CONTROL(f"{folder}/{first}", message, sample=key))
    gaps = sorted(set(range(1, numbers[-1])) - set(numbers))
    if gaps:
        lacking = ", ".join(f"_control_{gap}" for gap in gaps[:5]) + (", …" if len(gaps) > 5 else "")
        message = f"{key[1]!r} has {control_stem('', numbers[-1])} but not {lacking}."
        found(codes.CONTROL_GAP(f"{folder}/{files.controls[numbers[-1]][0]}", message, sample=key))


def _mask(files: _Files, control_folder: str, target_folder: str, key: tuple[str, str], found: Found) -> str | None:
    """The mask's path: in the control folder, else in the target folder."""
    if files.mask:
        path = f"{control_folder}/{_one(files.mask, control_folder, 'masks', key, found)}"
        if files.mask_beside_target:
            other = f"{target_folder}/{files.mask_beside_target[0]}"
            found(codes.MASK_TWICE(other, f"{key[1]!r} has two masks: {path} is used, {other} is not.", sample=key))
        return path
    if files.mask_beside_target:
        path = f"{target_folder}/{_one(files.mask_beside_target, target_folder, 'masks', key, found)}"
        message = f"The mask of {key[1]!r} is taken from {TARGET_FOLDER}/."
        found(codes.MASK_BESIDE_TARGET(path, message, fix=f"move it to {CONTROL_FOLDER}/", sample=key))
        return path
    return None


def _report_unused(tree: Tree, split: str, found: Found) -> None:
    """What lies in the split's folders without being looked at, one finding a folder."""
    for folder, names in tree.files.items():
        if folder != split and not folder.startswith(split + "/"):
            continue
        if folder == f"{split}/{CONTROL_FOLDER}":
            unused = [name for name in names if not is_image_name(name)]
        elif folder == f"{split}/{TARGET_FOLDER}":
            unused = [n for n in names if not is_image_name(n) and split_extension(n)[1] != PROMPT_EXTENSION]
        else:
            unused = list(names)
        if unused:
            others = f" and {len(unused) - 1:,} more files are" if len(unused) > 1 else " is"
            first = f"{folder}/{unused[0]}"
            found(codes.UNUSED_FILE(first, f"{first}{others} left aside."))


def _report_empty(
    split: str, table: Mapping[str, _Files], controls: Sequence[str], orphans: Sequence[str], found: Found
) -> None:
    """Which of the three conditions failed."""
    images = sum(map(is_image_name, controls))
    if not table:
        why = f"{split}/{TARGET_FOLDER}/ has no prompt <base>.txt"
    elif not images:
        why = f"{split}/{CONTROL_FOLDER}/ has no image"
    else:
        why = (
            f"none of the {images:,} images in {split}/{CONTROL_FOLDER}/ has the name of a prompt "
            f"(<base>.png for <base>.txt, further ones <base>_control_1.png, …); {len(orphans):,} fit no sample"
        )
    found(codes.EMPTY_SPLIT(split, f"Split {split!r} has no sample with a control image: {why}."))


class _NearMisses:
    """Names that differ from a wanted one by case, Unicode form or separators only. Built when first asked."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = names
        self._index: dict[str, str] | None = None

    def hint(self, base: str, suffix: str = "") -> str:
        """` Did you mean …?`, or nothing."""
        if self._index is None:
            self._index = {fold(split_extension(name)[0]): name for name in reversed(list(self._names))}
        near = self._index.get(fold(base))
        if near is None:
            return ""
        same = "" if near != base else " (the same letters in another Unicode form)"
        return f" Did you mean {near + suffix!r}?{same}"
