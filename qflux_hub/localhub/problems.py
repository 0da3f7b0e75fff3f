"""What a request can be refused with: a status, a sentence, and the code by which clients choose their exception."""

from __future__ import annotations

from collections.abc import Mapping


class HttpError(Exception):
    """An answer that is an error. Raised where the fact is known, turned into a response in one place.

    ``code`` becomes ``X-Error-Code``: RepoNotFound, RevisionNotFound, EntryNotFound and GatedRepo select an exception
    class in huggingface_hub.
    """

    def __init__(self, status: int, message: str, *, code: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})


class DamagedError(Exception):
    """Stored bytes are not what was stored. They are never served. ``name`` is the content file's, if it is one."""

    def __init__(self, message: str, *, name: str = "") -> None:
        super().__init__(message)
        self.name = name


def unauthorized(message: str = "Invalid username or password.") -> HttpError:
    """Nobody is logged in, and somebody has to be."""
    return HttpError(401, message)


def forbidden(message: str) -> HttpError:
    """The caller is known and not allowed."""
    return HttpError(403, message)


def no_repo(anonymous: bool) -> HttpError:
    """The repo does not exist, or the caller may not know that it does. Without a token the real Hub says 401."""
    if anonymous:
        return HttpError(401, "Repository not found: it does not exist, or needs a token", code="RepoNotFound")
    return HttpError(404, "Repository not found", code="RepoNotFound")


def gated(repo_type: str, full_name: str, anonymous: bool) -> HttpError:
    """The repo may be seen, but its files are only for those whom its owner let in."""
    if anonymous:
        message = f"Access to {repo_type} {full_name} is restricted. You must have access to it and be authenticated."
        return HttpError(401, message, code="GatedRepo")
    message = f"Access to {repo_type} {full_name} is restricted and you are not in the authorized list."
    return HttpError(403, message, code="GatedRepo")


def no_revision(revision: str) -> HttpError:
    """The revision is neither a branch, a tag, a ref nor a commit of the repo."""
    return HttpError(404, f"Invalid rev id: {revision}", code="RevisionNotFound")


def no_entry(path: str, commit: str) -> HttpError:
    """The path is not in that commit. Clients cache this answer by the commit in its header."""
    return HttpError(404, f"Entry not found: {path}", code="EntryNotFound", headers={"X-Repo-Commit": commit})
