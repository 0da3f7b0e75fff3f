"""Text that comes from files: prompts and tables.

UTF-8 throughout. A byte order mark is no part of the text. Prompts have CRLF and CR turned to LF and outer white
space removed.
"""

from __future__ import annotations

from qflux_hub import codes
from qflux_hub.report import Found
from qflux_hub.tree import Tree

_BOM = b"\xef\xbb\xbf"


def clean_prompt(text: str) -> str:
    """Line ends as LF, outer white space removed."""
    return (text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text).strip()


def read_prompt(tree: Tree, path: str, sample: tuple[str, str], found: Found) -> str | None:
    """The prompt in the file at ``path``; None, and ``found``, when it is not UTF-8."""
    data = tree.read(path)
    if data.startswith(_BOM):
        message = f"{path} starts with a byte order mark; it is not part of the prompt."
        found(codes.PROMPT_BOM(path, message, fix="save it as UTF-8 without BOM", sample=sample))
        data = data[len(_BOM) :]
    try:
        return clean_prompt(data.decode())
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}{_guess(data)}."
        line = data.count(b"\n", 0, error.start) + 1
        found(codes.UNDECODABLE_PROMPT(path, message, line=line, fix="save it as UTF-8", sample=sample))
        return None


def decode_table(tree: Tree, path: str, found: Found) -> str | None:
    """The text of the table at ``path``; None, and ``found``, when it is not UTF-8."""
    data = tree.read(path).removeprefix(_BOM)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{path}, line {line}: not UTF-8, byte {error.start} is 0x{data[error.start]:02x}{_guess(data)}."
        found(codes.UNDECODABLE_TABLE(path, message, line=line, fix="save it as UTF-8"))
        return None


def _guess(data: bytes) -> str:
    """What the encoding probably is, in words that go on from "byte 3 is 0xe9"."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return " (it looks like UTF-16)"
    return " (it looks like Windows-1252)" if any(0x80 <= byte <= 0x9F for byte in data) else " (it looks like Latin-1)"
