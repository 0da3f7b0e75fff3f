"""The files of a folder by their stems, found in its sorted listing: nothing is held for a file or a sample."""

from __future__ import annotations

from collections.abc import Iterator

from qflux_hub.naming import (
    MEDIA_EXTENSIONS,
    PROMPT_EXTENSION,
    all_of,
    all_prompts,
    in_order,
    prompt_stem,
    split_extension,
)
from qflux_hub.tree import Cursor, Tree

MEDIUM, PROMPT = "medium", "prompt"
KINDS = {**dict.fromkeys(MEDIA_EXTENSIONS, MEDIUM), PROMPT_EXTENSION: PROMPT}
"""What a file can be here, by its extension; all others are of no kind."""


class Lookup:
    """A folder in which files are looked up. As a container, it has the stems of its prompts."""

    def __init__(self, tree: Tree, path: str) -> None:
        self.path = path
        self.names = tree.files.get(path, ())
        self._cursor = Cursor(self.names)

    def __contains__(self, stem: object) -> bool:
        if isinstance(stem, str):
            for name in self._cursor.between(*all_prompts(stem)):
                if split_extension(name) == (stem, PROMPT_EXTENSION):
                    return True
        return False

    def bases(self) -> Iterator[str]:
        """The stems of the prompts, each once and in order."""
        return in_order(filter(None, map(prompt_stem, self.names)), self)

    def of_kind(self, *kinds: str | None) -> Iterator[tuple[str, str]]:
        """(stem, name) of the files of these kinds, in the order of their names."""
        parts = ((name, *split_extension(name)) for name in self.names)
        return ((stem, name) for name, stem, extension in parts if KINDS.get(extension) in kinds)

    def files(self, stem: str, kind: str) -> list[str]:
        """The files of a stem and kind, as they are listed."""
        parts = ((name, *split_extension(name)) for name in self._cursor.between(*all_of(stem)))
        return [name for name, own, extension in parts if own == stem and KINDS.get(extension) == kind]
