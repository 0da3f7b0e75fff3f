"""Metadata tables of the imagefolder kind: read in every format, written so that `datasets` loads them."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Image, load_dataset

from qflux_hub import convert_dataset, scan_dataset
from tests.builders import lay, picture, roles, scan, table, write
from tests.jobtools import tree

ROW = {
    "prompt": " Hi\n",
    "control_images_file_names": ["c/a.png", "c/b.JPG"],
    "control_mask_file_name": "m.png",
    "target_image_file_name": "t/a.webp",
    "seed": 7,
}


@pytest.fixture
def root(tmp_path):
    return lay(tmp_path, *(f"train/{name}" for name in ("c/a.png", "c/b.JPG", "m.png", "t/a.webp")))


def put(root, kind, *rows, folder="train"):
    path = root / folder / f"metadata.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "csv":
        cells = [[json.dumps(one) if isinstance(one, list) else one for one in row.values()] for row in rows]
        write(path, table(list(rows[0]), *cells))
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        write(path, lines if kind == "jsonl" else json.dumps(list(rows)))
    return root


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "json"])
def test_every_kind_of_table_is_read(root, kind):
    read = scan(put(root, kind, ROW))
    (sample,) = read.samples
    assert (read.layout, read.codes, sample.id, sample.prompt) == ("metadata", [], "a", " Hi\n")
    assert roles(sample) == {
        "controls": ["train/c/a.png", "train/c/b.JPG"],
        "mask": "train/m.png",
        "target": "train/t/a.webp",
    }
    assert sample.extra == {"seed": "7"}


def test_a_row_that_names_no_image_is_left_out(tmp_path):
    put(
        lay(tmp_path, "a.png"), "csv", {"file_name": "a.png", "text": "Hi"}, {"file_name": "", "text": "Ho"}, folder="."
    )
    read = scan_dataset(tmp_path)
    assert ([one.id for one in read.samples()], [finding.code for finding in read.findings]) == (
        ["a"],
        ["missing-control"],
    )


def test_a_table_at_the_top_is_the_split_train(tmp_path):
    lay(tmp_path, "x/a.png")
    put(tmp_path, "csv", {"file_name": "x/a.png", "text": "Hi"}, folder=".")
    read = scan(tmp_path)
    assert {split: [one.id for one in samples] for split, samples in read.splits.items()} == {"train": ["a"]}
    assert (read["a"].controls, read["a"].target.name) == ((), "x/a.png")


def test_what_is_wrong_is_found_with_its_line(root):
    write(root.parent / "secret.png", picture())
    rows = [ROW, ROW | {"target_image_file_name": "../../secret.png"}, ROW | {"control_images_file_names": []}]
    rows += [ROW | {"control_mask_file_name": "n.png", "id": "x"}, ROW]
    put(root, "jsonl", *rows)
    with (root / "train/metadata.jsonl").open("a") as file:
        file.write("{\n[1]\n")
    read = scan(root)
    found = [(finding.code, finding.line) for finding in read.findings]
    assert ("outside-root", 2) in found
    assert ("missing-control", 3) in found
    assert ("missing-file", 4) in found
    assert ("undecodable-table", 6) in found
    assert ("undecodable-table", 7) in found


def test_two_tables_of_a_split_are_told(root):
    put(put(root, "jsonl", ROW), "csv", ROW)
    assert scan(root).codes == ["ambiguous-file"]


def test_a_row_that_is_left_out_takes_no_id(root):
    rows = [{"id": "1", "file_name": None, "text": "One"}, {"id": "1", "file_name": "c/a.png", "text": "Two"}]
    write(root / "train/metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    read = scan(root)
    assert (read.ids, read.codes) == (["1"], ["missing-control"])


def test_rows_with_too_many_cells_are_found(root):
    write(root / "train/metadata.csv", "file_name,text\nc/a.png,one, two\nc/b.JPG,Hi\n")
    read = scan(root)
    assert (read.ids, read.codes) == (["b"], ["ragged-row"])
    assert read.findings[0].message == "train/metadata.csv, line 2: 3 cells, the header has 2."


def test_datasets_loads_what_was_written(photos, tmp_path):
    report = convert_dataset(photos, tmp_path / "out", as_="metadata")
    assert report.lost == []
    assert "train/metadata.jsonl" in tree(tmp_path / "out")
    loaded = load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    before = scan(photos).splits
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 9, "test": 3}
    assert isinstance(loaded["train"].features["target_image"], Image)
    assert isinstance(loaded["train"].features["control_images"].feature, Image)
    for split, samples in before.items():
        plain = loaded[split].with_format("arrow")[:].to_pylist()
        assert [row["prompt"] for row in plain] == [one.prompt for one in samples]
        assert [len(row["control_images"]) for row in plain] == [len(one.controls) for one in samples]
        assert [row["control_mask"] is not None for row in plain] == [one.mask is not None for one in samples]


def test_splits_of_which_one_has_no_targets_still_load(tmp_path):
    lay(tmp_path / "ds", "train/control_images/a.png", "train/training_images/a.png", "train/training_images/a.txt")
    lay(tmp_path / "ds", "test/control_images/b.png", "test/training_images/b.txt")
    convert_dataset(tmp_path / "ds", tmp_path / "out", as_="metadata")
    loaded = load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert loaded["test"][0]["target_image"] is None
    assert loaded["train"][0]["target_image"].size == (4, 3)
