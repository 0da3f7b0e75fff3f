"""HTTP as the routes see it: a call with its parameters, bodies that stream to disk, answers and ranges."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ParamSpec, TypeVar
from urllib.parse import parse_qs, quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from qflux_hub.localhub.accounts import Caller
from qflux_hub.localhub.problems import HttpError

BODY_BYTES = 32 * 1024 * 1024
"""The largest body that is read into memory. Whatever may be larger is streamed."""
FEED_BYTES = 4 * 1024 * 1024
"""Streamed bodies are handed to a worker thread in portions of about this size."""

CHECKED_AHEAD = 66 * 1024 * 1024
"""Bytes that are checked before the first is sent: a whole xorb, and more than what clients fetch again when a body is
cut. So damage is an answer that says so; only in larger bodies it first cuts one."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(slots=True)
class Call:
    """One request on its way through a route. ``params`` are the decoded parts of its path."""

    request: Request
    raw_path: str
    params: dict[str, str]
    caller: Caller
    workers: ThreadPoolExecutor
    body: bytes = b""
    query: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Scheme and host as the client wrote them, so that every link leads back to the server that was asked."""
        return f"{self.request.url.scheme}://{self.request.headers.get('host', 'localhost')}"

    @property
    def twin_origin(self) -> str | None:
        """Another origin of the same server: clients drop their token there, as on a storage network's host.

        Exists on the loopback interface only: 127.0.0.1 and localhost lead to the same socket.
        """
        host, colon, port = self.request.headers.get("host", "").partition(":")
        twin = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(host.lower())
        return f"{self.request.url.scheme}://{twin}{colon}{port}" if twin else None

    @property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object; 400 when it is none. An empty body is an empty object."""
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise HttpError(400, f"The body is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise HttpError(400, "The body is not a JSON object")
        return value

    def form(self, name: str) -> list[str]:
        """The values of a form field."""
        return parse_qs(self.body.decode(errors="replace"), keep_blank_values=True).get(name, [])

    def number(self, name: str, default: int) -> int:
        """A query parameter that is a number from 0 on; 400 for anything else."""
        text = self.query.get(name) or str(default)
        if not (text.isascii() and text.isdigit()):
            raise HttpError(400, f"{name} is a number, not {text!r}")
        return int(text)

    def flag(self, name: str) -> bool:
        """Whether a query parameter is set to something true."""
        return self.query.get(name, "").lower() in ("1", "true", "yes")

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run blocking work on a worker thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.workers, partial(function, *args, **kwargs))

    async def feed(self, take: Callable[[bytes], None], limit: int | None = None) -> None:
        """Stream the body through ``take`` on worker threads; memory holds one portion. 413 past ``limit`` bytes."""
        portion: list[bytes] = []
        gathered = total = 0
        try:
            async for data in self.request.stream():
                portion.append(data)
                gathered += len(data)
                total += len(data)
                if limit is not None and total > limit:
                    raise HttpError(413, f"The body is larger than the {limit} bytes that are accepted here")
                if gathered >= FEED_BYTES:
                    await self.run(_join_into, take, portion)
                    portion, gathered = [], 0
        except ClientDisconnect as error:
            raise HttpError(499, "The client closed the connection in the middle of the body") from error
        if gathered:
            await self.run(_join_into, take, portion)


def _join_into(take: Callable[[bytes], None], portion: list[bytes]) -> None:
    take(b"".join(portion))


def answer(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return JSONResponse(value, status_code=status, headers=dict(headers or {}))


def error_answer(error: HttpError) -> Response:
    """The error answer that the clients understand: JSON ``error``, and the headers that select their exceptions."""
    headers = {"X-Error-Message": quote(error.message, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~\""), **error.headers}
    if error.code:
        headers["X-Error-Code"] = error.code
    return JSONResponse({"error": error.message}, status_code=error.status, headers=headers)


def one_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes [start, end) that a Range header asks for; None for all of them.

    What cannot be read as one range is ignored, as HTTP allows; a range past the end is 416.
    """
    match = _RANGE.fullmatch(header.replace(" ", "")) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
        satisfiable = int(last) > 0 and size > 0
    else:
        start = int(first)
        end = min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
        satisfiable = start < size
    if not satisfiable:
        raise HttpError(
            416, f"The range {header} is not within {size} bytes", headers={"Content-Range": f"bytes */{size}"}
        )
    return start, end


def content_answer(
    call: Call,
    size: int,
    etag: str,
    read: Callable[[int, int], Iterator[bytes | memoryview]],
    headers: Mapping[str, str],
) -> Response:
    """A file, or the range of it that was asked for; for HEAD only what would be said about it."""
    about = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    wanted = call.request.headers.get("if-none-match", "")
    if any(tag.strip().removeprefix("W/").strip('"') in (etag, "*") for tag in wanted.split(",") if tag.strip()):
        return Response(status_code=304, headers=about)
    if_range = call.request.headers.get("if-range")
    ranged = call.request.headers.get("range") if if_range in (None, f'"{etag}"') else None
    part = one_range(ranged, size)
    start, end = part or (0, size)
    status = 200
    if part:
        status = 206
        about["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    about["Content-Length"] = str(end - start)
    if call.request.method == "HEAD" or start == end:
        return Response(status_code=status, headers=about)
    for _ in read(start, min(end, start + CHECKED_AHEAD)):
        pass
    return StreamingResponse(_stream(call, _portions(read(start, end))), status_code=status, headers=about)


async def _stream(call: Call, portions: Iterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
    while (portion := await call.run(next, portions, None)) is not None:
        yield portion


def _portions(pieces: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Join small pieces, so that each hop between threads carries about a megabyte."""
    gathered = bytearray()
    for piece in pieces:
        if not gathered and len(piece) >= 512 * 1024:
            yield piece
            continue
        gathered += piece
        if len(gathered) >= 1024 * 1024:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)
