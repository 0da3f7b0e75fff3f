"""Random small datasets with random faults: what is repaired is found no more, and taking back is exact."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qflux_hub import check_dataset, fix_dataset
from qflux_hub.fixes import REPAIRED
from qflux_hub.sample import Sample
from tests.builders import picture, table, write
from tests.fixtools import MEMORY, snapshot

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
EXTENSIONS = st.sampled_from([".png", ".PNG", ".jpg", ".jpeg", ".webp", ".bmp", ".tif"])
BASES = st.lists(
    st.sampled_from(["a", "A", "a_1", "a_2", "a_mask", "é", "e\u0301", "a b.c", "[x]", "猫"]),
    min_size=1,
    max_size=3,
    unique=True,
)
TEXTS = st.sampled_from(["", "Add a cat", "Füge es ein", "“Make” it – so…", "Добавь кошку", "加一只猫", "One\ntwo\n"])
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "cp1251", "utf-16", "utf-16-le", "gbk"])
ROLES = st.sampled_from(["", "_control_1", "_control_2", "_1", "_2", "_01", "_0", "_mask"])


def image(draw: st.DrawFn, name: str) -> dict[str, bytes]:
    """A picture of its own of any format."""
    return {name: picture(name, format=draw(st.sampled_from(FORMATS)))}


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    text = draw(TEXTS).replace("\n", draw(ENDS))
    return text.encode(draw(ENCODINGS), "replace")


@st.composite
def folders(draw: st.DrawFn) -> dict[str, bytes]:
    """Files of a dataset in the directory layout."""
    files: dict[str, bytes] = {}
    for base in draw(BASES):
        for role in {"", *draw(st.lists(ROLES, max_size=3))}:
            for extension in draw(st.lists(EXTENSIONS, min_size=1, max_size=2)):
                files |= image(draw, f"train/control_images/{base}{role}{extension}")
        if draw(st.booleans()):
            files |= image(draw, f"train/training_images/{base}{draw(EXTENSIONS)}")
        files[f"train/training_images/{base}.txt"] = draw(texts())
    return files | draw(litter())


@st.composite
def tables(draw: st.DrawFn) -> dict[str, bytes]:
    """Files of a dataset in the table layout, some of which are named by another extension."""
    files: dict[str, bytes] = {}
    for split in draw(st.sampled_from([["train"], ["train", "test"]])):
        rows = [["image", "control", "mask", "prompt"]]
        for base in draw(BASES):
            names = []
            for folder in ("t", "c", "m"):
                name = f"{folder if draw(st.booleans()) else 'c'}/{base}"
                files |= image(draw, name + draw(EXTENSIONS))
                names.append(draw(st.sampled_from([name, f".//{name}"])) + draw(EXTENSIONS))
            rows.append([*names, draw(TEXTS)])
        text = table(*rows, lineterminator=draw(ENDS), delimiter=draw(st.sampled_from(",;\t")))
        files[f"{split}.csv"] = text.encode(draw(ENCODINGS), "replace")
    return files | draw(litter())


@st.composite
def litter(draw: st.DrawFn) -> dict[str, bytes]:
    names = st.sampled_from([".DS_Store", "train/control_images/._a.png", "c/Thumbs.db", "notes.txt"])
    return dict.fromkeys(draw(st.lists(names, max_size=2)), b"litter")


def lay_all(root: Path, files: dict[str, bytes]) -> None:
    for number, (name, content) in enumerate(files.items()):
        path = write(root / name, content)
        path.chmod((0o644, 0o600, 0o664)[number % 3])
        os.utime(path, ns=(10**18, 10**18 + number))


def media(sample: Sample) -> dict[str, list[bytes]]:
    """What a sample is made of, without names."""

    def read(blob):
        with blob.open() as file:
            return file.read()

    roles = {"controls": sample.controls, "mask": [sample.mask], "target": [sample.target]}
    return {role: [read(blob) for blob in blobs if blob] for role, blobs in roles.items()}


def samples(root: Path, layout: str) -> dict[tuple[str, str], dict[str, list[bytes]]]:
    scan = check_dataset(root, layout=layout, allow_empty_prompt=True)
    return {(sample.split, sample.id): media(sample) for sample in scan.samples()}


def repair_and_take_back(files: dict[str, bytes], layout: str) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        root = Path(folder)
        lay_all(root, files)
        before, was = snapshot(root), samples(root, layout)
        shown = fix_dataset(root, layout=layout)
        assert snapshot(root) == before
        done = fix_dataset(root, layout=layout, apply=True)
        assert (done.changes, done.findings) == (shown.changes, shown.findings)
        # what is found is what was refused
        found = check_dataset(root, layout=layout, allow_empty_prompt=True).findings
        left = {(finding.code, finding.where) for finding in found if finding.code in REPAIRED}
        assert left <= {(finding.code, finding.where) for finding in done.findings}
        again = fix_dataset(root, layout=layout, apply=True)
        assert (again.changes, again.undo) == ([], None)
        # no sample lost anything, or has something else in a place that it had
        now = samples(root, layout)
        for key, had in was.items():
            assert now[key]["mask"] == had["mask"]
            assert now[key]["target"] == had["target"]
            assert [image for image in now[key]["controls"] if image in had["controls"]] == had["controls"]
        if done.undo:
            assert fix_dataset(undo=done.undo).findings == []
        assert snapshot(root) == before
        assert not (root / ".qflux").exists()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(folders())
def test_folders(files):
    repair_and_take_back(files, "directory")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_tables(files):
    repair_and_take_back(files, "csv")
