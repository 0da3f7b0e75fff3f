"""What is found wrong with samples and images, through ``check_dataset`` and ``scan_dataset``."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from qflux_hub import LayoutError, UsageError, check_dataset, scan_dataset
from qflux_hub.checks import check_sample
from qflux_hub.report import Finding, Progress, Task
from qflux_hub.sample import Sample
from qflux_hub.source import Scan
from tests.builders import lay, lay_split, picture, write

PNG = picture("x.png", (40, 40))
BAD_IMAGES = {
    "empty-file": b"",
    "lfs-pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "html-file": b"\n<!DOCTYPE html><html>Log in</html>",
    "not-an-image": b"hello",
    "truncated-image": PNG[:40],
    "damaged-image": PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:],
}


def only(findings: list[Finding], code: str) -> Finding:
    """The one finding of that code."""
    (found,) = (finding for finding in findings if finding.code == code)
    return found


def errors(scan: Scan) -> list[str]:
    """The codes of the errors that were found."""
    return [finding.code for finding in scan.findings if finding.severity == "error"]


@pytest.mark.parametrize("code", BAD_IMAGES)
def test_a_file_that_is_no_whole_image_is_an_error_with_advice(tmp_path: Path, code: str) -> None:
    root = lay_split(tmp_path, "train", "ab")
    write(root / "train/control_images/a.png", BAD_IMAGES[code])
    scan = check_dataset(root)
    (finding,) = scan.findings
    assert (finding.code, finding.severity, finding.sample) == (code, "error", ("train", "a"))
    assert finding.where == "train/control_images/a.png"
    assert finding.message.startswith("train/control_images/a.png ")
    assert finding.fix
    assert scan.failed is True


def test_a_bad_file_is_found_for_every_sample_that_uses_it(tmp_path: Path) -> None:
    rows = "control,prompt,id\nx.png,One.,1\nx.png,Two.,2\ny.png,Three.,3\n"
    root = lay(tmp_path, "y.png", test_csv=rows)
    write(root / "x.png", b"")
    assert [finding.sample for finding in check_dataset(root).findings] == [("test", "1"), ("test", "2")]


def test_a_wrong_extension_is_found_once_a_file_and_names_the_right_one(tmp_path: Path) -> None:
    root = lay(tmp_path, test_csv="control,prompt,id\nx.png,One.,1\nx.png,Two.,2\n")
    write(root / "x.png", picture("x.png", format="JPEG"))
    (finding,) = check_dataset(root).findings
    assert (finding.code, finding.severity, finding.fix) == ("wrong-extension", "warning", "rename it to x.jpg")


@pytest.mark.parametrize("name", ["a.JPG", "a.Jpeg", "a.TIF", "a.Webp"])
def test_extensions_count_in_any_case(tmp_path: Path, name: str) -> None:
    root = lay_split(tmp_path, "train", ["b"])
    lay(root, "train/training_images/a.txt", f"train/control_images/{name}", f"train/training_images/{name}")
    assert check_dataset(root).findings == []


def test_only_decoding_finds_what_headers_and_checksums_do_not_show(tmp_path: Path) -> None:
    root = lay_split(tmp_path, "train", ["a"], ".webp")
    out = io.BytesIO()
    Image.effect_noise((100, 100), 90).save(out, "WEBP", lossless=True)
    data = out.getvalue()
    write(root / "train/control_images/a.webp", data[:60] + bytes(len(data) - 60))
    assert not errors(check_dataset(root))
    assert not errors(scan_dataset(root))
    for scan in (check_dataset(root, decode=True), scan_dataset(root, decode=True)):
        assert errors(scan) == ["damaged-image"]


def test_a_scan_opens_no_image(tmp_path: Path) -> None:
    root = lay_split(tmp_path, "train", "ab")
    write(root / "train/control_images/a.png", b"")
    assert scan_dataset(root).findings == []


@pytest.mark.parametrize("text", ["", "  \n\t", "\ufeff", "\r\n"])
def test_an_empty_prompt_is_an_error_unless_allowed(tmp_path: Path, text: str) -> None:
    root = lay_split(tmp_path, "train", "ab")
    write(root / "train/training_images/a.txt", text)
    found = only(check_dataset(root).findings, "empty-prompt")
    assert (found.severity, found.where) == ("error", "train/training_images/a.txt")
    allowed = check_dataset(root, allow_empty_prompt=True)
    assert only(allowed.findings, "empty-prompt").severity == "note"
    assert allowed.failed is False


def test_the_place_of_a_row_is_its_table_and_line(tmp_path: Path) -> None:
    root = lay(tmp_path, "a.png", train_csv='control,prompt,id\na.png,"two\nlines",1\na.png,,2\n')
    found = only(check_dataset(root).findings, "empty-prompt")
    assert (found.where, found.line, found.place) == ("train.csv", 4, "train.csv:4")


@pytest.mark.parametrize("base", ["a:b", "12:30", "a:7", ":", "x.csv:3"])
def test_a_colon_in_a_name_is_no_line_number(tmp_path: Path, base: str) -> None:
    root = lay_split(tmp_path, "train", [base])
    write(root / f"train/training_images/{base}.txt", "")
    (root / f"train/training_images/{base}.png").unlink()
    for finding in check_dataset(root).findings:
        assert (finding.where, finding.line) == (f"train/training_images/{base}.txt", None)


def test_a_sample_of_unknown_origin_is_named_by_its_id() -> None:
    (finding,) = check_sample(Sample("a", "test", "", ()), allow_empty_prompt=False)
    assert finding.message == "a: the prompt is empty."


def test_only_samples_of_train_need_a_target(tmp_path: Path) -> None:
    root = lay_split(lay_split(tmp_path, "train", "a"), "test", "b")
    for path in root.rglob("training_images/*.png"):
        path.unlink()
    assert [finding.sample for finding in check_dataset(root).findings] == [("train", "a")]


def test_an_image_of_train_in_several_other_splits_is_found_in_each(tmp_path: Path) -> None:
    root = tmp_path
    for split in ("train", "test", "val"):
        name = {"train": "a"}.get(split, split[0])
        lay_split(root, split, name)
        write(root / split / "control_images" / f"{name}.png", PNG)

    def leaks(*splits: str) -> list[str]:
        findings = check_dataset(root, splits=splits).findings
        return sorted(finding.where for finding in findings if finding.code == "same-image-in-splits")

    assert leaks("train", "test", "val") == ["test/control_images/t.png", "val/control_images/v.png"]
    assert leaks("test", "val") == []


class AfterReading(Progress):
    """Does something once the samples are known and before their images are opened."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.actions = [action]

    def task(self, label: str, total: int | None, unit: str = "B") -> Task:
        if label != "Reading" and self.actions:
            self.actions.pop()()
        return super().task(label, total, unit)


@pytest.mark.parametrize("change", ["touched", "gone"])
def test_a_file_that_changes_while_it_is_checked_is_an_error(tmp_path: Path, change: str) -> None:
    path = lay_split(tmp_path, "train", "ab") / "train/control_images/a.png"
    act = path.unlink if change == "gone" else lambda: os.utime(path, ns=(1, 1))
    scan = check_dataset(tmp_path, progress=AfterReading(act))
    assert errors(scan) == ["changed-file"]
    assert scan.failed is True


def test_counts_add_up(photos: Path) -> None:
    scan = check_dataset(photos)
    expected = {"samples": 12, "files": 35, "bytes": 379_903, "errors": 0, "warnings": 0}
    assert scan.counts().items() >= expected.items()
    assert sum(scan.summary(split).bytes for split in scan.splits) == 379_903
    assert {split: (one.masks, one.targets, one.controls) for split in scan.splits if (one := scan.summary(split))} == {
        "train": (6, 9, {1: 6, 2: 2, 3: 1}),
        "test": (2, 1, {1: 2, 2: 1}),
    }


def test_one_split_alone_can_be_checked(photos: Path) -> None:
    assert [*check_dataset(photos, splits=["test"]).splits] == ["test"]
    with pytest.raises(UsageError, match="no split 'val'") as caught:
        check_dataset(photos, splits=["val"])
    assert "train" in caught.value.hint


@pytest.mark.parametrize("function", [scan_dataset, check_dataset])
def test_what_is_no_dataset_is_a_layout_error_that_says_what_each_layout_missed(tmp_path: Path, function: type) -> None:
    write(tmp_path / "a.txt", "x")
    with pytest.raises(LayoutError) as caught:
        function(tmp_path)
    assert "directory: " in caught.value.message
    assert "csv: " in caught.value.message
    with pytest.raises(LayoutError, match="There is no folder"):
        function(tmp_path / "nope")
