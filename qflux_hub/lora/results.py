"""What uploads and downloads of LoRA weights return: reports, and texts that carry them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from qflux_hub.lora.describe import Lora
from qflux_hub.report import Finding

Action = Literal["add", "update", "same", "copy"]


@dataclass(frozen=True, slots=True)
class FileAction:
    """One file of the repo and what becomes of it, with its reason in words."""

    path: str
    action: Action
    reason: str
    size: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """The action as ``--json`` prints it."""
        return {
            "path": self.path,
            "action": self.action,
            "reason": self.reason,
            "size": self.size,
            "sha256": self.sha256,
        }


@dataclass(slots=True)
class LoraUpload:
    """What an upload did, or with ``dry_run`` would do. ``sent`` are the bytes that were new to the Hub."""

    repo_id: str
    url: str
    lora: Lora | None
    commit: str | None = None
    changed: bool = False
    dry_run: bool = False
    private: bool = True
    revision: str = "main"
    files: Sequence[FileAction] = ()
    sent: int = 0
    lane: str = ""
    findings: list[Finding] = field(default_factory=list)
    commit_url: str | None = None
    pull_request: str | None = None
    seconds: float = 0.0

    @property
    def answer(self) -> str:
        """The one thing a script wants, as ``--quiet`` prints it: where the weights are to be seen."""
        if self.pull_request or self.commit_url:
            return self.pull_request or self.commit_url or ""
        return f"{self.url}/commit/{self.commit}" if self.commit else self.url

    def to_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "repo_id": self.repo_id,
            "url": self.url,
            "revision": self.revision,
            "commit": self.commit,
            "changed": self.changed,
            "dry_run": self.dry_run,
            "private": self.private,
            "files": [file.to_dict() for file in self.files],
            "bytes": {"sent": self.sent},
            "lora": self.lora.to_dict() if self.lora else None,
            "findings": [finding.to_dict() for finding in self.findings],
            "seconds": round(self.seconds, 3),
        }


class RepoUrl(str):
    """The URL of a repo; ``report`` says what the upload did."""

    __slots__ = ("report",)
    report: LoraUpload

    def to_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return self.report.to_dict()


@dataclass(slots=True)
class LoraDownload:
    """What a download did. ``verified``: the file has the hash that the Hub names, or named when it was cached."""

    repo_id: str
    revision: str
    commit: str
    path: str
    filename: str
    size: int
    sha256: str | None
    verified: bool
    from_cache: bool
    received: int
    lora: Lora
    lane: str = ""
    findings: Sequence[Finding] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "repo_id": self.repo_id,
            "revision": self.revision,
            "commit": self.commit,
            "path": self.path,
            "size": self.size,
            "sha256": self.sha256,
            "verified": self.verified,
            "from_cache": self.from_cache,
            "bytes": {"received": self.received},
            "lora": self.lora.to_dict(),
            "findings": [finding.to_dict() for finding in self.findings],
            "seconds": round(self.seconds, 3),
        }


class LocalPath(str):
    """The path of a file that was downloaded; ``report`` says how."""

    __slots__ = ("report",)
    report: LoraDownload

    @property
    def answer(self) -> str:
        """The one thing a script wants, as ``--quiet`` prints it: the path."""
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return self.report.to_dict()
