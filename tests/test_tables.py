import codecs
import csv
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qflux_hub.errors import UsageError
from qflux_hub.layouts import tables
from qflux_hub.tree import FolderTree
from tests.builders import lay, picture, roles, scan, table, write

IMAGES = (
    "train/target/sample1.png",
    "train/target/sample1_mask.png",
    "train/control/sample1.png",
    "train/control/sample1_control_1.webp",
    "test/control/sample2.webp",
    "test/control/sample2_control_1.png",
)
TRAIN = (
    "image,control,control_1,prompt\n"
    "train/target/sample1.png,train/control/sample1.png,train/control/sample1_control_1.webp,Add character to scene\n"
)
TEST = (
    "control,control_1,prompt\n"
    "test/control/sample2.webp,test/control/sample2_control_1.png,Generate character composition\n"
)


def read(root, text, *names, **options):
    """What ``train.csv`` with this text is read as, beside images ``a.png``, ``b.png`` and ``names``."""
    return scan(lay(root, "a.png", "b.png", *names, train_csv=text), **options)


def control(cell, prompt="Add a cat"):
    """The text of a table of one row, which names one control image."""
    return table(["control", "prompt"], [cell, prompt])


# --- the documented shape ---------------------------------------------------------------------------------------


def test_the_documented_example_is_read_as_documented(tmp_path):
    result = scan(lay(tmp_path, *IMAGES, train_csv=TRAIN, test_csv=TEST))
    assert result.layout == "csv"
    assert result.findings == []
    assert list(result.splits) == ["train", "test"]
    one, two = result["sample1"], result["sample2"]
    assert (one.split, one.prompt, one.origin, dict(one.extra)) == (
        "train",
        "Add character to scene",
        "train.csv:2",
        {},
    )
    assert roles(one) == {
        "controls": ["train/control/sample1.png", "train/control/sample1_control_1.webp"],
        "mask": "train/target/sample1_mask.png",
        "target": "train/target/sample1.png",
    }
    assert roles(two) == {
        "controls": ["test/control/sample2.webp", "test/control/sample2_control_1.png"],
        "mask": None,
        "target": None,
    }


def test_the_trainers_dialect_says_the_same_with_other_column_names(tmp_path):
    header = "path_target,path_control,path_control_1,path_mask,prompt\n"
    row = "train/target/sample1.png,train/control/sample1.png,train/control/sample1_control_1.webp,,Add a cat\n"
    result = scan(lay(tmp_path, *IMAGES, train_csv=header + row))
    assert roles(result["sample1"]) == {
        "controls": ["train/control/sample1.png", "train/control/sample1_control_1.webp"],
        "mask": "train/target/sample1_mask.png",
        "target": "train/target/sample1.png",
    }
    assert result.findings == []


@pytest.mark.parametrize("name", ["image", "target", "target_image", "path_target", " Image ", "TARGET", '"image"'])
def test_a_target_column_has_many_names(tmp_path, name):
    assert roles(read(tmp_path, f"{name},control,prompt\nb.png,a.png,Hi\n")["b"])["target"] == "b.png"


@pytest.mark.parametrize(
    "header", ["control,prompt", "Control,PROMPT", " control , prompt ", '"path_control","prompt"']
)
def test_column_names_count_without_case_padding_and_quotes(tmp_path, header):
    result = read(tmp_path, f"{header}\na.png,Hi\n")
    assert (result["a"].prompt, result.findings) == ("Hi", [])


@pytest.mark.parametrize("name", ["mask", "control_mask", "path_mask"])
def test_a_mask_may_be_named_by_a_column(tmp_path, name):
    assert roles(read(tmp_path, f"{name},control,prompt\nb.png,a.png,Hi\n")["a"])["mask"] == "b.png"


def test_any_table_of_the_shape_is_a_split_train_first(tmp_path):
    tables = {name: control("a.png") for name in ("test_csv", "train_csv", "extra_csv")}
    assert list(scan(lay(tmp_path, "a.png", **tables)).splits) == ["train", "test", "extra"]


def test_tables_of_another_shape_are_left_aside(tmp_path):
    lay(tmp_path, "a.png", train_csv=control("a.png"), stats_csv="loss,step\n0.1,7\n")
    write(tmp_path / "my-split.csv", control("a.png"))
    result = scan(tmp_path)
    assert list(result.splits) == ["train"]
    assert (result.finding("unused-file").where, result.finding("bad-split-name").where) == (
        "stats.csv",
        "my-split.csv",
    )


def test_two_tables_of_one_split_are_not_read_twice(tmp_path):
    lay(tmp_path, "a.png", train_csv=control("a.png", "small"))
    write(tmp_path / "train.CSV", control("a.png", "large"))
    result = scan(tmp_path)
    assert [sample.prompt for sample in result.samples] == ["small"]
    assert result.finding("ambiguous-file").where == "train.CSV"


# --- cells ------------------------------------------------------------------------------------------------------


def test_every_cell_is_text(tmp_path):
    rows = [
        ["7.png", "007"],
        ["8.png", "1.0"],
        ["9.png", "NA"],
        ["10.png", "null"],
        ["11.png", "None"],
        ["12.png", "1e5"],
    ]
    result = read(tmp_path, table(["control", "prompt"], *rows), *(name for name, _ in rows))
    assert [(sample.id, sample.prompt) for sample in result.samples] == [(name[:-4], prompt) for name, prompt in rows]
    assert result.findings == []


def test_a_control_that_is_a_number_is_the_file_of_that_name(tmp_path):
    result = read(tmp_path, control("7"), "7.png")
    assert roles(result["7"])["controls"] == ["7.png"]
    assert result.codes == ["corrected-extension"]


def test_an_empty_prompt_stays_empty(tmp_path):
    assert read(tmp_path, control("a.png", "  "))["a"].prompt == ""


@pytest.mark.parametrize(
    "cell",
    ["  a.png ", "./a.png", "sub/../a.png", ".\\a.png", "sub\\..\\a.png", ".//a.png"],
)
def test_padding_dots_and_backslashes_of_a_path_do_not_matter(tmp_path, cell):
    result = read(tmp_path, control(cell), "sub/x.png")
    assert roles(result["a"])["controls"] == ["a.png"]
    assert result.findings == []


def test_cells_padded_before_their_quotes_are_quoted_cells(tmp_path):
    result = read(tmp_path, 'control, prompt\na.png, "Add a cat, then a dog"\nb.png,  "Add ""one"""\n')
    assert [sample.prompt for sample in result.samples] == ["Add a cat, then a dog", 'Add "one"']
    assert result.findings == []


def test_prompts_have_plain_line_ends_and_no_outer_space(tmp_path):
    result = read(tmp_path, b'control,prompt\r\na.png,"  Add\r\na cat\rnow \r\n"\r\n'.decode())
    assert result["a"].prompt == "Add\na cat\nnow"


def test_other_columns_are_carried_as_they_are(tmp_path):
    text = "source,control,prompt,Score\nweb , a.png,Hi,0.50\n,b.png,Ho,\n"
    result = read(tmp_path, text)
    assert [dict(sample.extra) for sample in result.samples] == [
        {"source": "web ", "Score": "0.50"},
        {"source": "", "Score": ""},
    ]


# --- rows -------------------------------------------------------------------------------------------------------


def test_a_quoted_comma_is_part_of_the_prompt(tmp_path):
    assert read(tmp_path, 'control,prompt\na.png,"Add a cat, then a dog"\n')["a"].prompt == "Add a cat, then a dog"


def test_an_unquoted_comma_is_an_error_with_its_line_and_never_slides_cells(tmp_path):
    text = "image,control,control_1,prompt\na.png,b.png,,Fine\na.png,b.png,a.png,Add a cat, then a dog\n"
    result = read(tmp_path, text)
    assert [sample.prompt for sample in result.samples] == ["Fine"]
    finding = result.finding("ragged-row")
    assert (finding.severity, finding.place) == ("error", "train.csv:3")
    assert finding.message == "train.csv, line 3: 5 cells, the header has 4."
    assert "quotes" in finding.fix


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    text = (
        "control,prompt\r\n"
        'a.png,"One\r\ntwo\r\n\r\nfour"\r\n'  # lines 2 to 5
        "\r\n"
        "b.png\r\n"  # line 7
        'a.png,"Un\ntil\n",more\n'  # line 8
        "b.png,Last,cell"  # line 11
    )
    result = read(tmp_path, text)
    assert [finding.line for finding in result.findings] == [7, 8, 11]
    assert set(result.codes) == {"ragged-row"}
    assert result["a"].origin == "train.csv:2"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_any_line_end_ends_a_row(tmp_path, end, last):
    text = end.join(["prompt,control", "One,a.png", "Two,b.png"]) + (end if last else "")
    result = read(tmp_path, text)
    assert [(sample.id, sample.prompt, sample.origin) for sample in result.samples] == [
        ("a", "One", "train.csv:2"),
        ("b", "Two", "train.csv:3"),
    ]
    assert result.findings == []


def test_rows_and_lines_without_content_are_passed_over(tmp_path):
    result = read(tmp_path, "\n\ncontrol,prompt\n\n  \n,\na.png,Hi\n , \n")
    assert result["a"].origin == "train.csv:7"
    assert result.findings == []


def test_trailing_delimiters_of_a_spreadsheet_are_no_columns(tmp_path):
    result = read(tmp_path, "control,prompt,,\na.png,Hi,,\nb.png,Ho,,\n")
    assert result.findings == []
    assert [dict(sample.extra) for sample in result.samples] == [{}, {}]


def test_a_column_without_a_name_is_reported_when_it_holds_something(tmp_path):
    result = read(tmp_path, ",control,prompt\n0,a.png,Hi\n1,b.png,Ho\n")
    assert result.ids == ["a", "b"]
    finding = result.finding("unnamed-column")
    assert (finding.severity, finding.place) == ("note", "train.csv:1")
    assert "column 1" in finding.message


@pytest.mark.parametrize(("delimiter", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_semicolons_and_tabs_are_found_out_and_reported(tmp_path, delimiter, word):
    text = table(["image", "control", "prompt"], ["b.png", "a.png", "Add a cat, then a dog"], delimiter=delimiter)
    result = read(tmp_path, text)
    assert result["b"].prompt == "Add a cat, then a dog"
    assert (result.finding("other-delimiter").severity, word in result.finding("other-delimiter").message) == (
        "note",
        True,
    )


# --- the text of a table ----------------------------------------------------------------------------------------


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    result = read(tmp_path, codecs.BOM_UTF8 + control("a.png", "Füge 🐱 hinzu").encode())
    assert result["a"].prompt == "Füge 🐱 hinzu"
    assert result.codes == ["table-bom"]


@pytest.mark.parametrize(
    ("encoding", "line", "guess"),
    [("latin-1", 3, "Latin-1"), ("utf-16", 1, "UTF-16"), ("utf-16-le", 3, "UTF-16"), ("utf-16-be", 3, "UTF-16")],
)
def test_a_table_that_is_not_utf_8_is_an_error_with_its_line(tmp_path, encoding, line, guess):
    result = read(tmp_path, "control,prompt\nb.png,Hi\na.png,Füge hinzu\n".encode(encoding))
    assert result.samples == []
    finding = result.finding("undecodable-table")
    assert (finding.severity, finding.where, finding.line) == ("error", "train.csv", line)
    assert guess in finding.message


def test_a_nul_byte_is_an_error_with_its_line(tmp_path):
    result = read(tmp_path, b"control,prompt\na.png,Add\0 a cat\n")
    assert result.samples == []
    assert result.finding("undecodable-table").place == "train.csv:2"


def test_a_table_without_content_is_an_error(tmp_path):
    for text in ("", "\n", codecs.BOM_UTF8):
        result = read(tmp_path, text)
        assert (result.finding("missing-column").place, result.samples) == ("train.csv:1", [])


def test_a_table_of_a_header_alone_is_an_empty_split(tmp_path):
    result = read(tmp_path, "image,control,prompt\n")
    assert result.finding("empty-split").severity == "error"
    assert "it has no rows" in result.finding("empty-split").message


def test_a_quote_that_is_not_closed_is_an_error_with_the_line_where_its_row_begins(tmp_path):
    result = read(tmp_path, 'control,prompt\nb.png,Hi\na.png,"Add a cat\nb.png,Add a dog\n')
    assert result.samples == []
    finding = result.finding("undecodable-table")
    assert (finding.severity, finding.place) == ("error", "train.csv:3")


def test_a_cell_may_be_as_long_as_it_likes(tmp_path):
    prompt = "cat " * 50_000 + "end"
    limit = csv.field_size_limit()
    result = read(tmp_path, control("a.png", prompt))
    assert result["a"].prompt == prompt
    assert csv.field_size_limit() == limit


# --- columns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "lacking"),
    [
        ("image,prompt", "control"),
        ("control,caption", "prompt"),
        ("image,caption", "prompt and control"),
        ("a|b", "prompt"),
    ],
)
def test_a_missing_column_is_said_with_those_that_are_there(tmp_path, header, lacking):
    finding = read(tmp_path, f"{header}\na.png,b.png\n").finding("missing-column")
    assert (finding.severity, finding.place) == ("error", "train.csv:1")
    assert f"has no column {lacking}" in finding.message
    assert header.replace(",", ", ") in finding.message


def test_a_column_that_usually_holds_what_is_missing_is_named(tmp_path):
    finding = read(tmp_path, "source_image,Caption\na.png,Hi\n").finding("missing-column")
    assert finding.fix == "rename the column, or say which it is: --column prompt=Caption --column control=source_image"
    assert read(tmp_path, "control,words\na.png,Hi\n").finding("missing-column").fix.endswith("--column prompt=NAME")


def test_controls_come_in_the_order_of_their_numbers_wherever_their_columns_stand(tmp_path):
    names = [f"c{number}.png" for number in range(11)]
    header = ["control_10", "control_2", "prompt", "control_1", "control"] + [f"control_{n}" for n in range(3, 10)]
    row = ["c10.png", "c2.png", "Hi", "c1.png", "c0.png"] + [f"c{n}.png" for n in range(3, 10)]
    result = read(tmp_path, table(header, row), *names)
    assert roles(result["c0"])["controls"] == names
    assert result.findings == []


def test_a_gap_in_the_numbers_of_the_columns_is_reported_and_not_filled(tmp_path):
    result = read(tmp_path, "control,control_2,control_10,prompt\na.png,b.png,c.png,Hi\n", "c.png")
    assert roles(result["a"])["controls"] == ["a.png", "b.png", "c.png"]
    assert (result.finding("control-gap").severity, result.finding("control-gap").place) == ("warning", "train.csv:1")


def test_a_blank_between_the_controls_of_a_row_is_reported_and_not_filled(tmp_path):
    text = "control,control_1,control_2,prompt\na.png,,b.png,Hi\nb.png,a.png,,Ho\na.png,,,Ha\n"
    result = read(tmp_path, "id," + text.replace("\n", "\n1,", 1).replace("\nb", "\n2,b").replace("\na", "\n3,a"))
    assert [roles(sample)["controls"] for sample in result.samples] == [
        ["a.png", "b.png"],
        ["b.png", "a.png"],
        ["a.png"],
    ]
    assert (result.finding("control-gap").place, result.finding("control-gap").sample) == (
        "train.csv:2",
        ("train", "1"),
    )


@pytest.mark.parametrize("name", ["control_0", "control_01", "path_control_00"])
def test_a_control_column_whose_number_is_none_is_reported_and_not_used(tmp_path, name):
    result = read(tmp_path, f"control,{name},prompt\na.png,b.png,Hi\n")
    assert roles(result["a"])["controls"] == ["a.png"]
    assert (result.finding("bad-control-number").place, result.codes) == ("train.csv:1", ["bad-control-number"])


def test_a_column_number_of_thousands_of_digits_is_a_name_like_any_other(tmp_path):
    result = read(tmp_path, f"control,control_{'1' * 5000},prompt\na.png,,Hi\n")
    assert result.ids == ["a"]


@pytest.mark.parametrize(
    "header",
    [
        "image,target,control,prompt",
        "control,path_control,prompt,x",
        "control,control_1,path_control_1,prompt",
        "control,prompt,x,x",
        "control,Prompt,prompt,x",
    ],
)
def test_two_columns_of_one_meaning_are_an_error(tmp_path, header):
    result = read(tmp_path, f"{header}\na.png,a.png,a.png,a.png\n")
    assert (result.finding("duplicate-column").place, result.samples) == ("train.csv:1", [])


@pytest.mark.parametrize("name", ["control_images"])
def test_a_column_that_the_hub_needs_for_itself_is_an_error(tmp_path, name):
    result = read(tmp_path, f"{name},control,prompt\nx,a.png,Hi\n")
    assert (result.finding("reserved-column").place, result.samples) == ("train.csv:1", [])


# --- columns named by the user ----------------------------------------------------------------------------------


def test_roles_can_be_given_to_columns_of_any_name(tmp_path):
    text = "before,ref,after,shape,caption,key\na.png,c.png,b.png,m.png,Hi,one\n"
    columns = {
        "control": "before",
        "control_1": "ref",
        "target": "after",
        "mask": "shape",
        "prompt": "caption",
        "id": "key",
    }
    result = read(tmp_path, text, "c.png", "m.png", columns=columns)
    assert roles(result["one"]) == {"controls": ["a.png", "c.png"], "mask": "m.png", "target": "b.png"}
    assert (result["one"].prompt, result["one"].extra, result.findings) == ("Hi", {}, [])


@pytest.mark.parametrize("role", ["image", "target_image", "path_target", "Target"])
def test_a_role_may_be_called_as_its_columns_are(tmp_path, role):
    text = "after,control,prompt\nb.png,a.png,Hi\n"
    assert roles(read(tmp_path, text, columns={role: "after"})["b"])["target"] == "b.png"


def test_the_delimiter_of_a_table_without_any_usual_name_is_found_out_too(tmp_path):
    columns = {"control": "before, or first", "prompt": "text"}
    result = read(tmp_path, "before, or first;text\na.png;Add a cat, then a dog\n", columns=columns)
    assert result["a"].prompt == "Add a cat, then a dog"


def test_a_column_whose_role_went_to_another_is_carried_along(tmp_path):
    text = "image,edited,control,prompt\na.png,b.png,a.png,Hi\n"
    result = read(tmp_path, text, columns={"target": "edited"})
    assert roles(result["b"])["target"] == "b.png"
    assert dict(result["b"].extra) == {"image": "a.png"}


@pytest.mark.parametrize("role", ["prompt", "id"])
def test_a_column_that_would_be_carried_along_under_a_name_of_ours_is_an_error(tmp_path, role):
    result = read(
        tmp_path, f"{role},other,control,x\n1,2,a.png,Hi\n", columns={role: "other", "prompt": "x"} | {role: "other"}
    )
    assert result.finding("reserved-column").place == "train.csv:1"


def test_a_column_that_is_not_there_is_said(tmp_path):
    finding = read(tmp_path, "control,prompt\na.png,Hi\n", columns={"target": "after"}).finding("missing-column")
    assert "no column 'after'" in finding.message
    assert "control, prompt" in finding.message


@pytest.mark.parametrize("role", ["caption", "controls", "control_0", "control_x", ""])
def test_an_unknown_role_is_a_wrong_call(tmp_path, role):
    with pytest.raises(UsageError, match="There is no role") as error:
        read(tmp_path, "control,prompt\na.png,Hi\n", columns={role: "control"})
    assert "prompt, control, control_1" in error.value.hint


def test_one_column_for_two_roles_is_a_wrong_call(tmp_path):
    with pytest.raises(UsageError, match="'text'"):
        read(tmp_path, "control,text\na.png,Hi\n", columns={"prompt": "text", "id": "text"})


# --- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tiff", ".tif", ".Png", ".TIFF"])
def test_every_documented_extension_is_an_image_in_any_case(tmp_path, extension):
    result = read(tmp_path, control(f"x{extension}"), f"x{extension}")
    assert roles(result["x"])["controls"] == [f"x{extension}"]
    assert result.findings == []


@pytest.mark.parametrize(
    ("listed", "there"), [("x.png", "x.webp"), ("x.png", "x.Png"), ("x.PNG", "x.png"), ("x.v2.jpg", "x.v2.bmp")]
)
def test_a_wrong_extension_is_corrected_with_a_note(tmp_path, listed, there):
    result = read(tmp_path, control(f"sub/{listed}"), f"sub/{there}", "sub/y.png")
    assert roles(result.samples[0])["controls"] == [f"sub/{there}"]
    finding = result.finding("corrected-extension")
    assert (finding.severity, finding.place, finding.fix) == ("note", "train.csv:2", f"write sub/{there}")


def test_an_extension_is_corrected_only_when_one_file_fits(tmp_path):
    result = read(tmp_path, control("x.png"), "x.jpg", "x.webp")
    assert result.samples == []
    assert "x.jpg and x.webp; which one is meant?" in result.finding("missing-file").message


@pytest.mark.parametrize("listed", ["a.b", "a.gif", "a.png.bak", "A.png", "a_.png", "a"])
def test_only_a_known_image_extension_is_corrected(tmp_path, listed):
    result = read(tmp_path, control(listed))
    assert (result.ids, result.codes) == (
        (["a"], ["corrected-extension"]) if listed == "a" else ([], ["missing-file", "empty-split"])
    )


@pytest.mark.parametrize(
    ("column", "row"),
    [
        ("control", "no.png,,,"),
        ("control", "no.png,a.png,,"),
        ("control_1", "a.png,no.png,,"),
        ("image", "a.png,,no.png,"),
        ("mask", "a.png,,,no.png"),
    ],
)
def test_a_file_that_is_missing_is_an_error_with_its_line_and_never_replaced(tmp_path, column, row):
    text = f"control,control_1,image,mask,prompt\nb.png,,,,Ho\n{row},Hi\n"
    result = read(tmp_path, text)
    assert result.ids == ["b"], column
    finding = result.finding("missing-file")
    assert (finding.severity, finding.place, finding.sample[0]) == ("error", "train.csv:3", "train")
    assert "no file no.png" in finding.message


def test_all_missing_files_of_a_row_are_said(tmp_path):
    result = read(tmp_path, "control,control_1,prompt\nx.png,y.png,Hi\n")
    assert result.codes == ["missing-file", "missing-file", "empty-split"]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("sub", "sub is a folder"),
        ("sub/", "sub is a folder"),
        (".", "is a folder"),
        ("empty/deep", "empty/deep is a folder"),
        ("absent/a.png", "there is no folder absent/ for absent/a.png"),
        ("notes.txt", "notes.txt has no extension of an image, video or sound"),
        ("SUB/X.png", "Did you mean sub/x.png?"),
        ("sub/X.png", "Did you mean sub/x.png?"),
        ("https://host/a.png", "is an address"),
    ],
)
def test_why_a_file_is_missing_is_said(tmp_path, cell, said):
    (tmp_path / "empty/deep").mkdir(parents=True)
    result = read(tmp_path, control(cell), "sub/x.png", "notes.txt", "empty/deep/x.png")
    assert said in result.finding("missing-file").message
    assert result.samples == []


@pytest.mark.parametrize(
    "cell",
    [
        "../secret.png",
        "sub/../../secret.png",
        "..",
        "..\\secret.png",
        "/etc/passwd",
        "//host/a.png",
        "\\\\host\\a.png",
        "C:\\data\\a.png",
        "c:/a.png",
        "C:a.png",
        "~/a.png",
        "~user/a.png",
        "{absolute}",
    ],
)
def test_a_path_out_of_the_folder_is_refused(tmp_path, cell):
    root = tmp_path / "set"
    lay(tmp_path, "secret.png", "set/sub/x.png")
    result = read(root, control(cell.replace("{absolute}", os.fspath(tmp_path / "secret.png"))))
    assert result.samples == []
    finding = result.finding("outside-root")
    assert (finding.severity, finding.place) == ("error", "train.csv:2")


def test_an_absolute_path_into_the_folder_is_refused_in_its_own_words(tmp_path):
    finding = read(tmp_path, control(os.fspath(tmp_path / "a.png"))).finding("outside-root")
    assert "is absolute" in finding.message


@pytest.mark.parametrize("name", ["~a.png", "a:b.png", "C:a.png", "-a.png"])
def test_a_name_that_only_looks_like_a_way_out_is_a_file_of_the_folder(tmp_path, name):
    result = read(tmp_path, control(name), name)
    assert roles(result.samples[0])["controls"] == [name]
    assert result.findings == []


def test_links_out_of_the_folder_are_refused_unless_they_may_be_followed(tmp_path, tmp_path_factory):
    outside = write(tmp_path_factory.mktemp("outside") / "x.png", picture("x.png"))
    (lay(tmp_path, "a.png") / "link.png").symlink_to(outside)
    result = read(tmp_path, control("link.png"))
    assert (result.codes, result.samples) == (["outside-root", "missing-file", "empty-split"], [])
    result = read(tmp_path, control("link.png"), follow_links=True)
    assert (result.codes, result.ids) == ([], ["link"])


def test_a_file_that_goes_away_while_the_table_is_read_is_reported_and_the_rest_is_read(tmp_path):
    tree = FolderTree(lay(tmp_path, "a.png", "b.png", train_csv="control,prompt\na.png,Hi\nb.png,Ho\n"))
    (tmp_path / "a.png").unlink()
    findings = []
    samples = list(tables.read(tree, "train", {}, findings.append))
    assert [sample.id for sample in samples] == ["b"]
    assert [(f.code, f.where, f.line, f.sample) for f in findings] == [("unreadable-file", "a.png", 2, ("train", "a"))]


def test_a_table_that_cannot_be_opened_is_reported(tmp_path):
    tree = FolderTree(lay(tmp_path, "a.png", train_csv=control("a.png"), extra_csv=control("a.png")))
    (tmp_path / "train.csv").unlink()
    (tmp_path / "extra.csv").unlink()
    findings = []
    assert tables.splits(tree, findings.append) == ("train",)
    assert list(tables.read(tree, "train", {}, findings.append)) == []
    assert [(finding.code, finding.where) for finding in findings] == [
        ("unreadable-file", "extra.csv"),
        ("unreadable-file", "train.csv"),
    ]


# --- controls ---------------------------------------------------------------------------------------------------


def test_a_row_without_control_is_left_out_with_a_warning(tmp_path):
    result = read(tmp_path, "image,control,prompt\na.png, ,Hi\nb.png,a.png,Ho\n")
    assert result.ids == ["b"]
    finding = result.finding("missing-control")
    assert (finding.severity, finding.place, finding.sample) == ("warning", "train.csv:2", ("train", "a"))


def test_a_row_with_a_numbered_control_alone_is_a_sample_with_a_warning(tmp_path):
    result = read(tmp_path, "control,control_1,prompt\n,a.png,Hi\n")
    assert roles(result["a"])["controls"] == ["a.png"]
    assert result.codes == ["missing-main-control"]


def test_a_table_may_have_numbered_controls_only(tmp_path):
    result = read(tmp_path, "control_1,control_2,prompt\na.png,b.png,Hi\n")
    assert roles(result["a"])["controls"] == ["a.png", "b.png"]
    assert result.codes == ["missing-main-control"]


def test_a_table_without_any_control_is_an_empty_split(tmp_path):
    result = read(tmp_path, "image,control,prompt\na.png,,Hi\nb.png,,Ho\n")
    assert "none of its rows (2) has control images that are there" in result.finding("empty-split").message


# --- masks ------------------------------------------------------------------------------------------------------

PAIR = "image,control,prompt\nt/a.png,c/a.png,Hi\n"


@pytest.mark.parametrize("place", ["c", "t"])
def test_a_mask_is_found_beside_the_control_or_the_target(tmp_path, place):
    result = read(tmp_path, PAIR, "t/a.png", "c/a.png", f"{place}/a_mask.webp")
    assert roles(result["a"])["mask"] == f"{place}/a_mask.webp"
    assert result.findings == []


def test_of_two_masks_the_one_beside_the_control_is_used_with_a_warning(tmp_path):
    result = read(tmp_path, PAIR, "t/a.png", "c/a.png", "c/a_mask.png", "t/a_mask.png")
    assert roles(result["a"])["mask"] == "c/a_mask.png"
    assert (result.finding("mask-twice").severity, result.finding("mask-twice").where) == ("warning", "t/a_mask.png")


def test_a_mask_column_wins_over_the_name_and_a_blank_one_does_not(tmp_path):
    text = "image,control,mask,prompt\nt/a.png,c/a.png,m.png,Hi\nt/b.png,c/b.png,,Ho\n"
    result = read(tmp_path, text, "t/a.png", "t/b.png", "c/a.png", "c/b.png", "c/a_mask.png", "c/b_mask.png", "m.png")
    assert (roles(result["a"])["mask"], roles(result["b"])["mask"]) == ("m.png", "c/b_mask.png")


@pytest.mark.parametrize("cell", ["c/a_mask.png", "c/a_mask.jpg"])
def test_a_file_that_another_row_names_as_its_image_is_no_mask(tmp_path, cell):
    result = read(tmp_path, f"{PAIR}t/b.png,{cell},Ho\n", "t/a.png", "t/b.png", "c/a.png", "c/a_mask.png")
    assert roles(result["a"])["mask"] is None
    assert roles(result["b"])["controls"] == ["c/a_mask.png"]
    assert result.finding("shadowed-name").where == "c/a_mask.png"


# --- ids --------------------------------------------------------------------------------------------------------


def test_an_id_is_the_cell_else_the_target_s_stem_else_the_control_s(tmp_path):
    text = "id,image,control,prompt\n seven ,t.png,a.png,1\n,t.png,b.png,2\n,,b.png,3\n"
    assert read(tmp_path, text, "t.png").ids == ["seven", "t", "b"]


def test_stems_that_clash_become_paths_without_extension(tmp_path):
    text = "image,control,prompt\nx/t.png,a.png,1\ny/t.v2.png,a.png,2\ny/t.png,b.png,3\n,b.png,4\n"
    result = read(tmp_path, text, "x/t.png", "y/t.png", "y/t.v2.png")
    assert result.ids == ["x/t", "t.v2", "y/t", "b"]
    assert result.findings == []


def test_ids_that_are_still_equal_are_an_error_with_both_lines(tmp_path):
    result = read(tmp_path, "control,prompt\na.png,One\nb.png,Two\na.png,Three\n")
    finding = result.finding("duplicate-id")
    assert (finding.severity, finding.place, finding.sample) == ("error", "train.csv:4", ("train", "a"))
    assert "stands in line 2 already" in finding.message
    assert finding.fix == "add an id column that tells them apart"


@pytest.mark.parametrize(
    "rows", [["1,a.png,One", "1,,Two"], ["1,,Two", "1,a.png,One"], ["1,,One", "1,,Two", "1,a.png,x"]]
)
def test_a_row_that_is_left_out_takes_no_id(tmp_path, rows):
    result = read(tmp_path, "\n".join(["id,control,prompt", *rows, ""]))
    assert (result.ids, set(result.codes)) == (["1"], {"missing-control"})
    assert all(finding.sample != ("train", "1") for finding in result.findings)


def test_equal_id_cells_are_an_error(tmp_path):
    result = read(tmp_path, "id,control,prompt\n1,a.png,One\n1,b.png,Two\n")
    assert result.finding("duplicate-id").fix == "remove one row"


def test_an_id_cell_that_equals_another_s_stem_leaves_that_one_its_path(tmp_path):
    result = read(tmp_path, "id,control,prompt\nx,a.png,One\n,s/x.png,Two\n", "s/x.png")
    assert result.ids == ["x", "s/x"]


# --- any text at all --------------------------------------------------------------------------------------------

CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


@settings(deadline=None, max_examples=40)
@given(st.lists(CELLS, min_size=1, max_size=6), st.sampled_from([",", ";", "\t"]), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_as_csv_is_read_as_the_same_prompts(tmp_path_factory, prompts, delimiter, end):
    rows = [[str(number), "a.png", prompt] for number, prompt in enumerate(prompts)]
    text = table(["id", "control", "prompt"], *rows, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    result = read(tmp_path_factory.mktemp("set"), text)
    assert [sample.prompt for sample in result.samples] == [
        prompt.replace("\r\n", "\n").replace("\r", "\n").strip() for prompt in prompts
    ]


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=60) | CELLS.map(str.encode), st.sampled_from([b"", b"control,prompt\n", b'"control";prompt\r'])
)
def test_no_content_ends_in_anything_but_findings(tmp_path_factory, content, header):
    result = read(tmp_path_factory.mktemp("set"), header + content)
    assert result.samples or result.findings
