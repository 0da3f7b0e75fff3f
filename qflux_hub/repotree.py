"""A dataset repo on a Hub as a tree: the same layouts read it that read a local folder.

Small files are read as they are asked for; tars and Parquet files, of which all is wanted, are downloaded into the
hub's cache. What the Hub lists a SHA-256 of is compared with it.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import BinaryIO

from qflux_hub.errors import VerificationError
from qflux_hub.hub import Hub
from qflux_hub.naming import is_litter
from qflux_hub.report import Finding
from qflux_hub.sample import Blob

_WHOLE = (".parquet", ".tar")


class RepoTree:
    """The files of a repo at one commit, but for hidden ones and those ``without``.

    ``files``: path -> (size, SHA-256 in hex or None). ``received`` counts the bytes of what was read or downloaded.
    """

    def __init__(
        self,
        hub: Hub,
        repo_id: str,
        commit: str,
        files: Mapping[str, tuple[int, str | None]],
        without: Collection[str] = (),
    ) -> None:
        self.name = repo_id
        self.findings: list[Finding] = []
        self.files: dict[str, list[str]] = {}
        self._listed = files
        self._opener = _RepoOpener(hub, repo_id, commit, {path: digest for path, (_, digest) in files.items()})
        for path in sorted(files):
            folder, _, name = path.rpartition("/")
            if path not in without and not any(map(is_litter, path.split("/"))):
                self.files.setdefault(folder, []).append(name)

    @property
    def received(self) -> int:
        """Bytes that were read or downloaded until now."""
        return self._opener.received

    def blob(self, path: str) -> Blob:
        """The file at ``path``, verified when it is read as a whole."""
        if path not in self._listed:
            raise FileNotFoundError(2, "No such file", path)
        size, digest = self._listed[path]
        return Blob(path, size, self._opener, sha256=bytes.fromhex(digest) if digest else None)

    def read(self, path: str) -> bytes:
        """All bytes of a small file."""
        with self.blob(path).open() as file:
            return file.read()


class _RepoOpener:
    """Opens the files of a repo; what was downloaded and compared once is not again."""

    def __init__(self, hub: Hub, repo_id: str, commit: str, hashes: Mapping[str, str | None]) -> None:
        self._hub, self._repo_id, self._commit, self._hashes = hub, repo_id, commit, hashes
        self._downloaded: dict[str, Path] = {}
        self._lock = threading.Lock()
        self.received = 0

    def __reduce__(self) -> tuple[object, ...]:
        return _RepoOpener, (self._hub, self._repo_id, self._commit, self._hashes)

    def __call__(self, name: str) -> BinaryIO:
        """The file's bytes, seekable."""
        if name.endswith(_WHOLE):
            return self._whole(name).open("rb")
        data = self._hub.read(self._repo_id, name, self._commit)
        with self._lock:
            self.received += len(data)
        return io.BytesIO(data)

    def _whole(self, name: str) -> Path:
        """The file in the cache, compared with the listed hash; one that differs is downloaded once more."""
        with self._lock:
            for again in (False, True):
                if name in self._downloaded:
                    break
                path = self._hub.download(self._repo_id, self._commit, [name], again=again) / name
                with path.open("rb") as file:
                    if self._hashes[name] in (None, hashlib.file_digest(file, "sha256").hexdigest()):
                        self._downloaded[name] = path
                        self.received += path.stat().st_size
            else:
                if name not in self._downloaded:
                    raise VerificationError(
                        f"{name} of {self._repo_id} arrives with other bytes than the Hub lists, twice.",
                        hint="Something on the way, or this disk, alters data.",
                    )
            return self._downloaded[name]
