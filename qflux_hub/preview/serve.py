"""The gallery served on loopback, for one person: pictures are drawn when the browser asks for them.

The address holds a random key, because every account of a machine reaches its loopback; the ``Host`` is looked at, so
that no page of the web can reach it by a name of its own. It answers GET, writes nothing, and sends no byte of the
source's files as it is.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from qflux_hub.errors import UsageError
from qflux_hub.preview.gallery import Gallery
from qflux_hub.preview.page import as_json, asset, skeleton
from qflux_hub.preview.thumbnails import THREADS, draw

SIDES = {"small": 384, "large": 1600}
"""Pixels of the pictures in a row, and of the one that fills the window."""

POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "content-security-policy": f"{POLICY}; frame-ancestors 'none'",  # which counts in a header only
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}
_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
Answer = tuple[int, str, bytes]
"""Status, content type, body."""


@contextmanager
def serving(gallery: Gallery, port: int = 0) -> Iterator[str]:
    """Serve as long as the context lasts; gives the address. Raises UsageError when the port is taken."""
    from qflux_hub.localhub.server import Server, bind

    try:
        sockets = bind("127.0.0.1", port)
    except OSError as error:
        raise UsageError(f"Port {port} is taken ({error.strerror}).", hint="Without --port any free one is.") from error
    key = secrets.token_urlsafe(12)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="preview") as workers:
        server = Server(App(gallery, key, workers), sockets)
        server.start()
        try:
            yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}/{key}/"
        finally:
            server.stop()
            workers.shutdown(cancel_futures=True)


class App:
    """The ASGI application: a page, its style, script and data, and the pictures by number and size."""

    def __init__(self, gallery: Gallery, key: str, workers: ThreadPoolExecutor) -> None:
        self._gallery, self._workers = gallery, workers
        self._root = f"/{key}/"

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG002 - no bodies
        """Answer one request."""
        head = scope["method"] == "HEAD"
        if not _is_local(scope):
            status, kind, body = 403, "text/plain", b"This gallery is for its own address only."
        elif scope["method"] not in ("GET", "HEAD"):
            status, kind, body = 405, "text/plain", b"Only GET."
        elif not secrets.compare_digest(scope["path"][: len(self._root)].encode(), self._root.encode()):
            status, kind, body = 404, "text/plain", b"Use the whole address."
        else:
            name = scope["path"][len(self._root) :]
            status, kind, body = await asyncio.get_running_loop().run_in_executor(self._workers, self._answer, name)
        kept = "private, max-age=600" if kind == "image/webp" else "no-store"
        headers = _HEADERS | {"content-type": kind, "content-length": str(len(body)), "cache-control": kept}
        encoded = [(header.encode(), value.encode()) for header, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": b"" if head else body})

    def _answer(self, name: str) -> Answer:
        if name == "":
            before, after = skeleton(self._gallery, POLICY, '<link rel="stylesheet" href="gallery.css">')
            page = f'{before}<script src="gallery.js" defer></script>{after}'
            return 200, "text/html; charset=utf-8", page.encode()
        if name == "gallery.css":
            return 200, "text/css; charset=utf-8", asset(name).encode()
        if name == "gallery.js":
            return 200, "text/javascript; charset=utf-8", asset(name).encode()
        if name == "data.json":
            return 200, "application/json", as_json(self._gallery.data()).encode()
        number, _, size = name.removeprefix("picture/").partition("/")
        if number.isdecimal() and int(number) < len(self._gallery.pictures) and size in SIDES:
            drawn = draw(self._gallery.pictures[int(number)], SIDES[size])
            if drawn.problem:
                return 422, "text/plain; charset=utf-8", drawn.problem.encode()
            return 200, "image/webp", drawn.data
        return 404, "text/plain", b"Not here."


def _is_local(scope: Mapping[str, Any]) -> bool:
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    return host.rpartition(":")[0] in _HOSTS or host in _HOSTS
