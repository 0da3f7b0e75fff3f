"""The application: finds the route of a request, answers it, and reports what went over the wire."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from qflux_hub.localhub import routes_files, routes_git, routes_lfs, routes_repos, routes_talk, routes_xet
from qflux_hub.localhub.exchange import BODY_BYTES, Call, error_answer
from qflux_hub.localhub.problems import DamagedError, HttpError, no_repo
from qflux_hub.localhub.services import Route, Services

ROUTES: tuple[Route, ...] = (
    *routes_files.ROUTES,
    *routes_lfs.ROUTES,
    *routes_xet.ROUTES,
    *routes_git.ROUTES,
    *routes_talk.ROUTES,
    *routes_repos.ROUTES,
)

_LOGGER = logging.getLogger(__name__)
_SIGNED = ("/xet/", "/xorb/", "/storage/", "/lfs/", "/v1/")
"""Paths that carry their own proof: a signature, or a token of the content store."""
_ONE_SEGMENT = re.compile(
    r"/api/(?:models|datasets|spaces)/[^/]+(?:/(?:revision|tree|commits|refs|paths-info|preupload|commit|branch|tag"
    r"|discussions|settings|xet-(?:read|write)-token)(?:/.*)?)?|/(?:datasets/|spaces/)?[^/]+/(?:resolve|raw)/.+"
)
"""Paths that name a repo without its namespace. Such repos never exist here, and clients must be told just that."""


@dataclass(frozen=True, slots=True)
class RequestLog:
    """One finished request. ``path`` is without its query, which may hold signatures; sizes are of the bodies.

    ``error`` is what the client was told when the request was refused or failed, '' otherwise.
    """

    method: str
    path: str
    status: int
    bytes_received: int
    bytes_sent: int
    seconds: float
    error: str = ""

    def __str__(self) -> str:
        about = f"{self.bytes_received} in, {self.bytes_sent} out, {self.seconds * 1000:.0f} ms"
        return f"{self.method} {self.path} {self.status} ({about})" + (f": {self.error}" if self.error else "")


class App:
    """The ASGI application over one open hub directory."""

    def __init__(self, hub: Services, workers: ThreadPoolExecutor, log: Callable[[RequestLog], None] | None) -> None:
        self._hub = hub
        self._workers = workers
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        meter = _Meter(scope, receive, send, self._log)
        try:
            try:
                response = await self._route(Request(scope, meter.receive))
            except Exception as failure:  # noqa: BLE001 - whatever it is, the client gets an answer
                refusal = await self._refusal(failure)
                meter.error = refusal.message
                response = error_answer(refusal)
            await response(scope, meter.receive, meter.send)
        except ClientDisconnect:
            meter.error = "The client closed the connection in the middle of the answer"
        except Exception as failure:  # noqa: BLE001 - it is reported
            # In the middle of a body. Ending here cuts the connection, so the client knows that it did not get all.
            meter.error = (await self._refusal(failure)).message
        finally:
            meter.finish()

    async def _refusal(self, failure: Exception) -> HttpError:
        """What the client is told about a failure."""
        if isinstance(failure, HttpError):
            return failure
        if isinstance(failure, DamagedError):
            if failure.name:
                await asyncio.get_running_loop().run_in_executor(self._workers, self._hub.found_damaged, failure.name)
            # 410, because clients repeat what fails with 5xx for minutes, and repeating does not bring bytes back.
            return HttpError(410, f"Stored content is damaged: {failure}. Send it again to mend it")
        if isinstance(failure, OSError) and failure.errno == errno.ENOSPC:
            return HttpError(507, "No space is left for this hub")
        _LOGGER.error("internal error", exc_info=failure)
        return HttpError(500, f"Internal error: {type(failure).__name__}")

    async def _route(self, request: Request) -> Response:
        raw_path = request.scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        raw_path = raw_path.rstrip("/") or "/"
        call = Call(request, raw_path, {}, self._hub.accounts.anonymous, self._workers)
        for route in ROUTES:
            params = route.match(request.method, raw_path)
            if params is None:
                continue
            call.params, call.query = params, dict(request.query_params)
            if not raw_path.startswith(_SIGNED):
                call.caller = await call.run(self._hub.accounts.caller, _bearer(request))
            if route.stream is not None:
                return await route.stream(self._hub, call)
            if request.method not in ("GET", "HEAD"):
                body = bytearray()
                await call.feed(body.extend, limit=BODY_BYTES)
                call.body = bytes(body)
            return await call.run(route.answer, self._hub, call)
        if _ONE_SEGMENT.fullmatch(raw_path):
            caller = await call.run(self._hub.accounts.caller, _bearer(request))
            raise no_repo(caller.is_anonymous)
        raise HttpError(404, f"This hub has no {request.method} {request.url.path}")


class _Meter:
    """Counts what one exchange carries, and reports it once."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, report: Callable[[RequestLog], None] | None) -> None:
        self.error = ""
        self._scope = scope
        self._receive = receive
        self._send = send
        self._report = report
        self._started = time.perf_counter()
        self._received = self._sent = 0
        self._status = 499
        self._request_id = _request_id(scope["headers"])

    async def receive(self) -> Message:
        """The next message of the request."""
        message = await self._receive()
        self._received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        """Pass a message of the answer on."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self._request_id)]
        self._sent += len(message.get("body", b""))
        if message["type"] == "http.response.body" and not message.get("more_body"):
            # Reported before the client has all of the answer, so that it cannot act before the request is counted.
            self.finish()
        await self._send(message)

    def finish(self) -> None:
        """Report the exchange, unless it was reported."""
        if self._report is not None:
            seconds = time.perf_counter() - self._started
            method, path = self._scope["method"], self._scope["path"]
            self._report(RequestLog(method, path, self._status, self._received, self._sent, seconds, self.error))
            self._report = None


def _bearer(request: Request) -> str | None:
    header = request.headers.get("authorization", "")
    kind, _, value = header.partition(" ")
    return value.strip() if kind.lower() == "bearer" and value.strip() else None


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    given = dict(headers)
    if given.get(b"x-request-id"):
        return given[b"x-request-id"]
    fresh = secrets.token_hex(8).encode()
    trace = given.get(b"x-amzn-trace-id")
    return b"Root=" + fresh + b";" + trace if trace else fresh
