"""How a dataset that was read or checked reads: what is in it at a glance, what was found, the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import isclose

from rich.console import Console as Rich
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from qflux_hub.cli.words import columns, numbers, plural, print_table, size, tell, tell_findings, visible
from qflux_hub.codes import Code, CodeTable
from qflux_hub.fixes import REPAIRED
from qflux_hub.naming import is_image_name
from qflux_hub.report import SEVERITIES, tally
from qflux_hub.source import Scan, SplitSummary
from qflux_hub.validation import Validation

_ASPECTS = ((1, 1), (5, 4), (4, 3), (3, 2), (16, 10), (16, 9), (2, 1), (21, 9))
_AT_MOST = 4
"""Sizes and aspects of a split that are shown before the rest is counted."""
_UNEVEN = {"uneven-controls": "controls", "uneven-masks": "masks", "uneven-targets": "targets"}
"""Notes of which the table of splits shows the numbers already, and what differs: one line tells all of them."""
_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


@tell.register
def _(result: Scan, out: Rich, *, verbose: bool) -> None:
    if result.splits:
        _tell_splits(result, out, verbose=verbose)
    if result.validation:
        _tell_rows(result.validation, out, verbose=verbose)
    told = [finding for finding in result.findings if verbose or finding.code not in _UNEVEN]
    if told:
        tell_findings(told, out, verbose=verbose, counted=False)
        out.print()
    _tell_verdict(result, out)
    if len(told) < len(result.findings):
        _tell_unevenness(result, out)


def _tell_splits(result: Scan, out: Rich, *, verbose: bool) -> None:
    counts = result.counts()
    summaries = {name: result.summary(name) for name in result.splits}
    only_images = all(is_image_name(f"x.{kind}") for split in summaries.values() for kind in split.formats)
    files = plural(counts["files"], "image" if only_images else "file")
    held = f"{plural(counts['samples'], 'sample')}, {files}, {size(counts['bytes'])}"
    out.print(Text.assemble((visible(f"{result.source}: {held}"), "bold"), f" ({result.layout} layout)"))
    out.print()
    rows = columns("split", ">samples", "controls each", ">masks", ">targets", ">size")
    for name, split in summaries.items():
        rows.add_row(
            name,
            f"{split.samples:,}",
            _each(split.controls),
            f"{split.masks:,}",
            f"{split.targets:,}",
            size(split.bytes),
        )
    print_table(rows, out)
    out.print()
    _tell_images(summaries, out, verbose=verbose)
    out.print()


def _tell_rows(result: Validation, out: Rich, *, verbose: bool) -> None:
    """How many rows, what they begin with, and what they ask for."""
    held = "" if result.count is None else f": {plural(result.count, 'row')}"
    out.print(Text.assemble((visible(f"{result.source}{held}"), "bold"), " (validation file)"))
    out.print()
    kinds = ("image", "video", "control_image", "control_video")
    given = [(kind.replace("_", " "), sum(getattr(row, kind) is not None for row in result.rows)) for kind in kinds]
    sizes = Counter(f"{row.width}×{row.height}" for row in result.rows if row.width and row.height)
    frames = Counter(str(row.num_frames) for row in result.rows if row.num_frames)
    told = {
        "inputs": [(kind, count) for kind, count in given if count],
        "sizes": sizes.most_common(),
        "frames": frames.most_common(),
    }
    for what, counts in told.items():
        if counts:
            out.print(Text(f"{what:<7}  {_shortened(counts, verbose=verbose)}"))
    if any(told.values()):
        out.print()


def _each(controls: Mapping[int, int]) -> str:
    """``1 (6), 2 (2)``, or just ``1`` when all are alike."""
    if len(controls) == 1:
        return str(next(iter(controls)))
    return ", ".join(f"{number} ({count:,})" for number, count in controls.items())


def _tell_images(summaries: Mapping[str, SplitSummary], out: Rich, *, verbose: bool) -> None:
    """Histograms a split: the formats of all images, the sizes and aspects of those that are trained towards."""
    lines: list[tuple[str, str, str]] = []
    for name, split in summaries.items():
        if split.formats:
            lines.append((name, "formats", _shortened(split.formats.items(), verbose=verbose)))
        if split.sizes:
            looked = sum(split.sizes.values())
            sizes = {f"{width}×{height}": count for (width, height), count in split.sizes.items()}
            aspects: Counter[str] = Counter()
            for pixels, count in split.sizes.items():
                aspects[aspect(*pixels)] += count
            of = f" (of {looked:,} looked at)" if looked < split.samples else ""
            lines.append(("", "sizes", _shortened(sizes.items(), verbose=verbose) + of))
            lines.append(("", "aspects", _shortened(aspects.most_common(), verbose=verbose)))
    wide = max((len(name) for name in summaries), default=0)
    if not out.is_terminal:
        for name, what, told in lines:
            out.print(Text(f"{name:<{wide}}  {what:<7}  {told}"))
        return
    rows = Table.grid(padding=(0, 2))
    rows.add_column(no_wrap=True)
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column()
    for line in lines:
        rows.add_row(*line)
    out.print(rows)


def _shortened(counts: Iterable[tuple[str, int]], *, verbose: bool) -> str:
    """``1024×1024 812, 1280×720 188``, the most frequent first."""
    whole = list(counts)
    shown = whole if verbose or len(whole) <= _AT_MOST + 1 else whole[:_AT_MOST]
    rest = whole[len(shown) :]
    told = [f"{name} {count:,}" for name, count in shown]
    if rest:
        told.append(f"{len(rest):,} others {sum(count for _, count in rest):,}")
    return ", ".join(told)


def aspect(width: int, height: int) -> str:
    """``16:9`` where it is a usual one, within a percent, else ``1.37:1`` or ``1:1.37``."""
    long, short = max(width, height), min(width, height)
    for across, down in _ASPECTS:
        if isclose(long / short, across / down, rel_tol=0.01):
            return f"{across}:{down}" if width >= height else f"{down}:{across}"
    return f"{long / short:.2f}:1" if width >= height else f"1:{long / short:.2f}"


def _tell_verdict(result: Scan, out: Rich) -> None:
    counts, told = tally(result.findings), numbers(result.findings)
    if counts["errors"] or counts["warnings"]:
        out.print(Text(f"{told}.", "bold red" if counts["errors"] else "bold yellow"))
        if result.splits and any(finding.code in REPAIRED for finding in result.findings):
            out.print(Text("`qflux fix SOURCE` shows what it can repair.", "dim"))
        out.print(Text("`qflux check --explain CODE` says more about a kind of finding.", "dim"))
    elif result.checked:
        out.print(Text(f"All is well: no errors, no warnings{', ' * bool(told)}{told}.", "bold green"))
    else:
        out.print(Text(f"Everything pairs up{', ' * bool(told)}{told}. `qflux check` looks into the files.", "green"))


def _tell_unevenness(result: Scan, out: Rich) -> None:
    where: dict[str, list[str]] = {}
    for finding in result.findings:
        if finding.code in _UNEVEN:
            where.setdefault(finding.code, []).append(finding.where)
    told = [f"{_UNEVEN[code]} ({', '.join(splits)})" for code, splits in where.items()]
    listed = " and ".join(filter(None, (", ".join(told[:-1]), told[-1])))
    message = (
        f"Samples differ in {listed}. A batch size of 1 takes them as they are; "
        f"`qflux check --explain {next(iter(where))}` says what larger ones do."
    )
    out.print(Text(visible(message), "dim"))


@tell.register
def _(result: CodeTable, out: Rich, *, verbose: bool) -> None:  # noqa: ARG001 - the signature of all of them
    if not out.is_terminal:
        for code in result.codes:
            out.print(Text(f"{code.name:<22} {code.severity:<8} {code.title}"))
        return
    rows = columns("code", "severity", "what was found")
    rows.columns[0].no_wrap = True
    for code in result.codes:
        rows.add_row(code.name, Text(code.severity, _STYLES[code.severity]), code.title)
    print_table(rows, out)
    counts = Counter(code.severity for code in result.codes)
    out.print()
    told = ", ".join(plural(counts[severity], severity) for severity in SEVERITIES)
    out.print(Text(f"{told}. `qflux check --explain CODE` says more.", "dim"))


@tell.register
def _(result: Code, out: Rich, *, verbose: bool) -> None:  # noqa: ARG001 - the signature of all of them
    out.print(Text.assemble((result.name, "bold"), "  ", (result.severity, _STYLES[result.severity])))
    out.print(Text(result.title))
    out.print()
    said = Text(result.page)
    if result.fix:
        said.append(f"\n→ {result.fix}", "green")
    out.print(Padding(said, (0, 0, 0, 2)) if out.is_terminal else said)
    if result.name in REPAIRED:
        out.print()
        out.print(Text(f"`qflux fix SOURCE --only {result.name}` shows the repair, with --apply it is made."))
