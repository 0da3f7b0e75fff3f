"""Which of the names that a layout found for its splits may be those of splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from qflux_hub import codes
from qflux_hub.naming import is_split_name, split_rank
from qflux_hub.report import Found


def legal(places: Mapping[str, Sequence[str]], found: Found) -> tuple[str, ...]:
    """The legal ones among the names of splits, train first; ``places`` are what they were found by."""
    for split, paths in places.items():
        if not is_split_name(split):
            message = f"{paths[0]} looks like a split, but {split!r} is not a legal split name; it is left aside."
            found(codes.BAD_SPLIT_NAME(paths[0], message, fix="rename it, with letters, digits and underscores"))
    return tuple(sorted(filter(is_split_name, places), key=split_rank))


def illegal(names: Iterable[str]) -> str:
    """Why a layout has no splits though it has these names; "" when there are none."""
    first = next(iter(names), None)
    return (
        ""
        if first is None
        else f"{first!r} is no legal name of a split: letters, digits and underscores, but not 'all'"
    )
