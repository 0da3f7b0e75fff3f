"""Collecting garbage: what no ref leads to any more, and what dead uploads left.

Safe while others serve and write: rows go in one transaction that sees the whole state, files go under the write
lock when their row is gone, and whatever was uploaded or spoken of lately stays.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from qflux_hub.errors import VerificationError
from qflux_hub.localhub.fsck import leftovers, size_of
from qflux_hub.localhub.problems import DamagedError
from qflux_hub.localhub.services import Services, begin_xet_era, open_existing
from qflux_hub.localhub.store import Repo
from qflux_hub.report import GcReport

KEEP_SECONDS = 24 * 3600.0
"""What was uploaded within this time stays, because its commit may be on the way."""


def gc(directory: str | Path | None = None, *, keep_seconds: float = KEEP_SECONDS) -> GcReport:
    """Remove from a hub directory (None: the default one) what nothing refers to. Live data is never touched.

    What is younger than ``keep_seconds`` stays: with less than an upload takes, uploads under way may fail. A directory
    with damage in its history is left alone (VerificationError), because what it needs cannot be known.
    """
    hub = open_existing(directory)
    try:
        cutoff = int((time.time() - keep_seconds) * 1000)
        with hub.db.write() as db:
            counts = _forget(db, hub, cutoff)
        # The rows are gone for good; a file goes when nobody published it again since.
        files = size = 0
        for path in list(leftovers(hub)):
            with hub.db.write():
                removed = _remove(hub, path, cutoff)
            files += removed is not None
            size += removed or 0
        hub.db.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return GcReport(*counts, files, size)
    except DamagedError as error:
        raise VerificationError(
            f"nothing was collected: {error}", hint="`qflux hub --fsck` lists all damage."
        ) from error
    finally:
        hub.close()


def _forget(db: sqlite3.Connection, hub: Services, cutoff: int) -> tuple[int, int, int]:
    """Delete the rows that nothing needs; how many commits, large files and xorbs that were."""
    commits = 0
    live: set[str] = set()
    db.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (repo INTEGER, sha256 TEXT, PRIMARY KEY (repo, sha256))")
    db.execute("DELETE FROM wanted")
    for row in db.execute("SELECT id FROM repo").fetchall():
        repo = hub.store.by_id(row["id"])
        if repo is not None:
            commits += _forget_commits(db, hub, repo, cutoff)
            _mark(db, hub, repo, live)
    _keep_only(db, "tree", live)
    _keep_only(db, "blob", live)
    db.execute("DELETE FROM upload WHERE created < ?", (cutoff,))
    db.execute(
        "DELETE FROM holding WHERE created < ? AND NOT EXISTS "
        "(SELECT 1 FROM wanted w WHERE w.repo = holding.repo AND w.sha256 = holding.sha256)",
        (cutoff,),
    )
    objects = db.execute("DELETE FROM object WHERE sha256 NOT IN (SELECT sha256 FROM holding)").rowcount
    db.execute(
        "DELETE FROM xetfile WHERE created < ? AND hash NOT IN (SELECT xet FROM object WHERE xet IS NOT NULL)",
        (cutoff,),
    )
    db.execute("DELETE FROM piece WHERE file NOT IN (SELECT hash FROM xetfile)")
    xorbs = db.execute("DELETE FROM xorb WHERE used < ? AND hash NOT IN (SELECT xorb FROM piece)", (cutoff,)).rowcount
    if xorbs:
        db.execute("DELETE FROM dedup WHERE xorb NOT IN (SELECT hash FROM xorb)")
        begin_xet_era(db)
    db.execute(
        "DELETE FROM content WHERE name NOT IN "
        "(SELECT 'lfs/' || sha256 FROM object UNION ALL SELECT 'xorb/' || hash FROM xorb)"
    )
    db.execute("DELETE FROM distrusted WHERE name NOT IN (SELECT name FROM content)")
    return commits, objects, xorbs


def _forget_commits(db: sqlite3.Connection, hub: Services, repo: Repo, cutoff: int) -> int:
    """Delete the commits of a repo that no ref leads to, unless they are young."""
    rows = db.execute("SELECT oid, created FROM history WHERE repo = ?", (repo.id,)).fetchall()
    merged = db.execute("SELECT merged FROM discussion WHERE repo = ? AND merged <> ''", (repo.id,)).fetchall()
    starts = {ref.oid for ref in hub.store.refs(repo)} | {row["merged"] for row in merged}
    starts |= {row["oid"] for row in rows if row["created"] >= cutoff}
    kept: set[str] = set()
    for start in starts:
        if start not in kept:
            kept |= {commit.oid for commit in hub.store.log(repo, hub.store.commit(repo, start))}
    gone = [(repo.id, row["oid"]) for row in rows if row["oid"] not in kept]
    db.executemany("DELETE FROM history WHERE repo = ? AND oid = ?", gone)
    return len(gone)


def _mark(db: sqlite3.Connection, hub: Services, repo: Repo, live: set[str]) -> None:
    """Note every tree and blob that a repo's commits hold in ``live``, and its large files in ``wanted``."""
    seen: set[str] = set()
    front = [
        row["tree"] for row in db.execute("SELECT DISTINCT tree FROM history WHERE repo = ?", (repo.id,)).fetchall()
    ]
    while front:
        tree = front.pop()
        if tree in seen:
            continue
        seen.add(tree)
        for entry in hub.trees.entries(tree).values():
            if entry.is_tree:
                front.append(entry.oid)
            elif entry.oid not in seen:
                seen.add(entry.oid)
                db.execute(
                    "INSERT OR IGNORE INTO wanted SELECT ?, sha256 FROM blob WHERE oid = ? AND sha256 IS NOT NULL",
                    (repo.id, entry.oid),
                )
    live |= seen


def _keep_only(db: sqlite3.Connection, table: str, live: set[str]) -> None:
    gone = [(row["oid"],) for row in db.execute(f"SELECT oid FROM {table}").fetchall() if row["oid"] not in live]  # noqa: S608
    db.executemany(f"DELETE FROM {table} WHERE oid = ?", gone)  # noqa: S608 - tree or blob


def _remove(hub: Services, path: Path, cutoff: int) -> int | None:
    """Remove one leftover file under the write lock; its size, or None when it has to stay."""
    if path.parent.parent.name in ("lfs", "xorb"):
        if hub.files.has(f"{path.parent.parent.name}/{path.name}"):
            return None
    elif path.exists() and path.stat().st_mtime * 1000 >= cutoff:
        return None
    size = size_of(path)
    path.unlink(missing_ok=True)
    return size
