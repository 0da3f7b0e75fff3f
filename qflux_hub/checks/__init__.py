"""Checks of samples and their images: each yields findings and changes nothing.

What concerns names and tables is found while reading, by the layouts; here is what concerns content: of one sample or
one split (``samples``), of images by their header (``images``), of masks among many (``masks``), and of images that
are the same (``copies``).
``reading`` opens them. Every finding's documentation stands in ``codes``.
"""

from __future__ import annotations

from qflux_hub.checks.copies import check_copies, check_likeness, check_splits
from qflux_hub.checks.images import check_image, check_media
from qflux_hub.checks.masks import check_masks_seen, choose_masks
from qflux_hub.checks.reading import (
    Wish,
    can_probe,
    look_at,
    missing_libraries,
    read_images,
    require_libraries,
    require_likeness,
)
from qflux_hub.checks.samples import check_columns, check_sample, check_split

__all__ = [
    "Wish",
    "can_probe",
    "check_columns",
    "check_copies",
    "check_image",
    "check_likeness",
    "check_masks_seen",
    "check_media",
    "check_sample",
    "check_split",
    "check_splits",
    "choose_masks",
    "look_at",
    "missing_libraries",
    "read_images",
    "require_libraries",
    "require_likeness",
]
