"""The faults, and the points where they strike.

A fault strikes requests whose "METHOD PATH" matches, from the ``nth`` on, ``times`` times.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.faults.hub import KillableHub
from tests.jobtools import Answer

FOREVER = 1_000_000

ROUTES = {
    "any": r"",
    "whoami": r"/api/whoami",
    "state": r"GET /api/datasets/\w+/[^/]+(\?|/revision/)",
    "create": r"/api/repos/create",
    "refs": r"/refs$",
    "tag": r"/tag/",
    "token": r"/xet-write-token/",
    "chunk": r"/v1/chunks/",
    "grant": r"/xorb-grants/",
    "xorb": r"/v1/xorbs/",
    "list": r"/v2/shards",
    "batch": r"/objects/batch",
    "put": r"PUT /lfs/",
    "verify": r"/lfs/verify/",
    "commit": r"/commit/",
    "read": r"GET (/datasets/.*/resolve/|/storage/)",
}
_XET = ("token", "chunk", "grant", "xorb", "xorb", "list", "list")
_LFS = ("batch", "put", "put", "verify")
_BOTH = ("any", "any", "any", "whoami", "state", "state", "commit", "commit", "read", "read")
_OFTEN = ("any", "read", "xorb", "list", "grant", "put", "verify", "batch", "token")
"""Routes that a run takes more than once."""

KINDS = (
    *("kill",) * 4,
    "kill later",
    *("drop",) * 2,
    *("lost",) * 3,
    *("busy", "overloaded", "failed", "failed after"),
    *("truncated", "altered", "altered", "altered", "page"),
    *("truncated going", "altered going"),
    *("hub killed",) * 2,
    *("hub gone", "hub full", "client full", "silent", "silent inside"),
)
MAY_END_WITH = {
    "kill": {-9},
    "kill later": {-9},
    "client full": {1},  # no room for a temporary copy, or to note what is committed
    "altered": {3, 4, 6, 7, 8},  # names and commits of others may come, too
    "altered going": {3, 4, 6, 7, 8},
    "truncated going": {7},
    "page": {7},  # in place of content
}
"""Exit codes beside 0 and 5 (network or Hub failed). "going": what the client sends, else what it gets."""
_INSIDE = ("lost", "failed after", "truncated", "altered", "truncated going", "altered going", "silent inside")
"""Kinds that let a request through, and harm its body, or its answer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens, where, and how often; ``value`` is what is left to chance, from 0 to 1."""

    kind: str
    route: str
    nth: int
    times: int
    value: float

    def __str__(self) -> str:
        often = "" if self.times == 1 else " always" if self.times == FOREVER else f" {self.times} times"
        return f"{self.kind} at {self.route} {self.nth}{often}"

    @property
    def codes(self) -> set[int]:
        """Exit codes that the run may end with."""
        return {0, 5} | MAY_END_WITH.get(self.kind, set())


def draw(rng: Random, *, xet: bool, new: bool, tagged: bool) -> Fault:
    """A random fault at a random point that a run reaches: by Xet or LFS, to a new repo or not, with a tag or not."""
    kind = rng.choice(KINDS)
    routes = _BOTH + (_XET if xet else _LFS) + ("create",) * (2 * new) + ("tag", "refs") * tagged
    route = rng.choice(routes)
    if kind == "altered" and rng.random() < 0.3:
        route = "read"  # content, which has no brackets that break
    nth = rng.randrange(20 if route == "any" else 3) if route in _OFTEN else 0
    if kind in ("kill", "hub killed") and route == "any":
        nth = rng.randrange(30)
    times = rng.choice((1, 1, 1, 2, 3, FOREVER))
    if kind in ("kill", "kill later", "hub killed", "hub gone", "hub full", "client full"):
        times = 1
    return Fault(kind, route, nth, times, rng.random())


@dataclass(slots=True)
class Breaker:
    """Sits in the network of a round and makes the fault that it is given. ``struck`` counts how often it struck."""

    hub: KillableHub
    fault: Fault | None = None
    kill_client: Callable[[], None] = lambda: None
    struck: int = 0
    _met: int = 0
    _after: set[tuple[int, str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def arm(self, fault: Fault | None, kill_client: Callable[[], None] = lambda: None) -> None:
        """From now on, ``fault``; what hangs because of the last one is let go."""
        self.over.set()
        with self._lock:
            self.over = threading.Event()
            self.fault, self.kill_client = fault, kill_client
            self.struck = self._met = 0
            self._after.clear()

    def before(self, method: str, path: str) -> Answer | None:
        """What happens to a request on its way to the hub."""
        fault = self._strikes(method, path)
        if fault is None:
            return None
        kind, value = fault.kind, fault.value
        if kind in _INSIDE or (kind == "kill" and value < 0.5):
            with self._lock:
                self._after.add((threading.get_ident(), path))
            return None
        match kind:
            case "kill":
                self.kill_client()
                raise ConnectionError
            case "drop":
                raise ConnectionError
            case "busy":
                return Answer(429, [("retry-after", str(int(value * 3)))], b'{"error": "slow down"}')
            case "overloaded":
                return Answer(503, [], b"overloaded")
            case "failed":
                return Answer(500 if value < 0.5 else 502, [], b'{"error": "internal"}')
            case "page":
                return Answer(200, [("content-type", "text/html")], b"<html>Please log in to this network.</html>")
            case "hub killed":
                self.hub.kill()
                if value < 0.7:
                    threading.Timer(0.2 + 2 * value, self.hub.start).start()
                else:
                    self.hub.start()
            case "hub gone":
                self.hub.kill()
            case "hub full":
                self.hub.limit_files(int(value * 300_000))
            case "silent":
                self.over.wait(300)
                raise ConnectionError
        return None

    def sent(self, _method: str, path: str, body: bytes) -> bytes:
        """What becomes of the body of a request."""
        fault = self._met_before(path, "going")
        if fault is None or not body:
            return body
        at = int(fault.value * len(body))
        return body[:at] if fault.kind == "truncated going" else _altered(body, at)

    def after(self, _method: str, path: str, answer: Answer) -> Answer | None:
        """What happens to the answer."""
        fault = self._met_before(path, "")
        if fault is None:
            return answer
        at = int(fault.value * len(answer.body))
        match fault.kind:
            case "lost":
                return None
            case "kill":
                self.kill_client()
                return None
            case "failed after":
                return Answer(503, [], b"overloaded")
            case "truncated":
                answer.cut = at
            case "silent inside":
                over = self.over
                answer.cut, answer.then = at, lambda: over.wait(300)
            case "altered" if answer.body:
                answer.body = _altered(answer.body, at)
        return answer

    def _met_before(self, path: str, ending: str) -> Fault | None:
        """The fault, if it struck this request on its way and its kind has this ending."""
        key, fault = (threading.get_ident(), path), self.fault
        with self._lock:
            if key not in self._after or fault is None or not fault.kind.endswith(ending):
                return None
            self._after.discard(key)
        return fault

    def _strikes(self, method: str, path: str) -> Fault | None:
        fault = self.fault
        if (
            fault is None
            or fault.kind in ("kill later", "client full")
            or not re.search(ROUTES[fault.route], f"{method} {path}")
        ):
            return None
        with self._lock:
            self._met += 1
            if self._met <= fault.nth or self.struck >= fault.times:
                return None
            self.struck += 1
        return fault


def _altered(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def after_a_while(seconds: float, action: Callable[[], None]) -> threading.Timer:
    """Do something at a moment that has nothing to do with requests."""
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
    return timer


def now() -> float:
    """Seconds, for differences."""
    return time.monotonic()
