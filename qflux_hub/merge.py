"""Whose version of a sample stands, when a source and other people have both changed a dataset.

An upload makes the Hub equal to the source. What others added or changed since the source last saw the Hub is kept
where the source did not touch the same sample; where it did, that is a conflict and neither is lost in silence. What
others removed is put back, because the source still has it. Contents are compared by hash; ``None`` is absence.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

Contents = Mapping[str, str]
"""Id of a sample -> hash of its texts and images."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Ids by what happens to them; all others take the source's version. Each tuple is in id order.

    ``added`` and ``changed`` by others are kept as they are on the Hub; ``conflicts`` were changed by both; ``lost``
    are others' too, but cannot be kept.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def theirs(self) -> frozenset[str]:
        """The samples whose version on the Hub stands."""
        return frozenset(self.added) | frozenset(self.changed)

    def without(self, names: Collection[str]) -> Merge:
        """The same when the samples of these names cannot be kept."""
        added, changed = (tuple(one for one in some if one not in names) for some in (self.added, self.changed))
        lost = tuple(one for one in (*self.added, *self.changed) if one in names)
        return replace(self, added=added, changed=changed, lost=lost)


def merge(ours: Contents, theirs: Contents, ours_then: Contents, theirs_then: Contents) -> Merge:
    """Compare the source and the Hub with what both held when this source last saw the Hub.

    The two then differ where edits of others were kept before: such a sample stays theirs for as long as the source
    does not touch it.
    """
    added: list[str] = []
    changed: list[str] = []
    conflicts: list[str] = []
    for name in sorted(theirs):
        own, other = ours.get(name), theirs[name]
        if own == other:
            continue
        if own == ours_then.get(name):  # untouched here since then: whatever they have of it was theirs to change
            (added if own is None else changed).append(name)
        elif other != theirs_then.get(name):
            conflicts.append(name)
    return Merge(tuple(added), tuple(changed), tuple(conflicts))
