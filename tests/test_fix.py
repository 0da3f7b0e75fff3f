"""Repairs of datasets: what is repaired, what is refused and why, and that all of it can be taken back."""

from __future__ import annotations

import codecs
import io
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.console import Console as Rich

from qflux_hub import check_dataset, fix_dataset
from qflux_hub.cli import words
from qflux_hub.codes import CODES
from qflux_hub.errors import DataError, OutsideRootError, QfluxError, UsageError
from qflux_hub.fixes import REPAIRED
from qflux_hub.report import Progress, Task
from tests.builders import lay, lay_split, picture, scan, table, write
from tests.fixtools import Meanwhile, snapshot

C, T = "train/control_images", "train/training_images"
JPEG, WEBP, GIF, PNG = (picture(f"x{kind}", format=kind) for kind in ("JPEG", "WEBP", "GIF", "PNG"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset without a fault: samples a and b."""
    return lay_split(tmp_path / "photos")


def told(report, *, details: bool = False) -> list[tuple[str, ...]]:
    """The changes as (code, path, to), or with their details."""
    changes = [change.to_dict() for change in report.changes]
    return [tuple(change[key] for key in ("code", "path", "to", *(["detail"] * details))) for change in changes]


def repaired(root: Path, **options):
    """Repair, and see that what was shown is what was done, and that a second run finds nothing to do."""
    shown = fix_dataset(root, **options)
    assert not shown.applied
    assert shown.undo is None
    done = fix_dataset(root, apply=True, **options)
    assert done.applied
    assert (done.changes, done.findings) == (shown.changes, shown.findings)
    again = fix_dataset(root, apply=True, **options)
    assert (again.changes, again.undo, again.findings) == ([], None, done.findings)
    return done


def refusal(report, code: str):
    """The one finding of a report, about something that is not repaired."""
    (finding,) = report.findings
    assert finding.code == code
    assert report.failed
    return finding


# --- one repair each --------------------------------------------------------------------------------------------


def test_a_dataset_without_a_fault_is_left_alone(root):
    before = snapshot(root)
    assert repaired(root).changes == []
    assert snapshot(root) == before
    assert not (root / ".qflux").exists()


def test_the_sample_data_have_nothing_to_repair(photos):
    assert fix_dataset(photos).to_dict() == {
        "source": str(photos),
        "applied": False,
        "changes": [],
        "findings": [],
        "undo": None,
    }


def test_a_wrong_extension_is_put_right(root):
    write(root / C / "a.PNG", JPEG)
    (root / C / "a.png").unlink()
    report = repaired(root)
    assert told(report, details=True) == [
        ("wrong-extension", f"{C}/a.PNG", f"{C}/a.jpg", "its content is JPEG"),
    ]
    assert (root / C / "a.jpg").read_bytes() == JPEG
    assert not (root / C / "a.PNG").exists()
    assert "wrong-extension" not in {finding.code for finding in check_dataset(root).findings}


def test_masks_targets_and_further_controls_are_renamed_as_well(root):
    for name in (f"{C}/a_mask.png", f"{C}/a_control_2.webp", f"{T}/a.png"):
        write(root / name, JPEG)
    assert {to for _, _, to in told(repaired(root))} == {f"{C}/a_mask.jpg", f"{C}/a_control_2.jpg", f"{T}/a.jpg"}


def test_jpeg_and_tiff_have_two_right_extensions(root):
    lay(root, f"{C}/c.jpeg", f"{T}/c.txt", f"{C}/d.tif", f"{T}/d.txt")
    assert repaired(root).changes == []


def test_a_gif_keeps_its_name_because_datasets_have_none(root):
    write(root / C / "a.png", GIF)
    finding = refusal(repaired(root), "wrong-extension")
    assert finding.fix == "convert it to PNG"
    assert "datasets have no .gif files" in finding.message


def test_the_cells_of_tables_that_name_a_file_follow_its_name(tmp_path):
    rows = '"C\\a.png";A;x\r\n.\\c/b.webp;"Say ""b; c"" ";c/a.png\r\n\r\nc/a.png;B\n;z;\n c/a.png;C;"c/a.png"'
    root = lay(tmp_path, "c/b.webp", train_csv=codecs.BOM_UTF8 + f"control;prompt;note\r\n{rows}".encode())
    write(root / "c/a.png", JPEG)
    lay(root, test_csv="target,control,prompt\nc/b.webp,./c//a.png ,P\n")
    report = repaired(root, only=["wrong-extension"])
    assert told(report, details=True) == [
        ("wrong-extension", "c/a.png", "c/a.jpg", "its content is JPEG"),
        ("wrong-extension", "train.csv", None, "line 7: a.png to a.jpg"),
        ("wrong-extension", "test.csv", None, "line 2: a.png to a.jpg"),
    ]
    # a ragged row and other columns stay as they are, and so does every other byte
    text = (root / "train.csv").read_bytes().decode()
    assert text == f"\ufeffcontrol;prompt;note\r\n{rows}".replace(" c/a.png;C", " c/a.jpg;C")
    assert (root / "test.csv").read_text() == "target,control,prompt\nc/b.webp,./c//a.jpg ,P\n"


def test_a_table_beside_folders_follows_the_names_of_their_files(root):
    write(root / C / "a.png", JPEG)
    lay(root, train_csv=table(["control", "prompt"], [f"{C}/a.png", "One"]))
    assert len(repaired(root, layout="directory").changes) == 2
    assert (root / "train.csv").read_text() == table(["control", "prompt"], [f"{C}/a.jpg", "One"])


def test_a_cell_with_another_extension_than_the_file_has_is_corrected(tmp_path):
    root = lay(tmp_path, "c/a.webp", "c/7.PNG", "t/ä b.jpg")
    rows = [["t/ä b.tif", "c/a.png", "One"], ["t/ä b.jpg", "c\\7", '"Two", he said'], ["", "c/7.png ", "Three"]]
    lay(root, train_csv=table(["image", "control", "prompt"], *rows, lineterminator="\r\n"))
    report = repaired(root)
    assert told(report, details=True) == [
        ("corrected-extension", "train.csv", None, "line 2: ä b.tif to ä b.jpg"),
        ("corrected-extension", "train.csv", None, "line 2: a.png to a.webp"),
        ("corrected-extension", "train.csv", None, "line 3: 7 to 7.PNG"),
        ("corrected-extension", "train.csv", None, "line 4: 7.png to 7.PNG"),
    ]
    right = [["t/ä b.jpg", "c/a.webp", "One"], ["t/ä b.jpg", "c\\7.PNG", '"Two", he said'], ["", "c/7.PNG ", "Three"]]
    assert (root / "train.csv").read_bytes() == table(
        ["image", "control", "prompt"], *right, lineterminator="\r\n"
    ).encode()


def test_a_cell_with_a_wrong_extension_of_a_file_with_a_wrong_extension(tmp_path):
    root = lay(tmp_path, train_csv="control,prompt\nc/a.png,One\n")
    write(root / "c/a.webp", JPEG)
    repaired(root)
    assert (root / "train.csv").read_text() == "control,prompt\nc/a.jpg,One\n"
    assert (root / "c/a.jpg").read_bytes() == JPEG


def test_a_cell_is_corrected_also_when_its_file_keeps_a_wrong_extension(tmp_path):
    root = lay(tmp_path, "a.png", train_csv="control,image,prompt\na.png,A.png,One\n")
    write(root / "A.jpg", PNG)
    report = repaired(root)
    assert [finding.code for finding in report.findings] == ["wrong-extension"]
    assert (root / "train.csv").read_text() == "control,image,prompt\na.png,A.jpg,One\n"


def test_columns_that_the_user_names_are_followed_too(tmp_path):
    root = lay(tmp_path, train_csv="in,caption\na.png,One\n")
    write(root / "a.png", JPEG)
    repaired(root, layout="csv", columns={"control": "in", "prompt": "caption"})
    assert (root / "train.csv").read_text() == "in,caption\na.jpg,One\n"


@pytest.mark.parametrize(
    ("encoding", "text", "detail"),
    [
        ("cp1252", "“Make” the café blue…", 'Windows-1252 to UTF-8: it reads "“Make”", "café", "blue…"'),
        ("latin-1", "Füge ein Mädchen hinzu", 'Latin-1 to UTF-8: it reads "Füge", "Mädchen"'),
        ("utf-16", "Füge 🐱 hinzu", "UTF-16 to UTF-8: by its byte order mark"),
        ("utf-16-be", "Add a cat", "UTF-16-BE to UTF-8: by the NULs between its letters"),
    ],
)
def test_prompts_in_other_encodings_become_utf_8(root, encoding, text, detail):
    write(root / T / "a.txt", text.encode(encoding))
    assert told(repaired(root), details=True) == [("undecodable-prompt", f"{T}/a.txt", None, detail)]
    assert (root / T / "a.txt").read_bytes() == text.encode()


def test_a_prompt_whose_encoding_cannot_be_told_is_left_alone(root):
    write(root / T / "a.txt", "Добавь кошку".encode("cp1251"))
    finding = refusal(repaired(root), "undecodable-prompt")
    assert finding.where == f"{T}/a.txt"
    assert 'as Windows-1252 it would read "Äîáàâü"' in finding.message
    assert finding.fix == "save it as UTF-8"


def test_marks_and_line_ends_of_prompts_go(root):
    write(root / T / "a.txt", b"\xef\xbb\xbf One\r\ntwo\rthree\n ")
    write(root / T / "b.txt", "Two\r\n".encode("utf-16"))
    assert told(repaired(root), details=True) == [
        ("prompt-bom", f"{T}/a.txt", None, "without its byte order mark"),
        ("prompt-line-ends", f"{T}/a.txt", None, "CRLF and CR to LF"),
        ("undecodable-prompt", f"{T}/b.txt", None, "UTF-16 to UTF-8: by its byte order mark"),
        ("prompt-line-ends", f"{T}/b.txt", None, "CRLF to LF"),
    ]
    assert (root / T / "a.txt").read_bytes() == b" One\ntwo\nthree\n "
    assert (root / T / "b.txt").read_bytes() == b"Two\n"


def test_a_prompt_of_a_mark_alone_becomes_empty(root):
    write(root / T / "a.txt", codecs.BOM_UTF8)
    repaired(root)
    assert (root / T / "a.txt").read_bytes() == b""


def test_tables_become_utf_8_without_a_mark_and_keep_their_line_ends(tmp_path):
    lay(tmp_path, "a.png", "b.png", train_csv="control,prompt\r\na.png,Un café\r\n".encode("cp1252"))
    lay(tmp_path, test_csv=codecs.BOM_UTF8 + b"control,prompt\rb.png,P\r")
    assert told(repaired(tmp_path)) == [
        ("undecodable-table", "train.csv", None),
        ("table-bom", "test.csv", None),
    ]
    assert (tmp_path / "train.csv").read_bytes() == "control,prompt\r\na.png,Un café\r\n".encode()
    assert (tmp_path / "test.csv").read_bytes() == b"control,prompt\rb.png,P\r"


def test_old_control_names_get_the_new_form(root):
    write(root / C / "a_1.png", WEBP)
    lay(root, f"{C}/a_2.jpg")
    assert told(repaired(root), details=True) == [
        ("legacy-control-name", f"{C}/a_1.png", f"{C}/a_control_1.webp", "control 1 of 'a'; its content is WEBP"),
        ("legacy-control-name", f"{C}/a_2.jpg", f"{C}/a_control_2.jpg", "control 2 of 'a'"),
    ]
    assert [blob.name for blob in scan(root)["a"].controls] == [
        f"{C}/a.png",
        f"{C}/a_control_1.webp",
        f"{C}/a_control_2.jpg",
    ]


@pytest.mark.parametrize("name", ["a_0.png", "a_20240131.png"])
def test_old_names_with_a_number_that_is_none_are_left_for_a_person(root, name):
    lay(root, f"{C}/{name}")
    finding = refusal(repaired(root), "legacy-control-name")
    assert "its number is not one that controls have" in finding.message


def test_litter_is_deleted_and_kept_in_the_log(root):
    write(root / C / "._a.png", b"\x00\x05\x16\x07")
    lay(root, ".DS_Store", "notes/Thumbs.db", f"{T}/desktop.ini", f"{T}/.hidden")
    report = repaired(root)
    assert {path for _, path, _ in told(report)} == {f"{C}/._a.png", ".DS_Store", "notes/Thumbs.db"}
    assert (root / T / ".hidden").exists()
    assert (root / T / "desktop.ini").exists()
    kept = {path.read_bytes() for path in Path(report.undo).parent.glob("old-*")}
    assert b"\x00\x05\x16\x07" in kept


def test_what_a_repair_brings_to_light_is_repaired_by_the_same_run(tmp_path):
    lay(tmp_path, train_csv="control,prompt\nc/a.png,Café\n".encode("utf-16"))
    write(tmp_path / "c/a.png", JPEG)
    assert [code for code, _, _ in told(repaired(tmp_path))] == [
        "undecodable-table",
        "wrong-extension",
        "wrong-extension",
    ]
    assert (tmp_path / "train.csv").read_bytes() == "control,prompt\nc/a.jpg,Café\n".encode()


def test_a_name_that_becomes_free_is_taken(tmp_path):
    root = lay(tmp_path, train_csv="control,image,prompt\nx.png,x.jpg,One\n")
    write(root / "x.png", JPEG)
    write(root / "x.jpg", WEBP)
    repaired(root)
    assert (root / "train.csv").read_text() == "control,image,prompt\nx.jpg,x.webp,One\n"
    assert ((root / "x.jpg").read_bytes(), (root / "x.webp").read_bytes()) == (JPEG, WEBP)


# --- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["a.jpg", "A.JPG", "a.jpg/"])
def test_nothing_is_overwritten(root, there):
    write(root / C / "a.png", JPEG)
    (root / C / there).mkdir() if there.endswith("/") else write(root / C / there, b"mine")
    before = snapshot(root)
    report = fix_dataset(root, apply=True)
    assert report.changes == []
    (finding,) = [finding for finding in report.findings if finding.code == "wrong-extension"]
    assert f"Not repaired: {there.rstrip('/')}" in finding.message
    assert "is there already" in finding.message
    assert snapshot(root) == before


def test_names_that_differ_in_their_unicode_form_count_as_one(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    root = lay_split(tmp_path, bases=[composed])
    write(root / C / f"{composed}.png", JPEG)
    lay(root, f"{C}/{decomposed}.jpg")
    report = fix_dataset(root, apply=True)
    assert report.changes == []
    assert "which some disks take for" in refusal(report, "wrong-extension").message


@pytest.mark.parametrize("base", ["im[1]", "a*b?", "cafe\u0301", "caf\u00e9", "a b.c", "猫", "$(x);'\"", "-n"])
def test_names_of_every_kind_are_renamed_and_taken_back(tmp_path, base):
    root = lay_split(tmp_path, bases=[base])
    write(root / C / f"{base}.png", JPEG)
    write(root / C / f"{base}_1.png", PNG)
    before = snapshot(root)
    report = repaired(root)
    assert {to for _, _, to in told(report)} == {f"{C}/{base}.jpg", f"{C}/{base}_control_1.png"}
    fix_dataset(undo=report.undo)
    assert snapshot(root) == before


def test_two_files_that_would_get_one_name_both_stay(root):
    for name in ("a_1.png", "a_01.png"):
        lay(root, f"{C}/{name}")
    report = repaired(root)
    assert report.changes == []
    assert [finding.where for finding in report.findings] == [f"{C}/a_01.png", f"{C}/a_1.png"]
    assert f"{C}/a_1.png claims the same place" in report.findings[0].message


def test_two_files_that_differ_by_case_only_both_stay(tmp_path):
    root = lay_split(tmp_path, bases=["a", "A"])
    for base in "aA":
        write(root / C / f"{base}.png", JPEG)
    report = repaired(root)
    assert report.changes == []
    assert [finding.code for finding in report.findings] == ["wrong-extension"] * 2


@pytest.mark.parametrize("rival", ["a_control_1.webp", "a_1.jpg"])
def test_an_old_name_does_not_take_the_place_of_another_control(root, rival):
    lay(root, f"{C}/a_1.png", f"{C}/{rival}")
    report = repaired(root)
    assert report.changes == []
    assert all("claims the same place" in finding.message for finding in report.findings)


def test_a_rename_does_not_change_which_of_two_rivals_is_used(root):
    lay(root, f"{C}/c.jpg", f"{T}/c.txt")
    write(root / C / "c.jpg", WEBP)  # used; as c.webp it would not be
    write(root / C / "c.jpeg", JPEG)
    assert "claims the same place" in refusal(repaired(root), "wrong-extension").message


def test_tables_tell_two_images_of_one_stem_apart(tmp_path):
    root = lay(tmp_path, "x.webp", train_csv="control,image,prompt\nx.png,x.webp,One\n")
    write(root / "x.png", JPEG)
    assert len(repaired(root).changes) == 2


def test_a_table_that_is_no_csv_is_left_for_a_person(tmp_path):
    root = lay(tmp_path, "a.png", train_csv='control,prompt\na.png,"One" two\n')
    assert "it is UTF-8, but not CSV" in refusal(repaired(root), "undecodable-table").message


def test_errors_that_keep_samples_from_being_looked_at_stay_in_sight(tmp_path):
    root = lay(tmp_path, "a.png", train_csv="control,prompt\na.png,One\nb.png,Two\n")
    assert refusal(fix_dataset(root), "missing-file").line == 3


def test_only_what_is_asked_for_is_repaired(root):
    write(root / C / "a.png", JPEG)
    write(root / T / "a.txt", b"\xef\xbb\xbfOne\r\n")
    lay(root, ".DS_Store")
    assert told(repaired(root, only=["prompt-bom"])) == [("prompt-bom", f"{T}/a.txt", None)]
    assert (root / T / "a.txt").read_bytes() == b"One\r\n"
    assert [code for code, _, _ in told(repaired(root, only=["junk", "wrong-extension"]))] == [
        "wrong-extension",
        "junk",
    ]


def test_every_code_that_has_a_repair_says_so():
    assert [code for code in REPAIRED if "`qflux fix" not in CODES[code].page] == []


@pytest.mark.parametrize("code", ["nonsense", "truncated-image"])
def test_a_code_without_a_repair_is_refused_with_those_that_have_one(root, code):
    with pytest.raises(UsageError, match=code) as error:
        fix_dataset(root, only=[code])
    assert all(name in error.value.hint for name in REPAIRED)


def test_a_call_needs_a_source_or_a_log(root):
    with pytest.raises(UsageError):
        fix_dataset()
    with pytest.raises(UsageError):
        fix_dataset(root, undo="x", apply=True)


def test_splits_that_were_not_asked_for_are_left_alone(root):
    lay_split(root, "test", ["a"])
    for split in ("train", "test"):
        write(root / split / "control_images/a.png", JPEG)
    assert told(repaired(root, splits=["test"])) == [
        ("wrong-extension", "test/control_images/a.png", "test/control_images/a.jpg")
    ]


# --- links ------------------------------------------------------------------------------------------------------


def test_links_out_of_the_folder_are_never_followed(root, tmp_path):
    outside = lay(tmp_path / "outside", "a.png", "a.txt", "._x", "deep/._y")
    write(outside / "a.png", JPEG)
    write(outside / "a.txt", b"One\r\n")
    for name, target in ((f"{C}/c.png", "a.png"), (f"{T}/c.txt", "a.txt"), ("more", "deep"), (f"{T}/._z", "._x")):
        (root / name).symlink_to(outside / target)
    before, theirs = snapshot(root), snapshot(outside)
    fix_dataset(root, apply=True)
    assert (snapshot(root), snapshot(outside)) == (before, theirs)
    report = fix_dataset(root, apply=True, follow_links=True)
    assert report.changes == []
    assert {finding.code for finding in report.findings} == {"wrong-extension", "prompt-line-ends"}
    assert (snapshot(root), snapshot(outside)) == (before, theirs)


def test_a_file_that_a_link_leads_to_is_edited_but_not_renamed(root):
    write(root / C / "a.png", JPEG)
    write(root / T / "a.txt", b"One\r\n")
    (root / C / "c.png").symlink_to("a.png")
    (root / T / "c.txt").symlink_to("a.txt")
    report = repaired(root)
    assert told(report) == [("prompt-line-ends", f"{T}/a.txt", None)]
    assert (root / T / "c.txt").is_symlink()
    assert (root / T / "c.txt").read_bytes() == b"One\n"
    assert sorted(finding.message.partition("Not repaired: ")[2] for finding in report.findings) == [
        "it is a link.",
        "it is where a link leads.",
    ]


def test_files_behind_a_link_to_a_folder_are_not_renamed(root):
    write(root / C / "a.png", JPEG)
    (root / "test").symlink_to("train")
    report = repaired(root)
    assert report.changes == []
    assert len(report.findings) == 2


def test_a_log_behind_a_link_is_refused(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (root / ".qflux").symlink_to(tmp_path / "elsewhere")
    write(root / C / "a.png", JPEG)
    with pytest.raises(OutsideRootError):
        fix_dataset(root, apply=True)
    assert not list((tmp_path / "elsewhere").iterdir())


# --- taking back ------------------------------------------------------------------------------------------------


@pytest.fixture
def faulty(root: Path) -> Path:
    """A dataset with one fault of every kind, a second table included."""
    write(root / C / "a.png", JPEG)
    write(root / C / "b_1.png", WEBP)
    write(root / T / "a.txt", b"\xef\xbb\xbfOne\r\n")
    write(root / T / "b.txt", "Café".encode("cp1252"))
    write(root / C / "._a.png", b"\x00\x05\x16\x07")
    lay(root, train_csv=codecs.BOM_UTF8 + f"control,prompt\r\n{C}/a.png,Ä\r\n".encode())
    for number, path in enumerate(sorted(path for path in root.rglob("*") if path.is_file())):
        os.utime(path, ns=(10**18, 10**18 + number))
    (root / T / "a.txt").chmod(0o640)
    return root


def repair_faulty(root: Path):
    return fix_dataset(root, apply=True, layout="directory")


def test_taking_back_gives_back_every_byte_name_mode_and_time(faulty):
    before = snapshot(faulty)
    inodes = {path: path.stat().st_ino for path in faulty.rglob("*") if path.is_file()}
    report = repair_faulty(faulty)
    assert len(report.changes) == 7
    assert snapshot(faulty) != before
    assert (faulty / T / "a.txt").stat().st_mode & 0o777 == 0o640
    undone = fix_dataset(undo=report.undo)
    assert undone.to_dict() == {
        "source": str(faulty),
        "applied": True,
        "changes": [change.to_dict() for change in report.changes],
        "findings": [],
        "undo": None,
    }
    assert snapshot(faulty) == before
    assert {path: path.stat().st_ino for path in faulty.rglob("*") if path.is_file()} == inodes
    assert not (faulty / ".qflux").exists()


def test_a_log_is_good_for_one_time(faulty):
    report = repair_faulty(faulty)
    fix_dataset(undo=report.undo)
    with pytest.raises(DataError, match="There is no undo log"):
        fix_dataset(undo=report.undo)


def test_the_folder_may_be_moved_before_its_log_is_used(faulty, tmp_path):
    before = snapshot(faulty)
    report = repair_faulty(faulty)
    moved = faulty.rename(tmp_path / "moved")
    fix_dataset(moved, undo=moved / Path(report.undo).relative_to(faulty))
    assert snapshot(moved) == before


def test_the_folder_of_a_log_stands_for_the_log(faulty):
    before = snapshot(faulty)
    fix_dataset(undo=Path(repair_faulty(faulty).undo).parent)
    assert snapshot(faulty) == before


@pytest.mark.parametrize(
    ("here", "log"),
    [
        ("", ".qflux/undo/0001"),
        (".qflux", "undo/0001/log.json"),
        (".qflux/undo/0001", "log.json"),
        (".qflux/undo/0001", "."),
        ("train", "../.qflux/undo/0001/log.json"),
    ],
)
def test_a_log_is_found_from_everywhere(faulty, monkeypatch, here, log):
    before = snapshot(faulty)
    repair_faulty(faulty)
    monkeypatch.chdir(faulty / here)
    assert fix_dataset(undo=log).findings == []
    assert snapshot(faulty) == before


def test_logs_are_taken_back_in_any_order_where_they_do_not_meet(faulty):
    before = snapshot(faulty)
    first = fix_dataset(faulty, apply=True, layout="directory", only=["prompt-bom"])
    second = fix_dataset(faulty, apply=True, layout="directory", only=["wrong-extension"])
    third = fix_dataset(faulty, apply=True, layout="directory", only=["prompt-line-ends"])
    report = fix_dataset(undo=first.undo)
    assert [finding.where for finding in report.findings] == [f"{T}/a.txt"]  # edited again by the third
    for log in (second, third, first):
        assert fix_dataset(undo=log.undo).findings == []
    assert snapshot(faulty) == before


@pytest.mark.parametrize(
    ("harm", "where", "why"),
    [
        (lambda root: write(root / T / "a.txt", "rewritten"), f"{T}/a.txt", "changed since"),
        (lambda root: write(root / C / "a.jpg", "another picture"), f"{C}/a.jpg", "changed since"),
        (lambda root: (root / C / "a.jpg").unlink(), f"{C}/a.jpg", "is gone"),
        (lambda root: write(root / C / "a.png", "new"), f"{C}/a.png", "is there again"),
        (lambda root: write(root / C / "._a.png", "new"), f"{C}/._a.png", "is there again"),
        (lambda root: write(root / "train.csv", "control,prompt\n"), "train.csv", "changed since"),
        (lambda root: (root / T).rename(root / "train/gone"), f"{T}/a.txt", "its folder is gone"),
        (
            lambda root: next((root / ".qflux/undo/0001").glob("old-*")).write_bytes(b"damaged"),
            "",
            "is damaged",
        ),
    ],
)
def test_what_changed_since_is_not_clobbered_and_nothing_at_all_is_taken_back(faulty, harm, where, why):
    report = repair_faulty(faulty)
    harm(faulty)
    before = snapshot(faulty)
    refused = fix_dataset(undo=report.undo)
    assert refused.failed
    assert not refused.applied
    assert refused.changes == []
    assert any(where in finding.where and why in finding.message for finding in refused.findings)
    assert {finding.code for finding in refused.findings} == {"cannot-undo"}
    assert snapshot(faulty) == before
    assert Path(report.undo).exists()


def test_an_edited_file_that_was_removed_comes_back(faulty):
    before = snapshot(faulty)
    report = repair_faulty(faulty)
    (faulty / T / "a.txt").unlink()
    assert fix_dataset(undo=report.undo).findings == []
    assert snapshot(faulty) == before


def test_a_log_that_is_none_or_leads_out_of_the_folder_is_refused(faulty, tmp_path):
    log = Path(repair_faulty(faulty).undo)
    with pytest.raises(DataError, match="not where an undo log lies"):
        fix_dataset(undo=write(tmp_path / "log.json", log.read_bytes()))
    with pytest.raises(UsageError, match="is not a log of"):
        fix_dataset(tmp_path, undo=log)
    good = json.loads(log.read_bytes())
    for bad in ("[]", "{}", "nonsense", json.dumps(good | {"steps": [{"action": "rename"}]})):
        log.write_text(bad)
        with pytest.raises(DataError, match="is not an undo log"):
            fix_dataset(undo=log)
    for path in ("../x", "/etc/passwd", "a/../../x", "", "a//b"):
        step = {"action": "delete", "path": path, "to": None, "before": "", "after": ""}
        log.write_text(json.dumps(good | {"steps": [step]}))
        with pytest.raises(OutsideRootError):
            fix_dataset(undo=log)


def test_a_newer_log_is_refused(faulty):
    log = Path(repair_faulty(faulty).undo)
    log.write_text(json.dumps(json.loads(log.read_bytes()) | {"qflux_undo": 2}))
    with pytest.raises(Exception, match="newer qflux") as error:
        fix_dataset(undo=log)
    assert error.value.code == 8


def test_logs_stay_out_of_scans_and_of_git(faulty):
    report = repair_faulty(faulty)
    assert {finding.where for finding in scan(faulty, layout="directory").findings} == {"train.csv"}
    assert (Path(report.undo).parents[1] / ".gitignore").read_text() == "*\n"


# --- failures ---------------------------------------------------------------------------------------------------


def test_a_folder_that_may_not_be_written_is_left_as_it_was(faulty):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    before = snapshot(faulty)
    (faulty / C).chmod(0o555)
    with pytest.raises(OSError, match="ermission"):
        repair_faulty(faulty)
    (faulty / C).chmod(0o755)
    assert snapshot(faulty) == before
    assert not (faulty / ".qflux").exists()


@pytest.mark.parametrize("after", range(7))
def test_an_interruption_by_the_user_takes_everything_back(faulty, after):
    def interrupt():
        raise KeyboardInterrupt

    before = snapshot(faulty)
    with pytest.raises(KeyboardInterrupt):
        fix_dataset(faulty, apply=True, layout="directory", progress=Meanwhile(interrupt, after=after))
    assert snapshot(faulty) == before
    assert not (faulty / ".qflux").exists()


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(faulty):
    before = snapshot(faulty)
    busy = Meanwhile(lambda: write(faulty / C / "a.jpg", "mine"))
    with pytest.raises(FileExistsError):
        fix_dataset(faulty, apply=True, layout="directory", progress=busy)
    assert (faulty / C / "a.jpg").read_text() == "mine"
    (faulty / C / "a.jpg").unlink()
    assert snapshot(faulty) == before


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("path", [f"{T}/b.txt", f"{C}/._a.png"])
def test_a_file_that_changes_meanwhile_is_not_touched_and_the_rest_is_taken_back(faulty, path, after):
    before = snapshot(faulty)
    busy = Meanwhile(lambda: write(faulty / path, "mine"), after=after)
    with pytest.raises(DataError, match=rf"{path} changed while"):
        fix_dataset(faulty, apply=True, layout="directory", progress=busy)
    assert (faulty / path).read_text() == "mine"
    assert {name: seen for name, seen in snapshot(faulty).items() if name != path} == {
        name: seen for name, seen in before.items() if name != path
    }
    assert not (faulty / ".qflux").exists()


def test_a_file_that_changes_after_it_was_read_is_not_overwritten(faulty):
    class Busy(Progress):
        looks = 0

        def task(self, label, total, unit="B"):  # noqa: ARG002 - the seam's signature
            self.looks += label == "Reading"
            if self.looks == 2:  # what to do with it was derived from what it was at the first look
                write(faulty / T / "a.txt", "mine")
            return Task()

    with pytest.raises(DataError, match=r"a\.txt changed while"):
        fix_dataset(faulty, apply=True, layout="directory", progress=Busy())
    assert (faulty / T / "a.txt").read_text() == "mine"
    assert (faulty / C / "a.png").exists()


def test_one_at_a_time(faulty):
    def second():
        with pytest.raises(QfluxError, match="Another qflux"):
            repair_faulty(faulty)

    assert fix_dataset(faulty, apply=True, layout="directory", progress=Meanwhile(second)).undo


# --- the command line -------------------------------------------------------------------------------------------


def qflux(*arguments, cwd):
    command = [sys.executable, "-m", "qflux_hub", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_shows_repairs_and_takes_back(faulty):
    before = snapshot(faulty)
    here = faulty.parent
    shown = qflux("fix", "photos", "--layout", "directory", cwd=here)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == (
        "photos: 7 repairs, not made yet\n"
        f"rename {C}/b_1.png -> {C}/b_control_1.webp (control 1 of 'b'; its content is WEBP) [legacy-control-name]\n"
        f"rename {C}/a.png -> {C}/a.jpg (its content is JPEG) [wrong-extension]\n"
        "edit   train.csv (line 2: a.png to a.jpg) [wrong-extension]\n"
        f"edit   {T}/a.txt (without its byte order mark) [prompt-bom]\n"
        f"edit   {T}/a.txt (CRLF to LF) [prompt-line-ends]\n"
        f'edit   {T}/b.txt (Latin-1 to UTF-8: it reads "Café") [undecodable-prompt]\n'
        f"delete {C}/._a.png (litter of a file manager) [junk]\n"
        "\nNothing was changed; --apply makes these repairs.\n"
    )
    done = qflux("fix", "photos", "--layout", "directory", "--apply", "-q", cwd=here)
    assert (done.returncode, done.stdout) == (0, "photos/.qflux/undo/0001/log.json\n")
    undone = qflux("fix", "--undo", "photos/.qflux/undo/0001/log.json", "--json", cwd=here)
    assert undone.returncode == 0
    assert json.loads(undone.stdout)["source"] == "photos"
    assert snapshot(faulty) == before


def test_the_command_for_extensions_repairs_nothing_else(faulty):
    done = qflux("fix-extensions", "photos", "--layout", "directory", "--apply", "--json", cwd=faulty.parent)
    report = json.loads(done.stdout)
    assert {change["code"] for change in report["changes"]} == {"wrong-extension"}
    assert report["undo"] == "photos/.qflux/undo/0001/log.json"
    # what could not be read was not looked at, so the end is not a success
    assert (done.returncode, [finding["code"] for finding in report["findings"]]) == (1, ["undecodable-prompt"])
    back = qflux("fix-extensions", "--undo", report["undo"], "-q", cwd=faulty.parent)
    assert (back.returncode, back.stdout) == (0, "")
    assert "--only" not in qflux("fix-extensions", "--help", cwd=faulty.parent).stdout


def test_on_a_terminal_it_fits_80_columns(faulty, monkeypatch):
    write(faulty / T / f"{'long ' * 30}.txt", b"One\r\n")
    lay(faulty, f"{C}/{'long ' * 30}.png")
    monkeypatch.chdir(faulty.parent)
    report = fix_dataset("photos", layout="directory")
    screen = Rich(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    words.tell(report, screen, verbose=False)
    lines = screen.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.rstrip() for line in lines[:7]] == [
        "photos: 8 repairs, not made yet",
        "",
        "legacy-control-name  A control image has a name in the old `<base>_N` form.",
        "  train/control_images/b_1.png →           control 1 of 'b'; its content is WEBP",
        "  b_control_1.webp",
        "",
        "wrong-extension  An image's content is of another format than its name says.",
    ]


def test_the_command_ends_with_1_when_something_stays(root):
    write(root / C / "a.png", GIF)
    done = qflux("fix", "photos", cwd=root.parent)
    assert done.returncode == 1
    assert "Not repaired: datasets have no .gif files." in done.stdout
