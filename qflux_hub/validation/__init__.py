"""The validation file of finetrainers: what a training run generates now and then, to be looked at.

CSV, JSON (a list under ``data``), JSON Lines, Parquet or Arrow, as its dataset guide says: ``rows`` reads it,
``inputs`` looks at what the rows ask for and name, ``trainer`` knows where finetrainers does not keep to its guide.
"""

from __future__ import annotations

import os

from qflux_hub import codes
from qflux_hub.errors import DataError
from qflux_hub.options import FullCheckOptions
from qflux_hub.report import Progress, tally
from qflux_hub.validation.inputs import Inputs, check_sizes
from qflux_hub.validation.rows import MEDIA, Validation, ValidationRow, read_rows
from qflux_hub.validation.trainer import differences

__all__ = ["Validation", "ValidationRow", "check_validation", "read_validation"]


def read_validation(file: str | os.PathLike[str]) -> list[ValidationRow]:
    """The rows of a validation file of finetrainers, in order. Opens none of the images and videos that they name.

    CSV, JSON with ``data``, JSON Lines, Parquet or Arrow, by the file's extension. Raises LayoutError when there is no
    such file, and DataError, with all that is wrong in its ``report``, when a row cannot be used.
    """
    validation = read_rows(file, allow_empty_prompt=False).validation
    if errors := tally(validation.findings)["errors"]:
        kinds = f"{errors:,} error{'s' if errors > 1 else ''}"
        hint = f"`qflux check --validation {validation.source}` shows them."
        raise DataError(f"{validation.source} has {kinds}.", hint=hint, report=validation)
    return validation.rows


def check_validation(file: str | os.PathLike[str], options: FullCheckOptions, progress: Progress) -> Validation:
    """Read a validation file and look at all that its rows name; everything wrong is in ``findings``.

    Of ``options``, it obeys ``multiple_of``, ``allow_empty_prompt`` and ``decode``. Raises LayoutError when there is
    no such file.
    """
    read = read_rows(file, allow_empty_prompt=options.allow_empty_prompt)
    validation, found = read.validation, read.validation.findings.append
    if read.table is None:
        return validation
    count, name, multiple_of = read.table.count, validation.source, options.multiple_of
    if count % multiple_of:
        rows = f"{count:,} row{'s' if count > 1 else ''}"
        message = f"{name} has {rows}, which is no multiple of {multiple_of:,}: validation would hang."
        more, less = -count % multiple_of, count % multiple_of
        fix = f"add {more:,}" + (f" or remove {less:,}" if count > multiple_of else "")
        found(codes.UNEVEN_VALIDATION(name, message, fix=fix))
    media = Inputs(read, options.decode)
    with progress.task("Looking at", len(validation.rows), "rows") as task:
        for row in validation.rows:
            check_sizes(row, read.place(row.line), found)
            for column, own in MEDIA.items():
                if path := getattr(row, own):
                    media.check(row, column, path)
            task.advance()
    validation.findings += differences(read, read.table)
    validation.findings.sort(key=lambda finding: finding.line or 0)
    return validation
