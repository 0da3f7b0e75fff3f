"""Which file of a repo is meant: the one that is named, the default name, else the only candidate."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from qflux_hub.errors import NotFoundError, UsageError
from qflux_hub.hub import Hub
from qflux_hub.lora.sources import DEFAULT_NAME, SUFFIX

_OTHERS = re.compile(r"(?i)optimizer|scheduler|vae|(?:^|/)(?:text_encoder|unet|transformer|vae)(?:_\d)?/|model-\d+-of-")
"""Names of safetensors files that are no LoRA, or of a state that nobody loads."""


def choose(hub: Hub, repo_id: str, revision: str | None) -> tuple[str, str | None]:
    """(path, revision) of the LoRA of a repo. Raises NotFoundError, UsageError with the choices. One request."""
    state = hub.state(repo_id, revision, "model")
    return only({path: file.size for path, file in state.files.items()}, repo_id), revision


def only(sizes: Mapping[str, int], repo_id: str) -> str:
    """The default name, else the only candidate among the files of a repo."""
    if DEFAULT_NAME in sizes:
        return DEFAULT_NAME
    candidates = candidates_of(sizes)
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise NotFoundError(f"{repo_id} holds no {SUFFIX} file that could be a LoRA.", hint="Is it another repo?")
    raise UsageError(f"{repo_id} holds several LoRAs: {listed(sizes)}.", hint="Name one of them.")


def candidates_of(sizes: Mapping[str, int]) -> list[str]:
    """The files that may be LoRAs, the top of the repo first."""
    found = [path for path in sizes if path.lower().endswith(SUFFIX) and not _OTHERS.search(path)]
    return sorted(found, key=lambda path: (path.count("/"), path))


def missing(wanted: str, sizes: Mapping[str, int], repo_id: str, revision: str | None) -> NotFoundError:
    """The error for a name that is not there, with what is there and the nearest of it."""
    at = f" at {revision}" if revision else ""
    near = difflib.get_close_matches(wanted, list(sizes), n=1, cutoff=0.6)
    hint = f"There is: {listed(sizes)}." if candidates_of(sizes) else f"It holds no {SUFFIX} file at all."
    return NotFoundError(
        f"{repo_id} has no file {wanted!r}{at}.", hint=f"Did you mean {near[0]!r}? {hint}" if near else hint
    )


def not_there(hub: Hub, repo_id: str, path: str, revision: str | None) -> NotFoundError:
    """The same, of a repo whose files are not known yet. One request."""
    sizes = {name: file.size for name, file in hub.state(repo_id, revision, "model").files.items()}
    return missing(path, sizes, repo_id, revision)


def listed(sizes: Mapping[str, int]) -> str:
    """The candidates with their sizes, the first dozen."""
    names = [f"{path} ({sizes[path] / 1e6:.1f} MB)" for path in candidates_of(sizes)]
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
