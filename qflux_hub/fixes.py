"""Which repair follows from what is found. Nothing is opened or written here; what a file holds is asked for.

A repair is one thing done to one file: a rename, an edit, a deletion. One that would overwrite a file, take another
file's place in a sample, or rest on a guess that is not safe is not made; its finding stays and says why.
"""

from __future__ import annotations

import codecs
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from qflux_hub import codes
from qflux_hub.cells import Reference, replace_cells, split_cells
from qflux_hub.encodings import guess, is_text
from qflux_hub.naming import MEDIA_EXTENSIONS, control_stem, legacy, on_disk, split_extension
from qflux_hub.report import Finding
from qflux_hub.sniff import EXTENSIONS, ImageFacts

Action = Literal["rename", "edit", "delete"]

REPAIRED = tuple(
    code.name
    for code in (
        codes.WRONG_EXTENSION,
        codes.CORRECTED_EXTENSION,
        codes.LEGACY_CONTROL_NAME,
        codes.UNDECODABLE_PROMPT,
        codes.PROMPT_BOM,
        codes.PROMPT_LINE_ENDS,
        codes.UNDECODABLE_TABLE,
        codes.TABLE_BOM,
        codes.JUNK,
    )
)
"""The codes of all findings that can be repaired."""
EXTENSION_CODES = (codes.WRONG_EXTENSION.name, codes.CORRECTED_EXTENSION.name)

_HIGHEST_CONTROL = 99
"""Numbers above are counters or dates more often than controls; an old name with one is left for a person to judge."""


@dataclass(frozen=True, slots=True)
class Change:
    """One repair in words: what is done to ``path``, for which finding, and the particulars."""

    code: str
    path: str
    action: Action
    to: str | None
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """The change as ``--json`` prints it."""
        return {"code": self.code, "path": self.path, "action": self.action, "to": self.to, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing to do to one file, and the changes that it amounts to. ``content``: of an edited file."""

    action: Action
    path: str
    changes: tuple[Change, ...]
    to: str = ""
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the repairs are derived from.

    ``hindrance`` says why a file must not be touched, or ""; ``names`` lists everything that lies in a folder, also
    what is no part of the dataset. ``facts``: of images by path; ``references``: the cells of tables that name images;
    ``by_name``: images play their roles by the names in tables, not by their own.
    """

    findings: Sequence[Finding]
    facts: Mapping[str, ImageFacts]
    references: Sequence[Reference]
    junk: Sequence[str]
    by_name: bool
    read: Callable[[str], bytes]
    names: Callable[[str], Collection[str]]
    hindrance: Callable[[str, Action], str]


class _RefusedError(Exception):
    """The repair cannot be made; carries (why, advice)."""


def plan_repairs(seen: Evidence, only: Collection[str]) -> tuple[list[Repair], list[Finding]]:
    """The repairs of all findings whose code is in ``only``, and those findings that cannot be repaired.

    Repairs are made in their order. Where one makes room for another, or brings something else to light, it takes
    another look: the caller makes these, sees anew, and asks again until there are none.
    """
    wanted = [finding for finding in seen.findings if finding.code in only]
    planner = _Planner(seen)
    planner.convert([finding for finding in wanted if finding.code in _CONTENTS])
    planner.rename([finding for finding in wanted if finding.code in _NAMES])
    planner.correct([finding for finding in wanted if finding.code == codes.CORRECTED_EXTENSION.name])
    planner.edit()
    if codes.JUNK.name in only:
        planner.delete_junk()
    return planner.repairs, planner.left


class _Planner:
    """Repairs so far, in their order, and the findings that stay. Edits of one file are collected to one repair."""

    def __init__(self, seen: Evidence) -> None:
        self.repairs: list[Repair] = []
        self.left: list[Finding] = []
        self._seen = seen
        self._named: dict[str, list[Reference]] = defaultdict(list)
        for reference in seen.references:
            if reference.exact:
                self._named[reference.file].append(reference)
        self._contents: dict[str, bytes] = {}
        self._cells: dict[str, dict[tuple[int, int], str]] = defaultdict(dict)
        self._changes: dict[str, list[Change]] = defaultdict(list)

    def convert(self, findings: Iterable[Finding]) -> None:
        """Edit the contents of prompts and tables."""
        for finding in findings:
            path, old = finding.where, self._content(finding.where)
            try:
                self._touch(path, "edit")
                new, detail = _CONTENTS[finding.code](old)
            except _RefusedError as refused:
                self._leave(finding, refused)
                continue
            if new != old:  # else somebody was faster
                self._contents[path] = new
                self._changes[path].append(Change(finding.code, path, "edit", None, detail))

    def rename(self, findings: Iterable[Finding]) -> None:
        """Rename images, and change the cells that name them."""
        wanted: list[tuple[Finding, str, str]] = []
        for finding in findings:
            try:
                self._touch(finding.where, "rename")
                wanted.append((finding, *_NAMES[finding.code](finding.where, self._seen)))
            except _RefusedError as refused:
                self._leave(finding, refused)
        clashes = _Clashes(
            {finding.where: to for finding, to, _ in wanted},
            self._seen.names,
            self._named if self._seen.by_name else (),
        )
        for finding, to, detail in wanted:
            path = finding.where
            try:
                clashes.check(path, to)
                for reference in self._named.get(path, ()):
                    self._touch(reference.table, "edit", f"{reference.table}, which names it,")
            except _RefusedError as refused:
                self._leave(finding, refused)
                continue
            self.repairs.append(Repair("rename", path, (Change(finding.code, path, "rename", to, detail),), to=to))
            for reference in self._named.get(path, ()):
                self._say(reference, to, finding.code)

    def correct(self, findings: Iterable[Finding]) -> None:
        """Write the extensions that files have into the cells that name them by another one."""
        renamed = {repair.path for repair in self.repairs}
        tables = {finding.where: finding for finding in findings}
        for reference in self._seen.references:
            if reference.exact or reference.table not in tables or reference.file in renamed:
                continue
            try:
                self._touch(reference.table, "edit")
                self._say(reference, reference.file, codes.CORRECTED_EXTENSION.name)
            except _RefusedError as refused:
                self._leave(tables.pop(reference.table), refused)

    def edit(self) -> None:
        """Make all edits of a file one repair."""
        delimiters = {reference.table: reference.delimiter for reference in self._seen.references}
        for table, said in self._cells.items():
            self._contents[table] = _with_cells(self._content(table), said, delimiters[table])
        for path, content in self._contents.items():
            self.repairs.append(Repair("edit", path, tuple(self._changes[path]), content=content))

    def delete_junk(self) -> None:
        """Delete litter. What lies behind a link is found where it lies."""
        for path in self._seen.junk:
            if not self._seen.hindrance(path, "delete"):
                change = Change(codes.JUNK.name, path, "delete", None, "litter of a file manager")
                self.repairs.append(Repair("delete", path, (change,)))

    def _content(self, path: str) -> bytes:
        return self._contents[path] if path in self._contents else self._seen.read(path)

    def _touch(self, path: str, action: Action, subject: str = "it") -> None:
        why = self._seen.hindrance(path, action)
        if why:
            raise _RefusedError(f"{subject} {why}", "repair it by hand")

    def _leave(self, finding: Finding, refused: _RefusedError) -> None:
        why, advice = refused.args
        self.left.append(replace(finding, message=f"{finding.message} Not repaired: {why}.", fix=advice))

    def _say(self, reference: Reference, file: str, code: str) -> None:
        """Let a cell name ``file``, which lies in the same folder as what it names now; the rest of it stays."""
        cell, table = reference.cell, reference.table
        end = len(cell.rstrip())
        begin = max(cell.rfind("/", 0, end), cell.rfind("\\", 0, end)) + 1 or end - len(cell.strip())
        name = file.rpartition("/")[2]
        self._cells[table][reference.record, reference.position] = cell[:begin] + name + cell[end:]
        detail = f"line {reference.line}: {cell[begin:end]} to {name}"
        self._changes[table].append(Change(code, table, "edit", None, detail))


# --- names ------------------------------------------------------------------------------------------------------


def _right_extension(path: str, seen: Evidence) -> tuple[str, str]:
    kind = seen.facts[path].format
    extension = EXTENSIONS[kind][0] if kind else ""
    if extension not in MEDIA_EXTENSIONS:
        raise _RefusedError(f"datasets have no {extension} files", "convert it to PNG")
    return split_extension(path)[0] + extension, f"its content is {str(kind).upper()}"


def _control_name(path: str, seen: Evidence) -> tuple[str, str]:  # noqa: ARG001 - the signature of all of them
    stem = split_extension(path)[0]
    old = legacy(stem)
    if old is None or not 1 <= old.index <= _HIGHEST_CONTROL:
        raise _RefusedError("its number is not one that controls have", "rename it with its right number")
    to = control_stem(old.base, old.index) + path[len(stem) :]
    return to, f"control {old.index} of {old.base.rpartition('/')[2]!r}"


_NAMES: Mapping[str, Callable[[str, Evidence], tuple[str, str]]] = {
    codes.WRONG_EXTENSION.name: _right_extension,
    codes.LEGACY_CONTROL_NAME.name: _control_name,
}
"""By code: the new name of a file, and why."""


class _Clashes:
    """Names that are taken: on disk, by another rename, or in the samples.

    Two images with one stem claim one role, so no rename may bring about such a pair, unless both are named by tables.
    """

    def __init__(
        self, renames: Mapping[str, str], names: Callable[[str], Collection[str]], named: Collection[str]
    ) -> None:
        self._names, self._named = names, named
        self._folders: dict[str, tuple[dict[str, str], dict[str, list[str]]]] = {}
        self._to: dict[str, list[str]] = defaultdict(list)
        self._to_stem: dict[str, list[str]] = defaultdict(list)
        for path, to in renames.items():
            self._to[on_disk(to)].append(path)
            self._to_stem[split_extension(to)[0]].append(path)

    def check(self, path: str, to: str) -> None:
        """Raise _RefusedError where ``to`` is taken."""
        folder, _, name = to.rpartition("/")
        stem = split_extension(name)[0]
        by_key, by_stem = self._listed(folder)
        taken = by_key.get(on_disk(name))
        if taken is not None:
            same = "" if taken == name else f", which some disks take for {name},"
            raise _RefusedError(f"{taken}{same} is there already", "remove or rename one of the two")
        rivals = [f"{folder}/{other}".lstrip("/") for other in by_stem.get(stem, ())]
        rivals += self._to_stem[split_extension(to)[0]]
        rivals = [other for other in rivals if not (path in self._named and other in self._named)]
        for other in (*self._to[on_disk(to)], *rivals):
            if other != path:
                raise _RefusedError(f"{other} claims the same place", "remove or rename one of the two")

    def _listed(self, folder: str) -> tuple[dict[str, str], dict[str, list[str]]]:
        if folder not in self._folders:
            names = sorted(self._names(folder))
            by_stem: dict[str, list[str]] = defaultdict(list)
            for name in names:
                stem, extension = split_extension(name)
                if extension in MEDIA_EXTENSIONS:
                    by_stem[stem].append(name)
            self._folders[folder] = ({on_disk(name): name for name in names}, by_stem)
        return self._folders[folder]


# --- contents ---------------------------------------------------------------------------------------------------


def _as_utf8(data: bytes) -> tuple[bytes, str]:
    if is_text(data):
        raise _RefusedError("it is UTF-8, but not CSV", "mend the line by hand")
    guessed = guess(data)
    if not guessed.encoding:
        raise _RefusedError(f"its encoding cannot be told, {guessed.why}", "save it as UTF-8")
    return guessed.text.encode(), f"{guessed.encoding} to UTF-8: {guessed.why}"


def _without_mark(data: bytes) -> tuple[bytes, str]:
    return data.removeprefix(codecs.BOM_UTF8), "without its byte order mark"


def _with_lf(data: bytes) -> tuple[bytes, str]:
    windows, old = data.count(b"\r\n"), data.count(b"\r")
    kinds = [kind for kind, count in (("CRLF", windows), ("CR", old - windows)) if count]
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"), f"{' and '.join(kinds)} to LF"


_CONTENTS: Mapping[str, Callable[[bytes], tuple[bytes, str]]] = {
    codes.UNDECODABLE_PROMPT.name: _as_utf8,
    codes.UNDECODABLE_TABLE.name: _as_utf8,
    codes.PROMPT_BOM.name: _without_mark,
    codes.TABLE_BOM.name: _without_mark,
    codes.PROMPT_LINE_ENDS.name: _with_lf,
}
"""By code: the new content of a file, and what became of the old."""


def _with_cells(data: bytes, said: Mapping[tuple[int, int], str], delimiter: str) -> bytes:
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    text = data[len(mark) :].decode()
    return mark + replace_cells(text, split_cells(text, delimiter), delimiter, said).encode()
