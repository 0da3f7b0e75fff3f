"""How results about LoRAs read: a table that a practitioner takes in at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console as Rich
from rich.table import Table
from rich.text import Text

from qflux_hub.cli.words import plural, size, tell, tell_findings
from qflux_hub.lora.compare import Comparison, Module
from qflux_hub.lora.describe import Lora
from qflux_hub.lora.results import LocalPath, LoraUpload

_MODULES = 12
"""Kinds of modules, or modules that differ, that are shown before the rest is counted."""
_CLOSE = 1e-4
"""Modules whose cosine and norms differ by less are the same."""


@tell.register
def _(result: Lora, out: Rich, *, verbose: bool) -> None:
    state = "" if result.valid else ", cannot be used"
    out.print(Text.assemble((result.path, "bold"), f"  {size(result.size)}{state}"))
    if result.format is not None:
        _print_facts(_facts(result, verbose=verbose), out)
    if result.findings:
        out.print()
        tell_findings(result.findings, out, verbose=verbose)


def _facts(result: Lora, *, verbose: bool) -> Iterator[tuple[str, str]]:
    yield "format", str(result.format)
    yield "base", _family(result)
    yield "rank", _ranks(result.ranks)
    yield "alpha", _alpha(result)
    yield "dtype", f"{result.dtype}, {plural(result.tensors, 'tensor')}"
    shown = result.modules if verbose else result.modules[:_MODULES]
    more = f", … {len(result.modules) - len(shown)} more" if len(shown) < len(result.modules) else ""
    yield "modules", f"{plural(result.pairs, 'pair')}: {', '.join(shown)}{more}"
    if result.trigger:
        yield "trigger", ", ".join(result.trigger)
    if result.training:
        yield "trained", ", ".join(f"{name} {value}" for name, value in result.training.items())
    if result.sha256:
        yield "SHA-256", result.sha256
    if verbose and result.tensor_sha256:
        yield "tensors", f"SHA-256 {result.tensor_sha256}"
    if result.commit:
        yield "commit", result.commit
    if not result.values_checked:
        yield "numbers", "not looked at (--full does)"
    elif not result.failed:
        yield "numbers", "all finite"


def _family(result: Lora) -> str:
    family = result.family
    if family.name is None:
        return "unknown" + (f" ({family.evidence[0]})" if family.evidence else "")
    if len(family.candidates) == 1:
        return f"{family.candidates[0]} ({family.name}, confidence {family.confidence})"
    names = ", ".join(one.split("/")[1] for one in family.candidates)
    return f"{family.name} (confidence {family.confidence}); one of {names}"


def _ranks(ranks: Mapping[int, int]) -> str:
    if len(ranks) <= 1:
        return str(next(iter(ranks), "none"))
    return ", ".join(f"{rank} ({count:,} modules)" for rank, count in ranks.items())


def _alpha(result: Lora) -> str:
    loaders = ", ".join(f"{name} uses {scale:g}" for name, scale in result.loaders.items() if scale is not None)
    if result.alpha is None:
        return f"not stored; as scale, {loaders}" if loaders else "not stored"
    trained = "" if result.scale is None else f", trained with the scale {result.scale:g}"
    return f"{result.alpha:g} ({result.alpha_source}){trained}; {loaders}"


@tell.register
def _(result: Comparison, out: Rich, *, verbose: bool) -> None:
    for name, side in (("a", result.a), ("b", result.b)):
        out.print(Text.assemble(f"{name}  ", (side.path, "bold")))
    if result.same_tensors:
        out.print(Text("The tensors are the same, byte for byte.", style="green"))
    if result.added or result.removed:
        counts = ((result.added, "only in b"), (result.removed, "only in a"))
        out.print(Text("; ".join(f"{plural(len(names), 'tensor')} {where}" for names, where in counts if names) + "."))
        for mark, names in (("+", result.added), ("-", result.removed)):
            _print_some([f"{mark} {name}" for name in names], out, verbose=verbose)
    if result.changed:
        _print_changed(result.changed, out, verbose=verbose)
    elif not result.same_tensors and not result.added and not result.removed:
        out.print(Text("Format, ranks, alpha, dtype and metadata are the same."))
    if result.modules is not None:
        _print_modules(result.modules, out, verbose=verbose)
    elif not result.same_tensors:
        said = "The weights were not read" if result.same_tensors is None else "The weights differ"
        out.print(Text(f"{said}; --full compares them module by module."))
    if result.findings:
        out.print()
        tell_findings(result.findings, out, verbose=verbose)


def _print_changed(changed: Mapping[str, Mapping[str, Any]], out: Rich, *, verbose: bool) -> None:
    table = _grid("what", "a", "b")
    names = list(changed)
    for name in names if verbose else names[:_MODULES]:
        table.add_row(Text(name), *(Text(_short(changed[name][side])) for side in ("a", "b")))
    out.print(table)
    if not verbose and len(names) > _MODULES:
        out.print(Text(f"… and {len(names) - _MODULES:,} more (--verbose lists all)"))


def _print_modules(modules: Sequence[Module], out: Rich, *, verbose: bool) -> None:
    """Those that turned the most come first, then those whose strength changed the most; equal ones only when asked."""
    different = [one for one in modules if not _is_same(one)]
    out.print(Text(f"{plural(len(modules), 'module')}, {_counted(different, len(modules))}."))
    ranked = sorted(modules if verbose else different, key=_likeness)
    if not ranked:
        return
    table = _grid("module", ">norm a", ">norm b", ">cosine")
    for one in ranked if verbose else ranked[:_MODULES]:
        table.add_row(Text(one.name), *(_number(value) for value in (one.a, one.b, one.cosine)))
    out.print(table)
    if not verbose and len(ranked) > _MODULES:
        out.print(Text(f"… and {len(ranked) - _MODULES:,} more, less different (--verbose lists all)"))


def _is_same(module: Module) -> bool:
    """To four digits."""
    if not module.a and not module.b:
        return module.a == module.b
    return module.cosine is not None and module.cosine > 1 - _CLOSE and -_likeness(module)[1] < _CLOSE


def _likeness(module: Module) -> tuple[float, float]:
    """Least alike first."""
    if module.cosine is None or module.a is None or module.b is None:
        return -2, 0
    return round(module.cosine, 4), -abs(module.a - module.b) / max(module.a, module.b, 1e-30)


def _counted(different: Sequence[Module], total: int) -> str:
    """``12 different, cosine 0.31 to 0.98``."""
    if not different:
        return "all the same"
    cosines = sorted(one.cosine for one in different if one.cosine is not None)
    span = (
        " to ".join(dict.fromkeys(f"{round(one, 2) + 0:.2f}" for one in (cosines[0], cosines[-1]))) if cosines else ""
    )
    return f"{'all' if len(different) == total else f'{len(different):,}'} different{span and f', cosine {span}'}"


def _print_some(lines: Sequence[str], out: Rich, *, verbose: bool) -> None:
    for line in lines if verbose else lines[:_MODULES]:
        out.print(Text(f"  {line}"))
    if not verbose and len(lines) > _MODULES:
        out.print(Text(f"  … and {len(lines) - _MODULES:,} more"))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _grid(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading.lstrip(">"), justify="right" if heading.startswith(">") else "left")
    return table


def _print_facts(facts: Iterator[tuple[str, str]], out: Rich) -> None:
    """Two columns; on a pipe, ``name: value`` lines."""
    if not out.is_terminal:
        for name, value in facts:
            out.print(Text(f"{name}: {value}"))
        return
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(value))
    out.print(table)


@tell.register
def _(result: LoraUpload, out: Rich, *, verbose: bool) -> None:
    if result.findings:
        tell_findings(result.findings, out, verbose=verbose)
        out.print()
    kind = "private" if result.private else "public"
    out.print(Text.assemble((result.repo_id, "bold"), f" ({kind}) at {result.revision}"))
    if result.lora is not None:
        out.print(Text(_summary(result.lora)))
    if verbose or result.dry_run or result.changed:
        for file in result.files:
            out.print(Text(f"{file.action:<7} {size(file.size):>8}  {file.path}  ({file.reason})"))
    if verbose and result.lane:
        out.print(Text(f"Sent by {result.lane}."))
    if not any(file.action != "same" for file in result.files):
        out.print(Text("Nothing to do: the Hub has all of it.", style="green"))
    elif result.dry_run:
        out.print(Text("Dry run: nothing was sent."))
    else:
        out.print(Text.assemble(("Done: ", "green"), f"{size(result.sent)} new to the Hub, in {result.seconds:.1f} s."))
        out.print(Text(result.pull_request or result.commit_url or result.url), soft_wrap=True)


def _summary(lora: Lora) -> str:
    alpha = "not stored" if lora.alpha is None else f"{lora.alpha:g}"
    return f"{lora.format}, rank {lora.rank}, alpha {alpha}, {lora.dtype}, {lora.family.name or 'unknown base'}"


@tell.register
def _(result: LocalPath, out: Rich, *, verbose: bool) -> None:
    report = result.report
    if report.findings:
        tell_findings(report.findings, out, verbose=verbose)
        out.print()
    out.print(Text.assemble((f"{report.repo_id}/{report.filename}", "bold"), f" at {report.commit[:8]}"))
    out.print(Text(f"{_summary(report.lora)}, {size(report.size)}"))
    how = "from the cache" if report.from_cache else f"{size(report.received)} received in {report.seconds:.1f} s"
    way = f" by {report.lane}" if verbose and report.lane else ""
    checked = (
        "SHA-256 verified" if report.verified and report.sha256 else "verified" if report.verified else "not verified"
    )
    out.print(Text.assemble((f"{checked}, ", "green"), f"{how}{way}."))
    out.print(Text(result), soft_wrap=True)
