"""Flags made from the options' dataclasses, so that no option is listed twice."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any

import typer

from qflux_hub.cli.console import Console
from qflux_hub.errors import UsageError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

_MODES: dict[str, tuple[str, ...]] = {"json": ("--json",), "quiet": ("--quiet", "-q"), "verbose": ("--verbose", "-v")}
_MODE_HELP = {
    "json": "Print one JSON object and nothing else.",
    "quiet": "Print only what a script wants.",
    "verbose": "Say more, and show where an error came from.",
}


def with_options(*groups: type) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Make a command of ``function(console, …arguments, **options)``: its flags are the fields of ``groups``.

    The command's result, if any, is shown by the console; its exit code is the command's.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters.values()
        arguments = [p for p in own if p.kind is not p.VAR_KEYWORD and p.name != "console"]
        chosen = [field for group in groups for field in fields(group)]
        taken = {p.name for p in arguments}

        def command(**given: Any) -> None:
            console = Console(**{mode: given.pop(mode) for mode in _MODES})
            console.hear()
            _require_values(given, parameters)
            for field in chosen:
                if field.name in given:
                    given[field.name] = _from_command_line(field, given[field.name])
            result = function(console, **given)
            if result is not None:
                raise typer.Exit(console.show(result))

        flags = [_parameter(field) for field in chosen if field.name not in taken]
        parameters = [*arguments, *flags, *map(_mode, _MODES)]
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what Typer reads
            [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        )
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return decorate


def _require_values(given: Mapping[str, Any], parameters: Sequence[inspect.Parameter]) -> None:
    """Raise UsageError for an empty text. No option means something by it, and an empty path would be this folder, an
    empty URL the public Hub: what scripts whose variables are not set would get.
    """
    for parameter in parameters:
        value = given.get(parameter.name)
        if value == "" or (isinstance(value, list) and "" in value):
            described = parameter.annotation.__metadata__[0]
            names = getattr(described, "param_decls", None) or [described.metavar or f"--{parameter.name}"]
            raise UsageError(f"{names[0]} is empty.", hint="A variable of the shell may not be set.")


def _parameter(field: Field[Any]) -> inspect.Parameter:
    default = () if field.default_factory is not MISSING else field.default
    flags = field.metadata["flags"] or [f"--{field.name.replace('_', '-')}"]
    kind: Any
    if isinstance(default, bool):
        kind = bool
        default = False  # a flag such as --no-card switches off what is on: see _from_command_line
    elif field.name == "private":
        kind = bool | None
    elif isinstance(default, tuple):
        kind, default = list[str], []
    else:
        kind = int if isinstance(default, int) else str | None
    shown = isinstance(default, int) and not isinstance(default, bool)
    described = field.metadata
    option = typer.Option(*flags, help=described["help"], metavar=described["metavar"], show_default=shown)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _mode(name: str) -> inspect.Parameter:
    option = typer.Option(*_MODES[name], help=_MODE_HELP[name], show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option])


def _from_command_line(field: Field[Any], value: Any) -> Any:
    """A flag's text as the value that the option has in Python."""
    if field.default is True:
        return not value
    if field.name == "columns":
        return _pairs(value)
    if field.name == "shard_size":
        return _size(value)
    return tuple(value) if isinstance(value, list) else value


def _pairs(texts: list[str]) -> Mapping[str, str]:
    pairs = {}
    for text in texts:
        role, equals, column = text.partition("=")
        if not (role and equals and column):
            raise UsageError(
                f"--column {text!r} does not name a role and a column.", hint="For example prompt=caption."
            )
        pairs[role] = column
    return pairs


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    parts = re.fullmatch(r"\s*([\d.]{1,18})\s*([kKmMgGtT]?[bB]?)\s*", text)
    unit = parts[2].upper() if parts else ""
    unit = unit if unit.endswith("B") or not unit else unit + "B"
    try:
        return int(float(parts[1] if parts else "") * _UNITS[unit])
    except ValueError:
        raise UsageError(f"--shard-size {text!r} is no size.", hint="Bytes, or for example 64MB or 1GB.") from None
