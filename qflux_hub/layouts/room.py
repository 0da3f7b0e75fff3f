"""Which paths of a folder are taken, while it is planned where samples will lie."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from qflux_hub.layouts.rows import normal_path
from qflux_hub.naming import (
    MEDIA_EXTENSIONS,
    control_stem,
    is_portable_path,
    mask_stem,
    on_disk,
    portable,
    split_extension,
)
from qflux_hub.placing import extension, numbers
from qflux_hub.sample import CONTROLS, MASK, ROLES, TARGET, Blob, Sample
from qflux_hub.spill import Table


@dataclass(slots=True)
class Room:
    """Which files have which paths. Keys are paths with case and Unicode form set aside, as some disks do."""

    files: Table = field(default_factory=Table)
    media: Table = field(default_factory=Table)
    """Images, videos and sounds without their extensions."""
    folders: Table = field(default_factory=Table)
    masks: Table = field(default_factory=Table)
    """Where the masks of samples that got fresh paths are looked for, without extensions."""

    def takes(self, path: str, blob: Blob) -> bool:
        """Whether this file can lie there: nothing else does, nor is it a folder, nor below a file."""
        key = on_disk(path)
        above = key.split("/")[:-1]
        other = self.files.get(key)
        if other is not None:
            return bool(other == (path, *_content(blob)))
        return key not in self.folders and not any("/".join(above[:n]) in self.files for n in range(1, len(above) + 1))

    def put(self, path: str, blob: Blob) -> None:
        """Let it lie there."""
        key = on_disk(path)
        self.files.put(key, (path, *_content(blob)))
        base, ending = split_extension(key)
        if ending in MEDIA_EXTENSIONS:
            self.media.claim(base)
        while "/" in key and self.folders.claim(key := key.rpartition("/")[0]):
            pass  # and the folders above it

    def has_file(self, path: str) -> bool:
        """Whether an image, video or sound lies at this path, whatever its extension."""
        return on_disk(path) in self.media

    def fresh(self, split: str, sample: Sample, base: str, others: Collection[str] = ()) -> tuple[str, ...]:
        """Paths that nothing else has, made of ``base``; nor has another file, now or later, the name of its mask.

        Of the media without a role, those in ``others`` get one; that of the rest is "".
        """
        attempt = 1
        while True:
            stem = base if attempt == 1 else f"{base}-{attempt}"
            paths = list(_named(split, sample, stem, others))
            own = [path for path in paths if path]
            masks = [f"{split}/{folder}/{mask_stem(stem)}" for folder in ("control", "target")]
            if not any(map(self.has_file, (*own, *masks))) and not any(on_disk(path) in self.masks for path in own):
                break
            attempt += 1
        for mask in masks:
            self.masks.claim(on_disk(mask))
        named = tuple(path and path + extension(blob) for path, (_, blob) in zip(paths, sample.media(), strict=True))
        for path, (_, blob) in zip(named, sample.media(), strict=True):
            if path:
                self.put(path, blob)
        return named


def _named(split: str, sample: Sample, stem: str, others: Collection[str]) -> Iterator[str]:
    """Paths of the media of a sample that is called ``stem``, without their extensions."""
    at = iter(numbers(sample))
    for role, _ in sample.media():
        if role == TARGET:
            yield f"{split}/target/{stem}"
        elif role == MASK:
            yield f"{split}/control/{mask_stem(stem)}"
        elif role == CONTROLS:
            yield f"{split}/control/{control_stem(stem, next(at))}"
        else:
            yield f"{split}/{portable(role, 60)}/{stem}" if role in others else ""


def _content(blob: Blob) -> tuple[str | bytes, int, int]:
    """What two blobs share that are the same file."""
    return (blob.sha256, blob.size, 0) if blob.sha256 else (blob.name, blob.size, hash(blob.opener))


def recorded(sample: Sample, room: Room, below: str = "", others: Collection[str] = ()) -> tuple[str, ...] | None:
    """The paths that a sample's files had; None when one of them cannot have it, or does not begin with ``below``.

    Of the media without a role, those in ``others`` have one; that of the rest is "".
    """
    held = [blob.name if role in ROLES or role in others else "" for role, blob in sample.media()]
    for name, (_, blob) in zip(held, sample.media(), strict=True):
        if not name:
            continue
        if not (name.startswith(below) and is_kept(name, blob, room)):
            return None
        room.put(name, blob)
    return tuple(held)


def is_kept(name: str, blob: Blob, room: Room) -> bool:
    """Whether a file can lie at the path that it had."""
    return is_portable_path(name) and name == normal_path(name.strip()) and room.takes(name, blob)
