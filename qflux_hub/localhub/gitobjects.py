"""Git's names for things: blobs, trees and commits hash to the ids that git would give them.

Clients compare the id of a regular file with one they compute, so blob ids must be git's. Trees and commits follow
the same rules because content-addressed trees make every commit cheap to keep and every damage visible.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

FILE_MODE = "100644"
TREE_MODE = "40000"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a tree."""

    name: str
    mode: str
    oid: str

    @property
    def is_tree(self) -> bool:
        """Whether the name is a folder."""
        return self.mode == TREE_MODE


def object_id(kind: str, data: bytes) -> str:
    """The 40 hex digits of a git object."""
    digest = hashlib.sha1(f"{kind} {len(data)}\0".encode(), usedforsecurity=False)
    digest.update(data)
    return digest.hexdigest()


def blob_id(data: bytes) -> str:
    """The id of a file's content."""
    return object_id("blob", data)


def pack_tree(entries: list[Entry]) -> bytes:
    """A tree object; entries are sorted as git sorts them (a folder as if its name ended with a slash)."""
    ordered = sorted(entries, key=lambda entry: entry.name.encode() + (b"/" if entry.is_tree else b""))
    return b"".join(f"{e.mode} {e.name}\0".encode() + bytes.fromhex(e.oid) for e in ordered)


def unpack_tree(data: bytes) -> list[Entry]:
    """The entries of a tree object, in git's order."""
    entries = []
    position = 0
    while position < len(data):
        zero = data.index(b"\0", position)
        mode, _, name = data[position:zero].decode().partition(" ")
        entries.append(Entry(name, mode, data[zero + 1 : zero + 21].hex()))
        position = zero + 21
    return entries


def pack_commit(tree: str, parents: tuple[str, ...], author: str, created: int, title: str, message: str) -> bytes:
    """A commit object. ``created`` is in milliseconds; an extra header keeps what git's whole seconds would lose."""
    who = f"{author} <{author}@localhost> {created // 1000} +0000"
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), f"author {who}", f"committer {who}"]
    lines += [f"milliseconds {created % 1000}", "", title]
    if message:
        lines += ["", message]
    return ("\n".join(lines) + "\n").encode()


def pointer(sha256: str, size: int) -> bytes:
    """The git-LFS pointer that stands for a large file in a tree."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
