"""Videos and sounds: what they are, what is wrong with them, and their way to the Hub and back, byte for byte."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from typing import Any

import pytest

from qflux_hub import (
    MissingExtraError,
    check_dataset,
    convert_dataset,
    download_dataset,
    load_editing_dataset,
    upload_dataset,
)
from qflux_hub.checks import check_columns, check_sample
from qflux_hub.containers import container_of
from qflux_hub.naming import kind_of
from qflux_hub.sample import Blob, Sample
from qflux_hub.sniff import EXTENSIONS, sniff
from qflux_hub.sounds import NotASoundError, look_at_sound
from tests.builders import SOUNDS, VIDEOS, clip, lay, picture, scan, write
from tests.jobtools import tree

# --- what a file is ---------------------------------------------------------------------------------------------


def seen(data: bytes, kind: Any = "video") -> tuple[str | None, str | None, str]:
    facts = sniff(io.BytesIO(data), len(data), kind)
    return facts.format, facts.problem, facts.detail


@pytest.mark.parametrize("extension", [*VIDEOS, *SOUNDS])
def test_a_clip_is_what_its_extension_says(extension):
    name = f"a{extension}"
    found, problem, _ = seen(clip(name), kind_of(name))
    assert problem is None
    assert extension in EXTENSIONS[found]


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv", ".webm", ".avi", ".wav", ".flac"])
def test_a_clip_that_was_cut_off_is_noticed_without_decoding(extension):
    name = f"a{extension}"
    whole = clip(name, frames=40)
    lengths = [60] if extension == ".flac" else [len(whole) - 1, len(whole) // 2]  # frames of FLAC say no length
    for length in lengths:
        assert seen(whole[:length], kind_of(name))[1] == "truncated-media"


def test_a_recording_that_never_ended_has_no_list_of_its_frames():
    box = (16).to_bytes(4, "big") + b"ftypisom\0\0\0\0" + (1008).to_bytes(4, "big") + b"mdat" + bytes(1000)
    assert seen(box) == ("mp4", "truncated-media", "it has no moov box, which is written when a recording ends")


@pytest.mark.parametrize(
    ("data", "kind", "problem", "detail"),
    [
        (b"", "video", "empty-file", "it has no bytes"),
        (picture("a.png"), "video", "not-a-video", "it is a PNG image"),
        (picture("a.jpg"), "audio", "not-a-sound", "it is a JPEG image"),
        (clip("a.wav"), "video", "not-a-video", "it is a sound (wav)"),
        (clip("a.webm"), "audio", "not-a-sound", "it is a video (webm)"),
        (b"<!DOCTYPE html><p>Log in", "video", "html-file", "it begins with b'<!DOCTYPE html><'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "audio", "lfs-pointer", "it begins with b'version https://'"),
        (b"PK\3\4 and so on", "video", "not-a-video", "it is a ZIP archive"),
        (b"nothing at all", "audio", "not-a-sound", "it begins with b'nothing at all'"),
        (clip("a.mp4"), "image", "not-an-image", "it is a video"),
    ],
)
def test_what_is_no_clip_is_told_what_it_is(data, kind, problem, detail):
    assert seen(data, kind)[1:] == (problem, detail)


def test_any_beginning_of_any_clip_is_judged_without_a_crash():
    for name in (*(f"a{extension}" for extension in (*VIDEOS, *SOUNDS)),):
        whole = clip(name)
        for length in range(0, min(len(whole), 400), 3):
            for data in (whole[:length], whole[:length] + b"\xff" * 40):
                sniff(io.BytesIO(data), len(data), kind_of(name))
                container_of(data)


def test_a_sound_tells_how_long_it_is():
    facts = look_at_sound(io.BytesIO(clip("a.wav", frames=4)), decode=True)
    assert (facts.channels, facts.frames, facts.rate, facts.seconds) == (1, 4000, 8000, 0.5)
    with pytest.raises(NotASoundError):
        look_at_sound(io.BytesIO(b"RIFF\0\0\0\0WAVE"))


# --- a dataset of videos ----------------------------------------------------------------------------------------

PROMPTS = ("A cat ruling the world", "A dog", "A bird")


def lay_lists(root, extension=".mp4", count=3):
    """The two lists of finetrainers' guide."""
    names = [f"videos/{number:05}{extension}" for number in range(count)]
    lay(root, *names)
    write(root / "videos.txt", "".join(f"{name}\n" for name in names))
    write(root / "prompt.txt", "".join(f"{text}\n" for text in PROMPTS[:count]))
    return root


def test_a_list_of_videos_goes_to_the_hub_and_comes_back_as_it_was(tmp_path, hub, repo):
    root = lay_lists(tmp_path / "ds")
    assert [(one.id, one.prompt, one.target.name) for one in scan(root).samples] == [
        (f"{number:05}", text, f"videos/{number:05}.mp4") for number, text in enumerate(PROMPTS)
    ]
    checked = check_dataset(root)
    assert (checked.findings, checked.summary("train").sizes) == ([], {(32, 16): 3})
    report = upload_dataset(root, repo, hub=hub)
    assert (report.changed, report.splits["train"].added) == (True, 3)
    assert not upload_dataset(root, repo, hub=hub).changed
    download_dataset(repo, tmp_path / "back", as_="lists", hub=hub)
    assert tree(tmp_path / "back/train") == {
        name.replace("prompt.txt", "prompts.txt"): data for name, data in tree(root).items()
    }
    again = upload_dataset(tmp_path / "back", repo, hub=hub)
    assert [one.path for one in again.operations if one.action != "keep"] == [".qflux/index/train.parquet"]


@pytest.mark.parametrize("streaming", [False, True])
def test_videos_are_loaded_as_their_bytes_without_anything_that_decodes_them(tmp_path, hub, repo, streaming):
    upload_dataset(lay_lists(tmp_path), repo, hub=hub)
    loaded: Any = load_editing_dataset(repo, "train", hub=hub, streaming=streaming)
    assert loaded.column_names == ["id", "prompt", "target_video"] or list(loaded.features) == [
        "id",
        "target_video",
        "prompt",
    ]
    row = next(iter(loaded))
    assert row["target_video"] == {"bytes": clip("videos/00000.mp4"), "path": "00000.mp4"}
    assert not {"torch", "torchcodec"} & {*sys.modules}


# --- findings ---------------------------------------------------------------------------------------------------


def codes_of(root, **options):
    return [(finding.code, finding.severity, finding.where) for finding in check_dataset(root, **options).findings]


def test_what_is_wrong_with_videos_is_found_in_one_run(tmp_path):
    root = lay_lists(tmp_path, count=3)
    names = [
        f"videos/{name}" for name in ("cut.mp4", "picture.mp4", "other.mp4", "broken.mp4", "gone.mp4", "page.webm")
    ]
    write(root / names[0], clip("cut.mp4")[:-10])
    write(root / names[1], picture("picture.png"))
    write(root / names[2], clip("other.webm"))
    broken = clip("broken.mp4")
    write(root / names[3], broken.replace(b"mdat", b"free").replace(b"stsd", b"xxxx"))
    write(root / names[5], "<html>No</html>")
    for name in ("videos.txt", "prompt.txt"):
        text = (root / name).read_text()
        write(root / name, text + "".join(f"{one}\n" for one in (names if name == "videos.txt" else "123456")))
    assert sorted(codes_of(root)) == [
        ("html-file", "error", names[5]),
        ("missing-file", "error", "videos.txt"),
        ("not-a-video", "error", names[3]),
        ("not-a-video", "error", names[1]),
        ("truncated-media", "error", names[0]),
        ("wrong-extension", "warning", names[2]),
    ]
    messages = {finding.where: finding.message for finding in check_dataset(root).findings}
    assert messages[names[1]] == f"{names[1]} cannot be shown as a video: it is a PNG image."
    assert messages[names[2]] == f"{names[2]} is a WEBM file."
    assert messages[names[5]] == f"{names[5]} is a web page, not a video."


def test_a_damaged_frame_is_found_by_decoding_all_of_them(tmp_path):
    root = lay_lists(tmp_path, ".flac", count=1)
    whole = clip("videos/00000.flac", frames=60)
    write(root / "videos/00000.flac", whole[: len(whole) // 2])
    assert codes_of(root) == []
    assert codes_of(root, decode=True) == [("not-a-sound", "error", "videos/00000.flac")]


@pytest.mark.parametrize(("extension", "library", "extra"), [(".mp4", "av", "video"), (".wav", "soundfile", "audio")])
def test_without_the_library_files_are_judged_from_outside_and_decoding_names_the_extra(
    tmp_path, monkeypatch, extension, library, extra
):
    root = lay_lists(tmp_path, extension)
    monkeypatch.setitem(sys.modules, library, None)
    (found,) = check_dataset(root).findings
    assert (found.code, found.severity, found.fix) == ("unseen-media", "note", f'pip install "qflux-hub[{extra}]"')
    with pytest.raises(MissingExtraError, match=f"needs the library {library}, which is not installed") as error:
        check_dataset(root, decode=True)
    assert (error.value.code, error.value.hint) == (2, f'pip install "qflux-hub[{extra}]"')
    monkeypatch.undo()
    assert codes_of(root) == []  # what was learned without the library is not taken for all there is


def test_a_file_that_no_cell_can_hold_is_found_before_anything_is_sent():
    large = Blob("a.mp4", 2_500_000_000, open)
    halves = tuple(Blob(f"{name}.mp4", 1_250_000_000, open) for name in "bc")
    for sample, where in (
        (Sample("a", "train", "Hi", (), target=large), "a.mp4"),
        (Sample("a", "train", "Hi", halves), "b.mp4"),
    ):
        found = [one for one in check_sample(sample, allow_empty_prompt=False) if one.code != "missing-target"]
        assert [(one.code, one.where, one.sample) for one in found] == [("too-large-file", where, ("train", "a"))]
    apart = Sample("a", "train", "Hi", halves[:1], target=replace(large, size=1_250_000_000))
    assert list(check_sample(apart, allow_empty_prompt=False)) == []


def test_a_name_of_texts_and_files_is_found(tmp_path):
    lay(tmp_path / "x", "a.png", "b.png", "d.png")
    rows = [{"file_name": "a.png", "text": "Hi", "depth_file_name": "d.png"}, {"file_name": "b.png", "text": "Ho"}]
    write(tmp_path / "x/metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert codes_of(tmp_path / "x") == []
    convert_dataset(tmp_path / "x", tmp_path / "tars", as_="webdataset")
    samples = scan(tmp_path / "tars").samples
    mixed = [samples[0], replace(samples[1], extra={"depth": "3 m"})]
    (found,) = check_columns(mixed)
    assert (found.code, found.severity) == ("duplicate-column", "error")
    assert found.message == f"Some samples have a text called 'depth', others a file, such as {found.where}."
