"""Serving: sockets on a port, and an event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from qflux_hub.errors import HubError

STOP_SECONDS = 10
"""How long requests that are under way may take to finish once the server was told to stop."""
START_SECONDS = 30


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on a port (0: any free one); OSError when it is taken.

    On loopback both families are taken where both exist, so that ``localhost`` cannot lead to another process.
    """
    places = [(socket.AF_INET6 if ":" in host else socket.AF_INET, host)]
    if host in ("127.0.0.1", "localhost"):
        places = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    for _ in range(16):
        try:
            return _listen_all(places, port)
        except OSError:
            if port:
                raise
    raise OSError(f"no port is free on {host}")


class Server:
    """One running server. ``stop`` lets requests finish, within bounds."""

    def __init__(self, app: ASGIApp, sockets: list[socket.socket]) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",  # what goes wrong is in the request log; uvicorn would print cut answers
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._sockets = sockets
        self._thread = threading.Thread(target=self._run, name="localhub", daemon=True)

    def start(self) -> None:
        """Start serving; returns when requests are accepted."""
        self._thread.start()
        deadline = START_SECONDS * 100
        while not self._server.started:
            if not self._thread.is_alive() or not deadline:
                raise HubError("the embedded hub did not start")
            deadline -= 1
            self._thread.join(0.01)

    def stop(self) -> None:
        """Accept nothing more, let what is under way finish, and end the thread."""
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS + 5)
        for opened in self._sockets:
            opened.close()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=self._sockets))


def _listen_all(places: list[tuple[socket.AddressFamily, str]], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, address in places:
            if family == socket.AF_INET6 and sockets and not _has_ipv6():
                continue
            sockets.append(_listen(family, address, sockets[0].getsockname()[1] if sockets else port))
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _has_ipv6() -> bool:
    try:
        _listen(socket.AF_INET6, "::1", 0).close()
    except OSError:
        return False
    return True


def _listen(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    # asyncio sends small answers without delay (40 ms each otherwise) only on sockets that name their protocol.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((address, port))
        opened.listen(128)
    except OSError:
        opened.close()
        raise
    return opened
