"""Discussions and pull requests: numbered threads of events; a pull request also has a ref, ``refs/pr/<num>``."""

from __future__ import annotations

import json
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any

from qflux_hub.localhub.db import now_ms
from qflux_hub.localhub.problems import HttpError
from qflux_hub.localhub.store import Commit, Repo


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


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a thread."""

    id: str
    type: str
    author: str
    created: int
    data: dict[str, Any]


def open_pull(db: sqlite3.Connection, repo: Repo, author: str, title: str, text: str, base: str) -> Discussion:
    """A new pull request without a ref."""
    return _open(db, repo, author, title, text, pull=True, base=base, status="draft" if text else "open")


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
    rows = db.execute(
        "SELECT * FROM event WHERE repo = ? AND num = ? ORDER BY created, rowid", (repo.id, num)
    ).fetchall()
    return [Event(row["id"], row["type"], row["author"], row["created"], json.loads(row["data"])) for row in rows]


def add_event(db: sqlite3.Connection, repo: Repo, num: int, kind: str, author: str, data: dict[str, Any]) -> Event:
    """Append an event."""
    event = Event(secrets.token_hex(12), kind, author, now_ms(), data)
    db.execute(
        "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)",
        (event.id, repo.id, num, kind, author, event.created, json.dumps(data)),
    )
    return event


def note_commit(db: sqlite3.Connection, repo: Repo, ref: str, commit: Commit) -> None:
    """Record a commit in the pull request that it belongs to, if it belongs to one."""
    if ref.startswith("refs/pr/"):
        num = int(ref.rpartition("/")[2])
        add_event(db, repo, num, "commit", commit.author, {"subject": commit.title, "oid": commit.oid})


def retitle(db: sqlite3.Connection, repo: Repo, num: int, title: str, text: str) -> None:
    """Give a thread that was just opened its title and first comment."""
    db.execute("UPDATE discussion SET title = ? WHERE repo = ? AND num = ?", (title, repo.id, num))
    if text:
        add_event(db, repo, num, "comment", get(db, repo, num).author, {"raw": text})


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
