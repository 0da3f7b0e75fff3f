"""The configurations that lie beside weights: ``adapter_config.json`` of peft, ``train_config.yaml`` of trainers."""

from __future__ import annotations

import json
from typing import Any


class SettingsError(Exception):
    """A configuration is not readable; the text says why."""


def read_settings(name: str, text: bytes) -> dict[str, Any]:
    """The mapping that a JSON or YAML file holds; tags of other programs are refused. Raises SettingsError."""
    try:
        decoded = text.decode("utf-8-sig")
        value = json.loads(decoded) if name.endswith(".json") else _yaml(decoded)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"it is not readable: {error}") from error
    if not isinstance(value, dict):
        raise SettingsError("it does not hold names and values")
    return value


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"it is not plain YAML: {getattr(error, 'problem', None) or error}") from error
