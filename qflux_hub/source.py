"""A source opened: its tree, its layout, its samples and everything found wrong with them.

``scan_dataset`` and ``check_dataset`` are this and nothing more; every other job that reads a dataset starts here.
"""

from __future__ import annotations

import fnmatch
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Unpack

from qflux_hub import checks, codes, journal, layouts, listing
from qflux_hub.errors import DataError, OutsideRootError, QfluxError, UsageError
from qflux_hub.naming import extension, kind_of
from qflux_hub.options import CheckOptions, FullCheckKeywords, FullCheckOptions, ReadKeywords, ReadOptions
from qflux_hub.report import Finding, Progress, Task, tally
from qflux_hub.sample import ROLES, Blob, Sample
from qflux_hub.sniff import ImageFacts
from qflux_hub.state import Memory, remember
from qflux_hub.tree import FolderTree, Tree

if TYPE_CHECKING:
    from qflux_hub.validation import Validation

Source = str | os.PathLike[str]
Held = Callable[[Iterable[Sample]], Sequence[Sample]]
"""What samples are kept in: ``list``, or ``Spilled`` where they are only gone through in order."""
LOOKS = 1000
"""Samples of a split whose sizes a scan tells, spread evenly, so that it takes no longer for a million."""
MASKS = 500
"""Masks of a split whose pixels are looked at without ``decode``: 10,000 take longer than all the rest of a check."""
FEW_MASKS = 50
"""The same for jobs that only look at headers: enough to notice a split of inverted masks on the way to the Hub."""
_TOLD = 64
"""Samples after which progress is told."""
_APART = tuple(one.NAME for one in (layouts.directory, layouts.parquet, layouts.tars, layouts.aitoolkit, layouts.pairs))
"""Layouts in which no two samples can share a file."""


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """A split at a glance. ``controls``: how many samples have how many; ``formats``: how many images of each.

    ``sizes``: (width, height) in pixels, as displayed, of the target or else the main control of the samples whose
    images were looked at, and how many have it, the most frequent first.
    """

    samples: int
    controls: Mapping[int, int]
    masks: int
    targets: int
    formats: Mapping[str, int]
    bytes: int
    sizes: Mapping[tuple[int, int], int]


@dataclass(slots=True)
class Scan:
    """A dataset as qflux reads it: samples by split in source order, and what was found.

    ``left_out``: ids by split that were taken out again. ``facts`` and ``hashes`` (SHA-256): of
    the images that were looked at and read, by name.
    ``checked``: all that a check does was done. ``failed``: it found errors (or, when strict, warnings).
    ``validation``: the validation file that was checked beside it, or alone, and then there are no splits.
    """

    source: str
    layout: str
    splits: dict[str, Sequence[Sample]]
    findings: list[Finding]
    left_out: dict[str, set[str]] = field(default_factory=dict)
    facts: dict[str, ImageFacts] = field(default_factory=dict)
    hashes: dict[str, bytes] = field(default_factory=dict)
    checked: bool = False
    failed: bool = False
    validation: Validation | None = None
    seconds: float = 0.0

    def samples(self) -> Iterator[Sample]:
        """All samples, split by split."""
        for samples in self.splits.values():
            yield from samples

    def blobs(self) -> dict[str, Blob]:
        """Every image once, by its name."""
        return {blob.name: blob for sample in self.samples() for _, blob in sample.media()}

    def counts(self) -> dict[str, int]:
        """Samples, image files, their bytes, and findings by severity."""
        seen, files, size = set[str](), 0, 0
        for sample in self.samples():
            for _, blob in sample.media():
                if self.layout not in _APART:
                    if blob.name in seen:
                        continue
                    seen.add(blob.name)
                files, size = files + 1, size + blob.size
        return {"samples": sum(map(len, self.splits.values())), "files": files, "bytes": size, **tally(self.findings)}

    def summary(self, split: str) -> SplitSummary:
        """What a person wants to know of a split first."""
        samples = self.splits[split]
        media = [blob for sample in samples for _, blob in sample.media()]
        looks = [self.facts.get(sample.first.name) for sample in samples]
        sizes = Counter((facts.width, facts.height) for facts in looks if facts and facts.width)
        return SplitSummary(
            samples=len(samples),
            controls=dict(sorted(Counter(len(sample.controls) for sample in samples).items())),
            masks=sum(sample.mask is not None for sample in samples),
            targets=sum(sample.target is not None for sample in samples),
            formats=dict(Counter(extension(blob.name).lstrip(".") for blob in media).most_common()),
            bytes=sum(blob.size for blob in media),
            sizes=dict(sizes.most_common()),
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "source": self.source,
            "layout": self.layout,
            "splits": {split: [_row(sample) for sample in samples] for split, samples in self.splits.items()},
            "findings": [finding.to_dict() for finding in self.findings],
            "counts": self.counts(),
            "seconds": round(self.seconds, 3),
            **({"validation": self.validation.to_dict()} if self.validation else {}),
        }


def _row(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "prompt": sample.prompt,
        "controls": [blob.name for blob in sample.controls],
        "mask": sample.mask.name if sample.mask else None,
        "target": sample.target.name if sample.target else None,
        "extra": dict(sample.extra),
        **({"captions": list(sample.captions)} if sample.captions else {}),
        **({"others": {name: blob.name for name, blob in sample.others.items()}} if sample.others else {}),
    }


def scan_dataset(source: Source, *, progress: Progress | None = None, **options: Unpack[ReadKeywords]) -> Scan:
    """What is there: samples, controls, masks, targets and prompts as qflux pairs them.

    Opens prompts, tables and the headers of some images, to tell their sizes; with ``decode`` all of all images.
    Options: ``options.ReadOptions``. Raises LayoutError when nothing can be read as a dataset.
    """
    chosen, progress = ReadOptions(**options), progress or Progress()
    started = time.perf_counter()
    scan = read_source(source, chosen, progress)
    with remember(source) as memory:
        if chosen.decode:
            look_at_images(scan, memory, progress, decode=True)
        else:
            _look_at_some(scan, memory)
    scan.seconds = time.perf_counter() - started
    return scan


def check_dataset(
    source: Source | None = None, *, progress: Progress | None = None, **options: Unpack[FullCheckKeywords]
) -> Scan:
    """A scan, and everything that can be found wrong with its samples and images. Looks at every image once: reads
    PNG files and files of equal size whole, of others the header and the end; with ``decode`` decodes all.

    ``validation`` is a validation file of finetrainers (see ``read_validation``) to be checked beside ``source`` or
    instead of it. Options: ``options.FullCheckOptions``. What was found is in the result; only a source that has no
    layout, or a file that is not there, raises.
    """
    chosen, progress = FullCheckOptions(**options), progress or Progress()
    started = time.perf_counter()
    _require_subject(source, chosen)
    if chosen.report is not None:
        listing.require_kind(chosen.report)
    if chosen.near_duplicates:
        checks.require_likeness()
    if source is not None:
        scan = _check_source(source, chosen, progress)
    else:
        scan = Scan(os.fspath(chosen.validation or ""), "validation", {}, [])
    if chosen.validation is not None:
        from qflux_hub.validation import check_validation

        scan.validation = check_validation(chosen.validation, chosen, progress)
        scan.findings += scan.validation.findings
    scan.checked, scan.failed = True, _fails(scan, strict=chosen.strict)
    if chosen.report is not None:
        listing.write(chosen.report, scan.source, scan.layout, scan.findings)
    scan.seconds = time.perf_counter() - started
    return scan


def _require_subject(source: Source | None, options: FullCheckOptions) -> None:
    """Raise UsageError unless there is something to check, and every option has what it speaks of."""
    if options.validation is None and source is None:
        raise UsageError("Missing argument 'SOURCE'.", hint="Give the folder of a dataset, or --validation FILE.")
    if options.validation is None and options.multiple_of != 1:
        raise UsageError("--multiple-of counts the rows of a validation file.", hint="Add --validation FILE.")
    if options.multiple_of < 1:
        raise UsageError(f"--multiple-of {options.multiple_of} is too few.", hint="It is dp_shards times tp_degree.")
    if source is None and (options.layout or options.columns or options.splits or options.near_duplicates):
        flags = "--layout, --column, --split and --near-duplicates"
        raise UsageError(f"{flags} are about a dataset.", hint="Give its folder, too, or leave them out.")


def _check_source(source: Source, chosen: FullCheckOptions, progress: Progress) -> Scan:
    tree = _open(source, chosen)
    scan = read_tree(tree, chosen, progress)
    if scan.layout == layouts.tables.NAME:
        used = scan.blobs().keys()
        layouts.tables.unused(tree, chosen.columns, used, scan.findings.append)
    judge_samples(scan, chosen)
    for split, samples in scan.splits.items():
        scan.findings += checks.check_split(split, samples)
    with remember(source) as memory:
        _read_images(scan, memory, progress, decode=chosen.decode, likeness=chosen.near_duplicates)
    return scan


def read_source(source: Source, options: ReadOptions, progress: Progress, held: Held = list) -> Scan:
    """All samples of a source, with what its layout found. Opens no image. ``held`` makes what the samples lie in."""
    return read_tree(_open(source, options), options, progress, held)


def _open(source: Source, options: ReadOptions) -> FolderTree:
    tree = FolderTree(source, follow_links=options.follow_links)
    if journal.interrupted(tree.root):
        message = f"A repair of {tree.name} was interrupted, so some of its files are old and some are new."
        tree.findings.append(codes.INTERRUPTED_FIX(tree.name, message, fix="run `qflux fix --apply` again"))
    return tree


def read_tree(tree: Tree, options: ReadOptions, progress: Progress, held: Held = list) -> Scan:
    """All samples of a tree that was listed already."""
    findings: list[Finding] = []
    match = layouts.detect(tree, options.layout, findings.append)
    findings = [_as_grave_as_it_is(finding, match) for finding in tree.findings] + findings
    unknown = [split for split in options.splits if split not in match.splits]
    if unknown:
        raise UsageError(
            f"{tree.name} has no split {' or '.join(map(repr, unknown))}.", hint=f"It has: {', '.join(match.splits)}."
        )
    scan = Scan(tree.name, match.layout.NAME, {}, findings)
    with progress.task("Reading", None, "samples") as task:
        for split in options.splits or match.splits:
            samples = match.layout.read(tree, split, options.columns, findings.append)
            scan.splits[split] = held(counted(samples, task))
    return scan


def counted(samples: Iterable[Sample], task: Task) -> Iterator[Sample]:
    """The samples, told to ``task`` some at a time: to draw how many there are takes as long as to read one."""
    number = 0
    for number, sample in enumerate(samples, 1):
        yield sample
        if not number % _TOLD:
            task.advance(_TOLD)
    task.advance(number % _TOLD)


def keep_only(scan: Scan, patterns: Sequence[str], held: Held = list) -> None:
    """Take all samples out of the scan but those whose id is, or fits, one of ``patterns``. None at all: all stay.

    Raises UsageError for a pattern that no sample fits.
    """
    if not patterns:
        return
    for pattern in patterns:
        if not any(_fits(sample.id, pattern) for sample in scan.samples()):
            raise UsageError(
                f"{scan.source} has no sample {pattern!r}.", hint="Give an id, or a pattern such as 'cat_*'."
            )
    for split, samples in scan.splits.items():
        scan.splits[split] = held(one for one in samples if any(_fits(one.id, pattern) for pattern in patterns))


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def _as_grave_as_it_is(finding: Finding, match: layouts.Match) -> Finding:
    """What the walk left out beside the splits of a folder, such as the links of a virtual environment, harms nobody.

    A table may name any file of the folder, so there all of it counts.
    """
    beside = match.layout.NAME == "directory" and finding.where.partition("/")[0] not in match.splits
    return replace(finding, severity="note") if beside and finding.code in codes.OF_THE_WALK else finding


def judge_samples(scan: Scan, options: CheckOptions) -> None:
    """Find what is wrong with the samples themselves."""
    for sample in scan.samples():
        scan.findings += checks.check_sample(sample, allow_empty_prompt=options.allow_empty_prompt)
    scan.findings += checks.check_columns(scan.samples())


def look_at_images(scan: Scan, memory: Memory, progress: Progress, *, decode: bool) -> None:
    """Find what is wrong with the images by their headers, or by decoding them; each file once, in ``scan.facts``.

    Files that ``memory`` knows are not opened: their facts, and hashes, are what they were. Notes are for a check: who
    wants to do something with the images is told of errors and warnings.
    """
    wish = checks.Wish(sums=False, hash=False, decode=decode)
    blobs = scan.blobs()
    wishes = _wishes(scan, blobs, wish)
    checks.read_images(blobs.values(), wishes, scan.facts, scan.hashes, memory, progress)
    found = [*_without_notes(_judged_images(scan))]
    if not decode and any(finding.code in codes.OF_PIXELS for finding in found):  # perhaps there are more of them
        found += _unseen_masks(scan)
    scan.findings += found


def hash_images(scan: Scan, memory: Memory, progress: Progress, *, decoded: bool = False) -> None:
    """Hash every image that has no problem yet, in ``scan.hashes``, in one pass that finds damage; then find copies.

    What was read is remembered in ``memory``; ``decoded`` says that it was decoded before.
    """
    unread = [blob for name, blob in scan.blobs().items() if name not in scan.hashes and not scan.facts[name].problem]
    if unread:
        before = {blob.name: scan.facts[blob.name] for blob in unread}
        wishes = dict.fromkeys(before, checks.Wish())
        checks.read_images(unread, wishes, scan.facts, scan.hashes, memory, progress, decoded=decoded)
        changed = {name for name, facts in before.items() if scan.facts[name] is not facts}
        scan.findings += _without_notes(_judged_images(scan, changed))
    scan.findings += _without_notes(_judged_copies(scan))


def _look_at_some(scan: Scan, memory: Memory) -> None:
    """The headers of a split's targets, or else its main controls, to tell their sizes; of the many, some."""
    for samples in scan.splits.values():
        some = samples[:: -(-len(samples) // LOOKS) or 1]
        blobs = {sample.first.name: sample.first for sample in some}
        wishes = dict.fromkeys(blobs, checks.Wish(sums=False, hash=False))
        checks.read_images(blobs.values(), wishes, scan.facts, scan.hashes, memory, Progress())


def _read_images(scan: Scan, memory: Memory, progress: Progress, *, decode: bool, likeness: bool) -> None:
    """Look at every image that ``memory`` does not know, and find what is wrong; hash those of equal size."""
    blobs = scan.blobs()
    wishes = _wishes(scan, blobs, checks.Wish(hash=False, decode=decode, likeness=likeness))
    sizes = Counter(blob.size for blob in blobs.values())
    for name, blob in blobs.items():
        if sizes[blob.size] > 1:  # otherwise no other file has the same bytes
            wishes[name] = replace(wishes[name], hash=True)
    checks.read_images(blobs.values(), wishes, scan.facts, scan.hashes, memory, progress)
    scan.findings += _judged_images(scan)
    scan.findings += _judged_copies(scan)
    scan.findings += _unprobed(scan)
    if not decode:
        scan.findings += _unseen_masks(scan)
    if likeness:
        scan.findings += checks.check_likeness(scan.samples(), scan.facts, scan.hashes)


def _wishes(scan: Scan, blobs: Mapping[str, Blob], wish: checks.Wish) -> dict[str, checks.Wish]:
    """What is wanted of every file; of masks also their tones, where they are not too many.

    A check of ``wish.sums`` also asks libraries about videos and sounds. Raises MissingExtraError when they are to be
    decoded and the library is not there.
    """
    wishes = dict.fromkeys(blobs, wish)
    kinds = {name: kind_of(name) for name in blobs}
    if wish.decode:
        checks.require_libraries(set(kinds.values()))
    for samples in scan.splits.values():
        most = len(samples) if wish.decode else MASKS if wish.sums else FEW_MASKS
        for mask in checks.choose_masks(samples, most):
            wishes[mask.name] = replace(wish, tones=True)
    for name, kind in kinds.items():
        if kind in ("video", "audio"):
            wishes[name] = replace(wish, probe=wish.sums and checks.can_probe(name))
    if "file" in kinds.values():
        played = {blob.name for sample in scan.samples() for role, blob in sample.media() if role in ROLES}
        unknown = (name for name, kind in kinds.items() if kind == "file" and name not in played)
        wishes |= dict.fromkeys(unknown, replace(wish, unknown=True))
    return wishes


def _unprobed(scan: Scan) -> Iterator[Finding]:
    """That videos or sounds could not be opened, once for each kind."""
    files = list(scan.blobs())
    for kind, library in checks.missing_libraries({*map(kind_of, files)}):
        names = [name for name in files if kind_of(name) == kind]
        others = "" if len(names) == 1 else f" and {len(names) - 1:,} more files"
        message = f"{names[0]}{others} could not be opened: the library {library} is not installed."
        yield codes.UNSEEN_MEDIA(names[0], message, fix=f'pip install "qflux-hub[{kind}]"')


def _unseen_masks(scan: Scan) -> Iterator[Finding]:
    for split, samples in scan.splits.items():
        yield from checks.check_masks_seen(split, samples, scan.facts)


def _judged_images(scan: Scan, names: Collection[str] | None = None) -> Iterator[Finding]:
    """What is wrong with the images of these names, or with all, and with those of one sample together.

    What is an error of an image is one of every sample that uses it, so that each can be left out.
    """
    judged: dict[str, Sequence[Finding]] = {}
    for sample in scan.samples():
        key = (sample.split, sample.id)
        for role, blob in sample.media():
            name = blob.name
            if name in judged:
                yield from (replace(error, sample=key) for error in judged[name] if error.severity == "error")
            elif names is None or name in names:
                judged[name] = found = tuple(checks.check_image(blob, scan.facts[name], key, role))
                yield from found
    if names is None:
        told: set[str] = set()  # of a mask that many samples share, once
        for sample in scan.samples():
            for finding in checks.check_media(sample, scan.facts):
                if finding.message not in told:
                    told.add(finding.message)
                    yield finding


def _judged_copies(scan: Scan) -> Iterator[Finding]:
    for split, samples in scan.splits.items():
        yield from checks.check_copies(split, samples, scan.hashes)
    if len(scan.splits) > 1:
        yield from checks.check_splits(scan.samples(), scan.hashes)


def _without_notes(findings: Iterable[Finding]) -> Iterator[Finding]:
    return (finding for finding in findings if finding.severity != "note")


def leave_out_bad(scan: Scan) -> None:
    """Take samples with errors of their own out of the scan; those errors become warnings.

    A split in which none is left is an error: what remains of it on the Hub would not be this source's.
    """
    bad: dict[str, set[str]] = {}
    for number, finding in enumerate(scan.findings):
        if finding.severity == "error" and finding.code in codes.SKIPPABLE and finding.sample:
            split, name = finding.sample
            bad.setdefault(split, set()).add(name)
            message = f"{finding.message} The sample {name!r} is left out."
            scan.findings[number] = replace(finding, severity="warning", message=message)
    said = any(finding.code == codes.EMPTY_SPLIT.name for finding in scan.findings)
    for split, names in bad.items():
        before = scan.splits[split]
        scan.splits[split] = [sample for sample in before if sample.id not in names]
        scan.left_out.setdefault(split, set()).update(names)
        if not scan.splits[split] and (before or not said):
            message = f"Split {split!r} has no sample left: all of them had to be left out."
            scan.findings.append(codes.EMPTY_SPLIT(split, message))


def stop_at_errors(scan: Scan, then: str, *, strict: bool) -> None:
    """Raise DataError, with all findings, when there is an error (or, with ``strict``, a warning)."""
    if not _fails(scan, strict=strict):
        return
    counts = tally(scan.findings)
    counted = [(counts["errors"], "error"), (counts["warnings"] if strict else 0, "warning")]
    kinds = [f"{count:,} {word}{'s' if count != 1 else ''}" for count, word in counted if count]
    errors = {finding.code for finding in scan.findings if finding.severity == "error"}
    kind: type[QfluxError] = OutsideRootError if errors & codes.SAFETY else DataError
    skip = " --skip-bad leaves out the samples whose files cannot be used." if errors & codes.SKIPPABLE else ""
    hint = f"Mend them; `qflux check` shows them again.{skip}"
    raise kind(f"{scan.source} has {' and '.join(kinds)}; {then}.", hint=hint, report=scan)


def _fails(scan: Scan, *, strict: bool) -> bool:
    counts = tally(scan.findings)
    return counts["errors"] > 0 or (strict and counts["warnings"] > 0)


@contextmanager
def threads_left_at_once(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that is waited for when all goes well, and left as it is when something is raised, Ctrl-C for example.

    Its own context would wait for every job under way: for a shard on a slow network, minutes.
    """
    pool = ThreadPoolExecutor(max_workers=count)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
