"""The header of a safetensors file, read strictly and in plain Python: no torch, no numpy, no safetensors.

A file is 8 bytes (little-endian length N of the header), N bytes of UTF-8 JSON ``{name: {dtype, shape,
data_offsets}, "__metadata__": {text: text}}``, and the tensors' data. Offsets count from the end of the header. Every
byte of the data belongs to exactly one tensor.

The rules are those of the reference implementation (safetensors 0.8, ``tensor.rs``), and a few more where it lets
things pass that two readers understand differently: a name that stands twice is an error here, whoever would win.
Nothing is allocated on the word of the file before that word was compared with its size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

Problem = Literal["not-safetensors", "bad-header", "truncated-weights", "trailing-bytes"]
Read = Callable[[int, int], bytes]
"""``read(begin, end)``: those bytes of a file, fewer only where it ends."""

LONGEST = 100_000_000
"""Bytes of header that the reference implementation accepts."""
LONG = 25_000_000
"""Bytes of header that the Hub and its client accept."""
FIRST = 256 * 1024
"""Bytes of the first read: with them, nearly every LoRA needs no second one."""
PREFIX = 8
METADATA = "__metadata__"
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits of one element, by the only names that a dtype can have."""
_FIELDS = ("dtype", "shape", "data_offsets")
_TOP = 2**64 - 1
_DEEPEST = 127
_PADDING = " \t\r\n"

_STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "it is a Git LFS pointer, not the weights themselves; run `git lfs pull`"),
    (b"PK\x03\x04", "it is a ZIP or a PyTorch file (pickle); load it where you trust it and save it as safetensors"),
    (b"\x80\x02", "it is a pickle; load it where you trust it and save it as safetensors"),
    (b"\x80\x03", "it is a pickle; load it where you trust it and save it as safetensors"),
    (b"\x80\x04", "it is a pickle; load it where you trust it and save it as safetensors"),
    (b"\x80\x05", "it is a pickle; load it where you trust it and save it as safetensors"),
    (b"\x1f\x8b", "it is a gzip archive"),
    (b"\x89PNG", "it is an image"),
    (b"\xff\xd8\xff", "it is an image"),
    (b"GGUF", "it is a GGUF file"),
    (b"\x89HDF", "it is an HDF5 file"),
    (b"<!", "it is a web page, probably of a failed download"),
    (b"<html", "it is a web page, probably of a failed download"),
    (b"<?xml", "it is an XML document, probably of a failed download"),
    (b'{"error', "it is an error message, probably of a failed download"),
)


class HeaderError(Exception):
    """A file breaks a rule. ``problem`` is the finding's code; the text is its reason."""

    def __init__(self, problem: Problem, reason: str) -> None:
        super().__init__(reason)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor. ``begin`` and ``end`` are bytes of the data section."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says. ``tensors`` are in the order of their bytes; the data section begins at ``data_start``.

    ``oddities`` are things that are allowed, or that other readers let pass, in words. ``seen`` is what was read of
    the file from its first byte on: often the header and the first tensors.
    """

    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str]
    data_start: int
    size: int
    oddities: tuple[str, ...] = ()
    seen: bytes = field(default=b"", repr=False, compare=False)

    @property
    def data_size(self) -> int:
        """Bytes of the data section."""
        return self.size - self.data_start


def read_header(read: Read, size: int) -> Header:
    """The header of a file of ``size`` bytes, in one or two reads. Raises HeaderError.

    The second read takes a little of the data as well: small tensors, such as alphas, are often the first.
    """
    if size < PREFIX:
        raise HeaderError("truncated-weights", f"it has {size} bytes, and the length of the header alone takes 8")
    seen = read(0, min(size, FIRST))
    try:
        return _read(seen, read, size)
    except HeaderError as error:
        if stranger := _stranger(seen):
            raise stranger from error
        raise


def _read(seen: bytes, read: Read, size: int) -> Header:
    length = int.from_bytes(seen[:PREFIX], "little")
    _check_length(length, size)
    end = PREFIX + length
    if end > len(seen):
        seen += read(len(seen), min(size, end + FIRST // 4))
    if len(seen) < end:
        raise HeaderError("truncated-weights", f"its header takes {end:,} bytes, and {len(seen):,} could be read")
    return parse(seen[PREFIX:end], size, seen)


def parse(text: bytes, size: int, seen: bytes = b"") -> Header:
    """The header whose JSON is ``text``, in a file of ``size`` bytes. Raises HeaderError."""
    oddities: list[str] = []
    entries = _entries(text, oddities)
    start = PREFIX + len(text)
    metadata: Mapping[str, str] = {}
    tensors = []
    for name, entry in entries:
        if name == METADATA:
            metadata = _metadata(entry, oddities)
        else:
            tensors.append(_tensor(name, entry, oddities))
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.end))
    _check_places(tensors, size - start)
    return Header(tuple(tensors), metadata, start, size, tuple(dict.fromkeys(oddities)), seen)


def _bad(reason: str) -> NoReturn:
    raise HeaderError("bad-header", reason)


def _check_length(length: int, size: int) -> None:
    """The length against the limit and the file, before anything is allocated."""
    if length > LONGEST:
        raise HeaderError(
            "not-safetensors", f"its first 8 bytes call for a header of {length:,} bytes; the limit is {LONGEST:,}"
        )
    if PREFIX + length > size:
        raise HeaderError(
            "truncated-weights",
            f"truncated, or still being written: the header takes {length:,} bytes, file has {size - PREFIX:,}",
        )


def _stranger(seen: bytes) -> HeaderError | None:
    """What a file is that is no safetensors file, where its first bytes say so.

    Asked only of files that broke a rule: the length of a header may look like the beginning of anything.
    """
    if not any(seen):
        return HeaderError("truncated-weights", "its beginning is all zeros: still being written, or its disk failed")
    if seen[PREFIX : PREFIX + 1] == b"{":
        return None
    head = seen[:64].lstrip().lower()
    for magic, what in _STRANGERS:
        if seen.startswith(magic) or head.startswith(magic.lower()):
            return HeaderError("not-safetensors", what)
    return None


# --- JSON, as strict as the reference parser --------------------------------------------------------------------


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that names that stand twice show."""


def _entries(text: bytes, oddities: list[str]) -> list[tuple[str, Any]]:
    """The pairs of the object at the top, no name twice."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise HeaderError("bad-header", f"its header is not UTF-8 (byte {error.start})") from error
    if len(text) > LONG:
        oddities.append(f"its header takes {len(text):,} bytes; the Hub does not read more than {LONG:,}")
    if decoded[:1] and decoded[0] in _PADDING:
        oddities.append("its header begins with white space; the format wants `{` first")
    try:
        top = json.loads(
            decoded, object_pairs_hook=_Object, parse_constant=_constant, parse_int=_integer, parse_float=_number
        )
    except RecursionError as error:
        raise HeaderError("bad-header", "its header is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise HeaderError("bad-header", f"its header is not JSON: {error.msg} (character {error.pos})") from error
    if not isinstance(top, _Object):
        _bad("its header is not a JSON object")
    if "\\u" in decoded:  # only an escape can make half a character
        _check_texts(top)
    _check_twice(top, "the name")
    return top


def _constant(text: str) -> NoReturn:
    _bad(f"its header holds {text}, which is not JSON")


def _integer(text: str) -> int | float:
    """Integers as the reference reads them: those it would not take come back as floats, which no rule accepts."""
    return float(text) if text == "-0" or len(text) > 20 else int(text)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        _bad(f"its header holds the number {text[:40]}, which is out of range")
    return value


def _check_texts(top: Any) -> None:
    """Every text can be written as UTF-8."""
    waiting: list[Any] = [top]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise HeaderError("bad-header", f"its header has half a character in {_shown(value)}") from error
        elif isinstance(value, (list, tuple)):
            waiting += value


def _check_depth(value: Any, depth: int) -> None:
    """Known fields hold lists of numbers; only one of no meaning can be deep."""
    waiting: list[tuple[Any, int]] = [(value, depth)]
    while waiting:
        inner, depth = waiting.pop()
        if isinstance(inner, list):
            if depth > _DEEPEST:
                _bad("its header is nested too deeply")
            parts = [value for _, value in inner] if isinstance(inner, _Object) else inner
            waiting += [(part, depth + 1) for part in parts]


def _check_twice(pairs: list[tuple[str, Any]], what: str) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            _bad(f"{what} {_shown(name)} stands twice; readers disagree which one counts")
        seen.add(name)


def _metadata(entry: Any, oddities: list[str]) -> Mapping[str, str]:
    if entry is None:
        oddities.append("its metadata is null")
        return {}
    if not isinstance(entry, _Object):
        _bad("its metadata is not an object of texts")
    _check_twice(entry, "the metadata key")
    for key, value in entry:
        if not isinstance(value, str):
            _bad(f"the metadata value of {_shown(key)} is not a text")
    return dict(entry)


def _tensor(name: str, entry: Any, oddities: list[str]) -> Tensor:
    if not isinstance(entry, _Object):
        _check_depth(entry, 2)
        _bad(f"the entry of {_shown(name)} is not an object")
    fields = dict(entry)
    if len(fields) < len(entry):
        _check_twice(entry, f"in the entry of {_shown(name)}, the field")
    for wanted in _FIELDS:
        if wanted not in fields:
            _bad(f"the entry of {_shown(name)} has no {wanted}")
    if len(fields) > len(_FIELDS):
        _check_depth(entry, 2)
        oddities.append(
            f"entries have fields of no meaning, such as {_shown(next(k for k in fields if k not in _FIELDS))}"
        )
    if not name or "\0" in name or "\\" in name or name.startswith("/") or ".." in name.split("/"):
        oddities.append(f"a tensor is named {_shown(name)}")
    dtype = fields["dtype"]
    if not isinstance(dtype, str) or dtype not in BITS:
        _bad(f"{_shown(name)} has the unknown dtype {_shown(str(dtype))}")
    shape = _integers(fields["shape"], name, "shape")
    offsets = _integers(fields["data_offsets"], name, "data_offsets")
    if len(offsets) != 2:
        _bad(f"the data_offsets of {_shown(name)} are not two numbers")
    begin, end = offsets
    size = _size(name, dtype, shape)
    if end - begin != size:
        _bad(f"{_shown(name)} takes {size:,} bytes by its shape and dtype, but its offsets span {end - begin:,}")
    return Tensor(name, dtype, shape, begin, end)


def _integers(values: Any, name: str, what: str) -> tuple[int, ...]:
    if type(values) is not list:
        _bad(f"the {what} of {_shown(name)} is not a list")
    for value in values:
        if type(value) is not int or not 0 <= value <= _TOP:  # bool is an int, and 2.0 equals 2
            _bad(f"the {what} of {_shown(name)} has an item that is no size")
    return tuple(values)


def _size(name: str, dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor. Overflow is found along the way, even where a later dimension is 0."""
    elements = 1
    for length in shape:
        elements *= length
        if elements > _TOP:
            _bad(f"the shape of {_shown(name)} overflows 64 bits")
    bits = elements * BITS[dtype]
    if bits > _TOP:
        _bad(f"the size of {_shown(name)} overflows 64 bits")
    if bits % 8:
        _bad(f"{_shown(name)} does not end on a whole byte")
    return bits // 8


def _check_places(tensors: list[Tensor], room: int) -> None:
    """No hole, no overlap, no missing and no trailing byte."""
    at = 0
    for tensor in tensors:
        if tensor.begin != at:
            what = "overlaps the tensor before it" if tensor.begin < at else "leaves a hole before it"
            _bad(f"{_shown(tensor.name)} {what}: it begins at byte {tensor.begin:,} instead of {at:,}")
        at = tensor.end
    if at > room:
        raise HeaderError(
            "truncated-weights",
            f"truncated, or still being written: header promises {at:,} bytes of data, file has {room:,}",
        )
    if at < room:
        raise HeaderError(
            "trailing-bytes", f"{room - at:,} bytes follow its last tensor; the file may hide something else"
        )


def _shown(name: str) -> str:
    """A name from outside, short and printable."""
    short = name if len(name) <= 80 else name[:77] + "..."
    return repr(short.encode("utf-8", "backslashreplace").decode())
