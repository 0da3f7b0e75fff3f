"""What a check says of the samples of a split beside each other: uneven ones, and ones that are there twice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from qflux_hub import UsageError, check_dataset
from qflux_hub.report import Finding
from qflux_hub.source import Scan
from tests.builders import lay, lay_split, picture, write

CONTROLS, TARGETS = "train/control_images", "train/training_images"


def found(scan: Scan, code: str) -> list[Finding]:
    return [finding for finding in scan.findings if finding.code == code]


def codes(scan: Scan) -> set[str]:
    return {finding.code for finding in scan.findings}


def test_samples_that_are_alike_have_no_findings(tmp_path: Path) -> None:
    assert check_dataset(lay_split(tmp_path, bases="abc")).findings == []


def test_uneven_controls_masks_and_targets_are_one_note_each_with_what_a_trainer_does(tmp_path: Path) -> None:
    lay_split(tmp_path, bases="abc")
    lay(tmp_path, f"{CONTROLS}/a_control_1.png", f"{CONTROLS}/b_mask.png")
    (tmp_path / TARGETS / "c.png").unlink()
    scan = check_dataset(tmp_path)
    (controls,), (masks,), (targets,) = (
        found(scan, code) for code in ("uneven-controls", "uneven-masks", "uneven-targets")
    )
    assert {controls.severity, masks.severity, targets.severity} == {"note"}
    assert "(2 with 1, 1 with 2). Batches of several stop at the one that has fewest" in controls.message
    assert masks.message.startswith("train: 2 of 3 samples have no mask, such as 'a'.")
    assert targets.message.startswith("train: 1 of 3 samples has no target, such as 'c'.")
    assert controls.fix == "train with a batch size of 1, or make all samples alike"


def test_splits_may_differ_from_each_other(tmp_path: Path) -> None:
    lay_split(tmp_path, bases="ab")
    lay(tmp_path, "test/control_images/x.png", "test/training_images/x.txt")
    assert check_dataset(tmp_path).findings == []


@pytest.mark.parametrize(("same", "other", "told"), [(4, 0, None), (5, 0, "all 5"), (5, 5, "5 of 10"), (5, 100, None)])
def test_many_samples_with_one_prompt_are_noted(tmp_path: Path, same: int, other: int, told: str | None) -> None:
    bases = [f"{number:03}" for number in range(same + other)]
    lay_split(tmp_path, bases=bases)
    for base in bases[:same]:
        write(tmp_path / TARGETS / f"{base}.txt", "Make it so.")
    notes = [finding.message for finding in found(check_dataset(tmp_path), "identical-prompts")]
    assert notes == ([f"train: {told} samples have the prompt 'Make it so.'."] if told else [])


# --- copies -----------------------------------------------------------------------------------------------------


def test_a_target_that_is_its_own_control_is_found(tmp_path: Path) -> None:
    lay_split(tmp_path, bases="ab")
    write(tmp_path / TARGETS / "a.png", (tmp_path / CONTROLS / "a.png").read_bytes())
    scan = check_dataset(tmp_path)
    (finding,) = found(scan, "target-is-control")
    assert (finding.where, finding.sample, finding.severity) == (f"{TARGETS}/a.png", ("train", "a"), "warning")
    assert codes(scan) == {"target-is-control"}


def test_a_sample_that_is_there_twice_is_found_once(tmp_path: Path) -> None:
    lay_split(tmp_path, bases="ab")
    for folder, name in ((CONTROLS, "png"), (TARGETS, "png"), (TARGETS, "txt")):
        write(tmp_path / folder / f"z.{name}", (tmp_path / folder / f"a.{name}").read_bytes())
    scan = check_dataset(tmp_path)
    (finding,) = found(scan, "duplicate-sample")
    assert finding.message == "'z' is the same as 'a': controls, target and prompt."
    assert codes(scan) == {"duplicate-sample"}


def test_the_same_images_with_another_prompt_are_another_sample(tmp_path: Path) -> None:
    lay_split(tmp_path, bases="ab")
    for folder in (CONTROLS, TARGETS):
        write(tmp_path / folder / "b.png", (tmp_path / folder / "a.png").read_bytes())
    assert codes(check_dataset(tmp_path)) == {"duplicate-image"}


def test_a_reference_that_many_share_is_one_note(tmp_path: Path) -> None:
    lay_split(tmp_path, bases="abcd")
    for base in "abcd":
        write(tmp_path / CONTROLS / f"{base}_control_1.png", picture("style.png"))
    (finding,) = found(check_dataset(tmp_path), "duplicate-image")
    assert finding.severity == "note"
    assert finding.message == (
        f"train: {CONTROLS}/b_control_1.png and 2 more are the same image as {CONTROLS}/a_control_1.png."
    )


def test_masks_may_be_equal_also_across_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        lay_split(tmp_path, split, bases=[f"{split}1", f"{split}2"])
        for base in ("1", "2"):
            mask = Image.new("1", (4, 3))
            mask.putpixel((0, 0), 1)
            mask.save(tmp_path / split / "control_images" / f"{split}{base}_mask.png")
    assert check_dataset(tmp_path).findings == []


def test_a_table_may_name_one_file_many_times(tmp_path: Path) -> None:
    lay(tmp_path, "a.png", "b.png", "c.png", train_csv="control,image,prompt\na.png,b.png,One\na.png,c.png,Two\n")
    assert check_dataset(tmp_path).findings == []


def test_only_files_of_equal_size_are_hashed_for_nothing_else_can_be_equal(tmp_path: Path) -> None:
    lay_split(tmp_path, bases="ab")
    alone = write(tmp_path / CONTROLS / "a_control_1.jpg", picture("a.jpg", (64, 64)))
    write(tmp_path / CONTROLS / "b_control_1.png", picture("z.png", (100, 100)))
    assert set(check_dataset(tmp_path).hashes) == {
        f"{folder}/{base}.png" for folder in (CONTROLS, TARGETS) for base in "ab"
    }
    write(tmp_path / CONTROLS / "b_control_2.jpg", alone.read_bytes())
    assert "duplicate-image" in codes(check_dataset(tmp_path))


# --- near-duplicates --------------------------------------------------------------------------------------------


def gradient(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.effect_mandelbrot(size, (-2 + seed / 3, -1.3, 0.6 + seed / 5, 1.3), 40).convert("RGB")


def saved(image: Image.Image, path: Path, **options: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def test_images_that_look_alike_are_found_on_request_and_only_in_the_same_role(tmp_path: Path) -> None:
    for number, base in enumerate("abc"):
        lay(tmp_path, f"{TARGETS}/{base}.txt")
        saved(gradient(number), tmp_path / CONTROLS / f"{base}.png")
        saved(gradient(number), tmp_path / TARGETS / f"{base}.jpg", quality=95)  # looks like its control
    saved(gradient(0), tmp_path / TARGETS / "b.jpg", quality=60)  # looks like a's target
    assert codes(check_dataset(tmp_path)) == set()
    (finding,) = found(check_dataset(tmp_path, near_duplicates=True), "near-duplicate")
    assert (finding.where, finding.sample) == (f"{TARGETS}/b.jpg", ("train", "b"))
    assert f"{TARGETS}/a.jpg" in finding.message


def test_plain_surfaces_share_a_hash_whatever_their_colour(tmp_path: Path) -> None:
    for base, colour in (("a", "red"), ("b", "blue")):
        lay(tmp_path, f"{TARGETS}/{base}.txt")
        saved(Image.new("RGB", (64, 64), colour), tmp_path / TARGETS / f"{base}.png")
        saved(gradient(ord(base) - 97), tmp_path / CONTROLS / f"{base}.png")
    (finding,) = found(check_dataset(tmp_path, near_duplicates=True), "near-duplicate")
    assert finding.severity == "warning"
    assert "takes one for the other" in finding.message


def test_equal_bytes_are_not_reported_as_nearly_equal(tmp_path: Path) -> None:
    for base in "ab":
        lay(tmp_path, f"{TARGETS}/{base}.txt")
        saved(gradient(4), tmp_path / CONTROLS / f"{base}.png")
        saved(gradient(ord(base) - 97), tmp_path / TARGETS / f"{base}.png")
    assert codes(check_dataset(tmp_path, near_duplicates=True)) == {"duplicate-image"}


def test_without_the_library_the_extra_is_named_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)  # how the interpreter notes that there is none
    with pytest.raises(UsageError) as caught:
        check_dataset(tmp_path / "nowhere", near_duplicates=True)
    assert caught.value.hint == 'pip install "qflux-hub[duplicates]"'


def test_an_unknown_kind_of_report_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither CSV nor JSON"):
        check_dataset(tmp_path / "nowhere", report="findings.txt")
