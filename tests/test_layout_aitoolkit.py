"""The folders of ai-toolkit: targets with captions beside folders of controls."""

from __future__ import annotations

from qflux_hub import convert_dataset
from tests.builders import lay, lay_split, roles, scan
from tests.jobtools import tree


def test_folders_of_one_split_lie_at_the_top(tmp_path):
    lay(
        tmp_path, "photos/a.txt", "photos/a.jpg", "photos_control/a.png", "photos_control_2/a.webp", "photos_mask/a.png"
    )
    lay(tmp_path, "other/x.png")
    read = scan(tmp_path)
    assert (read.layout, read.ids, read.codes) == ("aitoolkit", ["a"], [])
    assert roles(read["a"]) == {
        "controls": ["photos_control/a.png", "photos_control_2/a.webp"],
        "mask": "photos_mask/a.png",
        "target": "photos/a.jpg",
    }


def test_a_table_beside_the_folders_comes_first(tmp_path):
    names = ("train/target/a.txt", "train/target/a.png", "train/control/a.png")
    lay(tmp_path, *names, train_csv="image,control,prompt\ntrain/target/a.png,train/control/a.png,Hi\n")
    read = scan(tmp_path)
    assert (read.layout, [one.prompt for one in read.samples]) == ("csv", ["Hi"])
    assert [one.prompt for one in scan(tmp_path, "aitoolkit").samples] == ["Prompt of a."]


def test_what_belongs_to_no_sample_is_found(tmp_path):
    lay(tmp_path, *(f"train/images/{name}" for name in ("a.txt", "a.png", "b.txt", "b.png", "c.png", "d.txt")))
    lay(tmp_path, "train/control/a.png", "train/control/a.jpg", "train/control/x.png", "train/masks/y.png")
    read = scan(tmp_path)
    assert (read.ids, {finding.code: finding.where for finding in read.findings}) == (
        ["a"],
        {
            "orphan-target": "train/images/c.png",
            "ambiguous-file": "train/control/a.jpg",
            "missing-control": "train/images/b.txt",
            "missing-target": "train/images/d.txt",
            "orphan-control": "train/control/x.png",
        },
    )


def test_a_control_whose_caption_lacks_a_target_is_no_orphan(tmp_path):
    lay(tmp_path, "train/target/a.txt", "train/target/a.png", "train/control/a.png")
    lay(tmp_path, "train/target/b.txt", "train/control/b.png")
    read = scan(tmp_path)
    assert (read.ids, read.codes) == (["a"], ["missing-target"])


def test_what_a_trainer_is_given_lies_where_it_looks(tmp_path):
    root = lay(lay_split(tmp_path / "ds", bases="ab"), "train/control_images/a_control_1.png")
    report = convert_dataset(lay(root, "train/control_images/a_mask.png"), tmp_path / "out", as_="aitoolkit")
    assert {loss.what: loss.count for loss in report.lost} == {"file name": 2}
    names = {"control": "ab", "control_1": "a", "mask": "a", "target": "ab"}
    images = {f"train/{folder}/{base}.png" for folder, bases in names.items() for base in bases}
    assert tree(tmp_path / "out").keys() == images | {f"train/target/{base}.txt" for base in "ab"}
    convert_dataset(tmp_path / "out", tmp_path / "back", as_="directory")
    assert tree(tmp_path / "back") == {
        path: data.strip() if path.endswith("txt") else data for path, data in tree(root).items()
    }
