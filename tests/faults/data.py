"""Small datasets of images that cannot be compressed, what must be on the Hub of them, and edits of them."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.builders import picture

JPEG_END = b"\xff\xd9"

Row = tuple[str, tuple[bytes, ...], bytes | None, bytes | None]
"""A sample as it must be: prompt, SHA-256 of its control images, of its mask, of its target."""
Splits = dict[str, dict[str, Row]]


@dataclass(slots=True)
class Source:
    """A dataset in the directory layout. ``shard_size`` cuts it into several shards."""

    root: Path
    rng: Random
    shard_size: int = 0
    _next: int = 0
    _splits: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def make(cls, root: Path, rng: Random) -> Source:
        """A new one, of 2 to 12 MB and mostly 3 to 8 shards."""
        source = cls(root, rng)
        size = rng.randrange(20_000, 200_000)
        for split, most in (("train", 30), ("test", 6)):
            if split == "train" or rng.random() < 0.5:
                for _ in range(rng.randrange(3, most)):
                    source._add(split, size)
        source.shard_size = max(source.bytes() // rng.randrange(2, 9), 200_000)
        return source.settle()

    def edit(self) -> Source:
        """Change, add and remove some samples."""
        names = self._splits["train"]
        for name in self.rng.sample(names, min(len(names), self.rng.randrange(1, 4))):
            self._write("train", "training_images", f"{name}.txt", f"Other words {self.rng.random()}.".encode())
            if self.rng.random() < 0.5:
                self._write("train", "training_images", f"{name}.jpg", self._picture(60_000))
        for _ in range(self.rng.randrange(0, 4)):
            self._add("train", 60_000)
        if len(names) > 4 and self.rng.random() < 0.5:
            gone = names.pop(self.rng.randrange(len(names)))
            for path in list((self.root / "train").rglob(f"{gone}*")):
                path.unlink()
        return self.settle()

    def add(self) -> dict[str, Row]:
        """One more sample; returns it."""
        name = self._add("train", 60_000)
        self.settle()
        return {name: self._row("train", name)}

    def copy(self, root: Path) -> Source:
        """The same at another place, with a number of its own for what will be added there."""
        shutil.copytree(self.root, root)
        splits = {split: [*names] for split, names in self._splits.items()}
        return Source(root, Random(self.rng.random()), self.shard_size, self._next + 1_000, splits)  # noqa: S311

    def settle(self) -> Source:
        """Make every file old enough for the local cache to believe its time."""
        for path in self.root.rglob("*"):
            if path.is_file():
                stat = path.stat()
                if stat.st_mtime > 1_600_000_000:
                    self._next += 1
                    os.utime(path, (1_500_000_000 + self._next, 1_500_000_000 + self._next))
        return self

    def bytes(self) -> int:
        """Bytes of all images."""
        return sum(path.stat().st_size for path in self.root.rglob("*.jpg"))

    def rows(self) -> Splits:
        """What must be on the Hub, read from the files as they are."""
        return {split: {name: self._row(split, name) for name in names} for split, names in self._splits.items()}

    def _row(self, split: str, name: str) -> Row:
        controls, targets = self.root / split / "control_images", self.root / split / "training_images"
        files = [controls / f"{name}.jpg", *sorted(controls.glob(f"{name}_control_*.jpg"))]
        prompt = (targets / f"{name}.txt").read_text()
        mask = controls / f"{name}_mask.jpg"
        return (
            prompt,
            tuple(map(sha256_of, files)),
            sha256_of(mask) if mask.exists() else None,
            sha256_of(targets / f"{name}.jpg"),
        )

    def _add(self, split: str, size: int) -> str:
        self._next += 1
        name = f"{self.rng.choice('abcdefgh')}{self._next:04}"
        self._splits.setdefault(split, []).append(name)
        self._write(split, "control_images", f"{name}.jpg", self._picture(size))
        if self.rng.random() < 0.2:
            self._write(split, "control_images", f"{name}_control_1.jpg", self._picture(size // 2))
        if self.rng.random() < 0.2:
            self._write(split, "control_images", f"{name}_mask.jpg", self._picture(size // 4))
        self._write(split, "training_images", f"{name}.jpg", self._picture(size))
        self._write(split, "training_images", f"{name}.txt", f"Prompt of {name}.".encode())
        return name

    def _picture(self, size: int) -> bytes:
        """A valid JPEG with noise behind its pixels."""
        noise = self.rng.randbytes(self.rng.randrange(size // 2, size * 2)).replace(b"\xff", b"\xfe")
        return picture("a.jpg").removesuffix(JPEG_END) + noise + JPEG_END

    def _write(self, split: str, folder: str, name: str, content: bytes) -> None:
        path = self.root / split / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def sha256_of(path: Path) -> bytes:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).digest()
