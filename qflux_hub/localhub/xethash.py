"""Xet hashes: how chunks, xorbs and files are named.

All are 32 bytes of keyed BLAKE3. Printed, a hash is four little-endian 64-bit numbers of 16 hex digits each; the
SHA-256 inside a shard is printed by the same rule. Rules and keys: the public Xet protocol specification, checked
against what the released client uploads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from blake3 import blake3

CHUNK_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
RANGE_KEY = bytes.fromhex("7f1857d6ce56ed66127ff913e7a5c3f3a4cd26d5b5db49e64124987f28fb94c3")
ZERO = bytes(32)

_WORDS_LE = struct.Struct("<4Q")
_WORDS_BE = struct.Struct(">4Q")
_LAST_WORD = struct.Struct("<24xQ")


def printed(digest: bytes) -> str:
    """The 64 hex digits by which URLs and JSON name this hash."""
    return _WORDS_BE.pack(*_WORDS_LE.unpack(digest)).hex()


def parsed(text: str) -> bytes:
    """The 32 bytes of a printed hash; ValueError when ``text`` is not 64 hex digits."""
    raw = bytes.fromhex(text)
    if len(raw) != 32:
        raise ValueError(f"a Xet hash has 64 hex digits, not {len(text)}")
    return _WORDS_LE.pack(*_WORDS_BE.unpack(raw))


def chunk_hash(data: bytes | memoryview) -> bytes:
    """The name of one chunk: a hash of its raw bytes."""
    return blake3(data, key=CHUNK_KEY).digest()


def range_hash(chunk_hashes: Iterable[bytes]) -> bytes:
    """What proves that a client knows the chunks of one term of a file."""
    return blake3(b"".join(chunk_hashes), key=RANGE_KEY).digest()


def root(nodes: Sequence[tuple[bytes, int]]) -> bytes:
    """The root of the tree over (hash, raw bytes) leaves; the name of a xorb is the root over its chunks.

    A level is cut into groups: a group ends at the first node, from its third on, whose last word is divisible by
    four, at its ninth node, or at the end. One leaf is its own root; none give 32 zero bytes.
    """
    if not nodes:
        return ZERO
    level = list(nodes)
    while len(level) > 1:
        level = [_parent(level[start:end]) for start, end in _groups(level)]
    return level[0][0]


def file_hash(chunks: Sequence[tuple[bytes, int]]) -> bytes:
    """The name of a file: a hash over the root of the tree over all its chunks, in order."""
    return blake3(root(chunks), key=ZERO).digest() if chunks else ZERO


def keyed(digest: bytes, key: bytes) -> bytes:
    """A chunk hash that only those can recognise who have the chunk."""
    return blake3(digest, key=key).digest()


def asks_dedup(digest: bytes) -> bool:
    """Whether clients ask the hub about a chunk of this hash wherever it occurs (one in 1024)."""
    return _last_word(digest) % 1024 == 0


def _last_word(digest: bytes) -> int:
    word: int = _LAST_WORD.unpack(digest)[0]
    return word


def _groups(level: Sequence[tuple[bytes, int]]) -> Iterable[tuple[int, int]]:
    start = 0
    while start < len(level):
        limit = min(start + 9, len(level))
        end = limit
        for index in range(start + 2, limit):
            if _last_word(level[index][0]) % 4 == 0:
                end = index + 1
                break
        yield start, end
        start = end


def _parent(children: Sequence[tuple[bytes, int]]) -> tuple[bytes, int]:
    text = "".join(f"{printed(digest)} : {size}\n" for digest, size in children)
    return blake3(text.encode(), key=NODE_KEY).digest(), sum(size for _, size in children)
