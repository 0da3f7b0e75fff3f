"""The Parquet layout: one row per sample, media embedded as ``{bytes, path}``, as `datasets` and qflux write them.

Files of a split are those that the card names, else ``data/<split>-00000-of-00001.parquet``, ``data/<split>/….parquet``
or ``<split>.parquet``. Columns are found by their names (see ``roles``) and types: an image is a struct with bytes, or
bytes; ``control_images`` a list of them; videos and sounds alike. Prompts are taken as they stand; of a list of them,
the first is the prompt. Other columns are carried along, files as files, the rest as text. Rows keep their order.

Written like ``push_to_hub`` names files, in the recipe of ``pack``: `datasets` and every trainer read it.
"""

from __future__ import annotations

import errno
import fnmatch
import io
import re
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO

from qflux_hub import codes, media, pages
from qflux_hub.errors import DataError, VerificationError
from qflux_hub.layouts import roles
from qflux_hub.layouts.splitting import illegal, legal
from qflux_hub.layouts.tars import Member
from qflux_hub.naming import Kind, control_stem, is_media_name, mask_stem, portable, stem
from qflux_hub.placing import Fitting, Placed, Plan
from qflux_hub.report import Found
from qflux_hub.sample import CAPTIONS, NO_EXTRA, NO_OTHERS, ROLES, Blob, Sample
from qflux_hub.sniff import EXTENSIONS, format_of
from qflux_hub.spill import Mapped, Shared, Table
from qflux_hub.tree import Tree, unreadable
from qflux_hub.writing import Output, Sink, verified

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "parquet"
SHAPE = "data/train-00000-of-00001.parquet  with the columns  id, prompt, control_images, target_image"
LOSES: Mapping[str, str] = {
    "sample": "a file of it is larger than a cell can be",
    "id": "ids are not empty",
    "control": "controls of several kinds come kind by kind: images, videos, sounds",
    "column": "a column of the layout's own has that name",
    "other": "a column of the layout's own, or of texts, has that name",
    "file": "only the last part of a path is kept",
}
_CARD = "README.md"
_NUMBERED = re.compile(r"(?P<split>.+?)-[0-9]+(?:-of-[0-9]+(?:-[0-9a-f]+)?)?", re.ASCII)
_INDEX = 1 << 20
"""Bytes before the footer that are read along with it, at least: the page index of most files."""
_ROWS, _PIECE = 512, 1 << 20
"""Rows whose texts are held at once; bytes of a column that are read at once, where Arrow reads texts only."""
_HELD = 4
"""Image columns of row groups that are held in memory at once: those of a sample lie in up to three."""


def splits(tree: Tree, found: Found) -> tuple[str, ...]:
    """The splits whose first file has a prompt and images, train first."""
    return legal(_files(tree), found)


def missing(tree: Tree) -> str:
    """What keeps the tree from this layout."""
    return illegal(_files(tree)) or "no Parquet file at the top, in data/ or in the folder of a split"


def evidence(tree: Tree, splits: Sequence[str]) -> Sequence[str]:
    """The files of the splits."""
    return [path for split in splits for path in _files(tree)[split]]


def doubt(tree: Tree, splits: Sequence[str]) -> str:
    """Tables that hold no images are those of another layout, beside its images."""
    with suppress(OSError, DataError):
        for split in splits:
            schema = _schema(tree, split)
            if schema is not None and _images(schema):
                theirs = set(roles.PIX2PIX) <= set(schema.names)
                return "its columns are those of instruct-pix2pix" if theirs else ""
    return "no column that holds images"


def columns_of(tree: Tree, split: str) -> set[str]:
    """The columns of the first file of a split; none when it is no Parquet."""
    schema = _schema(tree, split)
    return set(schema.names) if schema is not None else set()


def _schema(tree: Tree, split: str) -> pa.Schema | None:
    def ignore(_: object) -> None:
        """What is wrong is found by ``read``."""

    with _open(tree, _files(tree)[split][0], ignore) as opened:
        return None if opened is None else opened.schema_arrow


def _files(tree: Tree) -> dict[str, list[str]]:
    """Split -> its files, in the order of their names."""
    paths = sorted(
        f"{folder}/{name}".lstrip("/")
        for folder, names in tree.files.items()
        for name in names
        if name.endswith(".parquet") and not name.startswith("metadata.")
    )
    if not paths:
        return {}
    if _CARD in tree.files.get("", ()):
        from qflux_hub import cards

        with suppress(OSError, DataError, UnicodeDecodeError):
            described = cards.read_card(tree.read(_CARD).decode()).files or {}
            by_card = {
                split: [path for path in paths if any(fnmatch.fnmatchcase(path, glob) for glob in globs)]
                for split, globs in described.items()
            }
            if by_card := {split: named for split, named in by_card.items() if named}:
                return by_card
    found: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        base = name.removesuffix(".parquet")
        numbered = _NUMBERED.fullmatch(base)
        if folder in ("", "data"):
            found.setdefault(numbered["split"] if numbered else base, []).append(path)
        elif folder.rpartition("/")[0] in ("", "data"):
            found.setdefault(folder.rpartition("/")[2], []).append(path)
    return found


class _open:  # noqa: N801 - used like the function
    """A Parquet file of the tree while it is looked at; None, and why is found, when it is none."""

    def __init__(self, tree: Tree, path: str, found: Found) -> None:
        self._file = tree.blob(path).open()
        self._path, self._found = path, found

    def __enter__(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self._file)
        except pa.ArrowException as error:
            message = f"{self._path} cannot be read as Parquet: {error}."
            self._found(codes.UNDECODABLE_TABLE(self._path, message))
            return None

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _images(schema: pa.Schema) -> list[str]:
    """The columns that hold images, or lists of them."""
    return [field.name for field in schema if _is_image(_item(field.type) or field.type)]


def _item(kind: pa.DataType) -> pa.DataType | None:
    """The type of a list's items; None for what is no list."""
    import pyarrow.types as types

    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return kind.value_type if is_list else None


def _is_image(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def read(tree: Tree, split: str, columns: Mapping[str, str], found: Found) -> Iterator[Sample]:
    """The samples of ``split`` in the order of its files and rows.

    Holds the texts of some rows, and of one row group where its images lie; of a file that does not have them as they
    are, the images of one row group.
    """
    used, names = Table(), Table()
    for path in _files(tree)[split]:
        try:
            with _damage_told(path), _open(tree, path, found) as opened:
                if opened is None:
                    continue
                chosen = roles.assign(opened.schema_arrow.names, _images(opened.schema_arrow), columns, path, found)
                if chosen is None:
                    continue
                reader = _Reader(tree, split, path, chosen, opened.schema_arrow, found, used, names)
                file = tree.blob(path)
                with file.open() as raw:
                    lean = _lean(raw, opened)
                    for group, lying in enumerate(_lying(file, raw, lean, reader.wanted)):
                        source = lean if len(lying) == len(reader.wanted) else opened
                        yield from reader.samples(source, group, lying, found)
        except OSError as error:
            found(unreadable(error))
    if not used:
        found(codes.EMPTY_SPLIT(split, f"Split {split!r} has no sample that can be read."))


@contextmanager
def _damage_told(path: str) -> Iterator[None]:
    """Make one kind of error, with the file's name, of what Arrow says of damaged pages."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if not isinstance(error, OSError) or error.strerror is None:  # Arrow's own have only a text
            why = str(error).partition("\n")[0].rstrip(".")
            raise OSError(errno.EIO, why, path) from error
        error.filename = error.filename or path
        raise


def _carried(schema: pa.Schema, chosen: roles.Columns, path: str, found: Found) -> list[str]:
    """The columns that are carried along as text; those that cannot be are left aside."""
    files = _images(schema)
    spare = [field for field in schema if field.name not in chosen.all()]
    kept = [field.name for field in spare if field.name not in files and not _holds_bytes(field.type)]
    left = [field.name for field in spare if field.name not in kept and field.name not in _others(schema, chosen)]
    if left:
        message = f"{path}: the columns {', '.join(left)} are left aside: they hold several files of no known role."
        found(codes.UNKNOWN_COLUMN(path, message, severity="warning", fix="use --column ROLE=NAME"))
    return kept


def _others(schema: pa.Schema, chosen: roles.Columns) -> list[str]:
    """The columns that hold one file of no role each, and are carried along."""
    spare = [name for name in _images(schema) if name not in chosen.all()]
    return [name for name in spare if _item(schema.field(name).type) is None]


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether there are bytes in a value of this type, which no text can hold."""
    import pyarrow.types as types

    if types.is_nested(kind):
        return any(_holds_bytes(kind.field(number).type) for number in range(kind.num_fields))
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


class _Reader:
    """Makes samples of the rows of one file. ``used`` and ``names``: ids and paths of its split."""

    def __init__(
        self,
        tree: Tree,
        split: str,
        path: str,
        chosen: roles.Columns,
        schema: pa.Schema,
        found: Found,
        used: Table,
        names: Table,
    ) -> None:
        self.split, self.path, self.chosen, self.used, self.names = split, path, chosen, used, names
        self.carried, self.others = _carried(schema, chosen, path, found), _others(schema, chosen)
        self.listed = _item(schema.field(chosen.prompt).type) is not None
        self.store = _Store(tree.blob(path))
        self.wanted = [*chosen.targets, *chosen.controls, *chosen.masks, *self.others]
        self.number = 0
        self.edits: bool | None = None

    def samples(self, opened: Any, group: int, lying: Mapping[str, _Lying], found: Found) -> Iterator[Sample]:
        """The samples of one row group; ``lying`` are those of its columns whose images lie in the file as they are."""
        if self.edits is None:  # a file whose first rows all have no control is text to image
            self.edits = any(any(_present(opened, group, name, _light(opened, name))) for name in self.chosen.controls)
        texts = [name for name in dict.fromkeys((self.chosen.id, self.chosen.prompt, *self.carried)) if name]
        files = {name: lying.get(name) or _Stored(self.store, group, name) for name in self.wanted}
        through = [*texts, *(column.leaf for column in files.values())]
        for batch in _batches(opened, group, through):
            images = {name: _by_row(batch[name], column) for name, column in files.items()}
            yield from self._samples(batch.select(texts).to_pylist(), images, found)

    def _samples(
        self, texts: list[dict[str, Any]], images: Mapping[str, Sequence[Sequence[_Image]]], found: Found
    ) -> Iterator[Sample]:
        """The samples of some rows: their texts, and column -> row -> its images."""
        chosen = self.chosen
        for row, text in enumerate(texts):
            self.number += 1
            line = self.number
            place = f"{self.path}, row {line}"
            cells = {name: rows[row] for name, rows in images.items()}
            controls = [cell for name in chosen.controls for cell in cells[name]]
            spare = {name: cells[name][0] for name in (*chosen.targets, *chosen.masks, *self.others) if cells[name]}
            target, mask = (_first(spare, own) for own in (chosen.targets, chosen.masks))
            name = self._id(text, target or next(iter(controls), None), place, found)
            if name is None:
                continue
            key = (self.split, name)
            if not controls and (self.edits or not target):
                message = f"{place}: there is no {'control ' if self.edits else ''}image, so the sample is left out."
                found(codes.MISSING_CONTROL(self.path, message, line=line, sample=key))
                continue
            if any(cell.length < 0 for cell in (target, mask, *controls, *spare.values()) if cell):
                message = f"{place}: a file has no bytes, only a path."
                found(codes.MISSING_FILE(self.path, message, line=line, sample=key, fix="embed the files"))
                continue
            base = portable(name, 200)
            prompts = roles.captions(text[chosen.prompt]) if self.listed else (roles.text(text[chosen.prompt]),)
            extra = {column: roles.text(text[column]) for column in self.carried if text[column] is not None}
            captions = roles.captions(text[CAPTIONS]) if extra.pop(CAPTIONS, None) is not None else ()
            yield Sample(
                id=name,
                split=self.split,
                prompt=next(iter(prompts), None) or "",
                controls=tuple(self._blob(cell, "control", control_stem(base, n)) for n, cell in enumerate(controls)),
                mask=self._blob(mask, "control", mask_stem(base)) if mask else None,
                target=self._blob(target, "target", base) if target else None,
                extra=extra or NO_EXTRA,
                place=f"{self.path}:{line}",
                captions=(*map(str, prompts[1:]), *captions),
                others={roles.free_name(own): self._blob(cell, "other", base) for own, cell in spare.items()}
                or NO_OTHERS,
            )

    def _id(self, text: Mapping[str, Any], image: _Image | None, place: str, found: Found) -> str | None:
        """The id of a row: its column's, else the stem of its first image, else its number."""
        given = roles.text(text[self.chosen.id]) if self.chosen.id else None
        name = given or (stem(base_name(image.path)) if image and image.path else f"{self.number:08}")
        if given and not self.used.claim(name):
            message = f"{place}: the id {name!r} stands in an earlier row already."
            found(codes.DUPLICATE_ID(self.path, message, line=self.number, sample=(self.split, name)))
            return None
        while not given and not self.used.claim(name):
            name = f"{name}-{self.number}"
        return name

    def _blob(self, cell: _Image, folder: str, fallback: str) -> Blob:
        """The blob of a cell, under the name that was recorded; one without an extension gets that of its bytes."""
        name = base_name(cell.path) if cell.path else fallback
        if not is_media_name(name):
            kind = format_of(cell.head())
            name += EXTENSIONS[kind][0] if kind else ""
        path = f"{self.split}/{folder}/{name}"
        if not self.names.claim(path):  # a name means one content, wherever samples are looked at
            self.names.claim(path := f"{self.split}/{folder}/{len(self.names)}/{name}")
        return Blob(path, cell.length, cell)


def _first(spare: dict[str, _Image], columns: Sequence[str]) -> _Image | None:
    """Take the first of ``columns`` that a row has."""
    return next((spare.pop(name) for name in columns if name in spare), None)


def base_name(path: str) -> str:
    """The last part of a path."""
    return path.rpartition("/")[2]


def _by_row(array: pa.Array, column: _Lying | _Stored) -> list[list[_Image]]:
    """The images of each of some rows."""
    starts, flat = _flattened(array)
    images = column.images(flat)
    return [[one for one in images[start:end] if one is not None] for start, end in pairwise(starts)]


def _combined(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def _flattened(array: pa.Array) -> tuple[list[int], pa.Array]:
    """(where each row begins among the images, all images). A row of a plain column has one image."""
    if _item(array.type) is None:
        return list(range(len(array) + 1)), array
    counts = [count or 0 for count in array.value_lengths().to_pylist()]
    starts = [0]
    for count in counts:
        starts.append(starts[-1] + count)
    return starts, array.flatten()


def _paths(flat: pa.Array) -> list[str | None]:
    import pyarrow.compute as pc

    found: list[str | None] = pc.struct_field(flat, "path").to_pylist()
    return found


def _lengths(flat: pa.Array) -> tuple[list[int], list[str | None]]:
    """The sizes of all images, -1 for one without bytes, and their paths."""
    import pyarrow.compute as pc
    import pyarrow.types as types

    if not types.is_struct(flat.type):
        return pc.fill_null(pc.binary_length(flat), -1).to_pylist(), [None] * len(flat)
    has_path = flat.type.get_field_index("path") >= 0
    paths = pc.struct_field(flat, "path").to_pylist() if has_path else [None] * len(flat)
    return pc.fill_null(pc.binary_length(pc.struct_field(flat, "bytes")), -1).to_pylist(), paths


class _Store(Shared):
    """The image columns of one file, the last few that were asked for in memory. For several threads."""

    def __init__(self, file: Blob) -> None:
        self._file = file
        self._columns: OrderedDict[tuple[int, str], pa.Array] = OrderedDict()
        self._lock = threading.Lock()

    def column(self, group: int, name: str) -> pa.Array:
        """The bytes of all images of a column in a row group."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq
        import pyarrow.types as types

        with self._lock:
            array = self._columns.get((group, name))
            if array is None:
                with _damage_told(self._file.name), self._file.open() as file:
                    whole = _combined(pq.ParquetFile(file).read_row_group(group, columns=[name])[name])
                array = _flattened(whole)[1]
                array = pc.struct_field(array, "bytes") if types.is_struct(array.type) else array
                self._columns[group, name] = array
                while len(self._columns) > _HELD:
                    self._columns.popitem(last=False)
            else:
                self._columns.move_to_end((group, name))
            return array

    def __reduce__(self) -> tuple[object, ...]:
        return _Store, (self._file,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Store) and self._file == other._file

    def __hash__(self) -> int:
        return hash(self._file)


@dataclass(frozen=True, slots=True)
class _Cell:
    """Opens one image of a file: the ``at``-th of a column in a row group, ``length`` bytes."""

    store: _Store
    group: int
    column: str
    at: int
    length: int
    path: str | None

    def __call__(self, name: str) -> BinaryIO:  # noqa: ARG002 - every opener takes the blob's name
        return io.BytesIO(self.store.column(self.group, self.column)[self.at].as_buffer())

    def head(self) -> bytes:
        """Its first bytes."""
        with self("") as file:
            return file.read(4096)

    def __reduce__(self) -> tuple[type[_Cell], tuple[object, ...]]:
        return _Cell, (self.store, self.group, self.column, self.at, self.length, self.path)


@dataclass(frozen=True, slots=True)
class _Direct:
    """Opens one image of a file where it lies, without reading the pages around it."""

    member: Member
    path: str | None

    @property
    def length(self) -> int:
        """Its size in bytes."""
        return self.member.size

    def __call__(self, name: str) -> BinaryIO:
        return self.member(name)

    def head(self) -> bytes:
        """Its first bytes."""
        return replace(self.member, size=min(self.length, 4096)).bytes()

    def __reduce__(self) -> tuple[type[_Direct], tuple[object, ...]]:
        return _Direct, (self.member, self.path)


_Image = _Cell | _Direct


class _Stored:
    """A column of a row group whose bytes Arrow reads: for their sizes now, and again when one of them is opened."""

    def __init__(self, store: _Store, group: int, name: str) -> None:
        self.leaf = name
        self._make = partial(_Cell, store, group, name)
        self._before = 0

    def images(self, flat: pa.Array) -> list[_Image | None]:
        """The next of them, which are these; None for nulls."""
        lengths, paths = _lengths(flat)
        every = enumerate(zip(flat.is_valid().to_pylist(), lengths, paths, strict=True), self._before)
        self._before += len(flat)
        return [self._make(at, length, path) if here else None for at, (here, length, path) in every]


class _Lying:
    """A column of a row group whose images lie in the file as they are, in the order of ``offsets``.

    Six times faster than through Arrow (measured: 500 MB), which takes every page apart, in a tenth of its memory.
    """

    def __init__(self, file: Blob, leaf: str, offsets: array[int], lengths: array[int]) -> None:
        self.leaf = leaf
        self._members = map(partial(Member, file), offsets, lengths)

    def images(self, flat: pa.Array) -> list[_Image | None]:
        """The next of them, of which these are the paths; None for nulls."""
        every = zip(flat.is_valid().to_pylist(), _paths(flat), strict=True)
        return [_Direct(next(self._members), path) if here else None for here, path in every]


def _lying(file: Blob, raw: BinaryIO, opened: Any, wanted: Sequence[str]) -> Iterator[dict[str, _Lying]]:
    """Per row group, those of the columns whose pages hold images as they are, as ``pack`` writes them."""
    leaves = {name: plain for name in wanted if (plain := _plain_leaf(opened, name))}
    tail = _tail(raw, file.size) if leaves else b""
    layout = pages.chunks(tail)
    for group in range(opened.num_row_groups):
        found: dict[str, _Lying] = {}
        with suppress(VerificationError):
            chunks = next(layout, {})
            for name, (leaf, levels) in leaves.items():
                if leaf not in chunks:  # the footer could not be read up to here
                    break
                offsets, lengths = _spans(raw, file.size, tail, chunks[leaf], levels)
                paths = leaf.removesuffix("bytes") + "path"
                if len(offsets) == sum(_present(opened, group, name, paths)):  # else one has a path alone
                    found[name] = _Lying(file, paths, offsets, lengths)
        yield found


def _spans(raw: BinaryIO, size: int, tail: bytes, chunk: pages.Chunk, levels: int) -> tuple[array[int], array[int]]:
    """The offsets and lengths of all images of a chunk: twelve bytes for each."""
    start = size - len(tail)
    if 0 < chunk.offset < start and chunk.length > 0:  # a page index that is longer than what was read of the end
        raw.seek(chunk.offset)
        tail, start = raw.read(min(chunk.length, size - chunk.offset)), chunk.offset
    offsets, lengths = array("Q"), array("I")
    for page in pages.located(chunk, tail, start):
        for offset, length in pages.values(raw, page, levels):
            offsets.append(offset)
            lengths.append(length)
    return offsets, lengths


def _present(opened: Any, group: int, name: str, leaf: str) -> Iterator[int]:
    """How many images a column has in some rows of a row group, and in the next ones; ``leaf`` of it is read."""
    for batch in _batches(opened, group, [leaf]):
        flat = _flattened(batch[name])[1]
        yield len(flat) - flat.null_count


def _batches(opened: Any, group: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some rows of a row group, and the next ones. Threads would each hold memory of their own, and save no time."""
    found: Iterator[pa.RecordBatch] = opened.iter_batches(_ROWS, row_groups=[group], columns=columns, use_threads=False)
    return found


def _light(opened: Any, name: str) -> str:
    """What of a column of images tells which are there: their paths, where it has them."""
    import pyarrow.types as types

    kind = opened.schema_arrow.field(name).type
    kind = _item(kind) or kind
    leaves = (opened.schema.column(number).path for number in range(len(opened.schema)))
    own = (leaf for leaf in leaves if leaf.split(".")[0] == name and leaf.endswith(".path"))
    has_paths = types.is_struct(kind) and kind.get_field_index("path") >= 0
    return next(own, name) if has_paths else name


def _lean(raw: BinaryIO, opened: Any) -> Any:
    """The same file, of whose columns some bytes are read at a time: texts need no more of them.

    Otherwise Arrow reads a row group's columns whole, which takes fewer requests for images in a file on a Hub. Of
    pages that are smaller than where it looks for their headers, 16 kB, it still keeps the bytes as they lie there.
    """
    import pyarrow.parquet as pq

    return pq.ParquetFile(raw, metadata=opened.metadata, buffer_size=_PIECE, pre_buffer=False)


def _plain_leaf(opened: Any, name: str) -> tuple[str, int] | None:
    """(dotted path, kinds of levels) of the bytes of a column that is neither compressed nor encoded."""
    schema = opened.schema
    for number in range(len(schema)):
        leaf = schema.column(number)
        if leaf.path.split(".")[0] == name and leaf.path.endswith(".bytes"):
            groups = range(opened.metadata.num_row_groups)
            chunks = [opened.metadata.row_group(group).column(number) for group in groups]
            others = [schema.column(other).path for other in range(len(schema))]
            plain = all(one.compression == "UNCOMPRESSED" and not one.has_dictionary_page for one in chunks)
            indexed = all(one.has_offset_index for one in chunks)
            if plain and indexed and chunks and leaf.path.removesuffix("bytes") + "path" in others:
                return leaf.path, (leaf.max_definition_level > 0) + (leaf.max_repetition_level > 0)
    return None


def _tail(file: BinaryIO, size: int) -> bytes:
    """The end of a Parquet file, with its page index."""
    file.seek(max(0, size - 8))
    footer = int.from_bytes(file.read(4), "little")
    length = min(size, footer + 8 + max(_INDEX, 4 * footer))
    file.seek(size - length)
    data = file.read(length)
    while len(data) < length and (more := file.read(length - len(data))):
        data += more
    return data


# --- writing ----------------------------------------------------------------------------------------------------


def place(splits: Mapping[str, Sequence[Sample]]) -> Iterator[Placed]:
    """Everything, in its order; of paths only the last part, and controls kind by kind."""
    texts = cache(lambda: {name for samples in splits.values() for sample in samples for name in sample.extra})
    for samples in splits.values():
        fitting = Fitting(samples, lambda one: not any(media.too_large(one)))
        yield from (_placed(number, sample, texts) for number, sample in fitting)


def _placed(number: int, sample: Sample, texts: Callable[[], Collection[str]]) -> Placed:
    """``texts``: the names of all columns of texts, of which none can hold files."""
    extra = {name: text for name, text in sample.extra.items() if text is not None and roles.is_free(name)}
    paths = tuple(
        f"{role}/{base_name(blob.name)}" if role in ROLES or (roles.is_free(role) and role not in texts()) else ""
        for role, blob in sample.media()
    )
    regrouped = media.grouped(sample.controls) != sample.controls
    return Placed(number, sample, sample.id, sample.prompt, extra, paths, sample.captions, regrouped)


def outputs(placed: Mapping[str, Plan]) -> Iterator[Output]:
    """The files of each split, numbered in the order of the samples. All have the same columns of media."""
    return files(placed, _held)


def files(
    placed: Mapping[str, Plan],
    make: Callable[[Placed], Sample],
    columns: Mapping[str, Kind] | None = None,
    prompt: str = "prompt",
) -> Iterator[Output]:
    """The files of each split, in which samples lie as ``make`` makes them.

    They have these columns of media, or those that the samples need, and the one for prompts.
    """
    found = media.of_dataset(one for plan in placed.values() for one in plan.media)
    for split, plan in placed.items():
        held, pieces = Mapped(plan, make), [*plan.rows.cut()]
        extra = [*plan.extra, *([CAPTIONS] * plan.captions)]
        for number, piece in enumerate(pieces):
            part = held[piece.start : piece.stop]
            path = f"data/{split}-{number:05}-of-{len(pieces):05}.parquet"
            yield Output(path, pour=partial(_pour, part, extra, columns or found, prompt), reads=partial(_reads, part))


def _reads(samples: Sequence[Sample]) -> Iterator[Blob]:
    return (blob for sample in samples for _, blob in sample.media())


def _held(one: Placed) -> Sample:
    """The sample without what has no place."""
    own = one.source
    if one.extra == own.extra and not own.others and not one.regrouped:
        return own
    others = {role: own.others[role] for role in own.others if one.of(role)}
    return replace(own, controls=media.grouped(own.controls), extra=one.extra, others=others)


def _pour(
    samples: Sequence[Sample],
    extra: Sequence[str],
    columns: Mapping[str, Kind],
    prompt: str,
    sink: Sink,
    advance: Callable[[int], None],
) -> None:
    from qflux_hub import pack

    pack.pack(Mapped(samples, verified), extra, sink, advance, columns, prompt)
