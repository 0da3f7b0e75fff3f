"""Make the example dataset: ``photo_edits/`` (directory layout) and ``photo_edits_csv/`` (the same as tables).

Run by hand when the examples change; nothing in the tests runs it:

    pip install scikit-image==0.26.* pillow
    python tests/data/make_photo_edits.py

Every picture is a free photograph from the scikit-image wheel (see ORIGIN.md) and every edit is computed from it, so
that a sample really shows what its prompt asks for. Nothing is random; another version of Pillow may write other
bytes for the same pictures, which changes the checked-in files but not what they show.
"""

import csv
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage import color, exposure, filters, morphology, restoration, segmentation, transform

Pixels = NDArray[np.float64]  # height x width x 3, values 0..1
Region = NDArray[np.bool_]  # height x width, True where the edit applies
Box = tuple[int, int, int, int]  # left, top, right, bottom in the pixels of the original photograph
Points = tuple[tuple[int, int], ...]  # a line or the corners of an outline: x, y in the pixels of the crop

HERE = Path(__file__).parent
PHOTOGRAPHS = Path(skimage.__file__).parent / "data"
LONG_SIDE = 320
SAVE_OPTIONS = {
    ".jpg": {"quality": 82, "optimize": True},
    ".webp": {"quality": 80, "method": 6},
    ".png": {"optimize": True},
}

# Outlines drawn by hand around what an edit is about; finding the exact edge is left to `region_inside`.
CAT: Points = (
    (33, 0), (26, 20), (24, 75), (14, 90), (0, 100), (0, 229), (212, 229), (216, 222), (222, 214), (234, 208),
    (240, 190), (242, 172), (250, 160), (262, 145), (268, 128), (275, 108), (277, 90), (273, 75), (272, 58), (283, 42),
    (290, 20), (301, 0),
)  # fmt: skip
ASTRONAUT: Points = (
    (24, 320), (22, 300), (15, 275), (13, 255), (17, 225), (22, 205), (26, 185), (36, 160), (50, 146), (66, 134),
    (72, 124), (71, 118), (77, 113), (80, 103), (90, 96), (104, 93), (115, 93), (115, 85), (112, 80), (104, 73),
    (97, 60), (96, 45), (100, 35), (115, 25), (120, 18), (130, 12), (145, 10), (160, 12), (175, 20), (185, 35),
    (188, 52), (185, 67), (175, 80), (168, 84), (164, 92), (160, 108), (170, 116), (182, 128), (190, 145), (200, 152),
    (212, 165), (222, 185), (227, 212), (229, 218), (240, 215), (258, 215), (275, 222), (295, 240), (305, 260),
    (310, 280), (320, 290), (320, 320),
)  # fmt: skip
SAUCER: Points = (
    (105, 57), (75, 73), (50, 95), (35, 115), (25, 140), (21, 165), (25, 190), (35, 215), (50, 240), (70, 262),
    (90, 278), (120, 296), (150, 306), (190, 312), (230, 308), (270, 296), (300, 280), (320, 262), (320, 120),
    (294, 86),
)  # fmt: skip
CUP_OPENING: Points = (
    (98, 0), (98, 85), (101, 100), (108, 118), (122, 137), (140, 152), (160, 161), (185, 166), (210, 165), (235, 159),
    (255, 148), (270, 135), (280, 118), (286, 100), (287, 0),
)  # fmt: skip
SPOON: Points = (
    (262, 165), (270, 165), (270, 193), (285, 210), (285, 228), (272, 250), (250, 261), (230, 252), (221, 232),
    (224, 212), (240, 196), (255, 192),
)  # fmt: skip
TOWER: Points = ((165, 46), (202, 46), (202, 164), (188, 161), (176, 166), (172, 173), (165, 171))
SCRATCHES: tuple[Points, ...] = (
    ((18, 0), (40, 70), (52, 160), (88, 240), (96, 320)), ((0, 196), (70, 182), (150, 190), (236, 170), (280, 174)),
    ((236, 20), (196, 96), (190, 130)), ((120, 250), (140, 262), (150, 300), (172, 319)), ((210, 220), (268, 300)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Picture:
    """An image and the suffix, and so the format, it is stored with."""

    image: Image.Image
    suffix: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One edit. The first control is the main one.

    The directory layout has one place for a mask, the control folder; tables allow two, and
    ``mask_beside_target`` picks the other one. ``recorded_suffix`` is what the table says about the main control
    when that is deliberately not the suffix on disk.
    """

    id: str
    split: str
    prompt: str
    controls: tuple[Picture, ...]
    target: Picture | None = None
    mask: Picture | None = None
    mask_beside_target: bool = False
    recorded_suffix: str | None = None


def main() -> None:
    samples = [*train_samples(), *test_samples()]
    write_directories(samples, HERE / "photo_edits")
    write_tables(samples, HERE / "photo_edits_csv")


# The edits


def train_samples() -> Iterator[Sample]:
    cup = photograph("coffee.png")
    yield Sample(
        "cafe_colour",
        "train",
        "Colourise this black-and-white photograph from a café: a red cup and saucer on a warm brown table.",
        controls=(picture(grey(cup), ".jpg"),),
        target=picture(cup, ".jpg"),
    )

    cat = photograph("chelsea.png", box=(0, 0, 420, 300))
    palette = photograph("coffee.png", box=(0, 0, 400, 400), long_side=192)
    cat_region = region_inside(CAT, cat)
    yield Sample(
        "cat_poster",
        "train",
        "Make a screen-print poster of the cat on a plain ground, using only colours found in the second picture.",
        controls=(picture(cat, ".jpg"), picture(palette, ".jpg")),
        target=Picture(screen_print(cat, palette, cat_region, colours=6), ".png"),
        mask=mask_picture(cat_region),
    )

    eyes = photograph("chelsea.png", box=(100, 20, 380, 230))
    yield Sample(
        "cat_eyes_sharp",
        "train",
        "Bring the eyes and whiskers back into focus.",
        controls=(picture(filters.gaussian(eyes, 2.6, channel_axis=2), ".webp"),),
        target=picture(eyes, ".webp"),
    )

    wall = photograph("brick.png", box=(64, 0, 448, 512), turn=90)
    horse = photograph("horse.png")
    stars = photograph("hubble_deep_field.jpg", box=(180, 120, 680, 520), long_side=256)
    mural = silhouette_on(wall, horse)
    yield Sample(
        "horse_mural",
        "train",
        "Paint the horse from the second picture on this wall as a mural and fill it with the stars of the third.",
        controls=(picture(wall, ".jpg"), Picture(one_channel(horse), ".png"), picture(stars, ".webp")),
        target=picture(paint_on(wall, mural, stars), ".jpg"),
    )

    photographer = photograph("camera.png")
    sky = sky_region(photographer)
    yield Sample(
        "photographer_sunset",
        "train",
        "Put a glowing sunset into the sky, with warm light on the grass, and leave the photographer in shadow.",
        controls=(picture(photographer, ".jpg"),),
        target=picture(sunset(photographer, sky), ".jpg"),
        mask=mask_picture(sky),
    )

    skyline = photograph("camera.png", box=(300, 80, 512, 239))
    tower = drawn_region(TOWER, skyline)
    yield Sample(
        "skyline_without_tower",
        "train",
        "Remove the tall tower from the skyline.",
        controls=(picture(skyline, ".jpg"),),
        target=picture(bridge(skyline, tower), ".jpg"),
        mask=mask_picture(tower),
        mask_beside_target=True,
    )

    astronaut = photograph("astronaut.png")
    suit = coloured_region(astronaut, hue=0.045, width=0.05, saturation=0.45, value=0.2) & region_inside(
        ASTRONAUT, astronaut
    )
    suit[:110] = False  # her hair shares the hue
    yield Sample(
        "suit_blue",
        "train",
        "Change the orange space suit to a deep blue. Leave her face, the flag and the patches as they are.",
        controls=(picture(astronaut, ".webp"),),
        target=picture(recolour(astronaut, suit, hue=0.61, brightness=0.8), ".webp"),
        mask=mask_picture(suit),
        mask_beside_target=True,
        recorded_suffix=".png",
    )

    astronaut_region = region_inside(ASTRONAUT, astronaut)
    space = photograph("hubble_deep_field.jpg", box=(0, 0, 600, 600))
    yield Sample(
        "astronaut_in_space",
        "train",
        "Replace everything behind the astronaut with the star field from the second picture.",
        controls=(picture(astronaut, ".jpg"), picture(space, ".webp")),
        target=picture(blend(space, astronaut, astronaut_region), ".jpg"),
        mask=mask_picture(~astronaut_region),
    )

    portrait = aged(photograph("astronaut.png", box=(96, 0, 376, 320)))
    damaged, scratches = scratched(portrait, SCRATCHES)
    yield Sample(
        "portrait_restored",
        "train",
        "Repair the scratches in this old portrait.",
        controls=(picture(damaged, ".jpg"),),
        target=picture(portrait, ".webp"),
        mask=mask_picture(scratches),
    )


def test_samples() -> Iterator[Sample]:
    cup = photograph("coffee.png", box=(50, 0, 450, 400))
    china = (
        ndimage.binary_dilation(drawn_region(SAUCER, cup), iterations=3)
        & ~drawn_region(CUP_OPENING, cup)
        & ~drawn_region(SPOON, cup)
    )
    red = china & coloured_region(cup, hue=0.01, width=0.06, saturation=0.5, value=0.04)
    yield Sample(
        "saucer_teal",
        "test",
        "Give the cup and saucer a teal glaze and leave the table alone.",
        controls=(picture(cup, ".jpg"),),
        target=picture(recolour(cup, red, hue=0.49, brightness=0.75), ".webp"),
        mask=mask_picture(red),
    )

    yield Sample(
        "photographer_colour",
        "test",
        "Colourise this photograph: green lawn, blue sky, dark grey coat.",
        controls=(Picture(one_channel(photograph("camera.png", box=(0, 30, 350, 380), long_side=224)), ".png"),),
    )

    cat = photograph("chelsea.png", box=(30, 0, 450, 300))
    wall = photograph("brick.png", box=(128, 64, 384, 256), turn=90, long_side=256)
    yield Sample(
        "cat_by_the_wall",
        "test",
        "Replace the blurred background with the brick wall from the second picture.",
        controls=(picture(cat, ".webp"), picture(wall, ".jpg")),
        mask=mask_picture(~region_inside(shifted(CAT, -23), cat)),
    )


# From photographs to pixels and back


def photograph(name: str, *, box: Box | None = None, long_side: int = LONG_SIDE, turn: int = 0) -> Pixels:
    """Part of a photograph of the wheel, its longer side ``long_side`` pixels, turned left by ``turn`` degrees."""
    with Image.open(PHOTOGRAPHS / name) as opened:
        image = opened.convert("RGB").crop(box or (0, 0, *opened.size)).rotate(turn, expand=True)
    scale = long_side / max(image.size)
    size = round(image.width * scale), round(image.height * scale)
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS), dtype=np.float64) / 255


def as_image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def picture(pixels: Pixels, suffix: str) -> Picture:
    return Picture(as_image(pixels), suffix)


def one_channel(pixels: Pixels) -> Image.Image:
    return as_image(pixels).convert("L")


def mask_picture(region: Region) -> Picture:
    """White over the part the prompt is about, black elsewhere."""
    return Picture(Image.fromarray(region.astype(np.uint8) * 255), ".png")


def grey(pixels: Pixels) -> Pixels:
    return color.gray2rgb(color.rgb2gray(pixels))


def blend(below: Pixels, above: Pixels, region: Region, *, edge: float = 0.8) -> Pixels:
    """``above`` inside the region, ``below`` outside, with an edge ``edge`` pixels soft."""
    weight = filters.gaussian(region.astype(np.float64), edge)[..., None]
    return below * (1 - weight) + above * weight


# Finding regions


def drawn_region(outline: Points, pixels: Pixels) -> Region:
    drawn = Image.new("1", (pixels.shape[1], pixels.shape[0]))
    ImageDraw.Draw(drawn).polygon(outline, fill=1)
    return np.array(drawn)


def shifted(outline: Points, right: int) -> Points:
    return tuple((x + right, y) for x, y in outline)


def region_inside(outline: Points, pixels: Pixels, *, slack: int = 5) -> Region:
    """The object within a drawn outline, its edge found by random walks in a band of ``slack`` pixels either side."""
    drawn = drawn_region(outline, pixels)
    labels = np.zeros(drawn.shape, dtype=np.int32)
    labels[ndimage.distance_transform_edt(drawn) > slack] = 1
    labels[ndimage.distance_transform_edt(~drawn) > slack] = 2
    walked = segmentation.random_walker(color.rgb2lab(pixels), labels, beta=60, mode="bf", channel_axis=2)
    smooth = filters.gaussian((walked == 1).astype(np.float64), 1.2) > 0.5
    return tidy(smooth, smallest=400)


def coloured_region(pixels: Pixels, *, hue: float, width: float, saturation: float, value: float) -> Region:
    """Where the hue (0..1, a circle) is within ``width`` of ``hue``, at least so saturated and so light."""
    hsv = color.rgb2hsv(filters.gaussian(pixels, 0.7, channel_axis=2))
    distance = np.abs((hsv[..., 0] - hue + 0.5) % 1 - 0.5)
    return tidy((distance < width) & (hsv[..., 1] > saturation) & (hsv[..., 2] > value), smallest=150)


def sky_region(pixels: Pixels) -> Region:
    """The bright, smooth area that touches the upper border."""
    level = filters.gaussian(color.rgb2gray(pixels), 0.6)
    labels, _ = ndimage.label(level > 0.62)
    touching = np.unique(labels[0])
    return tidy(np.isin(labels, touching[touching > 0]), smallest=50)


def tidy(region: Region, *, smallest: int) -> Region:
    """The region without specks and holes of fewer than ``smallest`` pixels."""
    region = morphology.remove_small_objects(region, max_size=smallest)
    return morphology.remove_small_holes(region, max_size=smallest)


# Editing


def screen_print(pixels: Pixels, palette_from: Pixels, region: Region, *, colours: int) -> Image.Image:
    """The region in ``colours`` flat tones of another picture, darkest to lightest, on its lightest tone."""
    reference = as_image(palette_from).quantize(colours, method=Image.Quantize.MEDIANCUT)
    tones = np.array(reference.getpalette()[: colours * 3], dtype=np.float64).reshape(-1, 3) / 255
    tones = tones[np.argsort(color.rgb2gray(tones[None])[0])]
    level = exposure.equalize_adapthist(
        color.rgb2gray(restoration.denoise_bilateral(pixels, mode="edge", channel_axis=2))
    )
    steps = np.quantile(level[region], np.linspace(0, 1, colours + 1)[1:-1])
    index = np.where(region, np.digitize(ndimage.median_filter(level, 3), steps), colours - 1)
    flat = Image.fromarray(index.astype(np.uint8), mode="P")
    flat.putpalette(np.round(tones * 255).astype(np.uint8).tobytes())
    return flat


def silhouette_on(pixels: Pixels, silhouette: Pixels) -> Region:
    """Where a dark silhouette falls when it is centred on a picture at nine tenths of its height."""
    height, width = pixels.shape[:2]
    tall = round(height * 0.92)
    wide = round(silhouette.shape[1] * tall / silhouette.shape[0])
    shape = transform.resize(color.rgb2gray(silhouette), (tall, wide), anti_aliasing=True) < 0.5
    region = np.zeros((height, width), dtype=bool)
    top, left = (height - tall) // 2, (width - wide) // 2
    region[top : top + tall, left : left + wide] = shape
    return region


def paint_on(wall: Pixels, region: Region, motif: Pixels) -> Pixels:
    """The motif inside the region as paint: it takes the relief of the wall."""
    height, width = wall.shape[:2]
    paint = transform.resize(motif, (height, width, 3), anti_aliasing=True)
    paint = exposure.adjust_gamma(paint, 0.45) * 1.15 + np.array([-0.02, 0.0, 0.22])
    relief = color.rgb2gray(wall) / np.mean(color.rgb2gray(wall))
    return blend(wall, np.clip(paint * (0.35 + 0.65 * relief[..., None]), 0, 1), region)


def sunset(pixels: Pixels, sky: Region) -> Pixels:
    """Warm the picture, and colour the sky from violet above to yellow at the horizon."""
    height, width = sky.shape
    horizon = int(np.max(np.nonzero(sky)[0]))
    down = np.clip(np.arange(height) / horizon, 0, 1)
    stops = np.array([[0.36, 0.24, 0.48], [0.93, 0.42, 0.26], [1.0, 0.80, 0.42]])
    gradient = np.stack([np.interp(down, [0, 0.6, 1], stops[:, channel]) for channel in range(3)], axis=1)
    light = np.broadcast_to(gradient[:, None], (height, width, 3))
    level = color.rgb2gray(pixels)[..., None]
    ground = np.clip(level**1.1 * np.array([1.1, 0.76, 0.46]), 0, 1)
    return blend(ground, np.clip(light * (0.55 + 0.55 * level), 0, 1), sky)


def recolour(pixels: Pixels, region: Region, *, hue: float, brightness: float) -> Pixels:
    """The region in another hue with its light and shade kept."""
    hsv = color.rgb2hsv(pixels)
    hsv[..., 0] = hue
    hsv[..., 2] *= brightness
    return blend(pixels, color.hsv2rgb(hsv), region)


def bridge(pixels: Pixels, region: Region) -> Pixels:
    """Fill each row of the region from the pixels left and right of it: right for skies, which change downwards."""
    filled = pixels.copy()
    for row in np.flatnonzero(region.any(axis=1)):
        left, right = np.flatnonzero(region[row])[[0, -1]]
        ends = pixels[row, left - 6 : left].mean(axis=0), pixels[row, right + 1 : right + 7].mean(axis=0)
        share = np.linspace(0, 1, right - left + 1)[:, None]
        filled[row, left : right + 1] = ends[0] * (1 - share) + ends[1] * share
    return blend(pixels, filled, region)


def aged(pixels: Pixels) -> Pixels:
    """A faded sepia print."""
    level = color.rgb2gray(pixels)[..., None]
    return np.clip(0.08 + level * np.array([0.90, 0.78, 0.60]), 0, 1)


def scratched(pixels: Pixels, scratches: tuple[Points, ...]) -> tuple[Pixels, Region]:
    """The picture with white scratches across it, and where they are."""
    drawn = Image.new("1", (pixels.shape[1], pixels.shape[0]))
    for scratch in scratches:
        ImageDraw.Draw(drawn).line(scratch, fill=1, width=4, joint="curve")
    region = np.array(drawn)
    return blend(pixels, np.full_like(pixels, 0.97), region), region


# Writing the two layouts


def write_directories(samples: list[Sample], root: Path) -> None:
    """``<split>/control_images`` and ``<split>/training_images``, as the guide's directory standard has it."""
    shutil.rmtree(root, ignore_errors=True)
    for sample in samples:
        controls, training = root / sample.split / "control_images", root / sample.split / "training_images"
        save_controls(sample, controls)
        if sample.mask:
            save(sample.mask, controls, f"{sample.id}_mask")
        if sample.target:
            save(sample.target, training, sample.id)
        training.mkdir(parents=True, exist_ok=True)
        (training / f"{sample.id}.txt").write_text(f"{sample.prompt}\n", encoding="utf-8", newline="\n")


def write_tables(samples: list[Sample], root: Path) -> None:
    """``<split>.csv`` at the root, pictures under ``<split>/control`` and ``<split>/target``."""
    shutil.rmtree(root, ignore_errors=True)
    for split in ("train", "test"):
        rows = [write_row(sample, root) for sample in samples if sample.split == split]
        controls = max(len(sample.controls) for sample in samples if sample.split == split)
        columns = ["image", "control", *(f"control_{n}" for n in range(1, controls)), "prompt"]
        with (root / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, columns, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def write_row(sample: Sample, root: Path) -> dict[str, str]:
    """Save the pictures of a sample and return its row; paths are relative to the root."""
    controls, targets = root / sample.split / "control", root / sample.split / "target"
    saved = save_controls(sample, controls)
    if sample.recorded_suffix:
        saved[0] = saved[0].with_suffix(sample.recorded_suffix)
    names = ["control", *(f"control_{n}" for n in range(1, len(saved)))]
    row = {name: path.relative_to(root).as_posix() for name, path in zip(names, saved, strict=True)}
    if sample.target:
        row["image"] = save(sample.target, targets, sample.id).relative_to(root).as_posix()
    if sample.mask:
        save(sample.mask, targets if sample.mask_beside_target else controls, f"{sample.id}_mask")
    return row | {"prompt": sample.prompt}


def save_controls(sample: Sample, folder: Path) -> list[Path]:
    stems = [sample.id, *(f"{sample.id}_control_{n}" for n in range(1, len(sample.controls)))]
    return [save(control, folder, stem) for control, stem in zip(sample.controls, stems, strict=True)]


def save(made: Picture, folder: Path, stem: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}{made.suffix}"
    made.image.save(path, **SAVE_OPTIONS[made.suffix])
    return path


if __name__ == "__main__":
    main()
