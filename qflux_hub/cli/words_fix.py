"""How repairs and galleries read."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console as Rich
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from qflux_hub.cli.words import AT_MOST, plural, size, tell, tell_findings
from qflux_hub.codes import CODES
from qflux_hub.fix import FixReport
from qflux_hub.fixes import Change
from qflux_hub.preview import Preview
from qflux_hub.report import SEVERITIES


@tell.register
def _(result: FixReport, out: Rich, *, verbose: bool) -> None:
    done = "taken back" if result.taken_back else "made" if result.applied else "not made yet"
    if result.changes:
        out.print(Text.assemble((f"{result.source}: {plural(len(result.changes), 'repair')}", "bold"), f", {done}"))
    for code in dict.fromkeys(change.code for change in result.changes):
        of_this = [change for change in result.changes if change.code == code]
        shown = of_this if verbose else of_this[:AT_MOST]
        _tell_changes(code, shown, out)
        if len(shown) < len(of_this):
            out.print(Text(f"  … and {len(of_this) - len(shown):,} more {code} (--verbose lists all)"))
    if result.findings:
        out.print()
        tell_findings(result.findings, out, verbose=verbose)
    out.print()
    if result.undo:
        out.print(Text.assemble(("Done. ", "green"), "This takes it back:"))
        out.print(Text(f"  qflux fix --undo {shlex.quote(result.undo)}"), soft_wrap=True)
    elif result.changes and not result.applied:
        out.print(Text("Nothing was changed; --apply makes these repairs."))
    elif not result.changes and not result.failed:
        out.print(Text("Nothing to repair.", style="green"))


def _tell_changes(code: str, changes: Sequence[Change], out: Rich) -> None:
    if not out.is_terminal:  # one line a change, for grep
        for change in changes:
            to = f" -> {change.to}" if change.to else ""
            out.print(Text(f"{change.action:<6} {change.path}{to} ({change.detail}) [{code}]"))
        return
    out.print(Text.assemble("\n", (code, "yellow"), "  ", (CODES[code].title, "dim")))
    rows = Table.grid(padding=(0, 2), pad_edge=False)
    rows.add_column(overflow="fold", ratio=3)
    rows.add_column(overflow="fold", ratio=2, style="dim")
    for change in changes:
        to = f" → {change.to.rpartition('/')[2]}" if change.to else ""
        rows.add_row(Text(change.path + to), Text(change.detail))
    out.print(Padding(rows, (0, 0, 0, 2)))


@tell.register
def _(result: Preview, out: Rich, *, verbose: bool) -> None:  # noqa: ARG001 - findings stand in the gallery
    counts = result.counts
    found = [plural(counts[f"{severity}s"], severity) for severity in SEVERITIES if counts[f"{severity}s"]]
    shown = plural(result.shown, "sample")
    if result.shown < counts["samples"]:
        shown = f"{result.shown:,} of {plural(counts['samples'], 'sample')}"
    out.print(Text.assemble((f"{result.source}: {shown}", "bold"), f", {', '.join(found) or 'no findings'}"))
    if result.page is not None:
        unreadable = result.pictures["unreadable"]
        broken = f", {plural(unreadable, 'image')} unreadable" if unreadable else ""
        made = f"{plural(result.pictures['made'], 'picture')} in {result.seconds:.1f} s, {size(result.bytes['page'])}"
        out.print(Text(f"{made}{broken}"))
    out.print(Text(result.page or result.url or "", "green"), soft_wrap=True)
    if result.url:
        out.print(Text("Serving until Ctrl-C.", "dim"))
