"""Validation files of finetrainers: read in every format, typed, and everything wrong with them found in one run."""

from __future__ import annotations

import io
import json
import os
import sys
from datetime import date
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from qflux_hub import DataError, LayoutError, UsageError, ValidationRow, check_dataset, read_validation
from qflux_hub.report import Finding, Progress, Task
from qflux_hub.videos import VideoFacts, look_at_video
from tests.builders import clip, lay_split, picture, table, write
from tests.test_cli import Run, say  # noqa: F401 - a fixture

KINDS = ("csv", "json", "jsonl", "parquet", "arrow")
GUIDE_CSV = """\
caption,image_path,video_path,num_inference_steps,height,width,num_frames,frame_rate
"A black and white animated scene, in which Mickey Mouse appears.",,"/raid/dummy/a3c2.mp4",50,480,768,49,25
"<SECOND_CAPTION>",,"/path/to/second.mp4",50,512,704,161,25
"""
GUIDE_JSON = """\
{
  "data": [
    {
      "caption": "A black and white animated scene, in which Mickey Mouse appears.",
      "image_path": "",
      "video_path": "/raid/dummy/a3c2.mp4",
      "num_inference_steps": 50,
      "height": 480,
      "width": 768,
      "num_frames": 49,
      "frame_rate": 25
    },
    {
      "caption": "<SECOND_CAPTION>",
      "image_path": "",
      "video_path": "/path/to/second.mp4",
      "num_inference_steps": 50,
      "height": 512,
      "width": 704,
      "num_frames": 161,
      "frame_rate": 25
    }
  ]
}
"""
"""The examples of finetrainers' dataset guide; of the first caption, a part."""


def put(path: Path, *rows: dict[str, Any]) -> Path:
    """A validation file of these rows, in the format of its name."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".csv":
        cells = [["" if row.get(name) is None else str(row[name]) for name in columns] for row in rows]
        return write(path, table(columns, *cells))
    if path.suffix == ".json":
        return write(path, json.dumps({"data": rows}, indent=2))
    if path.suffix == ".jsonl":
        return write(path, "".join(json.dumps(row) + "\n" for row in rows))
    values = pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(values, path)
    else:
        with pa.ipc.new_stream(path, values.schema) as out:
            out.write_table(values)
    return path


def check(file: Path, **options: Any) -> list[Finding]:
    return check_dataset(validation=file, **options).findings


def only(code: str, file: Path, **options: Any) -> Finding:
    """The one finding of that code."""
    (finding,) = (finding for finding in check(file, **options) if finding.code == code)
    return finding


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


# --- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_typed_alike_in_every_format(tmp_path: Path, kind: str) -> None:
    full = {
        "caption": "A cat, dancing",
        "image_path": "in/a.png",
        "video_path": None,
        "control_image_path": "http://x.org/c.png",
        "num_inference_steps": 50,
        "height": 480,
        "width": 832,
        "num_frames": 49,
        "frame_rate": 24.5,
        "guidance_scale": 3.5,
    }
    file = put(tmp_path / f"v.{kind}", full, {"caption": "<SECOND>", "control_video_path": "../b.mp4"})
    first, second = read_validation(file)
    assert first == ValidationRow(
        line=first.line,
        caption="A cat, dancing",
        image=str(tmp_path / "in/a.png"),
        control_image="http://x.org/c.png",
        num_inference_steps=50,
        height=480,
        width=832,
        num_frames=49,
        frame_rate=24.5,
        extra={"guidance_scale": 3.5},
    )
    assert second == ValidationRow(second.line, "<SECOND>", control_video=str(tmp_path.parent / "b.mp4"))
    assert [type(value) for value in (first.height, first.num_frames)] == [int, int]
    lines = {"csv": (2, 3), "json": (3, 15), "jsonl": (1, 2), "parquet": (1, 2), "arrow": (1, 2)}
    assert (first.line, second.line) == lines[kind]


def test_the_examples_of_the_guide_are_accepted_as_they_stand(tmp_path: Path, say: Run) -> None:  # noqa: F811
    csv, json_ = write(tmp_path / "v.csv", GUIDE_CSV), write(tmp_path / "v.json", GUIDE_JSON)
    rows = [[(row.caption, row.image, row.video, row.width) for row in read_validation(file)] for file in (csv, json_)]
    assert rows[0] == rows[1]
    assert rows[0][1] == ("<SECOND_CAPTION>", None, "/path/to/second.mp4", 704)
    assert codes(check(csv)) == ["missing-file", "missing-file"]
    assert {finding.severity for finding in check(csv)} == {"warning"}  # this machine has neither /raid nor /path
    assert codes(check(json_)) == ["missing-file", "trainer-differs", "missing-file"]
    assert say("check", "--validation", json_).code == 0
    assert say("check", "--validation", json_, "--strict").code == 1


def test_the_file_framing_of_arrow_is_read_too(tmp_path: Path) -> None:
    values = pa.table({"caption": ["a", None], "height": [480.0, float("nan")], "width": [480, None]})
    with pa.ipc.new_file(tmp_path / "v.arrow", values.schema) as out:
        out.write_table(values)
    assert [finding.line for finding in check(tmp_path / "v.arrow") if finding.code == "empty-prompt"] == [2]


def test_further_columns_of_a_csv_are_numbers_where_all_of_their_cells_are(tmp_path: Path) -> None:
    rows = [
        ["caption", "guidance", "seed", "tile", "note"],
        ["a", "3", "1", "true", "1"],
        ["b", "3.5", "", "False", "x"],
    ]
    first, second = read_validation(write(tmp_path / "v.csv", table(*rows)))
    assert first.extra == {"guidance": 3, "seed": 1, "tile": True, "note": "1"}
    assert second.extra == {"guidance": 3.5, "tile": False, "note": "x"}


def test_fractions_that_are_whole_are_whole_numbers(tmp_path: Path) -> None:
    file = write(tmp_path / "v.csv", "caption,height,width,num_frames\nNA,480.0,832,49.0\n")
    assert [(row.caption, row.height, row.num_frames) for row in read_validation(file)] == [("NA", 480, 49)]


def test_a_reader_is_told_all_that_is_wrong_at_once(tmp_path: Path) -> None:
    file = write(tmp_path / "v.jsonl", '{"caption": ""}\n{"height": "480"}\n[1]\n{"caption": 7}\nno\n')
    with pytest.raises(DataError, match=r"v\.jsonl has 6 errors\.") as caught:
        read_validation(file)
    assert [finding.line for finding in caught.value.report.findings] == [3, 5, 1, 2, 2, 4]
    assert caught.value.report.to_dict()["rows"][0]["caption"] == ""


def test_the_file_must_be_there_and_of_a_known_kind(tmp_path: Path) -> None:
    write(tmp_path / "v.txt", "")
    for name, said in {"no.csv": "no file", "": "folder", "v.txt": "no validation file"}.items():
        with pytest.raises(LayoutError, match=said):
            read_validation(tmp_path / name)


# --- tables that cannot be read -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "line", "said"),
    [
        ("v.json", '{"data": [\n{"caption": "a"},\n]}', 3, "no JSON, expecting value at column 1."),
        ("v.json", '{"caption": "a"}\n{"caption": "b"}\n', 2, "no JSON, extra data at column 1."),
        ("v.json", '{"rows": []}', 1, "has no list 'data' that holds its rows; it has 'rows'."),
        ("v.json", '"x"', 1, "has no list 'data' that holds its rows."),
        ("v.json", "[" * 100_000, 1, "no JSON, it is nested too deeply."),
        ("v.json", '{"data": [{"caption": "a"},\n 7]}', 2, "a row is an object with columns, this is 7."),
        ("v.jsonl", '{\n"data": []}', 1, "a row of JSON Lines stands on one line, this is JSON."),
        ("v.jsonl", '{"caption": "a"} {"caption": "b"}', 1, "no JSON, more follows at column 18."),
        ("v.csv", 'caption\n"a\n', 2, "unexpected end of data."),
        ("v.csv", b"caption\n\xe9\n", 2, "not UTF-8 text"),
        ("v.csv", b"c\0a", 1, "not UTF-8 text"),
        ("v.parquet", b"PAR1", None, "cannot be read as Parquet"),
        ("v.arrow", b"ARROW1", None, "cannot be read as Arrow"),
        ("v.arrow", b"", None, "cannot be read as Arrow"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(
    tmp_path: Path, name: str, content: str | bytes, line: int | None, said: str
) -> None:
    finding = only("undecodable-table", write(tmp_path / name, content))
    assert (finding.severity, finding.line) == ("error", line)
    assert said in finding.message


def test_damaged_arrow_is_an_error_and_nothing_worse(tmp_path: Path) -> None:
    """Its values lie where numbers in the file say; pyarrow follows them out of the memory it has."""
    file = put(tmp_path / "v.arrow", {"caption": "four"}, {"caption": "five"})
    offsets = b"\4\0\0\0\x08\0\0\0"
    assert file.read_bytes().count(offsets) == 1
    file.write_bytes(file.read_bytes().replace(offsets, b"\xff\xff\xff\x7f\x08\0\0\0"))
    assert "cannot be read as Arrow" in only("undecodable-table", file).message


def test_json_and_json_lines_are_told_apart(tmp_path: Path) -> None:
    lines = write(tmp_path / "v.json", '{"caption": "a"}\n{"caption": "b"}\n')
    assert only("undecodable-table", lines).fix == 'it is JSON Lines: name it .jsonl, or write {"data": [row, row]}'
    whole = write(tmp_path / "v.jsonl", GUIDE_JSON)
    assert only("undecodable-table", whole).fix == "name it .json"


def test_rows_after_a_bad_one_are_looked_at_too(tmp_path: Path) -> None:
    file = write(tmp_path / "v.csv", "caption,height\na,b,c\n\n,x\nd,480\n")
    assert [(finding.code, finding.line) for finding in check(file) if finding.severity == "error"] == [
        ("ragged-row", 2),
        ("empty-prompt", 4),
        ("wrong-value", 4),
    ]


def test_columns_that_stand_twice_or_have_no_name_are_found(tmp_path: Path) -> None:
    found = codes(check(write(tmp_path / "v.csv", "caption,,height,height\na,1,2,3\n")))
    assert {"duplicate-column", "unnamed-column"} <= set(found)
    finding = only("duplicate-column", write(tmp_path / "v.json", '{"data": [\n {"caption": "a", "caption": "b"}]}'))
    assert (finding.line, finding.message.split(": ")[1]) == (2, "'caption' stands twice in one row.")
    finding = only("duplicate-column", write(tmp_path / "v.jsonl", '{"caption": "a", "prompt": "b"}\n'))
    assert (finding.severity, finding.fix) == ("warning", "remove prompt")


def test_semicolons_and_byte_order_marks_are_understood(tmp_path: Path) -> None:
    file = write(tmp_path / "v.csv", "\ufeffcaption;height;width\r\na, b;480;832\r\n")
    assert [(row.caption, row.height) for row in read_validation(file)] == [("a, b", 480)]
    assert codes(check(file)) == ["table-bom", "other-delimiter"]


@pytest.mark.parametrize(("name", "content"), [("v.csv", ""), ("v.csv", "caption\n"), ("v.json", '{"data": []}')])
def test_a_file_without_rows_is_an_error(tmp_path: Path, name: str, content: str) -> None:
    assert codes(check(write(tmp_path / name, content))) == ["empty-split"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    write(tmp_path / "v.csv", "caption\na\n").chmod(0)
    assert codes(check(tmp_path / "v.csv")) == ["unreadable-file"]


def test_a_path_that_the_system_refuses_is_told(tmp_path: Path) -> None:
    file = put(tmp_path / "v.json", {"caption": "a", "image_path": "long" * 100})
    finding = only("unreadable-file", file)
    assert (finding.where, finding.line) == (str(file), 3)
    assert finding.message.endswith("cannot be read: File name too long.")


# --- columns and values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "fix"),
    [
        ("Caption", "rename 'Caption' to caption"),
        ("prompt", "rename 'prompt' to caption"),
        ("x", "add a column caption"),
    ],
)
def test_without_captions_the_column_that_was_meant_is_named(tmp_path: Path, column: str, fix: str) -> None:
    finding = only("missing-column", put(tmp_path / "v.csv", {column: "a"}))
    assert (finding.severity, finding.fix) == ("error", fix)
    assert codes(check(tmp_path / "v.csv")).count("empty-prompt") == 0


def test_misspelt_columns_are_warned_of_and_others_noted(tmp_path: Path) -> None:
    file = put(tmp_path / "v.jsonl", {"caption": "a", "heigth": 480, "image": "x", "guidance_scale": 2, "seed": 1})
    found = [finding for finding in check(file) if finding.code == "unknown-column"]
    assert [(one.severity, one.fix) for one in found] == [
        ("warning", "rename it to height"),
        ("warning", "rename it to image_path"),
        ("note", None),
    ]
    assert found[-1].message.endswith("the model's pipeline: guidance_scale, seed.")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("height", "480"),
        ("height", 0),
        ("width", -16),
        ("num_frames", 48.5),
        ("num_inference_steps", True),
        ("frame_rate", 0),
        ("frame_rate", "fast"),
        ("image_path", 7),
        ("caption", ["a"]),
    ],
)
def test_values_of_another_kind_are_errors(tmp_path: Path, column: str, value: object) -> None:
    finding = only("wrong-value", put(tmp_path / "v.json", {"caption": "a"}, {"caption": "a", column: value}))
    assert (finding.severity, finding.where, finding.line) == ("error", str(tmp_path / "v.json"), 6)
    assert f"v.json, line 6: {column} is {value!r}, which is no " in finding.message


def test_empty_captions_are_errors_unless_allowed(tmp_path: Path) -> None:
    file = put(tmp_path / "v.json", {"caption": None}, {"caption": " "}, {"height": 480, "width": 480})
    assert codes(check(file)) == ["empty-prompt"] * 3
    assert check(file, allow_empty_prompt=True) == []


def test_odd_sizes_and_numbers_of_frames_are_warned_of_with_the_nearest(tmp_path: Path) -> None:
    rows = [{"height": 7, "width": 1000}, {"width": 832}, {"num_frames": 48}, {"num_frames": 1}, {"num_frames": 2}]
    found = check(put(tmp_path / "v.jsonl", *({"caption": "a"} | row for row in rows)))
    assert [(one.code, one.line, one.fix) for one in found if one.severity == "warning"] == [
        ("odd-size", 1, "write 16"),
        ("odd-size", 1, "write 992"),
        ("odd-size", 2, "add height"),
        ("odd-frames", 3, "write 49"),
        ("odd-frames", 5, "write 1"),
    ]


@pytest.mark.parametrize(
    ("rows", "of", "fix"), [(6, 4, "add 2 or remove 2"), (1, 4, "add 3"), (8, 4, None), (3, 1, None)]
)
def test_rows_must_suit_shards_and_ranks(tmp_path: Path, rows: int, of: int, fix: str | None) -> None:
    file = put(tmp_path / "v.csv", *({"caption": str(number)} for number in range(rows)))
    found = [one for one in check(file, multiple_of=of) if one.code == "uneven-validation"]
    assert [(one.severity, one.fix) for one in found] == ([("error", fix)] if fix else [])


def test_rows_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "v.csv", "caption\na\nb,c\n")
    assert "uneven-validation" not in codes(check(file, multiple_of=2))
    assert "uneven-validation" not in codes(check(write(tmp_path / "v.json", '{"data": [1, 2]}'), multiple_of=2))
    assert "uneven-validation" not in codes(check(write(tmp_path / "v.jsonl", "{}\nx\n"), multiple_of=2))


# --- the files that rows name -------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "val/in/a.png", picture())
    write(tmp_path / "val/clip.mp4", clip())
    file = put(tmp_path / "val/v.jsonl", {"caption": "a", "image_path": "in/a.png", "video_path": "./clip.mp4"})
    monkeypatch.chdir(tmp_path)
    assert {finding.severity for finding in check(Path("val/v.jsonl"))} == {"note"}
    (row,) = read_validation(file)
    assert (row.image, row.video) == (str(tmp_path / "val/in/a.png"), str(tmp_path / "val/clip.mp4"))


def test_missing_files_are_errors_with_the_nearest_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "cats.png", picture())
    rows = ({"caption": "a", "image_path": path} for path in ("cat.png", str(tmp_path), "in/x.png", "a\0b", "cats.png"))
    file = put(tmp_path / "v.json", *rows)
    found = [finding for finding in check(file) if finding.code == "missing-file"]
    assert {finding.severity for finding in found} == {"error"}
    assert [finding.fix for finding in found] == [
        "did you mean cats.png?",
        "name a file",
        "paths are relative to the folder of the table",
        "paths are relative to the folder of the table",
    ]
    monkeypatch.chdir(tmp_path)
    inner = put(tmp_path / "sub/v.json", {"caption": "a", "image_path": "cats.png"})
    assert (only("missing-file", inner).fix or "").startswith("it is there from where you are")


def test_a_path_of_another_machine_is_only_warned_of(tmp_path: Path) -> None:
    rows = (
        {"caption": "a", "video_path": path}
        for path in ("/nowhere/x/clip.mp4", r"D:\clips\x.mp4", str(tmp_path / "x.mp4"))
    )
    found = check(put(tmp_path / "v.json", *rows))
    assert [finding.severity for finding in found if finding.code == "missing-file"] == ["warning", "warning", "error"]


def test_images_are_looked_at_once_each(tmp_path: Path) -> None:
    write(tmp_path / "cut.png", picture()[:40])
    write(tmp_path / "jpeg.png", picture(format="JPEG"))
    write(tmp_path / "empty.mp4", b"")
    rows = [
        ("image_path", "cut.png"),
        ("image_path", "jpeg.png"),
        ("image_path", "cut.png"),
        ("video_path", "empty.mp4"),
    ]
    file = put(tmp_path / "v.jsonl", *({"caption": "a", column: path} for column, path in rows))
    found = [(finding.code, finding.line) for finding in check(file) if finding.severity != "note"]
    assert found == [("truncated-image", 1), ("wrong-extension", 2), ("empty-file", 4)]
    assert only("truncated-image", file).message.startswith(f"{file}, line 1: cut.png is cut off")


def test_pixels_are_looked_at_where_checksums_show_them_or_when_asked(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.effect_noise((100, 100), 90).save(out, "WEBP", lossless=True)
    write(tmp_path / "a.webp", out.getvalue()[:60] + bytes(len(out.getvalue()) - 60))
    write(tmp_path / "a.png", picture()[:-20] + bytes(4) + picture()[-16:])
    file = put(tmp_path / "v.jsonl", *({"caption": "a", "image_path": path} for path in ("a.webp", "a.png")))
    assert [finding.line for finding in check(file) if finding.code == "damaged-image"] == [2]
    assert [finding.line for finding in check(file, decode=True) if finding.code == "damaged-image"] == [1, 2]


def test_an_image_of_another_aspect_is_stretched(tmp_path: Path) -> None:
    write(tmp_path / "a.png", picture(size=(64, 48)))
    sizes = [(48, 64), (96, 128), (64, 48)]
    rows = ({"caption": "a", "image_path": "a.png", "height": height, "width": width} for height, width in sizes)
    finding = only("stretched-input", put(tmp_path / "v.jsonl", *rows))
    assert (finding.severity, finding.line) == ("warning", 3)
    assert finding.message.endswith("a.png is 64×48, and is stretched to 48×64.")


def test_videos_are_looked_at(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", clip("a.mp4", 9, (64, 48)))
    write(tmp_path / "b.mkv", clip("b.mkv", 9))
    write(tmp_path / "c.flv", clip("c.mp4", 9))
    write(tmp_path / "text.mp4", "not a video " * 9)
    write(tmp_path / "still.png", picture(size=(64, 48)))
    rows = [
        {"video_path": "a.mp4", "num_frames": 9, "height": 48, "width": 64},
        {"video_path": "a.mp4", "num_frames": 13, "height": 64, "width": 48},
        {"control_video_path": "b.mkv", "num_frames": 17},
        {"video_path": "text.mp4"},
        {"video_path": "still.png", "num_frames": 49},
        {"video_path": "c.flv", "num_frames": 13},
    ]
    file = put(tmp_path / "v.jsonl", *({"caption": "a"} | row for row in rows))
    found = [finding for finding in check(file) if finding.severity != "note"]
    assert [(finding.code, finding.line, finding.fix) for finding in found] == [
        ("stretched-input", 2, "crop it to the aspect of 48×64, or ask for a size of its own aspect"),
        ("short-video", 2, "ask for 9, or name a longer video"),
        ("short-video", 3, "ask for 9, or name a longer video"),
        ("not-a-video", 4, "copy or download it again"),
        ("short-video", 6, "ask for 9, or name a longer video"),
    ]
    assert found[1].message == f"{file}, line 2: a.mp4 has 9 frames, num_frames is 13."


def noise(path: Path, *, turned: int) -> Path:
    """A video of nine frames that compress badly; ``turned`` asks whoever shows it to turn it by so many degrees."""
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 64, 48
        stream.set_display_rotation(turned)
        for _ in range(9):
            frame = av.VideoFrame.from_image(Image.effect_noise((64, 48), 90).convert("RGB"))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_videos_are_measured_as_they_are_shown(tmp_path: Path) -> None:
    with noise(tmp_path / "a.mp4", turned=90).open("rb") as file:
        assert look_at_video(file) == VideoFacts(width=48, height=64, frames=9, rate=25.0)
    assert VideoFacts(48, 64, 9, 25.0).seconds == 0.36
    assert VideoFacts(48, 64, 9, 0.0).seconds == 0


def test_videos_are_decoded_when_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = noise(tmp_path / "a.mp4", turned=0).read_bytes()
    half = len(whole) // 2
    write(tmp_path / "a.mp4", whole[:half] + bytes(3_000) + whole[half + 3_000 :])
    file = put(tmp_path / "v.jsonl", {"caption": "a", "video_path": "a.mp4", "num_frames": 9})
    assert {finding.severity for finding in check(file)} == {"note"}
    assert only("not-a-video", file, decode=True).line == 1
    assert capfd.readouterr() == ("", "")


def test_a_video_is_no_image(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", clip())
    file = put(tmp_path / "v.jsonl", {"caption": "a", "control_image_path": "a.mp4"})
    for decode in (False, True):
        assert only("not-an-image", file, decode=decode).message == f"{file}, line 1: a.mp4 is not an image."


def test_a_sound_is_no_video(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", clip("a.wav"))
    finding = only("not-a-video", put(tmp_path / "v.jsonl", {"caption": "a", "video_path": "a.wav"}))
    assert finding.message.endswith("a.wav cannot be shown as a video: it holds no pictures.")


def test_without_the_library_videos_are_said_to_be_unseen_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.mp4", clip())
    file = put(tmp_path / "v.jsonl", *({"caption": "a", "video_path": f"{name}.mp4"} for name in "ab"))
    monkeypatch.setitem(sys.modules, "av", None)  # how Python marks what is not installed
    finding = only("unseen-media", file)
    assert (finding.severity, finding.line, finding.fix) == ("note", 1, 'pip install "qflux-hub[video]"')


def test_addresses_are_not_fetched(tmp_path: Path) -> None:
    finding = only("unseen-input", put(tmp_path / "v.csv", {"caption": "a", "image_path": "https://x.org/a.png"}))
    assert (finding.severity, finding.line) == ("note", 2)


# --- what finetrainers makes of it --------------------------------------------------------------------------------


def differing(file: Path) -> list[str]:
    found = [finding for finding in check(file) if finding.code == "trainer-differs"]
    assert {finding.severity for finding in found} <= {"note"}
    return [finding.message.removeprefix(str(file)) for finding in found]


def test_where_finetrainers_does_not_keep_to_its_guide_is_noted(tmp_path: Path) -> None:
    write(tmp_path / "a.png", picture())
    assert differing(put(tmp_path / "v.jsonl", {"caption": "a"})) == [": finetrainers refuses .jsonl files."]
    assert differing(write(tmp_path / "v.CSV", "caption\na\n")) == [": finetrainers refuses .CSV files."]
    assert differing(write(tmp_path / "v.json", '[{"caption": "a"}]')) == [
        ": finetrainers reads a list only under 'data'."
    ]
    blank = {"caption": "a", "image_path": "", "video_path": ""}
    assert differing(put(tmp_path / "v.json", blank)) == [
        ', line 3: image_path is "", at which finetrainers stops with an AttributeError (2 times).'
    ]
    assert differing(put(tmp_path / "v.json", {"caption": "a", "image_path": "a.png"})) == [
        ", line 3: finetrainers takes a.png from the folder it is started in."
    ]
    assert differing(write(tmp_path / "v.csv", "caption,height,width\nNA,480,480\nb,,\n")) == [
        ": finetrainers makes fractions of height, width: where a row has none, 49 becomes 49.0 in the others.",
        ", line 2: caption is 'NA', which finetrainers takes for no value.",
    ]
    assert differing(put(tmp_path / "v.json", {"caption": "NA", "image_path": str(tmp_path / "a.png")})) == []


# --- the command ------------------------------------------------------------------------------------------------


def test_the_command_prints_rows_and_findings_in_every_mode(tmp_path: Path, say: Run) -> None:  # noqa: F811
    rows = [{"caption": "a", "height": 480, "width": 832, "num_frames": 49}, {"caption": ""}]
    file = put(tmp_path / "v.json", *rows)
    said = say("check", "--validation", file, "--multiple-of", 4)
    assert (said.code, said.err) == (1, "")
    assert f"{file}: 2 rows (validation file)" in said.out
    assert "sizes    832×480 1" in said.out
    assert f"{file}, line 9: caption is empty. [empty-prompt]" in said.out
    assert "[uneven-validation] → add 2" in said.out
    said = say("check", "--validation", write(tmp_path / "bad.json", "x"))
    assert said.out.startswith(f"{tmp_path / 'bad.json'} (validation file)\n\nerror   ")
    told = say("check", "--validation", file, "--json").json
    assert [*told] == ["source", "layout", "splits", "findings", "counts", "seconds", "validation"]
    assert (told["source"], told["layout"], told["counts"]["errors"]) == (str(file), "validation", 1)
    assert told["validation"]["source"] == str(file)
    assert [row["line"] for row in told["validation"]["rows"]] == [3, 9]
    assert say("check", "--validation", file, "-q", "--allow-empty-prompt").code == 0


def test_values_that_json_does_not_know_are_printed_as_text(tmp_path: Path, say: Run) -> None:  # noqa: F811
    file = put(tmp_path / "v.parquet", {"caption": "a", "when": date(2026, 1, 2), "raw": b"x"})
    (row,) = say("check", "--validation", file, "--json").json["validation"]["rows"]
    assert row["extra"] == {"when": "2026-01-02", "raw": "b'x'"}
    assert read_validation(file)[0].extra["when"] == date(2026, 1, 2)


def test_a_dataset_and_its_validation_file_are_checked_together(tmp_path: Path, say: Run) -> None:  # noqa: F811
    root, file = lay_split(tmp_path / "ds"), put(tmp_path / "v.json", {"caption": ""})
    scan = check_dataset(root, validation=file)
    assert (scan.failed, list(scan.splits), scan.findings[-1].code) == (True, ["train"], "empty-prompt")
    assert scan.validation is not None
    said = say("check", root, "--validation", file, "--report", tmp_path / "found.csv")
    assert (said.code, "2 samples" in said.out, "v.json: 1 row (validation" in said.out) == (1, True, True)
    assert "empty-prompt" in (tmp_path / "found.csv").read_text()


def test_progress_is_told_by_rows(tmp_path: Path) -> None:
    told: list[tuple[str, int | None, str]] = []

    class Told(Progress):
        def task(self, label: str, total: int | None, unit: str = "B") -> Task:
            told.append((label, total, unit))
            return Task()

    check_dataset(validation=put(tmp_path / "v.json", {"caption": "a"}, {"caption": "b"}), progress=Told())
    assert told == [("Looking at", 2, "rows")]


def test_flags_that_have_nothing_to_count_are_wrong_usage(tmp_path: Path, say: Run) -> None:  # noqa: F811
    file = put(tmp_path / "v.json", {"caption": "a"})
    with pytest.raises(UsageError, match="--multiple-of counts the rows"):
        check_dataset(tmp_path, multiple_of=4)
    assert say("check", "--validation", file, "--multiple-of", 0).code == 2
    assert say("check", "--validation", file, "--column", "caption=prompt").code == 2
    assert say("check", "--validation", tmp_path / "no.json").code == 1
    assert say("check").code == 2
