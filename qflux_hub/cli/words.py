"""How results read: one function per kind of report, for a terminal and for a pipe.

Widths are made for 80 columns. What users wrote (paths, prompts, messages) is never taken for markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import singledispatch
from importlib import import_module

from rich import box
from rich.console import Console as Rich
from rich.table import Table
from rich.text import Text

from qflux_hub.report import (
    SEVERITIES,
    DiffReport,
    Finding,
    FsckReport,
    GcReport,
    UploadReport,
    WriteReport,
    tally,
)

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
AT_MOST = 20
"""Things of one kind that are listed before the rest is counted; --verbose and --json show all."""
_OF_A_KIND = 5
"""The same for findings, which take several lines each on a terminal."""


def size(count: int) -> str:
    """Bytes in decimal units, three digits: ``12.3 MB``."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.3g} {unit}"


def plural(count: int, noun: str) -> str:
    """``1 sample``, ``2,000 samples``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def visible(text: str) -> str:
    """``text`` with control characters spelled out: a file's name may hold commands for the terminal."""
    return text.translate(_CONTROLS)


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) != "\n"}


def progress_line(label: str, done: int, total: int | None, unit: str, seconds: float) -> str:
    """``Hashing: 1.2 GB of 4.8 GB, 12 s left``."""

    def amount(count: int) -> str:
        return size(count) if unit == "B" else f"{count:,}"

    of = f" of {amount(total)}" if total else ""
    left = f", {(total - done) * seconds / done:.0f} s left" if total and done else ""
    return f"{label}: {amount(done)}{of}{'' if unit == 'B' else ' ' + unit}{left}"


_WORDS = {
    "Scan": "words_scan",
    "Code": "words_scan",
    "CodeTable": "words_scan",
    "FixReport": "words_fix",
    "Preview": "words_fix",
    "Lora": "words_lora",
    "Comparison": "words_lora",
    "LoraUpload": "words_lora",
    "LocalPath": "words_lora",
}
"""Where a result's words are, if not here: loaded when there is one, so that no command loads another's jobs."""


@singledispatch
def tell(result: object, out: Rich, *, verbose: bool) -> None:
    """Print a report in words."""
    _load_words(result)
    if tell.dispatch(type(result)) is tell.dispatch(object):
        raise TypeError(f"no words for {type(result).__name__}")
    tell(result, out, verbose=verbose)


def _load_words(result: object) -> None:
    if room := _WORDS.get(type(result).__name__):
        import_module(f"qflux_hub.cli.{room}")


@tell.register
def _(result: UploadReport, out: Rich, *, verbose: bool) -> None:
    if result.findings:
        tell_findings(result.findings, out, verbose=verbose)
        out.print()
    kind = "private" if result.private else "public"
    out.print(Text.assemble((result.repo_id, "bold"), f" ({kind}) at {result.revision}"))
    rows = columns("split", ">samples", ">added", ">changed", ">removed", ">unchanged")
    for name, split in result.splits.items():
        counts = (split.samples, split.added, split.changed, split.removed, split.unchanged)
        rows.add_row(name, *(f"{count:,}" if count else "-" for count in counts))
    print_table(rows, out)
    out.print()
    if verbose or result.dry_run:
        _tell_operations(result, out)
    if not any(operation.action != "keep" for operation in result.operations):
        out.print(Text(_nothing_sent(result), style="green"))
    elif result.dry_run:
        out.print(Text("Dry run: nothing was sent."))
    else:
        sent, files = size(result.bytes["sent"]), size(result.bytes["source"])
        moved = f"{sent} sent for {files} of files, in {result.seconds:.1f} s."
        out.print(Text.assemble(("Done: ", "green"), moved))
        if verbose:
            out.print(Text(f"{size(result.bytes['read'])} read, {size(result.bytes['packed'])} packed."))
        out.print(Text(result.pull_request or result.commit_url or result.url), soft_wrap=True)


def _nothing_sent(result: UploadReport) -> str:
    if result.tag is None:
        return "Nothing to do: the Hub has all of it."
    if result.dry_run:
        return f"Dry run: the Hub has all of it, and would tag it {visible(result.tag)}."
    return f"The Hub had all of it; now it is tagged {visible(result.tag)}."


def _tell_operations(result: UploadReport, out: Rich) -> None:
    for operation in result.operations:
        amount = "" if operation.size is None else size(operation.size)
        out.print(Text(f"{operation.action:<7} {amount:>8}  {operation.path}  ({operation.reason})"))


@tell.register
def _(result: DiffReport, out: Rich, *, verbose: bool) -> None:
    if result.findings:
        tell_findings(result.findings, out, verbose=verbose)
        out.print()
    for name, split in result.splits.items():
        counted = ((len(split.added), "added"), (len(split.changed), "changed"), (len(split.removed), "removed"))
        words = [f"{count:,} {word}" for count, word in counted if count]
        out.print(Text(f"{name}: {', '.join(words) or 'the same'}, {split.unchanged:,} unchanged", style="bold"))
        most = len(split.added) + len(split.removed) + len(split.changed) if verbose else AT_MOST
        for sign, style, ids in (("+", "green", split.added), ("-", "red", split.removed)):
            for one in ids[:most]:
                out.print(Text(f"{sign} {one}", style=style))
            if len(ids) > most:
                out.print(Text(f"  … and {len(ids) - most:,} more (--verbose lists all)"))
        for change in split.changed[:most]:
            out.print(Text(f"~ {change.id}", style="yellow"))
            for field, (old, new) in change.fields.items():
                out.print(Text(f"    {field}"))
                out.print(Text(f"    - {_value(old)}", style="red"))
                out.print(Text(f"    + {_value(new)}", style="green"))
        if len(split.changed) > most:
            out.print(Text(f"  … and {len(split.changed) - most:,} more (--verbose lists all)"))


def _value(value: object) -> str:
    """A field's value on one line: a text as it is, an image by name, size and the first of its hash."""
    if isinstance(value, Mapping):
        return f"{value['name']} ({size(value['size'])}, {value['sha256'][:8]})"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_value, value)) or "none"
    return "none" if value is None else str(value).replace("\n", "\u21b5")


@tell.register
def _(result: FsckReport, out: Rich, *, verbose: bool) -> None:  # noqa: ARG001 - the signature of all of them
    for damage in result.damages:
        out.print(Text.assemble(("damaged ", "bold red"), f"{damage.what}: {damage.message}"))
    counted = ", ".join(plural(count, kind) for kind, count in result.checked.items() if count)
    out.print(Text(f"Checked {counted or 'nothing'}; {size(result.bytes_read)} read."))
    if result.leftover_files:
        files = plural(result.leftover_files, "file")
        out.print(Text(f"{files} of dead uploads, {size(result.leftover_bytes)}: --gc removes them."))
    if result.is_sound:
        out.print(Text("All is sound.", style="green"))


@tell.register
def _(result: GcReport, out: Rich, *, verbose: bool) -> None:  # noqa: ARG001
    removed = ((result.commits, "commit"), (result.xorbs, "xorb"), (result.objects, "object"), (result.files, "file"))
    counted = ", ".join(plural(count, kind) for count, kind in removed if count)
    out.print(Text(f"Removed {counted or 'nothing'}; {size(result.bytes)} freed."))


@tell.register
def _(result: WriteReport, out: Rich, *, verbose: bool) -> None:
    if result.findings:
        tell_findings(result.findings, out, verbose=verbose)
        out.print()
    held = ", ".join(f"{name} {count:,}" for name, count in result.splits.items())
    out.print(Text.assemble((visible(result.source), "bold"), f" as {result.layout}: {held}"))
    for loss in result.lost:
        out.print(Text.assemble(("lost    ", "yellow"), visible(f"{loss.what} ({loss.count:,}): {loss.why}")))
    moved = size(result.bytes["written"]) + " written"
    if result.bytes["kept"]:
        moved += f", {size(result.bytes['kept'])} were there already"
    out.print(Text.assemble(("Done: ", "green"), f"{moved}, in {result.seconds:.1f} s."))
    out.print(Text(result.dest), soft_wrap=True)


def tell_findings(findings: Sequence[Finding], out: Rich, *, verbose: bool, counted: bool = True) -> None:
    """All findings, gravest first; many of one kind are cut short. At the end, unless told otherwise, their number."""
    for severity in SEVERITIES:
        shown: Counter[str] = Counter()
        of_this = [finding for finding in findings if finding.severity == severity]
        totals = Counter(finding.code for finding in of_this)
        for finding in of_this:
            shown[finding.code] += 1
            if verbose or shown[finding.code] <= _OF_A_KIND or totals[finding.code] == _OF_A_KIND + 1:
                _tell_finding(finding, out)
            elif shown[finding.code] == _OF_A_KIND + 1:
                more = totals[finding.code] - _OF_A_KIND
                out.print(Text(f"        … and {more:,} more {finding.code} (--verbose lists all)", "dim"))
    if findings and counted:
        out.print()
        out.print(Text(f"{numbers(findings)}.", style="bold"))


def numbers(findings: Sequence[Finding]) -> str:
    """``2 errors, 1 note``."""
    counts = tally(findings)
    return ", ".join(plural(counts[f"{severity}s"], severity) for severity in SEVERITIES if counts[f"{severity}s"])


def _tell_finding(finding: Finding, out: Rich) -> None:
    said = Text.assemble(visible(finding.message), (f" [{finding.code}]", "dim"))
    if finding.fix:
        said.append(f"\n→ {visible(finding.fix)}", "dim")
    severity = Text(f"{finding.severity:<7}", _STYLES[finding.severity])
    if out.is_terminal:  # in two columns, so that long messages wrap under their own beginning
        row = Table.grid(padding=(0, 1))
        row.add_column()
        row.add_column(overflow="fold")  # a path that is cut short cannot be found
        row.add_row(severity, said)
        out.print(row)
    else:
        out.print(Text(f"{severity} {said}".replace("\n", " ")))  # one line a finding, for grep


def columns(*headings: str) -> Table:
    """A table whose headings begin with ``>`` where numbers stand right-aligned."""
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        rows.add_column(heading.lstrip(">"), justify="right" if heading.startswith(">") else "left")
    return rows


def print_table(rows: Table, out: Rich) -> None:
    """Print it; for a pipe without lines, and without padding to the terminal's width."""
    if not out.is_terminal:
        rows.box = None
    out.print(rows)
