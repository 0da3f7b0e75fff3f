"""The embedded Hugging Face Hub: a directory served on loopback, which the unmodified clients take for the real one.

::

    with LocalHub() as hub:
        HfApi(hub.url, token=hub.token).create_repo("me/ds", repo_type="dataset")

Any number of processes may open one directory at once; each serves it on its own port, so none depends on another.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from qflux_hub.errors import RefusedError, UsageError
from qflux_hub.localhub.accounts import Role
from qflux_hub.localhub.app import App, RequestLog
from qflux_hub.localhub.collect import gc
from qflux_hub.localhub.files import write_whole
from qflux_hub.localhub.fsck import fsck
from qflux_hub.localhub.server import Server, bind
from qflux_hub.localhub.services import Services, default_dir
from qflux_hub.report import FsckReport, GcReport

__all__ = ["LocalHub", "RequestLog", "default_dir", "fsck", "gc"]

USER = "me"
WORKERS = 8
"""Threads for disk and hashing. Few, because each may hold a few megabytes and one database connection."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class LocalHub:
    """A hub on one directory. A context manager; ``start`` and ``stop`` do the same by hand.

    ``dir`` is where everything lives: None is ``QFLUX_HUB_DIR``, else the platform's user data directory. The port is
    kept there: without ``port`` the kept one is used if it is free, otherwise any free one. ``log`` receives a
    :class:`RequestLog` for every request, on the server's thread, before the client has the last byte of the answer.
    Hosts other than loopback need a ``token`` that the caller chose, because whoever reaches the port may try.
    """

    def __init__(
        self,
        dir: str | Path | None = None,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        log: Callable[[RequestLog], None] | None = None,
        token: str | None = None,
    ) -> None:
        if host not in _LOOPBACK and not token:
            raise RefusedError(
                f"serving on {host} would let others reach this hub with a token that nobody chose",
                hint="Pass a token of your own, or serve on 127.0.0.1.",
            )
        if port is not None and not 0 <= port < 1 << 16:
            raise UsageError(f"port {port} does not exist", hint="It is at most 65535; 0 is any that is free.")
        self.dir = Path(dir) if dir is not None else default_dir()
        self.user = USER
        self._host = host
        self._port = port
        self._log = log
        self._given_token = token
        self._token = ""
        self._url = ""
        self._services: Services | None = None
        self._workers: ThreadPoolExecutor | None = None
        self._server: Server | None = None

    def __enter__(self) -> LocalHub:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``; only while the hub runs."""
        self._running()
        return self._url

    @property
    def token(self) -> str:
        """A write token of :attr:`user`; only while the hub runs."""
        self._running()
        return self._token

    def add_user(self, name: str, role: Role = "write", *, orgs: Iterable[str] = (), token: str | None = None) -> str:
        """Make sure that a user exists and has a token of this role, and return that token.

        ``orgs`` are organisations (name spaces) that the user belongs to from now on; they are created when needed.
        The same call gives the same token again; a user may have a read and a write token. ``token`` sets it.
        """
        return self._running().accounts.add_user(name, role, orgs=orgs, token=token)

    def fsck(self) -> FsckReport:
        """Check everything in the directory against the hashes that name it; it need not be served meanwhile."""
        return fsck(self.dir)

    def gc(self) -> GcReport:
        """Remove what nothing refers to and what dead uploads left, if it is older than a day."""
        return gc(self.dir)

    def start(self) -> None:
        """Open the directory and serve it. Nothing happens when it is served already."""
        if self._server is not None:
            return
        with ExitStack() as undo:
            services = Services(self.dir)
            undo.callback(services.close)
            self._token = services.accounts.add_user(USER, "write", token=self._given_token)
            token_file = self.dir / "token"
            if not token_file.exists() or token_file.read_text() != self._token:
                write_whole(token_file, self._token)
            sockets = self._bind(services)
            for opened in sockets:
                undo.callback(opened.close)
            workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="localhub")
            server = Server(App(services, workers, self._log), sockets)
            server.start()
            undo.pop_all()
        self._services, self._workers, self._server = services, workers, server
        name = f"[{self._host}]" if ":" in self._host else self._host
        self._url = f"http://{name}:{sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        """Let requests that are under way finish, within bounds, and close the directory."""
        if self._server is None or self._workers is None or self._services is None:
            return
        self._server.stop()
        self._workers.shutdown()
        self._services.close()
        self._server = self._workers = self._services = None

    def serve(self) -> None:
        """Serve until SIGINT or SIGTERM, then stop. Only in the main thread; starts the hub when it does not run."""
        done = threading.Event()
        before = {number: signal.signal(number, lambda *_: done.set()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self.start()
            done.wait()
        finally:
            self.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _running(self) -> Services:
        if self._services is None:
            raise UsageError("the hub is not running", hint="Use it as a context manager, or call start() first.")
        return self._services

    def _bind(self, services: Services) -> list[socket.socket]:
        if self._port is not None:
            try:
                return bind(self._host, self._port)
            except OSError as error:
                message = f"port {self._port} of {self._host} cannot be served: {error.strerror}"
                raise UsageError(message, hint="Leave the port out to get a free one.") from error
        kept = int(services.setting("port", "0"))
        if kept:
            try:
                return bind(self._host, kept)
            except OSError:
                return bind(self._host, 0)
        sockets = bind(self._host, 0)
        with services.db.write() as db:
            db.execute("UPDATE setting SET value = ? WHERE key = 'port' AND value = '0'",
                       (str(sockets[0].getsockname()[1]),))  # fmt: skip
        return sockets
