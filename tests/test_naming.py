import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qflux_hub.naming import (
    IMAGE_EXTENSIONS,
    Part,
    all_of,
    all_parts,
    all_prompts,
    base_of,
    control_stem,
    fold,
    in_order,
    is_image_name,
    is_junk,
    is_litter,
    is_split_name,
    legacy,
    mask_stem,
    may_be_part,
    on_disk,
    parse,
    prefer,
    split_extension,
    stem,
)

NFC, NFD = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.png", ("a", ".png")),
        ("a.PnG", ("a", ".png")),
        ("photo.v2.png", ("photo.v2", ".png")),
        ("2024.01.05_x", ("2024.01", ".05_x")),
        ("none", ("none", "")),
        (".png", (".png", "")),
        ("..png", (".", ".png")),
        ("a.", ("a", ".")),
        ("im[1].jpg", ("im[1]", ".jpg")),
        ("a b.tar.gz", ("a b.tar", ".gz")),
        ("", ("", "")),
    ],
)
def test_only_the_last_dot_begins_an_extension(name, parts):
    assert split_extension(name) == parts


@given(st.text(min_size=1).filter(lambda text: "." not in text), st.sampled_from(IMAGE_EXTENSIONS), st.data())
def test_an_extension_means_the_same_in_any_case(stem, extension, data):
    written = "".join(data.draw(st.sampled_from([letter, letter.upper()])) for letter in extension)
    assert split_extension(stem + written) == (stem, extension)
    assert is_image_name(stem + written)


def test_the_stem_of_a_path_is_that_of_its_last_component():
    assert stem("train/control.d/photo.v2.png") == "photo.v2"
    assert stem("photo") == "photo"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("cat", Part("cat", "main")),
        ("cat_control_1", Part("cat", "control", 1)),
        ("cat_control_12", Part("cat", "control", 12)),
        ("cat_mask", Part("cat", "mask")),
        ("cat_1", Part("cat", "legacy", 1)),
        ("cat_control_0", Part("cat", "bad-number")),
        ("cat_control_01", Part("cat", "bad-number", 1)),
        ("cat_control_00", Part("cat", "bad-number")),
        ("cat_dog_2", Part("cat_dog_2", "other")),
        ("cat_mask_1", Part("cat_mask_1", "other")),
        ("cat_control_1_mask", Part("cat_control_1_mask", "other")),
        ("cat_control_1_control_2", Part("cat_control_1_control_2", "other")),
        ("cat_control_", Part("cat_control_", "other")),
        ("cat_control_x", Part("cat_control_x", "other")),
        ("cat_control_-1", Part("cat_control_-1", "other")),
        ("cat_control", Part("cat_control", "other")),
        ("cat-control-1", Part("cat-control-1", "other")),
        ("cat_Mask", Part("cat_Mask", "other")),
        ("Cat", Part("Cat", "other")),
        ("cats", Part("cats", "other")),
        ("_mask", Part("_mask", "other")),
        ("_control_1", Part("_control_1", "other")),
        ("_1", Part("_1", "other")),
    ],
)
def test_a_stem_is_a_part_of_the_one_sample_it_names(name, part):
    assert parse(name, {"cat"}) == part


def test_bases_that_begin_alike_are_samples_of_their_own():
    bases = {"img", "img_1", "img_12", "cat", "cat_dog_2"}
    for base in bases:
        assert parse(base, bases) == Part(base, "main")
    assert parse("img_1_control_1", bases) == Part("img_1", "control", 1)
    assert parse("img_2", bases) == Part("img", "legacy", 2)


def test_a_stem_that_is_a_base_belongs_to_it_and_says_whose_name_it_shadows():
    bases = {"cat", "cat_mask", "cat_control_1", "dog_mask", "cat_control_01"}
    assert parse("cat_mask", bases) == Part("cat_mask", "main", shadowed="cat")
    assert parse("cat_control_1", bases) == Part("cat_control_1", "main", shadowed="cat")
    assert parse("cat_control_01", bases) == Part("cat_control_01", "main", shadowed="cat")
    assert parse("dog_mask", bases) == Part("dog_mask", "main")
    assert parse("cat_mask_mask", bases) == Part("cat_mask", "mask")
    assert parse("cat_control_1_control_2", bases) == Part("cat_control_1", "control", 2)
    assert parse("cat_control_1_mask", bases) == Part("cat_control_1", "mask")


@pytest.mark.parametrize(
    "base", ["photo.v2", "im[1]", "im*", "a b", "2024.01.05_x", NFC, NFD, "line\nbreak", "(?P<x>)"]
)
def test_no_character_of_a_base_is_special(base):
    assert parse(base, {base}) == Part(base, "main")
    assert parse(f"{base}_control_3", {base}) == Part(base, "control", 3)
    assert parse(f"{base}_mask", {base}) == Part(base, "mask")


def test_unicode_forms_are_different_names_and_near_misses():
    assert parse(NFC, {NFD}) == Part(NFC, "other")
    assert fold(NFC) == fold(NFD) == fold("CAF\u00c9")


def test_near_misses_differ_by_case_separators_or_unicode_form():
    assert len({fold(name) for name in ("my photo_1", "My-Photo 1", "MYPHOTO.1", "my_photo__1")}) == 1
    assert fold("photo_1") != fold("photo_2")


@pytest.mark.parametrize("digits", ["\u0661", "\u0660", "\uff11", "\u00b2"])
def test_digits_of_other_scripts_are_no_numbers(digits):
    assert parse(f"cat_control_{digits}", {"cat"}).role == "other"
    assert parse(f"cat_{digits}", {"cat"}).role == "other"


@given(st.text(min_size=1), st.integers(1, 10**30))
@example("a_control_1", 1)
@example("a_mask", 2)
def test_what_is_written_as_a_control_or_mask_is_read_as_one(base, number):
    assert parse(control_stem(base, number), {base}) == Part(base, "control", number)
    assert parse(control_stem(base, 0), {base}) == Part(base, "main")
    assert parse(mask_stem(base), {base}) == Part(base, "mask")
    assert base_of(control_stem(base, number)) == base
    assert base_of(mask_stem(base)) == base


@given(st.text(), st.sets(st.text()))
def test_every_stem_is_something_and_only_of_a_known_base(name, bases):
    part = parse(name, bases)
    assert part.base == name if part.role in ("main", "other") else part.base in bases
    assert (part.role == "main") == (name in bases)


def test_of_two_files_for_one_role_the_documented_order_of_extensions_decides_then_small_letters():
    names = ["x.tif", "x.webp", "x.jpeg", "x.bmp", "x.tiff", "x.jpg", "x.PNG", "x.png"]
    assert prefer(names) == ["x.png", "x.PNG", "x.jpg", "x.jpeg", "x.webp", "x.bmp", "x.tiff", "x.tif"]
    assert prefer(["x.TXT", "x.txt"]) == ["x.txt", "x.TXT"]


def test_what_systems_leave_behind_is_litter():
    litter = ["._x.txt", ".DS_Store", "Thumbs.db", "thumbs.DB", "desktop.ini", ".hidden.png", ".git"]
    assert all(map(is_litter, litter))
    assert not any(map(is_litter, ["x.txt", "_x.txt", "x.", "Thumbs.db.png"]))


def test_split_names_are_words_joined_by_dots():
    assert all(map(is_split_name, ["train", "test", "Validation", "v1.2", "a_b", "0"]))
    illegal = ["my-split", "a b", "", ".a", "a.", "a..b", "caf\u00e9", "a\n", "a/b", "all"]
    assert not any(map(is_split_name, illegal))


def test_junk_is_litter_that_nobody_made():
    junk = ["._x.txt", "._", ".DS_Store", "Thumbs.db", "thumbs.DB"]
    assert all(map(is_junk, junk))
    assert all(map(is_litter, junk))
    assert not any(map(is_junk, ["desktop.ini", ".hidden.png", ".git", ".gitignore", "x._y"]))


def test_names_that_some_disk_takes_for_one_share_a_key():
    assert on_disk("STRASSE.PNG") == on_disk("straße.png")
    assert on_disk("É.png") == on_disk("e\u0301.PNG")
    assert on_disk("a b.png") != on_disk("ab.png")


def test_an_old_name_speaks_of_a_sample_and_a_number():
    assert legacy("cat_dog_2") == Part("cat_dog", "legacy", 2)
    assert legacy("cat") is None


STEMS = st.text("ab.-_ ", min_size=1, max_size=5).filter(lambda stem: not stem.startswith("."))


@given(st.sets(STEMS), st.data())
def test_stems_come_in_their_own_order_from_names_in_theirs(stems, data):
    endings = st.sets(st.sampled_from([".txt", ".TXT", ".Txt"]), min_size=1)
    names = sorted(stem + ending for stem in stems for ending in data.draw(endings))
    assert [*in_order((split_extension(name)[0] for name in names), stems)] == sorted(stems)


@given(STEMS, st.sampled_from(["", "_mask", "_control_1", "_control_20", "_control_x", "_1", "-"]))
def test_the_files_of_a_stem_and_of_a_sample_lie_between_names_that_are_known(base, end):
    for extension in (*IMAGE_EXTENSIONS, ".txt", ".TXT", ".Txt"):
        name, part = f"{base}{end}{extension}", parse(base + end, {base})
        low, high = all_of(base + end)
        assert low <= name < high
        low, high = all_parts([base])
        assert low <= name < high or part.role not in ("main", "control", "mask")
        low, high = all_prompts(base + end)
        assert low <= name < high or extension.lower() != ".txt"
    assert may_be_part(base + end) or part.role not in ("control", "mask")
