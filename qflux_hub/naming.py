"""THE rule by which a file name says what a file is. Nowhere else is a name taken apart.

``<base>.png`` is the main control (or, beside the prompts, the target) of sample ``<base>``;
``<base>_control_1.png``, ``_control_2``, … are further controls; ``<base>_mask.png`` is the mask. A file whose
stem equals the base of another sample belongs to that sample. Names are compared exactly, extensions in any case.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tiff", ".tif")
VIDEO_EXTENSIONS = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".mpeg", ".mpg")
AUDIO_EXTENSIONS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
MEDIA_EXTENSIONS = (*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS, *AUDIO_EXTENSIONS)
"""Accepted in any case; their order decides between two files that claim the same role."""
PROMPT_EXTENSION = ".txt"

Kind = Literal["image", "video", "audio", "file"]
"""What a name says of a file; "file" where it says nothing of these."""
Role = Literal["main", "control", "mask", "bad-number", "legacy", "other"]

_CONTROL = re.compile(r"(?P<base>.+)_control_(?P<number>[0-9]+)", re.DOTALL)
_LEGACY = re.compile(r"(?P<base>.+)_(?P<number>[0-9]+)", re.DOTALL)
_MASK = "_mask"
_EARLY = re.compile(r"[^/-\U0010ffff]")
_FIRST = ("train", "test")
_MEANT = re.compile(r"(?P<base>.+?)[\W_]*(?:mask|control[\W_]*(?P<number>[1-9][0-9]*))", re.DOTALL | re.IGNORECASE)
_SPLIT = re.compile(r"\w+(\.\w+)*", re.ASCII)
_UNWRITABLE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_DEVICE = re.compile(
    r"(con|prn|aux|nul|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3]|conin\$|conout\$) *(\..*)?", re.IGNORECASE
)
LONGEST = 255
"""Bytes that the name of a file may have on the usual disks."""
_LITTER = ("thumbs.db", "desktop.ini")
_JUNK = (".ds_store", "thumbs.db")


@dataclass(frozen=True, slots=True)
class Part:
    """What a stem says: it is ``role`` number ``index`` of sample ``base``.

    ``shadowed`` names a shorter base that the stem would also fit, had no sample this exact name.
    """

    base: str
    role: Role
    index: int = 0
    shadowed: str = ""


def split_extension(name: str) -> tuple[str, str]:
    """(stem, extension in lower case with its dot); only the last dot counts, a leading one never."""
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension.lower()) if stem else (name, "")


def extension(name: str) -> str:
    """The extension alone, as ``split_extension`` finds it."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def stem(path: str) -> str:
    """The last component of a ``/`` path without its extension."""
    return split_extension(path[path.rfind("/") + 1 :])[0]


def is_image_name(name: str) -> bool:
    """Has one of the accepted image extensions."""
    return extension(name) in IMAGE_EXTENSIONS


def is_media_name(name: str) -> bool:
    """Has one of the accepted extensions of images, videos and sounds."""
    return extension(name) in MEDIA_EXTENSIONS


def kind_of(name: str) -> Kind:
    """What a file is by its extension."""
    return _KINDS.get(extension(name), "file")


_KINDS: dict[str, Kind] = {
    **dict.fromkeys(IMAGE_EXTENSIONS, "image"),
    **dict.fromkeys(VIDEO_EXTENSIONS, "video"),
    **dict.fromkeys(AUDIO_EXTENSIONS, "audio"),
}


def is_litter(name: str) -> bool:
    """Files that systems leave behind: AppleDouble, .DS_Store, Thumbs.db, editors' dot files."""
    return name.startswith(".") or name.lower() in _LITTER


def is_junk(name: str) -> bool:
    """Litter that nobody made and nobody misses: AppleDouble (``._*``), .DS_Store, Thumbs.db."""
    return name.startswith("._") or name.lower() in _JUNK


def parse(stem: str, bases: Container[str]) -> Part:
    """What ``stem`` is, given the bases of all samples of the split."""
    known = stem in bases
    numbered = _CONTROL.fullmatch(stem) if "_control_" in stem else None
    masked = stem[: -len(_MASK)] if stem.endswith(_MASK) else ""
    if known:
        shorter = numbered["base"] if numbered else masked
        return Part(stem, "main", shadowed=shorter if shorter in bases else "")
    if numbered and numbered["base"] in bases:
        digits = numbered["number"]
        return Part(numbered["base"], "bad-number" if digits.startswith("0") else "control", int(digits))
    if masked in bases:
        return Part(masked, "mask")
    legacy = _LEGACY.fullmatch(stem)
    if legacy and legacy["base"] in bases:
        return Part(legacy["base"], "legacy", int(legacy["number"]))
    return Part(stem, "other")


def legacy(stem: str) -> Part | None:
    """The sample and number that a stem of the old form ``<base>_N`` speaks of."""
    old = _LEGACY.fullmatch(stem)
    return Part(old["base"], "legacy", int(old["number"])) if old else None


def may_be_part(stem: str) -> bool:
    """Whether a stem can be that of a further control or a mask. Most are not, and need not be parsed to know it."""
    return "_control_" in stem or stem.endswith(_MASK)


def all_of(stem: str) -> tuple[str, str]:
    """Where all files of a stem are among sorted names: from the first on and before the second, others between them.

    Names have no slash, the sign that comes after the dot.
    """
    return f"{stem}.", f"{stem}/"


def all_parts(bases: Sequence[str]) -> tuple[str, str]:
    """As ``all_of``, for the files of all stems that ``parse`` may take for parts of these samples, sorted ones."""
    return bases[0], max(f"{base}{_MASK}/" for base in bases)


def all_prompts(stem: str) -> tuple[str, str]:
    """As ``all_of``, for prompts only; capital letters come first."""
    return f"{stem}{PROMPT_EXTENSION.upper()}", f"{stem}{PROMPT_EXTENSION}/"


def prompt_stem(name: str) -> str:
    """The stem of a file that is a prompt by its name; "" for any other."""
    return name[: -len(PROMPT_EXTENSION)] if name[-len(PROMPT_EXTENSION) :].lower() == PROMPT_EXTENSION else ""


def in_order(stems: Iterable[str], known: Container[str]) -> Iterator[str]:
    """Each stem once and in order, where ``stems`` come in the order of their files' names; ``known`` has them all.

    That is another order: "a-1.txt" comes before "a.txt", because a hyphen comes before a dot. So wherever a stem goes
    on with such a sign, or with a dot, the stem that ends there comes first.
    """
    last = ""
    for stem in stems:
        for early in _EARLY.finditer(stem):
            shorter = stem[: early.start()]
            if not _precedes(shorter, last) and shorter in known:
                yield shorter
        if not _precedes(stem, last):
            yield stem
        last = stem


def _precedes(stem: str, last: str) -> bool:
    """Whether ``in_order`` has met a stem when ``last`` was its last one."""
    return last.startswith(stem) and (last == stem or last[len(stem)] <= ".")


def base_of(stem: str) -> str:
    """The sample that a stem would belong to by its form alone."""
    numbered = _CONTROL.fullmatch(stem)
    if numbered:
        return numbered["base"]
    return stem.removesuffix(_MASK) or stem


def meant(stem: str) -> Part | None:
    """The control or mask that a stem of no role looks like (``cat_Mask``, ``cat-control1``), to be suggested."""
    looks = _MEANT.fullmatch(stem)
    if looks is None:
        return None
    return Part(looks["base"], "control", int(looks["number"])) if looks["number"] else Part(looks["base"], "mask")


def mask_stem(base: str) -> str:
    """The stem of the mask of ``base``."""
    return base + _MASK


def control_stem(base: str, number: int) -> str:
    """The stem of the ``number``-th further control of ``base``; 0 is the main one."""
    return f"{base}_control_{number}" if number else base


def lacking(numbers: Collection[int]) -> str:
    """The controls that are missing below the highest of ``numbers``, as words; "" when none is."""
    highest, count = max(numbers, default=0), sum(number > 0 for number in numbers)
    if highest == count:
        return ""
    first = islice((number for number in range(1, highest) if number not in numbers), 5)  # a date leaves trillions
    return ", ".join(f"_control_{number}" for number in first) + (", …" if highest - count > 5 else "")


def prefer(names: Iterable[str]) -> list[str]:
    """Names that claim the same role, the one to take first: by extension in the documented order, small letters first.

    Prompts, which have one extension only, are ordered by the same rule.
    """
    order = (*MEDIA_EXTENSIONS, PROMPT_EXTENSION)
    return sorted(names, key=lambda name: (order.index(split_extension(name)[1]), name.swapcase()))


def fold(name: str) -> str:
    """A key that near misses share: case, Unicode form and separators set aside."""
    return re.sub(r"[\s_.-]+", "", unicodedata.normalize("NFKC", name).casefold())


def split_rank(name: str) -> tuple[int, str]:
    """Orders splits as people list them: train, test, then the others by name."""
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def on_disk(name: str) -> str:
    """A key that names share when some disk takes them for one: case and Unicode form set aside."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_portable(name: str) -> bool:
    """Can name a file on every usual system, and is no litter: no device of Windows, no sign that some disk forbids."""
    legal = not (_UNWRITABLE.search(name) or _DEVICE.fullmatch(name) or name.endswith((".", " ")))
    return legal and 0 < len(name.encode()) <= LONGEST and not is_litter(name)


def is_portable_path(path: str) -> bool:
    """Every part of this ``/`` path is portable, so it neither leads out of a folder nor to its top."""
    return all(map(is_portable, path.split("/")))


def portable(text: str, length: int) -> str:
    """``text`` where it can be a stem of at most ``length`` bytes, else one that is made of it.

    Both as the stem of a file and with something appended, it is portable.
    """
    name = _UNWRITABLE.sub("_", text).lstrip(". ").rstrip(". ") or "x"
    if device := _DEVICE.fullmatch(name):
        name = f"{device[1]}_{name[device.end(1) :]}"
    if len(name.encode()) <= length:
        return name
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{name.encode()[: length - 9].decode(errors='ignore')}-{mark}"


def is_split_name(name: str) -> bool:
    """Legal as a split of `datasets`: words joined by dots; ``all`` means every split there."""
    return _SPLIT.fullmatch(name) is not None and name != "all"
