"""An environment of the tests' own: no token, no stored login, no cache and no Hub but those that a test makes.

Set before any client is imported, because the clients read their variables then.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

_HOME = Path(tempfile.mkdtemp(prefix="qflux-tests-"))
for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING", "QFLUX_"))]:
    del os.environ[name]
os.environ |= {
    "HF_HOME": str(_HOME / "hf"),
    "HF_ENDPOINT": "http://127.0.0.1:9",  # the discard port: whoever forgets to name a hub is told so at once
    "QFLUX_CACHE_DIR": str(_HOME / "cache"),
    "QFLUX_HUB_DIR": str(_HOME / "hub"),
}

from qflux_hub.localhub import LocalHub, RequestLog  # noqa: E402


@pytest.fixture(scope="session")
def hub_log() -> list[RequestLog]:
    """Every request that ``hub`` answered; a test clears it and counts."""
    return []


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory, hub_log: list[RequestLog]) -> Iterator[LocalHub]:
    """A running embedded Hub that the tests of a session share."""
    with LocalHub(tmp_path_factory.mktemp("hub"), log=hub_log.append) as running:
        yield running


@pytest.fixture
def repo(hub: LocalHub) -> str:
    """The id of a repo that no other test uses; it does not exist yet."""
    return f"{hub.user}/ds-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def photos() -> Path:
    """The example dataset in the directory layout."""
    return Path(__file__).parent / "data" / "photo_edits"
