import io
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qflux_hub.errors import DataError, VerificationError
from qflux_hub.features import columns, features
from qflux_hub.pack import encoded_size, pack, schema
from qflux_hub.pages import Page, chunks, located, pages
from qflux_hub.sample import Blob, Sample
from qflux_hub.tree import FolderTree
from tests.builders import lay_split, picture, scan, write


def samples_of(root, shapes, extra=()):
    """Samples from (sizes of controls, of the mask or None, of the target or None, prompt), with files of any bytes."""

    def file(name, size):
        write(root / name, (name.encode() * (size // len(name) + 1))[:size])
        return name

    names = [
        (
            [file(f"{row}_{number}", size) for number, size in enumerate(controls)],
            None if mask is None else file(f"{row}_mask", mask),
            None if target is None else file(f"{row}_target", target),
            prompt,
        )
        for row, (controls, mask, target, prompt) in enumerate(shapes)
    ]
    blob = FolderTree(root).blob if names else None
    return [
        Sample(
            id=f"{row:04d}",
            split="train",
            prompt=prompt,
            controls=tuple(map(blob, controls)),
            mask=mask and blob(mask),
            target=target and blob(target),
            extra={name: f"{name} {row}" for name in extra},
        )
        for row, (controls, mask, target, prompt) in enumerate(names)
    ]


def packed(samples, extra=()):
    out = io.BytesIO()
    return pack(samples, extra, out), out.getvalue()


def content(blob):
    with blob.open() as file:
        return file.read()


def assert_images_lie_where_they_are_said_to(samples, result, data):
    assert result.size == len(data)
    for sample, offsets in zip(samples, result.offsets(samples), strict=True):
        media = [blob for _, blob in sample.media()]
        assert [data[at : at + blob.size] for at, blob in zip(offsets, media, strict=True)] == [*map(content, media)]


SIZES = st.integers(0, 40) | st.integers(0, 9000)
SHAPES = st.lists(
    st.tuples(st.lists(SIZES, min_size=1, max_size=5), st.none() | SIZES, st.none() | SIZES, st.text(max_size=30)),
    min_size=1,
    max_size=25,
)


@settings(deadline=None, max_examples=40)
@given(SHAPES)
def test_every_image_lies_at_its_recorded_offset(tmp_path_factory, shapes):
    samples = samples_of(tmp_path_factory.mktemp("set"), shapes)
    assert_images_lie_where_they_are_said_to(samples, *packed(samples))


@settings(deadline=None, max_examples=20)
@given(SHAPES)
def test_what_is_packed_is_read_back(tmp_path_factory, shapes):
    samples = samples_of(tmp_path_factory.mktemp("set"), shapes, extra=["source"])
    rows = pq.read_table(io.BytesIO(packed(samples, ["source"])[1])).to_pylist()

    def cell(blob):
        return blob and {"bytes": content(blob), "path": blob.name}

    assert rows == [
        {
            "target_image": cell(sample.target),
            "control_images": [cell(control) for control in sample.controls],
            "control_mask": cell(sample.mask),
            "prompt": sample.prompt,
            "id": sample.id,
            "source": f"source {row}",
        }
        for row, sample in enumerate(samples)
    ]


def test_offsets_hold_over_several_row_groups(tmp_path):
    shapes = [([n * 1000, 7], n if n % 3 else None, 10_300_000 + n if n % 2 else None, "Hi") for n in range(1, 21)]
    samples = samples_of(tmp_path, shapes)
    result, data = packed(samples)
    groups = pq.ParquetFile(io.BytesIO(data)).metadata.num_row_groups
    assert groups == 2
    assert_images_lie_where_they_are_said_to(samples, result, data)


def test_the_same_samples_are_the_same_bytes(tmp_path):
    shapes = [([5000, 10], 3, 7000, "Add a cat"), ([1], None, None, "")]
    samples = samples_of(tmp_path, shapes, extra=["x"])
    assert packed(samples, ["x"]) == packed(samples, ["x"])


def test_progress_counts_the_bytes_of_images(tmp_path):
    samples = samples_of(tmp_path, [([5000, 10], 3, 7000, "Add a cat"), ([1], None, None, "")])
    steps = []
    pack(samples, [], io.BytesIO(), steps.append)
    assert sum(steps) == 5000 + 10 + 3 + 7000 + 1


def test_columns_that_only_some_samples_have_are_null_in_the_others(tmp_path):
    first, second = samples_of(tmp_path, [([10], None, None, "a"), ([10], None, None, "b")])
    samples = [replace(first, extra={"x": "1", "y": None}), replace(second, extra={"y": ""})]
    table = pq.read_table(io.BytesIO(packed(samples, ["x", "y"])[1]))
    assert (table["x"].to_pylist(), table["y"].to_pylist()) == (["1", None], [None, ""])


def test_the_size_of_a_sample_is_that_of_its_files_and_texts(tmp_path):
    (sample,) = samples_of(tmp_path, [([100, 20], 3, 4000, "abc")], extra=["x"])
    assert encoded_size(sample) == 4123 + len("abc") + len("x 0") + 64


# --- many samples -----------------------------------------------------------------------------------------------


class Opener:
    """Opens files of any bytes; knows how many of its kind there are, and the most there ever were."""

    now = most = 0

    def __init__(self, size):
        self.size = size
        Opener.now += 1
        Opener.most = max(Opener.most, Opener.now)

    def __del__(self):
        Opener.now -= 1

    def __call__(self, name):
        return io.BytesIO((name.encode() * self.size)[: self.size])


class Made(Sequence):
    """Samples that are made anew whenever they are asked for, as are parts of them."""

    def __init__(self, numbers, size):
        self.numbers, self.size = numbers, size

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, at):
        if isinstance(at, slice):
            return Made(self.numbers[at], self.size)
        number = self.numbers[at]
        control, target = (Blob(f"{role}{number}.png", self.size, Opener(self.size)) for role in "ct")
        extra = {"x": None if number % 3 else f"Text {number}"}
        captions = tuple(f"{number}, {n}" for n in range(number % 4))
        return Sample(f"{number:06d}", "train", f"Do {number}", (control,), None, target, extra, captions=captions)


def test_samples_that_are_made_when_asked_for_are_the_same_bytes():
    samples = Made(range(2_500), 20_000)
    result, data = packed(samples, ["x", "captions"])
    assert pq.ParquetFile(io.BytesIO(data)).metadata.num_row_groups == 2
    assert (result, data) == packed(list(samples), ["x", "captions"])
    assert_images_lie_where_they_are_said_to(samples, result, data)


def test_however_many_samples_there_are_few_are_held(monkeypatch):
    monkeypatch.setattr("qflux_hub.pack._TOGETHER", 256)
    Opener.most = 0
    packed(Made(range(5_000), 10), ["x", "captions"])
    assert Opener.now == 0
    assert Opener.most < 2_000


def test_images_of_lists_have_pages_of_their_own_however_many_there_are(tmp_path):
    samples = samples_of(tmp_path, [([5000, 1], None, None, "Hi")] * 1100)
    data = packed(samples)[1]
    found = pages(data, len(data))["control_images.list.element.bytes"]
    assert [(page.first, page.last) for page in found] == [(row, row + 1) for row in range(1100)]


# --- the recipe -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """A shard of real images: the samples and the file."""
    root = tmp_path_factory.mktemp("set")
    lay_split(root, bases=["a", "b", "c"])
    for name in ("a_control_1", "a_control_2", "a_mask", "b_control_1"):
        write(root / f"train/control_images/{name}.png", picture(f"{name}.png", (90, 80), compress_level=0))
    (root / "train/training_images/c.png").unlink()
    samples = [replace(sample, extra={"source": "web"}) for sample in scan(root).samples]
    path = root / "shard.parquet"
    with path.open("wb") as file:
        pack(samples, ["source"], file)
    return samples, path


def test_images_come_first_and_are_stored_as_they_are(shard):
    metadata = pq.ParquetFile(shard[1]).metadata
    leaves = [metadata.row_group(0).column(number) for number in range(metadata.num_columns)]
    by_path = {leaf.path_in_schema: leaf for leaf in leaves}
    images = ["target_image", "control_images.list.element", "control_mask"]
    assert list(by_path) == [f"{image}.{leaf}" for image in images for leaf in ("bytes", "path")] + [
        "prompt",
        "id",
        "source",
    ]
    for path, leaf in by_path.items():
        text = path in ("prompt", "id", "source")
        assert leaf.compression == ("SNAPPY" if text else "UNCOMPRESSED")
        assert leaf.is_stats_set == text
        assert set(leaf.encodings) == {"PLAIN", "RLE"}
        assert leaf.has_offset_index


def test_every_image_has_a_page_of_its_own(shard):
    _, path = shard
    data = path.read_bytes()
    found = pages(data, len(data))
    assert [(page.first, page.last) for page in found["control_images.list.element.bytes"]] == [(0, 1), (1, 2), (2, 3)]
    assert sorted(found) == sorted(
        pq.ParquetFile(path).metadata.row_group(0).column(number).path_in_schema for number in range(9)
    )
    assert all(isinstance(page, Page) and page.end <= len(data) for leaf in found.values() for page in leaf)


def test_the_schema_says_the_features_in_a_form_that_old_and_new_readers_know(shard):
    described = json.loads(pq.read_schema(shard[1]).metadata[b"huggingface"])
    assert described == {"info": {"features": features(["source"])}}
    assert described["info"]["features"]["control_images"] == {"feature": {"_type": "Image"}, "_type": "Sequence"}
    assert next(iter(described["info"]["features"])) == "id"
    assert schema(["source"]).names == list(columns(["source"]))


def test_datasets_reads_a_shard_with_its_images(shard, tmp_path):
    datasets = pytest.importorskip("datasets")
    samples, path = shard
    loaded = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path))
    image = datasets.Image()
    assert loaded.features["control_mask"] == loaded.features["target_image"] == image
    assert loaded.features["control_images"] == datasets.List(image)
    assert loaded.features["prompt"] == loaded.features["id"] == loaded.features["source"] == datasets.Value("string")
    rows = list(loaded)
    assert [row["id"] for row in rows] == [sample.id for sample in samples] == ["a", "b", "c"]
    assert [len(row["control_images"]) for row in rows] == [3, 2, 1]
    assert [row["target_image"] is None for row in rows] == [False, False, True]
    assert rows[0]["control_images"][1].size == rows[0]["control_mask"].size == (90, 80)


def test_polars_reads_a_shard(shard):
    polars = pytest.importorskip("polars")
    samples, path = shard
    rows = polars.read_parquet(path).to_dicts()
    assert [row["control_images"][0]["bytes"] for row in rows] == [content(sample.controls[0]) for sample in samples]
    assert polars.scan_parquet(path).select("id", "prompt").collect()["id"].to_list() == ["a", "b", "c"]


# --- files that change ------------------------------------------------------------------------------------------


def append(path):
    with path.open("ab") as file:
        file.write(b"more")


def replace_by_another(path):
    other = write(path.with_name("other"), path.read_bytes())
    stat = path.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


CHANGES = {
    "grew": append,
    "shrank": lambda path: os.truncate(path, 10),
    "emptied": lambda path: os.truncate(path, 0),
    "rewritten": lambda path: path.write_bytes(path.read_bytes()) and os.utime(path, ns=(1, 1)),
    "replaced": replace_by_another,
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_since_it_was_checked_is_refused(tmp_path, change):
    samples = samples_of(tmp_path, [([5000], None, None, "Hi")])
    CHANGES[change](tmp_path / "0_0")
    with pytest.raises(DataError, match="0_0 changed") as error:
        packed(samples)
    assert "nothing was published" in error.value.hint


@pytest.mark.parametrize("change", ["grew", "shrank", "removed"])
def test_a_blob_without_stamp_is_held_to_its_size(tmp_path, change):
    (sample,) = samples_of(tmp_path, [([5000], None, None, "Hi")])
    bare = replace(sample, controls=(replace(sample.controls[0], stamp=None),))
    assert packed([bare]) == packed([sample])
    CHANGES[change](tmp_path / "0_0")
    with pytest.raises(DataError, match="0_0 changed"):
        packed([bare])


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = write(tmp_path / "a.png", b"a" * 5000)
    os.utime(path, ns=(1, 1))
    blob = FolderTree(tmp_path).blob("a.png")

    class Meddled(io.FileIO):
        """Is rewritten, to the same length, by somebody else while it is read."""

        def readinto(self, buffer):
            path.write_bytes(b"b" * 5000)
            return super().readinto(buffer)

    sample = Sample("a", "train", "Hi", (replace(blob, opener=lambda name: Meddled(tmp_path / name)),))
    with pytest.raises(DataError, match="changed"):
        packed([sample])


# --- the page index ---------------------------------------------------------------------------------------------


def test_the_tail_of_a_file_from_its_page_index_on_is_enough(shard):
    data = shard[1].read_bytes()
    whole = pages(data, len(data))
    last = max(page.end for leaf in whole.values() for page in leaf)
    assert pages(data[last:], len(data)) == whole


def test_the_pages_of_a_column_are_found_by_its_part_of_the_index_one_at_a_time(shard):
    data = shard[1].read_bytes()
    leaf = "control_images.list.element.bytes"
    (group,) = chunks(data)
    chunk = group[leaf]
    index = data[chunk.offset : chunk.offset + chunk.length]
    found = pages(data, len(data))[leaf]
    assert list(located(chunk, index, chunk.offset)) == found
    cut = located(chunk, index[: 2 * len(index) // 3], chunk.offset)
    assert next(cut) == found[0]
    with pytest.raises(VerificationError):
        list(cut)


def refuse(data, size=None):
    with pytest.raises(VerificationError) as error:
        pages(data, len(data) if size is None else size)
    return error.value.message


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1PAR1", b"PK\x03\x04" * 10, b"PAR1" + b"\xff" * 40 + b"PAR1"])
def test_what_is_no_parquet_file_is_refused(data):
    assert refuse(data)


def test_a_tail_that_is_too_short_is_refused(shard):
    data = shard[1].read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for start in (footer - 1, footer, footer + 1, len(data) - 12):
        assert "does not reach back" in refuse(data[start:], len(data))


def test_a_file_without_page_index_is_refused():
    out = io.BytesIO()
    pq.write_table(pa.table({"x": [1]}), out)
    assert refuse(out.getvalue()) == "Column x has no page index."


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_a_damaged_footer_is_refused_or_read_but_never_an_exception_of_another_kind(shard, data):
    whole = bytearray(shard[1].read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        whole[-1 - data.draw(st.integers(4, 3000))] = data.draw(st.integers(0, 255))
    with suppress(VerificationError):
        pages(bytes(whole), len(whole))
