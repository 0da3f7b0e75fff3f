"""What an upload would change, by sample: ids that are new or gone, and for changed ones each field, old and new."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Unpack

from qflux_hub import hubrows, media, plan, remote
from qflux_hub.hub import Hub, check_repo_id, open_hub
from qflux_hub.index import Entry
from qflux_hub.merge import Merge, merge
from qflux_hub.options import CheckOptions, DiffKeywords, DiffOptions
from qflux_hub.remote import Head
from qflux_hub.report import DiffReport, Progress, SampleChange, SplitDiff
from qflux_hub.sample import CAPTIONS, Sample
from qflux_hub.source import Scan, Source, hash_images, judge_samples, look_at_images, read_source, stop_at_errors
from qflux_hub.state import Seen, remember


def diff_dataset(
    source: Source, repo_id: str, *, progress: Progress | None = None, **options: Unpack[DiffKeywords]
) -> DiffReport:
    """Compare ``source`` with the dataset repo ``repo_id``, sample by sample; nothing is written.

    Only texts of samples that changed are fetched; images are compared by the hashes in the index. A repo that does
    not exist is an empty one. Options: ``options.DiffOptions``. Raises DataError for a source that could not be
    uploaded, AuthError, NotFoundError, HubError.
    """
    chosen, progress = DiffOptions(**options), progress or Progress()
    check_repo_id(repo_id)
    started = time.perf_counter()
    scan = read_source(source, chosen, progress)
    judge_samples(scan, CheckOptions(allow_empty_prompt=True))
    with remember(source) as memory:
        look_at_images(scan, memory, progress, decode=chosen.decode)
        stop_at_errors(scan, "it is not compared", strict=False)
        with open_hub(chosen.hub, chosen.token) as hub:
            head = remote.read(hub, repo_id, chosen.revision, scan.findings.append)
            hash_images(scan, memory, progress, decoded=chosen.decode)
            stop_at_errors(scan, "it is not compared", strict=False)
            seen = memory.seen(f"{hub.name} {repo_id} {chosen.revision or 'main'}")
            splits = {split: _compare(hub, repo_id, scan, head, seen, split, progress) for split in scan.splits}
    return DiffReport(repo_id, splits, scan.findings, time.perf_counter() - started)


def _compare(
    hub: Hub, repo_id: str, scan: Scan, head: Head, seen: Seen | None, split: str, progress: Progress
) -> SplitDiff:
    own = {row.id: row for row in plan.entries(scan.splits[split], scan.facts, scan.hashes)}
    indexes = [hubrows.held(hub, repo_id, head.commit, head.untold(split), progress), head.remote.indexes.get(split)]
    there = {row.id: row for known in indexes if known for row in known.entries}
    ours, theirs = ({name: row.content for name, row in side.items()} for side in (own, there))
    merged = merge(ours, theirs, seen.ours.get(split, {}), seen.theirs.get(split, {})) if seen else Merge()
    changed = [n for n in own.keys() & there.keys() if ours[n] != theirs[n] and n not in merged.theirs]
    local = {sample.id: sample for sample in scan.splits[split] if sample.id in set(changed)}
    before, reworded = dict(local), [name for name in changed if _texts(own[name]) != _texts(there[name])]
    for known in indexes:
        if known and head.state and reworded:
            before |= {one.id: one for one in hubrows.samples(hub, repo_id, head.state, split, known, reworded)}
    return SplitDiff(
        added=sorted(own.keys() - there.keys()),
        changed=[
            SampleChange(name, dict(_fields(before[name], there[name], local[name], own[name])))
            for name in sorted(changed)
        ],
        removed=sorted(there.keys() - own.keys() - merged.theirs),
        unchanged=sum(theirs.get(name) == content for name, content in ours.items()) + len(merged.changed),
    )


def _fields(old: Sample, old_row: Entry, new: Sample, new_row: Entry) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Name -> (old, new) of every field that differs."""
    before, after = ({"prompt": one.prompt, CAPTIONS: list(one.captions), **one.extra} for one in (old, new))
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            yield name, (before.get(name), after.get(name))
    for column in dict.fromkeys([*media.IMAGES, *(one.role for row in (old_row, new_row) for one in row.media)]):
        was, now = (_files(row, column) for row in (old_row, new_row))
        if [file["sha256"] for file in was] != [file["sha256"] for file in now]:
            yield column, (was, now) if media.is_list(column) else (next(iter(was), None), next(iter(now), None))


def _texts(row: Entry) -> tuple[bytes, bytes]:
    return row.prompt_sha256, row.extra_sha256


def _files(row: Entry, column: str) -> list[dict[str, Any]]:
    return [{"name": one.name, "size": one.size, "sha256": one.sha256.hex()} for one in row.media if one.role == column]
