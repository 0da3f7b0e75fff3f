"""A source opened: its tree, its layout, its samples and everything found wrong with them.

``scan_dataset`` and ``check_dataset`` are this and nothing more; every other job that reads a dataset starts here.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, fields, replace
from typing import Any, TypeVar, Unpack

from qflux_hub import checks, codes, journal, layouts
from qflux_hub.errors import DataError, OutsideRootError, QfluxError, UsageError
from qflux_hub.naming import split_extension
from qflux_hub.options import CheckKeywords, CheckOptions, ReadKeywords, ReadOptions
from qflux_hub.report import Finding, Progress, tally
from qflux_hub.sample import Blob, Sample
from qflux_hub.sniff import ImageFacts
from qflux_hub.state import Memory, remember
from qflux_hub.tree import FolderTree, Tree

Source = str | os.PathLike[str]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """A split at a glance. ``controls``: how many samples have how many; ``formats``: how many images of each."""

    samples: int
    controls: Mapping[int, int]
    masks: int
    targets: int
    formats: Mapping[str, int]
    bytes: int


@dataclass(slots=True)
class Scan:
    """A dataset as qflux reads it: samples by split in source order, and what was found.

    ``left_out``: ids by split that were taken out again. ``facts`` and ``hashes`` (SHA-256): of
    the images that were looked at and read, by name.
    ``failed``: a check found errors (or, when strict, warnings).
    """

    source: str
    layout: str
    splits: dict[str, list[Sample]]
    findings: list[Finding]
    left_out: dict[str, set[str]] = field(default_factory=dict)
    facts: dict[str, ImageFacts] = field(default_factory=dict)
    hashes: dict[str, bytes] = field(default_factory=dict)
    failed: bool = False
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
        blobs = self.blobs().values()
        size = sum(blob.size for blob in blobs)
        samples = sum(map(len, self.splits.values()))
        return {"samples": samples, "files": len(blobs), "bytes": size, **tally(self.findings)}

    def summary(self, split: str) -> SplitSummary:
        """What a person wants to know of a split first."""
        samples = self.splits[split]
        media = [blob for sample in samples for _, blob in sample.media()]
        return SplitSummary(
            samples=len(samples),
            controls=dict(sorted(Counter(len(sample.controls) for sample in samples).items())),
            masks=sum(sample.mask is not None for sample in samples),
            targets=sum(sample.target is not None for sample in samples),
            formats=dict(Counter(split_extension(blob.name)[1].lstrip(".") for blob in media).most_common()),
            bytes=sum(blob.size for blob in media),
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
        }


def _row(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "prompt": sample.prompt,
        "controls": [blob.name for blob in sample.controls],
        "mask": sample.mask.name if sample.mask else None,
        "target": sample.target.name if sample.target else None,
        "extra": dict(sample.extra),
    }


def scan_dataset(source: Source, *, progress: Progress | None = None, **options: Unpack[ReadKeywords]) -> Scan:
    """What is there: samples, controls, masks, targets and prompts as qflux pairs them.

    Opens prompts and tables but no image, unless ``decode``. Options: ``options.ReadOptions``. Raises LayoutError when
    nothing can be read as a dataset.
    """
    chosen, progress = ReadOptions(**options), progress or Progress()
    started = time.perf_counter()
    scan = read_source(source, chosen, progress)
    if chosen.decode:
        with remember(source) as memory:
            look_at_images(scan, memory, progress, decode=True)
    scan.seconds = time.perf_counter() - started
    return scan


def check_dataset(source: Source, *, progress: Progress | None = None, **options: Unpack[CheckKeywords]) -> Scan:
    """A scan, and everything that can be found wrong with its samples and images. Reads every image once.

    Options: ``options.CheckOptions``. What was found is in the result; only a source that has no layout raises.
    """
    chosen, progress = CheckOptions(**options), progress or Progress()
    started = time.perf_counter()
    scan = read_source(source, chosen, progress)
    judge_samples(scan, chosen)
    with remember(source) as memory:
        look_at_images(scan, memory, progress, decode=chosen.decode)
        hash_images(scan, memory, progress, decoded=chosen.decode)
    scan.failed = _fails(scan, strict=chosen.strict)
    scan.seconds = time.perf_counter() - started
    return scan


def read_source(source: Source, options: ReadOptions, progress: Progress) -> Scan:
    """All samples of a source, with what its layout found. Opens no image."""
    tree = FolderTree(source, follow_links=options.follow_links)
    if journal.interrupted(tree.root):
        message = f"A repair of {tree.name} was interrupted, so some of its files are old and some are new."
        tree.findings.append(codes.INTERRUPTED_FIX(tree.name, message, fix="run `qflux fix --apply` again"))
    return read_tree(tree, options, progress)


def read_tree(tree: Tree, options: ReadOptions, progress: Progress) -> Scan:
    """All samples of a tree that was listed already."""
    findings: list[Finding] = list(tree.findings)
    match = layouts.detect(tree, options.layout, findings.append)
    unknown = [split for split in options.splits if split not in match.splits]
    if unknown:
        raise UsageError(
            f"{tree.name} has no split {' or '.join(map(repr, unknown))}.", hint=f"It has: {', '.join(match.splits)}."
        )
    scan = Scan(tree.name, match.layout.NAME, {}, findings)
    with progress.task("Reading", None, "samples") as task:
        for split in options.splits or match.splits:
            samples = scan.splits[split] = []
            for sample in match.layout.read(tree, split, options.columns, findings.append):
                samples.append(sample)
                task.advance()
    return scan


def judge_samples(scan: Scan, options: CheckOptions) -> None:
    """Find what is wrong with the samples themselves."""
    for sample in scan.samples():
        scan.findings += checks.check_sample(sample, allow_empty_prompt=options.allow_empty_prompt)


def look_at_images(scan: Scan, memory: Memory, progress: Progress, *, decode: bool) -> None:
    """Find what is wrong with the images by their headers, or by decoding them; each file once, in ``scan.facts``.

    Files that ``memory`` knows are not opened: their facts, and hashes, are what they were.
    """
    users, unknown = _users(scan), []
    for blob in scan.blobs().values():
        known = _recall(memory, blob)
        if known is None or (decode and not known.decoded):
            unknown.append(blob)
        else:
            scan.facts[blob.name], scan.hashes[blob.name] = known.facts, known.sha256
    with progress.task("Decoding" if decode else "Looking at", len(unknown), "images") as task:
        for blob, facts in zip(unknown, _map(lambda blob: checks.look_at(blob, decode=decode), unknown), strict=True):
            scan.facts[blob.name] = facts
            task.advance()
    for blob in scan.blobs().values():
        facts = scan.facts[blob.name]
        for sample in users[blob.name] if facts.problem else users[blob.name][:1]:
            scan.findings += checks.check_image(blob, facts, sample)


def hash_images(scan: Scan, memory: Memory, progress: Progress, *, decoded: bool = False) -> None:
    """Hash every image that has no problem yet, in ``scan.hashes``, in one pass that finds damage; then find leaks.

    What was read is remembered in ``memory``; ``decoded`` says that it was decoded before.
    """
    blobs = [blob for name, blob in scan.blobs().items() if not scan.facts[name].problem and name not in scan.hashes]
    users, started = _users(scan), time.time_ns()
    with progress.task("Hashing", sum(blob.size for blob in blobs)) as task:
        results = _map(lambda blob: checks.fingerprint(blob, scan.facts[blob.name]), blobs)
        for blob, (digest, why) in zip(blobs, results, strict=True):
            facts = scan.facts[blob.name]
            if why:
                scan.facts[blob.name] = facts = ImageFacts(facts.format, problem="damaged-image", detail=why)
                for sample in users[blob.name]:
                    scan.findings += checks.check_image(blob, facts, sample)
            else:
                scan.hashes[blob.name] = digest
                memory.learn(blob, [digest.hex(), decoded, *astuple(facts)], started)
            task.advance(blob.size)
    scan.findings += checks.check_splits(scan.samples(), scan.hashes)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the local cache holds of a file that was read whole and found well."""

    sha256: bytes
    decoded: bool
    facts: ImageFacts


def _recall(memory: Memory, blob: Blob) -> _Known | None:
    """What is known of an unchanged file; None when it must be read, or when an older qflux learned less of it."""
    known = memory.known(blob)
    if known is None or len(known) != 2 + len(fields(ImageFacts)):
        return None
    digest, decoded, *facts = known
    return _Known(bytes.fromhex(digest), decoded, ImageFacts(*facts))


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


def _users(scan: Scan) -> dict[str, list[tuple[str, str]]]:
    """Blob name -> the samples that use it."""
    users: dict[str, list[tuple[str, str]]] = {}
    for sample in scan.samples():
        for _, blob in sample.media():
            users.setdefault(blob.name, []).append((sample.split, sample.id))
    return users


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


def _map(job: Callable[[Blob], T], blobs: Iterable[Blob]) -> Iterator[T]:
    """Results in order, from threads: hashing and decoding release the interpreter, and disks like company.

    A few jobs are under way at a time, so that neither memory nor an interruption waits for all of them.
    """
    threads = min(8, (os.cpu_count() or 1) + 1)
    with threads_left_at_once(threads) as pool:
        waiting: deque[Future[T]] = deque()
        for blob in blobs:
            waiting.append(pool.submit(job, blob))
            if len(waiting) > 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
