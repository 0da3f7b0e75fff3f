"""Text that comes from files: prompts and tables.

UTF-8 throughout. A byte order mark is no part of the text. Prompts have CRLF and CR turned to LF and outer white
space removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from qflux_hub import codes
from qflux_hub.encodings import guess
from qflux_hub.report import Found

_BOM = "\ufeff"
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def clean_prompt(text: str) -> str:
    """Line ends as LF, outer white space removed."""
    return (text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text).strip()


def kept_prompt(text: str) -> str:
    """What is read back of a prompt that was written to a file: see ``decode_prompt``."""
    return clean_prompt(text.replace("\0", "").removeprefix(_BOM))


def decode_prompt(data: bytes, path: str, sample: tuple[str, str], found: Found) -> str | None:
    """The prompt in the bytes of the file at ``path``; None, and ``found``, when it is not UTF-8."""
    try:
        text = _decoded(data)
    except UnicodeDecodeError as error:
        line, why = _explained(error)
        message = f"{path} is not UTF-8 text: {why}."
        found(codes.UNDECODABLE_PROMPT(path, message, line=line, fix="save it as UTF-8", sample=sample))
        return None
    if text.startswith(_BOM):
        message = f"{path} starts with a byte order mark; it is not part of the prompt."
        found(codes.PROMPT_BOM(path, message, fix="save it as UTF-8 without BOM", sample=sample))
        text = text[1:]
    if "\r" in text:
        whose = "Windows (CRLF)" if "\r\n" in text else "old Macs (CR)"
        message = f"{path} has the line ends of {whose}; they are uploaded as LF."
        found(codes.PROMPT_LINE_ENDS(path, message, fix="save it with LF", sample=sample))
    return clean_prompt(text)


def decode_table(data: bytes, path: str, found: Found) -> str | None:
    """The text in the bytes of the table at ``path``; None, and ``found``, when it is not UTF-8."""
    try:
        text = _decoded(data)
    except UnicodeDecodeError as error:
        line, why = _explained(error)
        message = f"{path}, line {line}: not UTF-8 text, {why}."
        found(codes.UNDECODABLE_TABLE(path, message, line=line, fix="save it as UTF-8"))
        return None
    if text.startswith(_BOM):
        message = f"{path} starts with a byte order mark; it is set aside."
        found(codes.TABLE_BOM(path, message, fix="save it as UTF-8 without BOM"))
        text = text[1:]
    return text


def lines(text: str) -> Iterator[str]:
    """The lines of a table with their ends, for the reader of `csv`. A ``StringIO`` takes four bytes for each sign."""
    return (line[0] for line in _LINES.finditer(text))


def _decoded(data: bytes) -> str:
    """The text. A NUL is no text either: UTF-16 without a byte order mark would pass as UTF-8 with one in two bytes."""
    text = data.decode()
    if "\0" in text:
        at = data.index(0)
        raise UnicodeDecodeError("utf-8", data, at, at + 1, "NUL")
    return text


def _explained(error: UnicodeDecodeError) -> tuple[int, str]:
    """The line on which decoding failed, and why: "byte 3 is 0xe9 (it looks like Latin-1)"."""
    data, at = error.object, error.start
    guessed = guess(data)
    looks = f" (it looks like {guessed.encoding})" if guessed.encoding else f" ({guessed.why})"
    return data.count(b"\n", 0, at) + 1, f"byte {at} is 0x{data[at]:02x}{looks}"
