"""Move image-editing datasets and LoRA weights between disks, trainers and the Hugging Face Hub.

Every command of ``qflux`` is a function here, with the same options. Names are imported when they are first used:
``import qflux_hub`` costs a few milliseconds and has no effect.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from qflux_hub.convert import convert_dataset
    from qflux_hub.diff import diff_dataset
    from qflux_hub.download import download_dataset
    from qflux_hub.errors import (
        AuthError,
        ConflictError,
        DataError,
        FormatError,
        HubError,
        LayoutError,
        MissingExtraError,
        NotFoundError,
        OutsideRootError,
        QfluxError,
        RefusedError,
        UsageError,
        VerificationError,
        VisibilityError,
    )
    from qflux_hub.fix import fix_dataset
    from qflux_hub.load import load_editing_dataset
    from qflux_hub.localhub import LocalHub
    from qflux_hub.lora.download import download_lora
    from qflux_hub.lora.look import compare_loras, inspect_lora
    from qflux_hub.lora.sync import upload_lora, upload_lora_safetensors
    from qflux_hub.preview import preview_dataset
    from qflux_hub.report import Finding, Progress
    from qflux_hub.sample import Blob, Sample
    from qflux_hub.source import check_dataset, scan_dataset
    from qflux_hub.upload import upload_dataset, upload_editing_dataset, upload_editing_dataset_from_csv
    from qflux_hub.validation import ValidationRow, read_validation

_HOMES = {
    "convert": ("convert_dataset",),
    "diff": ("diff_dataset",),
    "download": ("download_dataset",),
    "errors": (
        "AuthError",
        "ConflictError",
        "DataError",
        "FormatError",
        "HubError",
        "LayoutError",
        "MissingExtraError",
        "NotFoundError",
        "OutsideRootError",
        "QfluxError",
        "RefusedError",
        "UsageError",
        "VerificationError",
        "VisibilityError",
    ),
    "fix": ("fix_dataset",),
    "load": ("load_editing_dataset",),
    "localhub": ("LocalHub",),
    "lora.download": ("download_lora",),
    "lora.look": ("compare_loras", "inspect_lora"),
    "lora.sync": ("upload_lora", "upload_lora_safetensors"),
    "preview": ("preview_dataset",),
    "report": ("Finding", "Progress"),
    "sample": ("Blob", "Sample"),
    "source": ("check_dataset", "scan_dataset"),
    "upload": ("upload_dataset", "upload_editing_dataset", "upload_editing_dataset_from_csv"),
    "validation": ("ValidationRow", "read_validation"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AuthError",
    "Blob",
    "ConflictError",
    "DataError",
    "Finding",
    "FormatError",
    "HubError",
    "LayoutError",
    "LocalHub",
    "MissingExtraError",
    "NotFoundError",
    "OutsideRootError",
    "Progress",
    "QfluxError",
    "RefusedError",
    "Sample",
    "UsageError",
    "ValidationRow",
    "VerificationError",
    "VisibilityError",
    "__version__",
    "check_dataset",
    "compare_loras",
    "convert_dataset",
    "diff_dataset",
    "download_dataset",
    "download_lora",
    "fix_dataset",
    "inspect_lora",
    "load_editing_dataset",
    "preview_dataset",
    "read_validation",
    "scan_dataset",
    "upload_dataset",
    "upload_editing_dataset",
    "upload_editing_dataset_from_csv",
    "upload_lora",
    "upload_lora_safetensors",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
