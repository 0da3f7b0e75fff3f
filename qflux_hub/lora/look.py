"""Inspect a LoRA, or compare two, wherever they are: on this disk, or on a Hub, of which one or two pieces are read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from qflux_hub.errors import NotFoundError, UsageError
from qflux_hub.fetch import fetch_to_cache
from qflux_hub.hub import Hub, open_hub
from qflux_hub.lora.alpha import ADAPTER_CONFIG, TRAIN_CONFIG
from qflux_hub.lora.compare import Comparison, Side, compare
from qflux_hub.lora.describe import Lora, describe, unreadable
from qflux_hub.lora.header import FIRST, Header, HeaderError, read_header
from qflux_hub.lora.local import open_weights, read_weights
from qflux_hub.lora.names import choose, not_there
from qflux_hub.lora.settings import SettingsError, read_settings
from qflux_hub.lora.sources import SUFFIX, resolve
from qflux_hub.lora.values import Wanted
from qflux_hub.options import InspectKeywords, InspectOptions
from qflux_hub.report import Progress

Configs = Mapping[str, Mapping[str, Any]]
_REMOTE = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+))?(?:/(?P<path>.+))?")


def inspect_lora(
    file_or_repo: str | os.PathLike[str], *, progress: Progress | None = None, **options: Unpack[InspectKeywords]
) -> Lora:
    """Describe a LoRA: format, rank, alpha, scale, dtype, modules, base family, and everything wrong with it.

    ``file_or_repo`` is a file, a folder, or ``user/name[@revision][/path]`` on a Hub, of which only the header is
    read. ``full`` looks at the numbers as well. The other options are those of ``options.InspectOptions``.

    Returns the description, ``failed`` when the file is not a LoRA that can be used; raises NotFoundError, UsageError
    when several files could be meant, AuthError, HubError.
    """
    chosen = InspectOptions(**options)
    _check_revision(chosen, file_or_repo)
    with _open(file_or_repo, chosen, progress or Progress()) as side:
        return side.lora


def compare_loras(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    **options: Unpack[InspectKeywords],
) -> Comparison:
    """Compare two LoRAs, each given as for ``inspect_lora``: keys, ranks, alpha, dtype, metadata.

    ``full`` reads the weights, too, and gives for each module the norms of both updates and the cosine between them.
    """
    chosen, watch = InspectOptions(**options), progress or Progress()
    _check_revision(chosen, a, b)
    with _open(a, chosen, watch) as first, _open(b, chosen, watch) as second:
        return compare(first, second, full=chosen.full)


def _check_revision(options: InspectOptions, *given: str | os.PathLike[str]) -> None:
    """Raises UsageError for a revision where nothing that is given is on a Hub."""
    if options.revision and not any(map(_on_a_hub, given)):
        named = " and ".join(repr(os.fspath(one)) for one in given)
        message = f"--revision is for a repo, and {named} {'is' if len(given) == 1 else 'are'} looked for on this disk."
        raise UsageError(message, hint="Leave it out, or give user/name of a repo.")


def _on_a_hub(where: str | os.PathLike[str]) -> re.Match[str] | None:
    """The parts of ``user/repo[@revision][/path]``; None for what is looked for on this disk."""
    return None if isinstance(where, os.PathLike) or _is_here(where) else _REMOTE.fullmatch(where)


@contextmanager
def _open(where: str | os.PathLike[str], options: InspectOptions, progress: Progress) -> Iterator[Side]:
    """The LoRA at ``where``: a file, a folder, or ``user/repo[@revision][/path]``. What exists here comes first."""
    named = _on_a_hub(where)
    if named is None:
        with _on_disk(Path(where).expanduser(), options, progress) as side:
            yield side
        return
    if named["revision"] and options.revision and named["revision"] != options.revision:
        raise UsageError(f"{where} names another revision than --revision {options.revision}.")
    with open_hub(options.hub, options.token) as hub:
        yield _on_hub(hub, named["repo"], named["path"], named["revision"] or options.revision, options, progress)


def _is_here(where: str) -> bool:
    """Whether a text can only mean something on this disk."""
    path = Path(where).expanduser()
    is_file = where.count("/") < 2 and where.endswith(SUFFIX)
    return path.exists() or is_file or where.startswith((".", "/", "~")) or not _REMOTE.fullmatch(where)


@contextmanager
def _on_disk(path: Path, options: InspectOptions, progress: Progress) -> Iterator[Side]:
    if not path.exists():
        raise NotFoundError(f"There is no {path}.", hint="Give a file, a folder, or user/name of a repo on the Hub.")
    found = resolve(path) if path.is_dir() else [path]
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise UsageError(f"{path} holds several LoRAs: {names}.", hint="Give one of them.")
    yield _local_side(found[0], str(found[0]), options, progress)


def _local_side(
    path: Path, shown: str, options: InspectOptions, progress: Progress, configs: Configs | None = None
) -> Side:
    weights = open_weights(path, shown, configs)
    read_weights(weights, progress, Wanted(tensor_sha256=True, values=options.full))

    def read(begin: int, end: int) -> bytes:
        with path.open("rb") as file:
            return os.pread(file.fileno(), end - begin, begin)

    return Side(weights.lora, weights.header, read)


@dataclass(slots=True)
class _Remote:
    """Reads pieces of a file on a Hub; the first answer tells its size, commit and hash."""

    hub: Hub
    repo_id: str
    path: str
    revision: str | None
    size: int = 0
    commit: str = ""
    sha256: str = ""
    seen: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def read(self, begin: int, end: int) -> bytes:
        if (begin, end) not in self.seen:
            piece = self.hub.peek(self.repo_id, self.path, self.commit or self.revision, begin, end)
            self.size = self.size or piece.size
            self.commit, self.sha256 = self.commit or piece.commit, self.sha256 or piece.sha256
            self.seen[begin, end] = piece.data
        return self.seen[begin, end]


def _on_hub(
    hub: Hub, repo_id: str, path: str | None, revision: str | None, options: InspectOptions, progress: Progress
) -> Side:
    """The header in one or two reads; with ``full``, the whole file through the cache."""
    if path is None:
        path, revision = choose(hub, repo_id, revision)
    shown = f"{repo_id}{'@' + revision if revision else ''}/{path}"
    remote = _Remote(hub, repo_id, path, revision)
    try:
        file = hub.head(repo_id, path, revision) if options.full else None
        if file is None:
            remote.read(0, FIRST)
    except NotFoundError as error:
        if error.what != "file":
            raise
        raise not_there(hub, repo_id, path, revision) from error
    if file is not None:
        fetched = fetch_to_cache(hub, repo_id, file, revision, progress)
        configs = _configs_on_hub(hub, repo_id, file.path, file.commit)
        side = _local_side(fetched.path, shown, options, progress, configs)
        side.lora.commit = file.commit
        return side
    return Side(*_described(shown, remote), remote.read)


def _described(shown: str, remote: _Remote) -> tuple[Lora, Header | None]:
    try:
        header = read_header(lambda begin, end: remote.read(begin, FIRST if begin == 0 else end), remote.size)
    except HeaderError as error:
        return unreadable(shown, remote.size, error), None
    lora = describe(shown, header, remote.read, everything=False)
    if lora.alpha is None or lora.format == "peft" or len(lora.family.candidates) != 1:
        configs = _configs_on_hub(remote.hub, remote.repo_id, remote.path, remote.commit)
        lora = describe(shown, header, remote.read, configs=configs, everything=False)
    lora.sha256, lora.commit = remote.sha256 or None, remote.commit
    return lora, header


def _configs_on_hub(hub: Hub, repo_id: str, path: str, commit: str) -> Configs:
    """The configurations beside a file of a repo, as far as they are there and readable."""
    folder = path.rpartition("/")[0]
    configs = {}
    for name in (ADAPTER_CONFIG, TRAIN_CONFIG):
        with suppress(NotFoundError, SettingsError):
            there = f"{folder}/{name}" if folder else name
            configs[name] = read_settings(name, hub.read(repo_id, there, commit, repo_type="model"))
    return configs
