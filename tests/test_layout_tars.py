"""WebDataset tars: read where members lie, written the same every time, loaded by `datasets`."""

from __future__ import annotations

import io
import json
import tarfile
from contextlib import nullcontext

import pytest
from datasets import Image, load_dataset

from qflux_hub import convert_dataset
from tests.builders import lay_split, picture, roles, scan, write
from tests.jobtools import tree


def tar(path, *members):
    """A tar of (name, content); text is UTF-8, None makes a picture of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, content in members:
            data = picture(name) if content is None else content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def sample(key, text="Hi\n"):
    return [(f"{key}.txt", text), (f"{key}.control.png", None), (f"{key}.jpg", None)]


def content(blob):
    with blob.open() as file:
        return file.read()


def test_members_of_a_key_are_a_sample(tmp_path):
    members = [
        ("x/0.control_1.webp", None),
        ("x/0.control.png", None),
        ("x/0.mask.PNG", None),
        ("x/0.jpg", None),
        ("x/0.caption.txt", " Hi\n"),
        ("x/0.json", json.dumps({"seed": 3, "tags": ["a"]})),
        ("x/0.npy", b"123"),
    ]
    tar(tmp_path / "train-00001.tar", *sample("1"))
    tar(tmp_path / "train-00000.tar", *members)
    read = scan(tmp_path)
    assert (read.layout, read.ids, read.codes) == ("webdataset", ["x/0", "1"], [])
    first = read["x/0"]
    assert {name: content(one) for name, one in first.others.items()} == {"npy": b"123"}
    assert (first.prompt, first.extra) == (" Hi\n", {"seed": "3", "tags": '["a"]'})
    assert [content(one) for one in first.controls] == [picture("x/0.control.png"), picture("x/0.control_1.webp")]
    assert (content(first.mask), content(first.target)) == (picture("x/0.mask.PNG"), picture("x/0.jpg"))
    assert roles(read["1"]) == {"controls": ["train/control/1.png"], "mask": None, "target": "train/target/1.jpg"}


@pytest.mark.parametrize(
    ("told", "extra", "captions"),
    [
        ({"others": {"x": [1], "txt": 5}, "id": 3}, {"others": '{"x": [1], "txt": 5}'}, ()),
        ({"file_names": 5, "extra": 7, "others": ["jpg"]}, {"file_names": "5", "extra": "7", "others": '["jpg"]'}, ()),
        ({"captions": "one"}, {}, ("one",)),
        ({"captions": ["one", None, 2]}, {}, ("one", "2")),
        ({"captions": {"a": 1}}, {}, ('{"a": 1}',)),
        (["no", "object"], {}, ()),
    ],
)
def test_a_json_of_any_shape_is_carried_along(tmp_path, told, extra, captions):
    tar(tmp_path / "train.tar", *sample("a"), ("a.json", json.dumps(told)))
    read = scan(tmp_path)
    assert (read.ids, read.codes) == (["a"], [])
    assert (read["a"].extra, read["a"].captions) == (extra, captions)


def test_captions_alone_have_the_prompt_first(tmp_path):
    tar(tmp_path / "train.tar", ("a.mp4", b"x"), ("a.json", json.dumps({"captions": ["Hi", "Ho"]})))
    assert (scan(tmp_path)["a"].prompt, scan(tmp_path)["a"].captions) == ("Hi", ("Ho",))


def test_text_to_image_needs_no_control(tmp_path):
    tar(tmp_path / "train.tar", ("a.txt", "Hi"), ("a.png", None), ("b.txt", "Ho"), ("b.png", None))
    read = scan(tmp_path)
    assert ([len(one.controls) for one in read.samples], read.codes) == ([0, 0], [])


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ([*sample("a"), *sample("b"), *sample("a")], "duplicate-id"),
        ([*sample("a"), ("b.txt", "Ho"), ("b.jpg", None)], "missing-control"),
        ([*sample("a"), ("a.png", None)], "ambiguous-file"),
        ([*sample("a"), ("a.txt", "again")], "ambiguous-file"),
        ([*sample("a"), ("README", "hi")], "unused-file"),
        ([*sample("a", b"\xff")], "undecodable-prompt"),
        ([*sample("a"), ("a.json", "{")], "undecodable-table"),
    ],
)
def test_what_is_odd_is_found(tmp_path, members, code):
    tar(tmp_path / "train.tar", *members)
    assert code in scan(tmp_path).codes


def test_a_tar_that_ends_early_is_found(tmp_path):
    path = tar(tmp_path / "train.tar", *sample("a"), *sample("b"))
    path.write_bytes(path.read_bytes()[:5000])
    read = scan(tmp_path)
    assert (read.ids, read.codes[0]) == (["a"], "unreadable-file")


def test_links_in_a_tar_lead_nowhere(tmp_path):
    path = tmp_path / "train.tar"
    with tarfile.open(path, "w") as file:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(info)
    assert scan(tmp_path).codes == ["unused-file", "empty-split"]


def test_datasets_loads_what_was_written(tmp_path):
    lay_split(lay_split(tmp_path / "ds", bases=["a.v2", "b"]), "test", "c")
    convert_dataset(tmp_path / "ds", tmp_path / "out", as_="webdataset")
    assert tree(tmp_path / "out").keys() == {"train-00000.tar", "test-00000.tar"}
    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 2, "test": 1}
    assert isinstance(loaded["train"].features["control.png"], Image)
    assert [row["txt"] for row in loaded["train"]] == ["Prompt of a.v2.", "Prompt of b."]
    assert loaded["train"][0]["__key__"] == "a_v2"
    assert scan(tmp_path / "out").ids == ["a.v2", "b", "c"]


def test_names_come_back_through_a_tar(photos, tmp_path):
    convert_dataset(photos, tmp_path / "tar", as_="webdataset")
    convert_dataset(tmp_path / "tar", tmp_path / "back", as_="directory")
    before = {path: data.strip() if path.endswith(".txt") else data for path, data in tree(photos).items()}
    assert tree(tmp_path / "back") == before


@pytest.mark.parametrize(("masked", "refused"), [("d", True), ("f", False), ("abcdefg", False)])
def test_fields_that_datasets_refuses_are_told(tmp_path, masked, refused):
    lay_split(tmp_path / "ds", "train", "abcdefg")
    for base in masked:
        write(tmp_path / f"ds/train/control_images/{base}_mask.png", picture(f"{base}_mask.png"))
    report = convert_dataset(tmp_path / "ds", tmp_path / "out", as_="webdataset")
    found = [(one.code, one.where) for one in report.findings if one.severity == "warning"]
    assert found == ([("uneven-members", "train-00000.tar")] if refused else [])
    with pytest.raises(ValueError, match="don't share") if refused else nullcontext():
        load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert len(scan(tmp_path / "out").ids) == 7
