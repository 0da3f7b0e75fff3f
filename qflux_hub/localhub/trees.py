"""Trees: listing what a commit holds, and editing it into the tree of the next commit."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from qflux_hub.localhub.db import Database
from qflux_hub.localhub.gitobjects import FILE_MODE, TREE_MODE, Entry, object_id, pack_tree, unpack_tree
from qflux_hub.localhub.problems import DamagedError, HttpError
from qflux_hub.localhub.store import Commit, Repo, Store

CACHED_ENTRIES = 100_000
"""Tree entries kept in memory, about 25 MB. Trees are named by their content, so they never go stale."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file or folder of a commit. For a file ``size`` is its content's; large files also have the last three."""

    path: str
    oid: str
    is_folder: bool
    size: int = 0
    sha256: str | None = None
    pointer_size: int = 0
    xet: str | None = None


class Trees:
    """Reads trees and blobs of one hub directory."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._cache: OrderedDict[str, dict[str, Entry]] = OrderedDict()
        self._cached = 0
        self._lock = threading.Lock()

    def entries(self, oid: str) -> dict[str, Entry]:
        """The entries of one tree by name, in git's order."""
        with self._lock:
            if oid in self._cache:
                self._cache.move_to_end(oid)
                return self._cache[oid]
        row = self._db.connection.execute("SELECT data FROM tree WHERE oid = ?", (oid,)).fetchone()
        if row is None or object_id("tree", row["data"]) != oid:
            raise DamagedError(f"tree {oid} is {'missing' if row is None else 'not what was stored'}")
        entries = {entry.name: entry for entry in unpack_tree(row["data"])}
        with self._lock:
            if oid not in self._cache:
                self._cache[oid] = entries
                self._cached += len(entries)
                while self._cached > CACHED_ENTRIES and len(self._cache) > 1:
                    self._cached -= len(self._cache.popitem(last=False)[1])
        return entries

    def lookup(self, tree: str, path: str) -> Entry | None:
        """The entry of a path; the root is an entry too."""
        found = Entry("", TREE_MODE, tree)
        for name in [part for part in path.split("/") if part]:
            if not found.is_tree:
                return None
            match = self.entries(found.oid).get(name)
            if match is None:
                return None
            found = match
        return found

    def walk(
        self, tree: str, prefix: str = "", *, recursive: bool = True, after: str = ""
    ) -> Iterator[tuple[str, Entry]]:
        """(path, entry) below ``prefix`` in git's order, a folder before what it holds; only those past ``after``."""
        start = prefix + "/" if prefix else ""
        yield from self._walk(tree, start, recursive, after.removeprefix(start))

    def _walk(self, tree: str, start: str, recursive: bool, after: str) -> Iterator[tuple[str, Entry]]:
        name, _, rest = after.partition("/")
        passed = not name
        for entry in self.entries(tree).values():
            resumed = ""
            if not passed:
                if entry.name != name:
                    continue
                passed = True
                resumed = rest
                if not (recursive and entry.is_tree):
                    continue
            else:
                yield start + entry.name, entry
            if recursive and entry.is_tree:
                yield from self._walk(entry.oid, f"{start}{entry.name}/", recursive, resumed)

    def describe(self, found: Iterable[tuple[str, Entry]]) -> list[Found]:
        """What listings say about these entries: sizes, and for large files their hashes."""
        pairs = list(found)
        oids = list({entry.oid for _, entry in pairs if not entry.is_tree})
        query = (
            "SELECT b.oid, b.size, b.sha256, length(b.data) AS pointer, o.xet FROM json_each(?) j "
            "JOIN blob b ON b.oid = j.value LEFT JOIN object o ON o.sha256 = b.sha256"
        )
        details = {row["oid"]: row for row in self._db.connection.execute(query, (json.dumps(oids),))}
        return [_found(path, entry, details.get(entry.oid)) for path, entry in pairs]

    def find(self, tree: str, path: str) -> Found | None:
        """One path of a commit's tree, described."""
        entry = self.lookup(tree, path)
        return self.describe([(path, entry)])[0] if entry is not None and path else None

    def blob(self, oid: str) -> bytes:
        """The bytes of a regular file, or of a large file's pointer; DamagedError when they are not what was stored."""
        row = self._db.connection.execute("SELECT data FROM blob WHERE oid = ?", (oid,)).fetchone()
        if row is None or object_id("blob", row["data"]) != oid:
            raise DamagedError(f"blob {oid} is {'missing' if row is None else 'not what was stored'}")
        data: bytes = row["data"]
        return data

    def text(self, tree: str, path: str) -> str:
        """A regular file as text, '' when there is none (or it is a large file)."""
        found = self.find(tree, path)
        if found is None or found.is_folder or found.sha256:
            return ""
        return self.blob(found.oid).decode(errors="replace")

    def diff(self, old: str | None, new: str | None, prefix: str = "") -> dict[str, tuple[Entry | None, Entry | None]]:
        """The files that differ between two trees, by path: (old entry, new entry). Equal folders are not opened."""
        if old == new:
            return {}
        before = self.entries(old) if old else {}
        after = self.entries(new) if new else {}
        found: dict[str, tuple[Entry | None, Entry | None]] = {}
        for name in sorted(before.keys() | after.keys()):
            one, two = before.get(name), after.get(name)
            if one == two:
                continue
            folders = [entry.oid if entry and entry.is_tree else None for entry in (one, two)]
            if any(folders):
                found |= self.diff(folders[0], folders[1], f"{prefix}{name}/")
            files = [entry if entry and not entry.is_tree else None for entry in (one, two)]
            if any(files):
                found[prefix + name] = (files[0], files[1])
        return found

    def last_changes(self, store: Store, repo: Repo, head: Commit, paths: Iterable[str]) -> dict[str, Commit]:
        """For each path the newest commit on the way back from ``head`` that changed it."""
        open_paths = set(paths)
        changes: dict[str, Commit] = {}
        commit = head
        present = {path: self.lookup(commit.tree, path) for path in open_paths}
        while open_paths:
            parent = store.commit(repo, commit.parents[0]) if commit.parents else None
            for path in list(open_paths):
                before = self.lookup(parent.tree, path) if parent else None
                if before != present[path]:
                    changes[path] = commit
                    open_paths.remove(path)
            if parent is None:
                break
            commit = parent
        return changes


@dataclass(slots=True)
class _Node:
    """A folder while it is edited. Children are loaded when first looked at."""

    oid: str | None = None
    children: dict[str, _Node | Entry] | None = field(default=None)


class TreeEditor:
    """Applies the operations of a commit, one after the other, to the tree of its parent."""

    def __init__(self, trees: Trees, tree: str | None) -> None:
        self._trees = trees
        self._root = _Node(tree) if tree else _Node(None, {})

    def put(self, path: str, oid: str) -> None:
        """Add or replace a file; 400 where the path needs a folder that is a file, or is a folder itself."""
        *folders, name = path.split("/")
        node = self._root
        for folder in folders:
            child = self._children(node).get(folder)
            if child is None:
                child = _Node(None, {})
                self._children(node)[folder] = child
            if isinstance(child, Entry):
                raise HttpError(400, f"Cannot add {path!r}: {folder!r} is a file")
            node = child
        if isinstance(self._children(node).get(name), _Node):
            raise HttpError(400, f"Cannot add {path!r}: it is a folder")
        self._children(node)[name] = Entry(name, FILE_MODE, oid)

    def remove(self, path: str) -> bool:
        """Remove a file or a whole folder; False when there is none."""
        *folders, name = path.strip("/").split("/")
        node = self._root
        for folder in folders:
            child = self._children(node).get(folder)
            if not isinstance(child, _Node):
                return False
            node = child
        return self._children(node).pop(name, None) is not None

    def save(self, db: sqlite3.Connection) -> str:
        """Write the trees that changed, inside the caller's transaction; the id of the new root."""
        return self._save(db, self._root) or save_tree(db, [])

    def _children(self, node: _Node) -> dict[str, _Node | Entry]:
        if node.children is None:
            entries = self._trees.entries(node.oid) if node.oid else {}
            node.children = {name: _Node(entry.oid) if entry.is_tree else entry for name, entry in entries.items()}
        return node.children

    def _save(self, db: sqlite3.Connection, node: _Node) -> str | None:
        if node.children is None:
            return node.oid
        entries = []
        for name, child in node.children.items():
            if isinstance(child, Entry):
                entries.append(child)
            elif (oid := self._save(db, child)) is not None:
                entries.append(Entry(name, TREE_MODE, oid))
        return save_tree(db, entries) if entries else None


def save_tree(db: sqlite3.Connection, entries: list[Entry]) -> str:
    """Write a tree inside the caller's transaction; its id."""
    data = pack_tree(entries)
    oid = object_id("tree", data)
    db.execute("INSERT OR IGNORE INTO tree VALUES (?, ?)", (oid, data))
    return oid


def _found(path: str, entry: Entry, row: sqlite3.Row | None) -> Found:
    if entry.is_tree:
        return Found(path, entry.oid, is_folder=True)
    if row is None:
        raise DamagedError(f"blob {entry.oid} is missing")
    large = row["sha256"]
    return Found(
        path, entry.oid, False, row["size"], large, row["pointer"] if large else 0, row["xet"] if large else None
    )
