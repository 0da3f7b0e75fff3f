"""Upload LoRA weights: check all, plan, send what is new, make it visible in one commit, look whether it is there.

    collect -> check -> head of the repo -> hash -> plan -> (dry run ends) -> send -> one commit -> verify

Everything about the call and the files is checked before the first request. A file that the repo has is known by its
hash from the one listing that the plan is made on; when all are there, nothing is written at all.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from qflux_hub import __version__, codes
from qflux_hub.errors import ConflictError, DataError, RefusedError, UsageError
from qflux_hub.hub import Stream, check_ref, check_repo_id, open_hub
from qflux_hub.lora.card import CARD, CardInput, base_of, check_card, model_card
from qflux_hub.lora.describe import Lora
from qflux_hub.lora.family import named_base
from qflux_hub.lora.local import Weights, is_unchanged, learn_sha256, read_weights
from qflux_hub.lora.parcel import Item, Parcel, pack_parcel
from qflux_hub.lora.results import Action, FileAction, LoraUpload, RepoUrl
from qflux_hub.lora.sources import Source
from qflux_hub.lora.target import MODEL, Head, Target
from qflux_hub.lora.values import Wanted
from qflux_hub.options import LoraUploadKeywords, LoraUploadOptions
from qflux_hub.report import Progress
from qflux_hub.repos import Add, Commit
from qflux_hub.state import now_ns

CONFLICTS = 3
"""How often a plan is made anew because someone else committed first."""
_PIECE = 4 * 1024 * 1024


def upload_lora(
    src: Source,
    repo_id: str,
    private: bool | None = None,
    *,
    progress: Progress | None = None,
    **options: Unpack[LoraUploadKeywords],
) -> LoraUpload:
    """Upload LoRA weights, and what goes along, to the model repo ``repo_id``, in one commit.

    ``src`` is a file, a folder that holds one (or the checkpoints of a training, see ``checkpoint``), a pattern, or
    several files that belong together. ``private``: None creates a private repo and leaves an existing one as it is.
    The other options and their defaults are those of ``options.LoraUploadOptions``.

    Returns the report; ``changed`` is False when the repo had everything, and then nothing was written. Raises
    DataError and RefusedError with all findings, NotFoundError, UsageError, AuthError, VisibilityError, ConflictError,
    HubError, VerificationError; when it raises, the repo shows what it showed before.
    """
    started = time.perf_counter()
    chosen = LoraUploadOptions(private=private, **options)
    check_ref(chosen.revision)
    check_ref(chosen.tag)
    _check_base(chosen.base_model)
    with tempfile.TemporaryDirectory(prefix="qflux-") as scratch:
        report = _Sync(check_repo_id(repo_id), chosen, progress or Progress(), Path(scratch)).run(src)
    report.seconds = time.perf_counter() - started
    return report


def _check_base(base: str | None) -> None:
    """Raises UsageError for a base model that the Hub cannot have: the card would link nowhere."""
    try:
        check_repo_id("user/name" if base is None else base)
    except UsageError as error:
        hint = "It is user/name, as in Qwen/Qwen-Image-Edit."
        raise UsageError(f"--base-model {base!r} is no id of a model on the Hub.", hint=hint) from error


def upload_lora_safetensors(
    src_path: Source,
    repo_id: str,
    *,
    private: bool | None = None,
    progress: Progress | None = None,
    **options: Unpack[LoraUploadKeywords],
) -> RepoUrl:
    """``upload_lora``, as documented: returns the URL of the repo, a text whose ``report`` says what was done.

    ``token``, ``remote_name``, ``commit_message``, ``extra_files`` ({local path: path in the repo}) and the other
    options are those of ``upload_lora``.
    """
    report = upload_lora(src_path, repo_id, private, progress=progress, **options)
    url = RepoUrl(report.url)
    url.report = report
    return url


@dataclass(slots=True)
class _Sync:
    """One run. ``sent`` remembers the hashes that are on the Hub, so that a plan made anew sends nothing twice."""

    repo_id: str
    options: LoraUploadOptions
    progress: Progress
    scratch: Path
    sent: set[str] = field(default_factory=set)
    new_bytes: int = 0

    def run(self, source: Source) -> LoraUpload:
        parcel = pack_parcel(source, self.options, self.scratch)
        self._stop_at_errors(parcel, "")
        if self.options.card and parcel.own_card:
            check_card(_text(next(item.content or b"" for item in parcel.items if item.path == CARD)))
        with open_hub(self.options.hub, self.options.token) as hub:
            parcel.findings += hub.findings
            target = Target(hub, self.repo_id, self.options)
            head = target.head()
            if not all(weights.size in head.sizes for weights in parcel.weights):
                target.require_write()  # where all may be there already, by their sizes, it is worth to hash first
            for weights in parcel.weights:
                self._read(weights, head)
                parcel.findings += weights.lora.findings
                weights.lora.findings = []
            self._stop_at_errors(parcel, target.url)
            return self._sync(target, parcel, head)

    def _read(self, weights: Weights, head: Head) -> None:
        """Hash a file that the repo may have, by its size; look at the numbers of one that it has not.

        A file of another size is new anyway: its hash is computed while it is sent.
        """
        there = head.state.files.values() if head.state else ()
        if not any(file.size == weights.size for file in there):
            read_weights(weights, self.progress, Wanted(sha256=self.options.dry_run, values=True))
            return
        read_weights(weights, self.progress, Wanted())
        if not any(file.sha256 == weights.sha256 for file in there):
            read_weights(weights, self.progress, Wanted(values=True))

    def _stop_at_errors(self, parcel: Parcel, url: str) -> None:
        errors = [one for one in parcel.findings if one.severity == "error"]
        if not errors:
            return
        report = LoraUpload(self.repo_id, url, _main(parcel), findings=parcel.findings)
        if any(one.code == codes.SECRET_FOUND.name for one in errors):
            raise RefusedError(
                "What was to be uploaded holds what looks like a secret; nothing was sent.",
                hint="Take it out and revoke it. --scrub uploads cleaned copies, --allow-leaks the files as they are.",
                report=report,
            )
        counted = "1 error" if len(errors) == 1 else f"{len(errors):,} errors"
        message = f"{counted} in what was to be uploaded; nothing was sent."
        hint = f"Mend {'it' if len(errors) == 1 else 'them'}; `qflux inspect-lora` shows what is wrong with weights."
        raise DataError(message, hint=hint, report=report)

    # --- plan -------------------------------------------------------------------------------------------------

    def _sync(self, target: Target, parcel: Parcel, head: Head) -> LoraUpload:
        conflicts = 0
        found = list(parcel.findings)
        while conflicts < CONFLICTS:
            parcel.findings = list(found)
            items = [*parcel.items, *self._card(target, parcel, head)]
            files = [_plan(item, head) for item in items]
            if self.options.dry_run:
                return self._report(target, parcel, head, files, None)
            writes = any(file.action != "same" for file in files)
            if head.missing:
                target.require_write()
                head = target.create(head)
                continue  # others may have been faster: what is there now is planned on
            if not writes:
                target.tag(head.commit)
                return self._report(target, parcel, head, files, None)
            target.require_write()
            self._check_card(target, items, files)
            adds = self._send(target, items, files)
            try:
                commit = target.commit(adds, head)
            except ConflictError:
                conflicts += 1
                head = target.head()
                continue
            target.verify(commit.oid, adds)
            target.tag(commit.oid)
            files = [replace(file, sha256=item.sha256) for file, item in zip(files, items, strict=True)]
            return self._report(target, parcel, head, files, commit)
        raise ConflictError(
            f"{self.repo_id} changed {CONFLICTS} times while this upload was ready to commit; nothing was published.",
            hint="Run the same command again; what was sent already is not sent again.",
        )

    def _card(self, target: Target, parcel: Parcel, head: Head) -> Iterator[Item]:
        """The card, merged into the one that is there; none where the user brings one, or wants none."""
        if not self.options.card or parcel.own_card:
            return
        existing = target.read(CARD, head)
        lora = parcel.weights[0].lora
        named = next(filter(None, map(named_base, parcel.weights[0].configs.values())), None)
        given = CardInput(
            self.repo_id,
            lora,
            [item.path for item in parcel.items if item.weights],
            base_of(lora, self.options.base_model, named),
            self.options.trigger,
            parcel.gallery,
        )
        text = None if existing is None else _text(existing)
        content = model_card(text, given, __version__, parcel.findings.append).encode()
        yield Item(CARD, Path(CARD), len(content), content)

    def _check_card(self, target: Target, items: Sequence[Item], files: Sequence[FileAction]) -> None:
        """The Hub refuses a whole commit for its card, so it is asked before the weights are sent."""
        if any(file.path == CARD and file.action != "same" for file in files):
            target.hub.check_card(_text(next(item.content or b"" for item in items if item.path == CARD)), MODEL)

    # --- do ---------------------------------------------------------------------------------------------------

    def _send(self, target: Target, items: Sequence[Item], files: Sequence[FileAction]) -> list[Add]:
        """Send the content of what is added or updated; returns the files of the commit."""
        by_path = {item.path: item for item in items}
        wanted = [by_path[file.path] for file in files if file.action in ("add", "update")]
        modes = target.modes([(item.path, item.size, _sample(item)) for item in wanted])
        adds = []
        for file in files:
            item = by_path[file.path]
            if file.action == "same":
                continue
            if modes.get(file.path) == "ignored":
                raise RefusedError(
                    f"The repo's .gitignore leaves out {file.path}; nothing was published.",
                    hint="Choose another name, or change .gitignore on the Hub.",
                )
            if file.action != "copy" and modes.get(file.path) == "regular" and item.content is not None:
                adds.append(Add(file.path, file.size, content=item.content))
                continue
            if file.action != "copy" and item.sha256 not in self.sent:
                self._send_one(target, item)
            adds.append(Add(file.path, file.size, item.sha256))
        return adds

    def _send_one(self, target: Target, item: Item) -> None:
        """Send one file, and make sure that what was sent is what was hashed."""
        started = now_ns()
        with self.progress.task("Sending", item.size) as task:

            def write(sink: Stream) -> None:
                if item.content is not None:
                    sink.write(item.content)
                    task.advance(item.size)
                    return
                with item.file.open("rb", buffering=0) as opened:
                    while piece := opened.read(_PIECE):
                        sink.write(piece)
                        task.advance(len(piece))

            sent = target.send(item.path, write)
        unchanged = sent.size == item.size and (item.weights is None or is_unchanged(item.weights))
        if not unchanged or (item.sha256 and sent.sha256 != item.sha256):
            raise DataError(
                f"{item.file} changed while it was sent; nothing was published.",
                hint="A trainer may be writing it. Run the same command again when it is done.",
            )
        if item.weights is not None and not item.sha256:
            learn_sha256(item.weights, sent.sha256, started)
        self.sent.add(sent.sha256)
        self.new_bytes += sent.new_bytes

    def _report(
        self, target: Target, parcel: Parcel, head: Head, files: Sequence[FileAction], commit: Commit | None
    ) -> LoraUpload:
        return LoraUpload(
            repo_id=self.repo_id,
            url=target.url,
            lora=_main(parcel),
            commit=commit.oid if commit else head.commit,
            changed=commit is not None,
            dry_run=self.options.dry_run,
            private=head.state.private if head.state else self.options.private is not False,
            revision=self.options.revision or "main",
            files=files,
            sent=self.new_bytes,
            lane=target.hub.lane,
            findings=parcel.findings,
            commit_url=commit.url if commit else None,
            pull_request=commit.pull_request if commit else None,
        )


def _main(parcel: Parcel) -> Lora | None:
    return parcel.weights[0].lora if parcel.weights else None


def _plan(item: Item, head: Head) -> FileAction:
    """What becomes of one file, by the one listing of the repo."""

    def action(what: Action, reason: str) -> FileAction:
        of = f", of {item.checkpoint}" if item.checkpoint else ""
        return FileAction(item.path, what, reason + of, item.size, item.sha256)

    files: Mapping[str, Any] = head.state.files if head.state else {}
    there = files.get(item.path)
    if (
        there is not None
        and there.size == item.size
        and item.git_or_sha256(there.sha256) == (there.sha256 or there.blob)
    ):
        return action("same", "the repo has it")
    for other in files.values():
        if other.sha256 and other.sha256 == item.sha256:
            return action("copy", f"the repo has it as {other.path}")
    if there is None:
        return action("add", "new")
    differs = f"{there.size:,} bytes there" if there.size != item.size else "other content"
    return action("update", differs)


def _sample(item: Item) -> bytes:
    if item.content is not None:
        return item.content[:512]
    with item.file.open("rb") as opened:
        return os.pread(opened.fileno(), 512, 0)


def _text(data: bytes) -> str:
    """A card's text, its line ends and byte order mark kept."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{CARD} is not UTF-8: byte {error.start}.", hint="Correct it, or use --no-card.") from error
