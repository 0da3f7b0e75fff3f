"""Everything that a route may use, opened on one directory, and the table that leads from a path to a route."""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import platformdirs
from starlette.responses import Response

from qflux_hub.errors import NotFoundError, UsageError
from qflux_hub.localhub.accounts import Accounts, Signer
from qflux_hub.localhub.commits import Committer
from qflux_hub.localhub.db import Database
from qflux_hub.localhub.exchange import Call
from qflux_hub.localhub.files import ContentFiles
from qflux_hub.localhub.lfs import LargeFiles
from qflux_hub.localhub.problems import gated
from qflux_hub.localhub.store import Repo, Store
from qflux_hub.localhub.trees import Trees
from qflux_hub.localhub.xet import XetStore

DATABASE = "hub.sqlite"


def default_dir() -> Path:
    """Where a hub lives that was not given a directory: ``QFLUX_HUB_DIR``, else the platform's user data directory."""
    return Path(os.environ.get("QFLUX_HUB_DIR") or platformdirs.user_data_path("qflux") / "hub")


def open_existing(directory: str | Path | None) -> Services:
    """Open a directory that a hub was served from before; NotFoundError when there was none."""
    place = Path(directory) if directory is not None else default_dir()
    if not (place / DATABASE).is_file():
        raise NotFoundError(f"{place} is not the directory of a hub", hint="`qflux hub --dir DIR` makes one.")
    return Services(place)


def begin_xet_era(db: sqlite3.Connection) -> None:
    """Make clients forget the xorbs that they know, inside the caller's transaction.

    hf_xet remembers chunks by the URL of the store; with a new URL it does not build on xorbs that are gone or damaged.
    """
    db.execute("UPDATE setting SET value = ? WHERE key = 'xet-era'", (secrets.token_hex(4),))


class Services:
    """One open hub directory. Any number of processes may have it open at once."""

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            message = f"{directory} cannot be the directory of a hub: {error.strerror}"
            raise UsageError(message, hint="Choose another with --dir or QFLUX_HUB_DIR.") from error
        self.directory = directory
        self.db = Database(directory / DATABASE)
        self.files = ContentFiles(directory, self.db)
        self.accounts = Accounts(self.db)
        self.signer = Signer(bytes.fromhex(self.setting("secret", secrets.token_hex(32))))
        self.store = Store(self.db)
        self.trees = Trees(self.db)
        self.xet = XetStore(self.db, self.files)
        self.large = LargeFiles(self.db, self.files, self.xet)
        self.committer = Committer(self.db, self.store, self.trees, self.large)

    def setting(self, key: str, default: str) -> str:
        """A value that the directory keeps; ``default`` is kept when there is none yet."""
        query = "SELECT value FROM setting WHERE key = ?"
        row = self.db.connection.execute(query, (key,)).fetchone()
        if row is None:
            with self.db.write() as db:
                db.execute("INSERT OR IGNORE INTO setting VALUES (?, ?)", (key, default))
                row = db.execute(query, (key,)).fetchone()
        return str(row["value"])

    def xet_era(self) -> str:
        """The word that ends the URL of the content store, and keys what it says about chunks."""
        return self.setting("xet-era", secrets.token_hex(4))

    def found_damaged(self, name: str) -> None:
        """Stop telling clients that a content is there, so that whoever sends it again mends it."""
        with self.db.write() as db:
            if self.files.distrust(db, name) and name.startswith("xorb/"):
                db.execute("DELETE FROM dedup WHERE xorb = ?", (name.partition("/")[2],))
                begin_xet_era(db)

    def repo(self, call: Call, *, content: bool = False, write: str = "") -> Repo:
        """The repo that the path names, visible to the caller.

        With ``content`` its files must be open to the caller (a gated repo shows itself, but not its files); when
        ``write`` names an action, the caller must be allowed to do it.
        """
        repo = self.store.find(call.params["type"], call.params["repo"], call.caller)
        if content and repo.gated and not call.caller.owns(repo.namespace):
            raise gated(repo.type, repo.full_name, call.caller.is_anonymous)
        if write:
            call.caller.require_write(repo.namespace, write)
        return repo

    def close(self) -> None:
        """Close the database. No thread may be using it."""
        self.db.close()


Handler = Callable[[Services, Call], Response]
StreamHandler = Callable[[Services, Call], Awaitable[Response]]

_FIELDS = {
    "type": r"(?P<type>models|datasets|spaces)",
    "kind": r"(?P<kind>(?:datasets/|spaces/)?)",
    "repo": r"(?P<repo>[^/]+/[^/]+)",
    "rev": r"(?P<rev>refs/(?:heads|tags|pr|convert)/[^/]+|[^/]+)",
    "path": r"(?P<path>.+)",
}


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path pattern, and what answers them.

    ``{type}`` is models, datasets or spaces, ``{kind}`` the optional prefix of pages, ``{repo}`` two segments,
    ``{rev}`` a revision, ``{path}`` the rest; any other name is one segment. Patterns match the raw path, because a
    revision may hold an encoded slash. Synchronous handlers run on a worker thread with the body read; asynchronous
    ones stream it.
    """

    method: str
    pattern: re.Pattern[str]
    handler: Handler | None = None
    stream: StreamHandler | None = None

    def answer(self, hub: Services, call: Call) -> Response:
        """Run the synchronous handler."""
        if self.handler is None:
            raise TypeError(f"{self.pattern.pattern} streams its body")
        return self.handler(hub, call)

    def match(self, method: str, raw_path: str) -> dict[str, str] | None:
        """The decoded parts of a path that this route answers."""
        if method != self.method and not (method == "HEAD" and self.method == "GET"):
            return None
        found = self.pattern.fullmatch(raw_path)
        if found is None:
            return None
        params = {key: unquote(value or "") for key, value in found.groupdict().items()}
        if "type" in params:
            params["type"] = params["type"].removesuffix("s")
        if "kind" in params:
            params["type"] = params.pop("kind").removesuffix("s/") or "model"
        return params


def route(method_and_pattern: str, handler: Handler) -> Route:
    """``"GET /api/{type}/{repo}/refs"`` and the function that answers it on a worker thread."""
    method, _, pattern = method_and_pattern.partition(" ")
    return Route(method, _compile(pattern), handler=handler)


def streaming_route(method_and_pattern: str, handler: StreamHandler) -> Route:
    """The same for a function that takes the body as a stream."""
    method, _, pattern = method_and_pattern.partition(" ")
    return Route(method, _compile(pattern), stream=handler)


def _compile(pattern: str) -> re.Pattern[str]:
    text = re.escape(pattern).replace(r"\{", "{").replace(r"\}", "}")
    return re.compile(re.sub(r"\{(\w+)\}", lambda name: _FIELDS.get(name[1], f"(?P<{name[1]}>[^/]+)"), text))
