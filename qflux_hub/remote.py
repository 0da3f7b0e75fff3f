"""A dataset on the Hub as an upload finds it: its files, its indexes and its card."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qflux_hub import cards, codes, frontmatter, index, indexcache
from qflux_hub.errors import DataError, NotFoundError, VerificationError
from qflux_hub.hub import Hub
from qflux_hub.index import Entry, Index, Remote
from qflux_hub.report import Found
from qflux_hub.repos import RepoState
from qflux_hub.state import store, stored

CARD = "README.md"
_NO_BRANCH = re.compile(r"[0-9a-f]{40}|refs/.*")
"""Commit ids, pull requests and the like: they exist, or are mistaken."""


@dataclass(frozen=True, slots=True)
class Head:
    """The repo at the commit that a plan is based on; ``state`` is None when there is no such repo.

    ``missing``: the repo, or the branch that was asked for, has yet to be created.
    """

    state: RepoState | None
    remote: Remote
    card: str | None
    described: cards.CardFacts
    missing: bool = False

    @property
    def commit(self) -> str | None:
        """The commit, None for a repo that has none."""
        return self.state.commit if self.state else None

    def rows(self, split: str) -> Sequence[Entry]:
        """What the index tells of ``split``; nothing when there is none."""
        known = self.remote.indexes.get(split)
        return known.entries if known else ()

    def contents(self, split: str) -> dict[str, str]:
        """Id -> hash of the content, of the samples of ``split``."""
        return {row.id: row.content for row in self.rows(split)}

    def foreign(self, split: str) -> list[str]:
        """Data files of ``split`` that something else wrote: those its card names, or that lie where ours would."""
        patterns = (self.described.files or {}).get(split, (f"data/{split}-*", f"data/{split}.*"))
        return [
            path
            for path in sorted(self.remote.files)
            if (index.shard_split(path) == split and not index.is_shard(path))
            or (index.shard_split(path) is None and _is_data(path, patterns))
        ]

    def lost(self, split: str) -> list[str]:
        """Shards of ``split`` of which no index tells what is in them."""
        known = self.remote.indexes.get(split)
        lying = (path for path in sorted(self.remote.files) if index.shard_split(path) == split)
        return [path for path in lying if index.is_shard(path) and not (known and path in known.shards)]

    def untold(self, split: str) -> dict[str, int]:
        """Data files of ``split`` of which no index tells what is in them, and their sizes."""
        return {path: self.remote.files[path][0] for path in (*self.foreign(split), *self.lost(split))}

    def is_known(self, split: str) -> bool:
        """Whether the indexes tell of every shard of ``split`` what is in it."""
        return not self.lost(split)

    def splits(self) -> set[str]:
        """Every split that the repo has: described by its card, indexed, or lying where ours would."""
        found = {index.split_of(path) or index.shard_split(path) for path in self.remote.files}
        return {split for split in found if split} | set(self.described.files or ())


def _is_data(path: str, patterns: Sequence[str]) -> bool:
    """Whether a card's globs mean this file; a bare ``*`` means neither the card itself nor hidden files."""
    plain = path != CARD and not any(part.startswith(".") for part in path.split("/"))
    return plain and any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


EMPTY = Head(None, Remote({}, {}), None, cards.CardFacts(), missing=True)


def read(hub: Hub, repo_id: str, revision: str | None, found: Found, *, card: bool = True) -> Head:
    """The head of ``revision``, with all indexes that can be read; without ``card``, the card is not.

    One request for the listing, one for each index and for the card that the local cache does not have. A branch that
    does not exist yet begins where main is. Raises AuthError, FormatError, HubError; DataError for a card that cannot
    be read; NotFoundError for a revision that cannot become a branch.
    """
    missing = False
    try:
        state = hub.state(repo_id, revision)
    except NotFoundError as error:
        if revision and _NO_BRANCH.fullmatch(revision):
            raise
        if error.what == "repo":
            return EMPTY
        state, missing = hub.state(repo_id), True
    indexes = {}
    for path in state.files:
        split = index.split_of(path)
        if split:
            try:
                indexes[split] = _believable(_index(hub, repo_id, state, path), path, state, found)
            except VerificationError as error:
                found(codes.BROKEN_INDEX(path, f"{error.message} {_ANEW}"))
    text = None
    if card and CARD in state.files:
        text = card_text(_card(hub, repo_id, state))
    files = {file.path: (file.size, file.sha256) for file in state.files.values()}
    return Head(state, Remote(files, indexes), text, cards.read_card(text) if text else cards.CardFacts(), missing)


def _index(hub: Hub, repo_id: str, state: RepoState, path: str) -> Index:
    """An index, from the local cache when that has it: the listing says which one it is."""
    place, digest = place_of(hub, repo_id, path), state.files[path].sha256
    known = indexcache.kept(place, digest) if digest else None
    if known is None:
        from qflux_hub import indexfile  # an unchanged dataset gets by without it, and without pyarrow

        known = indexfile.read(_unaltered(hub, repo_id, state, path), path)
        if digest:
            indexcache.keep(place, digest, known)
    return known


def _card(hub: Hub, repo_id: str, state: RepoState) -> bytes:
    """The card's bytes, from the local cache when that has those that are listed."""
    kept = stored(place_of(hub, repo_id, CARD), _ANY)
    if kept is not None and state.files[CARD].holds(kept):
        return kept
    data = _unaltered(hub, repo_id, state, CARD)
    keep_card(hub, repo_id, data)
    return data


def keep_card(hub: Hub, repo_id: str, data: bytes) -> None:
    """Remember the card that the repo has now, so that it need not be fetched."""
    store(place_of(hub, repo_id, CARD), _ANY, data)


_ANY = ""
"""The local cache need not tell versions of a card from each other: the listing does."""


def place_of(hub: Hub, repo_id: str, path: str) -> str:
    """Where a file lies, in the words of the local cache."""
    return f"{hub.name} {repo_id} {path}"


def _unaltered(hub: Hub, repo_id: str, state: RepoState, path: str) -> bytes:
    """A file with the hash that the listing names. Read once more when it comes altered, then VerificationError:
    words of others that were altered on the way would be written back, and samples that an index does not tell of
    would be taken for gone.
    """
    file = state.files[path]
    for _ in range(2):
        data = hub.read(repo_id, path, state.commit)
        if file.holds(data):
            return data
    raise VerificationError(
        f"{path} came with other bytes than the Hub lists.",
        hint="Try again; if it stays so, the Hub's storage or something on the way is damaged.",
    )


_ANEW = "The next upload of its split writes it anew."


def _believable(known: Index, path: str, state: RepoState, found: Found) -> Index:
    """What an index says of shards that lie on the Hub as it says; of others, it knows nothing that can be used."""
    there = {name: (file.size, file.sha256) for name, file in state.files.items()}
    true = {name: shard for name, shard in known.shards.items() if there.get(name) == (shard.size, shard.sha256)}
    false = sorted(known.shards.keys() - true.keys())
    if not false:
        return known
    found(codes.BROKEN_INDEX(path, f"{path} does not agree with {false[0]}, which was replaced or removed. {_ANEW}"))
    return replace(known, shards=true, entries=tuple(entry for entry in known.entries if entry.shard in true))


def card_text(data: bytes) -> str:
    """A card's text, its line ends and byte order mark kept. Raises DataError when it is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{CARD} on the Hub is not UTF-8 in line {line}.", hint=frontmatter.HINT) from error
