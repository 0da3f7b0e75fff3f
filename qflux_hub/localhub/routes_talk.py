"""Routes of discussions and pull requests."""

from __future__ import annotations

from qflux_hub.localhub.services import Route

ROUTES: tuple[Route, ...] = ()
