"""Discussions and pull requests: numbered threads of events; a pull request also has a ref, ``refs/pr/<num>``."""

from __future__ import annotations

import json
import secrets
import sqlite3
from dataclasses import dataclass, replace
from typing import Any

from qflux_hub.localhub.db import now_ms
from qflux_hub.localhub.gitobjects import Entry
from qflux_hub.localhub.problems import HttpError
from qflux_hub.localhub.store import Commit, Repo, Store
from qflux_hub.localhub.trees import TreeEditor, Trees


@dataclass(frozen=True, slots=True)
class Discussion:
    """One thread. ``base`` and ``merged`` belong to pull requests: the target ref, and the commit that merged it."""

    num: int
    title: str
    author: str
    status: str
    pull: bool
    base: str
    merged: str
    created: int

    @property
    def ref(self) -> str:
        """The ref of a pull request."""
        return f"refs/pr/{self.num}"

    @property
    def is_open(self) -> bool:
        """Whether it waits for something; drafts do."""
        return self.status in ("open", "draft")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a thread."""

    id: str
    type: str
    author: str
    created: int
    data: dict[str, Any]


def open_pull(
    db: sqlite3.Connection, repo: Repo, author: str, title: str, text: str, base: str, *, draft: bool
) -> Discussion:
    """A new pull request; its ref is made by whoever knows the first commit."""
    return _open(db, repo, author, title, text, pull=True, base=base, status="draft" if draft else "open")


def open_discussion(db: sqlite3.Connection, repo: Repo, author: str, title: str, text: str) -> Discussion:
    """A new discussion."""
    return _open(db, repo, author, title, text, pull=False, base="", status="open")


def get(db: sqlite3.Connection, repo: Repo, num: int) -> Discussion:
    """A thread by its number; 404 when there is none."""
    row = db.execute("SELECT * FROM discussion WHERE repo = ? AND num = ?", (repo.id, num)).fetchone()
    if row is None:
        raise HttpError(404, f"There is no discussion {num} in {repo.full_name}")
    return _discussion(row)


def find(db: sqlite3.Connection, repo: Repo) -> list[Discussion]:
    """All threads of a repo, the newest first."""
    rows = db.execute("SELECT * FROM discussion WHERE repo = ? ORDER BY num DESC", (repo.id,)).fetchall()
    return [_discussion(row) for row in rows]


def events(db: sqlite3.Connection, repo: Repo, num: int) -> list[Event]:
    """What happened in a thread, in order."""
    query = "SELECT * FROM event WHERE repo = ? AND num = ? ORDER BY created, rowid"
    return [_event(row) for row in db.execute(query, (repo.id, num)).fetchall()]


def event(db: sqlite3.Connection, repo: Repo, num: int, event_id: str) -> Event:
    """One event of a thread; 404 when there is none."""
    query = "SELECT * FROM event WHERE repo = ? AND num = ? AND id = ?"
    row = db.execute(query, (repo.id, num, event_id)).fetchone()
    if row is None:
        raise HttpError(404, f"There is no event {event_id} in discussion {num}")
    return _event(row)


def add_event(db: sqlite3.Connection, repo: Repo, num: int, kind: str, author: str, data: dict[str, Any]) -> Event:
    """Append an event."""
    added = Event(secrets.token_hex(12), kind, author, now_ms(), data)
    db.execute(
        "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)",
        (added.id, repo.id, num, kind, author, added.created, json.dumps(data)),
    )
    return added


def rewrite(db: sqlite3.Connection, old: Event, change: dict[str, Any]) -> Event:
    """Change what an event says."""
    data = {**old.data, **change, "changed": now_ms()}
    db.execute("UPDATE event SET data = ? WHERE id = ?", (json.dumps(data), old.id))
    return replace(old, data=data)


def update(
    db: sqlite3.Connection,
    repo: Repo,
    num: int,
    *,
    title: str | None = None,
    status: str | None = None,
    merged: str = "",
) -> None:
    """Change the thread itself; None leaves a field as it is."""
    db.execute(
        "UPDATE discussion SET title = coalesce(?, title), status = coalesce(?, status), merged = ? "
        "WHERE repo = ? AND num = ?",
        (title, status, merged, repo.id, num),
    )


def note_commit(db: sqlite3.Connection, repo: Repo, ref: str, commit: Commit) -> None:
    """Record a commit in the pull request that it belongs to, if it belongs to one."""
    if ref.startswith("refs/pr/"):
        num = int(ref.rpartition("/")[2])
        add_event(db, repo, num, "commit", commit.author, {"subject": commit.title, "oid": commit.oid})


Changes = dict[str, tuple[Entry | None, Entry | None]]


def changes(store: Store, trees: Trees, repo: Repo, pull: Discussion) -> Changes:
    """What a pull request changes against the commit where it left its base: path -> (old, new)."""
    head = store.resolve(repo, pull.ref)
    origin = _left_at(store, repo, pull, head)
    return trees.diff(origin.tree if origin else None, head.tree)


def conflicts(store: Store, trees: Trees, repo: Repo, pull: Discussion) -> list[str]:
    """The paths that a pull request and its base changed differently."""
    if pull.merged or store.ref(repo, pull.base) is None:
        return []
    origin = _left_at(store, repo, pull, store.resolve(repo, pull.ref))
    theirs = trees.diff(origin.tree if origin else None, store.resolve(repo, pull.base).tree)
    ours = changes(store, trees, repo, pull)
    return sorted(path for path in ours.keys() & theirs.keys() if ours[path][1] != theirs[path][1])


def merge(db: sqlite3.Connection, store: Store, trees: Trees, repo: Repo, pull: Discussion, author: str) -> Commit:
    """Apply a pull request to its base as a commit with two parents, inside the caller's transaction."""
    if not pull.pull or pull.status != "open":
        raise HttpError(400, f"Discussion {pull.num} is not an open pull request (status: {pull.status})")
    clashing = conflicts(store, trees, repo, pull)
    if clashing:
        raise HttpError(409, f"Cannot merge: both sides changed {', '.join(clashing[:10])}")
    head, base = store.resolve(repo, pull.ref), store.resolve(repo, pull.base)
    editor = TreeEditor(trees, base.tree)
    for path, (old, new) in changes(store, trees, repo, pull).items():
        if new is not None:
            editor.put(path, new.oid)
        elif old is not None:
            editor.remove(path)
    title = f"{pull.title} (#{pull.num})"
    made = store.add_commit(db, repo, editor.save(db), (base.oid, head.oid), author, title, "")
    store.point(db, repo, pull.base, made.oid)
    update(db, repo, pull.num, status="merged", merged=made.oid)
    add_event(db, repo, pull.num, "status-change", author, {"status": "merged"})
    return made


def _left_at(store: Store, repo: Repo, pull: Discussion, head: Commit) -> Commit | None:
    """The newest commit of the pull request's history that its base has too."""
    base = store.commit(repo, pull.merged).parents[0] if pull.merged else store.resolve(repo, pull.base).oid
    shared = {commit.oid for commit in store.log(repo, store.commit(repo, base))}
    return next((commit for commit in store.log(repo, head) if commit.oid in shared), None)


def _open(
    db: sqlite3.Connection, repo: Repo, author: str, title: str, text: str, *, pull: bool, base: str, status: str
) -> Discussion:
    num = db.execute("SELECT coalesce(max(num), 0) + 1 FROM discussion WHERE repo = ?", (repo.id,)).fetchone()[0]
    thread = Discussion(num, title, author, status, pull, base, "", now_ms())
    db.execute(
        "INSERT INTO discussion VALUES (?, ?, ?, ?, ?, ?, ?, '', ?)",
        (repo.id, num, title, author, status, pull, base, thread.created),
    )
    if text:
        add_event(db, repo, num, "comment", author, {"raw": text})
    return thread


def _discussion(row: sqlite3.Row) -> Discussion:
    return Discussion(
        row["num"],
        row["title"],
        row["author"],
        row["status"],
        bool(row["pull"]),
        row["base"],
        row["merged"],
        row["created"],
    )


def _event(row: sqlite3.Row) -> Event:
    return Event(row["id"], row["type"], row["author"], row["created"], json.loads(row["data"]))
