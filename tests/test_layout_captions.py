"""Captions beside images, by name or by line, as the finetrainers guide has them."""

from __future__ import annotations

import pytest

from qflux_hub import DataError, convert_dataset
from tests.builders import lay, picture, roles, scan, write
from tests.jobtools import tree


def test_pairs_of_one_name_are_samples_in_the_order_of_names(tmp_path):
    lay(tmp_path, "b.txt", "b.JPG", "a.b.txt", "a.b.png", "10.txt", "10.webp")
    read = scan(tmp_path)
    assert (read.layout, read.ids, read.codes) == ("pairs", ["10", "a.b", "b"], [])
    assert roles(read["b"]) == {"controls": [], "mask": None, "target": "b.JPG"}


def test_pairs_lie_in_folders_of_splits_too(tmp_path):
    lay(tmp_path, "train/a.txt", "train/a.png", "val/b.txt", "val/b.png")
    assert list(scan(tmp_path).splits) == ["train", "val"]


def test_what_has_no_partner_is_found(tmp_path):
    lay(tmp_path, "a.txt", "a.png", "b.txt", "c.png", "d.txt", "d.png", "d.jpg")
    read = scan(tmp_path)
    assert read.ids == ["a", "d"]
    assert sorted(read.codes) == ["ambiguous-file", "missing-target", "orphan-target"]


def test_lines_of_two_lists_belong_together(tmp_path):
    lay(tmp_path, "x/1.png", "x/2.png")
    write(tmp_path / "captions.txt", "\ufeff One, \u2028 still one\r\nTwo\r\n")
    write(tmp_path / "images.txt", "x/2.png\nx/1.png")
    read = scan(tmp_path)
    assert (read.layout, read.ids) == ("lists", ["2", "1"])
    assert [one.prompt for one in read.samples] == [" One, \u2028 still one", "Two"]


def test_lists_of_different_lengths_name_both_numbers(tmp_path):
    lay(tmp_path, "x/1.png")
    write(tmp_path / "prompts.txt", "One\nTwo\n\n")
    write(tmp_path / "images.txt", "x/1.png\n")
    read = scan(tmp_path)
    finding = read.finding("uneven-lists")
    assert (read.samples, finding.line) == ([], 2)
    assert finding.message == "prompts.txt has 3 lines, images.txt 1; first unmatched: line 2 of prompts.txt."


def test_a_line_that_names_no_file_is_found_with_its_number(tmp_path):
    lay(tmp_path, "x/1.png")
    write(tmp_path / "prompts.txt", "One\nTwo\nThree\nFour\n")
    write(tmp_path / "images.txt", "x/1.png\n\nx/3.png\n../up.png\n")
    found = [(finding.code, finding.line) for finding in scan(tmp_path).findings]
    assert found == [("missing-target", 2), ("missing-file", 3), ("outside-root", 4)]


def test_two_lists_of_one_kind_are_told(tmp_path):
    lay(tmp_path, "1.png")
    for name in ("captions.txt", "prompt.txt"):
        write(tmp_path / name, "One\n")
    write(tmp_path / "image.txt", "1.png\n")
    assert scan(tmp_path).codes == ["ambiguous-file"]


@pytest.mark.parametrize("name", ["lists", "pairs"])
def test_an_edit_dataset_loses_its_controls_and_says_so(photos, tmp_path, name):
    report = convert_dataset(photos, tmp_path / "out", as_=name, splits=["train"])
    lost = {loss.what: loss.count for loss in report.lost}
    assert lost["control"] >= 9
    assert lost["mask"] >= 1
    images = {path for path in tree(tmp_path / "out") if not path.endswith(".txt")}
    assert len(images) == 9
    assert [one.prompt for one in scan(tmp_path / "out").samples] == [
        one.prompt for one in scan(photos).splits["train"]
    ]


def test_a_layout_that_holds_nothing_of_a_dataset_writes_nothing(photos, tmp_path):
    lay(tmp_path / "ds", "a.txt", "a.png")
    with pytest.raises(DataError, match="holds none of these samples; nothing was written"):
        convert_dataset(tmp_path / "ds", tmp_path / "out", as_="csv")
    assert not (tmp_path / "out").exists()


def test_text_to_image_goes_through_every_layout_that_holds_it(tmp_path):
    lay(tmp_path / "ds", "train/a.txt", "train/a.png", "train/b.txt", "train/b.jpg")
    before = tree(tmp_path / "ds")
    for number, name in enumerate(["lists", "metadata", "parquet", "webdataset", "pairs"]):
        source = tmp_path / ("ds" if not number else f"{number - 1}")
        assert convert_dataset(source, tmp_path / f"{number}", as_=name).lost == []
    assert tree(tmp_path / "4") == {path: data.strip() for path, data in before.items() if path.endswith(".txt")} | {
        path: data for path, data in before.items() if not path.endswith(".txt")
    }


@pytest.mark.parametrize(("above", "folder"), [("train/", ""), ("train/", "clips/of/mine/"), ("", "clips/")])
def test_lists_are_written_with_their_files_where_they_lay(tmp_path, above, folder):
    source = tmp_path / "source"
    for name in "ba":
        write(source / f"{above}{folder}{name}.png", picture(f"{name}.png"))
    write(source / f"{above}prompts.txt", "First.\nSecond.\n")
    write(source / f"{above}images.txt", f"{folder}b.png\n{folder}a.png\n")
    report = convert_dataset(source, tmp_path / "back", as_="lists")
    assert (report.lost, tree(tmp_path / "back")) == ([], tree(source))
