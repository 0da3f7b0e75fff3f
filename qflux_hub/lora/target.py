"""The repo that weights go to: what it has, whether it may be written to, and the one commit that changes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from qflux_hub.errors import (
    HubError,
    NotFoundError,
    RefusedError,
    UsageError,
    VerificationError,
    VisibilityError,
)
from qflux_hub.hub import Hub, Sent, Stream
from qflux_hub.options import LoraUploadOptions
from qflux_hub.repos import Add, Commit, RepoState

MODEL: Literal["model"] = "model"
_NO_BRANCH = ("refs/",)


@dataclass(frozen=True, slots=True)
class Head:
    """The repo as a plan finds it. ``state`` is None when there is none; ``missing`` when its branch is to be made."""

    state: RepoState | None
    missing: bool = False

    @property
    def commit(self) -> str | None:
        """The commit that is planned on."""
        return self.state.commit if self.state else None

    @property
    def sizes(self) -> set[int]:
        """Those of its files."""
        return {file.size for file in self.state.files.values()} if self.state else set()


@dataclass(slots=True)
class Target:
    """A repo, by what the options of an upload say of it."""

    hub: Hub
    repo_id: str
    options: LoraUploadOptions
    _allowed: bool = field(default=False, init=False)

    @property
    def url(self) -> str:
        """Its page."""
        return self.hub.url(self.repo_id, MODEL)

    # --- asking -----------------------------------------------------------------------------------------------

    def head(self) -> Head:
        """Its head, if it may be written to. Raises VisibilityError, RefusedError, UsageError."""
        options, revision = self.options, self.options.revision
        head = Head(None, missing=True)
        try:
            head = Head(self.hub.state(self.repo_id, revision, MODEL))
        except NotFoundError as error:
            if error.what == "revision":
                if revision and (revision.startswith(_NO_BRANCH) or len(revision) == 40):
                    raise
                head = Head(self.hub.state(self.repo_id, None, MODEL), missing=True)
        state, wish = head.state, options.private
        if state and wish is not None and wish != state.private and not options.keep_visibility:
            now, wanted = ("private", "public") if state.private else ("public", "private")
            raise VisibilityError(
                f"{self.repo_id} is {now}, but {wanted} was asked for; nothing was sent.",
                hint="Change it in the repo's settings, or upload to it as it is with --keep-visibility.",
            )
        if state and (options.tag or (revision and not head.missing)):
            self._check_names()
        return head

    def _check_names(self) -> None:
        revision, refs = self.options.revision, self.hub.refs(self.repo_id, MODEL)
        if self.options.tag in refs.tags:
            raise RefusedError(
                f"{self.repo_id} has a tag {self.options.tag!r} already; nothing was sent.",
                hint="Tags stay where they are; choose another name.",
            )
        if revision and not revision.startswith(_NO_BRANCH) and revision not in refs.branches:
            raise UsageError(
                f"{revision!r} is a tag or a commit of {self.repo_id}; nothing was sent.",
                hint=f"Uploads go to a branch: {', '.join(sorted(refs.branches))}, or a new one.",
            )

    def read(self, path: str, head: Head) -> bytes | None:
        """A small file, or None when it is not there."""
        if head.state is None or path not in head.state.files:
            return None
        return self.hub.read(self.repo_id, path, head.state.commit, repo_type=MODEL)

    def require_write(self) -> None:
        """Raises AuthError unless this account may write. Asked once."""
        if not self._allowed:
            self.hub.require_write(self.repo_id, create_pr=self.options.create_pr)
            self._allowed = True

    def modes(self, files: Sequence[tuple[str, int, bytes]]) -> dict[str, str]:
        """How each file (path, size, first bytes) is to be sent: see ``Hub.upload_modes``."""
        return self.hub.upload_modes(
            self.repo_id, files, revision=self.options.revision, create_pr=self.options.create_pr, repo_type=MODEL
        )

    # --- changing ---------------------------------------------------------------------------------------------

    def create(self, head: Head) -> Head:
        """Make the repo, or the branch, that is missing."""
        if head.state is None:
            self.hub.create_repo(self.repo_id, private=self.options.private is not False, repo_type=MODEL)
        if self.options.revision:
            self.hub.create_branch(self.repo_id, self.options.revision, MODEL)
        return self.head()

    def send(self, path: str, write: Callable[[Stream], object]) -> Sent:
        """Send one large file."""
        return self.hub.send(
            self.repo_id,
            path,
            write,
            revision=self.options.revision,
            create_pr=self.options.create_pr,
            repo_type=MODEL,
        )

    def commit(self, adds: Sequence[Add], head: Head) -> Commit:
        """The one commit. When its answer is lost, the head is looked at: it may have happened."""
        names = [add.path for add in adds if add.path.endswith(".safetensors")] or [add.path for add in adds]
        message = self.options.commit_message or f"Upload {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}"
        try:
            return self.hub.commit(
                self.repo_id,
                adds,
                [],
                parent=head.commit,
                message=message,
                revision=self.options.revision,
                create_pr=self.options.create_pr,
                repo_type=MODEL,
            )
        except HubError:
            state = None if self.options.create_pr else self.hub.state(self.repo_id, self.options.revision, MODEL)
            if state is None or state.commit == head.commit or state.differences(adds):
                raise
            return Commit(state.commit, f"{self.url}/commit/{state.commit}")

    def verify(self, commit: str, adds: Sequence[Add]) -> None:
        """Raises VerificationError unless the commit lists every file with the hash that was planned."""
        wrong = self.hub.state(self.repo_id, commit, MODEL).differences(adds)
        if wrong:
            raise VerificationError(
                f"{self.repo_id} at {commit[:8]} is not what was sent: {', '.join(wrong[:5])}.",
                hint="Run the same command again.",
            )

    def tag(self, commit: str | None) -> None:
        """Give the commit its tag, if one is wanted."""
        if self.options.tag and commit:
            self.hub.create_tag(self.repo_id, self.options.tag, commit, MODEL)
