"""The directory layout: ``<split>/control_images/`` beside ``<split>/training_images/``.

A sample is a prompt file ``training_images/<base>.txt``; its id is ``<base>``. Controls and the mask lie in
``control_images/``, the target beside the prompt; names are paired by ``naming.parse``. Samples come in the order of
their ids. Prompts are UTF-8, a byte order mark, outer white space and CRLF set aside.

Of a sample nothing is held: its files are looked up in the sorted listing. Only what is odd is remembered.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from unicodedata import normalize

from qflux_hub import codes
from qflux_hub.errors import UsageError
from qflux_hub.layouts.lookup import KINDS, MEDIUM, PROMPT, Lookup
from qflux_hub.layouts.splitting import illegal, legal
from qflux_hub.naming import (
    PROMPT_EXTENSION,
    Part,
    all_parts,
    base_of,
    control_stem,
    fold,
    is_image_name,
    lacking,
    mask_stem,
    may_be_part,
    meant,
    parse,
    prefer,
    split_extension,
)
from qflux_hub.placing import Fitting, Placed, Plan, Stems, extension, has_media, numbers
from qflux_hub.report import Finding, Found
from qflux_hub.sample import MASK, ROLES, TARGET, Sample
from qflux_hub.texts import decode_prompt, kept_prompt
from qflux_hub.tree import Tree, unreadable
from qflux_hub.writing import Output

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
_TOGETHER = 256
"""Names and samples that are looked up together."""
_USED = ("main", "control", "mask")
"""The roles of files that belong to a sample."""


def splits(tree: Tree, found: Found) -> tuple[str, ...]:
    """Folders that hold ``control_images`` or ``training_images``, train first; other ones are left aside."""
    shaped = _shaped(tree)
    names = legal({name: [name] for name in shaped}, found)
    aside: dict[str, list[str]] = {}
    for folder in tree.files:
        aside.setdefault(folder.partition("/")[0], []).append(folder)
    for top in sorted(aside.keys() - set(shaped)):
        folders = aside[top]
        bases = [_Folder(tree, f"{split}/{TARGET_FOLDER}") for split in shaped if "mask" in top.lower()]
        if bases and _report_strays(top, tree.files.get(top, ()), bases, found):
            continue
        first = f"{folders[0]}/{tree.files[folders[0]][0]}".lstrip("/")
        _left_aside(first, sum(len(tree.files[folder]) for folder in folders), found)
    return names


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


@dataclass(slots=True)
class _Look:
    """What there is to tell of the names in a folder, whatever its samples are.

    ``stems`` counts those of each kind; None is that of all other files. ``rivals`` are files of one kind and stem, by
    both. ``strange`` is what stems say that are not used, or only by the longer of two samples.
    """

    stems: dict[str | None, int] = field(default_factory=lambda: {MEDIUM: 0, PROMPT: 0, None: 0})
    rivals: dict[str, dict[str, list[str]]] = field(default_factory=lambda: {MEDIUM: {}, PROMPT: {}})
    strange: dict[str, Part] = field(default_factory=dict)


@dataclass(slots=True)
class _Files:
    """The files of some samples in one folder: those to use by their stems, and the numbers of further controls."""

    media: dict[str, str] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)


class _Folder(Lookup):
    """A folder of a split.

    Once it was looked at, it knows whether a base in it is like the name of a part; hardly ever is one, and then no
    part has to be looked up among the bases.
    """

    def __init__(self, tree: Tree, path: str) -> None:
        super().__init__(tree, path)
        self._has_bases_like_parts = True

    def __contains__(self, stem: object) -> bool:
        known = isinstance(stem, str) and not self._has_bases_like_parts and may_be_part(stem)
        return not known and super().__contains__(stem)

    def has_all(self, prompts: Sequence[str]) -> bool:
        """Whether all of these prompts, in order, are there."""
        return {*prompts}.issubset(self._cursor.between(prompts[0], f"{prompts[-1]}/"))

    def known(self, stems: Iterable[str]) -> set[str]:
        """Those of ``stems`` that are bases, as far as one look at all names between them tells."""
        prompts = {f"{stem}{PROMPT_EXTENSION}": stem for stem in stems}
        between = self._cursor.between(min(prompts), f"{max(prompts)}/")
        return {prompts[name] for name in prompts.keys() & between}

    def samples(self, wanted: Sequence[str], bases: Container[str]) -> _Files:
        """The files of these samples, sorted ones, found by one look at all names between theirs."""
        files, own = _Files(), set(wanted)
        for name in self._cursor.between(*all_parts(wanted)):
            stem, extension = split_extension(name)
            kind = KINDS.get(extension)
            if stem not in own:
                if kind != MEDIUM or not may_be_part(stem):
                    continue
                part = parse(stem, own)
                if part.role not in _USED or stem in bases:
                    continue
                if part.role == "control" and stem not in files.media:
                    files.numbers.setdefault(part.base, []).append(part.index)
            if kind is not None:
                of_kind = files.media if kind == MEDIUM else files.prompts
                of_kind[stem] = prefer([of_kind[stem], name])[0] if stem in of_kind else name
        for found in files.numbers.values():
            found.sort()
        return files

    def _are_plain(self, names: Sequence[str], bases: _Folder, last: dict[str, str], look: _Look) -> bool:
        """Count names of which there is nothing else to tell, as of most, in a third of the time that a look takes.

        Each has one dot, then a prompt's extension or the one that all media among them have, so none has a rival here,
        nor has ``last``, the ones before; no name is like that of a part, and all media are called like samples.
        """
        together = "\0".join((*names, ""))
        ending = next((end for end in map(_ending, names) if end != PROMPT_EXTENSION), "")
        media, prompts = together.count(f"{ending}\0"), together.count(f"{PROMPT_EXTENSION}\0")
        if (
            KINDS.get(ending) != MEDIUM
            or not media + prompts == together.count(".") == len(names)
            or (prompts and bases is not self)
            or any(
                last[kind].partition(".")[0] + end in names
                for kind, end in ((MEDIUM, ending), (PROMPT, PROMPT_EXTENSION))
            )
            or "_control_" in together
            or f"{mask_stem('')}." in together
            or "\0." in f"\0{together}"  # what begins with a dot has no extension
        ):
            return False
        own = together.replace(f"{ending}\0", f"{PROMPT_EXTENSION}\0").split("\0")[:-1]
        if not bases.has_all(own):
            return False
        look.stems[MEDIUM] += media
        look.stems[PROMPT] += prompts
        for name in names[-2:]:
            last[KINDS[_ending(name)]] = name
        return True

    def look(self, bases: _Folder, used: Container[str] = _USED) -> _Look:
        """What there is to tell of the names in the folder, in which files of these roles are used."""
        look, last = _Look(), {MEDIUM: "", PROMPT: ""}
        has_bases_like_parts = False
        for names in _together(self.names):
            if self._are_plain(names, bases, last, look):
                continue
            parts = [split_extension(name) for name in names]
            stems = {stem for stem, _ in parts}
            known = bases.known(stems | {base_of(stem) for stem in stems if may_be_part(stem)})
            for name, (stem, ending) in zip(names, parts, strict=True):
                kind = KINDS.get(ending)
                if kind is not None:
                    if last[kind].startswith(f"{stem}.") and name in (same := self.files(stem, kind))[1:]:
                        look.rivals[kind][stem] = same
                        continue
                    last[kind] = name
                look.stems[kind] += 1
                if kind == PROMPT:
                    has_bases_like_parts = has_bases_like_parts or may_be_part(stem)
                elif kind == MEDIUM and (stem not in known or may_be_part(stem)):
                    part = parse(stem, known)
                    if part.role not in ("control", "mask") or stem in bases:
                        part = parse(stem, bases)
                    if part.role not in used or part.shadowed:
                        look.strange[stem] = part
        self._has_bases_like_parts = has_bases_like_parts
        return look


def _ending(name: str) -> str:
    """What follows the stem, as it is written."""
    return name[name.rfind(".") :]


def _together(them: Iterable[str]) -> Iterator[list[str]]:
    """Some at a time."""
    left = iter(them)
    while some := [*islice(left, _TOGETHER)]:
        yield some


def read(tree: Tree, split: str, columns: Mapping[str, str], found: Found) -> Iterator[Sample]:
    """The samples of ``split`` in the order of their ids."""
    if columns:
        raise UsageError("--column names columns of a table; this is a folder of files.", hint="Leave it out.")
    controls, targets = _Folder(tree, f"{split}/{CONTROL_FOLDER}"), _Folder(tree, f"{split}/{TARGET_FOLDER}")
    of_targets = targets.look(targets, ("main", "mask"))
    of_controls = controls.look(targets)
    for folder, rivals in (
        (controls, of_controls.rivals[MEDIUM]),
        (targets, of_targets.rivals[MEDIUM]),
        (targets, of_targets.rivals[PROMPT]),
    ):
        _report_rivals(split, folder.path, rivals, targets, found)
    prompts = _near(targets, (*of_controls.strange.values(), *of_targets.strange.values()))
    orphans = _report_controls(controls, of_controls.strange, prompts, found)
    _report_targets(targets, of_targets.strange, prompts, found)
    aside = {
        controls.path: _aside(controls, of_controls, None, PROMPT),
        targets.path: _aside(targets, of_targets, None),
    }
    _report_unused(tree, split, aside, targets, found)
    near: _NearMisses | None = None  # made when first needed
    left_out, prompt_folder = 0, f"{targets.path}/"
    for base, control, target in _samples(controls, targets):
        key = (split, base)
        prompt_path = f"{prompt_folder}{target.prompts[base]}"
        main, numbers = control.media.get(base), control.numbers.get(base, ())
        if not main and not numbers:
            left_out += 1
            near = near or _NearMisses(dict(controls.of_kind(None)) | orphans)
            message = f"{prompt_path} has no control image {controls.path}/{base}.*, so the sample is left out."
            found(codes.MISSING_CONTROL(prompt_path, message + near.hint(base), fix=near.renaming(base), sample=key))
            continue
        paths = [f"{controls.path}/{main}"] if main else []
        if numbers:
            paths += [f"{controls.path}/{control.media[control_stem(base, number)]}" for number in numbers]
            _report_numbers(numbers, paths, key, found)
        mask = _mask(base, control.media, target.media, target.prompts, key, found)
        image = target.media.get(base)
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
                target=tree.blob(f"{prompt_folder}{image}") if image else None,
                place=prompt_folder if prompt_path.endswith(PROMPT_EXTENSION) else prompt_path,
            )
        except OSError as error:
            found(unreadable(error, key))
            continue
        yield sample
    if left_out == of_targets.stems[PROMPT]:
        _report_empty(split, left_out, of_controls.stems[MEDIUM], found)


def _samples(controls: _Folder, targets: _Folder) -> Iterator[tuple[str, _Files, _Files]]:
    """Every base in order, with the files of both folders in which its own are."""
    for some in _together(targets.bases()):
        of_controls, of_targets = controls.samples(some, targets), targets.samples(some, targets)
        for base in some:
            yield base, of_controls, of_targets


def _report_rivals(
    split: str, folder: str, rivals: Mapping[str, list[str]], bases: Container[str], found: Found
) -> None:
    """Files that claim the same role of a sample."""
    for stem, names in rivals.items():
        part = parse(stem, bases)
        if part.role in _USED:
            first, *others = prefer(names)
            path, fix = f"{folder}/{others[0]}", "remove the one that is wrong"
            used = f"{first} is used, {', '.join(others)} is not"
            message = f"{folder}/ has {len(names)} files for one role: {used}."
            found(codes.AMBIGUOUS_FILE(path, message, fix=fix, sample=(split, part.base)))


def _near(targets: _Folder, parts: Iterable[Part]) -> _NearMisses:
    """The prompts that are nearly those of which these parts speak; others are not held."""
    wanted = {
        fold(like.base) for part in parts for like in (Part(base_of(part.base), "other"), meant(part.base)) if like
    }
    stems = [stem for stem, _ in targets.of_kind(PROMPT) if fold(stem) in wanted] if wanted else []
    return _NearMisses({stem: prefer(targets.files(stem, PROMPT))[0] for stem in stems})


def _report_controls(controls: _Folder, strange: Mapping[str, Part], near: _NearMisses, found: Found) -> dict[str, str]:
    """Images of the control folder that belong to no sample; the first of each stem is returned."""
    orphans: dict[str, str] = {}
    for stem, part in strange.items():
        names = controls.files(stem, MEDIUM)
        if part.shadowed:
            name = prefer(names)[0]
            message = f"{name} belongs to {part.base!r}, not to {part.shadowed!r}, because {part.base}.txt exists."
            found(codes.SHADOWED_NAME(f"{controls.path}/{name}", message))
            continue
        orphans[stem] = names[0]
        for name in names:
            found(_orphan(part, name, controls.path, near))
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
    base, like = base_of(part.base), meant(part.base)
    hint, closest, similar = near.hint(base), near.of(base), near.of(like.base) if like else None
    right = f"{closest}{part.base[len(base) :]}" if closest else None
    if like and similar:
        right = mask_stem(similar) if like.role == "mask" else control_stem(similar, like.index)
        hint = f" Did you mean {right + extension!r}?"
    code = codes.ORPHAN_MASK if part.base.endswith("_mask") else codes.ORPHAN_CONTROL
    fix = f"rename it to {right}{extension}" if right else None
    return code(path, f"{path} is not used: there is no {TARGET_FOLDER}/{base}.txt.{hint}", fix=fix)


def _report_targets(targets: _Folder, strange: Mapping[str, Part], near: _NearMisses, found: Found) -> None:
    """Images beside the prompts that are neither target nor mask of a sample."""
    folder = targets.path
    for stem, part in strange.items():
        if part.shadowed:
            continue
        for name in targets.files(stem, MEDIUM):
            path = f"{folder}/{name}"
            if part.role == "other" and base_of(stem) != stem:
                found(_orphan(part, name, folder, near))
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


def _mask(
    base: str, controls: Mapping[str, str], targets: Mapping[str, str], bases: Container[str], key: Key, found: Found
) -> str | None:
    """The mask's path: in the control folder, else in the target folder."""
    stem = mask_stem(base)
    beside_control, beside_target = controls.get(stem), targets.get(stem)
    if not (beside_control or beside_target) or stem in bases:
        return None
    other = f"{key[0]}/{TARGET_FOLDER}/{beside_target}"
    if not beside_control:
        message = f"The mask of {base!r} is taken from {TARGET_FOLDER}/."
        found(codes.MASK_BESIDE_TARGET(other, message, fix=f"move it to {CONTROL_FOLDER}/", sample=key))
        return other
    path = f"{key[0]}/{CONTROL_FOLDER}/{beside_control}"
    if beside_target:
        found(codes.MASK_TWICE(other, f"{base!r} has two masks: {path} is used, {other} is not.", sample=key))
    return path


def _aside(folder: _Folder, look: _Look, *kinds: str | None) -> tuple[str, int]:
    """The first file of these kinds, and how many there are."""
    count = sum(look.stems[kind] for kind in kinds)
    return next(folder.of_kind(*kinds))[1] if count else "", count


def _report_unused(
    tree: Tree, split: str, aside: Mapping[str, tuple[str, int]], bases: Container[str], found: Found
) -> None:
    """What lies in the split's folders without being looked at, one finding a folder.

    ``aside`` has the first such file and their number, for folders of which others are looked at.
    """
    for folder, names in tree.files.items():
        first, count = aside.get(folder, (names[0], len(names)))
        if not count or not (folder == split or folder.startswith(split + "/")):
            continue
        beside = folder not in aside and folder.rpartition("/")[0] == split
        if not (beside and _report_strays(folder, names, [bases], found)):
            _left_aside(f"{folder}/{first}", count, found)


def _report_strays(folder: str, names: Iterable[str], bases: Sequence[Container[str]], found: Found) -> bool:
    """Images that are named like samples, so they were probably meant to be used; False where there are none."""
    first, count = "", 0
    for name in filter(is_image_name, names):
        stem = split_extension(name)[0]
        if any(parse(stem, of_split).role in _USED for of_split in bases):
            first, count = first or name, count + 1
    if count:
        message = f"{folder}/ has images named like samples, such as {first} ({count:,} in all): not used."
        fix = f"masks belong into {CONTROL_FOLDER}/ as <base>_mask, further controls as <base>_control_1"
        found(codes.UNUSED_FILE(f"{folder}/{first}", message, fix=fix, severity="warning"))
    return count > 0


def _left_aside(first: str, count: int, found: Found) -> None:
    others = {1: " is", 2: " and 1 more file are"}.get(count, f" and {count - 1:,} more files are")
    found(codes.UNUSED_FILE(first, f"{first}{others} left aside."))


def _report_empty(split: str, prompts: int, images: int, found: Found) -> None:
    """Which of the three conditions failed."""
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
        for number, sample, base in Stems(fitting).in_order():
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


def outputs(placed: Mapping[str, Plan]) -> Iterator[Output]:
    """The images of each sample, then its prompt: so a prompt that is there has all its images."""
    for split, samples in placed.items():
        for one in samples:
            for path, blob in one.files():
                yield Output(path, blob)
            yield Output.of(f"{split}/{TARGET_FOLDER}/{one.id}{PROMPT_EXTENSION}", one.prompt.encode())
