"""``convert_dataset``: one layout to another, nothing overwritten, nothing lost unsaid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qflux_hub import (
    DataError,
    OutsideRootError,
    RefusedError,
    UsageError,
    VerificationError,
    convert_dataset,
    layouts,
    spill,
)
from qflux_hub.cli import run
from qflux_hub.report import Progress, Task
from qflux_hub.writing import Folder, Output
from tests.builders import lay, lay_split, scan, table, write
from tests.jobtools import tree


class Said(Progress):
    """Remembers what it was told, and how many files there were then."""

    def __init__(self, dest):
        self.dest, self.told = dest, []

    def say(self, text):
        self.told.append((text, self.dest.exists()))


def test_a_folder_becomes_tables_and_a_folder_again(photos, tmp_path):
    there = convert_dataset(photos, tmp_path / "csv", as_="csv")
    assert (there.layout, there.splits, there.lost) == ("csv", {"train": 9, "test": 3}, [])
    back = convert_dataset(tmp_path / "csv", tmp_path / "back", as_="directory")
    assert (back.layout, back.lost) == ("directory", [])
    before, after = tree(photos), tree(tmp_path / "back")
    assert {path: data.strip() if path.endswith(".txt") else data for path, data in before.items()} == after


def test_files_keep_their_names_and_bytes(tmp_path):
    root = lay(tmp_path / "ds", "in/b.JPG", "in/b_mask.webp", "out/b.png", "top.png")
    write(
        root / "train.csv",
        table(["path_target", "path_control", "control_2", "prompt"], ["out/b.png", "in/b.JPG", "top.png", "Hi"]),
    )
    convert_dataset(root, tmp_path / "again", as_="csv")
    images = {path: data for path, data in tree(root).items() if path != "train.csv"}
    assert tree(tmp_path / "again") == images | {
        "train.csv": b"image,control,control_1,prompt\nout/b.png,in/b.JPG,top.png,Hi\n"
    }


def test_numbers_of_controls_stay_even_with_gaps(tmp_path):
    root = lay(lay_split(tmp_path / "ds", bases="a"), "train/control_images/a_control_3.png")
    (root / "train/control_images/a.png").unlink()
    lay(root, "train/control_images/a_control_1.png")
    convert_dataset(root, tmp_path / "again", as_="directory")
    assert (
        tree(tmp_path / "again").keys()
        == {
            "train/control_images/a_control_1.png",
            "train/control_images/a_control_3.png",
            "train/training_images/a.png",
            "train/training_images/a.txt",
        }
        or tree(tmp_path / "again")["train/training_images/a.txt"] == b"Prompt of a."
    )


def test_what_gets_lost_is_said_before_anything_is_written(tmp_path):
    root = lay(tmp_path / "ds", "b.png", "a.png")
    write(
        root / "train.csv",
        table(["id", "control", "prompt", "note"], ["b", "b.png", "Hi", "x"], ["a/", "a.png", "Ho", "y"]),
    )
    progress = Said(tmp_path / "out")
    report = convert_dataset(root, tmp_path / "out", as_="directory", progress=progress)
    assert [(loss.what, loss.count) for loss in report.lost] == [
        ("id", 1),
        ("order", 2),
        ("column note", 2),
        ("file name", 1),
    ]
    assert [existed for _, existed in progress.told] == [False] * 4
    assert progress.told[0][0] == (
        "The directory layout loses id (1): it cannot name files, or another sample's files would have the same names."
    )
    assert scan(tmp_path / "out").ids == ["a_", "b"]


def test_the_same_command_again_writes_nothing(photos, tmp_path):
    first = convert_dataset(photos, tmp_path / "out", as_="csv")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    (tmp_path / "out/train/control_images").chmod(0o755)
    again = convert_dataset(photos, tmp_path / "out", as_="csv")
    assert (again.bytes["written"], again.bytes["kept"]) == (0, first.bytes["written"])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == stamps


def test_a_file_of_another_content_is_never_overwritten_without_force(tmp_path):
    root = lay_split(tmp_path / "ds", bases="ab")
    other = write(tmp_path / "out/train/training_images/b.txt", "Mine.")
    with pytest.raises(RefusedError, match=r"train/training_images/b\.txt; nothing was written") as error:
        convert_dataset(root, tmp_path / "out", as_="directory")
    assert error.value.code == 8
    assert tree(tmp_path / "out") == {"train/training_images/b.txt": b"Mine."}
    convert_dataset(root, tmp_path / "out", as_="directory", force=True)
    assert other.read_text() == "Prompt of b."


def test_other_files_that_lie_there_are_told_and_stay(tmp_path):
    root = lay_split(tmp_path / "ds", bases="a")
    lay(lay_split(tmp_path / "out", bases="b"), "train/control_images/a.jpg", "train/.hidden/x.png", "README.md")
    report = convert_dataset(root, tmp_path / "out", as_="directory")
    (finding,) = report.findings
    assert (finding.code, finding.where) == ("other-files", "train/control_images/a.jpg")
    assert "train/control_images/a.jpg and 3 more" in finding.message
    assert len(tree(tmp_path / "out")) == 9
    assert convert_dataset(root, tmp_path / "new", as_="directory").findings == []


def test_a_conversion_that_was_stopped_goes_on(tmp_path):
    root = lay_split(tmp_path / "ds", bases="abc")
    convert_dataset(root, tmp_path / "out", as_="csv", only=["a"])
    (tmp_path / "out/train.csv").unlink()
    write(tmp_path / "out/train/control_images/.0123.qflux-part", b"half a file")
    report = convert_dataset(root, tmp_path / "out", as_="csv")
    assert report.bytes["kept"] == sum(
        (root / f"train/{folder}/a.png").stat().st_size for folder in ("control_images", "training_images")
    )
    assert scan(tmp_path / "out").ids == ["a", "b", "c"]


def test_links_do_not_lead_what_is_written_out_of_the_folder(tmp_path):
    root = lay_split(tmp_path / "ds", bases="a")
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/train").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutsideRootError, match="would be written to"):
        convert_dataset(root, tmp_path / "out", as_="directory")
    assert tree(tmp_path / "elsewhere") == {}


def test_a_link_in_place_of_a_file_is_replaced_only_when_forced(tmp_path):
    root = lay_split(tmp_path / "ds", bases="a")
    secret = write(tmp_path / "secret.txt", "Prompt of a.")
    (tmp_path / "out/train/training_images").mkdir(parents=True)
    (tmp_path / "out/train/training_images/a.txt").symlink_to(secret)
    with pytest.raises(RefusedError):
        convert_dataset(root, tmp_path / "out", as_="directory")
    convert_dataset(root, tmp_path / "out", as_="directory", force=True)
    assert not (tmp_path / "out/train/training_images/a.txt").is_symlink()
    assert secret.read_text() == "Prompt of a."


@pytest.mark.parametrize("dest", [".", "inner", "..", "link"])
def test_a_dataset_is_not_written_into_itself(tmp_path, dest):
    root = lay_split(tmp_path / "ds", bases="a")
    (tmp_path / "ds/link").symlink_to(root)
    with pytest.raises(UsageError, match="lie in one another"):
        convert_dataset(root, root / dest, as_="csv")


def test_a_file_or_nothing_is_no_folder_to_write_to(tmp_path):
    root = lay_split(tmp_path / "ds", bases="a")
    file = write(tmp_path / "out.csv", "mine")
    for dest, said in ((file, "is a file"), ("", "is an empty text")):
        with pytest.raises(UsageError, match=said):
            convert_dataset(root, dest, as_="csv")


def test_errors_of_the_source_stop_before_anything_is_written(tmp_path):
    root = lay_split(tmp_path / "ds", bases="ab")
    write(root / "train/training_images/a.txt", b"\xff")
    with pytest.raises(DataError, match="1 error; nothing was written"):
        convert_dataset(root, tmp_path / "out", as_="csv")
    assert not (tmp_path / "out").exists()


def test_empty_prompts_are_no_reason_to_stop(tmp_path):
    root = lay_split(tmp_path / "ds", bases="a")
    write(root / "train/training_images/a.txt", " \n")
    convert_dataset(root, tmp_path / "out", as_="csv")
    assert scan(tmp_path / "out")["a"].prompt == ""


@pytest.mark.parametrize("layout", ["csv", "webdataset"])
def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path, layout):
    root = lay_split(tmp_path / "ds", bases="ab")
    samples = scan(root).splits
    image = root / "train/training_images/b.png"
    image.write_bytes(image.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match=r"b\.png changed while it was read"):
        layouts.write(layouts.called(layout), samples, tmp_path / "out", force=False, progress=Progress())
    assert not [path for path in tree(tmp_path / "out") if path.endswith((".tar", ".csv", "training_images/b.png"))]


@pytest.mark.parametrize("layout", ["webdataset", "parquet", "csv"])
def test_many_samples_are_converted_like_few(photos, tmp_path, monkeypatch, layout):
    """Those of a large dataset lie in temporary databases meanwhile."""
    convert_dataset(photos, tmp_path / "few", as_=layout, only=["*"], decode=True)
    monkeypatch.setattr(spill, "FEW", 1)
    convert_dataset(photos, tmp_path / "many", as_=layout, only=["*"], decode=True)
    assert tree(tmp_path / "many") == tree(tmp_path / "few")
    kept = convert_dataset(photos, tmp_path / "many", as_=layout).bytes
    assert kept["written"] == 0
    assert kept["kept"] > 0


def test_damaged_images_are_found_only_when_they_are_decoded(tmp_path):
    root = lay_split(tmp_path / "ds", bases="a")
    write(root / "train/control_images/a.png", (root / "train/control_images/a.png").read_bytes()[:-20])
    assert convert_dataset(root, tmp_path / "out", as_="csv").splits == {"train": 1}
    with pytest.raises(DataError, match="nothing was written"):
        convert_dataset(root, tmp_path / "decoded", as_="csv", decode=True)


def test_splits_and_samples_can_be_picked(photos, tmp_path):
    report = convert_dataset(photos, tmp_path / "out", as_="csv", splits=["train"], only=["cat_*", "suit_blue"])
    assert report.splits == {"train": 3}
    assert scan(tmp_path / "out").ids == ["cat_eyes_sharp", "cat_poster", "suit_blue"]
    with pytest.raises(UsageError, match="has no sample 'dog'"):
        convert_dataset(photos, tmp_path / "none", as_="csv", only=["dog"])


def test_an_unknown_layout_is_a_wrong_call(photos, tmp_path):
    with pytest.raises(UsageError, match="There is no layout 'zip'"):
        convert_dataset(photos, tmp_path / "out", as_="zip")


def test_splits_that_some_disks_cannot_tell_apart_are_not_written_together(tmp_path):
    root = lay_split(lay_split(tmp_path / "ds", "train", "a"), "Train", "b")
    with pytest.raises(RefusedError, match="'train' and 'Train'"):
        convert_dataset(root, tmp_path / "out", as_="directory")
    assert not (tmp_path / "out").exists()


def test_a_shared_image_is_written_once(tmp_path):
    root = lay(tmp_path / "ds", "a.png", "b.png", "c.png")
    rows = [["b.png", "a.png", "Hi"], ["c.png", "a.png", "Ho"]]
    write(root / "train.csv", table(["image", "control", "prompt"], *rows))
    write(root / "test.csv", table(["control", "prompt"], ["a.png", "Hu"]))
    convert_dataset(root, tmp_path / "out", as_="csv")
    assert tree(tmp_path / "out").keys() == {"a.png", "b.png", "c.png", "train.csv", "test.csv"}
    convert_dataset(root, tmp_path / "dir", as_="directory")
    assert len([path for path in tree(tmp_path / "dir") if path.endswith(".png")]) == 5


def test_the_command_says_what_it_did(photos, tmp_path, capfd):
    assert run(["convert", str(photos), str(tmp_path / "out"), "--as", "csv", "--json"]) == 0
    out, err = capfd.readouterr()
    assert (out.count("\n"), err) == (1, "")
    assert run(["convert", str(photos), str(tmp_path / "out"), "--as", "csv", "-q"]) == 0
    assert capfd.readouterr().out == f"{tmp_path / 'out'}{os.linesep}"
    assert run(["convert", str(photos), str(tmp_path / "out")]) == 2
    capfd.readouterr()
    write(tmp_path / "out/train.csv", "other")
    assert run(["convert", str(photos), str(tmp_path / "out"), "--as", "csv"]) == 8
    assert "nothing was written" in capfd.readouterr().err


def test_what_reads_back_otherwise_than_it_was_written_is_no_file(tmp_path):
    def pour(sink, _):
        sink.write(b"as it was meant")
        (part,) = tmp_path.glob("*/.*")  # what a bad disk does
        part.write_bytes(b"as it was read!")

    with (
        Progress().task("Writing", None) as task,
        pytest.raises(VerificationError, match=r"a\.txt reads back") as error,
    ):
        Folder(tmp_path / "out").write(lambda: [Output("a.txt", pour=pour)], force=False, task=task)
    assert (error.value.code, tree(tmp_path / "out")) == (7, {})


KILLED = """
import os, signal, sys
from qflux_hub import convert_dataset
from qflux_hub.report import Progress, Task

class Dying(Progress, Task):
    "Kills the process when so many bytes were read."
    left = int(sys.argv[1])

    def task(self, label, total, unit="B"):
        return self if label == "Writing" else Task()

    def advance(self, amount=1):
        self.left -= amount
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

source, dest, name = sys.argv[2:]
convert_dataset(source, dest, as_=name, progress=Dying())
"""


@pytest.mark.parametrize("layout", ["directory", "webdataset", "parquet"])
def test_after_a_kill_whole_files_lie_there_and_the_same_command_ends_it(tmp_path, layout):
    root = lay_split(tmp_path / "ds", bases=[f"s{number:02}" for number in range(12)])
    for path in root.rglob("*.png"):
        path.write_bytes(path.read_bytes() + path.name.encode() * 20_000)
    convert_dataset(root, tmp_path / "whole", as_=layout)
    wanted = tree(tmp_path / "whole")
    command = [sys.executable, "-c", KILLED, "1500000", str(root), str(tmp_path / "out"), layout]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    left = {path: data for path, data in tree(tmp_path / "out").items() if not path.endswith(".qflux-part")}
    assert left.items() < wanted.items()
    report = convert_dataset(root, tmp_path / "out", as_=layout)
    assert (tree(tmp_path / "out"), report.findings) == (wanted, [])
    assert report.bytes["kept"] == sum(map(len, left.values()))


class GoneMeanwhile(Progress):
    """Removes a file when the writing begins."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def task(self, label: str, total: int | None, unit: str = "B") -> Task:
        if label == "Writing":
            self._path.unlink()
        return super().task(label, total, unit)


def test_a_file_that_is_gone_meanwhile_is_told_as_the_sources(tmp_path):
    gone = lay_split(tmp_path / "ds") / "train/training_images/a.png"
    with pytest.raises(DataError, match=r"ds/train/training_images/a\.png cannot be read: No such file") as failed:
        convert_dataset(tmp_path / "ds", tmp_path / "out", as_="csv", progress=GoneMeanwhile(gone))
    assert failed.value.hint == "Mend it, and run the same command again."
