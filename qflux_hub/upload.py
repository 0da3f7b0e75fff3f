"""Upload a dataset: check it, plan, send what is new, make it visible in one commit, and look whether it is there.

    scan -> check -> plan -> (dry run ends) -> pack and send changed shards -> one commit -> verify

Errors in the data stop before the first request, or before anything is sent. Every shard is packed straight into its
upload; nothing is kept on disk. Nothing is visible before the commit, which names the commit it was planned on: when
someone else was faster, the plan is made anew.

``sending`` is imported when there is something to send: it takes pyarrow, whose import takes longer than all else that
a run does that has nothing to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, as_completed
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Unpack

from qflux_hub import __version__, cards, codes, hubrows, index, indexcache, media, plan, remote
from qflux_hub.errors import (
    ConflictError,
    DataError,
    HubError,
    QfluxError,
    RefusedError,
    UsageError,
    VerificationError,
    VisibilityError,
)
from qflux_hub.features import features
from qflux_hub.hub import Hub, check_operations, check_ref, check_repo_id, open_hub
from qflux_hub.index import Entry, Index, ShardRecord
from qflux_hub.merge import Contents, Merge, merge
from qflux_hub.naming import split_extension
from qflux_hub.options import UploadKeywords, UploadOptions
from qflux_hub.plan import Plan, Shard
from qflux_hub.remote import Head
from qflux_hub.report import Action, Finding, Operation, Progress, UploadReport
from qflux_hub.repos import Add, Commit
from qflux_hub.sample import CAPTIONS, CONTROLS, MASK, TARGET, Sample
from qflux_hub.source import (
    Scan,
    Source,
    hash_images,
    judge_samples,
    leave_out_bad,
    look_at_images,
    read_source,
    stop_at_errors,
    threads_left_at_once,
)
from qflux_hub.state import Memory, Seen, remember

if TYPE_CHECKING:
    from qflux_hub.sending import Send

CONFLICTS = 3
"""How often a plan is made anew because someone else committed first."""


def upload_dataset(
    source: Source,
    repo_id: str,
    private: bool | None = None,
    *,
    progress: Progress | None = None,
    **options: Unpack[UploadKeywords],
) -> UploadReport:
    """Make the splits of the dataset repo ``repo_id`` equal to ``source``, in one commit.

    ``private``: None creates a private repo and leaves an existing one as it is; True and False are wishes, and an
    existing repo that differs is refused unless ``keep_visibility``. The other options and their defaults are those of
    ``options.UploadOptions``.

    Returns the report; ``changed`` is False when the Hub had all of it, and then nothing but a tag was written. Raises
    DataError with all findings, AuthError, NotFoundError, VisibilityError, ConflictError, HubError,
    VerificationError; when it raises, the repo shows what it showed before, unless what fails is looking at the new
    commit or tagging it.
    """
    chosen = UploadOptions(private=private, **options)
    if chosen.workers < 1:
        hint = "It is how many shards are under way at once, 1 or more."
        raise UsageError(f"--workers {chosen.workers} sends nothing.", hint=hint)
    if chosen.shard_size is not None and chosen.shard_size < 1:
        hint = "Give the bytes of a shard, or for example 64MB or 1GB."
        raise UsageError(f"--shard-size {chosen.shard_size} holds nothing.", hint=hint)
    check_ref(chosen.revision)
    check_ref(chosen.tag)
    return _Upload(check_repo_id(repo_id), chosen, progress or Progress()).run(source)


def upload_editing_dataset(
    root_dir: Source,
    repo_id: str,
    private: bool | None = None,
    *,
    progress: Progress | None = None,
    **options: Unpack[UploadKeywords],
) -> UploadReport:
    """``upload_dataset`` of a folder with ``train/`` and/or ``test/`` that hold ``control_images/`` and
    ``training_images/``. ``options`` are those of ``upload_dataset``.
    """
    options.setdefault("layout", "directory")
    return upload_dataset(root_dir, repo_id, private, progress=progress, **options)


def upload_editing_dataset_from_csv(
    root_dir: Source,
    repo_id: str,
    private: bool | None = None,
    *,
    progress: Progress | None = None,
    **options: Unpack[UploadKeywords],
) -> UploadReport:
    """``upload_dataset`` of a folder with ``train.csv`` and/or ``test.csv``, whose paths are relative to it.

    ``options`` are those of ``upload_dataset``.
    """
    options.setdefault("layout", "csv")
    return upload_dataset(root_dir, repo_id, private, progress=progress, **options)


@dataclass(slots=True)
class _Upload:
    """One run. ``done`` remembers what was sent, by digest, so that a plan made anew sends nothing twice.

    ``own``: the source's rows by split and id; ``then``: per split, what source and Hub held when they were last made
    equal, None when that is not known; ``taken_over``: what files of others held that are
    replaced; ``made``: what the Hub's splits will hold now; ``is_tagged``: the head has the tag already, as it has
    when this very upload was made and its last answer was lost; ``begin`` notes what is about to be committed.
    """

    repo_id: str
    options: UploadOptions
    progress: Progress
    own: dict[str, dict[str, Entry]] = field(default_factory=dict)
    then: Mapping[str, tuple[Contents, Contents]] | None = None
    taken_over: dict[str, Contents] = field(default_factory=dict)
    made: dict[str, Contents] = field(default_factory=dict)
    done: dict[str, tuple[ShardRecord, tuple[Entry, ...]]] = field(default_factory=dict)
    may_write: bool = False
    is_tagged: bool = False
    begin: Callable[[], None] = lambda: None
    moved: dict[str, int] = field(default_factory=lambda: {"source": 0, "read": 0, "packed": 0, "sent": 0})

    def run(self, source: Source) -> UploadReport:
        started = time.perf_counter()
        scan = read_source(source, self.options, self.progress)
        if "." in self.repo_id.split("/")[1]:
            message = f"{self.repo_id}: some trainers take a name with a dot for a local file."
            scan.findings.append(codes.DOT_IN_REPO_NAME(self.repo_id, message))
        judge_samples(scan, self.options)
        with remember(source) as memory:
            look_at_images(scan, memory, self.progress, decode=self.options.decode)
            self._stop_at_errors(scan)
            with open_hub(self.options.hub, self.options.token) as connected:
                report = self._upload(connected, scan, memory)
        report.seconds = time.perf_counter() - started
        return report

    def _upload(self, hub: Hub, scan: Scan, memory: Memory) -> UploadReport:
        """Hash what is not known, and make the repo equal."""
        scan.findings += hub.findings
        unread = [blob for name, blob in scan.blobs().items() if name not in scan.hashes]
        if unread:  # a refusal must not come after hours of reading; a run that has nothing to do need not ask
            self._require_write(hub)
        head = self._head(hub, scan)
        hash_images(scan, memory, self.progress, decoded=self.options.decode)
        self._stop_at_errors(scan)
        self.moved["source"] = scan.counts()["bytes"]
        self.moved["read"] = sum(blob.size for blob in unread)
        for split, samples in scan.splits.items():
            self.own[split] = {row.id: row for row in plan.entries(samples, scan.facts, scan.hashes)}
        place = f"{hub.name} {self.repo_id} {self.options.revision or 'main'}"
        pending = f"{place} pending"
        seen = memory.seen(place)
        begun = memory.seen(pending)
        if begun and all(head.contents(split) == rows for split, rows in begun.theirs.items()):
            seen = begun  # the last run did not live to note that its commit was made
            memory.saw(place, seen)  # before another commit is begun
        if seen:
            self.then = {split: (seen.ours.get(split, {}), seen.theirs.get(split, {})) for split in scan.splits}
        self._take_over(hub, scan, head)
        if not self.options.create_pr:
            self.begin = lambda: memory.saw(pending, self._seen(""))
        report = self._sync(hub, scan, head)
        if not self.options.dry_run and not self.options.create_pr and report.commit:
            now = self._seen(report.commit)
            with contextlib.suppress(QfluxError):  # it is committed; and what was noted before tells that, too
                if now != seen:
                    memory.saw(place, now)
                if begun or report.changed:
                    memory.forget(pending)
        return report

    def _take_over(self, hub: Hub, scan: Scan, head: Head) -> None:
        """Read what no index tells of, so that none of it is lost, and the report can say what stays the same."""
        self.taken_over = {}
        for split in () if self.options.mirror else scan.splits:
            found = hubrows.held(hub, self.repo_id, head.commit, head.untold(split), self.progress)
            if found is not None:
                self.taken_over[split] = found.contents()

    def _seen(self, commit: str) -> Seen:
        """What source and Hub hold now."""
        ours = {split: {row.id: row.content for row in rows.values()} for split, rows in self.own.items()}
        return Seen(commit, ours, self.made)

    def _require_write(self, hub: Hub) -> None:
        if not self.may_write:
            hub.require_write(self.repo_id, create_pr=self.options.create_pr)
            self.may_write = True

    def _stop_at_errors(self, scan: Scan) -> None:
        if self.options.skip_bad:
            leave_out_bad(scan)
        stop_at_errors(scan, "nothing was sent", strict=self.options.strict)

    def _head(self, hub: Hub, scan: Scan) -> Head:
        """The head of the repo, if it may be written to. Raises VisibilityError, RefusedError."""
        options, met = self.options, list[Finding]()
        head = remote.read(hub, self.repo_id, options.revision, met.append, card=options.card)
        mild = [replace(finding, severity="note") for finding in met]  # an upload mends what is wrong with an index
        scan.findings += [finding for finding in mild if finding not in scan.findings]
        wish, state = self.options.private, head.state
        if state and wish is not None and wish != state.private and not self.options.keep_visibility:
            now, wanted = ("private", "public") if state.private else ("public", "private")
            raise VisibilityError(
                f"{self.repo_id} is {now}, but {wanted} was asked for; nothing was sent.",
                hint="Change it in the repo's settings, or upload to it as it is with --keep-visibility.",
            )
        if state and (options.tag or options.revision):
            self._check_names(hub, head)
        return head

    def _check_names(self, hub: Hub, head: Head) -> None:
        """Raises RefusedError for a tag that exists, UsageError for a revision that cannot be committed to."""
        revision, refs = self.options.revision, hub.refs(self.repo_id)
        self.is_tagged = self.options.tag is not None and refs.tags.get(self.options.tag) == head.commit
        if self.options.tag in refs.tags and not self.is_tagged:
            raise self._tag_is_taken()
        if revision and not revision.startswith("refs/") and not head.missing and revision not in refs.branches:
            raise UsageError(
                f"{revision!r} is a tag or a commit of {self.repo_id}; nothing was sent.",
                hint=f"Uploads go to a branch: {', '.join(sorted(refs.branches))}, or a new one.",
            )

    def _tag_is_taken(self) -> RefusedError:
        return RefusedError(
            f"{self.repo_id} has a tag {self.options.tag!r} already; nothing was sent.",
            hint="Tags stay where they are; choose another name.",
        )

    def _sync(self, hub: Hub, scan: Scan, head: Head) -> UploadReport:
        conflicts = 0
        while conflicts < CONFLICTS:
            rows = self._rows(scan, head)
            planned = self._plan(scan, head, rows)
            operations = [*planned.operations(head.remote), *self._card_operation(planned, head)]
            is_done = all(operation.action == "keep" for operation in operations)
            check_operations(sum(operation.action != "keep" for operation in operations))
            if self.is_tagged and not is_done:
                raise self._tag_is_taken()
            if self.options.dry_run:
                return self._report(hub, scan, head, planned, operations, None)
            if head.missing:
                head = self._create(hub, scan, head)
                continue  # others may have been faster: what is there now is planned on
            if is_done:
                self._tag(hub, head.commit)
                return self._report(hub, scan, head, planned, operations, None)
            self._send_shards(hub, scan, planned, head)
            adds = self._additions(hub, planned, head)
            try:
                commit = self._commit(hub, planned, adds, head)
            except ConflictError:
                conflicts += 1
                if self.then is None:  # what others change from here on is what they changed since we saw the Hub
                    there = {split: {**self.taken_over.get(split, {}), **head.contents(split)} for split in scan.splits}
                    self.then = {split: (seen, seen) for split, seen in there.items()}
                head = self._head(hub, scan)
                self._take_over(hub, scan, head)
                continue
            self._verify(hub, commit.oid, planned, adds)
            self._tag(hub, commit.oid)
            return self._report(hub, scan, head, planned, operations, commit)
        raise ConflictError(
            f"{self.repo_id} changed {CONFLICTS} times while this upload was ready to commit; nothing was published.",
            hint="Run the same command again; what was sent already is not sent again.",
        )

    # --- plan -------------------------------------------------------------------------------------------------

    def _rows(self, scan: Scan, head: Head) -> dict[str, list[Entry]]:
        """The rows that each split will have: the source's, but for those whose version on the Hub stands.

        Raises ConflictError, with all of them in the report, for samples that were changed on both sides.
        """
        rows, conflicts = {}, []
        self.made = {split: head.contents(split) for split in head.remote.indexes}
        for split, own in self.own.items():
            there = {row.id: row for row in head.rows(split)}
            stay = self._older_versions(scan, head, split) & there.keys()
            if self.then is not None and not self.options.mirror:
                ours_then, theirs_then = self.then.get(split, ({}, {}))
                ours, known = ({row.id: row.content for row in side.values()} for side in (own, there))
                theirs = {**self.taken_over.get(split, {}), **known}
                merged = merge(ours, {name: theirs[name] for name in theirs.keys() - stay}, ours_then, theirs_then)
                merged = merged.without(theirs.keys() - known.keys())  # where they lie is not known
                scan.findings += _said(merged, split, scan.findings)
                conflicts += [f"{split}/{name}" for name in (*merged.conflicts, *merged.lost)]
                stay |= merged.theirs
            rows[split] = [*(row for name, row in own.items() if name not in stay), *(there[name] for name in stay)]
            self.made[split] = {row.id: row.content for row in rows[split]}
        if conflicts:
            more = f" and {len(conflicts) - 3:,} more" if len(conflicts) > 3 else ""
            raise ConflictError(
                f"Others changed the same samples of {self.repo_id}: {', '.join(conflicts[:3])}{more}; "
                "nothing was published.",
                hint="Take over their version, or overrule it with --mirror.",
                report=scan,
            )
        return rows

    def _plan(self, scan: Scan, head: Head, rows: Mapping[str, Sequence[Entry]]) -> Plan:
        extra = {name for sample in scan.samples() for name in sample.extra}
        extra |= {CAPTIONS} if any(sample.captions for sample in scan.samples()) else set()
        for split, split_rows in rows.items():
            if any(row.shard for row in split_rows):
                extra |= set(head.remote.indexes[split].extra)
        return plan.make(
            rows,
            tuple(sorted(extra)),
            head.remote,
            shard_size=self.options.shard_size,
            prune=head.splits() - scan.splits.keys() if self.options.prune_splits else (),
            foreign={split: head.foreign(split) for split in head.splits() | rows.keys()},
            taken_over=self.taken_over,
            mirror=self.options.mirror,
        )

    def _older_versions(self, scan: Scan, head: Head, split: str) -> set[str]:
        """Samples that were left out now; what is on the Hub of them stays as it is there."""
        names = scan.left_out.get(split, set())
        if names and not head.is_known(split) and not names <= head.contents(split).keys():
            raise RefusedError(
                f"The index of {split!r} on the Hub does not tell what is there of the {len(names):,} samples that "
                "are left out; nothing was sent.",
                hint="Mend these samples, and upload without --skip-bad: that writes the index anew.",
            )
        return set(names)

    def _card_operation(self, planned: Plan, head: Head) -> Iterator[Operation]:
        """What becomes of the card. Its numbers are known before packing only when no shard is written.

        The card is made in any case: one that cannot be merged into is an error before anything is sent.
        """
        if not self.options.card:
            return
        action: Action = "add" if head.card is None else "update"
        text, size = self._card(planned, head), None
        if not planned.to_write:
            action, size = ("keep" if text == head.card else action), len(text.encode())
        yield Operation(remote.CARD, action, "dataset card", size)

    # --- do ---------------------------------------------------------------------------------------------------

    def _create(self, hub: Hub, scan: Scan, head: Head) -> Head:
        """Create what is missing, the repo or the branch; returns the head that the commit will stand on."""
        if head.state is None:
            hub.create_repo(self.repo_id, private=self.options.private is not False)
        if self.options.revision:
            hub.create_branch(self.repo_id, self.options.revision)
        return self._head(hub, scan)

    def _tag(self, hub: Hub, commit: str | None) -> None:
        if self.options.tag and commit and not self.is_tagged:
            hub.create_tag(self.repo_id, self.options.tag, commit)

    def _send_shards(self, hub: Hub, scan: Scan, planned: Plan, head: Head) -> None:
        """Pack and send every shard that is not on the Hub, ``workers`` at a time.

        One more is under way, so that it is packed while the end of another is sent (measured: 12 % of the time of
        four shards). Raises DataError, with all findings, when a file is not the one any more that was checked.
        """
        from qflux_hub.sending import send_shard

        missing = [shard for shard in planned.to_write if shard.digest not in self.done]
        total = sum(media.size for shard in missing for row in shard.entries for media in row.media)
        with self.progress.task("Sending", total) as task, threads_left_at_once(self.options.workers + 1) as pool:
            given_up, turns = threading.Event(), threading.Semaphore(self.options.workers)

            def advance(amount: int) -> None:
                if given_up.is_set():
                    raise CancelledError
                task.advance(amount)

            send, samples = self._sender(hub), self._samples(hub, scan, head, missing)
            under_way = [
                pool.submit(send_shard, send, shard, samples[shard.path], planned, advance, turns) for shard in missing
            ]
            try:
                for sent in as_completed(under_way):
                    digest, record, rows, new_bytes = sent.result()
                    self.done[digest] = record, rows
                    self.moved["packed"] += record.size
                    self.moved["sent"] += new_bytes
            except BaseException as error:
                given_up.set()
                if isinstance(error, DataError) and isinstance(error.report, Finding):
                    scan.findings.append(error.report)
                    error.report = scan
                raise
        self.moved["read"] += total

    def _samples(self, hub: Hub, scan: Scan, head: Head, shards: Sequence[Shard]) -> dict[str, list[Sample]]:
        """The samples of each shard, by its path: from the source, or from the Hub where its version stands."""
        found: dict[str, list[Sample]] = {}
        for split, own in scan.splits.items():
            local = {sample.id: sample for sample in own}
            mine = [shard for shard in shards if index.shard_split(shard.path) == split]
            staying = {row.id for shard in mine for row in shard.entries if row.shard}
            if staying and head.state:
                known = head.remote.indexes[split]
                there = hubrows.samples(hub, self.repo_id, head.state, split, known, staying)
                local |= {one.id: one for one in there}
            for shard in mine:
                found[shard.path] = [local[row.id] for row in shard.entries]
        return found

    def _sender(self, hub: Hub) -> Send:
        return partial(hub.send, self.repo_id, revision=self.options.revision, create_pr=self.options.create_pr)

    def _additions(self, hub: Hub, planned: Plan, head: Head) -> list[Add]:
        """The files of the commit: shards, indexes (sent here) and the card."""
        from qflux_hub.sending import send_index

        adds = []
        for shard in planned.to_write:
            record, _ = self.done[shard.digest]
            adds.append(Add(shard.path, record.size, record.sha256))
        for split in planned.splits:
            if split.index_action != "keep":
                path, known = index.path(split.name), self._index(planned, split)
                sent = send_index(self._sender(hub), path, known)
                indexcache.keep(remote.place_of(hub, self.repo_id, path), sent.sha256, known)
                self.moved["sent"] += sent.new_bytes
                adds.append(Add(path, sent.size, sent.sha256))
        if self.options.card:
            text = self._card(planned, head).encode()
            if head.card is None or text != head.card.encode():
                adds.append(Add(remote.CARD, len(text), content=text))
                remote.keep_card(hub, self.repo_id, text)
        return adds

    def _index(self, planned: Plan, split: plan.SplitPlan) -> Index:
        """The index of a split; shards that are not on the Hub yet stand in it with their expected sizes."""
        records: dict[str, ShardRecord] = {}
        rows: list[Entry] = []
        for shard in split.shards:
            expected = ShardRecord(shard.digest, "", shard.bytes), shard.entries
            known = (shard.record, shard.entries) if shard.record else self.done.get(shard.digest, expected)
            records[shard.path] = known[0]
            rows += known[1]
        return Index(planned.target, planned.extra, records, tuple(rows))

    def _card(self, planned: Plan, head: Head) -> str:
        """The card for the splits as they will be. Raises DataError for a card that cannot be merged into."""
        gone = set(head.splits()) - {split.name for split in planned.splits} if self.options.prune_splits else set()
        kept = {name: known for name, known in head.remote.indexes.items() if name not in gone and known.entries}
        splits = {name: known for name, known in kept.items() if head.is_known(name)}
        splits |= {split.name: self._index(planned, split) for split in planned.splits}
        extra = sorted({name for known in splits.values() for name in known.extra})
        return cards.dataset_card(
            head.card,
            repo_id=self.repo_id,
            splits=[_facts(name, known) for name, known in splits.items()],
            features=features(extra, plan.columns(row for known in splits.values() for row in known.entries)),
            version=__version__,
            drop=gone,
        )

    def _commit(self, hub: Hub, planned: Plan, adds: Sequence[Add], head: Head) -> Commit:
        """The one commit. When its answer is lost, the head is looked at: it may have happened."""
        deletions = [operation.path for operation in planned.deletions]
        message = self.options.commit_message or _message(planned)
        self.begin()
        try:
            return hub.commit(
                self.repo_id,
                adds,
                deletions,
                parent=head.commit,
                message=message,
                revision=self.options.revision,
                create_pr=self.options.create_pr,
            )
        except HubError:
            state = None if self.options.create_pr else hub.state(self.repo_id, self.options.revision)
            if state is None or state.commit == head.commit or state.differences(adds, deletions):
                raise
            return Commit(state.commit, f"{hub.url(self.repo_id)}/commit/{state.commit}")

    def _verify(self, hub: Hub, commit: str, planned: Plan, adds: Sequence[Add]) -> None:
        """The commit lists what was planned, and the first and last image of each new shard come back as sent."""
        state = hub.state(self.repo_id, commit)
        wrong = state.differences(adds, planned.unwanted(state.files))
        if wrong:
            raise VerificationError(
                f"{self.repo_id} at {commit[:8]} is not what was sent: {', '.join(wrong[:5])}.",
                hint="Run the same command again.",
            )
        for shard in planned.to_write:
            _, rows = self.done[shard.digest]
            files = [one for row in rows for one in row.media]
            for one in {files[0], files[-1]}:
                data = hub.read(self.repo_id, shard.path, commit, (one.offset, one.offset + one.size))
                if hashlib.sha256(data).digest() != one.sha256:
                    raise VerificationError(
                        f"{one.name} came back from {shard.path} with other bytes than were sent.",
                        hint="Run the same command again; if it stays so, the Hub's storage is damaged.",
                    )

    def _report(
        self,
        hub: Hub,
        scan: Scan,
        head: Head,
        planned: Plan,
        operations: Sequence[Operation],
        commit: Commit | None,
    ) -> UploadReport:
        private = head.state.private if head.state else self.options.private is not False
        return UploadReport(
            repo_id=self.repo_id,
            url=hub.url(self.repo_id),
            revision=self.options.revision or "main",
            commit=commit.oid if commit else head.commit,
            changed=commit is not None,
            dry_run=self.options.dry_run,
            private=private,
            splits={split.name: split.changes for split in planned.splits},
            operations=operations,
            bytes=self.moved,
            findings=scan.findings,
            counts=scan.counts(),
            commit_url=commit.url if commit else None,
            tag=None if self.is_tagged else self.options.tag,
            pull_request=commit.pull_request if commit else None,
        )


def _facts(split: str, known: Index) -> cards.SplitFacts:
    """What the card says of a split, from its index."""
    files = [one for row in known.entries for one in row.media]
    roles = Counter(media.role(one.role) for one in files)
    controls = [sum(media.role(one.role) == CONTROLS for one in row.media) for row in known.entries]
    return cards.SplitFacts(
        split,
        samples=len(known.entries),
        bytes=sum(record.size for record in known.shards.values()),
        files=f"data/{split}/*.parquet",
        controls=(min(controls), max(controls)),
        masks=roles[MASK],
        targets=roles[TARGET],
        formats=Counter(split_extension(one.name)[1].lstrip(".") for one in files),
    )


def _message(planned: Plan) -> str:
    """What changed, as a commit's title."""
    parts = []
    for split in planned.splits:
        changes = split.changes
        counted = ((changes.added, "added"), (changes.changed, "changed"), (changes.removed, "removed"))
        words = [f"{count:,} {word}" for count, word in counted if count]
        parts.append(f"{split.name}: {', '.join(words) or 'layout only'}")
    return f"Upload dataset ({'; '.join(parts)})"


def _said(merged: Merge, split: str, before: Sequence[Finding]) -> Iterator[Finding]:
    """What a merge decided, as findings that were not made ``before``."""
    told = {(finding.code, finding.sample) for finding in before}
    for names, code, what in (
        (merged.added, codes.KEPT_ON_HUB, "was added on the Hub by others; it is kept."),
        (merged.changed, codes.KEPT_ON_HUB, "was changed on the Hub by others; their version is kept."),
        (merged.conflicts, codes.EDIT_CONFLICT, "was changed here and, differently, on the Hub."),
        (merged.lost, codes.EDIT_CONFLICT, "was added or changed by others, in a file of which no index tells."),
    ):
        for name in names:
            if (code.name, (split, name)) not in told:
                yield code(f"{split}/{name}", f"{split}/{name} {what}", sample=(split, name))
