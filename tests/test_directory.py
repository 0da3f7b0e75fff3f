import tracemalloc
import unicodedata
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qflux_hub import check_dataset
from qflux_hub.errors import UsageError
from qflux_hub.layouts import directory
from qflux_hub.sample import Blob
from qflux_hub.tree import FolderTree, Names
from tests.builders import lay, lay_split, picture, roles, scan, write
from tests.layouttools import InMemory

C, T = "train/control_images", "train/training_images"
DOCUMENTED = (
    "train/control_images/sampleA.jpg",
    "train/control_images/sampleA_control_1.jpg",
    "train/control_images/sampleA_mask.png",
    "train/training_images/sampleA.txt",
    "train/training_images/sampleA.png",
    "test/control_images/sampleB.png",
    "test/training_images/sampleB.txt",
)


def lay_one(root, *names):
    """A sample ``a`` in train and whatever else is named; ``c/`` and ``t/`` stand for its two folders."""
    lay_split(root, bases=["a"])
    return lay(root, *(name.replace("c/", f"{C}/", 1).replace("t/", f"{T}/", 1) for name in names))


def test_the_documented_example_is_read_as_documented(tmp_path):
    result = scan(lay(tmp_path, *DOCUMENTED))
    assert result.layout == "directory"
    assert result.findings == []
    assert list(result.splits) == ["train", "test"]
    a, b = result["sampleA"], result["sampleB"]
    assert (a.split, a.prompt, a.origin) == ("train", "Prompt of sampleA.", f"{T}/sampleA.txt")
    assert roles(a) == {
        "controls": [f"{C}/sampleA.jpg", f"{C}/sampleA_control_1.jpg"],
        "mask": f"{C}/sampleA_mask.png",
        "target": f"{T}/sampleA.png",
    }
    assert roles(b) == {"controls": ["test/control_images/sampleB.png"], "mask": None, "target": None}
    assert a.extra == {}


def test_samples_come_in_the_order_of_their_ids_in_code_points(tmp_path):
    bases = ["b", "a", "B", "a.1", "a-1", "\u00e4", "\U0001f431", "\uff21", "10", "9"]
    assert scan(lay_split(tmp_path, bases=bases)).ids == sorted(bases)


@pytest.mark.parametrize("base", ["photo.v2", "2024.01.05_x", "im[1]", "im*", "a b", "(?P<x>)", "caf\u00e9", "a_mask"])
def test_any_base_has_controls_mask_and_target(tmp_path, base):
    lay_split(tmp_path, bases=[base])
    lay(tmp_path, f"{C}/{base}_control_1.png", f"{C}/{base}_mask.png")
    result = scan(tmp_path)
    assert result.findings == []
    assert roles(result[base]) == {
        "controls": [f"{C}/{base}.png", f"{C}/{base}_control_1.png"],
        "mask": f"{C}/{base}_mask.png",
        "target": f"{T}/{base}.png",
    }


def test_bases_that_begin_alike_keep_their_files_apart(tmp_path):
    bases = [
        "photo",
        "photo.v2",
        "a",
        "a_1",
        "cat",
        "cat_dog_2",
        "img",
        "img_1",
        "img_2",
        "img_12",
        "im1",
        "im[1]",
        "im*",
    ]
    lay_split(tmp_path, bases=bases)
    lay(tmp_path, *(f"{C}/{base}_control_2.jpg" for base in bases))
    result = scan(tmp_path)
    for base in bases:
        assert roles(result[base]) == {
            "controls": [f"{C}/{base}.png", f"{C}/{base}_control_2.jpg"],
            "mask": None,
            "target": f"{T}/{base}.png",
        }
    assert set(result.codes) == {"control-gap"}


def test_extensions_count_in_any_case_for_every_role(tmp_path):
    result = scan(lay(tmp_path, f"{C}/a.PNG", f"{C}/a_control_1.Png", f"{C}/a_mask.pNG", f"{T}/a.JpeG", f"{T}/a.TXT"))
    assert result.findings == []
    assert roles(result["a"]) == {
        "controls": [f"{C}/a.PNG", f"{C}/a_control_1.Png"],
        "mask": f"{C}/a_mask.pNG",
        "target": f"{T}/a.JpeG",
    }


@pytest.mark.parametrize("extension", [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tiff", ".tif"])
def test_every_documented_extension_is_an_image(tmp_path, extension):
    result = scan(lay_split(tmp_path, bases=["a"], extension=extension))
    assert roles(result["a"])["controls"] == [f"{C}/a{extension}"]
    assert result.findings == []


# --- controls ---------------------------------------------------------------------------------------------------


def test_controls_come_in_the_order_of_their_numbers(tmp_path):
    lay_one(tmp_path, *(f"c/a_control_{number}.png" for number in (10, 9, 2, 1, 3, 4, 5, 6, 7, 8)))
    result = scan(tmp_path)
    assert roles(result["a"])["controls"] == [f"{C}/a.png"] + [f"{C}/a_control_{n}.png" for n in range(1, 11)]
    assert result.findings == []


def test_a_gap_in_the_numbers_is_reported_and_not_filled(tmp_path):
    result = scan(lay_one(tmp_path, "c/a_control_2.png", "c/a_control_10.png"))
    assert roles(result["a"])["controls"] == [f"{C}/a.png", f"{C}/a_control_2.png", f"{C}/a_control_10.png"]
    finding = result.finding("control-gap")
    assert finding.severity == "warning"
    assert "_control_1, _control_3, _control_4, _control_5, _control_6, …" in finding.message


def test_a_number_like_a_date_is_a_gap_and_no_burden(tmp_path):
    result = scan(lay_one(tmp_path, "c/a_control_20240101123000.png"))
    assert len(result["a"].controls) == 2
    assert "not _control_1, _control_2," in result.finding("control-gap").message


def test_a_first_control_makes_a_sample_without_main_control(tmp_path):
    result = scan(lay(tmp_path, f"{C}/a_control_1.png", f"{C}/a_control_2.png", f"{T}/a.txt"))
    assert roles(result["a"])["controls"] == [f"{C}/a_control_1.png", f"{C}/a_control_2.png"]
    assert result.finding("missing-main-control").severity == "warning"
    assert result.codes == ["missing-main-control"]


@pytest.mark.parametrize("number", ["0", "01", "00"])
def test_numbers_that_are_none_are_reported_and_not_used(tmp_path, number):
    result = scan(lay_one(tmp_path, f"c/a_control_{number}.png"))
    assert roles(result["a"])["controls"] == [f"{C}/a.png"]
    assert result.finding("bad-control-number").where == f"{C}/a_control_{number}.png"


def test_a_legacy_number_is_reported_with_its_right_name(tmp_path):
    result = scan(lay_one(tmp_path, "c/a_2.png"))
    assert roles(result["a"])["controls"] == [f"{C}/a.png"]
    assert result.finding("legacy-control-name").fix == "rename it to a_control_2.png"


def test_a_file_called_like_a_mask_with_a_number_is_no_control(tmp_path):
    result = scan(lay_one(tmp_path, "c/a_mask_1.png"))
    assert roles(result["a"]) == {"controls": [f"{C}/a.png"], "mask": None, "target": f"{T}/a.png"}
    assert result.finding("orphan-control").where == f"{C}/a_mask_1.png"


def test_two_files_for_one_role_warn_and_the_documented_order_decides(tmp_path):
    names = ["c/a.jpg", "c/a_control_1.jpg", "c/a_control_1.png", "c/a_mask.webp", "c/a_mask.jpg", "t/a.webp"]
    result = scan(lay_one(tmp_path, *names))
    assert roles(result["a"]) == {
        "controls": [f"{C}/a.png", f"{C}/a_control_1.png"],
        "mask": f"{C}/a_mask.jpg",
        "target": f"{T}/a.png",
    }
    assert [finding.where for finding in result.findings] == [
        f"{C}/a.jpg",
        f"{C}/a_control_1.jpg",
        f"{C}/a_mask.webp",
        f"{T}/a.webp",
    ]
    for finding in result.findings:
        assert (finding.code, finding.severity, finding.sample) == ("ambiguous-file", "warning", ("train", "a"))
    assert "a.png is used, a.jpg is not" in result.findings[0].message


# --- masks ------------------------------------------------------------------------------------------------------


def test_a_mask_beside_the_target_is_used_with_a_note(tmp_path):
    result = scan(lay_one(tmp_path, "t/a_mask.png"))
    assert roles(result["a"])["mask"] == f"{T}/a_mask.png"
    assert result.finding("mask-beside-target").severity == "note"


def test_of_two_masks_the_one_beside_the_controls_is_used_with_a_warning(tmp_path):
    result = scan(lay_one(tmp_path, "c/a_mask.png", "t/a_mask.png"))
    assert roles(result["a"])["mask"] == f"{C}/a_mask.png"
    assert (result.finding("mask-twice").severity, result.finding("mask-twice").where) == ("warning", f"{T}/a_mask.png")


def test_a_name_that_is_a_sample_is_never_a_mask_or_control_of_another(tmp_path):
    lay_split(tmp_path, bases=["cat", "cat_mask", "cat_control_1"])
    result = scan(tmp_path)
    for base in ("cat", "cat_mask", "cat_control_1"):
        assert roles(result[base]) == {"controls": [f"{C}/{base}.png"], "mask": None, "target": f"{T}/{base}.png"}
    assert result.codes == ["shadowed-name", "shadowed-name"]
    assert {finding.where for finding in result.findings} == {f"{C}/cat_control_1.png", f"{C}/cat_mask.png"}


# --- what fits nothing ------------------------------------------------------------------------------------------


def test_what_belongs_to_no_sample_is_reported_by_name(tmp_path):
    lay_one(tmp_path, "c/x.png", "c/y_control_1.png", "c/z_mask.png", "t/w.png", "t/v_mask.png", "t/a_control_1.png")
    result = scan(tmp_path)
    assert {(finding.code, finding.where) for finding in result.findings} == {
        ("orphan-control", f"{C}/x.png"),
        ("orphan-control", f"{C}/y_control_1.png"),
        ("orphan-mask", f"{C}/z_mask.png"),
        ("orphan-target", f"{T}/w.png"),
        ("orphan-mask", f"{T}/v_mask.png"),
        ("orphan-control", f"{T}/a_control_1.png"),
    }
    assert {finding.severity for finding in result.findings} == {"warning"}


def test_a_sample_without_control_is_left_out_with_a_warning_that_names_it(tmp_path):
    result = scan(lay_one(tmp_path, "t/b.txt", "t/b.png", "c/b_mask.png"))
    assert result.ids == ["a"]
    finding = result.finding("missing-control")
    assert (finding.severity, finding.where, finding.sample) == ("warning", f"{T}/b.txt", ("train", "b"))


@pytest.mark.parametrize(("prompt", "image"), [("Foo", "foo"), ("my photo", "my_photo"), ("photo.v2", "photo-V2")])
def test_a_near_miss_is_named(tmp_path, prompt, image):
    result = scan(lay_one(tmp_path, f"t/{prompt}.txt", f"c/{image}.png"))
    assert f"Did you mean '{image}.png'?" in result.finding("missing-control").message
    assert f"Did you mean '{prompt}.txt'?" in result.finding("orphan-control").message
    assert result.finding("missing-control").fix == f"rename {image}.png to {prompt}.png"
    assert result.finding("orphan-control").fix == f"rename it to {prompt}.png"


def test_a_near_miss_by_unicode_form_says_so_because_it_looks_the_same(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    result = scan(lay_one(tmp_path, f"t/{nfc}.txt", f"c/{nfd}.png"))
    assert result.ids == ["a"]
    for code in ("missing-control", "orphan-control"):
        assert result.finding(code).message.endswith("(the same letters in another Unicode form)")


def test_a_name_that_only_begins_like_a_dotted_base_is_no_near_miss(tmp_path):
    result = scan(lay_one(tmp_path, "t/photo.v2.txt", "c/photo.v2.png", "c/photo.png"))
    assert "Did you mean" not in result.finding("orphan-control").message


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("a_Mask.png", "a_mask.png"),
        ("a-mask.PNG", "a_mask.PNG"),
        ("amask.png", "a_mask.png"),
        ("a_control1.png", "a_control_1.png"),
        ("a_Control_2.jpg", "a_control_2.jpg"),
        ("A_control_3.jpg", "a_control_3.jpg"),
    ],
)
def test_a_near_miss_of_a_role_is_named(tmp_path, name, right):
    result = scan(lay_one(tmp_path, f"c/{name}"))
    assert f"Did you mean {right!r}?" in result.findings[0].message
    assert result.findings[0].fix == f"rename it to {right}"


def test_an_image_of_an_unknown_kind_is_named_where_its_sample_is_left_out(tmp_path):
    result = scan(lay_one(tmp_path, "t/b.txt", "c/b.gif"))
    assert "Did you mean 'b.gif'?" in result.finding("missing-control").message


def test_other_files_and_folders_are_reported_once_a_folder(tmp_path):
    lay_one(tmp_path, "c/a.psd", "c/notes.txt", "c/old/a.png", "c/old/b.png", "t/a.json", "train/README.md")
    lay(tmp_path, "README.md", "LICENSE", "raw/one/a.png", "raw/two/b.png", "validation/a.png")
    result = scan(tmp_path)
    assert {(finding.where, finding.message) for finding in result.findings} == {
        (f"{C}/a.psd", f"{C}/a.psd and 1 more file are left aside."),
        (f"{C}/old/a.png", f"{C}/old/a.png and 1 more file are left aside."),
        (f"{T}/a.json", f"{T}/a.json is left aside."),
        ("train/README.md", "train/README.md is left aside."),
        ("LICENSE", "LICENSE and 1 more file are left aside."),
        ("raw/one/a.png", "raw/one/a.png and 1 more file are left aside."),
        ("validation/a.png", "validation/a.png is left aside."),
    }
    assert {(finding.code, finding.severity) for finding in result.findings} == {("unused-file", "note")}


@pytest.mark.parametrize("folder", ["train/masks", "Masks", "control_masks"])
def test_a_folder_of_masks_that_nobody_looks_into_is_warned_of(tmp_path, folder):
    lay_split(tmp_path, bases=["a", "b", "c"])
    finding = scan(lay(tmp_path, f"{folder}/a.png", f"{folder}/b_mask.png", f"{folder}/z.png")).finding("unused-file")
    assert (finding.severity, finding.where) == ("warning", f"{folder}/a.png")
    assert finding.message == f"{folder}/ has images named like samples, such as a.png (2 in all): not used."
    assert finding.fix == "masks belong into control_images/ as <base>_mask, further controls as <base>_control_1"


@pytest.mark.parametrize("name", ["training_images/b.txt", "control_images/b.png", "training_images/b.png"])
def test_nothing_is_read_through_a_link_out_of_the_folder(tmp_path, tmp_path_factory, name):
    outside = tmp_path_factory.mktemp("outside") / "secret"
    lay_split(tmp_path)
    (tmp_path / "train" / name).rename(outside)
    (tmp_path / "train" / name).symlink_to(outside)
    result = scan(tmp_path)
    assert (result.finding("outside-root").severity, result.finding("outside-root").where) == ("error", f"train/{name}")
    assert all(name not in str(roles(sample)) and sample.origin != f"train/{name}" for sample in result.samples)
    assert scan(tmp_path, follow_links=True).codes == []


# --- prompts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "prompt"),
    [
        (b"Add a cat", "Add a cat"),
        (b"\xef\xbb\xbfAdd a cat", "Add a cat"),
        (b"  Add\r\na cat\r\n\r\n", "Add\na cat"),
        (b"Add\ra cat\r", "Add\na cat"),
        ("Füge 🐱 hinzu\u2029".encode(), "Füge 🐱 hinzu"),
        (b"null", "null"),
        (b"007", "007"),
        (b"", ""),
        (b" \n\t", ""),
    ],
)
def test_a_prompt_is_its_file_s_text_with_plain_line_ends_and_no_outer_space(tmp_path, content, prompt):
    lay_one(tmp_path)
    write(tmp_path / T / "a.txt", content)
    result = scan(tmp_path)
    assert result["a"].prompt == prompt
    assert result.codes == [
        *(["prompt-bom"] if content.startswith(b"\xef\xbb\xbf") else []),
        *(["prompt-line-ends"] if b"\r" in content else []),
    ]


@pytest.mark.parametrize(
    ("content", "line", "guess"),
    [
        ("Hello\nFüge eine Katze hinzu".encode("latin-1"), 2, "Latin-1"),
        ("Add a “cat”".encode("cp1252"), 1, "Windows-1252"),
        ("Add a cat".encode("utf-16"), 1, "UTF-16"),
        ("Add a cat".encode("utf-16-le"), 1, "UTF-16"),
        ("Add a cat".encode("utf-16-be"), 1, "UTF-16"),
        (b"Add\na\0cat", 2, "binary"),
    ],
)
def test_a_prompt_that_is_not_utf_8_is_an_error_with_its_place_and_the_rest_is_read(tmp_path, content, line, guess):
    lay_split(tmp_path)
    write(tmp_path / T / "a.txt", content)
    result = scan(tmp_path)
    assert result.ids == ["b"]
    finding = result.finding("undecodable-prompt")
    assert (finding.severity, finding.where, finding.line) == ("error", f"{T}/a.txt", line)
    assert finding.sample == ("train", "a")
    assert guess in finding.message


def test_the_byte_that_is_not_utf_8_is_counted_from_the_start_of_the_file(tmp_path):
    lay_one(tmp_path)
    write(tmp_path / T / "a.txt", b"\xef\xbb\xbfcaf\xe9")
    assert "byte 6 is 0xe9" in scan(tmp_path).finding("undecodable-prompt").message


def test_of_two_prompts_the_one_in_small_letters_is_used_with_a_warning(tmp_path):
    lay_one(tmp_path)
    write(tmp_path / T / "a.TXT", "Another prompt.")
    result = scan(tmp_path)
    assert result["a"].prompt == "Prompt of a."
    assert result.finding("ambiguous-file").where == f"{T}/a.TXT"


# --- splits -----------------------------------------------------------------------------------------------------


def test_any_folder_of_the_shape_is_a_split(tmp_path):
    for split in ("train", "validation", "v1.2"):
        lay_split(tmp_path, split, bases=[split])
    assert list(scan(tmp_path).splits) == ["train", "v1.2", "validation"]


def test_a_folder_of_the_shape_whose_name_is_no_split_s_is_left_aside_with_a_warning(tmp_path):
    lay_split(tmp_path)
    lay_split(tmp_path, "my-split")
    result = scan(tmp_path)
    assert list(result.splits) == ["train"]
    assert (result.finding("bad-split-name").where, result.finding("bad-split-name").severity) == (
        "my-split",
        "warning",
    )


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([f"{C}/a.png"], "train/training_images/ has no prompt <base>.txt"),
        ([f"{T}/a.txt", f"{T}/a.png"], "train/control_images/ has no image"),
        ([f"{C}/x.png", f"{T}/a.txt"], "has images (1), but none has the name of a prompt (<base>.png for <base>.txt"),
        ([f"{C}/a_1.png", f"{C}/b.png", f"{T}/a.txt"], "train/control_images/ has images (2), but none"),
    ],
)
def test_a_split_without_any_sample_is_an_error_that_says_which_condition_failed(tmp_path, names, why):
    result = scan(lay(tmp_path, *names))
    finding = result.finding("empty-split")
    assert (finding.severity, finding.where, result.samples) == ("error", "train", [])
    assert why in finding.message


def test_column_names_are_for_tables(tmp_path):
    with pytest.raises(UsageError, match="--column"):
        scan(lay_split(tmp_path), columns={"prompt": "text"})


# --- all names at once ------------------------------------------------------------------------------------------

BASES = st.lists(st.sampled_from(["a", "a_1", "a_mask", "a_control_1", "a.b", "A", "b", "b_control_2"]), unique=True)
SUFFIXES = ["", "_mask", "_control_1", "_control_2", "_control_01", "_1", ".b"]


@settings(deadline=None, max_examples=30)
@given(BASES, st.sets(st.tuples(st.sampled_from(["a", "b", "A", "a_mask"]), st.sampled_from(SUFFIXES))))
def test_every_image_is_used_once_or_reported(tmp_path_factory, bases, images):
    root = tmp_path_factory.mktemp("set")
    (root / C).mkdir(parents=True)
    lay(
        root, f"{C}/keep.png", *(f"{T}/{base}.txt" for base in bases), *(f"{C}/{base}{end}.png" for base, end in images)
    )
    findings = []
    samples = list(directory.read(FolderTree(root), "train", {}, findings.append))
    used = [blob.name for sample in samples for _, blob in sample.media()]
    assert len(used) == len(set(used))
    reported = {finding.where for finding in findings}
    lone = {f"{C}/{base}_mask.png" for base in bases} - set(used)  # the mask of a sample that is left out itself
    for base, end in images:
        name = f"{C}/{base}{end}.png"
        assert name in used or name in reported or name in lone


def test_a_picture_is_made_in_the_format_of_its_name():
    assert picture("a.jpg")[:3] == b"\xff\xd8\xff"


def test_links_beside_the_splits_stop_nobody(tmp_path, tmp_path_factory):
    root = lay_split(tmp_path / "ds", "train", "a")
    outside = write(tmp_path_factory.mktemp("elsewhere") / "python3", "x")
    (root / "venv/bin").mkdir(parents=True)
    (root / "venv/bin/python").symlink_to(outside)
    (root / "latest").symlink_to(root / "nowhere")
    (root / "train/control_images/b.png").symlink_to(outside)
    graves = {finding.where: finding.severity for finding in check_dataset(root).findings}
    assert (graves["venv/bin/python"], graves["latest"]) == ("note", "note")
    assert graves["train/control_images/b.png"] == "error"


class Listed:
    """A tree of nothing but names."""

    def __init__(self, *paths):
        self.name, self.findings = "listed", ()
        self.files = {
            folder: Names(sorted(path[len(folder) + 1 :] for path in paths if path.startswith(folder)))
            for folder in (C, T)
        }

    def blob(self, path):
        return Blob(path, 1, InMemory(b"x"))

    def read(self, path):
        return path.encode()


def lay_many(count, form="photo-{}"):
    bases = [form.format(number) for number in range(count)]
    ends = (f"{C}/{{}}.png", f"{C}/{{}}_control_1.png", f"{C}/{{}}_mask.png", f"{T}/{{}}.txt", f"{T}/{{}}.png")
    return bases, Listed(*(end.format(base) for base in bases for end in ends))


@pytest.mark.parametrize(
    "form", ["photo-{}", "{}", "{:05}", "photo.{}.x", "photo ({})", "{}_", "a_control_{}", "{}_mask"]
)
def test_among_many_samples_each_has_its_own_files(form):
    bases, tree = lay_many(1_500, form)
    findings = []
    samples = list(directory.read(tree, "train", {}, findings.append))
    assert findings == []
    assert [sample.id for sample in samples] == sorted(bases)
    for sample in samples:
        base = sample.id
        assert roles(sample) == {
            "controls": [f"{C}/{base}.png", f"{C}/{base}_control_1.png"],
            "mask": f"{C}/{base}_mask.png",
            "target": f"{T}/{base}.png",
        }
        assert sample.prompt == f"{T}/{base}.txt"


def test_reading_takes_no_more_memory_when_there_are_more_samples():
    def peak(count):
        _, tree = lay_many(count)
        tracemalloc.start()
        deque(directory.read(tree, "train", {}, print), maxlen=0)
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return taken

    assert peak(6_000) < 1.2 * peak(1_500)
