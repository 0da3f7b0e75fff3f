"""The WebDataset layout: tars in which consecutive members with one key are a sample.

The key of a member is its path up to the first dot of its name, the rest is its field: ``0001.txt`` is the prompt (or
``0001.prompt.txt``, ``0001.caption.txt``); ``0001.control.png``, ``0001.control_1.mp4``, ``0001.mask.png`` are what
they are called, a bare ``0001.jpg``, ``0001.mp4`` or ``0001.wav`` is the target: of several, the video, else the image.
``0001.json`` may hold ``id``, ``file_names`` (of target, controls, mask, others), ``captions``, ``extra`` and
``others`` (name to field); other JSON objects are carried as text, and may hold the prompt; other members are carried
as files. Prompts are taken as they stand. Samples keep the order of tars (by name) and members. Members are read where
they lie; nothing is unpacked.

Tars of a split are ``<split>-00000.tar``, also in ``data/``, or lie in a folder called like it. They are written
without times and owners: the same samples give the same bytes. `datasets` wants equal fields in the first five samples.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO

from qflux_hub import codes
from qflux_hub.errors import UsageError
from qflux_hub.layouts import roles
from qflux_hub.layouts.splitting import illegal, legal
from qflux_hub.naming import (
    MEDIA_EXTENSIONS,
    control_stem,
    kind_of,
    on_disk,
    portable,
    split_extension,
)
from qflux_hub.parts import SMALL, part_of
from qflux_hub.placing import Fitting, Placed, Plan, extension, has_media
from qflux_hub.report import Finding, Found
from qflux_hub.sample import CAPTIONS, CONTROLS, MASK, NO_EXTRA, NO_OTHERS, ROLES, TARGET, Blob, Sample
from qflux_hub.spill import Spilled, Table
from qflux_hub.tree import Tree, unreadable
from qflux_hub.writing import Output, Sink, require_unchanged, verified

NAME = "webdataset"
SHAPE = "train-00000.tar  with the members  0001.txt, 0001.control.png, 0001.mask.png, 0001.jpg"
LOSES: Mapping[str, str] = {"sample": "it has no image, or one with an extension that is not read"}

_KEY = re.compile(r"((?:.*/|)[^./]+)[.]([^/]+)", re.DOTALL)
_NUMBERED = re.compile(r"(?P<split>.+?)-[0-9]+(?:-of-[0-9]+)?", re.ASCII)
_SAMPLES_OF_COLUMNS = 5
"""How many samples `datasets` looks at for the columns (NUM_EXAMPLES_FOR_FEATURES_INFERENCE of its reader)."""
_PIECE = 1 << 20
"""Bytes that are written at once."""
_PROMPTS = ("txt", "prompt.txt", "caption.txt", "text.txt")
_TEXTS = ("prompt", "caption", "text")
_KINDS = ("video", "image", "audio")
"""Of several files beside each other, which one is the target."""
_KINDS_OF_CONTROLS = ("image", "video", "audio")


def splits(tree: Tree, found: Found) -> tuple[str, ...]:
    """The splits that tars are named after, or lie in folders of; train first."""
    return legal(_files(tree), found)


def missing(tree: Tree) -> str:
    """What keeps the tree from this layout."""
    return illegal(_files(tree)) or "no tar at the top, in data/ or in the folder of a split"


def evidence(tree: Tree, splits: Sequence[str]) -> Sequence[str]:
    """The tars of the splits."""
    return [path for split in splits for path in _files(tree)[split]]


def doubt(tree: Tree, splits: Sequence[str]) -> str:  # noqa: ARG001 - the protocol's signature
    """A tar beside files of another layout may be anything: an archive of the same files, for one."""
    return "tars may be archives of anything"


def _files(tree: Tree) -> dict[str, list[str]]:
    """Split -> its tars, in the order of their names."""
    found: dict[str, list[str]] = {}
    for folder in sorted(tree.files):
        for name in tree.files[folder]:
            if not name.lower().endswith(".tar"):
                continue
            base, _ = split_extension(name)
            numbered = _NUMBERED.fullmatch(base)
            split = numbered["split"] if numbered else base
            if folder not in ("", "data"):
                above, _, split = folder.rpartition("/")
                if above not in ("", "data"):
                    continue
            found.setdefault(split, []).append(f"{folder}/{name}".lstrip("/"))
    return found


@dataclass(frozen=True, slots=True)
class Member:
    """Opens ``size`` bytes of a tar from ``offset`` on."""

    tar: Blob
    offset: int
    size: int

    def __call__(self, name: str) -> BinaryIO:  # noqa: ARG002 - every opener takes the blob's name
        """The member as a file, in memory unless it is large."""
        return io.BytesIO(self.bytes()) if self.size < SMALL else part_of(self.tar.open(), self.offset, self.size)

    def bytes(self) -> bytes:
        """The member's bytes."""
        with self.tar.open() as file:
            file.seek(self.offset)
            data = file.read(self.size)
            while len(data) < self.size and (more := file.read(self.size - len(data))):
                data += more
            return data

    def __reduce__(self) -> tuple[type[Member], tuple[object, ...]]:
        return Member, (self.tar, self.offset, self.size)


@dataclass(slots=True)
class _Group:
    """The members of one key: field -> where it lies."""

    key: str
    number: int
    fields: dict[str, Member] = field(default_factory=dict)


def read(tree: Tree, split: str, columns: Mapping[str, str], found: Found) -> Iterator[Sample]:
    """The samples of ``split`` in the order of its tars and their members."""
    if columns:
        raise UsageError("--column names columns of a table; this is a tar.", hint="Leave it out.")
    reader = _Reader(split, found)
    for path in _files(tree)[split]:
        try:
            tar = tree.blob(path)
            for group in _groups(tar, path, found):
                sample = reader.sample(group, path)
                if sample is not None:
                    yield sample
        except OSError as error:
            error.filename = error.filename or path
            found(unreadable(error))
    if not reader.ids:
        found(codes.EMPTY_SPLIT(split, f"Split {split!r} has no sample that can be read."))


def _groups(tar: Blob, path: str, found: Found) -> Iterator[_Group]:
    """The members of a tar by their keys; what belongs to no sample is found."""
    group, number, spare = _Group("", 0), 0, []
    with tar.open() as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as members:
                for member in members:
                    parts = _KEY.fullmatch(member.name.removeprefix("./"))
                    if member.isdir():
                        continue
                    if parts is None or not member.isreg():
                        spare.append(member.name)
                        continue
                    key, name = parts[1], parts[2]
                    if key != group.key:
                        if group.fields:
                            yield group
                        number += 1
                        group = _Group(key, number)
                    if name in group.fields:
                        message = f"{path}: {member.name} stands there twice; the first is used."
                        found(codes.AMBIGUOUS_FILE(path, message))
                    else:
                        group.fields[name] = Member(tar, member.offset_data, member.size)
                    end = member.offset_data + member.size
                    if end > tar.size:
                        raise tarfile.ReadError(f"{member.name} ends after the file's end")
                    members.members.clear()  # type: ignore[attr-defined]  # or it keeps all of them
                _require_end(file, members.offset)
        except tarfile.TarError as error:
            message = f"{path} is damaged after {number:,} samples: {error}."
            found(codes.UNREADABLE_FILE(path, message, fix="write or download it again"))
            return
    if group.fields:
        yield group
    if spare:
        others = {1: " is", 2: " and 1 more member are"}.get(len(spare), f" and {len(spare) - 1:,} more members are")
        message = f"{path}: {spare[0]}{others} left aside: no file with a key and a field."
        found(codes.UNUSED_FILE(path, message))


def _require_end(file: BinaryIO, offset: int) -> None:
    """Raises ReadError when a tar does not end with its mark: `tarfile` takes half a header for the end."""
    file.seek(offset)
    data = file.read(tarfile.BLOCKSIZE)
    if len(data) < tarfile.BLOCKSIZE or data.strip(b"\0"):
        raise tarfile.ReadError("it ends without an end mark, so it was cut off")


class _Reader:
    """Makes samples of the members of a split's tars."""

    def __init__(self, split: str, found: Found) -> None:
        self.split, self.found = split, found
        self.ids, self.names = Table(), Table()
        self.wants_control: bool | None = None
        self._unused: set[str] = set()

    def sample(self, group: _Group, path: str) -> Sample | None:
        """The sample of a key; None, and why is found, when it cannot be one."""
        told = self._json(group, path)
        given = told.get("id")
        name = given if isinstance(given, str) and given else group.key
        key = (self.split, name)
        if name in self.ids:
            message = f"{path}: the id {name!r} of {group.key}.* stands earlier already."
            self.found(codes.DUPLICATE_ID(path, message, line=group.number, sample=key))
            return None
        others = _others(group, told)
        group, every = _without(group, others.values()), group.fields
        media = self._media(group, path)
        controls = [one for role in sorted(media, key=_rank) if role.startswith("control") for one in media[role]]
        if self.wants_control is None:
            self.wants_control = bool(controls)
        if (self.wants_control and not controls) or not media:
            message = f"{path}: {group.key}.* has no {'control' if media else 'media'}, so the sample is left out."
            self.found(codes.MISSING_CONTROL(path, message, line=group.number, sample=key))
            return None
        prompt = self._prompt(group, told, path, key)
        if prompt is None:
            return None
        self.ids.claim(name)
        target, mask = (next(iter(media.get(role, ())), None) for role in ("target", "mask"))
        names = iter(told["file_names"] if _is_ours(told) else ())
        base = portable(name, 200)

        def blob(own: str | None, fallback: str) -> Blob | None:
            if own is None:
                return None
            ending, member = _ending(own), every[own]
            recorded = next(names, None)
            known = isinstance(recorded, str) and (own not in group.fields or recorded.lower().endswith(ending.lower()))
            return Blob(self._free(str(recorded) if known else fallback + ending), member.size, member)

        first = blob(target, f"{self.split}/target/{base}")
        more = [blob(one, f"{self.split}/control/{control_stem(base, n)}") for n, one in enumerate(controls)]
        masked = blob(mask, f"{self.split}/control/{base}_mask")
        played = {target, mask, *controls, "json"} | self._unused
        unknown = [field for field in group.fields if field not in played and not _is_text(field)]
        others |= {roles.free_name(field): field for field in unknown}
        files = {called: blob(field, f"{self.split}/other/{base}") for called, field in others.items()}
        extra = self._extra(group, told)
        captions = roles.captions(told.get(CAPTIONS, extra.pop(CAPTIONS, None) or ""))
        if not prompt and captions and "txt" not in group.fields:
            prompt, captions = captions[0], captions[1:]
        return Sample(
            id=name,
            split=self.split,
            prompt=prompt,
            controls=tuple(one for one in more if one),
            mask=masked,
            target=first,
            extra=extra or NO_EXTRA,
            place=f"{path}:{group.number}",
            captions=captions,
            others={called: one for called, one in files.items() if one} or NO_OTHERS,
        )

    def _free(self, name: str) -> str:
        return _free(name, self.split, self.names)

    def _json(self, group: _Group, path: str) -> dict[str, Any]:
        if "json" not in group.fields:
            return {}
        try:
            told = json.loads(group.fields["json"].bytes())
        except ValueError as error:
            message = f"{path}: {group.key}.json is no JSON: {error}."
            self.found(codes.UNDECODABLE_TABLE(path, message, line=group.number, sample=(self.split, group.key)))
            return {}
        return told if isinstance(told, dict) else {}

    def _media(self, group: _Group, path: str) -> dict[str, list[str]]:
        """Role -> its fields, one of each kind of media, the one that plays the role first."""
        media: dict[str, list[str]] = {}
        self._unused = set()
        for name in group.fields:
            called, ending = split_extension(f"x.{name}")
            if ending not in MEDIA_EXTENSIONS:
                continue
            meant = roles.meaning(called[2:]) if called[2:] else ("target", 0)
            if meant is None or meant[0] in ("id", "prompt"):
                continue
            role = meant[0].split()[0]
            if any(kind_of(f"x.{other}") == kind_of(f"x.{name}") for other in media.get(role, ())):
                message = f"{path}: {group.key}.* has several files for {role}; {group.key}.{name} is not used."
                self.found(codes.AMBIGUOUS_FILE(path, message, sample=(self.split, group.key)))
                self._unused.add(name)
            else:
                media.setdefault(role, []).append(name)
        for role, fields in media.items():
            order = _KINDS if role == "target" else _KINDS_OF_CONTROLS
            fields.sort(key=lambda name: order.index(kind_of(f"x.{name}")))
        return media

    def _prompt(self, group: _Group, told: Mapping[str, Any], path: str, key: tuple[str, str]) -> str | None:
        for name in _PROMPTS:
            if name in group.fields:
                try:
                    return group.fields[name].bytes().decode()
                except UnicodeDecodeError:
                    message = f"{path}: {group.key}.{name} is not UTF-8 text."
                    self.found(codes.UNDECODABLE_PROMPT(path, message, line=group.number, sample=key))
                    return None
        return next((told[name] for name in _TEXTS if isinstance(told.get(name), str)), "")

    def _extra(self, group: _Group, told: Mapping[str, Any]) -> dict[str, str | None]:
        """What the JSON and further texts say, as text."""
        prompt = next((name for name in (*_PROMPTS, *_TEXTS) if name in group.fields or name in told), "")
        known = ("id", CAPTIONS, prompt)
        ours = _is_ours(told)
        said = dict(told["extra"]) if ours else {name: one for name, one in told.items() if name not in known}
        extra: dict[str, str | None] = {
            str(name): roles.text(value) for name, value in said.items() if value is not None
        }
        for name, member in group.fields.items():
            if _is_text(name) and name not in ("txt", prompt):
                extra[name.removesuffix(".txt")] = member.bytes().decode(errors="replace")
        return extra


def _is_ours(told: Mapping[str, Any]) -> bool:
    """Whether a JSON is one that is written here."""
    return isinstance(told.get("extra"), dict) and isinstance(told.get("file_names"), list)


def _others(group: _Group, told: Mapping[str, Any]) -> dict[str, str]:
    """Name -> field of the files without a role, as far as the JSON names them."""
    others = told.get("others") if _is_ours(told) else None
    named = others.items() if isinstance(others, dict) else ()
    return {called: field for called, field in named if isinstance(field, str) and field in group.fields}


def _without(group: _Group, fields: Collection[str]) -> _Group:
    """The group without some of its fields."""
    return _Group(group.key, group.number, {name: one for name, one in group.fields.items() if name not in fields})


def _is_text(field: str) -> bool:
    return field == "txt" or field.endswith(".txt")


def _ending(name: str) -> str:
    """The extension of a field as it is written there, with its dot; a bare ``jpg`` is nothing but one."""
    dot = name.rpartition(".")
    return f".{dot[2]}"


def _free(name: str, split: str, used: Table) -> str:
    """The name, or another of its own: a name means one content, wherever samples are looked at."""
    own, attempt = name, 1
    while not used.claim(own):
        attempt += 1
        own = f"{split}/{attempt}/{name.rpartition('/')[2]}"
    return own


def _rank(role: str) -> int:
    return int(role.partition("_")[2] or 0)


# --- writing ----------------------------------------------------------------------------------------------------


def place(splits: Mapping[str, Sequence[Sample]]) -> Iterator[Placed]:
    """Everything, in its order; names and ids stand in the JSON of each sample."""
    for split, samples in splits.items():
        used = Table()
        for number, one in Fitting(samples, has_media):
            extra = {name: text for name, text in one.extra.items() if text is not None and name != CAPTIONS}
            paths = tuple(_free(blob.name, split, used) for _, blob in one.media())
            yield Placed(number, one, one.id, one.prompt, extra, paths, one.captions)


def outputs(placed: Mapping[str, Plan]) -> Iterator[Output]:
    """The tars of each split, numbered in the order of the samples."""
    for split, plan in placed.items():
        used = Table()
        keys = Spilled(_key(name, used) for name in plan.ids)
        for number, piece in enumerate(plan.rows.cut()):
            part = slice(piece.start, piece.stop)
            pour, reads = partial(_pour, keys[part], plan[part]), partial(_reads, plan[part])
            yield Output(f"{split}-{number:05}.tar", pour=pour, reads=reads)


def _reads(samples: Sequence[Placed]) -> Iterator[Blob]:
    return (blob for one in samples for _, blob in one.files())


def uneven(placed: Mapping[str, Sequence[Placed]]) -> Iterator[Finding]:
    """What keeps `datasets` from reading the tars: other fields in one of the samples that it takes columns from."""
    for split, samples in placed.items():
        first, *others = (set(_fields(one.source)) for one in samples[:_SAMPLES_OF_COLUMNS])
        differing = sorted(set().union(*(fields ^ first for fields in others)))
        if differing:
            path = f"{split}-{0:05}.tar"
            message = f"{path}: not all of its first samples have {', '.join(differing)}; `datasets` refuses such tars."
            yield codes.UNEVEN_MEMBERS(path, message)


def _key(name: str, used: Table) -> str:
    """A key of its own: the id without dots, where that is a name."""
    base = key = portable(name.replace(".", "_"), 200).replace(".", "_")
    attempt = 1
    while not used.claim(on_disk(key)):
        attempt += 1
        key = f"{base}-{attempt}"
    return key


def _pour(keys: Sequence[str], samples: Sequence[Placed], sink: Sink, advance: Callable[[int], None]) -> None:
    stream = _Stream(sink)
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_PIECE) as tar:  # type: ignore[call-overload]
        for key, one in zip(keys, samples, strict=True):
            _add(tar, f"{key}.txt", one.prompt.encode())
            sample = verified(one.source)
            fields = _fields(sample)
            for (_, blob), name in zip(sample.media(), fields, strict=True):
                with blob.open() as file:
                    info = tarfile.TarInfo(f"{key}.{name}")
                    info.size = blob.size
                    tar.addfile(info, file)
                    require_unchanged(blob, file)
                advance(blob.size)
            told: dict[str, Any] = {"id": one.id, "file_names": list(one.paths), "extra": dict(one.extra)}
            told |= {CAPTIONS: list(one.captions)} if one.captions else {}
            if sample.others:
                told["others"] = dict(zip(sample.others, fields[-len(sample.others) :], strict=True))
            _add(tar, f"{key}.json", json.dumps(told, ensure_ascii=False).encode())
            tar.members.clear()  # or it keeps all of them
    stream.flush()


def _fields(sample: Sample) -> list[str]:
    """The field of each file of a sample, in the order of its media."""
    fields: list[str] = []
    number = 0
    for role, blob in sample.media():
        ending = extension(blob)
        if role == CONTROLS:
            called, number = f"control_{number}" if number else "control", number + 1
        else:
            called = {TARGET: "", MASK: "mask"}.get(role, role)
        if role in ROLES:
            fields.append(f"{called}{ending.lower()}".removeprefix("."))
            continue
        field = portable(called if f".{called}".endswith(ending) else called + ending, 100)
        while field in fields or field in ("txt", "json"):
            field = f"other_{field}"
        fields.append(field)
    return fields


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


class _Stream:
    """A sink as the file that `tarfile` writes to. Its own streams are slower by far: they add to one string."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._waiting = sink, list[bytes]()
        self._written = self._size = 0

    def write(self, data: bytes) -> int:
        self._waiting.append(data)
        self._size += len(data)
        if self._size - self._written >= _PIECE:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Pass on what waits."""
        self._sink.write(b"".join(self._waiting))
        self._waiting.clear()
        self._written = self._size

    def tell(self) -> int:
        return self._size
