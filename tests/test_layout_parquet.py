"""Parquet with embedded images: ours, `push_to_hub`'s, instruct-pix2pix's; read, written, and read by `datasets`."""

from __future__ import annotations

import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Image, load_dataset

from qflux_hub import UsageError, convert_dataset, upload_dataset
from qflux_hub.layouts import parquet
from qflux_hub.tree import FolderTree
from tests.builders import lay, picture, scan, table, write
from tests.jobtools import rows, tree

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def image(name, path=None):
    return {"bytes": picture(name), "path": path}


AS_PACKED = {
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": False,
    "write_batch_size": 1,
    "data_page_size": 4096,
    "write_page_index": True,
}
"""How shards are written whose images lie in the file as they are."""
AS_PUSHED = {"compression": "snappy", "use_content_defined_chunking": True}


def put(root, path="data/train-00000-of-00001.parquet", *, types=None, settings=None, **columns):
    """Write a Parquet file of these columns; dictionaries are images."""
    kinds = {}
    for name, values in columns.items():
        first = next((value for value in values if value is not None), None)
        kinds[name] = IMAGE if isinstance(first, dict) else pa.list_(IMAGE) if isinstance(first, list) else None
    kinds |= types or {}
    arrays = {name: pa.array(values, kinds[name]) for name, values in columns.items()}
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays), root / path, **settings or {})
    return root


def content(blob):
    with blob.open() as file:
        return file.read()


def test_rows_are_samples_in_their_order(tmp_path):
    put(
        tmp_path,
        id=["b", "a"],
        prompt=[" x ", None],
        control_images=[[image("b.png", "b.png"), image("b1.jpg", "b_control_1.jpg")], [image("a.png", "a.png")]],
        control_mask=[None, image("m.png", "m.png")],
        target_image=[image("t.png"), None],
        seed=[3, None],
    )
    read = scan(tmp_path)
    assert (read.layout, read.ids, read.codes) == ("parquet", ["b", "a"], [])
    assert [one.prompt for one in read.samples] == [" x ", ""]
    assert [dict(one.extra) for one in read.samples] == [{"seed": "3"}, {}]
    assert [list(map(content, one.controls)) for one in read.samples] == [
        [picture("b.png"), picture("b1.jpg")],
        [picture("a.png")],
    ]
    assert (read["b"].mask, content(read["a"].mask)) == (None, picture("m.png"))
    assert (content(read["b"].target), read["a"].target) == (picture("t.png"), None)
    assert read["b"].target.name == "train/target/b.png"


def test_the_columns_of_instruct_pix2pix_are_known(tmp_path):
    put(tmp_path, "train.parquet", input_image=[image("a.jpg")], edit_prompt=["Hi"], edited_image=[image("b.jpg")])
    (sample,) = scan(tmp_path).samples
    assert (sample.id, sample.prompt) == ("00000001", "Hi")
    assert (content(sample.controls[0]), content(sample.target)) == (picture("a.jpg"), picture("b.jpg"))


def test_the_columns_of_instruct_pix2pix_are_written(photos, tmp_path):
    report = convert_dataset(photos, tmp_path / "out", as_="pix2pix")
    assert {loss.what: loss.count for loss in report.lost} == {"sample": 2, "control": 4, "mask": 7}
    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    assert {*loaded.column_names} == {"id", "edited_image", "input_image", "edit_prompt"}
    assert isinstance(loaded.features["input_image"], Image)
    assert isinstance(loaded.features["edited_image"], Image)
    read = scan(tmp_path / "out")
    assert (read.layout, loaded[0]["edit_prompt"]) == ("pix2pix", read.samples[0].prompt)
    first = scan(photos).splits["train"][0]
    assert content(read.samples[0].controls[0]) == content(first.controls[0])
    assert content(read.samples[0].target) == content(first.target)


def test_columns_can_be_named(tmp_path):
    put(tmp_path, "train.parquet", left=[image("a.png")], right=[image("b.png")], words=["Hi"], more=[image("c.png")])
    called = {"control": "left", "control_1": "more", "target": "right", "prompt": "words"}
    (sample,) = scan(tmp_path, columns=called).samples
    assert [content(one) for one in sample.controls] == [picture("a.png"), picture("c.png")]
    assert scan(tmp_path).codes == ["missing-column", "empty-split"]
    with pytest.raises(UsageError, match="There is no role 'front'"):
        scan(tmp_path, columns={"front": "left"})


def test_plain_bytes_are_images_too(tmp_path):
    put(tmp_path, "train.parquet", image=[picture("a.webp")], text=["Hi"], control=[picture("c.png")])
    (sample,) = scan(tmp_path).samples
    assert (sample.target.name, sample.controls[0].name) == ("train/target/00000001.webp", "train/control/00000001.png")


def test_what_cannot_be_read_is_found_in_one_run(tmp_path):
    put(
        tmp_path,
        "train.parquet",
        id=["a", "a", "b", "c"],
        prompt=["1", "2", "3", "4"],
        control_images=[[image("a.png")], [image("b.png")], [], [{"bytes": None, "path": "c.png"}]],
        depths=[[image("d.png")]] * 4,
    )
    read = scan(tmp_path)
    assert read.ids == ["a"]
    assert read.codes == ["unknown-column", "duplicate-id", "missing-control", "missing-file"]
    assert [finding.line for finding in read.findings] == [None, 2, 3, 4]


def test_a_file_that_is_no_parquet_is_found(tmp_path):
    write(put(tmp_path, prompt=["Hi"], control=[image("a.png")]) / "data/train-00001-of-00002.parquet", b"PAR1")
    read = scan(tmp_path)
    assert (len(read.samples), read.codes) == (1, ["undecodable-table"])


def damage(path, column):
    """Overwrite the last bytes of what a file holds of a column."""
    with pq.ParquetFile(path) as file:
        chunks = [file.metadata.row_group(0).column(number) for number in range(file.metadata.num_columns)]
    (chunk,) = (chunk for chunk in chunks if chunk.path_in_schema == column)
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    end = start + chunk.total_compressed_size
    data = path.read_bytes()
    path.write_bytes(data[: end - 4] + b"\xff" * 4 + data[end:])


@pytest.mark.parametrize(
    ("settings", "why"), [(AS_PACKED, "can't decode byte 0xff"), ({"compression": "gzip"}, "gzip")], ids=str
)
def test_damaged_texts_are_found(tmp_path, settings, why):
    put(tmp_path, prompt=["first", "second"], control=[image("a.png"), image("b.png")], settings=settings)
    (path,) = tmp_path.glob("data/*")
    damage(path, "prompt")
    found = scan(tmp_path).findings[0]
    assert (found.code, found.severity) == ("unreadable-file", "error")
    assert found.message.startswith("data/train-00000-of-00001.parquet cannot be read: ")
    assert why in found.message.lower()


def test_images_of_damaged_pages_cannot_be_opened(tmp_path):
    """They are looked at when they are asked for, by Arrow where they do not lie in the file as they are."""
    put(tmp_path, prompt=["Hi"], control=[image("a.png", "a.png")], settings={"compression": "gzip"})
    (path,) = tmp_path.glob("data/*")
    (sample,) = scan(tmp_path).samples
    damage(path, "control.bytes")
    with pytest.raises(OSError, match=r"data/train-00000-of-00001.parquet"):
        content(sample.controls[0])


def test_equal_paths_of_different_images_do_not_mix_them_up(tmp_path, hub, repo):
    put(tmp_path, prompt=["1", "2"], control=[image("a.png", "image.png"), image("b.png", "image.png")])
    upload_dataset(tmp_path, repo, hub=hub)
    stored = [[one["bytes"] for one in row["control_images"]] for row in rows(hub, repo)]
    assert stored == [[picture("a.png")], [picture("b.png")]]
    convert_dataset(tmp_path, tmp_path.parent / "csv", as_="csv")
    images = {path: data for path, data in tree(tmp_path.parent / "csv").items() if path.endswith(".png")}
    assert sorted(images.values()) == sorted([picture("a.png"), picture("b.png")])


def test_the_card_tells_which_files_are_which_split(tmp_path):
    put(tmp_path, "x/one.parquet", prompt=["Hi"], control=[image("a.png")])
    put(tmp_path, "x/two.parquet", prompt=["Ho"], control=[image("a.png")])
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: val\n    path: x/two.parquet\n---\n"
    write(tmp_path / "README.md", card)
    read = scan(tmp_path)
    assert {split: [one.prompt for one in samples] for split, samples in read.splits.items()} == {"val": ["Ho"]}


def test_datasets_loads_what_was_written(photos, tmp_path):
    convert_dataset(photos, tmp_path / "out", as_="parquet")
    assert tree(tmp_path / "out").keys() == {
        "data/train-00000-of-00001.parquet",
        "data/test-00000-of-00001.parquet",
    }
    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].num_rows == 9
    assert isinstance(loaded["train"].features["target_image"], Image)
    first = scan(photos).splits["train"][0]
    assert loaded["train"][0]["prompt"] == first.prompt
    assert loaded["train"][0]["control_images"][0].size


def test_a_table_beside_its_images_is_not_taken_for_this_layout(tmp_path):
    lay(tmp_path, "a.png")
    write(tmp_path / "train.csv", table(["control", "prompt"], ["a.png", "Hi"]))
    put(tmp_path, "train.parquet", file=["a.png"], prompt=["Hi"])
    assert scan(tmp_path).layout == "csv"


# --- files of many rows ------------------------------------------------------------------------------------------


def some(number):
    """A few bytes, others for every number."""
    return {"bytes": b"\x89PNG\r\n\x1a\n" + number.to_bytes(4, "big") * (number % 5), "path": f"{number}.png"}


@pytest.mark.parametrize("size", [7, 800, 10_000])
@pytest.mark.parametrize("settings", [AS_PACKED, AS_PUSHED, AS_PACKED | {"compression": {"target.bytes": "snappy"}}])
def test_rows_keep_their_images_in_row_groups_of_any_size(tmp_path, settings, size):
    rows = range(1300)
    target = [None if row % 3 == 0 else some(row) for row in rows]
    controls = [None if row % 11 == 5 else [some(row + at) for at in range(row % 4)] for row in rows]
    mask = [some(row) if row > 900 else None for row in rows]
    put(
        tmp_path,
        settings=settings | {"row_group_size": size},
        prompt=[f"Do {row}" for row in rows],
        target=target,
        control_images=controls,
        mask=mask,
    )
    kept = [row for row in rows if controls[row]]
    read = scan(tmp_path)
    assert [one.prompt for one in read.samples] == [f"Do {row}" for row in kept]
    assert [finding.line for finding in read.findings if finding.code == "missing-control"] == [
        row + 1 for row in rows if row not in kept
    ]
    for row, sample in zip(kept, read.samples, strict=True):
        assert list(map(content, sample.controls)) == [one["bytes"] for one in controls[row]]
        for blob, one in ((sample.target, target[row]), (sample.mask, mask[row])):
            assert (blob and content(blob)) == (one and one["bytes"])


def test_one_control_in_a_row_group_makes_those_before_it_lack_one(tmp_path):
    for settings in (AS_PACKED, AS_PUSHED):
        columns = {"prompt": ["Hi"] * 700, "target": [some(row) for row in range(700)]}
        put(tmp_path, **columns, control=[None] * 699 + [some(1)], settings=settings)
        assert len(scan(tmp_path).samples) == 1
        put(tmp_path, **columns, control=[None] * 700, types={"control": IMAGE}, settings=settings)
        assert len(scan(tmp_path).samples) == 700


def test_a_file_that_is_only_a_path_is_told_of_in_whichever_row_group(tmp_path):
    images = [some(row) for row in range(9)]
    images[4] = {"bytes": None, "path": "4.png"}
    put(tmp_path, prompt=["Hi"] * 9, control=images, settings=AS_PACKED | {"row_group_size": 2})
    read = scan(tmp_path)
    assert [(finding.code, finding.line) for finding in read.findings] == [("missing-file", 5)]
    assert [content(one.controls[0]) for one in read.samples] == [one["bytes"] for one in images if one["bytes"]]


def test_a_page_index_of_more_than_a_megabyte_is_read(tmp_path):
    rows = range(30_000)
    settings = AS_PACKED | {"data_page_size": 1}
    put(
        tmp_path,
        target=list(map(some, rows)),
        prompt=[str(row) for row in rows],
        mask=[None] * 29_999 + [some(1)],
        settings=settings,
    )
    samples = scan(tmp_path).samples
    assert [content(samples[row].target) for row in rows[::999]] == [some(row)["bytes"] for row in rows[::999]]
    assert len(samples) == len(rows)


def test_rows_that_are_not_read_yet_take_some_bytes_each(tmp_path):
    rows = range(20_000)
    put(tmp_path, target=list(map(some, rows)), prompt=[f"Do {row}" for row in rows], settings=AS_PACKED)
    tree = FolderTree(tmp_path)
    next(parquet.read(tree, "train", {}, print))  # imports
    tracemalloc.start()
    next(parquet.read(tree, "train", {}, print))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * len(rows) + 1_500_000
