"""Download LoRA weights: by name, or the only ones of a repo; verified while they come, resumed, described."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from qflux_hub import codes, disk
from qflux_hub.errors import HubError, NotFoundError
from qflux_hub.fetch import (
    Fetched,
    cached,
    cached_commit,
    cached_names,
    fetch_to_cache,
    fetch_to_folder,
    is_commit,
)
from qflux_hub.hub import Hub, check_repo_id, open_hub
from qflux_hub.lora import names
from qflux_hub.lora.alpha import ADAPTER_CONFIG, TRAIN_CONFIG
from qflux_hub.lora.describe import Lora
from qflux_hub.lora.local import Weights, open_weights, read_config
from qflux_hub.lora.results import LocalPath, LoraDownload
from qflux_hub.lora.sources import DEFAULT_NAME, check_path
from qflux_hub.options import LoraDownloadKeywords, LoraDownloadOptions
from qflux_hub.report import Finding, Progress
from qflux_hub.repos import RemoteHead
from qflux_hub.writing import require_folder

TRIES, PAUSE = 3, 1.0
"""How often a Hub that does not answer is asked, where no copy is in the cache; seconds between."""


def download_lora(
    repo_id: str,
    filename: str | None = None,
    *,
    progress: Progress | None = None,
    **options: Unpack[LoraDownloadKeywords],
) -> LocalPath:
    """Download LoRA weights from a model repo; returns the local path, a text whose ``report`` says how.

    ``filename``: None is ``pytorch_lora_weights.safetensors``, else the only candidate of the repo. ``repo_id`` may
    name the file as well, ``user/name/path/file.safetensors``. ``local_dir`` puts it there instead of into the cache.
    The other options and their defaults are those of ``options.LoraDownloadOptions``.

    Raises NotFoundError with what is there, UsageError when several could be meant, AuthError, HubError,
    VerificationError when the content came twice with a wrong hash, RefusedError where another file is in the way.
    """
    started = time.perf_counter()
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)/(.+)", repo_id)
    if found and filename is None:
        repo_id, filename = found[1], found[2]
    if filename is not None:
        check_path(filename)
    chosen = LoraDownloadOptions(filename=filename, **options)
    if chosen.local_dir is not None:
        require_folder(Path(chosen.local_dir).expanduser() if os.fspath(chosen.local_dir) else "")
    with open_hub(chosen.hub, chosen.token) as hub:
        report = _Download(hub, check_repo_id(repo_id), chosen, progress or Progress()).run()
    report.seconds = time.perf_counter() - started
    path = LocalPath(report.path)
    path.report = report
    return path


@dataclass(slots=True)
class _Download:
    """One run."""

    hub: Hub
    repo_id: str
    options: LoraDownloadOptions
    progress: Progress
    findings: list[Finding] = field(default_factory=list)

    def run(self) -> LoraDownload:
        self.findings += self.hub.findings
        fetched = self._pinned() or self._fetch()
        self.findings += fetched.findings
        weights = self._open(fetched)
        self.findings += map(_for_who_downloads(weights.lora), weights.lora.findings)
        weights.lora.sha256 = fetched.file.sha256
        weights.lora.commit = fetched.file.commit
        return LoraDownload(
            repo_id=self.repo_id,
            revision=self.options.revision or "main",
            commit=fetched.file.commit,
            path=str(fetched.path),
            filename=fetched.file.path,
            size=weights.size,
            sha256=fetched.file.sha256,
            verified=fetched.verified,
            from_cache=fetched.from_cache,
            received=fetched.received,
            lora=weights.lora,
            lane=self.hub.lane if fetched.received else "",
            findings=self.findings,
        )

    def _open(self, fetched: Fetched) -> Weights:
        """The weights, described with the configurations beside them in the repo where they do not say their alpha."""
        name = Path(fetched.file.path).name
        alone = open_weights(fetched.path, name)
        if alone.header is None or alone.lora.alpha is not None:
            return alone
        configs = self._configs(fetched)
        if not configs:
            return alone
        weights = open_weights(fetched.path, name, configs)
        if self.options.local_dir is not None:  # where only the weights are put
            lacks = [one for one in alone.lora.findings if one.code == codes.NO_ADAPTER_CONFIG.name]
            weights.lora.findings += [one for one in lacks if one not in weights.lora.findings]
        return weights

    def _configs(self, fetched: Fetched) -> dict[str, dict[str, Any]]:
        """The configurations beside a file in its repo. Asked for when the file is new, then taken from the cache."""
        folder, commit = fetched.file.path.rpartition("/")[0], fetched.file.commit
        paths = [f"{folder}/{name}".lstrip("/") for name in (ADAPTER_CONFIG, TRAIN_CONFIG)]
        copies = [cached(self.hub, self.repo_id, path, commit, self.progress) for path in paths]
        if not fetched.from_cache and None in copies:
            with suppress(NotFoundError, HubError):  # the weights are here: more words on them are not worth failing
                there = self.hub.found(self.repo_id, paths, commit, "model")
                copies = [fetch_to_cache(self.hub, self.repo_id, one, commit, self.progress) for one in there.values()]
        configs: dict[str, dict[str, Any]] = {}
        for copy in copies:
            if copy is not None:
                configs |= read_config(copy.path, self.findings.append)
        return configs

    def _pinned(self) -> Fetched | None:
        """A cached file of a full commit id never changes: nobody is asked."""
        if is_commit(self.options.revision) and self.options.filename and self.options.local_dir is None:
            return cached(self.hub, self.repo_id, self.options.filename, self.options.revision, self.progress)
        return None

    def _fetch(self) -> Fetched:
        if self.hub.is_offline:
            if copy := self._cached("HF_HUB_OFFLINE is set"):
                return copy
            raise HubError(
                f"{self.options.filename or DEFAULT_NAME} of {self.repo_id} is not in the cache, and HF_HUB_OFFLINE "
                "forbids to ask the Hub.",
                hint="Download it once with a network.",
            )
        for attempt in range(1, TRIES + 1):
            try:
                file = self._head()
                break
            except HubError as error:
                if copy := self._cached(error.message):
                    return copy
                if attempt == TRIES:
                    raise
            time.sleep(PAUSE)
        if self.options.local_dir is None:
            return fetch_to_cache(self.hub, self.repo_id, file, self.options.revision, self.progress)
        return self._into_folder(file)

    def _into_folder(self, file: RemoteHead) -> Fetched:
        folder = Path(self.options.local_dir or ".").expanduser()
        with disk.writing_to(folder / file.path):
            return fetch_to_folder(self.hub, self.repo_id, file, folder, self.progress, force=self.options.force)

    def _head(self) -> RemoteHead:
        """What the Hub says of the file that is meant. One request when it has the expected name."""
        wanted, revision = self.options.filename or DEFAULT_NAME, self.options.revision
        try:
            return self.hub.head(self.repo_id, wanted, revision)
        except NotFoundError as error:
            if error.what != "file":
                raise
        state = self.hub.state(self.repo_id, revision, "model")
        sizes = {path: file.size for path, file in state.files.items()}
        if self.options.filename is not None:
            raise names.missing(wanted, sizes, self.repo_id, revision)
        return self.hub.head(self.repo_id, names.only(sizes, self.repo_id), state.commit)

    def _cached(self, why: str) -> Fetched | None:
        """The cached copy, with a word that it may be old."""
        commit = cached_commit(self.hub, self.repo_id, self.options.revision)
        there = cached_names(self.hub, self.repo_id, commit) if commit else []
        if commit is None or not there:
            return None
        name = self.options.filename or names.only(dict.fromkeys(there, 0), self.repo_id)
        fetched = cached(self.hub, self.repo_id, name, self.options.revision, self.progress)
        if fetched is None:
            return None
        if self.options.local_dir is not None:
            fetched = self._into_folder(fetched.file)
        message = f"{name} is the cached copy of {commit[:8]}; the Hub was not asked: {why.rstrip('.')}."
        fetched.findings.append(codes.CACHED_COPY(name, message))
        return fetched


def _for_who_downloads(lora: Lora) -> Callable[[Finding], Finding]:
    """What is found, with the way out of someone who uses the weights and did not train them."""
    ways = {codes.MISSING_ALPHA.name: "ask its author for alpha; the strength to load it with is alpha / rank"}
    if lora.scale is not None:
        strengths = (
            f"with strength {lora.scale / used:g} in {loader}"
            for loader, used in lora.loaders.items()
            if used and not math.isclose(used, lora.scale, rel_tol=1e-6)
        )
        ways[codes.SCALES_DIFFER.name] = f"load it {', '.join(strengths)}"
    return lambda one: replace(one, fix=ways.get(one.code, one.fix))
