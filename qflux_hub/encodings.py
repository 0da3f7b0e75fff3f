"""Which encoding text that is not UTF-8 was most likely saved in, told only where it is safe to say.

UTF-16 is known by its byte order mark, or by the NULs beside ASCII letters. Of the single-byte encodings, only
Windows-1252 (of which Latin-1 is the part without curly quotes) is ever believed, and only when what it makes of the
bytes reads like western European words: other encodings of one or two bytes turn into letter salad under it.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from itertools import groupby
from unicodedata import category

_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_ALPHABETS = [
    frozenset(letters + letters.upper() + "µ")
    for letters in (
        "àâæçèéêëîïôœùûüÿñöä",  # French, and English with its loans
        "äöüßéèàêñç",  # German
        "áéíóúüñçªº",  # Spanish
        "ãõáéíóúâêôàçüñªº",  # Portuguese
        "àèéìíîòóùúªº",  # Italian
        "àçèéíïòóúüñ",  # Catalan
        "ëïéèêáíóúöüäç",  # Dutch
        "æøåéòóôâüöä",  # Danish, Norwegian
        "åäöéàü",  # Swedish, Finnish
    )
]
"""Letters beyond ASCII, by language. A text has those of one: Czech and Hungarian read as Windows-1252 mix them."""
_ALONE = frozenset("àáâãäåæèéêìíòóôöøùúûüÀÁÂÃÄÅÆÈÉÊÒÓÔÖØÙÚµ")
"""Letters that are words by themselves in some language."""
_SIGNS = frozenset("€‚„…‹›‘’“”•–—™\xa0¡£¥§©«»®°±²³´·¹¼½¾¿×÷")
_INSIDE_WORDS = frozenset("’‘´·–—…\xa0×")
_OPENING = frozenset("‚„‹¡¿")
_NO_TEXT = frozenset({"Cc", "Cs", "Co", "Cn"})
_WORDS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Guess:
    """``text`` as read in ``encoding``; ``why`` that is believed. Without an encoding, ``why`` none can be."""

    encoding: str
    text: str
    why: str


def is_text(data: bytes) -> bool:
    """Is UTF-8, without NULs: UTF-16 without its mark would pass with one in two bytes."""
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def guess(data: bytes) -> Guess:
    """How to read ``data``, which is not UTF-8 text."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = _decoded(data, "utf-16")
        return Guess("UTF-16", text, "by its byte order mark") if text else _no("it is damaged UTF-16")
    if 0 in data:
        return _utf16(data)
    if data.startswith(codecs.BOM_UTF8) or _UTF8_SEQUENCE.search(data):
        return _no("a part of it is UTF-8, so it is damaged or put together from two encodings")
    text = _decoded(data, "cp1252")
    if not text:
        return _no("it has bytes that mean nothing in Windows-1252")
    if not _reads_well(text):
        return _no(f"as Windows-1252 it would read {_shown(text)}")
    name = "Windows-1252" if any(0x80 <= byte <= 0x9F for byte in data) else "Latin-1"
    return Guess(name, text, f"it reads {_shown(text)}")


def _no(why: str) -> Guess:
    return Guess("", "", why)


def _utf16(data: bytes) -> Guess:
    """Without a mark: the one byte order in which it is text, mostly ASCII."""
    readings = {name: _decoded(data, name) for name in ("UTF-16-LE", "UTF-16-BE")}
    good = [name for name, text in readings.items() if sum(map(str.isascii, text)) * 2 > len(text)]
    if len(good) == 1:
        return Guess(good[0], readings[good[0]], "by the NULs between its letters")
    return _no("it looks like a binary file")


def _decoded(data: bytes, encoding: str) -> str:
    """The text, or "" when it is none: it holds what nobody writes."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return ""
    return "" if any(category(char) in _NO_TEXT and char not in "\t\n\r" for char in set(text)) else text


def _reads_well(text: str) -> bool:
    """Words of ASCII with an accent here and there, and signs where sentences have them."""
    strange = [char for char in text if not char.isascii() and char not in _SIGNS]
    if len(strange) * 3 > sum(map(str.isalpha, text)) or not any(known.issuperset(strange) for known in _ALPHABETS):
        return False
    if any(sum(1 for _ in run) > 2 for plain, run in groupby(text, str.isascii) if not plain):
        return False
    if not all(_is_word("".join(run)) for letters, run in groupby(text, str.isalpha) if letters):
        return False
    return not any(
        before.isalpha() and (sign in _OPENING or (after.isalpha() and sign not in _INSIDE_WORDS))
        for before, sign, after in zip(text, text[1:], text[2:] + " ", strict=False)
        if sign in _SIGNS
    )


def _is_word(run: str) -> bool:
    if run.isascii():
        return True
    if len(run) == 1:
        return run in _ALONE
    cased = run.replace("ß", "s")
    return any(map(str.isascii, run)) and (cased.islower() or cased.isupper() or cased.istitle())


def _shown(text: str) -> str:
    """The first words that are not ASCII."""
    words = dict.fromkeys(word for word in text.split() if not word.isascii())
    return ", ".join(f'"{word}"' for word in [*words][:_WORDS_SHOWN]) + (", …" if len(words) > _WORDS_SHOWN else "")
