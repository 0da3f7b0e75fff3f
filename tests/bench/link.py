"""A slow network on loopback: passes TCP connections on to a port, at a limited rate in the client's direction of
sending. Runs in threads of this process.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PIECE = 64 * 1024


class _Rate:
    """Bytes per second, shared by all connections."""

    def __init__(self, rate: float) -> None:
        self._rate, self._free, self._lock = rate, 0.0, threading.Lock()

    def wait(self, size: int) -> None:
        with self._lock:
            self._free = max(self._free, time.monotonic()) + size / self._rate
            pause = self._free - time.monotonic()
        time.sleep(max(0, pause))


@contextmanager
def slow_link(url: str, rate: float) -> Iterator[str]:
    """A URL that leads to ``url`` and takes ``rate`` bytes per second, all connections together."""
    port = int(url.rpartition(":")[2])
    limit = _Rate(rate)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server, port, limit), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def _accept(server: socket.socket, port: int, limit: _Rate) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:  # closed: the link is not needed any more
            return
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * PIECE)
        hub = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=_pass_on, args=(client, hub, limit), daemon=True).start()
        threading.Thread(target=_pass_on, args=(hub, client, None), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, limit: _Rate | None) -> None:
    try:
        while data := source.recv(PIECE):
            if limit:
                limit.wait(len(data))
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # the other side has hung up
        source.close()
        sink.close()
