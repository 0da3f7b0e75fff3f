"""The columns that media have on the Hub: one for each role and kind, because a column has one type.

Images have the documented ones, ``target_image``, ``control_images`` and ``control_mask``; videos and sounds have
their own beside them. A file of no role has a column of its own name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from qflux_hub.naming import Kind, kind_of
from qflux_hub.sample import CONTROLS, MASK, TARGET, Blob, Sample

IMAGES: Mapping[str, Kind] = {TARGET: "image", CONTROLS: "image", MASK: "image"}
"""The documented columns, in the order in which they lie on disk."""

LARGEST = 2_147_000_000
"""Bytes that a cell, or all files in a list, may have: pages and Arrow's arrays count in 32 bits with a sign."""
_COLUMNS: Mapping[Kind, Mapping[str, str]] = {
    "image": {role: role for role in IMAGES},
    "video": {TARGET: "target_video", CONTROLS: "control_videos", MASK: "control_mask_video"},
    "audio": {TARGET: "target_audio", CONTROLS: "control_audios", MASK: "control_mask_audio"},
}
_ROLES = {column: (role, kind) for kind, columns in _COLUMNS.items() for role, column in columns.items()}


def column(role: str, name: str) -> str:
    """The column of the file called ``name`` that plays ``role``."""
    if role not in IMAGES:
        return role
    found = kind_of(name)
    return role if found == "file" else _COLUMNS[found][role]


def role(column: str) -> str:
    """The role of what lies in ``column``."""
    return _ROLES[column][0] if column in _ROLES else column


def kind(column: str) -> Kind:
    """What lies in a column of a role."""
    return _ROLES[column][1]


def is_list(column: str) -> bool:
    """Whether a sample may have several files in this column."""
    return role(column) == CONTROLS


def named() -> tuple[str, ...]:
    """The columns of roles, of every kind."""
    return tuple(_ROLES)


def of_dataset(media: Iterable[tuple[str, Kind]]) -> dict[str, Kind]:
    """The columns that a dataset with files of these columns and kinds has, in the order on disk, and what they hold.

    A dataset whose controls, masks and targets are images has all documented columns; any other has those that it
    uses. A column of no role holds files of any kind when they differ.
    """
    kinds: dict[str, Kind] = {}
    for own, found in media:
        if own in _ROLES:
            kinds[own] = _ROLES[own][1]
        elif kinds.setdefault(own, found) != found:
            kinds[own] = "file"
    if not any(own in _ROLES and own not in IMAGES for own in kinds):
        kinds = {**IMAGES, **kinds}
    order = [*(own for own in _ROLES if own in kinds), *sorted(kinds.keys() - _ROLES.keys())]
    return {own: kinds[own] for own in order}


def grouped(controls: Sequence[Blob]) -> tuple[Blob, ...]:
    """Controls as columns hold them: images first, then videos, then sounds, those of a kind in their order."""
    order = [*_COLUMNS]
    return tuple(sorted(controls, key=lambda one: order.index(_ROLES[column(CONTROLS, one.name)][1])))


def too_large(sample: Sample) -> Iterator[list[Blob]]:
    """The files of a sample that no cell can hold, column by column."""
    if sum(blob.size for _, blob in sample.media()) <= LARGEST:
        return
    cells: dict[str, list[Blob]] = {}
    for role, blob in sample.media():
        cells.setdefault(column(role, blob.name), []).append(blob)
    yield from (blobs for blobs in cells.values() if sum(blob.size for blob in blobs) > LARGEST)
