"""Taking large files out of a repo for good: every commit that held them is replaced by one that does not."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from qflux_hub.localhub.gitobjects import Entry
from qflux_hub.localhub.store import Commit, Repo, Store
from qflux_hub.localhub.trees import Trees, save_tree


@dataclass(frozen=True, slots=True)
class Place:
    """Where a large file is found: a path, and the ref whose newest commit has it (None: only older commits do)."""

    path: str
    ref: str | None


def where_used(store: Store, trees: Trees, repo: Repo) -> dict[str, Place]:
    """For each large file (by SHA-256) of any commit one place, refs before history."""
    found: dict[str, Place] = {}
    seen: set[str] = set()
    starts = [(ref.name, store.commit(repo, ref.oid)) for ref in store.refs(repo)]
    trees_to_list: list[tuple[str | None, str]] = [(name, commit.tree) for name, commit in starts]
    trees_to_list += [(None, commit.tree) for _, start in starts for commit in store.log(repo, start)]
    for name, tree in trees_to_list:
        if tree in seen:
            continue
        seen.add(tree)
        for file in trees.describe((path, entry) for path, entry in trees.walk(tree) if not entry.is_tree):
            if file.sha256:
                found.setdefault(file.sha256, Place(file.path, name))
    return found


def forget_content(
    db: sqlite3.Connection, store: Store, trees: Trees, repo: Repo, shas: set[str], *, rewrite_history: bool
) -> None:
    """Take these contents away from a repo, inside the caller's transaction.

    With ``rewrite_history`` the commits that named them, and all after those, are made again without; refs follow.
    Otherwise the files stay listed and cannot be read.
    """
    for sha256 in shas:
        db.execute("DELETE FROM holding WHERE repo = ? AND sha256 = ?", (repo.id, sha256))
    if not rewrite_history:
        return
    pointers = {
        row["oid"]
        for sha256 in shas
        for row in db.execute("SELECT oid FROM blob WHERE sha256 = ?", (sha256,)).fetchall()
    }
    renamed: dict[str, str] = {}
    cleaned: dict[str, str | None] = {}
    for ref in store.refs(repo):
        for commit in reversed(store.log(repo, store.commit(repo, ref.oid))):
            if commit.oid not in renamed:
                renamed[commit.oid] = _replace(db, store, trees, repo, commit, pointers, renamed, cleaned)
        store.point(db, repo, ref.name, renamed[ref.oid])
    for old, new in renamed.items():
        if old != new:
            db.execute("UPDATE discussion SET merged = ? WHERE repo = ? AND merged = ?", (new, repo.id, old))
            db.execute("DELETE FROM history WHERE repo = ? AND oid = ?", (repo.id, old))


def _replace(
    db: sqlite3.Connection,
    store: Store,
    trees: Trees,
    repo: Repo,
    commit: Commit,
    pointers: set[str],
    renamed: dict[str, str],
    cleaned: dict[str, str | None],
) -> str:
    tree = _clean(db, trees, commit.tree, pointers, cleaned) or save_tree(db, [])
    parents = tuple(renamed.get(parent, parent) for parent in commit.parents)
    if tree == commit.tree and parents == commit.parents:
        return commit.oid
    made = store.add_commit(
        db, repo, tree, parents, commit.author, commit.title, commit.message, created=commit.created
    )
    return made.oid


def _clean(
    db: sqlite3.Connection, trees: Trees, tree: str, pointers: set[str], cleaned: dict[str, str | None]
) -> str | None:
    """The tree without these blobs; None when nothing is left of it."""
    if tree not in cleaned:
        kept: list[Entry] = []
        for entry in trees.entries(tree).values():
            if entry.is_tree:
                oid = _clean(db, trees, entry.oid, pointers, cleaned)
                if oid is not None:
                    kept.append(Entry(entry.name, entry.mode, oid))
            elif entry.oid not in pointers:
                kept.append(entry)
        cleaned[tree] = save_tree(db, kept) if kept else None
    return cleaned[tree]
