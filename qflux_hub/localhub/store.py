"""Repos, their refs and their history: what exists, who sees it, and what a revision means."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass

from qflux_hub.localhub.accounts import Caller
from qflux_hub.localhub.db import Database, now_ms
from qflux_hub.localhub.gitobjects import object_id, pack_commit
from qflux_hub.localhub.patterns import check_ref_name, check_repo_name
from qflux_hub.localhub.problems import HttpError, forbidden, no_repo, no_revision

TYPES = ("model", "dataset")
MAIN = "refs/heads/main"
_SHA = re.compile(r"[0-9a-f]{5,40}")


@dataclass(frozen=True, slots=True)
class Repo:
    """One repo. ``created`` is in milliseconds; ``gated`` is '', 'auto' or 'manual'."""

    id: int
    type: str
    namespace: str
    name: str
    private: bool
    gated: str
    created: int

    @property
    def full_name(self) -> str:
        """``namespace/name`` as it was written when the repo was created."""
        return f"{self.namespace}/{self.name}"

    @property
    def page(self) -> str:
        """The path of its page, without host: ``/datasets/me/ds`` or ``/me/model``."""
        return f"/{self.full_name}" if self.type == "model" else f"/{self.type}s/{self.full_name}"


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit. ``created`` is in milliseconds."""

    oid: str
    tree: str
    parents: tuple[str, ...]
    author: str
    created: int
    title: str
    message: str


@dataclass(frozen=True, slots=True)
class Ref:
    """A branch, tag or pull request head under its full name (``refs/heads/main``)."""

    name: str
    oid: str

    @property
    def short(self) -> str:
        """The name without ``refs/heads/`` or ``refs/tags/``; other refs keep theirs."""
        return re.sub(r"^refs/(heads|tags)/", "", self.name)


class Store:
    """Repos, refs and commits of one hub directory."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # -- repos

    def create(self, db: sqlite3.Connection, repo_type: str, namespace: str, name: str, *, private: bool) -> Repo:
        """A new repo without commits, inside the caller's transaction; 409 when the name is taken."""
        check_type(repo_type)
        check_repo_name(name)
        place = (repo_type, namespace, name)
        known = db.execute("SELECT * FROM repo WHERE type = ? AND namespace = ? AND name = ?", place).fetchone()
        if known is not None:
            repo = _repo(known)
            message = f"You already created this {repo_type} repo: {repo.full_name}"
            raise HttpError(409, message, headers={"X-Existing-Repo": repo.page})
        db.execute("DELETE FROM alias WHERE type = ? AND namespace = ? AND name = ?", place)
        db.execute(
            "INSERT INTO repo (type, namespace, name, private, created) VALUES (?, ?, ?, ?, ?)",
            (repo_type, namespace, name, private, now_ms()),
        )
        return _repo(_row_of(db, repo_type, namespace, name))

    def find(self, repo_type: str, repo_id: str, caller: Caller) -> Repo:
        """The repo that the caller means, by its present or an earlier name, in any case; 404 or 401 otherwise."""
        namespace, slash, name = repo_id.partition("/")
        if repo_type not in TYPES:
            raise HttpError(404, f"This hub keeps models and datasets; there are no {repo_type}s", code="RepoNotFound")
        row = _row_of(self._db.connection, repo_type, namespace, name) if slash else None
        if row is None or (row["private"] and not caller.owns(row["namespace"])):
            raise no_repo(caller.is_anonymous)
        return _repo(row)

    def by_id(self, repo: int) -> Repo | None:
        """The repo of a number that was handed out earlier, if it still exists."""
        row = self._db.connection.execute("SELECT * FROM repo WHERE id = ?", (repo,)).fetchone()
        return _repo(row) if row else None

    def search(
        self, repo_type: str, caller: Caller, *, author: str | None = None, search: str | None = None
    ) -> list[Repo]:
        """The repos that the caller may see, the one created last first."""
        query = "SELECT * FROM repo WHERE type = ?"
        values: list[str] = [repo_type]
        if author:
            query, values = query + " AND namespace = ?", [*values, author]
        if search:
            query, values = query + " AND instr(lower(namespace || '/' || name), ?)", [*values, search.lower()]
        rows = self._db.connection.execute(query + " ORDER BY created DESC, id DESC", values).fetchall()
        return [_repo(row) for row in rows if not row["private"] or caller.owns(row["namespace"])]

    def move(self, db: sqlite3.Connection, repo: Repo, namespace: str, name: str) -> None:
        """Give the repo another name; the old one keeps leading to it until it is taken again."""
        check_repo_name(name)
        other = db.execute("SELECT id FROM repo WHERE type = ? AND namespace = ? AND name = ?",
                           (repo.type, namespace, name)).fetchone()  # fmt: skip
        if other is not None and other["id"] != repo.id:
            raise HttpError(409, f"A {repo.type} repository called `{namespace}/{name}` already exists")
        place = (repo.type, namespace, name)
        db.execute("DELETE FROM alias WHERE type = ? AND namespace = ? AND name = ?", place)
        db.execute("UPDATE repo SET namespace = ?, name = ? WHERE id = ?", (namespace, name, repo.id))
        db.execute("INSERT OR REPLACE INTO alias VALUES (?, ?, ?, ?)", (repo.type, repo.namespace, repo.name, repo.id))
        db.execute("DELETE FROM alias WHERE type = ? AND namespace = ? AND name = ? AND repo = ?", (*place, repo.id))

    def delete(self, db: sqlite3.Connection, repo: Repo) -> None:
        """Forget the repo. Its content stays on disk until ``gc``, which keeps what other repos use."""
        for table in ("ref", "history", "holding", "upload", "discussion", "event", "alias"):
            db.execute(f"DELETE FROM {table} WHERE repo = ?", (repo.id,))  # noqa: S608 - names from the line above
        db.execute("DELETE FROM repo WHERE id = ?", (repo.id,))

    # -- refs

    def refs(self, repo: Repo) -> list[Ref]:
        """Every ref, main first, then by name."""
        rows = self._db.connection.execute(
            "SELECT name, oid FROM ref WHERE repo = ? ORDER BY name <> ?, name", (repo.id, MAIN)
        ).fetchall()
        return [Ref(row["name"], row["oid"]) for row in rows]

    def ref(self, repo: Repo, name: str) -> Ref | None:
        """The ref of this full name."""
        row = self._db.connection.execute("SELECT oid FROM ref WHERE repo = ? AND name = ?", (repo.id, name)).fetchone()
        return Ref(name, row["oid"]) if row else None

    def create_ref(self, db: sqlite3.Connection, repo: Repo, name: str, oid: str, message: str = "") -> None:
        """A new branch, tag or pull request head; 409 when it exists."""
        check_ref_name(name.partition("/")[2].partition("/")[2])
        if db.execute("SELECT 1 FROM ref WHERE repo = ? AND name = ?", (repo.id, name)).fetchone():
            raise HttpError(409, f"Reference {name} already exists")
        db.execute("INSERT INTO ref VALUES (?, ?, ?, ?)", (repo.id, name, oid, message))

    def delete_ref(self, db: sqlite3.Connection, repo: Repo, name: str) -> None:
        """Remove a branch or a tag; 403 for main, 404 when there is none."""
        if name == MAIN:
            raise forbidden(f"Cannot delete {name}")
        if not db.execute("DELETE FROM ref WHERE repo = ? AND name = ?", (repo.id, name)).rowcount:
            raise no_revision(name)

    def resolve(self, repo: Repo, revision: str) -> Commit:
        """The commit that a branch, tag, full ref name, commit id or its first digits stand for; 404 otherwise."""
        db = self._db.connection
        names = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        row = db.execute(
            "SELECT h.* FROM ref r JOIN history h ON h.repo = r.repo AND h.oid = r.oid "
            "WHERE r.repo = ? AND r.name IN (?, ?, ?) ORDER BY r.name <> ?, r.name LIMIT 1",
            (repo.id, *names, revision),
        ).fetchone()
        if row is None and _SHA.fullmatch(revision.lower()):
            start = revision.lower()
            rows = db.execute(
                "SELECT * FROM history WHERE repo = ? AND oid >= ? AND oid < ? LIMIT 2", (repo.id, start, start + "g")
            ).fetchall()
            row = rows[0] if len(rows) == 1 else None
        if row is None:
            raise no_revision(revision)
        return _commit(row)

    # -- history

    def commit(self, repo: Repo, oid: str) -> Commit:
        """The commit of a full id; 404 when the repo does not have it."""
        row = self._db.connection.execute("SELECT * FROM history WHERE repo = ? AND oid = ?", (repo.id, oid)).fetchone()
        if row is None:
            raise no_revision(oid)
        return _commit(row)

    def log(self, repo: Repo, start: Commit) -> list[Commit]:
        """The commit and all before it, newest first; every commit once, children before parents."""
        rows = self._db.connection.execute("SELECT * FROM history WHERE repo = ?", (repo.id,)).fetchall()
        known = {row["oid"]: row for row in rows}
        seen = {start.oid}
        front = [start]
        for commit in front:
            for parent in commit.parents:
                if parent not in seen and parent in known:
                    seen.add(parent)
                    front.append(_commit(known[parent]))
        children = dict.fromkeys(seen, 0)
        for commit in front:
            for parent in commit.parents:
                if parent in children:
                    children[parent] += 1
        by_oid = {commit.oid: commit for commit in front}
        ready, ordered = [start], []
        while ready:
            commit = max(ready, key=lambda candidate: candidate.created)
            ready.remove(commit)
            ordered.append(commit)
            for parent in commit.parents:
                if parent in children:
                    children[parent] -= 1
                    if not children[parent]:
                        ready.append(by_oid[parent])
        return ordered

    def add_commit(
        self,
        db: sqlite3.Connection,
        repo: Repo,
        tree: str,
        parents: tuple[str, ...],
        author: str,
        title: str,
        message: str,
        *,
        created: int | None = None,
    ) -> Commit:
        """Record a commit inside the caller's transaction. No ref points to it yet."""
        created = now_ms() if created is None else created
        # Two commits of one millisecond with equal content would be one commit; the clock is nudged instead.
        while True:
            raw = pack_commit(tree, parents, author, created, title, message)
            oid = object_id("commit", raw)
            if not db.execute("SELECT 1 FROM history WHERE repo = ? AND oid = ?", (repo.id, oid)).fetchone():
                break
            created += 1
        db.execute(
            "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (repo.id, oid, tree, " ".join(parents), author, created, title, message),
        )
        return Commit(oid, tree, parents, author, created, title, message)

    def point(self, db: sqlite3.Connection, repo: Repo, name: str, oid: str) -> None:
        """Let a ref point to a commit, inside the caller's transaction."""
        db.execute("INSERT INTO ref VALUES (?, ?, ?, '') ON CONFLICT DO UPDATE SET oid = excluded.oid",
                   (repo.id, name, oid))  # fmt: skip


def check_type(repo_type: str) -> None:
    """501 for the kinds of repo that this hub does not keep."""
    if repo_type not in TYPES:
        raise HttpError(501, f"This hub keeps models and datasets; {repo_type}s are not supported")


def _row_of(db: sqlite3.Connection, repo_type: str, namespace: str, name: str) -> sqlite3.Row | None:
    place = (repo_type, namespace, name)
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM repo WHERE type = ? AND namespace = ? AND name = ?", place
    ).fetchone()
    if row is None:
        row = db.execute(
            "SELECT r.* FROM alias a JOIN repo r ON r.id = a.repo WHERE a.type = ? AND a.namespace = ? AND a.name = ?",
            place,
        ).fetchone()
    return row


def _repo(row: sqlite3.Row | None) -> Repo:
    if row is None:
        raise no_repo(anonymous=False)
    return Repo(
        row["id"], row["type"], row["namespace"], row["name"], bool(row["private"]), row["gated"], row["created"]
    )


def _commit(row: sqlite3.Row) -> Commit:
    parents = tuple(row["parents"].split())
    return Commit(row["oid"], row["tree"], parents, row["author"], row["created"], row["title"], row["message"])
