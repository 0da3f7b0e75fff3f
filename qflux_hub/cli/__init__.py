"""The command line: it adds words, not logic. Every command is a function of the library with the same options.

Exit codes: 0 done, or nothing to do; 1 the data has errors; 2 wrong usage; 3 not logged in or not allowed; 4 not
found; 5 network or Hub failed; 6 conflict; 7 verification failed; 8 refused for safety; 130 interrupted.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

import typer
import typer.main

from qflux_hub.cli.commands import app
from qflux_hub.cli.console import Console
from qflux_hub.errors import QfluxError, UsageError

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``qflux`` and end the process with the documented exit code."""
    # Datasets are hundreds of thousands of small objects that live to the end: looking for cycles among them again and
    # again took a fifth of a scan.
    gc.set_threshold(100_000, 20, 100)
    # Parquet's pages grow as they are written: with the system's allocator that takes half the time and less memory.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # A stream that was closed by whoever started us is None, and the next file to be opened would take its number.
    nowhere = Path(os.devnull)
    sys.stdout = sys.stdout or nowhere.open("w")
    sys.stderr = sys.stderr or nowhere.open("w")
    for stream in (sys.stdout, sys.stderr):  # what the terminal's encoding cannot hold is escaped, not an error
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = 1
    try:
        code = run(arguments)
        sys.stdout.flush()
    except OSError as error:  # of standard output: all others became words in ``run``
        if not isinstance(error, BrokenPipeError):  # with that, whoever read our output has had enough
            code = code or 1
            sys.stderr.write(f"error: The output cannot be written: {error.strerror}.\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
    gc.disable()
    gc.freeze()  # what is left needs no last look for cycles: that took an eighth of a small command
    if code == INTERRUPTED:
        sys.stderr.flush()
        os._exit(code)  # an orderly end would wait for the threads that are still reading or sending
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code. Prints errors as a sentence and a hint, or as JSON."""
    console = Console.from_arguments(arguments)
    command = typer.main.get_command(app(arguments[0] if arguments else ""))
    try:
        result = command.main(args=list(arguments), prog_name="qflux", standalone_mode=False)
        if result == INTERRUPTED:  # Typer turns a KeyboardInterrupt into this
            return console.interrupted(INTERRUPTED)
        return result if isinstance(result, int) else 0
    except typer.TyperException as wrong:
        context = getattr(wrong, "ctx", None)
        if context is not None and not context.args and wrong.message == context.get_help():
            console.note(wrong.message)  # no arguments at all: the help page is the answer
            return UsageError.code
        hint = f"`{context.command_path} --help` lists what it takes." if context else ""
        return console.fail(UsageError(wrong.format_message(), hint=hint))
    except (typer.Abort, KeyboardInterrupt):
        return console.interrupted(INTERRUPTED)
    except SystemExit:  # how Rich and Typer end when whoever read our output has had enough
        return 0
    except QfluxError as error:
        return console.fail(error)
    except OSError as error:
        told = error.strerror or str(error)
        return console.fail_unexpectedly(error, f"{told}: {error.filename}" if error.filename else f"{told}.")
    except Exception as error:  # noqa: BLE001 - the last place where a bug can still be told in words
        return console.fail_unexpectedly(error, f"{type(error).__name__}: {error}")
