"""The commands. Each is a translation: arguments to keywords, the result to words."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

import qflux_hub
from qflux_hub import codes
from qflux_hub.cli.console import Console
from qflux_hub.cli.flags import with_options
from qflux_hub.errors import UsageError
from qflux_hub.options import (
    ConvertOptions,
    DiffOptions,
    DownloadOptions,
    FixOptions,
    FullCheckOptions,
    InspectOptions,
    LoraDownloadOptions,
    LoraUploadOptions,
    PreviewOptions,
    ReadOptions,
    RepairOptions,
    UploadOptions,
)

_COMMANDS: dict[str, tuple[Callable[..., Any], tuple[type, ...]]] = {}


def app(wanted: str = "") -> typer.Typer:
    """The command line, with the one command that is ``wanted`` if it has that name, else with all of them.

    Making the flags of all takes longer than what an upload does that has nothing to do.
    """
    made = typer.Typer(
        name="qflux",
        help="Move image-editing datasets and LoRA weights between disks, trainers and the Hugging Face Hub.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback(invoke_without_command=True)(_root)
    for name in [wanted] if wanted in _COMMANDS else _COMMANDS:
        function, options = _COMMANDS[name]
        summary = inspect.cleandoc(function.__doc__ or "").split("\n")[0]
        made.command(name, short_help=summary)(with_options(*options)(function))
    return made


def _argument(metavar: str, meaning: str) -> Any:
    return typer.Argument(metavar=metavar, help=meaning, show_default=False)


_LORA = "A .safetensors file, its folder, or user/name[@revision][/path]."

SourceArgument = Annotated[str, _argument("SOURCE", "Folder of the dataset.")]
RepairedArgument = Annotated[str | None, _argument("SOURCE", "Folder of the dataset; none with --undo.")]
CheckedArgument = Annotated[str | None, _argument("SOURCE", "Folder of the dataset; none is needed with --validation.")]
PreviewedArgument = Annotated[str, _argument("SOURCE_OR_REPO", "Folder, or else a dataset repo on the Hub.")]
DestArgument = Annotated[str, _argument("DEST", "Folder to write to.")]
RepoArgument = Annotated[str, _argument("REPO_ID", "Repo on the Hub: user/name.")]
WeightsArgument = Annotated[list[str], _argument("SRC", "A .safetensors file, its folder, or several.")]
LoraArgument = Annotated[str, _argument("FILE_OR_REPO", _LORA)]
FirstLoraArgument = Annotated[str, _argument("A", _LORA)]
SecondLoraArgument = Annotated[str, _argument("B", _LORA)]


def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", show_default=False)] = False,
) -> None:
    if version:
        typer.echo(f"qflux {qflux_hub.__version__}")
        raise typer.Exit


def _command(name: str, *options: type) -> Callable[[Callable[..., Any]], None]:
    """Register a command whose flags are the fields of ``options``. Its first sentence is its line in the list."""

    def register(function: Callable[..., Any]) -> None:
        _COMMANDS[name] = function, options

    return register


@_command("upload-dataset", UploadOptions)
def upload_dataset(console: Console, source: SourceArgument, repo_id: RepoArgument, **options: Any) -> object:
    """Check a dataset and sync it to the Hub, in one commit."""
    return qflux_hub.upload_dataset(source, repo_id, progress=console.progress, **options)


@_command("scan", ReadOptions)
def scan(console: Console, source: SourceArgument, **options: Any) -> object:
    """Show the samples of a dataset as qflux pairs them."""
    return qflux_hub.scan_dataset(source, progress=console.progress, **options)


@_command("check", FullCheckOptions)
def check(
    console: Console,
    source: CheckedArgument = None,
    list_codes: Annotated[bool, typer.Option("--list-codes", help="List all kinds of findings, and end.")] = False,
    explain: Annotated[
        str | None, typer.Option(metavar="CODE", help="Explain one kind of finding, and end.", show_default=False)
    ] = None,
    **options: Any,
) -> object:
    """Find everything that is wrong with a dataset, or with a validation file.

    Exits 1 when there are errors; with --strict, also when there are warnings.
    """
    if explain is not None:
        return codes.explain(explain)
    if list_codes:
        return codes.list_codes()
    return qflux_hub.check_dataset(source, progress=console.progress, **options)


@_command("preview", PreviewOptions)
def preview(
    console: Console,
    source: PreviewedArgument,
    **options: Any,
) -> None:
    """Show the samples of a dataset as pictures, in one page or served."""
    result = qflux_hub.preview_dataset(source, progress=console.progress, **options)
    console.show(result)
    sys.stdout.flush()
    result.wait()


@_command("fix", FixOptions)
def fix(console: Console, source: RepairedArgument = None, **options: Any) -> object:
    """Show what can be repaired in a dataset; with --apply, repair it.

    Exits 1 when something could not be repaired.
    """
    return qflux_hub.fix_dataset(source, progress=console.progress, **options)


@_command("fix-extensions", RepairOptions)
def fix_extensions(console: Console, source: RepairedArgument = None, **options: Any) -> object:
    """Show or repair wrong extensions of images, and where tables name them, alone."""
    from qflux_hub.fixes import EXTENSION_CODES

    only = () if options["undo"] else EXTENSION_CODES
    return qflux_hub.fix_dataset(source, only=only, progress=console.progress, **options)


@_command("diff", DiffOptions)
def diff(console: Console, source: SourceArgument, repo_id: RepoArgument, **options: Any) -> object:
    """Show what an upload would change, sample by sample."""
    return qflux_hub.diff_dataset(source, repo_id, progress=console.progress, **options)


@_command("convert", ConvertOptions)
def convert(
    console: Console,
    source: SourceArgument,
    dest: DestArgument,
    as_: Annotated[
        str, typer.Option("--as", metavar="LAYOUT", help="Layout to write, such as csv.", show_default=False)
    ],
    **options: Any,
) -> object:
    """Write a dataset in another layout; images keep their bytes."""
    return qflux_hub.convert_dataset(source, dest, as_=as_, progress=console.progress, **options)


@_command("download-dataset", DownloadOptions)
def download_dataset(console: Console, repo_id: RepoArgument, dest: DestArgument, **options: Any) -> object:
    """Write a dataset of the Hub out as files, verified."""
    return qflux_hub.download_dataset(repo_id, dest, progress=console.progress, **options)


@_command("upload-lora", LoraUploadOptions)
def upload_lora(console: Console, src: WeightsArgument, repo_id: RepoArgument, **options: Any) -> object:
    """Check LoRA weights and upload what the Hub does not have, in one commit."""
    return qflux_hub.upload_lora(src, repo_id, progress=console.progress, **options)


@_command("download-lora", LoraDownloadOptions)
def download_lora(console: Console, repo_id: RepoArgument, **options: Any) -> object:
    """Download LoRA weights, verified; the last line is their path."""
    return qflux_hub.download_lora(repo_id, progress=console.progress, **options)


@_command("inspect-lora", InspectOptions)
def inspect_lora(console: Console, file_or_repo: LoraArgument, **options: Any) -> object:
    """Show what a LoRA file is, and what is wrong with it."""
    return qflux_hub.inspect_lora(file_or_repo, progress=console.progress, **options)


@_command("compare-lora", InspectOptions)
def compare_lora(console: Console, a: FirstLoraArgument, b: SecondLoraArgument, **options: Any) -> object:
    """Show what differs between two LoRAs."""
    return qflux_hub.compare_loras(a, b, progress=console.progress, **options)


@_command("hub")
def hub(
    console: Console,
    dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where it keeps everything [env: QFLUX_HUB_DIR].")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="N", help="Port on loopback; by default the one it had before.")
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:write|read]", help="Add an account and print its token (repeatable)."),
    ] = None,
    fsck: Annotated[bool, typer.Option("--fsck", help="Check everything that is stored, and end.")] = False,
    gc: Annotated[bool, typer.Option("--gc", help="Remove what nothing refers to any more, and end.")] = False,
) -> object:
    """Serve the embedded Hub on loopback, until Ctrl-C.

    With --fsck or --gc it looks after its directory instead; --fsck exits 7 when something is damaged.
    """
    if (fsck and gc) or ((fsck or gc) and (port is not None or user)):
        raise UsageError(
            "--fsck and --gc each end at once and serve nothing.", hint="Give one of them, with --dir alone."
        )
    if fsck or gc:
        return (qflux_hub.LocalHub(dir).fsck if fsck else qflux_hub.LocalHub(dir).gc)()
    log = (lambda line: console.note(str(line))) if console.verbose else None
    with qflux_hub.LocalHub(dir, port=port, log=log) as served:
        tokens = {name: served.add_user(name, role) for name, role in map(_account, user or [])}
        console.announce({"HF_ENDPOINT": served.url, "HF_TOKEN": served.token}, served.user, tokens)
        served.serve()
    return None


def _account(text: str) -> tuple[str, Literal["read", "write"]]:
    name, _, role = text.partition(":")
    if role not in ("", "read", "write") or not name:
        raise UsageError(f"--user {text!r} is no account.", hint="For example anna or anna:read.")
    return name, "read" if role == "read" else "write"
