"""One printer with three modes: words for people, one JSON object for programs, one line for scripts.

Results go to stdout; progress, warnings and errors to stderr. Colour and tables are for terminals only (``NO_COLOR``
is obeyed); what is piped is plain, unwrapped text. What only scripts read is printed without Rich, whose import takes
as long as a command that has nothing to do.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qflux_hub.errors import QfluxError
from qflux_hub.report import Progress

if TYPE_CHECKING:
    from rich.console import Console as Rich

_UNWRAPPED = 100_000
"""Columns of a pipe: lines there are never folded."""


class Console:
    """Prints results, findings, progress and errors in the mode that the user chose."""

    def __init__(self, *, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.json, self.quiet, self.verbose = json, quiet, verbose

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Console:
        """The mode that raw arguments ask for, known even when they cannot be parsed."""
        given = list(arguments)
        own = set(given[: given.index("--")] if "--" in given else given)
        own |= {letter for one in own if re.fullmatch("-[qv]+", one) for letter in one}  # -qv is -q -v
        return cls(json="--json" in own, quiet=bool({"q", "--quiet"} & own), verbose=bool({"v", "--verbose"} & own))

    @cached_property
    def out(self) -> Rich:
        """Standard output."""
        return _rich(stderr=False)

    @cached_property
    def err(self) -> Rich:
        """Standard error."""
        return _rich(stderr=True)

    @cached_property
    def progress(self) -> Progress:
        """Where jobs tell how far they are: bars on a terminal, a line now and then elsewhere, or nothing."""
        if self.quiet or self.json:
            return Progress()
        from qflux_hub.cli.bars import BarProgress, LineProgress

        return BarProgress(self.err) if self.err.is_terminal else LineProgress(self.err)

    def show(self, result: Any) -> int:
        """Print the result of a job; returns the command's exit code."""
        if self.json:
            self._print_json(result.to_dict())
            return _exit_code(result)
        if not self.quiet:
            from qflux_hub.cli import words

            words.tell(result, self.out, verbose=self.verbose)
        elif answer := getattr(result, "answer", ""):
            sys.stdout.write(f"{answer}\n")
        return _exit_code(result)

    def announce(self, variables: dict[str, str], user: str, tokens: dict[str, str]) -> None:
        """Lines to paste into a shell, or the same as JSON: how to reach a Hub that serves from now on."""
        if self.json:
            self._print_json({**variables, "user": user, "users": tokens})
        else:
            for name, value in variables.items():
                self.out.print(f"{name}={value}", markup=False)
            for name, token in tokens.items():
                self.out.print(f"# {name}: HF_TOKEN={token}", markup=False)
        sys.stdout.flush()
        self.note("Serving until Ctrl-C.")

    def note(self, text: str) -> None:
        """Something beside the result, on stderr, unless quiet."""
        if not self.quiet:
            self.err.print(text, markup=False, highlight=False)

    def hear(self) -> None:
        """Print what qflux logs: warnings, and with --verbose all of it."""
        logger = logging.getLogger("qflux_hub")
        logger.handlers = [_Notes(self)]
        logger.setLevel(logging.INFO if self.verbose else logging.WARNING)

    def fail(self, error: QfluxError) -> int:
        """Print an error and what was found until then; returns its exit code."""
        report = error.report if hasattr(error.report, "to_dict") else None
        if self.json:
            found = {"report": report.to_dict()} if report else {}
            self._print_json({"error": error.to_dict(), **found})
            return error.code
        from rich.text import Text

        from qflux_hub.cli import words

        if report:
            words.tell_findings(report.findings, self.err, verbose=self.verbose)
        if self.verbose:
            self.err.print("".join(traceback.format_exception(error)), markup=False, highlight=False)
        self.err.print(Text.assemble(("error:", "bold red"), " ", words.visible(error.message)))
        if error.hint:
            self.err.print(words.visible(error.hint), markup=False, highlight=False, style="dim")
        return error.code

    def fail_unexpectedly(self, error: Exception, message: str) -> int:
        """Print an error that nobody foresaw."""
        unforeseen = QfluxError(message, hint="" if self.verbose else "--verbose shows where it happened.")
        unforeseen.__cause__ = error
        return self.fail(unforeseen)

    def interrupted(self, code: int) -> int:
        """Say that the user stopped it; returns ``code``."""
        message = "Interrupted. The same command goes on where it stopped."
        if self.json:
            self._print_json({"error": {"code": code, "type": "Interrupted", "message": message, "hint": ""}})
        else:
            self.err.print(message, markup=False, highlight=False)
        return code

    def _print_json(self, data: dict[str, Any]) -> None:
        plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        encoder = json.JSONEncoder(ensure_ascii=plain, indent=2 if sys.stdout.isatty() else None)
        for piece in encoder.iterencode(data):
            sys.stdout.write(piece)
        sys.stdout.write("\n")


def _exit_code(result: Any) -> int:
    return 1 if getattr(result, "failed", False) else int(getattr(result, "exit_code", 0))


def _rich(*, stderr: bool) -> Rich:
    from rich.console import Console as Rich

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _UNWRAPPED
    return Rich(stderr=stderr, width=width, soft_wrap=not stream.isatty(), highlight=False)


class _Notes(logging.Handler):
    """Passes log lines on to the console."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.note(self.format(record) if self._console.verbose else record.getMessage())
