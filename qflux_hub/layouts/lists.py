"""Two lists: one file with a caption per line, one with the path of a file per line, as finetrainers reads them.

``captions.txt``, ``caption.txt``, ``prompts.txt`` or ``prompt.txt`` beside ``images.txt``, ``image.txt``,
``videos.txt`` or ``video.txt`` (here also ``audios.txt`` or ``audio.txt``), in the folder of the split, or at the top
for a single split called train. Line N belongs to line N; a line ends at LF or CR LF and at nothing else (finetrainers
also ends it at U+2028 and the like, so captions are written without them). Paths are relative to the lists. Captions
are taken as they stand. They hold a target and a prompt, no controls: text to image, video or sound.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from qflux_hub import codes
from qflux_hub.errors import UsageError
from qflux_hub.layouts.room import Room, is_kept
from qflux_hub.layouts.rows import Files, Row, normal_path, with_ids
from qflux_hub.layouts.splitting import illegal, legal
from qflux_hub.naming import is_split_name, kind_of
from qflux_hub.placing import Fitting, Placed, Plan, Stems, extension, is_held
from qflux_hub.report import Found
from qflux_hub.sample import NO_EXTRA, TARGET, Blob, Sample
from qflux_hub.spill import Spilled
from qflux_hub.texts import decode_table
from qflux_hub.tree import Tree, unreadable
from qflux_hub.writing import Output

NAME = "lists"
SHAPE = "train/prompts.txt  with a caption per line   train/images.txt or videos.txt  with a path per line"
LOSES: Mapping[str, str] = {
    "sample": "it has no target, or one with an extension that is not read",
    "control": "there is no place for controls",
    "mask": "there is no place for masks",
    "id": "ids are the names of files, and it cannot name one",
    "prompt": "a caption is one line, and begins with no byte order mark",
    "captions": "there is one line for each file",
    "column": "there is no place for further columns",
    "other": "there is no place for further files",
    "file": "files are named after their sample",
}
_CAPTIONS = ("captions.txt", "caption.txt", "prompts.txt", "prompt.txt")
_FILES = ("images.txt", "image.txt", "videos.txt", "video.txt", "audios.txt", "audio.txt")
_BREAKS = re.compile("\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")


def of_folder(names: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """The (caption lists, file lists) among the names of a folder's files; None unless there is one of both."""
    captions, files = ([name for name in known if name in names] for known in (_CAPTIONS, _FILES))
    return (captions, files) if captions and files else None


def splits(tree: Tree, found: Found) -> tuple[str, ...]:
    """Folders at the top that hold both lists; else train, when they lie at the top itself."""
    folders = _folders(tree)
    for split, folder in folders.items():
        for same in of_folder(tree.files.get(folder, ())) or ():
            if is_split_name(split) and len(same) > 1:
                message = f"There are {len(same)} lists of one kind: {same[0]} is used, {', '.join(same[1:])} is not."
                found(
                    codes.AMBIGUOUS_FILE(posixpath.join(folder, same[1]), message, fix="remove the one that is wrong")
                )
    return legal({split: [split] for split in folders}, found)


def missing(tree: Tree) -> str:
    """What keeps the tree from this layout."""
    return (
        illegal(_folders(tree))
        or "no prompts.txt (or captions.txt) beside an images.txt or videos.txt, at the top or in the folder of a split"
    )


def evidence(tree: Tree, splits: Sequence[str]) -> Sequence[str]:
    """The lists of the splits."""
    folders = [_folders(tree)[split] for split in splits]
    lists = ((folder, of_folder(tree.files[folder]) or ()) for folder in folders)
    return [posixpath.join(folder, same[0]) for folder, both in lists for same in both]


def doubt(tree: Tree, splits: Sequence[str]) -> str:  # noqa: ARG001 - the protocol's signature
    """None: two such lists are nothing else."""
    return ""


def _folders(tree: Tree) -> dict[str, str]:
    """Split -> the folder of its lists."""
    if of_folder(tree.files.get("", ())):
        return {"train": ""}
    tops = (folder for folder in sorted(tree.files) if folder and "/" not in folder)
    return {folder: folder for folder in tops if of_folder(tree.files[folder])}


def read(tree: Tree, split: str, columns: Mapping[str, str], found: Found) -> Iterator[Sample]:
    """The samples of ``split`` in the order of the lines. Nothing is paired when the lists differ in length."""
    if columns:
        raise UsageError("--column names columns of a table; these are two lists.", hint="Leave it out.")
    folder = _folders(tree)[split]
    same = of_folder(tree.files.get(folder, ()))
    assert same is not None  # noqa: S101 - the folder is one of those that have both
    captions_path, files_path = (posixpath.join(folder, names[0]) for names in same)
    texts = []
    for path in (captions_path, files_path):
        try:
            text = decode_table(tree.read(path), path, found)
        except OSError as error:
            found(unreadable(error))
            continue
        if text is not None:
            lines = text.replace("\r\n", "\n").split("\n")
            texts.append(lines[:-1] if lines[-1] == "" else lines)
    if len(texts) < 2:
        return
    captions, paths = texts
    if len(captions) != len(paths):
        shorter = min(len(captions), len(paths))
        counts = f"{captions_path} has {len(captions):,} lines, {files_path} {len(paths):,}"
        longer = captions_path if len(captions) > len(paths) else files_path
        message = f"{counts}; first unmatched: line {shorter + 1} of {longer}."
        found(codes.UNEVEN_LISTS(longer, message, line=shorter + 1))
        return
    rows = Spilled(
        Row(
            number,
            "",
            text,
            normal_path(posixpath.join(folder, path.strip())) if path.strip() else "",
            "",
            (),
            NO_EXTRA,
        )
        for number, (text, path) in enumerate(zip(captions, paths, strict=True), 1)
    )
    del texts, captions, paths
    files = Files(tree, files_path, found, rows)
    for row, name in with_ids(rows, files_path, split, found):
        key = (split, name)
        if not row.target:
            message = f"{files_path}, line {row.line} names no file, so the sample is left out."
            found(codes.MISSING_TARGET(files_path, message, line=row.line, sample=key))
            continue
        target = files.find(row.target, row, key)
        try:
            if target is not None:
                origin = f"{captions_path}:{row.line}"
                yield Sample(name, split, row.prompt, (), target=tree.blob(target), place=origin)
        except OSError as error:
            found(unreadable(error, key, row.line))


def place(splits: Mapping[str, Sequence[Sample]]) -> Iterator[Placed]:
    """Every sample that has a target: its file where it lay, if that is in its split's folder, else in a folder called
    like its kind; its prompt on one line.

    Lists that lay at the top, above the folders of their files as finetrainers' guide shows them, lie there again.
    """
    at_top = [*splits] == ["train"] and all(
        "/" in one.target.name and not one.target.name.startswith("train/") for one in splits["train"] if one.target
    )
    for split, samples in splits.items():
        above, room = "" if at_top else f"{split}/", Room()
        for number, sample, base in Stems(Fitting(samples, has_target)):
            paths = (_path(blob, above, base, room) if role == TARGET else "" for role, blob in sample.media())
            prompt = _BREAKS.sub(" ", sample.prompt.replace("\0", "").lstrip("\ufeff"))
            yield Placed(number, sample, base, prompt, {}, tuple(paths))


def has_target(sample: Sample) -> bool:
    """Has a target by whose name readers know what it is."""
    return sample.target is not None and is_held(sample.target)


def _path(blob: Blob, above: str, base: str, room: Room) -> str:
    """Where a file lay, when it can lie there and is called ``base``, which no other is."""
    name, lay = f"{base}{extension(blob)}", blob.name
    stays = lay.startswith(above) and lay.rpartition("/")[2] == name and is_kept(lay, blob, room)
    path = lay if stays else f"{above}{kind_of(name)}s/{name}"
    room.put(path, blob)
    return path


def outputs(placed: Mapping[str, Plan]) -> Iterator[Output]:
    """The files, then the lists. That of the files is called after the kind of most of them."""
    kinds: dict[str, Counter[str]] = {split: Counter() for split in placed}
    for split, plan in placed.items():
        for one in plan:
            kinds[split].update(map(kind_of, one.of(TARGET)))
            yield from (Output(path, blob) for path, blob in one.files())
    for split, plan in placed.items():
        kind = max(sorted(kinds[split]), key=kinds[split].__getitem__)
        above = f"{split}/" if plan[0].of(TARGET)[0].startswith(f"{split}/") else ""
        yield Output.of_lines(f"{above}prompts.txt", partial(_prompts, plan))
        yield Output.of_lines(f"{above}{kind}s.txt", partial(_paths, plan, above))


def _prompts(plan: Plan) -> Iterator[bytes]:
    return (f"{one.prompt}\n".encode() for one in plan)


def _paths(plan: Plan, above: str) -> Iterator[bytes]:
    return (f"{path.removeprefix(above)}\n".encode() for one in plan for path in one.of(TARGET))
