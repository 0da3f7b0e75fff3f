"""Indexes that this machine has seen, in a form that is read without pyarrow, whose import takes longer than all else
that a run does that has nothing to do.

They lie in the local cache under the place of their file, and count while that has the SHA-256 that it had. The form is
JSON, by column like the file: numbers as lists, hashes as one base64 text, texts that repeat once with their numbers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import accumulate, pairwise
from typing import Any

from qflux_hub.index import Entry, Index, Media, ShardRecord
from qflux_hub.state import store, stored

_FORM = 1
"""Raised when the form changes."""
_HASH = 32


def keep(place: str, sha256: str, index: Index) -> None:
    """Remember the index in the file at ``place`` (which names hub, repo and path) that has this hash."""
    store(place, f"{_FORM} {sha256}", json.dumps(_columns(index), separators=(",", ":")).encode())


def kept(place: str, sha256: str) -> Index | None:
    """The index in the file at ``place``, if it was kept and the file still has this hash."""
    content = stored(place, f"{_FORM} {sha256}")
    return None if content is None else _index(json.loads(content))


def _columns(index: Index) -> dict[str, Any]:
    rows = index.entries
    media = [one for row in rows for one in row.media]
    return {
        "target": index.target,
        "extra": index.extra,
        "shards": {path: asdict(shard) for path, shard in index.shards.items()},
        "id": [row.id for row in rows],
        "order": [row.order for row in rows],
        "encoded": [row.encoded for row in rows],
        "prompt_sha256": _text(row.prompt_sha256 for row in rows),
        "extra_sha256": _text(row.extra_sha256 for row in rows),
        "media": [len(row.media) for row in rows],
        "shard": _numbered([row.shard for row in rows]),
        "role": _numbered([one.role for one in media]),
        "name": [one.name for one in media],
        "sha256": _text(one.sha256 for one in media),
        "size": [one.size for one in media],
        "width": [one.width for one in media],
        "height": [one.height for one in media],
        "offset": [one.offset for one in media],
    }


def _index(kept: dict[str, Any]) -> Index:
    facts = (kept[name] for name in ("size", "width", "height", "offset"))
    media = list(map(Media, _named(kept["role"]), kept["name"], _hashes(kept["sha256"]), *facts))
    parts = (tuple(media[start:end]) for start, end in pairwise(accumulate(kept["media"], initial=0)))
    hashes = (_hashes(kept[name]) for name in ("prompt_sha256", "extra_sha256"))
    rows = map(Entry, kept["id"], kept["order"], kept["encoded"], *hashes, parts, _named(kept["shard"]))
    shards = {path: ShardRecord(**shard) for path, shard in kept["shards"].items()}
    return Index(kept["target"], tuple(kept["extra"]), shards, tuple(rows))


def _text(hashes: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(hashes)).decode()


def _hashes(text: str) -> Iterator[bytes]:
    data = base64.b64decode(text)
    return (data[at : at + _HASH] for at in range(0, len(data), _HASH))


def _numbered(texts: list[str]) -> tuple[list[str], list[int]]:
    """Each text once, and where it stands."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return list(numbers), [numbers[text] for text in texts]


def _named(numbered: tuple[list[str], list[int]]) -> Iterator[str]:
    texts, numbers = numbered
    return map(texts.__getitem__, numbers)
