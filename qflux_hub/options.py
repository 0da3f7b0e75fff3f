"""Every option of every job: its name, type, default and meaning, once.

The functions take them as keywords, the command line makes its flags from them, ``--help`` prints their meaning. A
field's name is the keyword; its flag is the same with dashes unless ``flags`` says otherwise. ``Keywords`` twins of
the dataclasses exist for type checkers only; a test holds them together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from qflux_hub.errors import UsageError

if TYPE_CHECKING:
    from qflux_hub.localhub import LocalHub


_LISTS = ("splits", "only", "samples")
"""Options that take several texts."""


def _option(default: Any, meaning: str, *, flags: str = "", metavar: str | None = None) -> Any:
    """A field with what the command line needs to know of it. ``flags``: as Typer takes them, by spaces."""
    metadata = {"help": meaning, "flags": flags.split(), "metavar": metavar}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Options:
    """What all options have in common."""

    def __post_init__(self) -> None:
        """Raises UsageError for a text where a list of texts is meant: it would be taken letter by letter."""
        for name in _LISTS:
            value = getattr(self, name, ())
            if isinstance(value, str):
                hint = f"Give a list of them, such as {name}=[{value!r}]."
                raise UsageError(f"{name} is one text, {value!r}, where several may be given.", hint=hint)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ReadOptions(Options):
    """How a source is read."""

    layout: str | None = _option(None, "Layout of SOURCE; found out by default.", metavar="NAME")
    columns: Mapping[str, str] = _option(
        {}, "Column of a table that plays a role, such as prompt=caption.", flags="--column", metavar="ROLE=COLUMN"
    )
    splits: Sequence[str] = _option((), "Only this split (repeatable).", flags="--split", metavar="NAME")
    follow_links: bool = _option(False, "Let links lead out of the folder.")
    decode: bool = _option(False, "Decode every image fully, not only its header.")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FileOptions(Options):
    """How a dataset is written out as files."""

    as_: str = _option("directory", "Layout to write; by default directory.", flags="--as", metavar="LAYOUT")
    only: Sequence[str] = _option(
        (), "Only samples of this id, or of ids such as 'cat_*' (repeatable).", metavar="ID_OR_GLOB"
    )
    force: bool = _option(False, "Replace files that are there with another content.")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ConvertOptions(FileOptions, ReadOptions):
    """What ``convert_dataset`` takes."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CheckOptions(ReadOptions):
    """How a source is judged."""

    allow_empty_prompt: bool = _option(False, "Take empty prompts as they are.")
    strict: bool = _option(False, "Let warnings fail as errors do.")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FullCheckOptions(CheckOptions):
    """What ``check_dataset`` takes."""

    near_duplicates: bool = _option(False, "Find images that nearly look the same, too; decodes every image.")
    validation: str | os.PathLike[str] | None = _option(  # noqa: RUF009 - it makes a field
        None, "Check a validation file of finetrainers, beside SOURCE or alone.", metavar="FILE"
    )
    multiple_of: int = _option(
        1, "The number of its rows must be a multiple of this: dp_shards times tp_degree.", metavar="N"
    )
    report: str | os.PathLike[str] | None = _option(  # noqa: RUF009 - it makes a field
        None, "Write all findings to a file as well.", metavar="FILE.csv|.json"
    )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RepairOptions(ReadOptions):
    """How repairs are made."""

    apply: bool = _option(False, "Make the repairs; without it they are only shown.")
    undo: str | os.PathLike[str] | None = _option(  # noqa: RUF009 - it makes a field
        None, "Take the repairs of a log back.", metavar="LOG"
    )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FixOptions(RepairOptions):
    """What ``fix_dataset`` takes."""

    only: Sequence[str] = _option((), "Only repair findings of this code (repeatable).", metavar="CODE")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HubOptions(Options):
    """Which Hub, as whom, and at which revision."""

    hub: str | LocalHub | None = _option(  # noqa: RUF009 - it makes a field
        None, "URL of a Hub, or `local` for the embedded one [env: QFLUX_HUB].", metavar="URL|local"
    )
    token: str | None = _option(None, "Access token; by default HF_TOKEN or the stored login.", metavar="TOKEN")
    revision: str | None = _option(None, "Branch, tag or commit.", metavar="NAME")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class WriteOptions(HubOptions):
    """What a commit to a Hub does. ``private`` is positional in the functions, as documented."""

    private: bool | None = _option(
        None,
        "Visibility wished for. By default a new repo is private and an existing one stays as it is.",
        flags="--private/--public",
    )
    keep_visibility: bool = _option(False, "Upload even if the repo's visibility differs from the wish.")
    commit_message: str | None = _option(None, "Title of the commit.", flags="--commit-message -m", metavar="TEXT")
    create_pr: bool = _option(False, "Open a pull request instead of committing.")
    tag: str | None = _option(None, "Tag the commit.", metavar="NAME")
    dry_run: bool = _option(False, "Show what would be done, and do nothing.")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class UploadOptions(WriteOptions, CheckOptions):
    """What ``upload_dataset`` takes."""

    skip_bad: bool = _option(
        False, "Leave out samples whose files cannot be used; what the Hub has of them stays there."
    )
    shard_size: int | None = _option(
        None, "Bytes that a shard aims at, such as 64MB; by default 256MB, or what the dataset has.", metavar="SIZE"
    )
    prune_splits: bool = _option(False, "Delete splits on the Hub that SOURCE does not have.")
    mirror: bool = _option(False, "Make the splits equal to SOURCE, whatever others added, changed or wrote there.")
    workers: int = _option(
        1, "Shards under way at once; each takes up to 300 MB of memory, or by LFS its size in TMPDIR.", metavar="N"
    )
    card: bool = _option(True, "Leave the dataset card alone.", flags="--no-card")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DownloadOptions(FileOptions, HubOptions):
    """What ``download_dataset`` takes. Layout and columns are those of a repo that qflux did not write."""

    layout: str | None = _option(None, "Layout of the repo; found out by default.", metavar="NAME")
    columns: Mapping[str, str] = _option(
        {}, "Column of a table that plays a role, such as prompt=caption.", flags="--column", metavar="ROLE=COLUMN"
    )
    splits: Sequence[str] = _option((), "Only this split (repeatable).", flags="--split", metavar="NAME")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PreviewOptions(HubOptions, ReadOptions):
    """What ``preview_dataset`` takes."""

    out: str | None = _option(None, "Page to write; by default NAME-preview.html, here.", metavar="FILE.html")
    serve: bool = _option(False, "Serve the gallery on loopback until Ctrl-C instead of writing it.")
    port: int = _option(0, "Port of --serve; 0 is any that is free.", metavar="N")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DiffOptions(HubOptions, ReadOptions):
    """What ``diff_dataset`` takes."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class InspectOptions(HubOptions):
    """What ``inspect_lora`` and ``compare_loras`` take."""

    full: bool = _option(False, "Look at the numbers themselves, too; of a Hub's file, fetch all of it.")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LoraUploadOptions(WriteOptions):
    """What ``upload_lora`` takes."""

    remote_name: str | None = _option(
        None, "Name in the repo; by default pytorch_lora_weights.safetensors.", metavar="NAME"
    )
    extra_files: Mapping[str, str] | Sequence[str] | None = _option(
        (), "Another file for the same commit (repeatable).", flags="--extra", metavar="LOCAL[:REMOTE]"
    )
    checkpoint: str | None = _option(None, "Of a training's output: its last one, or a step.", metavar="last|STEP")
    base_model: str | None = _option(None, "Hub id of the model that it was trained on.", metavar="ID")
    trigger: str | None = _option(None, "Words that call the LoRA up in a prompt.", metavar="WORDS")
    samples: Sequence[str | tuple[str, str]] = _option(
        (), "Image for the card's gallery (repeatable).", flags="--sample", metavar="IMAGE[:PROMPT]"
    )
    card: bool = _option(True, "Leave the model card alone.", flags="--no-card")
    write_alpha: bool = _option(False, "Write alpha where loaders look for it.")
    scrub: bool = _option(False, "Upload copies without tokens, paths, names and places.")
    allow_leaks: bool = _option(False, "Upload files even if they hold what looks like a token.")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LoraDownloadOptions(HubOptions):
    """What ``download_lora`` takes. ``filename`` is positional in the function, as documented."""

    filename: str | None = _option(
        None, "File of the repo; by default pytorch_lora_weights.safetensors, else the only one.", metavar="NAME"
    )
    local_dir: str | os.PathLike[str] | None = _option(  # noqa: RUF009 - it makes a field
        None, "Folder to put it into; by default the cache.", metavar="DIR"
    )
    force: bool = _option(False, "Replace another file in that folder.")


class ReadKeywords(TypedDict, total=False):
    """Keywords of ``scan_dataset``."""

    layout: str | None
    columns: Mapping[str, str]
    splits: Sequence[str]
    follow_links: bool
    decode: bool


class ConvertKeywords(ReadKeywords, total=False):
    """Keywords of ``convert_dataset``."""

    only: Sequence[str]
    force: bool


class CheckKeywords(ReadKeywords, total=False):
    """Keywords of ``check_dataset``."""

    allow_empty_prompt: bool
    strict: bool


class FullCheckKeywords(CheckKeywords, total=False):
    """Keywords of ``check_dataset``."""

    near_duplicates: bool
    validation: str | os.PathLike[str] | None
    multiple_of: int
    report: str | os.PathLike[str] | None


class PreviewKeywords(ReadKeywords, total=False):
    """Keywords of ``preview_dataset``."""

    hub: str | LocalHub | None
    token: str | None
    revision: str | None
    serve: bool
    port: int


class FixKeywords(ReadKeywords, total=False):
    """Keywords of ``fix_dataset``."""

    apply: bool
    undo: str | os.PathLike[str] | None
    only: Sequence[str]


class DiffKeywords(ReadKeywords, total=False):
    """Keywords of ``diff_dataset``."""

    hub: str | LocalHub | None
    token: str | None
    revision: str | None


class UploadKeywords(CheckKeywords, total=False):
    """Keywords of ``upload_dataset`` and its documented twins."""

    hub: str | LocalHub | None
    token: str | None
    revision: str | None
    keep_visibility: bool
    commit_message: str | None
    create_pr: bool
    tag: str | None
    dry_run: bool
    skip_bad: bool
    shard_size: int | None
    prune_splits: bool
    mirror: bool
    workers: int
    card: bool


class DownloadKeywords(TypedDict, total=False):
    """Keywords of ``download_dataset``."""

    hub: str | LocalHub | None
    token: str | None
    revision: str | None
    layout: str | None
    columns: Mapping[str, str]
    splits: Sequence[str]
    only: Sequence[str]
    force: bool


class InspectKeywords(TypedDict, total=False):
    """Keywords of ``inspect_lora`` and ``compare_loras``."""

    hub: str | LocalHub | None
    token: str | None
    revision: str | None
    full: bool


class LoraUploadKeywords(TypedDict, total=False):
    """Keywords of ``upload_lora`` and its documented twin."""

    hub: str | LocalHub | None
    token: str | None
    revision: str | None
    keep_visibility: bool
    commit_message: str | None
    create_pr: bool
    tag: str | None
    dry_run: bool
    remote_name: str | None
    extra_files: Mapping[str, str] | Sequence[str] | None
    checkpoint: str | None
    base_model: str | None
    trigger: str | None
    samples: Sequence[str | tuple[str, str]]
    card: bool
    write_alpha: bool
    scrub: bool
    allow_leaks: bool


class LoraDownloadKeywords(TypedDict, total=False):
    """Keywords of ``download_lora``."""

    hub: str | LocalHub | None
    token: str | None
    revision: str | None
    local_dir: str | os.PathLike[str] | None
    force: bool
