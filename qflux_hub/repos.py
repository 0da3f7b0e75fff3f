"""What a Hub says of a repo and takes for one: plain values, which need no client."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

RepoType = Literal["dataset", "model"]


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repo. ``sha256`` (hex) is known for large files only; ``blob`` is the git object's id."""

    path: str
    size: int
    blob: str
    sha256: str | None

    def holds(self, content: bytes) -> bool:
        """Whether these are its bytes, by the hash that the Hub names."""
        if self.sha256:
            return hashlib.sha256(content).hexdigest() == self.sha256
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == self.blob


@dataclass(frozen=True, slots=True)
class RepoState:
    """A repo at one commit."""

    commit: str
    private: bool
    files: Mapping[str, RemoteFile]

    def differences(self, adds: Iterable[Add], deletions: Iterable[str] = ()) -> list[str]:
        """What of a commit it does not show, in words."""
        wrong = []
        for add in adds:
            file = self.files.get(add.path)
            if file is None:
                wrong.append(f"{add.path} is missing")
            elif (file.sha256 != add.sha256) if add.content is None else not file.holds(add.content):
                wrong.append(f"{add.path} has another hash")
        return wrong + [f"{path} is still there" for path in deletions if path in self.files]


@dataclass(frozen=True, slots=True)
class Refs:
    """The names of a repo's branches, and its tags with their commits."""

    branches: frozenset[str]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Add:
    """A file of a commit: ``content`` for a small text, else the hash of what was streamed before."""

    path: str
    size: int
    sha256: str = ""
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that the Hub accepted. ``pull_request`` is its URL when it went to one."""

    oid: str
    url: str
    pull_request: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteHead:
    """What the Hub says of a file before it is fetched. ``etag`` is its SHA-256 when it is a large one, else the id of
    the git object; ``xet`` its hash in the content store, where it lies in one.
    """

    path: str
    commit: str
    size: int
    etag: str
    xet: str | None = None

    @property
    def sha256(self) -> str | None:
        """The hash of its content, if that is what the Hub names."""
        return self.etag if len(self.etag) == 64 else None


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a file, its whole size, and what the answer said of its commit and content ("" if nothing)."""

    data: bytes
    size: int
    commit: str
    sha256: str
