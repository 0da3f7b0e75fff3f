"""The directory layout: ``<split>/control_images/`` beside ``<split>/training_images/``.

A sample is a prompt file ``training_images/<base>.txt``; its id is ``<base>``. Controls and the mask lie in
``control_images/``, the target beside the prompt; names are paired by ``naming.parse``. Samples come in the order of
their ids. Prompts are UTF-8, a byte order mark, outer white space and CRLF set aside.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from unicodedata import normalize

from qflux_hub import codes
from qflux_hub.errors import UsageError
from qflux_hub.layouts.splitting import illegal, legal
from qflux_hub.naming import (
    MEDIA_EXTENSIONS,
    PROMPT_EXTENSION,
    Part,
    base_of,
    control_stem,
    fold,
    is_image_name,
    lacking,
    mask_stem,
    meant,
    parse,
    prefer,
    split_extension,
    to_parse,
)
from qflux_hub.report import Finding, Found
from qflux_hub.sample import MASK, ROLES, TARGET, Sample
from qflux_hub.texts import decode_prompt, kept_prompt
from qflux_hub.tree import Tree, unreadable
from qflux_hub.writing import Fitting, Output, Placed, Stems, extension, has_media, numbers

NAME = "directory"
SHAPE = "train/control_images/cat.jpg   train/training_images/cat.txt   train/training_images/cat.png"
CONTROL_FOLDER, TARGET_FOLDER = "control_images", "training_images"
LOSES: Mapping[str, str] = {
    "sample": "it has no image that could be a control, or one with an extension that is not read",
    "id": "it cannot name files, or another sample's files would have the same names",
    "order": "samples are read in the order of their names",
    "prompt": "outer white space and line ends of Windows are no part of a prompt",
    "captions": "there is one text for each sample",
    "column": "there is no place for further columns",
    "other": "there is no place for further files",
    "file": "files are named after their sample",
}

Key = tuple[str, str]
"""(split, id)"""


def splits(tree: Tree, found: Found) -> tuple[str, ...]:
    """Folders that hold ``control_images`` or ``training_images``, train first; other ones are left aside."""
    shaped = _shaped(tree)
    names = legal({name: [name] for name in shaped}, found)
    aside: dict[str, list[str]] = {}
    for folder in tree.files:
        aside.setdefault(folder.partition("/")[0], []).append(folder)
    for top in sorted(aside.keys() - set(shaped)):
        folders = aside[top]
        if "mask" in top.lower() and (alike := _named_like_samples(tree.files.get(top, ()), _bases(tree, shaped))):
            _report_strays(top, alike, found)
            continue
        first = f"{folders[0]}/{tree.files[folders[0]][0]}".lstrip("/")
        _left_aside(first, sum(len(tree.files[folder]) for folder in folders), found)
    return names


def _bases(tree: Tree, splits: Sequence[str]) -> set[str]:
    """What the samples of all splits are called."""
    names = (split_extension(name) for split in splits for name in tree.files.get(f"{split}/{TARGET_FOLDER}", ()))
    return {stem for stem, extension in names if extension == PROMPT_EXTENSION}


def _shaped(tree: Tree) -> list[str]:
    parts = (folder.split("/") for folder in tree.files)
    return sorted({part[0] for part in parts if len(part) >= 2 and part[1] in (CONTROL_FOLDER, TARGET_FOLDER)})


def evidence(tree: Tree, splits: Sequence[str]) -> Sequence[str]:
    """Folders of the splits."""
    folders = (f"{split}/{name}" for split in splits for name in (CONTROL_FOLDER, TARGET_FOLDER))
    return [f"{folder}/" for folder in folders if folder in tree.files]


def doubt(tree: Tree, splits: Sequence[str]) -> str:
    """Folders of these names in which no prompt lies may be those of a table's images."""
    folders = [tree.files.get(f"{split}/{TARGET_FOLDER}", ()) for split in splits]
    prompts = any(split_extension(name)[1] == PROMPT_EXTENSION for names in folders for name in names)
    return "" if prompts else f"no prompt in {TARGET_FOLDER}/"


def missing(tree: Tree) -> str:
    """What keeps the tree from this layout."""
    for name in (CONTROL_FOLDER, TARGET_FOLDER):
        if name in tree.files:
            return f"{name}/ lies at the top; the folder above is the dataset, and this one a split such as train"
    if shaped := _shaped(tree):
        return illegal(shaped)
    wanted = f"no train/ or test/ that holds {CONTROL_FOLDER}/ and {TARGET_FOLDER}/"
    for folder in sorted(tree.files):
        above, _, last = folder.rpartition("/")
        if right := _LOOKALIKES.get(_loose(last)):
            deeper = last == right and "/" in above
            return (
                f"{wanted}; {above.rpartition('/')[0]}/ has them"
                if deeper
                else f"{wanted}; {folder}/ is nearly {right}/"
            )
    return wanted


def _loose(name: str) -> str:
    return fold(name).rstrip("s")


_LOOKALIKES = {_loose(name): name for name in (CONTROL_FOLDER, TARGET_FOLDER)}


class _Names(dict[str, str]):
    """Names of files of one kind in one folder by their stem; ``rivals`` has all of them where several share it."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder
        self.rivals: dict[str, list[str]] = {}

    def settle(self, split: str, bases: Collection[str], found: Found) -> None:
        """Take the first that ``prefer`` names of every sample's rivals."""
        for stem, names in self.rivals.items():
            part = parse(stem, bases)
            if part.role in ("main", "control", "mask"):
                self[stem], *others = prefer(names)
                path, fix = f"{self.folder}/{others[0]}", "remove the one that is wrong"
                used = f"{self[stem]} is used, {', '.join(others)} is not"
                message = f"{self.folder}/ has {len(names)} files for one role: {used}."
                found(codes.AMBIGUOUS_FILE(path, message, fix=fix, sample=(split, part.base)))


def read(tree: Tree, split: str, columns: Mapping[str, str], found: Found) -> Iterator[Sample]:
    """The samples of ``split`` in the order of their ids."""
    if columns:
        raise UsageError("--column names columns of a table; this is a folder of files.", hint="Leave it out.")
    control_folder, target_folder = f"{split}/{CONTROL_FOLDER}", f"{split}/{TARGET_FOLDER}"
    stems: dict[str, str] = {}  # the stem of a sample is the same in all three tables
    controls, misplaced, unused = _list(tree, control_folder, stems)
    targets, prompts, others = _list(tree, target_folder, stems)
    del stems
    for names in (controls, targets, prompts):
        names.settle(split, prompts, found)
    further, orphans = _sort_controls(controls, prompts, found)
    _report_targets(targets, prompts, found)
    aside = {control_folder: sorted([*misplaced.values(), *unused]), target_folder: others}
    _report_unused(tree, split, aside, prompts, found)
    near = _NearMisses({split_extension(name)[0]: name for name in unused} | orphans)
    left_out, prompt_folder = 0, f"{target_folder}/"
    for base in sorted(prompts):
        key = (split, base)
        prompt_path = f"{target_folder}/{prompts[base]}"
        main, numbers = controls.get(base), further.get(base, ())
        if not main and not numbers:
            left_out += 1
            message = f"{prompt_path} has no control image {control_folder}/{base}.*, so the sample is left out."
            found(codes.MISSING_CONTROL(prompt_path, message + near.hint(base), fix=near.renaming(base), sample=key))
            continue
        paths = [f"{control_folder}/{main}"] if main else []
        if numbers:
            paths += [f"{control_folder}/{controls[control_stem(base, number)]}" for number in numbers]
            _report_numbers(numbers, paths, key, found)
        mask = _mask(base, controls, targets, prompts, key, found)
        target = targets.get(base)
        try:
            prompt = decode_prompt(tree.read(prompt_path), prompt_path, key, found)
            if prompt is None:
                continue
            sample = Sample(
                id=base,
                split=split,
                prompt=prompt,
                controls=tuple(map(tree.blob, paths)),
                mask=tree.blob(mask) if mask else None,
                target=tree.blob(f"{target_folder}/{target}") if target else None,
                place=prompt_folder if prompt_path.endswith(PROMPT_EXTENSION) else prompt_path,
            )
        except OSError as error:
            found(unreadable(error, key))
            continue
        for names in (prompts, controls, targets):
            if base in names:  # its blob has the name from here on; of a hundred thousand, both would be 20 MB
                names[base] = ""
        yield sample
    if left_out == len(prompts):
        _report_empty(split, prompts, controls, found)


def _list(tree: Tree, folder: str, stems: dict[str, str]) -> tuple[_Names, _Names, list[str]]:
    """(images, prompts, others) of a folder. ``stems`` holds every stem once, for all calls."""
    images, prompts, others = _Names(folder), _Names(folder), []
    for name in tree.files.get(folder, ()):
        stem, extension = split_extension(name)
        if extension in MEDIA_EXTENSIONS:
            kind = images
        elif extension == PROMPT_EXTENSION:
            kind = prompts
        else:
            others.append(name)
            continue
        first = kind.setdefault(stems.setdefault(stem, stem), name)
        if first is not name:
            kind.rivals.setdefault(stem, [first]).append(name)
    return images, prompts, others


def _sort_controls(controls: _Names, prompts: _Names, found: Found) -> tuple[dict[str, list[int]], dict[str, str]]:
    """The numbers of each base's further controls, in order; and the images of the folder that belong to none."""
    further: dict[str, list[int]] = {}
    orphans: dict[str, str] = {}
    near = _NearMisses(prompts)
    for stem in to_parse(controls, prompts):
        part, name = parse(stem, prompts), controls[stem]
        if part.role == "control":
            further.setdefault(part.base, []).append(part.index)
        elif part.role not in ("main", "mask"):
            orphans[stem] = name
            for rival in controls.rivals.get(stem, [name]):
                found(_orphan(part, rival, controls.folder, near))
        elif part.shadowed:
            message = f"{name} belongs to {part.base!r}, not to {part.shadowed!r}, because {part.base}.txt exists."
            found(codes.SHADOWED_NAME(f"{controls.folder}/{name}", message))
    for found_numbers in further.values():
        found_numbers.sort()
    return further, orphans


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
    base, like = base_of(part.base), meant(part.base)
    hint, closest, similar = near.hint(base), near.of(base), near.of(like.base) if like else None
    right = f"{closest}{part.base[len(base) :]}" if closest else None
    if like and similar:
        right = mask_stem(similar) if like.role == "mask" else control_stem(similar, like.index)
        hint = f" Did you mean {right + extension!r}?"
    code = codes.ORPHAN_MASK if part.base.endswith("_mask") else codes.ORPHAN_CONTROL
    fix = f"rename it to {right}{extension}" if right else None
    return code(path, f"{path} is not used: there is no {TARGET_FOLDER}/{base}.txt.{hint}", fix=fix)


def _report_targets(targets: _Names, prompts: _Names, found: Found) -> None:
    """Images beside the prompts that are neither target nor mask of a sample."""
    folder, near = targets.folder, _NearMisses(prompts)
    for stem in to_parse(targets, prompts):
        part = parse(stem, prompts)
        if part.role in ("main", "mask"):
            continue
        for rival in targets.rivals.get(stem, [targets[stem]]):
            path = f"{folder}/{rival}"
            if part.role == "other" and base_of(stem) != stem:
                found(_orphan(part, rival, folder, near))
            elif part.role == "other":
                message = f"{path} is not used: there is no {stem}.txt beside it.{near.hint(stem)}"
                found(codes.ORPHAN_TARGET(path, message, fix=f"write the prompt to {folder}/{stem}.txt"))
            else:
                message = f"{path} is not used: controls of {part.base!r} belong into {CONTROL_FOLDER}/."
                found(codes.ORPHAN_CONTROL(path, message, fix=f"move it to {CONTROL_FOLDER}/"))


def _report_numbers(numbers: Sequence[int], paths: Sequence[str], key: Key, found: Found) -> None:
    """What is odd about the numbers of a sample's further controls, the last of ``paths``."""
    if len(paths) == len(numbers):
        folder, _, first = paths[0].rpartition("/")
        message = f"{key[1]!r} has no main control {folder}/{key[1]}.*; its first is {first}."
        found(codes.MISSING_MAIN_CONTROL(paths[0], message, sample=key))
    if lacks := lacking(numbers):
        message = f"{key[1]!r} has {control_stem('', numbers[-1])} but not {lacks}."
        found(codes.CONTROL_GAP(paths[-1], message, sample=key))


def _mask(base: str, controls: _Names, targets: _Names, prompts: Collection[str], key: Key, found: Found) -> str | None:
    """The mask's path: in the control folder, else in the target folder."""
    stem = mask_stem(base)
    beside_control, beside_target = controls.get(stem), targets.get(stem)
    if not (beside_control or beside_target) or stem in prompts:
        return None
    other = f"{targets.folder}/{beside_target}"
    if not beside_control:
        message = f"The mask of {base!r} is taken from {TARGET_FOLDER}/."
        found(codes.MASK_BESIDE_TARGET(other, message, fix=f"move it to {CONTROL_FOLDER}/", sample=key))
        return other
    path = f"{controls.folder}/{beside_control}"
    if beside_target:
        found(codes.MASK_TWICE(other, f"{base!r} has two masks: {path} is used, {other} is not.", sample=key))
    return path


def _report_unused(
    tree: Tree, split: str, unused: Mapping[str, Sequence[str]], bases: Collection[str], found: Found
) -> None:
    """What lies in the split's folders without being looked at, one finding a folder."""
    for folder, names in tree.files.items():
        left = unused.get(folder, names)
        if not left or not (folder == split or folder.startswith(split + "/")):
            continue
        beside = folder not in unused and folder.rpartition("/")[0] == split
        alike = _named_like_samples(left, bases) if beside else []
        if alike:
            _report_strays(folder, alike, found)
        else:
            _left_aside(f"{folder}/{left[0]}", len(left), found)


def _named_like_samples(names: Sequence[str], bases: Collection[str]) -> list[str]:
    images = (name for name in names if is_image_name(name))
    return [name for name in images if parse(split_extension(name)[0], bases).role in ("main", "control", "mask")]


def _report_strays(folder: str, names: Sequence[str], found: Found) -> None:
    """Images that were probably meant to be used."""
    message = f"{folder}/ has images named like samples, such as {names[0]} ({len(names):,} in all): not used."
    fix = f"masks belong into {CONTROL_FOLDER}/ as <base>_mask, further controls as <base>_control_1"
    found(codes.UNUSED_FILE(f"{folder}/{names[0]}", message, fix=fix, severity="warning"))


def _left_aside(first: str, count: int, found: Found) -> None:
    others = {1: " is", 2: " and 1 more file are"}.get(count, f" and {count - 1:,} more files are")
    found(codes.UNUSED_FILE(first, f"{first}{others} left aside."))


def _report_empty(split: str, prompts: Collection[str], controls: _Names, found: Found) -> None:
    """Which of the three conditions failed."""
    images = len(controls)
    if not prompts:
        why = f"{split}/{TARGET_FOLDER}/ has no prompt <base>.txt"
    elif not images:
        why = f"{split}/{CONTROL_FOLDER}/ has no image"
    else:
        why = (
            f"{split}/{CONTROL_FOLDER}/ has images ({images:,}), but none has the name of a prompt "
            "(<base>.png for <base>.txt, further ones <base>_control_1.png, …)"
        )
    found(codes.EMPTY_SPLIT(split, f"Split {split!r} has no sample with a control image: {why}."))


class _NearMisses:
    """Stems that differ from a wanted one by case, Unicode form or separators only. ``names``: stem -> file name."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._folded: dict[str, str] | None = None  # built when first asked

    def of(self, stem: str) -> str | None:
        """The stem itself where it is there, else one that nearly is it."""
        if stem in self._names:
            return stem
        if self._folded is None:
            self._folded = {fold(name): name for name in reversed([*self._names])}
        return self._folded.get(fold(stem))

    def hint(self, stem: str) -> str:
        """` Did you mean …?`, or nothing."""
        near = self.of(stem)
        if near is None:
            return ""
        same = normalize("NFC", near) == normalize("NFC", stem)
        note = " (the same letters in another Unicode form)" if same else ""
        return f" Did you mean {self._names[near]!r}?{note}"

    def renaming(self, stem: str) -> str | None:
        """What would make the file with a near name one of ``stem``; None where there is none, or it has the stem."""
        near = self.of(stem)
        if near is None or near == stem:
            return None
        return f"rename {self._names[near]} to {stem}{self._names[near][len(near) :]}"


def place(splits: Mapping[str, Sequence[Sample]]) -> Iterator[Placed]:
    """Every sample under its id, its controls under the numbers that they had."""
    for split, samples in splits.items():
        fitting = Fitting(samples, lambda one: bool(one.controls) and has_media(one))
        for number, sample, base in Stems(fitting, longest="_control_999999999.jpeg").in_order():
            yield Placed(number, sample, base, kept_prompt(sample.prompt), {}, _paths(split, sample, base))


def _paths(split: str, sample: Sample, base: str) -> tuple[str, ...]:
    stems = iter([control_stem(base, number) for number in numbers(sample)])
    paths = []
    for role, blob in sample.media():
        if role not in ROLES:
            paths.append("")
            continue
        stem = {TARGET: base, MASK: mask_stem(base)}.get(role) or next(stems)
        beside = f"{split}/{TARGET_FOLDER}/{stem}{extension(blob)}"
        is_beside = role == TARGET or (role == MASK and blob.name == beside)
        paths.append(beside if is_beside else f"{split}/{CONTROL_FOLDER}/{stem}{extension(blob)}")
    return tuple(paths)


def outputs(placed: Mapping[str, Sequence[Placed]]) -> Iterator[Output]:
    """The images of each sample, then its prompt: so a prompt that is there has all its images."""
    for split, samples in placed.items():
        for one in samples:
            for path, blob in one.files():
                yield Output(path, blob)
            yield Output.of(f"{split}/{TARGET_FOLDER}/{one.id}{PROMPT_EXTENSION}", one.prompt.encode())
