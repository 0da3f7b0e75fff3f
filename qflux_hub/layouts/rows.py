"""The rows of a table that names files, the ids that follow from them, and the files looked up in a tree's listing.

Paths are relative to the tree's root, with ``/``. A recorded extension that does not exist is corrected to the one file
that does.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from qflux_hub import codes
from qflux_hub.layouts.lookup import MEDIUM, Lookup
from qflux_hub.naming import (
    fold,
    is_media_name,
    kind_of,
    mask_stem,
    prefer,
    split_extension,
    stem,
)
from qflux_hub.report import Found
from qflux_hub.spill import Table
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

    def __reduce__(self) -> tuple[type[Row], tuple[object, ...]]:
        named = (self.line, self.id, self.prompt, self.target, self.mask, self.controls)
        return Row, (*named, self.extra, self.captions, self.others)


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


def with_ids(
    rows: Sequence[Row], path: str, split: str, found: Found, *, is_sample: Callable[[Row], bool] = lambda _: True
) -> Iterator[tuple[Row, str]]:
    """Each row and its id: its cell, else the stem of its target or first control, by its path where stems clash.

    A row that ``is_sample`` says is none takes no id from another: where it would, it is called by its line.
    """
    met, clashing, others = Table(), Table(), False
    for row in rows:
        name = row.id or stem(_source(row))
        if not met.claim(name):
            clashing.claim(name)
        others = others or not is_sample(row)
    del met

    def called(row: Row) -> str:
        name = row.id or stem(_source(row))
        return without_extension(_source(row)) if clashing and not row.id and name in clashing else name

    taken, first = Table(), Table()
    for row in rows if others else ():
        if is_sample(row):
            taken.claim(called(row))
    for row in rows:
        name = called(row)
        if not name or (others and not is_sample(row) and name in taken):
            yield row, f"line {row.line}"
            continue
        if clashing and name in first:  # where no names clash, no ids do
            message = f"{path}, line {row.line}: the id {name!r} stands in line {first.get(name)} already."
            fix = "remove one row" if row.id else "add an id column that tells them apart"
            found(codes.DUPLICATE_ID(path, message, line=row.line, fix=fix, sample=(split, name)))
        elif clashing and is_sample(row):
            first.claim(name, row.line)
        yield row, name


def _source(row: Row) -> str:
    """The path by which a row without an id is called."""
    return row.target or next(iter(row.images()), "")


@dataclass(slots=True)
class Files:
    """Looks up the files that a table names, in the tree's listing, and finds what is wrong with them.

    ``rows`` are all of the table: no file that one of them names is taken for the mask of another.
    """

    tree: Tree
    table: str
    found: Found
    rows: Iterable[Row]
    _listed: Table | None = None
    _folders: dict[str, Lookup] = field(default_factory=dict)
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
        names = self._named(folder, name if kind == "file" else split_extension(name)[0])
        if name in names:
            return [path]
        return [posixpath.join(folder, other) for other in names if kind in ("file", kind_of(other))]

    def mask(self, control: str | None, target: str | None, row: Row, key: Key) -> str | None:
        """The mask found by its name beside the main control, else beside the target."""
        masks = []
        for image in filter(None, (control, target)):
            folder, name = _split(image)
            for mask in prefer(self._named(folder, mask_stem(split_extension(name)[0]))):
                path = posixpath.join(folder, mask)
                if self._is_listed(without_extension(path)):
                    message = f"{path} is not the mask of {key[1]!r}, because {self.table} names it as another image."
                    self.found(codes.SHADOWED_NAME(path, message, line=row.line, sample=key))
                elif path not in masks:
                    masks.append(path)
        if len(masks) > 1:
            message = f"{key[1]!r} has several masks: {masks[0]} is used, {', '.join(masks[1:])} is not."
            self.found(codes.MASK_TWICE(masks[1], message, sample=key))
        return masks[0] if masks else None

    def _is_listed(self, mask: str) -> bool:
        """Whether a row names what is called like a mask, whatever its extension."""
        if self._listed is None:
            self._listed = Table()
            for image in (without_extension(image) for row in self.rows for image in row.images()):
                if image.endswith(mask_stem("")):
                    self._listed.claim(image)
        return mask in self._listed

    def _named(self, folder: str, stem: str) -> list[str]:
        """The images, videos and sounds of a folder that have this stem."""
        if folder not in self._folders:
            self._folders[folder] = Lookup(self.tree, folder)
        return self._folders[folder].files(stem, MEDIUM)

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
                names: dict[str, str] = {}
                for name in filter(is_media_name, self.tree.files[folder]):
                    names.setdefault(split_extension(name)[0], name)
                for other, name in names.items():
                    self._folded[fold(posixpath.join(folder, other))] = posixpath.join(folder, name)
        return self._folded.get(fold(without_extension(path)))
