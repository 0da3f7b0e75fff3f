"""The one room that talks to a Hub: the only importer of huggingface_hub and hf_xet, the only place that catches
their errors.

A ``Hub`` is an endpoint and a token, passed with every call; nothing of the clients is patched and no variable is set,
so two hubs can be used in one process. Tokens leave it only in request headers.

Content goes through ``hf_xet``'s upload sessions, one per shard, fed as a stream: that is the interface that tells how
many bytes were new and how far it is, which huggingface_hub's wrapper around it does not, and it needs no temporary
file. The commit that makes them visible is one request (the Hub's NDJSON commit route).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, urljoin, urlsplit

from qflux_hub import __version__, codes, lanes
from qflux_hub.errors import (
    AuthError,
    ConflictError,
    DataError,
    HubError,
    NotFoundError,
    QfluxError,
    RefusedError,
    UsageError,
)
from qflux_hub.lanes import Sent as Sent
from qflux_hub.parts import part
from qflux_hub.report import Finding
from qflux_hub.repos import Add, Commit, Piece, Refs, RemoteFile, RemoteHead, RepoState, RepoType
from qflux_hub.state import cache_root, store, stored

if TYPE_CHECKING:
    from qflux_hub.localhub import LocalHub

# The client warns at import that it ignores this variable; ``lanes`` keeps its meaning.
warnings.filterwarnings("ignore", message=r"The `HF_HUB_ENABLE_HF_TRANSFER`", category=FutureWarning)

_LOGGER = logging.getLogger(__name__)
_LOGGER.addHandler(logging.NullHandler())  # or Python would print what nobody listens to

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGINGFACE_HUB_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Looked at in this order; the documentation that people follow names the second, the client reads the others."""
MAX_OPERATIONS = 2_000
"""What one commit takes; more is refused, because half of a dataset must never show."""
_COMMITTING = 20
"""How many times longer than other requests a commit may take: 10 minutes. It is not repeated."""
_DAY = 24 * 3600
_REDIRECTS = 5
_OTHER_NAMES = {("hf.co", "huggingface.co")}
LARGE = 4 * 1024 * 1024
"""A file of this size or more is sent as an LFS object even when it is text."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token and where it came from, in words that go on from "The token" (``from HF_TOKEN``)."""

    value: str = field(repr=False)
    source: str

    def __post_init__(self) -> None:
        """Raises AuthError for what cannot be sent in a header; the client would print it in its own error."""
        if not re.fullmatch(r"[!-~]+", self.value):
            raise AuthError(
                f"The token {self.source} is none: it is empty, or holds spaces, line ends or letters beyond ASCII.",
                hint="Copy it again; it is one word such as hf_….",
            )


@contextmanager
def open_hub(hub: str | LocalHub | None = None, token: str | None = None) -> Iterator[Hub]:
    """The Hub that a user means: a URL, ``local``, a running LocalHub, or by default ``QFLUX_HUB``, else the
    environment's endpoint. The embedded one is served as long as the context lasts. Raises UsageError for an empty
    text, which whoever gave it did not mean as the default.
    """
    if hub == "":
        raise UsageError("--hub is empty.", hint="Give a URL, `local`, or nothing at all for the default.")
    chosen = hub or os.environ.get("QFLUX_HUB") or None
    if chosen == "local":
        from qflux_hub.localhub import LocalHub

        with LocalHub() as served:
            yield _logged(_embedded(served, token))
    elif chosen is None or isinstance(chosen, str):
        yield _logged(Hub(*_resolve(chosen, token)))
    else:
        yield _logged(_embedded(chosen, token))


def _logged(hub: Hub) -> Hub:
    _LOGGER.info("%s, %s", hub.endpoint, f"with the token {hub.token.source}" if hub.token else "without a token")
    return hub


def _embedded(served: LocalHub, token: str | None) -> Hub:
    given = Token(token.strip(), "given") if token else Token(served.token, "of the embedded hub")
    return Hub(served.url, given, (), identity=f"local-{os.path.realpath(served.dir)}")


def _resolve(url: str | None, explicit: str | None) -> tuple[str, Token | None, tuple[Finding, ...]]:
    """(endpoint, token, warnings). The environment's tokens go to the environment's endpoint only."""
    home = _home()
    endpoint = (url or home).rstrip("/")
    if not re.match(r"https?://[^/?#]", endpoint):
        raise UsageError(f"{endpoint!r} is no Hub.", hint="Give a URL such as http://127.0.0.1:5000, or `local`.")
    if re.match(r"https?://[^/?#]*@", endpoint):
        message = "A Hub's URL has no user or password in it: they would show in messages and cards."
        raise UsageError(message, hint="Give an access token with --token or HF_TOKEN.")
    if explicit:
        return endpoint, Token(explicit.strip(), "given"), ()
    return (endpoint, *find_token()) if endpoint == home else (endpoint, None, ())


def _home() -> str:
    """The endpoint of the environment; an empty ``HF_ENDPOINT``, as CI systems set it, is none."""
    from huggingface_hub import constants

    return (constants.ENDPOINT or "https://huggingface.co").rstrip("/")


def find_token() -> tuple[Token | None, tuple[Finding, ...]]:
    """The token of this environment, and a warning when its variables disagree."""
    given = {name: value for name in TOKEN_VARIABLES if (value := os.environ.get(name, "").strip())}
    if given:
        name, value = next(iter(given.items()))
        differing = [other for other in given if given[other] != value]
        message = f"{name} and {' and '.join(differing)} hold different tokens; {name} is used."
        return Token(value, f"from {name}"), (codes.TOKENS_DIFFER("environment", message),) if differing else ()
    from huggingface_hub import get_token

    stored = get_token()
    return (Token(stored, "of the stored login") if stored else None), ()


def _without_token(endpoint: str, identity: str | None) -> Hub:
    token = None if identity else _resolve(endpoint, None)[1]
    return Hub(endpoint, token, (), identity)


def check_repo_id(repo_id: str) -> str:
    """``repo_id`` when it has the form ``namespace/name``. Raises UsageError."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        hint = "It is user/name, of letters, digits, '-', '_' and '.', without '--' and '..', nor .git at its end."
        raise UsageError(f"{repo_id!r} is no repo id.", hint=hint) from error
    if "/" not in repo_id:
        raise UsageError(
            f"{repo_id!r} has no namespace.", hint=f"Write user/{repo_id}, with your user or organisation."
        )
    return repo_id


def check_ref(name: str | None) -> None:
    """Raises UsageError when git would not let a branch or tag be called ``name``."""
    if name and re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|[/.]$|\.lock(?:/|$)", name):
        hint = "Use letters, digits, '-', '_', '.' and '/', as in v1.0."
        raise UsageError(f"{name!r} cannot name a branch or a tag.", hint=hint)


def check_operations(count: int) -> None:
    """Raises RefusedError when so many files are too many for one commit."""
    if count > MAX_OPERATIONS:
        raise RefusedError(
            f"This would be a commit of {count:,} files; one commit takes {MAX_OPERATIONS:,}.",
            hint="Larger shards need fewer files: --shard-size 1GB. Files of others can be deleted beforehand.",
        )


class Hub:
    """An endpoint with a token. Cheap to make; sends nothing until asked."""

    def __init__(
        self, endpoint: str, token: Token | None = None, findings: Sequence[Finding] = (), identity: str | None = None
    ) -> None:
        self.endpoint = endpoint
        self.token = token
        self.findings = tuple(findings)
        self._identity = identity
        self._has_answered = False
        self.lane = ""
        """How content travelled last, in words; "" before any did."""

    @property
    def name(self) -> str:
        """What tells this hub from others: an endpoint, or the directory of an embedded one, whose port may change."""
        return self._identity or self.endpoint

    @property
    def cache_dir(self) -> Path | None:
        """Where downloads are kept: None (the client's own place) for the environment's endpoint, else a place of this
        hub's own, so that the same repo id on two hubs never mixes.
        """
        if self._identity is None and self.endpoint == _home():
            return None
        name = hashlib.sha256(self.name.encode()).hexdigest()[:16]
        return cache_root() / "hubs" / name

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles without its token; the copy takes what its own environment holds for that endpoint."""
        return _without_token, (self.endpoint, self._identity)

    # --- asking -----------------------------------------------------------------------------------------------

    def require_write(self, repo_id: str, *, create_pr: bool = False) -> None:
        """Raises AuthError unless the token may write to ``repo_id``, as far as the Hub tells. One request.

        Pull requests may be opened on repos of others as well.

        A read token passes ``create_repo`` of an existing repo, so without this the refusal would come after
        everything was read and hashed.
        """
        if self.token is None:
            raise AuthError(
                f"Uploading to {self.endpoint} needs an access token, and none was found.",
                hint="Set HF_TOKEN (or HUGGINGFACE_HUB_TOKEN), run `hf auth login`, or pass --token.",
            )
        with self._translated(repo_id):
            response = self._ask("GET", f"{self.endpoint}/api/whoami-v2")
        user = self._told(response, "name")
        namespace = repo_id.split("/")[0]
        who = f"The token {self.token.source} ({user['name']})"
        with _understood(response):
            access = user.get("auth", {}).get("accessToken") or {}
            role = access.get("role")
            owners = [user["name"], *(organisation["name"] for organisation in user.get("orgs") or [])]
        if role == "read":
            raise AuthError(f"{who} may only read.", hint="Create a token with the role `write` and use that one.")
        if create_pr:
            return
        if role == "fineGrained" and not _may_write(access.get("fineGrained") or {}, repo_id):
            raise AuthError(f"{who} has no write permission for {repo_id}.", hint="Add it in the token's settings.")
        if namespace.casefold() not in (owner.casefold() for owner in owners):
            raise AuthError(
                f"{who} may not write to {namespace}.",
                hint=f"Use one of its own namespaces: {', '.join(owners)}.",
            )

    def state(self, repo_id: str, revision: str | None = None, repo_type: RepoType = "dataset") -> RepoState:
        """The repo at ``revision`` with all its files. One request. Raises NotFoundError, AuthError."""
        url = (
            self._route(repo_id, "revision", revision, repo_type) if revision else self._repo_route(repo_id, repo_type)
        )
        with self._translated(repo_id, revision):
            response = self._ask("GET", url, params={"blobs": "True"})
        told = self._told(response, "id")
        with _understood(response):
            files = {
                file["rfilename"]: RemoteFile(
                    file["rfilename"],
                    file.get("size") or 0,
                    file.get("blobId") or "",
                    (file.get("lfs") or {}).get("sha256"),
                )
                for file in told.get("siblings") or ()
            }
        return RepoState(told.get("sha") or "", bool(told.get("private")), files)

    def refs(self, repo_id: str, repo_type: RepoType = "dataset") -> Refs:
        """The repo's branches and tags."""
        with self._translated(repo_id):
            response = self._ask("GET", f"{self._repo_route(repo_id, repo_type)}/refs")
        told = self._told(response, "branches", "tags")
        with _understood(response):
            return Refs(
                frozenset(ref["name"] for ref in told["branches"]),
                {ref["name"]: ref["targetCommit"] for ref in told["tags"]},
            )

    def read(
        self,
        repo_id: str,
        path: str,
        revision: str,
        span: tuple[int, int] | None = None,
        repo_type: RepoType = "dataset",
    ) -> bytes:
        """The bytes of a file, or the ``span`` (first byte, first byte after) of it. Retried by the client."""
        url = self._file_url(repo_id, path, revision, repo_type)
        headers = {"Range": f"bytes={span[0]}-{span[1] - 1}"} if span else {}
        with self._translated(repo_id, revision):
            response = self._ask("GET", url, headers=headers, follow_redirects=True)
        if span and response.status_code != 206:  # a server without ranges sends the whole file
            return bytes(response.content[span[0] : span[1]])
        return bytes(response.content)

    def head(self, repo_id: str, path: str, revision: str | None = None, repo_type: RepoType = "model") -> RemoteHead:
        """What the Hub says of a file. One request, not repeated: the caller may have a copy to fall back to.

        As the client's ``get_hf_file_metadata``, whose module takes 50 ms to import.
        """
        url = self._file_url(repo_id, path, revision, repo_type)
        with self._translated(repo_id, revision):
            answer = self._stay("HEAD", url)
        told = answer.headers
        etag = (told.get("X-Linked-ETag") or told.get("ETag", "")).removeprefix("W/").strip('"')
        if not etag:
            raise _no_answer(answer)
        size = told.get("X-Linked-Size") or ("" if answer.has_redirect_location else told.get("Content-Length", ""))
        return RemoteHead(
            path,
            told.get("X-Repo-Commit", ""),
            int(size) if size.isdigit() else 0,
            etag,
            told.get("X-Xet-Hash"),
        )

    def heads(
        self, repo_id: str, paths: Sequence[str], commit: str, repo_type: RepoType = "dataset"
    ) -> list[RemoteHead]:
        """The same of several files of a commit, in their order. One request for 500. Raises NotFoundError."""
        there = self.found(repo_id, paths, commit, repo_type)
        if missing := [path for path in paths if path not in there]:
            raise NotFoundError(f"{repo_id} has no {missing[0]} at {commit[:8]}.")
        return [there[path] for path in paths]

    def found(self, repo_id: str, paths: Sequence[str], commit: str, repo_type: RepoType) -> dict[str, RemoteHead]:
        """The same by path, of those that are there."""
        url, told = self._route(repo_id, "paths-info", commit, repo_type), []
        with self._translated(repo_id, commit):
            for start in range(0, len(paths), 500):
                response = self._ask("POST", url, json={"paths": paths[start : start + 500], "expand": False})
                with _understood(response):
                    told += [one for one in response.json() if one.keys() >= {"path", "size", "oid"}]
        return {
            one["path"]: RemoteHead(
                one["path"], commit, one["size"], (one.get("lfs") or one)["oid"], one.get("xetHash")
            )
            for one in told
        }

    def peek(
        self, repo_id: str, path: str, revision: str | None, begin: int, end: int, repo_type: RepoType = "model"
    ) -> Piece:
        """Some bytes of a file. A server that ignores ranges is cut off behind the last of them."""
        url = self._file_url(repo_id, path, revision, repo_type)
        data = b""
        with self._translated(repo_id, revision), lanes.get(url, self._headers(), (begin, end)) as response:
            first, wanted = (begin, end - begin) if response.status_code == 206 else (0, end)
            for piece in response.iter_bytes(lanes.PIECE // 16):
                data += piece
                if len(data) >= wanted:
                    break
        data = data[begin - first : wanted]
        told = [answer.headers for answer in (*response.history, response)]
        total = response.headers.get("Content-Range", "").rpartition("/")[2] or response.headers.get("Content-Length")
        etag = next((one["X-Linked-ETag"] for one in told if "X-Linked-ETag" in one), "").strip('W/"')
        commit = next((one["X-Repo-Commit"] for one in told if "X-Repo-Commit" in one), "")
        return Piece(data, int(total or 0), commit, etag if len(etag) == 64 else "")

    def fetch(self, repo_id: str, file: RemoteHead, start: int = 0, repo_type: RepoType = "model") -> Iterator[bytes]:
        """The bytes of a file from ``start`` on, as they come. Nothing is verified here."""
        headers = self._headers()
        with self._translated(repo_id, file.commit):
            access = self._read_access(repo_id, file, repo_type)
            self._took(lanes.xet_lane() if access else lanes.HTTP)
            if access and file.xet:
                yield from lanes.fetch_by_xet(access, file.xet, file.size, start)
            else:
                url = self._file_url(repo_id, file.path, file.commit, repo_type)
                yield from lanes.fetch_by_http(url, headers, file.size, start)

    def fetch_into(self, repo_id: str, file: RemoteHead, target: Path, repo_type: RepoType = "model") -> Iterator[int]:
        """Write a file to ``target``, from its beginning; yields how much of it is there while it grows.

        Only where the content store holds it; for any other file nothing is done, and nothing yielded. Nothing is
        verified here.
        """
        with self._translated(repo_id, file.commit):
            access = self._read_access(repo_id, file, repo_type)
            if access and file.xet:
                self._took(lanes.xet_lane())
                yield from lanes.write_by_xet(access, file.xet, file.size, target)

    def fetch_fast(self, repo_id: str, file: RemoteHead, target: Path, repo_type: RepoType = "model") -> bool:
        """Fetch a large file in parallel ranges, where the user asked for it and Xet does not do it better.

        False when that is not the way for this file. Nothing is verified here.
        """
        if not lanes.is_accelerated() or file.size < lanes.PARALLEL_FROM:
            return False
        with self._translated(repo_id, file.commit):
            if self._read_access(repo_id, file, repo_type):
                return False
            self._took(lanes.PARALLEL)
            url = self._file_url(repo_id, file.path, file.commit, repo_type)
            lanes.fetch_in_parallel(url, self._headers(), target)
        return True

    def _took(self, lane: str) -> None:
        """Note, and say once to those who listen, how content travels."""
        if lane != self.lane:
            _LOGGER.info("Content travels by %s.", lane)
        self.lane = lane

    def _read_access(self, repo_id: str, file: RemoteHead, repo_type: RepoType) -> lanes.Access | None:
        if file.xet is None:
            return None
        url = self._route(repo_id, "xet-read-token", file.commit, repo_type)
        return self._access(url)

    def _access(self, url: str) -> lanes.Access | None:
        """Access to the content store by its token route, if this Hub has one.

        One that had none is not asked again until the next day. One on this machine is: what listens on a port there
        may soon be another Hub.
        """
        is_near = urlsplit(self.endpoint).hostname in ("127.0.0.1", "localhost", "::1")
        today = str(int(time.time() // _DAY))
        if lanes.is_xet_off() or (not is_near and stored(self._no_xet, today) is not None):
            return None
        access = lanes.xet_access(url, self._headers())
        if access is None and not is_near:
            store(self._no_xet, today, b"")
        return access

    @property
    def _no_xet(self) -> str:
        """The place in the local cache that says so."""
        return f"{self.endpoint} without Xet"

    def cache_of(self, repo_id: str, repo_type: RepoType = "model") -> Path:
        """Where files of a repo are kept, in the client's own layout: blobs, snapshots, refs."""
        from huggingface_hub import constants

        folder = "--".join([f"{repo_type}s", *repo_id.split("/")])  # ``repo_folder_name``, which takes long to import
        return (self.cache_dir or Path(constants.HF_HUB_CACHE)) / folder

    @property
    def is_offline(self) -> bool:
        """Whether the environment forbids to ask this Hub. The embedded one is in this very process, and never far."""
        from huggingface_hub import constants

        return bool(constants.HF_HUB_OFFLINE)

    def open(self, repo_id: str, path: str, revision: str, size: int, repo_type: RepoType = "dataset") -> BinaryIO:
        """A seekable file of ``size`` bytes, read by ranges exactly as they are asked for.

        The client's file system takes 90 ms to import, asks for every file once more, and by default reads 5 MB ahead
        of every seek: for the metadata of 100 row groups, half a gigabyte.
        """
        return part(size, lambda at, count: self.read(repo_id, path, revision, (at, at + count), repo_type), piece=0)

    def url(self, repo_id: str, repo_type: RepoType = "dataset") -> str:
        """The page of a repo."""
        return f"{self.endpoint}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}"

    # --- changing ---------------------------------------------------------------------------------------------

    def create_repo(self, repo_id: str, *, private: bool, repo_type: RepoType = "dataset") -> None:
        """Create the repo; one that exists already is left as it is."""
        organization, name = repo_id.split("/")
        visibility = "private" if private else "public"
        order = {"name": name, "organization": organization, "type": repo_type, "visibility": visibility}
        with self._translated(repo_id):
            for _ in range(5):
                response = self._ask("POST", f"{self.endpoint}/api/repos/create", accept=(409,), json=order)
                if response.status_code != 409 or "another conflicting operation" not in response.text:
                    return  # made, or there already
                time.sleep(1)  # one user's repos are made one after the other
        raise HubError(f"{self.endpoint} did not create {repo_id}: {response.text}.", hint="Try again later.")

    def create_branch(self, repo_id: str, branch: str, repo_type: RepoType = "dataset") -> None:
        """Create ``branch`` from main; one that exists already is left as it is."""
        with self._translated(repo_id):
            self._ask("POST", self._route(repo_id, "branch", branch, repo_type), accept=(409,), json={})

    def create_tag(self, repo_id: str, tag: str, commit: str, repo_type: RepoType = "dataset") -> None:
        """Name a commit; nothing is done when it has that name. Raises ConflictError when another has."""
        with self._translated(repo_id):
            response = self._ask(
                "POST", self._route(repo_id, "tag", commit, repo_type), accept=(409,), json={"tag": tag}
            )
        if response.status_code == 409 and self.refs(repo_id, repo_type).tags.get(tag) != commit:
            raise ConflictError(f"{repo_id} has a tag {tag!r} already.", hint="Choose another name.")

    def check_card(self, text: str, repo_type: RepoType = "dataset") -> None:
        """Raises DataError for a card that this Hub would refuse. One request."""
        with self._translated("the card"):
            order = {"repoType": repo_type, "content": text}
            response = self._ask("POST", f"{self.endpoint}/api/validate-yaml", accept=(400,), json=order)
        if response.status_code != 400:
            return
        said = "; ".join(str(one.get("message", one)) for one in self._told(response).get("errors", []))
        raise DataError(f"The Hub refuses the card: {said or 'no reason given'}.", hint="Correct its front matter.")

    def upload_modes(
        self,
        repo_id: str,
        files: Sequence[tuple[str, int, bytes]],
        *,
        revision: str | None = None,
        create_pr: bool = False,
        repo_type: RepoType = "dataset",
    ) -> dict[str, str]:
        """path -> "lfs", "regular", or "ignored" by the repo's own rules. ``files``: path, size, the first bytes."""
        named = [
            {"path": path, "size": size, "sample": base64.b64encode(sample[:512]).decode()}
            for path, size, sample in files
        ]
        modes: dict[str, str] = {}
        for start in range(0, len(named), 256):
            with self._translated(repo_id, revision):
                response = self._ask(
                    "POST",
                    self._route(repo_id, "preupload", revision, repo_type),
                    params={"create_pr": "1"} if create_pr else None,
                    json={"files": named[start : start + 256]},
                )
            for one in self._told(response, "files")["files"]:
                modes[one["path"]] = "ignored" if one.get("shouldIgnore") else one["uploadMode"]
        return modes

    def send(
        self,
        repo_id: str,
        name: str,
        write: Callable[[Stream], object],
        *,
        revision: str | None = None,
        create_pr: bool = False,
        repo_type: RepoType = "dataset",
    ) -> Sent:
        """Stream one large file: ``write`` is called with a sink, and everything it puts there is sent.

        Content that the Hub has already is not sent again. Nothing is visible before a commit names the hash. Safe to
        repeat; several may run in threads.
        """
        upload = self._upload(repo_id, name, revision, repo_type, create_pr=create_pr)
        try:
            write(Stream(upload, lambda: self._translated(repo_id, revision)))
            with self._translated(repo_id, revision):
                return upload.finish()
        except BaseException:
            store(self._no_xet, "", b"")  # what was known of this Hub may be so no more
            upload.abort()
            raise

    def _upload(
        self, repo_id: str, name: str, revision: str | None, repo_type: RepoType, *, create_pr: bool
    ) -> lanes.Upload:
        url = self._route(repo_id, "xet-write-token", revision, repo_type) + ("?create_pr=1" if create_pr else "")
        headers = self._headers()
        with self._translated(repo_id, revision):
            access = self._access(url)
            self._took(lanes.xet_lane() if access else lanes.LFS)
            if access is not None:
                return lanes.XetUpload(access, name)
        return lanes.LfsUpload(self.url(repo_id, repo_type), name, revision, headers)

    def commit(
        self,
        repo_id: str,
        adds: Sequence[Add],
        deletions: Sequence[str],
        *,
        parent: str | None,
        message: str,
        description: str = "",
        revision: str | None = None,
        create_pr: bool = False,
        repo_type: RepoType = "dataset",
    ) -> Commit:
        """Make all changes visible at once, if ``parent`` is still the head; ConflictError when it is not.

        Sent once, and again only when the Hub says that it takes no more of them now: a commit whose answer was lost
        may have happened, so the caller looks before it repeats.
        """
        from huggingface_hub.utils import hf_raise_for_status

        check_operations(len(adds) + len(deletions))
        header = {"summary": message, "description": description, **({"parentCommit": parent} if parent else {})}
        lines: list[dict[str, Any]] = [{"key": "header", "value": header}]
        lines += map(_operation, adds)
        lines += [{"key": "deletedFile", "value": {"path": path}} for path in deletions]
        body = b"\n".join(json.dumps(line).encode() for line in lines)
        with self._translated(repo_id, revision):
            response = lanes.request(
                "POST",
                self._route(repo_id, "commit", revision, repo_type),
                seconds=_COMMITTING * lanes.patience(),
                again=False,
                retry_on_status_codes=429,
                params={"create_pr": "1"} if create_pr else None,
                headers=self._headers() | {"Content-Type": "application/x-ndjson"},
                content=body,
            )
            hf_raise_for_status(response)
        answer = self._told(response, "commitOid", "commitUrl")
        return Commit(answer["commitOid"], answer["commitUrl"], answer.get("pullRequestUrl"))

    def _file_url(self, repo_id: str, path: str, revision: str | None, repo_type: RepoType) -> str:
        """As ``hf_hub_url`` gives it, whose module takes 50 ms to import."""
        return f"{self.url(repo_id, repo_type)}/resolve/{_quoted(revision)}/{quote(path)}"

    def _route(self, repo_id: str, verb: str, revision: str | None, repo_type: RepoType) -> str:
        return f"{self._repo_route(repo_id, repo_type)}/{verb}/{_quoted(revision)}"

    def _repo_route(self, repo_id: str, repo_type: RepoType) -> str:
        return f"{self.endpoint}/api/{repo_type}s/{repo_id}"

    def _ask(
        self,
        method: str,
        url: str,
        *,
        accept: Sequence[int] = (),
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> Any:
        """The answer to a request that may be repeated. Raises the client's error for a status beyond 399, but for
        those in ``accept``. A Hub that cannot be reached at all is told at once, not after the last repetition.
        """
        from huggingface_hub.utils import hf_raise_for_status

        response = lanes.request(
            method, url, again=self._has_answered, headers=self._headers() | dict(headers or {}), **body
        )
        self._has_answered = True
        if response.status_code not in accept:
            hf_raise_for_status(response)
        return response

    def _stay(self, method: str, url: str) -> Any:
        """The answer to one request, following it where a repo was renamed, but not to a storage: what the Hub says of
        a file stands in the answer that points there, and the token is not meant for others.
        """
        from huggingface_hub import constants
        from huggingface_hub.utils import hf_raise_for_status

        headers = self._headers() | {"Accept-Encoding": "identity"}
        for _ in range(_REDIRECTS):
            response = lanes.request(
                method,
                url,
                seconds=constants.HF_HUB_ETAG_TIMEOUT,
                again=False,
                retry_on_status_codes=(),
                headers=headers,
                follow_redirects=False,
            )
            hf_raise_for_status(response)
            target = urljoin(url, response.headers.get("Location", ""))
            if not response.has_redirect_location or not is_same_hub(url, target):
                return response
            url = target
        raise HubError(f"{self.endpoint} sends {urlsplit(url).path} round in a circle.", hint="Try again later.")

    def _headers(self) -> dict[str, str]:
        """Made here: the client sends a request of its own, for a list, before it makes them."""
        from huggingface_hub import __version__ as client

        python = ".".join(map(str, sys.version_info[:3]))
        agent = {"user-agent": f"qflux-hub/{__version__}; hf_hub/{client}; python/{python}"}
        return agent | ({"authorization": f"Bearer {self.token.value}"} if self.token else {})

    def _told(self, response: Any, *names: str) -> dict[str, Any]:
        """The JSON object of an answer. Raises HubError when it is none, or lacks one of ``names``."""
        with contextlib.suppress(ValueError):
            told = response.json()
            if isinstance(told, dict) and told.keys() >= set(names):
                return told
        raise _no_answer(response)

    @contextmanager
    def _translated(self, what: str, revision: str | None = None) -> Iterator[None]:
        """Turn the clients' errors into ours."""
        from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

        try:
            with _CLIENT.at_work():
                yield
        except QfluxError:
            raise
        except HTTPError as error:
            raise self._error(error, what, revision) from error
        except OfflineModeIsEnabled as error:
            message = f"HF_HUB_OFFLINE is set, which forbids every request, so {self.endpoint} was not asked."
            raise HubError(message, hint="Unset it for this command.") from error
        except (RuntimeError, OSError) as error:  # what hf_xet raises
            raise self._xet_error(error, what) from error

    def _error(self, error: Any, what: str, revision: str | None) -> QfluxError:
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        response = getattr(error, "response", None)
        status = response.status_code if response is not None else None
        said = (getattr(error, "server_message", None) or "").strip()
        token = f"The token {self.token.source}" if self.token else ""
        if isinstance(error, GatedRepoError):
            return AuthError(
                f"{what} is gated, and this account has not been let in.",
                hint=f"Ask for access on {self.url(what)}, then use that account's token.",
            )
        if isinstance(error, RevisionNotFoundError):
            hint = "It is a branch, a tag or a commit id."
            return NotFoundError(f"{what} has no revision {revision!r}.", hint=hint, what="revision")
        if isinstance(error, EntryNotFoundError):
            return NotFoundError(f"{what}: {said or 'no such file'}.")
        if status == 401 and self.token:
            return AuthError(f"{token} is not accepted by {self.endpoint}.", hint="It is wrong, revoked or expired.")
        if status == 401:
            return AuthError(
                f"{what} is not visible without an access token: it is private, or does not exist.",
                hint="Set HF_TOKEN (or HUGGINGFACE_HUB_TOKEN), run `hf auth login`, or pass --token.",
            )
        if isinstance(error, RepositoryNotFoundError):
            return NotFoundError(
                f"There is no {what} on {self.endpoint}, or it is private and this account may not see it.",
                hint="Check the spelling, and which account the token belongs to.",
                what="repo",
            )
        if status == 403:
            return AuthError(f"{token or 'This access'} is not allowed to do this: {said or what}.")
        if status in (409, 412):
            return ConflictError(f"{what} changed meanwhile: {said}", hint="Run the same command again.")
        if status is None:
            reason = str(error).rstrip(".") or type(error).__name__
            return HubError(
                f"No answer from {self.endpoint}: {reason}.", hint="Check the network and --hub / HF_ENDPOINT."
            )
        passing = status == 429 or status >= 500
        return HubError(
            f"{self.endpoint} answered {status} for {what}: {said.rstrip('.') or 'no reason given'}.",
            hint="Try again later." if passing else "",
        )

    def _xet_error(self, error: Exception, what: str) -> QfluxError:
        import hf_xet

        if isinstance(error, hf_xet.XetAuthenticationError):
            return AuthError(f"{self.endpoint} refuses to store content for {what}: {error}.")
        return HubError(f"Moving content of {what} failed: {error}.", hint="Run the same command again; it resumes.")


class _Relay(logging.Filter):
    """While the client works for us, what it says goes to our logger, and not to stderr, where it prints every retry.

    It is put on the client's own handler: what others do with the client, and other listeners, hear what they heard.
    """

    _chatter = re.compile(r"thrown while requesting|^Retrying in ")

    def __init__(self) -> None:
        super().__init__()
        self._jobs, self._lock = 0, threading.Lock()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around every call of the client, in whatever thread."""
        with self._lock:
            self._jobs += 1
            for handler in logging.getLogger("huggingface_hub").handlers:
                handler.addFilter(self)  # once: what is there is not added again
        try:
            yield
        finally:
            with self._lock:
                self._jobs -= 1

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the client may print it itself."""
        if not self._jobs:
            return True
        said = record.getMessage()
        _LOGGER.log(logging.INFO if self._chatter.search(said) else record.levelno, "%s", said)
        return False


_CLIENT = _Relay()


class Stream:
    """What ``Hub.send`` hands to its writer: a sink whose errors are told from the writer's own."""

    def __init__(self, upload: lanes.Upload, translated: Callable[[], AbstractContextManager[None]]) -> None:
        self._upload = upload
        self._translated = translated

    def write(self, data: bytes, /) -> None:
        """Take the next bytes; blocks while too many are under way."""
        with self._translated():
            self._upload.write(data)


def is_same_hub(url: str, target: str) -> bool:
    """Whether a redirect stays on the Hub that was asked, so that it may have the token: on its host, encrypted from
    now on or as before, or from another name of it.
    """
    here, there = urlsplit(url), urlsplit(target)
    if here[:2] == there[:2]:
        return True
    return there.scheme == "https" and (there.netloc == here.netloc or (here.netloc, there.netloc) in _OTHER_NAMES)


def _no_answer(response: Any) -> HubError:
    begin = " ".join(response.text[:200].split())
    return HubError(
        f"What came for {response.request.url} is no answer of a Hub: {begin or 'nothing'}.",
        hint="Check --hub / HF_ENDPOINT, and whether this network wants a login of its own.",
    )


@contextmanager
def _understood(response: Any) -> Iterator[None]:
    """Around taking an answer apart. Raises HubError when something in it is not where it should be."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise _no_answer(response) from error


def _may_write(fine_grained: Mapping[str, Any], repo_id: str) -> bool:
    """Whether a fine-grained token names write permission for the repo or its namespace."""
    wanted = {repo_id.casefold(), repo_id.split("/")[0].casefold()}
    return any(
        "repo.write" in (scope.get("permissions") or ())
        and str(scope.get("entity", {}).get("name", "")).casefold() in wanted
        for scope in fine_grained.get("scoped") or ()
    )


def _quoted(revision: str | None) -> str:
    """A revision as one part of a URL's path."""
    return quote(revision or "main", safe="")


def _operation(add: Add) -> dict[str, Any]:
    if add.content is None:
        value = {"path": add.path, "algo": "sha256", "oid": add.sha256, "size": add.size}
        return {"key": "lfsFile", "value": value}
    content = base64.b64encode(add.content).decode()
    return {"key": "file", "value": {"path": add.path, "content": content, "encoding": "base64"}}
