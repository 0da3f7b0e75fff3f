"""Every error that qflux raises on purpose.

Each names the thing, the place and, in ``hint``, the way out. ``code`` is the process exit code that the command
line ends with, so scripts can tell the kinds apart::

    QfluxError                  1
    ├── DataError               1    the data has errors
    │   └── LayoutError         1    the folder, table or repo does not have a shape that can be read
    ├── UsageError              2    the call itself is wrong
    │   └── MissingExtraError   2    it needs a library that only an extra installs
    ├── AuthError               3    not logged in, or not allowed
    ├── NotFoundError           4    repo, revision, split or file not found
    ├── HubError                5    the network or the Hub failed, after bounded retries
    ├── ConflictError           6    someone else keeps committing, or changed the same samples
    ├── VerificationError       7    a hash differs: what was written is not what was sent
    └── RefusedError            8    refused for safety
        ├── OutsideRootError    8    a path leads out of the dataset's folder
        ├── VisibilityError     8    the repo is public where private was asked for, or the other way round
        └── FormatError         8    written by a newer qflux than this one
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal


class QfluxError(Exception):
    """The base of all. ``hint`` says what to do; ``report`` is what was found until then, where there is one."""

    code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", report: Any = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.report = report

    @property
    def message(self) -> str:
        """What happened, without the hint."""
        return str(self.args[0])

    def to_dict(self) -> dict[str, Any]:
        """The ``error`` object of ``--json``."""
        return {"code": self.code, "type": type(self).__name__, "message": self.message, "hint": self.hint}


class DataError(QfluxError):
    """The data has errors; ``report`` lists all of them."""


class LayoutError(DataError):
    """The source does not have a shape that can be read, or has several."""


class UsageError(QfluxError):
    """The call itself is wrong: an argument that does not exist, or two that contradict each other."""

    code = 2


class MissingExtraError(UsageError):
    """What was asked for needs a library that is not installed; the hint names the extra that installs it."""


class AuthError(QfluxError):
    """Not logged in, or not allowed."""

    code = 3


class NotFoundError(QfluxError):
    """A repo, revision, split or file does not exist, or is not visible with this token. ``what`` says which."""

    code = 4

    def __init__(
        self, message: str, *, hint: str = "", report: Any = None, what: Literal["repo", "revision", "file"] = "file"
    ) -> None:
        super().__init__(message, hint=hint, report=report)
        self.what = what


class HubError(QfluxError):
    """The network or the Hub failed, after bounded retries."""

    code = 5


class ConflictError(QfluxError):
    """Someone else keeps committing, or changed the same samples."""

    code = 6


class VerificationError(QfluxError):
    """A hash differs: what is there is not what was sent."""

    code = 7


class RefusedError(QfluxError):
    """Refused for safety; the hint names the option that allows it, where there is one."""

    code = 8


class OutsideRootError(RefusedError):
    """A path leads out of the dataset's folder."""


class VisibilityError(RefusedError):
    """The repo is public where private was asked for, or the other way round."""


class FormatError(RefusedError):
    """The data was written by a newer qflux than this one."""
