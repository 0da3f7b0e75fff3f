"""Who may do what: users, organisations, tokens, and the short-lived signatures that stand for a decision.

A token belongs to a user and has a role: ``read`` or ``write``. A user owns the namespace of the same name and those
of the organisations it belongs to; private repos are visible to their namespace alone. Signed URLs and Xet tokens are
HMACs under a secret of the directory, so any process that serves the directory accepts those of any other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from qflux_hub.errors import UsageError
from qflux_hub.localhub.db import Database, now_ms
from qflux_hub.localhub.problems import HttpError, forbidden, unauthorized

Role = Literal["read", "write"]

XET_TOKEN_SECONDS = 3600
URL_SECONDS = 6 * 3600

RESERVED = ("api", "datasets", "models", "spaces", "storage", "lfs", "xet", "xorb", "v1", "health")
"""Names that begin a path of the hub itself, so they cannot begin that of a repo."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request. ``user`` is empty without a token; ``namespaces`` are in lower case."""

    user: str = ""
    role: Role = "read"
    namespaces: frozenset[str] = frozenset()

    @property
    def is_anonymous(self) -> bool:
        """Whether no token was sent."""
        return not self.user

    def owns(self, namespace: str) -> bool:
        """Whether the caller belongs to the namespace, whatever its role."""
        return namespace.lower() in self.namespaces

    def require_login(self) -> None:
        """401 without a token."""
        if self.is_anonymous:
            raise unauthorized()

    def require_contribute(self, action: str) -> None:
        """What anyone may do who can see a repo and has a token to write anywhere: pull requests and discussions."""
        self.require_login()
        if self.role != "write":
            raise forbidden(f"This token can only read; a token with the role write is needed to {action}")

    def require_write(self, namespace: str, action: str) -> None:
        """401 without a token, 403 when the token or its user may not write to the namespace."""
        self.require_contribute(action)
        if not self.owns(namespace):
            raise forbidden(f"You don't have the rights to {action} under the namespace {namespace!r}")


class Accounts:
    """The users, organisations and tokens of one hub directory."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add_user(self, name: str, role: Role, *, orgs: Iterable[str] = (), token: str | None = None) -> str:
        """Make sure that the user exists with a token of this role, and return the token (the oldest, unless given)."""
        _check_name(name)
        if role not in ("read", "write"):
            raise UsageError(f"a token's role is read or write, not {role!r}")
        with self._db.write() as db:
            _add_account(db, name, "user")
            for org in orgs:
                _check_name(org)
                _add_account(db, org, "org")
                db.execute("INSERT OR IGNORE INTO member VALUES (?, ?)", (org, name))
            if token is None:
                query = "SELECT token FROM token WHERE user = ? AND role = ? ORDER BY created, rowid LIMIT 1"
                row = db.execute(query, (name, role)).fetchone()
                token = row["token"] if row else f"hf_{secrets.token_hex(18)}"
            db.execute("INSERT OR IGNORE INTO token VALUES (?, ?, ?, ?)", (token, name, role, now_ms()))
        return token

    anonymous = Caller()

    def caller(self, token: str | None) -> Caller:
        """Who a bearer token stands for; 401 for an unknown one."""
        if token is None:
            return Caller()
        db = self._db.connection
        row = db.execute("SELECT t.role, a.name FROM token t JOIN account a ON a.name = t.user WHERE t.token = ?",
                         (token,)).fetchone()  # fmt: skip
        if row is None:
            message = "Invalid credentials in Authorization header"
            raise HttpError(401, message, headers={"X-Error-Message": message})
        orgs = db.execute("SELECT org FROM member WHERE user = ?", (row["name"],)).fetchall()
        namespaces = frozenset(name.lower() for name in [row["name"], *(org["org"] for org in orgs)])
        return Caller(row["name"], row["role"], namespaces)

    def whoami(self, caller: Caller) -> dict[str, Any]:
        """The answer of ``/api/whoami-v2``."""
        caller.require_login()
        orgs = self._db.connection.execute(
            "SELECT a.name FROM member m JOIN account a ON a.name = m.org WHERE m.user = ? ORDER BY a.name",
            (caller.user,),
        ).fetchall()
        return {
            "type": "user",
            "id": _account_id(caller.user),
            "name": caller.user,
            "fullname": caller.user,
            "email": f"{caller.user}@localhost",
            "emailVerified": True,
            "canPay": False,
            "isPro": False,
            "periodEnd": None,
            "avatarUrl": "",
            "orgs": [
                {"type": "org", "id": _account_id(org["name"]), "name": org["name"], "fullname": org["name"],
                 "email": None, "canPay": False, "avatarUrl": "", "isEnterprise": False, "roleInOrg": "write"}
                for org in orgs
            ],
            "auth": {"type": "access_token", "accessToken": {"displayName": caller.role, "role": caller.role}},
        }  # fmt: skip

    def knows(self, name: str) -> bool:
        """Whether a user or organisation of this name exists."""
        return self._db.connection.execute("SELECT 1 FROM account WHERE name = ?", (name,)).fetchone() is not None


class Signer:
    """Makes and checks what lets a request through without a token: signed URLs and Xet tokens."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign_url(self, method: str, path: str, claims: dict[str, str] | None = None) -> str:
        """``path`` with a query that allows one method for some hours. ``claims`` come back from :meth:`check_url`."""
        fields = {**(claims or {}), "expires": str(int(time.time()) + URL_SECONDS)}
        return f"{path}?{urlencode({**fields, 'signature': self._mac(method, path, fields)})}"

    def check_url(self, method: str, path: str, query: dict[str, str]) -> dict[str, str]:
        """The claims of a signed URL; 403 when it was changed or is too old. HEAD is allowed where GET is."""
        fields = {key: value for key, value in query.items() if key != "signature"}
        wanted = self._mac("GET" if method == "HEAD" else method, path, fields)
        if not hmac.compare_digest(wanted, query.get("signature", "")):
            raise forbidden("This link is not valid")
        if float(fields.get("expires", "0")) < time.time():
            raise forbidden("This link has expired; ask for the file again")
        return fields

    def xet_token(self, repo: int, role: Role) -> tuple[str, int]:
        """A token for the content store on behalf of one repo, and when it expires (seconds since the epoch)."""
        expires = int(time.time()) + XET_TOKEN_SECONDS
        body = base64.urlsafe_b64encode(json.dumps([repo, role, expires]).encode()).decode()
        return f"xet_{body}.{self._mac('xet', body, {})}", expires

    def check_xet_token(self, token: str | None, role: Role) -> int:
        """The repo that a Xet token was made for; 401 when it is not valid, 403 when it may not write."""
        body, _, mac = (token or "").removeprefix("xet_").partition(".")
        if not hmac.compare_digest(self._mac("xet", body, {}), mac):
            raise unauthorized("This Xet token is not valid")
        repo, granted, expires = json.loads(base64.urlsafe_b64decode(body))
        if expires < time.time():
            raise unauthorized("This Xet token has expired")
        if role == "write" and granted != "write":
            raise forbidden("This Xet token can only read")
        return int(repo)

    def derive(self, purpose: str) -> bytes:
        """32 secret bytes of the directory for one purpose."""
        return hmac.new(self._secret, purpose.encode(), hashlib.sha256).digest()

    def _mac(self, kind: str, subject: str, fields: dict[str, str]) -> str:
        message = json.dumps([kind, subject, sorted(fields.items())]).encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()[:40]


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name.lower() in RESERVED:
        raise UsageError(
            f"{name!r} cannot be the name of a user or organisation",
            hint="Use letters, digits, '-', '_' and '.', beginning and ending with a letter or digit.",
        )


def _add_account(db: sqlite3.Connection, name: str, kind: str) -> None:
    known = db.execute("SELECT kind FROM account WHERE name = ?", (name,)).fetchone()
    if known is None:
        db.execute("INSERT INTO account VALUES (?, ?, ?)", (name, kind, now_ms()))
    elif known["kind"] != kind:
        raise UsageError(f"{name!r} already names {'a user' if known['kind'] == 'user' else 'an organisation'}")


def _account_id(name: str) -> str:
    return hashlib.sha256(name.lower().encode()).hexdigest()[:24]
