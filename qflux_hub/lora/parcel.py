"""What one upload is made of: weights, files that go along, pictures for the card. Checked before the first request.

Everything that can be wrong with the call or the files is found here: files that do not exist, names that a repo cannot
hold or that collide, pickles, weights that are no LoRA, secrets. Cleaned and repaired copies lie in a temporary folder
that the caller gives; the files themselves are never changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from qflux_hub import codes
from qflux_hub.errors import NotFoundError, UsageError
from qflux_hub.lora import leaks, pictures
from qflux_hub.lora.alpha import ADAPTER_CONFIG, TRAIN_CONFIG
from qflux_hub.lora.card import CARD, Picture
from qflux_hub.lora.local import Weights, open_weights, read_config
from qflux_hub.lora.repair import repaired
from qflux_hub.lora.rewrite import rewrite
from qflux_hub.lora.settings import read_settings
from qflux_hub.lora.sources import (
    ADAPTER_NAME,
    DEFAULT_NAME,
    Source,
    check_path,
    missing_twins,
    refuse_pickle,
    resolve,
)
from qflux_hub.options import LoraUploadOptions
from qflux_hub.report import Finding

PICTURES = "images"
"""Where in the repo the card's pictures lie."""
_TEXTS = frozenset(
    {".yaml", ".yml", ".json", ".jsonl", ".toml", ".txt", ".md", ".csv", ".cfg", ".ini", ".log", ".py", ".sh"}
)
_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
_CONFIGS = frozenset({".yaml", ".yml", ".json"})
_LARGEST_TEXT = 16 * 1024 * 1024
_CONTROL = re.compile(r"(?P<base>.+?)_(?:control|before|input|source)(?:_\d+)?")
_RESULT = re.compile(r"(?P<base>.+?)_(?:result|after|output|target)")


@dataclass(slots=True)
class Item:
    """One file to upload: its path in the repo, where it is now, and its bytes if it is small."""

    path: str
    file: Path
    size: int
    content: bytes | None = None
    weights: Weights | None = None
    checkpoint: str = ""
    """The folder or file that was chosen of several."""

    def git_or_sha256(self, sha256: str | None) -> str:
        """Its hash, of the kind that the Hub names a file by: SHA-256 for a large one, else the id of git."""
        return self.sha256 if sha256 else self._git()

    def _git(self) -> str:
        digest = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        if self.content is not None:
            digest.update(self.content)
            return digest.hexdigest()
        with self.file.open("rb") as opened:
            while piece := opened.read(1 << 22):
                digest.update(piece)
        return digest.hexdigest()

    @property
    def sha256(self) -> str:
        """The hash of its content; of weights, after they were hashed."""
        if self.weights is not None:
            return self.weights.sha256
        return hashlib.sha256(self.content or b"").hexdigest()


@dataclass(slots=True)
class Parcel:
    """All files of an upload, and what was found in them. ``own_card``: the user brings a card of their own;
    ``written``: paths of configurations that were repaired, whatever the user gave for them.
    """

    items: list[Item] = field(default_factory=list)
    gallery: list[Picture] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    own_card: bool = False
    written: set[str] = field(default_factory=set)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def weights(self) -> list[Weights]:
        """The weights files, the main one first."""
        return [item.weights for item in self.items if item.weights is not None]

    @property
    def failed(self) -> bool:
        """Whether there are errors."""
        return any(finding.severity == "error" for finding in self.findings)


def pack_parcel(source: Source, options: LoraUploadOptions, scratch: Path) -> Parcel:
    """Collect, check and, if asked, repair and clean. Raises UsageError, NotFoundError, RefusedError."""
    paths = resolve(source, options.checkpoint)
    extras = _extras(options.extra_files or ())
    parcel = Parcel(own_card=CARD in extras.values())
    for remote in extras.values():
        check_path(remote)
    for local in extras:
        _require_file(Path(local))
    parcel.configs = _configs(extras, parcel)
    for path, remote in zip(paths, _remote_names(paths, options), strict=True):
        _add_weights(parcel, path, remote, options, scratch, taken=set(extras.values()))
    for twin in missing_twins(paths):
        message = f"{twin.name} lies beside and belongs to what is uploaded, but is not part of it."
        parcel.findings.append(codes.TWIN_LEFT_OUT(twin.name, message))
    for local, remote in extras.items():
        if remote not in parcel.written:
            _add_file(parcel, Path(local), remote, options)
    _add_pictures(parcel, options)
    _check_collisions([item.path for item in parcel.items])
    return parcel


def _configs(extras: Mapping[str, str], parcel: Parcel) -> dict[str, Any]:
    """The configurations among the extra files, by their names in the repo; only those of known names must be."""
    configs: dict[str, Any] = {}
    for local, remote in extras.items():
        path = Path(local)
        if path.suffix.lower() in _CONFIGS and path.stat().st_size <= _LARGEST_TEXT:
            strict = path.name in (ADAPTER_CONFIG, TRAIN_CONFIG)
            read = read_config(path, parcel.findings.append if strict else lambda _: None)
            configs |= dict.fromkeys([remote], next(iter(read.values()))) if read else {}
    return configs


# --- names ------------------------------------------------------------------------------------------------------


def _extras(given: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    """{local path: path in the repo}, from the documented mapping or from ``LOCAL[:REMOTE]`` texts."""
    if isinstance(given, Mapping):
        pairs = [(_text(local), _text(remote)) for local, remote in given.items()]
    else:
        texts = [given] if isinstance(given, str) else [_text(one) for one in given]
        pairs = [_split(text) for text in texts]
    return {str(Path(local).expanduser()): remote or Path(local).name for local, remote in pairs}


def _text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    if not isinstance(value, str):
        raise UsageError(f"extra_files holds {value!r}, which is no path.", hint="It maps local paths to remote ones.")
    return value


def _split(text: str) -> tuple[str, str]:
    """(local, the rest behind the colon): the colon may be part of a name that exists."""
    if Path(text).expanduser().exists() or ":" not in text:
        return text, ""
    local, _, rest = text.partition(":")
    return local, rest


def _check_collisions(paths: Sequence[str]) -> None:
    """Raises UsageError where two files want one place, or one wants a folder of another."""
    seen: dict[str, str] = {}
    for path in paths:
        other = seen.get(path.casefold())
        if other is not None:
            how = "twice" if other == path else f"and as {other!r}, which differs in case only"
            raise UsageError(f"Two files would be uploaded as {path!r} {how}.", hint="Give one of them another name.")
        seen[path.casefold()] = path
    for path in paths:
        for parent in PurePosixPath(path).parents:
            if str(parent).casefold() in seen:
                raise UsageError(f"{str(parent)!r} would be a file, and a folder for {path!r}.")


def _remote_names(paths: Sequence[Path], options: LoraUploadOptions) -> list[str]:
    """The weights' paths in the repo: of one file the default name, of several their own."""
    if options.remote_name is not None:
        check_path(options.remote_name)
        if len(paths) > 1:
            raise UsageError("--remote-name names one file, and there are several.", hint="They keep their own names.")
        if not options.remote_name.endswith(".safetensors"):
            raise UsageError(f"--remote-name {options.remote_name!r} does not end in .safetensors.")
        return [options.remote_name]
    if len(paths) == 1:
        return [ADAPTER_NAME if paths[0].name == ADAPTER_NAME else DEFAULT_NAME]
    return [path.name for path in paths]


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder; extra files are named one by one.")
    if not path.is_file():
        raise NotFoundError(f"There is no {path}.", hint="It was named as a file to upload along; nothing was sent.")
    refuse_pickle(path)


# --- files ------------------------------------------------------------------------------------------------------


def _add_weights(
    parcel: Parcel, path: Path, remote: str, options: LoraUploadOptions, scratch: Path, taken: set[str]
) -> None:
    weights = open_weights(path, path.name, parcel.configs)
    adapter = path.parent / ADAPTER_CONFIG
    item = Item(remote, path, weights.size, weights=weights)
    if options.checkpoint:
        item.checkpoint = path.parent.name if path.name in (DEFAULT_NAME, ADAPTER_NAME) else path.name
    beside = PurePosixPath(remote).with_name(ADAPTER_CONFIG).as_posix()
    parcel.items.append(item)
    if weights.lora.format == "peft" and adapter.is_file() and beside not in taken:
        _add_file(parcel, adapter, beside, options)
    if weights.header is None or weights.lora.failed:
        parcel.findings += weights.lora.findings
        return
    if options.write_alpha:
        target = scratch / f"alpha-{len(parcel.items)}.safetensors"
        config = repaired(path, weights.header, weights.lora, weights.configs, target)
        if config is not None:
            parcel.items = [other for other in parcel.items if other.path != beside]
            parcel.items.append(Item(beside, adapter, len(config), content=config))
            parcel.written.add(beside)
            settled = {**weights.configs, ADAPTER_CONFIG: read_settings(ADAPTER_CONFIG, config)}
            weights = open_weights(path, path.name, settled)
        elif target.exists():
            weights = open_weights(target, path.name, weights.configs)
    found = list(leaks.scan_metadata(path.name, weights.header.metadata if weights.header else {}))
    if options.scrub and found and weights.header:
        cleaned = scratch / f"scrubbed-{len(parcel.items)}.safetensors"
        before, after = weights.header.metadata, leaks.clean_metadata(weights.header.metadata)
        rewrite(weights.path, weights.header, cleaned, after)
        changed = [key for key, value in before.items() if after.get(key) != value]
        message = f"{path.name} goes up as a cleaned copy; metadata left out or shortened: {', '.join(changed)}."
        parcel.findings.append(codes.CLEANED(path.name, message))
        weights, found = open_weights(cleaned, path.name, weights.configs), []
    item.weights, item.file, item.size = weights, weights.path, weights.size
    parcel.findings += [*weights.lora.findings, *_allowed(found, options)]
    weights.lora.findings = []


def _add_file(parcel: Parcel, path: Path, remote: str, options: LoraUploadOptions) -> None:
    """A file that goes along. Texts and pictures are looked through; weights must be right ones."""
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        weights = open_weights(path, path.name)
        parcel.items.append(Item(remote, path, weights.size, weights=weights))
        parcel.findings += [one for one in weights.lora.findings if one.severity == "error"]
        return
    content = path.read_bytes()
    found: list[Finding] = []
    if suffix in _IMAGES:
        found = list(pictures.scan_image(path.name, content))
        content = pictures.clean_image(content) if options.scrub and found else content
    elif (text := _as_text(suffix, content)) is not None:
        found = list(leaks.scan_text(path.name, text))
        if options.scrub and found:
            content = _cleaned(suffix, text).encode()
    parcel.findings += _told_cleaned(path.name, found) if options.scrub else _allowed(found, options)
    parcel.items.append(Item(remote, path, len(content), content))


def _as_text(suffix: str, content: bytes) -> str | None:
    if len(content) > _LARGEST_TEXT or (suffix not in _TEXTS and b"\0" in content[:8192]):
        return None
    return content.decode("utf-8", "replace" if suffix in _TEXTS else "ignore")


def _cleaned(suffix: str, text: str) -> str:
    if suffix == ".json":
        try:
            return leaks.clean_json(text)
        except ValueError:
            pass
    return leaks.clean_text(text)


_TAKEN_OUT = {
    codes.SECRET_FOUND.name: "secrets",
    codes.PATH_FOUND.name: "folders of paths",
    codes.NAME_FOUND.name: "names",
    codes.POSITION_FOUND.name: "where it was taken",
    codes.WORKFLOW_FOUND.name: "its workflow",
}


def _told_cleaned(name: str, found: Iterable[Finding]) -> Iterator[Finding]:
    """What was taken out of a copy, with the lines where it was."""
    lines: dict[str, list[str]] = {}
    for one in found:
        lines.setdefault(_TAKEN_OUT[one.code], []).extend([] if one.line is None else [str(one.line)])
    if lines:
        parts = "; ".join(f"{what}{_lines(list(dict.fromkeys(at)))}" for what, at in lines.items())
        yield codes.CLEANED(name, f"{name} goes up as a cleaned copy, without {parts}.")


def _lines(numbers: Sequence[str]) -> str:
    return f" (line{'s' if len(numbers) > 1 else ''} {', '.join(numbers)})" if numbers else ""


def _allowed(found: Iterable[Finding], options: LoraUploadOptions) -> list[Finding]:
    """With ``allow_leaks``, secrets are warnings like the rest."""
    if not options.allow_leaks:
        return list(found)
    return [
        codes.CODES[one.code](one.where, one.message, line=one.line, fix=one.fix, severity="warning")
        if one.severity == "error"
        else one
        for one in found
    ]


# --- pictures ---------------------------------------------------------------------------------------------------


def _add_pictures(parcel: Parcel, options: LoraUploadOptions) -> None:
    """The gallery. ``cat_control.png`` is what the edit of ``cat.png`` or ``cat_result.png`` started from."""
    given = [_picture(one) for one in options.samples]
    controls: dict[str, str] = {}
    results = []
    for path, prompt in given:
        if not path.is_file():
            raise NotFoundError(f"There is no {path}.", hint="--sample takes IMAGE or IMAGE:PROMPT.")
        if path.suffix.lower() not in _IMAGES:
            raise UsageError(f"{path} cannot stand in a card.", hint="A sample is a PNG, JPEG or WebP image.")
        remote = f"{PICTURES}/{path.name}"
        _add_file(parcel, path, remote, options)
        found = _CONTROL.fullmatch(path.stem)
        if found:
            controls.setdefault(found["base"], remote)
        else:
            results.append((path.stem, remote, prompt))
    for stem, remote, prompt in results:
        base = _RESULT.fullmatch(stem)
        parcel.gallery.append(Picture(remote, prompt, controls.get(base["base"] if base else stem)))


def _picture(given: str | tuple[str, str]) -> tuple[Path, str]:
    path, prompt = given if isinstance(given, tuple) else _split(given)
    return Path(path).expanduser(), prompt.strip()
