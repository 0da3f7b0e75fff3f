"""What a check says of images that load, but not as people expect; and of the images of one sample together."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from qflux_hub import check_dataset
from qflux_hub.report import Finding
from qflux_hub.source import Scan
from tests.builders import lay, lay_split, picture, write

CONTROL, MASK, TARGET = (
    "train/control_images/a.png",
    "train/control_images/a_mask.png",
    "train/training_images/a.png",
)


def image(mode: str = "RGB", size: tuple[int, int] = (40, 30), colour: object = None, **options: object) -> bytes:
    """The bytes of a plain image, as PNG unless ``format`` says otherwise."""
    out = io.BytesIO()
    made = Image.new(mode, size, colour) if colour is not None else Image.new(mode, size)
    made.save(out, **{"format": "PNG"} | options)
    return out.getvalue()


def check(root: Path, name: str, data: bytes, **options: bool) -> Scan:
    """A check of one sample with control, target and a mask where that is the file in question."""
    lay_split(root, bases=["a"])
    for other in (CONTROL, TARGET):
        write(root / other, picture(other, (40, 30)))
    write(root / name, data)
    return check_dataset(root, **options)


def about(scan: Scan, name: str) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity) for finding in scan.findings if finding.where == name]


def the(scan: Scan, code: str) -> Finding:
    (finding,) = (finding for finding in scan.findings if finding.code == code)
    return finding


def animation() -> bytes:
    return image(save_all=True, append_images=[Image.new("RGB", (40, 30), "red")])


@pytest.mark.parametrize(
    ("data", "code", "severity", "word"),
    [
        (image("I;16", colour=300), "sixteen-bit", "warning", "white"),
        (image("CMYK", format="JPEG"), "cmyk", "warning", "print"),
        (image("RGBA"), "alpha", "note", "hidden colour"),
        (image("P"), "palette", "note", "palette"),
        (animation(), "animated", "warning", "first"),
        (image(exif=b"Exif\0\0XX*\0\x08\0\0\0"), "broken-exif", "error", "stop"),
        (image(format="JPEG", exif=b"Exif\0\0XX*\0\x08\0\0\0"), "broken-exif", "warning", "overlook"),
        (image(size=(10_000, 9_000), mode="1"), "decompression-bomb", "warning", "pixels"),
        (image(size=(20_000, 9_000), mode="1"), "decompression-bomb", "error", "too large"),
        (b"\0\0\0 ftypheic\0\0\0\0mif1heic", "unsupported-format", "error", "HEIC"),
        (b"\0\0\0 ftypisom\0\0\2\0isomiso2", "not-an-image", "error", "video"),
        (image(format="GIF"), "wrong-extension", "warning", "GIF"),
    ],
)
def test_an_image_that_trainers_take_differently_is_found_with_its_reason(
    tmp_path: Path, data: bytes, code: str, severity: str, word: str
) -> None:
    finding = the(check(tmp_path, TARGET, data), code)
    assert (finding.where, finding.severity, finding.sample) == (TARGET, severity, ("train", "a"))
    assert word in finding.message
    assert finding.message.startswith(TARGET)


def test_a_turned_image_is_noted_and_measured_as_displayed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    scan = check(tmp_path, TARGET, image(size=(30, 40), format="JPEG", exif=exif))
    assert the(scan, "exif-rotation").severity == "note"
    assert "aspect-differs" not in [finding.code for finding in scan.findings]


def test_a_gif_is_not_told_to_take_a_name_that_is_not_read(tmp_path: Path) -> None:
    assert the(check(tmp_path, TARGET, image(format="GIF")), "wrong-extension").fix == (
        "save it as PNG, JPEG or WebP; .gif files are not read"
    )


def test_images_that_are_as_people_expect_have_no_findings(tmp_path: Path) -> None:
    for data in (image(), image("L"), image(format="JPEG"), image(format="WEBP", lossless=True)):
        name = TARGET if data.startswith(b"\x89PNG") else "train/training_images/a.jpg"
        scan = check(tmp_path, name, data)
        assert [code for code, _ in about(scan, name)] in ([], ["wrong-extension"], ["ambiguous-file"])


def test_an_error_of_an_image_is_one_of_every_sample_that_uses_it(tmp_path: Path) -> None:
    rows = "".join(f"a.png,b{number}.png,Hi\n" for number in range(3))
    lay(tmp_path, "b0.png", "b1.png", "b2.png", train_csv=f"control,image,prompt\n{rows}")
    write(tmp_path / "a.png", image(exif=b"Exif\0\0XX*\0\x08\0\0\0"))
    found = [finding for finding in check_dataset(tmp_path).findings if finding.code == "broken-exif"]
    assert [finding.sample for finding in found] == [("train", "b0"), ("train", "b1"), ("train", "b2")]


# --- masks ------------------------------------------------------------------------------------------------------


def test_an_alpha_channel_matters_in_a_mask(tmp_path: Path) -> None:
    scan = check(tmp_path, MASK, image("RGBA", colour=(0, 0, 0, 255)))
    assert the(scan, "alpha").severity == "warning"
    assert the(scan, "mask-empty").where == MASK


@pytest.mark.parametrize(
    ("data", "code", "word"),
    [
        (image("L"), "mask-empty", "black"),
        (image("L", colour=1), "mask-empty", "1 of 255"),
        (image("1"), "mask-empty", "black"),
        (image("L", colour=255), "mask-full", "white"),
        (image("L", colour=250, format="JPEG"), "mask-full", "white"),
        (image("L", colour=128), "mask-not-binary", "100 %"),
    ],
)
def test_a_mask_that_masks_nothing_or_everything_is_found(tmp_path: Path, data: bytes, code: str, word: str) -> None:
    finding = the(check(tmp_path, MASK, data), code)
    assert (finding.where, finding.severity, finding.sample) == (MASK, "warning", ("train", "a"))
    assert word in finding.message


def test_a_mask_of_black_and_white_with_soft_edges_is_well(tmp_path: Path) -> None:
    mask = Image.new("L", (40, 30))
    mask.paste(255, (10, 10, 30, 20))
    mask.paste(128, (10, 10, 11, 20))
    out = io.BytesIO()
    mask.save(out, "JPEG", quality=80)
    scan = check(tmp_path, MASK.replace("png", "jpg"), out.getvalue())
    assert [code for code, _ in about(scan, MASK.replace("png", "jpg"))] == []


def test_a_mask_that_is_a_video_is_no_mask_that_nobody_looked_at(tmp_path: Path) -> None:
    lay(tmp_path, "a.mp4", "m.mp4", train_csv="control,prompt,mask\na.mp4,A,m.mp4\n")
    assert "masks-sampled" not in [finding.code for finding in check_dataset(tmp_path).findings]


def test_a_mask_that_many_samples_share_is_judged_once(tmp_path: Path) -> None:
    lay(tmp_path, "a.png", "b.png", train_csv="control,prompt,mask,id\na.png,A,m.png,1\nb.png,B,m.png,2\n")
    write(tmp_path / "m.png", image("L", (4, 3)))
    assert the(check_dataset(tmp_path), "mask-empty").sample == ("train", "1")


def test_a_mask_of_another_size_is_found_with_both_sizes(tmp_path: Path) -> None:
    finding = the(check(tmp_path, MASK, image("1", (20, 15), 1)), "mask-size-differs")
    assert finding.message == f"{MASK} is 20×15, its target {TARGET} is 40×30."
    assert finding.fix == "resize the mask to 40×30, without smoothing"


def test_a_mask_without_a_target_is_measured_against_the_control(tmp_path: Path) -> None:
    lay(tmp_path, "test/control_images/a.png", "test/training_images/a.txt")
    write(tmp_path / "test/control_images/a_mask.png", image("1", (20, 15), 1))
    assert "its control test/control_images/a.png is 4×3" in the(check_dataset(tmp_path), "mask-size-differs").message


def test_of_many_masks_the_suspicious_ones_are_looked_at_and_it_is_said_that_not_all_were(tmp_path: Path) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (3, 5, 40, 31))
    out = io.BytesIO()
    mask.save(out, "PNG")
    for number in range(601):
        write(tmp_path / f"test/training_images/{number}.txt", "Hi")
        write(tmp_path / f"test/control_images/{number}.png", picture("a.png", (64, 64)))
        write(tmp_path / f"test/control_images/{number}_mask.png", out.getvalue())
    odd = {"mask-empty": image("L", (64, 64)), "mask-full": image("1", (64, 64), 1), "mask-not-binary": noise()}
    for number, data in enumerate(odd.values()):
        write(tmp_path / f"test/control_images/{97 + number}_mask.png", data)
    scan = check_dataset(tmp_path)
    assert {the(scan, code).where.rpartition("/")[2] for code in odd} == {"97_mask.png", "98_mask.png", "99_mask.png"}
    seen = sum(1 for name, facts in scan.facts.items() if "_mask" in name and facts.tones)
    assert seen <= 500
    sampled = the(scan, "masks-sampled")
    assert sampled.message.startswith(f"test: of 601 masks, the pixels of {seen} were looked at: of the smallest and")
    assert (sampled.severity, sampled.fix) == ("note", "`qflux check --decode` looks at all of them")
    whole = check_dataset(tmp_path, decode=True)
    assert set(odd) <= {finding.code for finding in whole.findings}
    assert "masks-sampled" not in [finding.code for finding in whole.findings]


def noise() -> bytes:
    """A grey picture of as many bytes as pixels."""
    out = io.BytesIO()
    Image.effect_noise((64, 64), 60).save(out, "PNG")
    return out.getvalue()


# --- pairs ------------------------------------------------------------------------------------------------------


def test_a_target_of_another_aspect_is_found(tmp_path: Path) -> None:
    finding = the(check(tmp_path, TARGET, image(size=(40, 40))), "aspect-differs")
    assert finding.severity == "warning"
    assert "40×40" in finding.message
    assert "40×30" in finding.message


@pytest.mark.parametrize("size", [(40, 30), (80, 60), (400, 302)])
def test_a_few_pixels_of_cropping_are_no_other_aspect(tmp_path: Path, size: tuple[int, int]) -> None:
    assert about(check(tmp_path, TARGET, image(size=size)), TARGET) == []
