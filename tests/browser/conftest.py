"""These tests need a Chromium and are run when they are named: ``make test-browser``."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder out of a run of all tests."""
    return None if any("browser" in argument for argument in config.args) else True
