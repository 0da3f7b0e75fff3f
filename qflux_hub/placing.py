"""Where samples will lie in a layout, and what is lost by it, before a byte is written.

A layout says of every sample where it would lie (``Placed``); what differs from the sample is what gets lost. All of it
is a ``Plan`` for each split, which holds some bytes a sample however many there are. Sizes are bytes, paths have ``/``
and are relative to the target folder.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any

from qflux_hub import media, shards
from qflux_hub.naming import (
    LONGEST,
    MEDIA_EXTENSIONS,
    Kind,
    control_stem,
    kind_of,
    mask_stem,
    on_disk,
    parse,
    portable,
    split_extension,
)
from qflux_hub.report import Loss
from qflux_hub.sample import CONTROLS, MASK, ROLES, TARGET, Blob, Sample
from qflux_hub.spill import Lazy, Mapped, Spilled, Table


@dataclass(frozen=True, slots=True)
class Placed:
    """A sample as a layout will hold it, and as it will be read back: ``source`` is the ``number``-th of its split.

    ``paths`` are those of ``source.media()``, in that order; "" for one that has no place in the layout.
    ``regrouped``: its controls come back in another order.
    """

    number: int
    source: Sample
    id: str
    prompt: str
    extra: Mapping[str, str | None]
    paths: tuple[str, ...]
    captions: tuple[str, ...] = ()
    regrouped: bool = False

    def of(self, role: str) -> list[str]:
        """The paths of the media of one role."""
        return [path for path, (own, _) in zip(self.paths, self.source.media(), strict=True) if own == role and path]

    def files(self) -> Iterator[tuple[str, Blob]]:
        """(path, content) of every medium that has a place."""
        for path, (_, blob) in zip(self.paths, self.source.media(), strict=True):
            if path:
                yield path, blob


class Plan(Lazy[Placed]):
    """Where the samples of a split will lie, in the order in which they will be read back. Holds no sample itself."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._numbers = array("Q")
        self._told = Spilled[tuple[Any, ...]]()
        self.size = 0
        """Bytes of all files that have a place."""
        self.rows = shards.Rows(shards.shard_window(shards.DEFAULT_TARGET))
        """Where they are cut, if they lie in shards."""
        self.media: set[tuple[str, Kind]] = set()
        """The columns and kinds of files that have a place."""
        self.extra: dict[str, None] = {}
        """The names of further texts, in the order in which they come."""
        self.captions = False
        """Whether some have several."""

    def add(self, one: Placed) -> None:
        """Let it come next."""
        own = one.source
        texts = None if one.prompt == own.prompt else one.prompt, None if one.extra == own.extra else dict(one.extra)
        captions = None if one.captions == own.captions else one.captions
        self._numbers.append(one.number)
        files = 0
        for path, (role, blob) in zip(one.paths, own.media(), strict=True):
            if path:
                files += blob.size
                self.media.add((media.column(role, blob.name), kind_of(blob.name)))
        self.size += files
        self.extra.update(dict.fromkeys(one.extra))
        self.captions = self.captions or bool(one.captions)
        self.rows.add(one.id, shards.row_size(files, one.prompt, one.extra, one.captions))
        self._told.append((one.id, *texts, one.paths, captions, one.regrouped))

    @property
    def ids(self) -> Sequence[str]:
        """The ids as they will be read back."""
        return Mapped(self._told, itemgetter(0))

    def __len__(self) -> int:
        return len(self._numbers)

    def walk(self, start: int, stop: int) -> Iterator[Placed]:
        """Those at [start, stop), with their samples."""
        numbers = self._numbers[start:stop]
        for number, own, told in zip(numbers, self._sources(numbers), self._told.walk(start, stop), strict=True):
            name, prompt, extra, paths, captions, regrouped = told
            yield Placed(
                number=number,
                source=own,
                id=name,
                prompt=own.prompt if prompt is None else prompt,
                extra=own.extra if extra is None else extra,
                paths=paths,
                captions=own.captions if captions is None else captions,
                regrouped=regrouped,
            )

    def _sources(self, numbers: Sequence[int]) -> Iterator[Sample]:
        """The samples of these numbers: side by side where they ascend without a gap, as they mostly do."""
        if numbers and numbers[-1] - numbers[0] == len(numbers) - 1 and _ascend(numbers):
            return iter(self._samples[numbers[0] : numbers[-1] + 1])
        return map(self._samples.__getitem__, numbers)

    def left_out(self) -> int:
        """How many samples have no place."""
        return len(self._samples) - len(self)

    def moved(self) -> int:
        """At how many places another sample comes than in the source, those without a place left aside."""
        if _ascend(self._numbers):
            return 0
        return sum(own != other for own, other in zip(self._numbers, sorted(self._numbers), strict=True))


def _ascend(numbers: Sequence[int]) -> bool:
    return all(one < other for one, other in pairwise(numbers))


class Losses:
    """What will not be read back of samples that are placed."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, one: Placed) -> None:
        """Count what differs from the source."""
        counts, own = self._counts, one.source
        counts["id"] += one.id != own.id
        counts["prompt"] += one.prompt != own.prompt
        counts["captions"] += one.captions != own.captions
        counts["control order"] += one.regrouped
        for column in own.extra.keys() | one.extra.keys():
            counts[f"column {column}"] += own.extra.get(column) != one.extra.get(column)
        for path, (role, blob) in zip(one.paths, own.media(), strict=True):
            if not path:
                counts[_ROLES.get(role, f"other {role}")] += 1
            elif path.rpartition("/")[2] != blob.name.rpartition("/")[2]:
                counts["file name"] += 1

    def told(self, plans: Iterable[Plan], why: Mapping[str, str]) -> list[Loss]:
        """All of it; ``why`` explains it by the first word of each."""
        for plan in plans:
            self._counts["sample"] += plan.left_out()
            self._counts["order"] += plan.moved()
        counts, first = self._counts, [*_ROLES.values(), "sample", "id", "order", "prompt"]
        named = sorted(counts, key=lambda what: (first.index(what) if what in first else len(first), what))
        return [Loss(what, counts[what], why[what.partition(" ")[0]]) for what in named if counts[what]]


_ROLES = {TARGET: "target", CONTROLS: "control", MASK: "mask"}


def numbers(sample: Sample) -> list[int]:
    """The number that each control has in its name where they all have one, in order; else 0, 1, 2, …"""
    found: list[int] = []
    for control in sample.controls:
        part = parse(split_extension(control.name.rpartition("/")[2])[0], {sample.id})
        if part.role not in ("main", "control") or (found and part.index <= found[-1]):
            return list(range(len(sample.controls)))
        found.append(part.index)
    return found


@dataclass(frozen=True, slots=True)
class Fitting:
    """Those samples of a split that a layout can hold, with their numbers; any number of times."""

    samples: Sequence[Sample]
    fits: Callable[[Sample], bool]

    def __iter__(self) -> Iterator[tuple[int, Sample]]:
        return ((number, sample) for number, sample in enumerate(self.samples) if self.fits(sample))


class Stems:
    """A stem for each sample, under which its files can lie in one folder with those of all others: its id, if it can.

    ``longest`` is what may be appended to it. No file's stem equals another's on a disk that sets case or Unicode form
    aside, and none reads as belonging to another sample.
    """

    def __init__(self, fitting: Fitting, longest: str = "_control_999999999.jpeg") -> None:
        self._fitting, self._length = fitting, LONGEST - len(longest)
        self._other = Table()  # the number of a sample as text -> its stem, where that is not its id
        claimed, used = Table(), Table()
        last, renamed = "", False
        self._ascending = True
        for _, sample in fitting:
            claimed.claim(on_disk(base := portable(sample.id, self._length)))
            renamed = renamed or base != sample.id
            self._ascending = self._ascending and last <= (last := sample.id)
        # Those that can keep their id come first, so that nobody takes it from them.
        for keeping in (True, False) if renamed else (True,):
            for number, sample in fitting:
                if (portable(sample.id, self._length) == sample.id) is keeping:
                    self._choose(number, sample, claimed, used)

    def _choose(self, number: int, sample: Sample, claimed: Table, used: Table) -> None:
        """Take the first stem that is free."""
        wanted = base = portable(sample.id, self._length)
        attempt = 1
        while True:
            own = on_disk(base)
            further = {on_disk(control_stem(base, at)) for at in numbers(sample) if at}
            further |= {on_disk(mask_stem(base))} if sample.mask else set()
            taken = own in used or any(one in used or (one != own and one in claimed) for one in further)
            if not taken and (attempt == 1 or own not in claimed):
                break
            attempt += 1
            base = portable(f"{wanted}-{attempt}", self._length)
        for one in (own, *further):
            used.claim(one)
        if base != sample.id:
            self._other.put(str(number), base)

    def __iter__(self) -> Iterator[tuple[int, Sample, str]]:
        """(number, sample, stem) in the order of the source."""
        for number, sample in self._fitting:
            yield number, sample, (self._other.get(str(number)) if self._other else None) or sample.id

    def in_order(self) -> Iterator[tuple[int, Sample, str]]:
        """The same in the order of the stems, in which a folder is read."""
        if self._ascending and not self._other:
            yield from self
            return
        order = Table()
        for number, _, stem in self:
            order.put(stem, number)
        for stem, number in order.items():
            yield number, self._fitting.samples[number], stem


def is_held(blob: Blob) -> bool:
    """Has an extension by which readers know what it is."""
    return extension(blob).lower() in MEDIA_EXTENSIONS


def has_media(sample: Sample) -> bool:
    """Has media in its roles, all of which are held."""
    played = [blob for role, blob in sample.media() if role in ROLES]
    return bool(played) and all(map(is_held, played))


def extension(blob: Blob) -> str:
    """The extension of a blob's name as it is written there, with its dot."""
    dot = blob.name.rpartition("/")[2].rpartition(".")
    return "".join(dot[1:]) if dot[1] else ""
