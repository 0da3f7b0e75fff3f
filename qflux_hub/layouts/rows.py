"""The rows of a table that names files, the ids that follow from them, and the files looked up in a tree's listing.

Paths are relative to the tree's root, with ``/``. A recorded extension that does not exist is corrected to the one file
that does.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from qflux_hub import codes
from qflux_hub.naming import MEDIA_EXTENSIONS, fold, is_media_name, kind_of, mask_stem, prefer, split_extension, stem
from qflux_hub.report import Found
from qflux_hub.tree import Tree

_OUTSIDE = re.compile(r"(?P<up>\.\.(/|$)|~[^/]*/)|/|[A-Za-z]:")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
UNSHIFT = "compare the row with the header: a cell is missing or too many"

Key = tuple[str, str]
"""(split, id)"""


@dataclass(frozen=True, slots=True)
class Row:
    """One row with its cells in place: where it begins in the file, and what each role says there, stripped.

    ``controls`` has (number, path) of every control column, also where the path is blank; ``others`` the (name, path)
    of files that have no role.
    """

    line: int
    id: str
    prompt: str
    target: str
    mask: str
    controls: tuple[tuple[int, str], ...]
    extra: Mapping[str, str | None]
    captions: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()

    def images(self) -> list[str]:
        """The paths of the controls and the target that are not blank, the controls first."""
        return [path for path in (*(path for _, path in self.controls), self.target) if path]


def normal_path(cell: str) -> str:
    """A cell as a path with `/`, `.` and `..` resolved; leading `..` stay, so that they can be refused."""
    return posixpath.normpath(cell.replace("\\", "/")) if cell else ""


def _split(path: str) -> tuple[str, str]:
    """(folder, name) of a normal path, three times as fast as `posixpath` does it; the folder of `/a.png` is `/`."""
    folder, slash, name = path.rpartition("/")
    return folder or slash, name


def without_extension(path: str) -> str:
    """The path of an image without its extension; any other as it is."""
    return split_extension(path)[0] if is_media_name(path) else path


def ids_of(
    rows: Sequence[Row], path: str, split: str, found: Found, *, is_sample: Callable[[Row], bool] = lambda _: True
) -> list[str]:
    """One id per row: its cell, else the stem of its target or first control, by its path where stems clash.

    A row that ``is_sample`` says is none takes no id from another: where it would, it is called by its line.
    """
    sources = [row.id or row.target or next(iter(row.images()), "") for row in rows]
    stems = [source if row.id else stem(source) for row, source in zip(rows, sources, strict=True)]
    clashing = {name for name, count in Counter(stems).items() if count > 1}
    ids = [
        without_extension(source) if name in clashing and not row.id else name
        for row, source, name in zip(rows, sources, stems, strict=True)
    ]
    stay = [is_sample(row) for row in rows]
    taken = {name for name, stays in zip(ids, stay, strict=True) if stays}
    first: dict[str, int] = {}
    for number, (row, name) in enumerate(zip(rows, ids, strict=True)):
        if not name or (not stay[number] and name in taken):
            ids[number] = f"line {row.line}"
        elif name in first:
            message = f"{path}, line {row.line}: the id {name!r} stands in line {first[name]} already."
            fix = "remove one row" if row.id else "add an id column that tells them apart"
            found(codes.DUPLICATE_ID(path, message, line=row.line, fix=fix, sample=(split, name)))
        elif stay[number]:
            first[name] = row.line
    return ids


@dataclass(slots=True)
class Files:
    """Looks up the files that a table names, in the tree's listing, and finds what is wrong with them.

    ``listed`` has every path that some row names, without its extension, so that such a file is never taken for another
    row's mask.
    """

    tree: Tree
    table: str
    found: Found
    listed: set[str]
    _by_stem: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    _folded: dict[str, str] = field(default_factory=dict)

    def find(self, path: str, row: Row, key: Key) -> str | None:
        """The path of the image that a cell means, or None when there is none (and why is found)."""
        place = f"{self.table}, line {row.line}"
        candidates = self.candidates(path)
        if candidates == [path]:
            return path
        if len(candidates) == 1:
            right = candidates[0]
            message = f"{place}: {path} is {right} on disk, which is taken."
            self.found(codes.CORRECTED_EXTENSION(self.table, message, line=row.line, fix=f"write {right}", sample=key))
            return right
        if way_out := _OUTSIDE.match(path):  # asked last: the listing has no file outside, but may have `a:b.png`
            why = "leads out of" if way_out["up"] else "is absolute; paths are relative to"
            message = f"{place}: {path} {why} the dataset's folder."
            advice = "copy the file in, and write its path from there"
            self.found(codes.OUTSIDE_ROOT(self.table, message, line=row.line, fix=advice, sample=key))
            return None
        if not candidates and path.count(" ") >= 2 and not is_media_name(path):
            message = f"{place}: {path[:60]!r} stands where a path should, but reads like a prompt."
            self.found(
                codes.SHIFTED_CELLS(self.table, message, line=row.line, fix=UNSHIFT, sample=key, severity="error")
            )
            return None
        message, fix = self._why_missing(path, candidates)
        self.found(codes.MISSING_FILE(self.table, f"{place}: {message}", line=row.line, fix=fix, sample=key))
        return None

    def has(self, path: str) -> bool:
        """Whether there is a file of that very name."""
        return self.candidates(path) == [path]

    def candidates(self, path: str) -> list[str]:
        """The file of that very name, else those of its kind that differ by their extension."""
        folder, name = _split(path)
        kind = kind_of(name)
        names = self._files(folder).get(name if kind == "file" else split_extension(name)[0], ())
        if name in names:
            return [path]
        return [posixpath.join(folder, other) for other in names if kind in ("file", kind_of(other))]

    def mask(self, control: str | None, target: str | None, row: Row, key: Key) -> str | None:
        """The mask found by its name beside the main control, else beside the target."""
        masks = []
        for image in filter(None, (control, target)):
            folder, name = _split(image)
            beside = self._files(folder).get(mask_stem(split_extension(name)[0]))
            for mask in prefer(beside) if beside else ():
                path = posixpath.join(folder, mask)
                if without_extension(path) in self.listed:
                    message = f"{path} is not the mask of {key[1]!r}, because {self.table} names it as another image."
                    self.found(codes.SHADOWED_NAME(path, message, line=row.line, sample=key))
                elif path not in masks:
                    masks.append(path)
        if len(masks) > 1:
            message = f"{key[1]!r} has several masks: {masks[0]} is used, {', '.join(masks[1:])} is not."
            self.found(codes.MASK_TWICE(masks[1], message, sample=key))
        return masks[0] if masks else None

    def _files(self, folder: str) -> dict[str, list[str]]:
        """Stem -> names of the images, videos and sounds of a folder."""
        files = self._by_stem.get(folder)
        if files is None:
            files = self._by_stem[folder] = {}
            for name in self.tree.files.get(folder, ()):
                base, extension = split_extension(name)
                if extension in MEDIA_EXTENSIONS:
                    files.setdefault(base, []).append(name)
        return files

    def _why_missing(self, path: str, candidates: Sequence[str]) -> tuple[str, str | None]:
        folder, name = _split(path)
        if candidates:
            names = " and ".join(other.removeprefix(f"{folder}/") for other in candidates)
            return f"there is no {path}, but {names}; which one is meant?", "name one of them"
        if path == "." or path in self.tree.files or any(other.startswith(path + "/") for other in self.tree.files):
            return f"{path} is a folder.", "name a file"
        if name in self.tree.files.get(folder, ()):
            return f"{path} has no extension of an image, video or sound.", None
        if _ADDRESS.match(path):
            return f"{path} is an address.", "download the file into the dataset's folder"
        near = self._near(path)
        hint = f" Did you mean {near}?" if near else ""
        if folder and folder not in self.tree.files:
            return f"there is no folder {folder}/ for {path}.{hint}", "paths are relative to the dataset's folder"
        kind = kind_of(name)
        other = kind if kind in ("video", "audio") else "image"
        return f"there is no file {path}, nor with another {other} extension.{hint}", None

    def _near(self, path: str) -> str | None:
        """The image whose path differs from ``path`` by case, Unicode form, separators or extension only."""
        if not self._folded:
            for folder in sorted(self.tree.files, reverse=True):
                for other, names in self._files(folder).items():
                    self._folded[fold(posixpath.join(folder, other))] = posixpath.join(folder, names[0])
        return self._folded.get(fold(without_extension(path)))
