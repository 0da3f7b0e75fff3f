"""Where finetrainers itself does not take a validation file as its guide says: measured of its release of June 2025.

It reads tables with `datasets`, so a CSV with pandas; opens paths from where it is started; and knows no JSON Lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from qflux_hub import codes
from qflux_hub.records import ROWS, Record, Table
from qflux_hub.report import Finding
from qflux_hub.validation.rows import ADDRESS, CAPTION, MEDIA, WHOLE, Reading

_ABSOLUTE = re.compile(rf"/|{ADDRESS.pattern}|[A-Za-z]:[\\/]", re.IGNORECASE)
_NO_VALUE = frozenset(
    {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"}
    | {"N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""Texts that pandas, by which finetrainers reads a CSV, takes for no value (its documented ``na_values``)."""


def differences(reading: Reading, table: Table) -> Iterator[Finding]:
    """What finetrainers itself stumbles over although its guide allows it: one note for each kind."""
    name, suffix = reading.validation.source, reading.path.suffix

    def told(message: str, fix: str, line: int | None = None) -> Finding:
        return codes.TRAINER_DIFFERS(name, message, line=line, fix=fix)

    if table.kind == "jsonl" or suffix != suffix.lower():
        fix = "save it as JSON" if table.kind == "jsonl" else f"rename it to {reading.path.stem}{suffix.lower()}"
        yield told(f"{name}: finetrainers refuses {suffix} files.", fix)
    if table.listed:
        yield told(f"{name}: finetrainers reads a list only under {ROWS!r}.", f'write {{"{ROWS}": […]}}', 1)
    if table.kind != "csv":
        blank = [(row.line, column) for row in table.rows for column in MEDIA if row.values.get(column) == ""]
        if blank:
            line, column = blank[0]
            message = f'{reading.place(line)}: {column} is "", at which finetrainers stops with an AttributeError.'
            yield told(_counted(message, blank), "write null, or leave it out", line)
    else:
        lost = [
            (row.line, column, value)
            for row in table.rows
            for column in (CAPTION, *MEDIA)
            if (value := row.values.get(column)) in _NO_VALUE
        ]
        if lost:
            line, column, value = lost[0]
            message = f"{reading.place(line)}: {column} is {value!r}, which finetrainers takes for no value."
            yield told(_counted(message, lost), "write it differently, or save the table as JSON", line)
        gaps = [column for column in WHOLE if len({not row.values.get(column) for row in table.rows}) == 2]
        if gaps:
            few = f"{', '.join(gaps)}: where a row has none, 49 becomes 49.0 in the others"
            yield told(
                f"{name}: finetrainers makes fractions of {few}.", "fill every row, or save the table as JSON", 1
            )
    relative = [(row.line, path) for row in table.rows for path in _relative_paths(row)]
    if relative:
        message = (
            f"{reading.place(relative[0][0])}: finetrainers takes {relative[0][1]} from the folder it is started in."
        )
        yield told(
            _counted(message, relative), "start it in the folder of the table, or write absolute paths", relative[0][0]
        )


def _relative_paths(row: Record) -> list[str]:
    paths = [row.values.get(column) for column in MEDIA]
    return [one for one in paths if isinstance(one, str) and one.strip() and not _ABSOLUTE.match(one.strip())]


def _counted(message: str, places: Sequence[object]) -> str:
    return message if len(places) == 1 else f"{message[:-1]} ({len(places):,} times)."
