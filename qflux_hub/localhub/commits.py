"""Making commits: the operations that a client sends become the next commit of a branch, or do not happen at all."""

from __future__ import annotations

import base64
import binascii
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from qflux_hub.localhub.db import Database
from qflux_hub.localhub.gitobjects import blob_id, pointer
from qflux_hub.localhub.lfs import LargeFiles, check_sha256
from qflux_hub.localhub.patterns import check_path, default_attributes
from qflux_hub.localhub.problems import HttpError, no_revision
from qflux_hub.localhub.store import MAIN, Commit, Ref, Repo, Store
from qflux_hub.localhub.trees import TreeEditor, Trees

LINE_BYTES = 64 * 1024 * 1024
"""The longest line of a commit: a regular file in base64. Larger files have to go through LFS or Xet."""

STALE = "The branch was updated since you opened this page. Please refresh and try again."


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a commit."""

    title: str
    message: str
    parent: str | None


class Committer:
    """Writes commits to the repos of one hub directory."""

    def __init__(self, db: Database, store: Store, trees: Trees, large: LargeFiles) -> None:
        self._db = db
        self._store = store
        self._trees = trees
        self._large = large

    def begin_repo(self, db: sqlite3.Connection, repo: Repo, author: str) -> Commit:
        """The first commit of a new repo, with its ``.gitattributes``."""
        editor = TreeEditor(self._trees, None)
        editor.put(".gitattributes", save_blob(db, default_attributes(repo.type).encode()))
        first = self._store.add_commit(db, repo, editor.save(db), (), author, "initial commit", "")
        self._store.point(db, repo, MAIN, first.oid)
        return first

    def branch_ref(self, repo: Repo, revision: str) -> Ref:
        """The ref that a commit to ``revision`` moves; 404 when it is not a branch or pull request."""
        name = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
        ref = self._store.ref(repo, name)
        if ref is None or name.startswith("refs/tags/"):
            raise no_revision(revision)
        return ref

    def commit(self, db: sqlite3.Connection, repo: Repo, ref: Ref, author: str, body: BinaryIO) -> Commit:
        """Apply a commit body (one JSON object per line) on top of a ref, inside the caller's transaction.

        412 when the body names a parent that is not the ref's commit. Regular files are stored as they are read, so
        memory holds one file at a time.
        """
        lines = _lines(body)
        header = _header(next(lines, None))
        if header.parent is not None and not ref.oid.startswith(header.parent.lower()):
            raise HttpError(412, STALE)
        head = self._store.commit(repo, ref.oid)
        editor = TreeEditor(self._trees, head.tree)
        for key, value in lines:
            self._apply(db, repo, editor, key, value)
        commit = self._store.add_commit(db, repo, editor.save(db), (head.oid,), author, header.title, header.message)
        self._store.point(db, repo, ref.name, commit.oid)
        return commit

    def _apply(self, db: sqlite3.Connection, repo: Repo, editor: TreeEditor, key: str, value: dict[str, Any]) -> None:
        path = value.get("path")
        if not isinstance(path, str):
            raise HttpError(400, f"A {key} needs a path")
        if key == "file":
            editor.put(check_path(path), save_blob(db, _content(value)))
        elif key == "lfsFile":
            editor.put(check_path(path), self._save_pointer(db, repo, path, value))
        elif key in ("deletedFile", "deletedFolder", "deletedEntry"):
            if not editor.remove(check_path(path.rstrip("/"))):
                raise HttpError(404, f"Cannot delete {path!r}: it does not exist", code="EntryNotFound")
        else:
            raise HttpError(400, f"Unknown operation in a commit: {key!r}")

    def _save_pointer(self, db: sqlite3.Connection, repo: Repo, path: str, value: dict[str, Any]) -> str:
        sha256 = check_sha256(value.get("oid"))
        content = self._large.held(db, repo.id, sha256)
        if content is None:
            raise HttpError(400, f"{path}: the LFS object {sha256} was not uploaded to this repo")
        if value.get("size") not in (None, content.size):
            raise HttpError(400, f"{path}: the LFS object {sha256} has {content.size} bytes, not {value['size']}")
        text = pointer(sha256, content.size)
        oid = blob_id(text)
        db.execute("INSERT OR IGNORE INTO blob VALUES (?, ?, ?, ?)", (oid, content.size, sha256, text))
        return oid


def save_blob(db: sqlite3.Connection, data: bytes) -> str:
    """Store a regular file's bytes, inside the caller's transaction."""
    oid = blob_id(data)
    db.execute("INSERT OR IGNORE INTO blob VALUES (?, ?, NULL, ?)", (oid, len(data), data))
    return oid


def _lines(body: BinaryIO) -> Iterator[tuple[str, dict[str, Any]]]:
    while line := body.readline(LINE_BYTES + 1):
        if len(line) > LINE_BYTES:
            raise HttpError(
                413, f"A regular file in a commit is too large: send it through LFS or Xet (limit {LINE_BYTES})"
            )
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            raise HttpError(400, f"A line of the commit is not JSON: {error}") from error
        if not isinstance(item, dict) or not isinstance(item.get("value"), dict):
            raise HttpError(400, "A line of the commit is not an object with key and value")
        yield str(item.get("key")), item["value"]


def _header(line: tuple[str, dict[str, Any]] | None) -> Header:
    if line is None or line[0] != "header":
        raise HttpError(400, "A commit begins with its header")
    title, _, rest = str(line[1].get("summary") or "").strip().partition("\n")
    if not title:
        raise HttpError(400, "A commit needs a summary")
    message = "\n\n".join(part for part in (rest.strip(), str(line[1].get("description") or "").strip()) if part)
    parent = line[1].get("parentCommit")
    if parent is not None and not isinstance(parent, str):
        raise HttpError(400, "parentCommit is a commit id")
    return Header(title, message, parent or None)


def _content(value: dict[str, Any]) -> bytes:
    text = value.get("content")
    if not isinstance(text, str):
        raise HttpError(400, f"{value['path']}: no content")
    if value.get("encoding", "utf-8") != "base64":
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise HttpError(400, f"{value['path']}: the content is not base64") from error
