"""Synthetic editing datasets for benchmarks, in the directory layout.

    python -m tests.bench.generate OUT -n 200                # 200 samples of about 1 MB
    python -m tests.bench.generate OUT -n 10 --start 200     # ten more behind them
    python -m tests.bench.generate OUT --mutate 57           # a new target and prompt for one sample
    python -m tests.bench.generate OUT -n 100000 --tiny      # as many samples as a scan benchmark wants

Samples are a pure function of (seed, index, revision): the same call writes the same files, and ten samples made
alone equal the last ten of a larger run. Sizes are bytes on disk. Every picture decodes and no two are equal, so that
neither caches nor deduplication make a transfer look faster than it is.
"""

import argparse
import multiprocessing
import struct
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

SCENES = 6  # painted once per process; samples are mixed from two of them
ASPECTS = ((1, 1), (4, 3), (3, 4), (3, 2), (2, 3), (16, 9))
SUBJECTS = ("car", "chair", "coat", "door", "hat", "house", "lamp", "river", "road", "sky", "table", "tree")
LOOKS = ("brighter", "darker", "golden", "older", "red", "smaller", "softer", "wooden")
TINY_PROMPT_BYTES = 50


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """What the samples are like. ``side`` is the side, in pixels, of a square as large as the usual control; single
    pictures are up to a quarter longer or shorter."""

    seed: int = 7
    split: str = "train"
    side: int = 1024
    png_target_every: int = 10
    jobs: int = 2


DEFAULTS = GenerateOptions()


def write_samples(root: Path, indices: range, options: GenerateOptions = DEFAULTS) -> int:
    """Write full samples and return their bytes: two controls (JPEG, WebP), a mask (PNG), a target and a prompt.

    Targets are JPEG, and every ``png_target_every``-th is a PNG of half the side. One sample is about 1 MB at the
    default side, between 0.4 and 1.9 MB; a thousand take half a minute on two cores.
    """
    return spread(partial(write_sample, root, options=options), root, indices, options)


def write_tiny_samples(root: Path, indices: range, options: GenerateOptions = DEFAULTS) -> int:
    """Write one-pixel samples and return their bytes: a PNG control, a JPEG target, a prompt of 50 bytes."""
    return spread(partial(write_tiny_sample, root, options=options), root, indices, options)


def write_sample(root: Path, index: int, *, revision: int = 0, options: GenerateOptions = DEFAULTS) -> int:
    """Write one sample and return the bytes written; a revision after 0 writes only another target and prompt."""
    controls, training = folders(root, options)
    rng = np.random.default_rng([options.seed, index])
    edit = np.random.default_rng([options.seed, index, revision + 1])  # a trailing zero would repeat the line above
    base = f"sample_{index:06d}"

    before = mixture(rng, options)
    reference = mixture(rng, options).resize((before.width * 5 // 8, before.height * 5 // 8), Image.Resampling.BILINEAR)
    mask = blob(rng, before.size)
    qualities = [int(quality) for quality in rng.integers(84, 94, 2)]
    after = Image.composite(mixture(edit, options).resize(before.size, Image.Resampling.NEAREST), before, mask)

    written = 0
    if revision == 0:
        written += save(before, controls / f"{base}.jpg", quality=qualities[0])
        written += save(reference, controls / f"{base}_control_1.webp", quality=88, method=0)
        written += save(mask, controls / f"{base}_mask.png", compress_level=6)
    if index % options.png_target_every == options.png_target_every - 1:
        written += save(after.reduce(2), training / f"{base}.png", compress_level=1)
    else:
        written += save(after, training / f"{base}.jpg", quality=qualities[1])
    prompt = f"Make the {edit.choice(SUBJECTS)} look {edit.choice(LOOKS)} (sample {index}, revision {revision})\n"
    return written + (training / f"{base}.txt").write_bytes(prompt.encode())


def write_tiny_sample(root: Path, index: int, *, revision: int = 0, options: GenerateOptions = DEFAULTS) -> int:
    """The same for one-pixel pictures; their index and revision stand in a comment."""
    controls, training = folders(root, options)
    base = f"sample_{index:06d}"
    note = f"{options.seed}/{options.split}/{index}/{revision}".encode()
    prompt = f"Repaint tiny sample {index}, revision {revision}".ljust(TINY_PROMPT_BYTES - 1, ".") + "\n"
    written = (controls / f"{base}.png").write_bytes(tiny_png(note)) if revision == 0 else 0
    written += (training / f"{base}.jpg").write_bytes(tiny_jpeg(note))
    return written + (training / f"{base}.txt").write_bytes(prompt.encode())


def folders(root: Path, options: GenerateOptions) -> tuple[Path, Path]:
    return root / options.split / "control_images", root / options.split / "training_images"


def spread(write: Callable[[int], int], root: Path, indices: range, options: GenerateOptions) -> int:
    """Call ``write`` for every index, over ``jobs`` processes when there is enough to do; return the bytes."""
    for folder in folders(root, options):
        folder.mkdir(parents=True, exist_ok=True)
    if options.jobs == 1 or len(indices) < 20:
        return sum(map(write, indices))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        return sum(pool.map(write, indices, chunksize=max(1, min(1000, len(indices) // (8 * options.jobs)))))


# Pictures


@cache
def scenes(seed: int, side: int) -> tuple[Image.Image, ...]:
    """Periodic pictures with the spectrum of photographs (amplitude falling with frequency) and a little grain."""
    rng = np.random.default_rng([seed, side])
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    amplitude = 1 / (frequency + 1 / side) ** 1.25

    def layer() -> NDArray[np.float64]:
        plane: NDArray[np.float64] = np.fft.irfft2(
            np.fft.rfft2(rng.standard_normal((side, side))) * amplitude, (side, side)
        )
        plane /= plane.std()
        return plane

    def painted() -> Image.Image:
        light, tints = layer(), [layer() for _ in range(3)]
        grain = rng.normal(0, 2 + 7 * rng.random(), (side, side))
        planes = [128 + 44 * light + 16 * tint + grain for tint in tints]
        return Image.fromarray(np.clip(np.stack(planes, axis=2), 0, 255).astype(np.uint8))

    return tuple(painted() for _ in range(SCENES))


def mixture(rng: np.random.Generator, options: GenerateOptions) -> Image.Image:
    """Two shifted scenes in a random mixture, cut to one of the usual aspects."""
    across, down = ASPECTS[rng.integers(len(ASPECTS))]
    scale = options.side * rng.uniform(0.75, 1.25) / (across * down) ** 0.5
    width, height = round(across * scale), round(down * scale)
    painted = scenes(options.seed, options.side * 27 // 16)  # wide enough for the largest 16:9
    first, second = (painted[i] for i in rng.choice(len(painted), 2, replace=False))
    shifts = [int(shift) for shift in rng.integers(0, first.width, 4)]
    return Image.blend(
        ImageChops.offset(first, shifts[0], shifts[1]).crop((0, 0, width, height)),
        ImageChops.offset(second, shifts[2], shifts[3]).crop((0, 0, width, height)),
        0.1 + 0.3 * rng.random(),
    )


def blob(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A mask of a few overlapping ellipses around one point."""
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    middle = rng.uniform(0.3, 0.7, 2) * size
    for _ in range(4):
        x, y = middle + rng.uniform(-0.1, 0.1, 2) * size
        wide, tall = rng.uniform(0.06, 0.2, 2) * size
        draw.ellipse((x - wide, y - tall, x + wide, y + tall), fill=255)
    return mask


def save(image: Image.Image, path: Path, **options: Any) -> int:
    image.save(path, **options)
    return path.stat().st_size


def tiny_png(note: bytes) -> bytes:
    """One grey pixel and a text chunk."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"tEXt", b"Comment\0" + note), (b"IDAT", zlib.compress(b"\0\x80")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, content) for name, content in chunks)


def tiny_jpeg(note: bytes) -> bytes:
    """One grey pixel and a comment segment behind the first marker."""
    plain = plain_tiny_jpeg()
    return plain[:2] + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + plain[2:]


@cache
def plain_tiny_jpeg() -> bytes:
    encoded = BytesIO()
    Image.new("L", (1, 1), 128).save(encoded, "JPEG", optimize=True)
    return encoded.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a synthetic editing dataset in the directory layout.")
    parser.add_argument("out", type=Path, help="dataset folder; made when missing, added to when not")
    parser.add_argument("-n", type=int, default=200, help="number of samples")
    parser.add_argument("--start", type=int, default=0, help="index of the first sample")
    parser.add_argument("--tiny", action="store_true", help="one-pixel pictures, for scan benchmarks")
    parser.add_argument("--mutate", type=int, metavar="I", help="only rewrite sample I: new target and prompt")
    parser.add_argument("--revision", type=int, default=1, help="with --mutate: which version of it to write")
    parser.add_argument("--seed", type=int, default=DEFAULTS.seed)
    parser.add_argument("--split", default=DEFAULTS.split)
    parser.add_argument("--side", type=int, default=DEFAULTS.side, help="pixels; bytes grow with its square")
    parser.add_argument("--png-target-every", type=int, default=DEFAULTS.png_target_every)
    parser.add_argument("-j", "--jobs", type=int, default=DEFAULTS.jobs)
    args = parser.parse_args()

    options = GenerateOptions(args.seed, args.split, args.side, args.png_target_every, args.jobs)
    began = time.perf_counter()
    if args.mutate is not None:
        count = 1
        write_one = write_tiny_sample if args.tiny else write_sample
        written = write_one(args.out, args.mutate, revision=args.revision, options=options)
    else:
        count = args.n
        write_many = write_tiny_samples if args.tiny else write_samples
        written = write_many(args.out, range(args.start, args.start + args.n), options)
    seconds = time.perf_counter() - began
    print(f"{count} samples, {written / 1e6:.1f} MB, {written / count / 1e3:.1f} kB each, in {seconds:.1f} s")


if __name__ == "__main__":
    main()
