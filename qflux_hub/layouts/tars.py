"""The WebDataset layout: tars in which consecutive members with one key are a sample.

The key of a member is its path up to the first dot of its name, the rest is its field: ``0001.txt`` is the prompt (or
``0001.prompt.txt``, ``0001.caption.txt``); ``0001.control.png``, ``0001.control_1.png``, ``0001.mask.png`` are what
they are called, a bare ``0001.jpg`` is the target. ``0001.json`` may hold ``id``, ``file_names`` (of target, controls,
mask) and ``extra``; other JSON objects are carried as text, and may hold the prompt. Prompts are taken as they stand.
Samples keep the order of tars (by name) and members. Members are read where they lie; nothing is unpacked.

Tars of a split are ``<split>-00000.tar``, also in ``data/``, or lie in a folder called like it. They are written
without times and owners: the same samples give the same bytes. `datasets` wants equal fields in the first five samples.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO

from qflux_hub import codes, shards
from qflux_hub.errors import UsageError
from qflux_hub.layouts import roles
from qflux_hub.layouts.splitting import illegal, legal
from qflux_hub.naming import (
    IMAGE_EXTENSIONS,
    control_stem,
    on_disk,
    portable,
    split_extension,
)
from qflux_hub.report import Found
from qflux_hub.sample import CONTROLS, MASK, NO_EXTRA, Blob, Sample
from qflux_hub.tree import Tree, unreadable
from qflux_hub.writing import Output, Placed, Sink, extension, has_media, verified

NAME = "webdataset"
SHAPE = "train-00000.tar  with the members  0001.txt, 0001.control.png, 0001.mask.png, 0001.jpg"
LOSES: Mapping[str, str] = {"sample": "it has no image, or one with an extension that is not read"}

_KEY = re.compile(r"((?:.*/|)[^./]+)[.]([^/]+)", re.DOTALL)
_NUMBERED = re.compile(r"(?P<split>.+?)-[0-9]+(?:-of-[0-9]+)?", re.ASCII)
_PROMPTS = ("txt", "prompt.txt", "caption.txt", "text.txt")
_TEXTS = ("prompt", "caption", "text")


def splits(tree: Tree, found: Found) -> tuple[str, ...]:
    """The splits that tars are named after, or lie in folders of; train first."""
    return legal(_files(tree), found)


def missing(tree: Tree) -> str:
    """What keeps the tree from this layout."""
    return illegal(_files(tree)) or "no tar at the top, in data/ or in the folder of a split"


def doubt(tree: Tree, splits: Sequence[str]) -> str:  # noqa: ARG001 - the protocol's signature
    """A tar beside files of another layout may be anything: an archive of the same files, for one."""
    return "tars may be archives of anything"


def _files(tree: Tree) -> dict[str, list[str]]:
    """Split -> its tars, in the order of their names."""
    found: dict[str, list[str]] = {}
    for folder in sorted(tree.files):
        for name in tree.files[folder]:
            base, kind = split_extension(name)
            if kind != ".tar":
                continue
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
        """The member as a file in memory."""
        return io.BytesIO(self.bytes())

    def bytes(self) -> bytes:
        """The member's bytes."""
        with self.tar.open() as file:
            file.seek(self.offset)
            data = file.read(self.size)
            while len(data) < self.size and (more := file.read(self.size - len(data))):
                data += more
            return data


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
        self.ids: set[str] = set()
        self.names: set[str] = set()
        self.wants_control: bool | None = None

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
        media = self._media(group, path)
        controls = [media[role] for role in sorted(media, key=_rank) if role.startswith("control")]
        if self.wants_control is None:
            self.wants_control = bool(controls)
        if (self.wants_control and not controls) or not media:
            message = f"{path}: {group.key}.* has no {'control ' if media else ''}image, so the sample is left out."
            self.found(codes.MISSING_CONTROL(path, message, line=group.number, sample=key))
            return None
        prompt = self._prompt(group, told, path, key)
        if prompt is None:
            return None
        self.ids.add(name)
        target, mask = media.get("target"), media.get("mask")
        names = iter(told.get("file_names") or ())
        base = portable(name, 200)

        def blob(member: tuple[str, Member] | None, fallback: str) -> Blob | None:
            if member is None:
                return None
            ending, opener = member
            own = next(names, None)
            known = isinstance(own, str) and own.lower().endswith(ending.lower())
            return Blob(self._free(str(own) if known else fallback + ending), opener.size, opener)

        first = blob(target, f"{self.split}/target/{base}")
        further = [blob(one, f"{self.split}/control/{control_stem(base, n)}") for n, one in enumerate(controls)]
        return Sample(
            id=name,
            split=self.split,
            prompt=prompt,
            controls=tuple(one for one in further if one),
            mask=blob(mask, f"{self.split}/control/{base}_mask"),
            target=first,
            extra=self._extra(group, told, path) or NO_EXTRA,
            place=f"{path}:{group.number}",
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

    def _media(self, group: _Group, path: str) -> dict[str, tuple[str, Member]]:
        """Role -> (extension, place) of the images that have one."""
        media: dict[str, tuple[str, Member]] = {}
        for name, member in group.fields.items():
            called, ending = split_extension(f"x.{name}")
            if ending not in IMAGE_EXTENSIONS:
                continue
            meant = roles.meaning(called[2:]) if called[2:] else ("target", 0)
            if meant is None or meant[0] in ("id", "prompt"):
                message = f"{path}: {group.key}.{name} is left aside: {called[2:]!r} is no role."
                self.found(codes.UNUSED_FILE(path, message))
            elif meant[0] in media:
                message = f"{path}: {group.key}.* has several images for {meant[0]}; {group.key}.{name} is not used."
                self.found(codes.AMBIGUOUS_FILE(path, message, sample=(self.split, group.key)))
            else:
                media[meant[0]] = f".{name}"[len(called) - 1 :], member
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

    def _extra(self, group: _Group, told: Mapping[str, Any], path: str) -> dict[str, str | None]:
        """What the JSON and further texts say, as text."""
        own = isinstance(told.get("extra"), dict) and "file_names" in told
        prompt = next((name for name in (*_PROMPTS, *_TEXTS) if name in group.fields or name in told), "")
        said = dict(told["extra"]) if own else {name: one for name, one in told.items() if name not in ("id", prompt)}
        extra: dict[str, str | None] = {
            str(name): roles.text(value) for name, value in said.items() if value is not None
        }
        for name, member in group.fields.items():
            if name.endswith(".txt") and name != prompt:
                extra[name.removesuffix(".txt")] = member.bytes().decode(errors="replace")
            elif (
                name not in ("json", prompt)
                and split_extension(name)[1] not in IMAGE_EXTENSIONS
                and not name.endswith("txt")
            ):
                if f".{name}" in IMAGE_EXTENSIONS or split_extension(f"x.{name}")[1] in IMAGE_EXTENSIONS:
                    continue
                message = f"{path}: members such as {group.key}.{name} are left aside."
                if message not in self.names:
                    self.names.add(message)
                    self.found(codes.UNUSED_FILE(path, message))
        return extra


def _free(name: str, split: str, used: set[str]) -> str:
    """The name, or another of its own: a name means one content, wherever samples are looked at."""
    own, attempt = name, 1
    while own in used:
        attempt += 1
        own = f"{split}/{attempt}/{name.rpartition('/')[2]}"
    used.add(own)
    return own


def _rank(role: str) -> int:
    return int(role.partition("_")[2] or 0)


# --- writing ----------------------------------------------------------------------------------------------------


def place(splits: Mapping[str, Sequence[Sample]]) -> dict[str, list[Placed]]:
    """Everything, in its order; names and ids stand in the JSON of each sample."""
    placed = {}
    for split, samples in splits.items():
        used: set[str] = set()
        placed[split] = [_placed(one, split, used) for one in samples if has_media(one)]
    return placed


def _placed(sample: Sample, split: str, used: set[str]) -> Placed:
    extra = {name: text for name, text in sample.extra.items() if text is not None}
    return Placed(
        sample, sample.id, sample.prompt, extra, tuple(_free(blob.name, split, used) for _, blob in sample.media())
    )


def outputs(placed: Mapping[str, Sequence[Placed]]) -> Iterator[Output]:
    """The tars of each split, numbered in the order of the samples."""
    for split, samples in placed.items():
        sizes = [shards.encoded_size(one.source) for one in samples]
        window = shards.shard_window(shards.DEFAULT_TARGET)
        used: set[str] = set()
        keys = [_key(one.id, used) for one in samples]
        for number, piece in enumerate(shards.cut([one.id for one in samples], sizes, window)):
            part = slice(piece.start, piece.stop)
            reads = [blob for one in samples[part] for _, blob in one.files()]
            pour = partial(_pour, keys[part], samples[part])
            yield Output(f"{split}-{number:05}.tar", pour=pour, reads=reads)


def _key(name: str, used: set[str]) -> str:
    """A key of its own: the id without dots, where that is a name."""
    base = key = portable(name.replace(".", "_"), 200).replace(".", "_")
    attempt = 1
    while on_disk(key) in used:
        attempt += 1
        key = f"{base}-{attempt}"
    used.add(on_disk(key))
    return key


def _pour(keys: Sequence[str], samples: Sequence[Placed], sink: Sink, advance: Callable[[int], None]) -> None:
    with tarfile.open(fileobj=_Stream(sink), mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        for key, one in zip(keys, samples, strict=True):
            _add(tar, f"{key}.txt", one.prompt.encode())
            sample = verified(one.source)
            number = 0
            for role, blob in sample.media():
                called = ".mask" if role == MASK else ""
                if role == CONTROLS:
                    called, number = f".control_{number}" if number else ".control", number + 1
                with blob.open() as file:
                    info = tarfile.TarInfo(f"{key}{called}{extension(blob).lower()}")
                    info.size = blob.size
                    tar.addfile(info, file)
                advance(blob.size)
            told = {"id": one.id, "file_names": list(one.paths), "extra": dict(one.extra)}
            _add(tar, f"{key}.json", json.dumps(told, ensure_ascii=False).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


class _Stream:
    """A sink as the file that `tarfile` streams to."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: bytes) -> int:
        self._sink.write(data)
        return len(data)
