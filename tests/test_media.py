"""Videos and sounds: what they are, what is wrong with them, and their way to the Hub and back, byte for byte."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, Image, List, Video, load_dataset
from huggingface_hub import snapshot_download

from qflux_hub import (
    DataError,
    MissingExtraError,
    check_dataset,
    convert_dataset,
    diff_dataset,
    download_dataset,
    fix_dataset,
    load_editing_dataset,
    preview_dataset,
    scan_dataset,
    upload_dataset,
)
from qflux_hub.cards import read_card
from qflux_hub.checks import check_columns, check_sample
from qflux_hub.containers import container_of
from qflux_hub.layouts import parquet
from qflux_hub.naming import kind_of
from qflux_hub.sample import ROLES, Blob, Sample
from qflux_hub.sniff import EXTENSIONS, sniff
from qflux_hub.sounds import NotASoundError, look_at_sound
from tests import layouttools
from tests.builders import SOUNDS, VIDEOS, clip, lay, picture, scan, table, write
from tests.jobtools import fetch, tree

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
    assert tree(tmp_path / "back") == {
        name.replace("prompt.txt", "prompts.txt"): data for name, data in tree(root).items()
    }
    assert not upload_dataset(tmp_path / "back", repo, hub=hub).changed


@pytest.mark.parametrize("name", ["pairs", "metadata"])
def test_videos_that_lie_at_the_top_come_back_to_the_top(tmp_path, hub, repo, name):
    texts = {"metadata_csv": "file_name,prompt\na.mp4,A\nb/c.mp4,C\n"}
    root = (
        lay(tmp_path / "ds", "a.mp4", "b/c.mp4", **texts)
        if name == "metadata"
        else lay(tmp_path / "ds", "a.txt", "a.mp4")
    )
    upload_dataset(root, repo, hub=hub)
    assert download_dataset(repo, tmp_path / "back", as_=name, hub=hub).lost == []
    assert {path for path in tree(tmp_path / "back") if path.endswith(".mp4")} == {
        path for path in tree(root) if path.endswith(".mp4")
    }
    assert not upload_dataset(tmp_path / "back", repo, hub=hub).changed


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


def test_a_target_of_another_length_or_shape_than_its_control_is_found(tmp_path):
    root = lay(tmp_path, "train/control_images/a.mp4", "train/training_images/a.txt")
    lay(root, "train/control_images/b.mp4", "train/training_images/b.txt")
    write(root / "train/training_images/a.mp4", clip("target.mp4", frames=7))
    write(root / "train/training_images/b.mp4", clip("target.mp4", size=(32, 32)))
    assert codes_of(root) == [
        ("frames-differ", "warning", "train/training_images/a.mp4"),
        ("aspect-differs", "warning", "train/training_images/b.mp4"),
    ]
    messages = [finding.message for finding in check_dataset(root).findings]
    assert messages[0] == ("train/training_images/a.mp4 has 7 frames, its control train/control_images/a.mp4 has 4.")


def test_wrong_extensions_of_clips_are_repaired_with_the_cells_that_name_them(tmp_path):
    lay(tmp_path, "a.png", train_csv=table(["control", "image", "prompt"], ["a.png", "b.mp4", "Hi"]))
    write(tmp_path / "b.mp4", clip("b.webm"))
    fix_dataset(tmp_path, apply=True)
    assert (tmp_path / "train.csv").read_text() == table(["control", "image", "prompt"], ["a.png", "b.webm", "Hi"])
    assert (tmp_path / "b.webm").read_bytes() == clip("b.webm")


def test_clips_that_cannot_be_used_may_be_left_out_of_an_upload(tmp_path, hub, repo):
    root = lay_lists(tmp_path)
    write(root / "videos/00001.mp4", clip("videos/00001.mp4")[:-10])
    with pytest.raises(DataError, match="has 1 error; nothing was sent") as error:
        upload_dataset(root, repo, hub=hub)
    assert [finding.code for finding in error.value.report.findings] == ["truncated-media"]
    report = upload_dataset(root, repo, hub=hub, skip_bad=True)
    assert (report.splits["train"].samples, report.splits["train"].added) == (2, 2)


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
    assert [one.source for one in parquet.place({"train": [apart, replace(apart, target=large)]})] == [apart]


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


# --- every role, every kind -------------------------------------------------------------------------------------


def lay_rich(root):
    """Two samples: an image and a sound lead to a video; and a video alone, with a mask. Captions, texts, files."""
    tar(
        root / "train-00000.tar",
        ("a.txt", b"Let it talk"),
        ("a.control.png", picture("a.png")),
        ("a.control_1.wav", clip("a.wav")),
        ("a.mp4", clip("a.mp4")),
        ("a.flac", clip("a.flac")),
        ("a.depth.png", picture("depth.png")),
        ("a.json", b'{"captions": ["It talks", "Lips move"], "seed": 3}'),
        ("b.txt", b"Take it away"),
        ("b.control.mp4", clip("b.mp4")),
        ("b.mask.mp4", clip("mask.mp4")),
        ("b.mov", clip("b.mov")),
        ("b.pose.npy", b"\x93NUMPY"),
    )
    return root


def tar(path, *members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


def facts(root, layout=None):
    """What is known of every sample, by its id, as bytes."""
    return {one.id: layouttools.facts(one) for one in scan(root, layout).samples}


RICH = {
    "a": {
        "id": "a",
        "prompt": "Let it talk",
        "captions": ("It talks", "Lips move"),
        "extra": {"seed": "3"},
        "target_image": [clip("a.mp4")],
        "control_images": [picture("a.png"), clip("a.wav")],
        "control_mask": [],
        "others": {"flac": clip("a.flac"), "depth.png": picture("depth.png")},
    },
    "b": {
        "id": "b",
        "prompt": "Take it away",
        "captions": (),
        "extra": {},
        "target_image": [clip("b.mov")],
        "control_images": [clip("b.mp4")],
        "control_mask": [clip("mask.mp4")],
        "others": {"pose.npy": b"\x93NUMPY"},
    },
}


def test_members_of_a_tar_may_be_videos_sounds_and_anything(tmp_path):
    assert facts(lay_rich(tmp_path)) == RICH
    row, other = scan_dataset(tmp_path).to_dict()["splits"]["train"]
    assert (row["captions"], row["others"]) == (
        ["It talks", "Lips move"],
        {"flac": "train/other/a.flac", "depth.png": "train/other/a.png"},
    )
    assert [*other] == ["id", "prompt", "controls", "mask", "target", "extra", "others"]
    assert codes_of(tmp_path) == [
        ("uneven-controls", "note", "train"),
        ("uneven-masks", "note", "train"),
        ("aspect-differs", "warning", "train/target/a.mp4"),
    ]


@pytest.mark.parametrize("name", ["webdataset", "parquet"])
def test_layouts_that_hold_everything_lose_nothing(tmp_path, name):
    report = convert_dataset(lay_rich(tmp_path / "in"), tmp_path / "out", as_=name)
    assert report.lost == []
    assert facts(tmp_path / "out") == RICH


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("metadata", {"other pose.npy": 1}),
        ("csv", {"other depth.png": 1, "other flac": 1, "other pose.npy": 1, "column seed": 1}),
        ("directory", {"captions": 1, "other depth.png": 1, "other flac": 1, "other pose.npy": 1, "column seed": 1}),
    ],
)
def test_layouts_that_hold_less_say_what_gets_lost(tmp_path, name, lost):
    report = convert_dataset(lay_rich(tmp_path / "in"), tmp_path / "out", as_=name)
    assert {loss.what: loss.count for loss in report.lost} == lost
    kept = facts(tmp_path / "out")
    for one in RICH:
        assert {role: kept[one][role] for role in ROLES} == {role: RICH[one][role] for role in ROLES}


def test_the_hub_holds_everything_in_columns_of_its_kind(tmp_path, hub, repo):
    root = lay_rich(tmp_path / "in")
    upload_dataset(root, repo, hub=hub)
    loaded: Any = load_editing_dataset(repo, "train", hub=hub)
    assert [*loaded.features] == [
        "id", "control_images", "target_video", "control_videos", "control_mask_video", "control_audios",
        "depth.png", "flac", "pose.npy", "prompt", "captions", "seed",
    ]  # fmt: skip
    first, second = loaded.cast_column("depth.png", Image(decode=False))
    assert first["target_video"] == {"bytes": clip("a.mp4"), "path": "a.mp4"}
    assert first["control_audios"] == [{"bytes": clip("a.wav"), "path": "a_control_1.wav"}]
    assert first["control_images"][0].size == (4, 3)
    assert first["captions"] == ["It talks", "Lips move"]
    assert second["pose.npy"] == {"bytes": b"\x93NUMPY", "path": "b.npy"}
    assert (second["control_images"], second["control_audios"], second["captions"], second["flac"]) == (
        [],
        [],
        [],
        None,
    )
    streamed: Any = load_editing_dataset(repo, "train", hub=hub, streaming=True)
    assert [row["control_audios"] for row in streamed] == [first["control_audios"], []]
    card = fetch(hub, repo, "README.md").decode()
    described = read_card(card).features
    assert described["target_video"] == {"_type": "Video"}
    assert described["control_audios"] == {"feature": {"_type": "Audio"}, "_type": "Sequence"}
    assert "| `control_audios` | list of audio | What the edit starts from" in card
    assert "| `pose.npy` | file | Carried over from the source |" in card
    for name in ("webdataset", "parquet"):
        assert download_dataset(repo, tmp_path / name, as_=name, hub=hub).lost == []
        assert facts(tmp_path / name) == RICH
    again = upload_dataset(tmp_path / "webdataset", repo, hub=hub)
    assert not again.changed
    shown = preview_dataset(repo, out=tmp_path / "page.html", hub=hub)
    assert shown.pictures == {"made": 5, "unreadable": 0, "side": 1024}


def test_files_of_the_same_names_that_lie_about_are_not_taken_for_those_of_the_hub(tmp_path, hub, repo, monkeypatch):
    upload_dataset(lay_rich(tmp_path / "in"), repo, hub=hub)
    lay(tmp_path / "here", "a.png", "a.mp4", "a_control_1.wav")
    write(tmp_path / "here/a.png", picture("other.png", (9, 9)))
    monkeypatch.chdir(tmp_path / "here")
    streamed: Any = load_editing_dataset(repo, "train", hub=hub, streaming=True)
    first = next(iter(streamed))
    assert (first["target_video"]["bytes"], first["control_audios"][0]["bytes"]) == (clip("a.mp4"), clip("a.wav"))
    assert first["control_images"][0].size == (4, 3)


def test_an_edit_of_a_video_is_one_changed_sample_and_a_new_kind_of_files_a_new_column(tmp_path, hub, repo):
    root = lay_lists(tmp_path / "train").parent
    upload_dataset(root, repo, hub=hub)
    write(root / "train/videos/00001.mp4", clip("other.mp4"))
    (change,) = diff_dataset(root, repo, hub=hub).splits["train"].changed
    assert (change.id, [*change.fields]) == ("00001", ["target_video"])
    report = upload_dataset(root, repo, hub=hub)
    assert (report.splits["train"].changed, report.splits["train"].unchanged) == (1, 2)
    lay(root, "train/images/still.png")
    for name, line in (("videos.txt", "images/still.png"), ("prompt.txt", "A still")):
        write(root / "train" / name, (root / "train" / name).read_text() + f"{line}\n")
    report = upload_dataset(root, repo, hub=hub)
    assert (report.splits["train"].added, report.splits["train"].unchanged) == (1, 3)
    loaded: Any = load_editing_dataset(repo, "train", hub=hub)
    assert [*loaded.features] == ["id", "target_image", "target_video", "prompt"]
    assert [row["target_image"] is None for row in loaded] == [True, True, True, False]


def test_the_libraries_that_people_load_with_know_what_was_written(tmp_path, hub, repo):
    upload_dataset(lay_rich(tmp_path / "in"), repo, hub=hub)
    snapshot_download(
        repo, repo_type="dataset", endpoint=hub.url, token=hub.token, local_dir=tmp_path / "repo", cache_dir=tmp_path
    )
    loaded = load_dataset(str(tmp_path / "repo"), split="train", cache_dir=str(tmp_path / "cache"))
    assert (loaded.features["target_video"], loaded.features["control_audios"]) == (Video(), List(Audio()))
    (shard,) = (tmp_path / "repo/data/train").iterdir()
    assert polars.read_parquet(shard)["target_video"].struct.field("bytes").to_list() == [clip("a.mp4"), clip("b.mov")]


def test_datasets_loads_folders_and_tars_of_videos_as_we_write_them(tmp_path):
    root = lay_lists(tmp_path / "in")
    for name in ("metadata", "webdataset"):
        convert_dataset(root, tmp_path / name, as_=name)
        loaded = load_dataset(str(tmp_path / name), split="train", cache_dir=str(tmp_path / "cache"))
        column = "target_video" if name == "metadata" else "mp4"
        assert loaded.features[column] == Video()
        stored = loaded.cast_column(column, Video(decode=False))
        videos = [row[column]["bytes"] or Path(row[column]["path"]).read_bytes() for row in stored]
        assert videos == [clip(f"videos/{number:05}.mp4") for number in range(3)]


# --- what others wrote ------------------------------------------------------------------------------------------


def test_tables_of_videos_with_lists_of_captions_as_trainers_keep_them(tmp_path):
    videos = pa.array([{"bytes": clip(f"{name}.mp4"), "path": None} for name in "ab"])
    table = pa.table(
        {
            "video": videos,
            "caption": [["A cat", "A cat on a mat"], ["A dog"]],
            "audio": [{"bytes": clip("a.wav"), "path": "a.wav"}, None],
            "fps": [25, 30],
            "tags": [["x", "y"], []],
            "frames": [[{"bytes": picture("f.png"), "path": "f.png"}]] * 2,
        }
    )
    pq.write_table(table, write(tmp_path / "data/train-00000-of-00001.parquet", b""))
    read = scan(tmp_path)
    first, second = (layouttools.facts(one) for one in read.samples)
    assert (first["prompt"], first["captions"]) == ("A cat", ("A cat on a mat",))
    assert (first["target_image"], first["others"]) == ([clip("a.mp4")], {"other_audio": clip("a.wav")})
    assert first["extra"] == {"fps": "25", "tags": '["x", "y"]'}
    assert (second["prompt"], second["captions"], second["others"]) == ("A dog", (), {})
    assert [one.target.name.rpartition(".")[2] for one in read.samples] == ["mp4", "mp4"]
    assert (read.codes, "frames" in read.findings[0].message) == (["unknown-column"], True)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
def test_metadata_tables_of_videofolder_in_every_form(tmp_path, kind):
    rows = [
        {"file_name": f"clips/{name}.mp4", "caption": f"Clip {name}", "depth_file_name": f"{name}.png"} for name in "ab"
    ]
    lay(tmp_path, *(row["file_name"] for row in rows), "a.png", "b.png")
    texts = {
        "csv": "file_name,caption,depth_file_name\n" + "".join(",".join(row.values()) + "\n" for row in rows),
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "json": json.dumps(rows),
    }
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "metadata.parquet")
    else:
        write(tmp_path / f"metadata.{kind}", texts[kind])
    read = scan(tmp_path)
    assert [(one.id, one.prompt, one.target.name) for one in read.samples] == [
        ("a", "Clip a", "clips/a.mp4"),
        ("b", "Clip b", "clips/b.mp4"),
    ]
    assert [{name: one.name for name, one in sample.others.items()} for sample in read.samples] == [
        {"depth": "a.png"},
        {"depth": "b.png"},
    ]


def test_a_csv_holds_captions_one_or_several(tmp_path):
    rows = [["a.png", "A", '["A cat", "A, mat"]'], ["b.png", "B", "One more"], ["c.png", "C", ""]]
    lay(tmp_path / "in", "a.png", "b.png", "c.png", train_csv=table(["control", "prompt", "captions"], *rows))
    read = scan(tmp_path / "in")
    assert [(one.captions, dict(one.extra)) for one in read.samples] == [
        (("A cat", "A, mat"), {}),
        (("One more",), {}),
        ((), {}),
    ]
    assert read.codes == []
    convert_dataset(tmp_path / "in", tmp_path / "out", as_="csv")
    rows[1][2] = '["One more"]'
    assert (tmp_path / "out/train.csv").read_text() == table(["control", "prompt", "captions"], *rows)


def test_a_column_that_names_files_from_elsewhere_stays_a_text(tmp_path):
    lay(tmp_path, "a.mp4", metadata_csv="file_name,text,original_file_name\na.mp4,Hi,IMG_1.MOV\n")
    (sample,) = scan(tmp_path).samples
    assert (sample.extra, sample.others) == ({"original_file_name": "IMG_1.MOV"}, {})


def test_a_missing_extension_is_corrected_to_a_file_of_the_same_kind_only(tmp_path):
    lay(tmp_path, "videos/a.webm", "videos/b.png", "c.png", "c.webm")
    write(tmp_path / "videos.txt", "videos/a.mp4\nvideos/b.mp4\nc.mov\n")
    write(tmp_path / "prompts.txt", "A\nB\nC\n")
    read = scan(tmp_path)
    assert [one.target.name for one in read.samples] == ["videos/a.webm", "c.webm"]
    assert read.codes == ["corrected-extension", "missing-file", "corrected-extension"]
    assert "there is no file videos/b.mp4, nor with another video extension." in read.finding("missing-file").message


def test_a_video_and_a_picture_of_one_name_are_two_files_for_one_role(tmp_path):
    read = scan(lay(tmp_path, "a.txt", "a.mp4", "a.wav", "a.png"))
    assert (read.ids, read.samples[0].target.name, read.codes) == (["a"], "a.png", ["ambiguous-file"])
