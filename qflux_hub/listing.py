"""All findings as a file: CSV for spreadsheets, JSON for programs. Written whole or not at all.

The CSV is UTF-8 with a byte order mark, without which Excel takes umlauts for something else. Cells that a spreadsheet
would take for a formula begin with an apostrophe: names and prompts come from strangers (OWASP, CSV injection).
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

from qflux_hub import disk
from qflux_hub.errors import UsageError
from qflux_hub.report import Finding, tally

_HEADER = ("severity", "code", "where", "line", "message", "fix", "split", "id")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def require_kind(path: str | os.PathLike[str]) -> None:
    """Raise UsageError unless findings can be written to ``path``."""
    file = Path(path)
    if file.suffix.lower() not in (".csv", ".json"):
        raise UsageError(f"--report {str(path)!r} is neither CSV nor JSON.", hint="Name it FILE.csv or FILE.json.")
    disk.require_writable(file)
    if not file.parent.is_dir():
        raise UsageError(f"There is no folder {str(file.parent)!r} for --report.", hint="Make it first.")


def write(path: str | os.PathLike[str], source: str, layout: str, findings: Sequence[Finding]) -> None:
    """Write ``findings``, in their order. A file that is there is replaced."""
    file = Path(path)
    if file.suffix.lower() == ".csv":
        content = "\ufeff" + _csv(findings)
    else:
        rows = [finding.to_dict() for finding in findings]
        whole = {"source": source, "layout": layout, "findings": rows, "counts": tally(findings)}
        content = json.dumps(whole, ensure_ascii=False, indent=2) + "\n"
    with disk.writing_to(file):
        disk.write(file, content.encode())


def _csv(findings: Sequence[Finding]) -> str:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(_HEADER)
    for finding in findings:
        split, sample = finding.sample or ("", "")
        line = "" if finding.line is None else str(finding.line)
        told = (finding.severity, finding.code, finding.where, line, finding.message, finding.fix or "", split, sample)
        rows.writerow([_harmless(cell) for cell in told])
    return text.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
