"""The gallery: what stands in a page, what is served, and what never gets into either.

How it looks and moves is tested in a browser, by ``make test-browser``.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
import signal
import struct
import subprocess
import sys
import textwrap
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from PIL import Image

from qflux_hub import (
    LayoutError,
    LocalHub,
    NotFoundError,
    UsageError,
    check_dataset,
    preview_dataset,
    scan_dataset,
    upload_dataset,
)
from qflux_hub.localhub import RequestLog
from qflux_hub.preview import page
from qflux_hub.preview.gallery import Gallery, Picture
from qflux_hub.preview.opened import Opened
from qflux_hub.preview.thumbnails import MASK_COLOUR, draw
from qflux_hub.report import Progress, Task
from qflux_hub.tree import FolderTree
from tests.builders import clip, lay, lay_split, picture, table, write
from tests.jobtools import environment, interrupt, put, qflux, start

NASTY = "</script><img src=x onerror=alert(1)> & \"quotes\" 'too' <!-- \u2028"
RED, GREEN, BLUE, WHITE = (200, 20, 20), (20, 180, 40), (30, 40, 210), (245, 245, 245)


@dataclass(slots=True)
class Page:
    """A page taken apart: its text, what its script reads, and its pictures or why there are none."""

    text: str
    data: dict[str, Any]
    pictures: list[bytes | str]

    def __init__(self, path: Path) -> None:
        self.text = path.read_text()
        (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', self.text, re.DOTALL)
        self.data = json.loads(data)
        blocks = re.findall(r'<script type="text/plain" id="block-\d+">\n(.*?)</script>', self.text, re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines()]
        self.pictures = [json.loads(f'"{line[1:]}"') if line[0] == "!" else base64.b64decode(line) for line in lines]

    def image(self, number: int) -> Image.Image:
        """The number-th picture, decoded."""
        data = self.pictures[number]
        assert isinstance(data, bytes), data
        return Image.open(io.BytesIO(data))

    def sample(self, id: str) -> dict[str, Any]:
        """The one sample of that id."""
        names = ("split", "id", "prompt", "controls", "mask", "target", "findings", "extra")
        (sample,) = (dict(zip(names, one, strict=True)) for one in self.data["samples"] if one[1] == id)
        return sample

    def codes(self, id: str) -> list[str]:
        """The codes of the findings that stand beside a sample."""
        return [finding[0] for finding in self.sample(id)["findings"]]


def gallery(source: Path, out: Path, **options: Any) -> Page:
    preview_dataset(source, out=out, **options)
    return Page(out)


def close(colour: Any, wanted: tuple[int, ...]) -> bool:
    """Whether two colours are the same but for what compression does."""
    return all(abs(one - other) < 40 for one, other in zip(colour, wanted, strict=False))


# --- one page ---------------------------------------------------------------------------------------------------


def test_a_page_has_every_sample_once_with_all_its_pictures(photos: Path, tmp_path: Path) -> None:
    shown = gallery(photos, tmp_path / "photos.html")
    scan = scan_dataset(photos)
    expected = [(sample.split, sample.id, sample.prompt) for sample in scan.samples()]
    splits = [name for name, *_ in shown.data["splits"]]
    assert [(splits[one[0]], one[1], one[2]) for one in shown.data["samples"]] == expected
    assert len(shown.pictures) == len(shown.data["pictures"]) == len(scan.blobs())
    for number, (name, width, height, size, problem, kind) in enumerate(shown.data["pictures"]):
        image = shown.image(number)
        assert (image.format, problem, kind) == ("WEBP", "", "")
        assert (image.width, image.height) == (width, height)  # these photos are smaller than a thumbnail may be
        assert (photos / name).stat().st_size == size
    poster = shown.sample("cat_poster")
    names = [shown.data["pictures"][number][0] for number in (*poster["controls"], poster["mask"], poster["target"])]
    assert [name.rpartition("/")[2] for name in names] == [
        "cat_poster.jpg", "cat_poster_control_1.jpg", "cat_poster_mask.png", "cat_poster.png",
    ]  # fmt: skip


def test_a_video_is_shown_by_its_first_frame_and_a_sound_by_its_name(tmp_path: Path, monkeypatch) -> None:
    root = lay(
        tmp_path / "ds", "train/control_images/a.png", "train/training_images/a.txt", "train/training_images/a.mp4"
    )
    lay(root, "train/control_images/a_control_1.wav", "train/control_images/b.wav", "train/training_images/b.txt")
    lay(root, "train/training_images/b.mp4")
    write(root / "train/training_images/b.mp4", clip("b.mp4")[:-9])
    shown = gallery(root, tmp_path / "page.html")
    kinds = {name.rpartition("/")[2]: (problem, kind) for name, *_, problem, kind in shown.data["pictures"]}
    assert kinds == {
        "a.mp4": ("", "video"), "a.png": ("", ""), "a_control_1.wav": ("", "audio"),
        "b.mp4": ("A video or sound file ends too early.", "video"), "b.wav": ("", "audio"),
    }  # fmt: skip
    assert shown.image(shown.sample("a")["target"]).size == (32, 16)
    assert shown.pictures[shown.sample("a")["controls"][1]] == "A sound: it has no picture."
    assert preview_dataset(root, out=tmp_path / "page.html").pictures == {"made": 2, "unreadable": 1, "side": 1024}
    monkeypatch.setitem(sys.modules, "av", None)
    without = gallery(root, tmp_path / "without.html")
    said = 'A video: its first frame is shown with `pip install "qflux-hub[video]"`.'
    assert without.pictures[without.sample("a")["target"]] == said


def test_a_page_needs_nothing_but_itself(photos: Path, tmp_path: Path) -> None:
    text = gallery(photos, tmp_path / "photos.html").text
    own = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//\w|@import|url\(", re.sub(r"<script.*?</script>", "", own, flags=re.DOTALL))
    assert "https://" not in page.asset("gallery.js") + page.asset("gallery.css")
    (policy,) = re.findall(r'Security-Policy" content="([^"]*)"', text)
    assert html.unescape(policy).startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "{{" not in text


def test_texts_and_names_stay_texts(tmp_path: Path) -> None:
    root = tmp_path / "<b>bold"
    lay_split(root, bases=["a<img src=x onerror=alert(1)>"])
    write(root / "train/training_images/a<img src=x onerror=alert(1)>.txt", NASTY)
    shown = gallery(root, tmp_path / "page.html")
    assert "<img" not in shown.text.lower()
    assert "<b>bold" not in shown.text
    assert shown.data["samples"][0][1:3] == ["a<img src=x onerror=alert(1)>", NASTY.strip()]
    assert shown.text.count("</script>") == 3  # pictures, data, script


def test_the_script_never_makes_markup_of_texts() -> None:
    script = page.asset("gallery.js")
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser", "srcdoc"):
        assert word not in script


def test_an_image_that_several_samples_use_is_one_picture(tmp_path: Path) -> None:
    rows = [["image", "control", "prompt"], ["t/a.png", "c/one.png", "A"], ["t/b.png", "c/one.png", "B"]]
    root = lay(tmp_path / "ds", "t/a.png", "t/b.png", "c/one.png", train_csv=table(*rows))
    shown = gallery(root, tmp_path / "page.html")
    assert len(shown.pictures) == 3
    assert shown.sample("a")["controls"] == shown.sample("b")["controls"]


def test_further_columns_are_shown(tmp_path: Path) -> None:
    root = lay(tmp_path / "ds", "c/a.png", train_csv="control,prompt,source,empty\nc/a.png,Do it,web,\n")
    assert gallery(root, tmp_path / "page.html").sample("a")["extra"] == {"source": "web"}


def test_only_the_chosen_splits_are_shown(photos: Path, tmp_path: Path) -> None:
    shown = gallery(photos, tmp_path / "page.html", splits=["test"])
    assert shown.data["splits"] == [["test", 3, 3]]


# --- findings ---------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Four samples, three of them with something wrong, and a finding about the dataset."""
    root = lay_split(tmp_path / "broken", bases=["cut", "well", "mute", "sick"])
    write(root / "train/training_images/cut.png", picture("cut.png", (64, 48))[:60])
    write(root / "train/training_images/mute.txt", "  \n")
    (root / "train/training_images/sick.png").unlink()
    write(root / "train/training_images/sick.webp", damaged_webp())
    write(root / "train/control_images/nobody.png", picture())
    return root


def damaged_webp() -> bytes:
    """Its header is that of a 64 x 48 picture; its pixels are noise that cannot be decoded."""
    data = bytearray(picture("sick.webp", (64, 48), lossless=True))
    data[25:] = bytes(0xFF - value for value in data[25:])
    return bytes(data)


def test_findings_stand_beside_their_sample_and_the_rest_on_top(broken: Path, tmp_path: Path) -> None:
    shown = gallery(broken, tmp_path / "page.html")
    assert shown.codes("cut") == ["truncated-image"]
    assert shown.codes("mute") == ["empty-prompt"]
    assert shown.codes("well") == []
    assert [finding[0] for finding in shown.data["findings"]] == ["orphan-control"]
    assert shown.data["codes"]["truncated-image"] == "An image file ends too early."
    assert shown.data["counts"]["errors"] == 3


def test_an_image_that_cannot_be_drawn_is_a_finding_and_its_place_says_why(broken: Path, tmp_path: Path) -> None:
    report = preview_dataset(broken, out=tmp_path / "page.html")
    shown = Page(tmp_path / "page.html")
    assert shown.codes("sick") == ["damaged-image"]
    said = shown.pictures[shown.sample("sick")["target"]]
    assert isinstance(said, str)
    assert said == "An image file is damaged."
    cut = shown.pictures[shown.sample("cut")["target"]]
    assert isinstance(cut, str)
    assert cut == "An image file ends too early."
    assert report.pictures["unreadable"] == 2
    assert report.counts["errors"] == 3
    (damage,) = (finding for finding in report.findings if finding.code == "damaged-image")
    assert "sick.webp is damaged: it cannot be decoded (" in damage.message


def test_a_gallery_has_all_findings_of_a_check_written_or_served(broken: Path, tmp_path: Path) -> None:
    training = broken / "train/training_images"
    (training / "sick.webp").write_bytes(picture("sick.webp"))
    write(training / "well.png", (broken / "train/control_images/well.png").read_bytes())
    found = check_dataset(broken).findings
    assert "target-is-control" in [finding.code for finding in found]
    assert preview_dataset(broken, out=tmp_path / "page.html").findings == found
    with preview_dataset(broken, serve=True) as preview:
        assert preview.findings == found


def test_a_finding_about_a_file_stands_beside_the_samples_that_use_it(tmp_path: Path) -> None:
    root = lay_split(lay_split(tmp_path / "ds", bases=["a"]), "test", ["b"])
    write(root / "test/control_images/b.png", (root / "train/control_images/a.png").read_bytes())
    shown = gallery(root, tmp_path / "page.html")
    assert shown.codes("b") == ["same-image-in-splits"]
    assert shown.data["findings"] == []


def test_a_page_that_would_be_absurd_shows_findings_and_the_first_of_each_split(broken: Path) -> None:
    lay_split(broken, "test", [f"t{number}" for number in range(4)])
    scan = check_dataset(broken)
    few = Gallery.of(Opened(scan), most_pictures=6)
    assert [(sample.split, sample.id) for sample in few.samples] == [
        ("train", "cut"), ("train", "mute"), ("test", "t0"),
    ]  # fmt: skip
    assert few.data()["total"] == 8
    assert few.data()["splits"] == [["train", 2, 4], ["test", 1, 4]]


# --- pictures ---------------------------------------------------------------------------------------------------


def quadrants(size: tuple[int, int] = (48, 32)) -> Image.Image:
    """Red and green above, blue and white below."""
    image = Image.new("RGB", size)
    width, height = size[0] // 2, size[1] // 2
    for place, colour in enumerate((RED, GREEN, BLUE, WHITE)):
        image.paste(
            colour, ((place % 2) * width, (place // 2) * height, (place % 2 + 1) * width, (place // 2 + 1) * height)
        )
    return image


STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation -> how an upright picture lies in a file that has it (EXIF 2.32, tag 0x0112)."""


def drawn(path: Path, side: int = 64, *, is_mask: bool = False) -> Image.Image:
    blob = FolderTree(path.parent).blob(path.name)
    thumbnail = draw(Picture(blob, is_mask, None), side)
    assert not thumbnail.problem, thumbnail.problem
    return Image.open(io.BytesIO(thumbnail.data))


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif"])
def test_pictures_are_the_right_way_up(tmp_path: Path, orientation: int, extension: str) -> None:
    turn = STORED[orientation]
    stored = quadrants() if turn is None else quadrants().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a.{extension}", exif=exif)
    image = drawn(tmp_path / f"a.{extension}").convert("RGB")
    assert image.size == (48, 32)
    corners = [image.getpixel((x, y)) for y in (6, 25) for x in (8, 39)]
    assert all(map(close, corners, (RED, GREEN, BLUE, WHITE))), corners


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "F", "CMYK", "YCbCr"])
def test_every_mode_of_pixels_is_drawn(tmp_path: Path, mode: str) -> None:
    grey = Image.new("L", (40, 30), 60)
    grey.paste(200, (20, 0, 40, 30))
    name = {"CMYK": "a.jpg", "YCbCr": "a.jpg", "F": "a.tif"}.get(mode, "a.png")
    if mode in ("I;16", "F"):
        deep = grey.convert("I").point(lambda value: value * 257)
        image = deep.convert(mode)
    else:
        image = grey.convert(mode)
    image.save(tmp_path / name)
    shown = drawn(tmp_path / name).convert("L")
    left, right = shown.getpixel((5, 5)), shown.getpixel((35, 5))
    assert isinstance(left, int)
    assert isinstance(right, int)
    if mode == "F":  # floats have no white of their own: the darkest and lightest are black and white
        assert (left, right) == pytest.approx((0, 255), abs=12)
    elif mode == "1":
        assert left < right
    else:
        assert (left, right) == pytest.approx((60, 200), abs=12)


def test_transparency_stays_transparent(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (10, 200, 10, 0)).save(tmp_path / "a.png")
    palette = Image.new("P", (20, 20), 0)
    palette.save(tmp_path / "p.png", transparency=0)
    assert drawn(tmp_path / "a.png").convert("RGBA").getpixel((3, 3))[3] == 0  # type: ignore[index]
    assert drawn(tmp_path / "p.png").convert("RGBA").getpixel((3, 3))[3] == 0  # type: ignore[index]


def test_a_mask_is_a_tint_that_is_opaque_where_the_mask_is_white(tmp_path: Path) -> None:
    mask = Image.new("L", (40, 40), 0)
    mask.paste(255, (0, 0, 20, 40))
    mask.save(tmp_path / "m.png")
    shown = drawn(tmp_path / "m.png", is_mask=True)
    inside, outside = shown.getpixel((5, 20)), shown.getpixel((35, 20))
    assert isinstance(inside, tuple)
    assert isinstance(outside, tuple)
    assert close(inside[:3], MASK_COLOUR)
    assert (inside[3], outside[3]) == (255, 0)


def test_pictures_are_made_small_and_never_enlarged(tmp_path: Path) -> None:
    quadrants((900, 600)).save(tmp_path / "large.jpg")
    quadrants((30, 20)).save(tmp_path / "small.jpg")
    assert drawn(tmp_path / "large.jpg", 256).size == (256, 171)
    assert drawn(tmp_path / "small.jpg", 256).size == (30, 20)


def test_nothing_of_a_files_metadata_is_in_its_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    for name in ("a.jpg", "a.png", "a.webp"):
        quadrants().save(tmp_path / name, exif=exif, icc_profile=b"a profile of the owner")
        blob = FolderTree(tmp_path).blob(name)
        data = draw(Picture(blob, False, None), 64).data
        assert b"taken at home" in (tmp_path / name).read_bytes()
        assert not any(word in data for word in (b"taken at home", b"profile", b"EXIF", b"ICCP", b"XMP"))


def png_of(side: int, rows: int, *, alpha: bool = False) -> bytes:
    """A square PNG of black pixels of which only ``rows`` are there; made without an image in memory."""
    packer = zlib.compressobj(1)
    row = bytes(1 + (4 if alpha else 3) * side)
    pixels = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 6 if alpha else 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_decompression_bombs_and_what_would_take_more_than_a_gigabyte_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "bomb.png", png_of(30_000, 1))
    write(tmp_path / "large.png", png_of(12_000, 1, alpha=True))
    tree = FolderTree(tmp_path)
    said = [draw(Picture(tree.blob(name), False, None), 64).problem for name in ("bomb.png", "large.png")]
    assert said == ["An image has more pixels than decoders accept.", "Too large to be shown: 144 megapixels."]


def test_a_hundred_megapixels_fit_into_a_bound_of_memory(tmp_path: Path) -> None:
    write(tmp_path / "a.png", png_of(10_000, 10_000))
    Image.new("RGB", (10_000, 10_000), RED).save(tmp_path / "b.jpg", quality=50)
    code = """
        import sys
        from pathlib import Path
        from qflux_hub.preview.gallery import Picture
        from qflux_hub.preview.thumbnails import draw_all
        from qflux_hub.tree import FolderTree
        tree = FolderTree(sys.argv[1])
        blobs = [tree.blob(name) for name in sys.argv[2].split()]
        assert not any(made.problem for made in draw_all([Picture(blob, False, None) for blob in blobs], 256))
        print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024)
    """

    def peak(names: str) -> int:
        """MiB that a process needed at most to draw these."""
        command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), names]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert peak("b.jpg b.jpg b.jpg") < 150  # JPEG is decoded at an eighth
    assert peak("a.png a.png a.png") < 600  # one after the other: together they would take 1.2 GB


def test_pictures_are_as_large_as_the_page_bears() -> None:
    def side(count: int) -> int:
        blob = FolderTree(Path(__file__).parent).blob("test_preview.py")
        return page.choose_side([Picture(blob, False, None)] * count)

    assert (side(30), side(1_000), side(15_000), side(40_000)) == (1024, 768, 256, 160)


# --- the file ---------------------------------------------------------------------------------------------------


class StopAt(Progress):
    """Calls ``action`` when the first picture was drawn."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def task(self, label: str, total: int | None, unit: str = "B") -> Task:  # noqa: ARG002
        class Stops(Task):
            def advance(inner, amount: int = 1) -> None:  # noqa: ARG002, N805
                if label == "Drawing":
                    self.action()

        return Stops()


def test_a_page_that_fails_leaves_the_old_one(photos: Path, tmp_path: Path) -> None:
    out = write(tmp_path / "page.html", "the old one")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preview_dataset(photos, out=out, progress=StopAt(stop))
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert out.read_text() == "the old one"


def test_a_page_whose_process_is_killed_leaves_the_old_one(photos: Path, tmp_path: Path) -> None:
    out = write(tmp_path / "page.html", "the old one")
    code = """
        import os, signal, sys
        from qflux_hub import preview_dataset
        from tests.test_preview import StopAt
        preview_dataset(sys.argv[1], out=sys.argv[2], progress=StopAt(lambda: os.kill(os.getpid(), signal.SIGKILL)))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(photos), str(out)]
    done = subprocess.run(command, capture_output=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert out.read_text() == "the old one"
    preview_dataset(photos, out=out)
    assert Page(out).data["total"] == 12
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_two_runs_do_not_write_one_page_at_a_time(photos: Path, tmp_path: Path) -> None:
    def again() -> None:
        with pytest.raises(UsageError, match=r"Another run is writing 'page\.html'\."):
            preview_dataset(photos, out=tmp_path / "page.html")

    preview_dataset(photos, out=tmp_path / "page.html", progress=StopAt(again))
    assert Page(tmp_path / "page.html").data["total"] == 12
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_page_is_named_after_its_dataset(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert preview_dataset(photos).page == "photo_edits-preview.html"
    lay_split(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    assert preview_dataset(".").page == "here-preview.html"
    monkeypatch.chdir(tmp_path / "here" / "train")
    assert preview_dataset("..").page == "here-preview.html"


@pytest.mark.parametrize(
    ("out", "message"),
    [("page.txt", "is no name for a page"), ("folder.html", "is a folder"), ("no/page.html", "There is no folder")],
)
def test_what_cannot_be_a_page_is_said_before_any_work(photos: Path, tmp_path: Path, out: str, message: str) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UsageError, match=message):
        preview_dataset(photos, out=tmp_path / out, progress=StopAt(pytest.fail))


def test_writing_and_serving_exclude_each_other(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        preview_dataset(photos, out=tmp_path / "page.html", serve=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"port": 8000}, "is for --serve"), ({"port": 65536, "serve": True}, "is none"), ({"revision": "v1"}, "a repo")],
)
def test_options_that_say_nothing_about_this_gallery_are_wrong(photos: Path, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        preview_dataset(photos, **options)


# --- serving ----------------------------------------------------------------------------------------------------


def get(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    try:
        with urlopen(Request(url, headers=headers), timeout=20) as answer:  # noqa: S310 - our own server
            return answer.status, dict(answer.headers), answer.read()
    except HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def test_a_served_gallery_draws_pictures_when_they_are_asked_for(photos: Path) -> None:
    with preview_dataset(photos, serve=True) as preview:
        assert preview.url is not None
        assert preview.page is None
        status, headers, body = get(preview.url)
        assert status == 200
        assert b'<script src="gallery.js" defer>' in body
        assert headers["content-security-policy"].startswith("default-src 'none'; img-src 'self' data:;")
        assert headers["x-content-type-options"] == "nosniff"
        data = json.loads(get(preview.url + "data.json")[2])
        assert len(data["samples"]) == 12
        for size in ("small", "large"):
            status, headers, body = get(f"{preview.url}picture/0/{size}")
            assert (status, headers["content-type"]) == (200, "image/webp")
            assert Image.open(io.BytesIO(body)).size == tuple(data["pictures"][0][1:3])
        assert {get(preview.url + name)[0] for name in ("gallery.js", "gallery.css")} == {200}


def test_a_served_gallery_is_for_those_who_know_its_address(photos: Path) -> None:
    with preview_dataset(photos, serve=True) as preview:
        assert preview.url is not None
        origin = preview.url.rstrip("/").rpartition("/")[0]
        assert len(preview.url.removeprefix(origin)) > 16
        assert get(origin + "/")[0] == 404
        assert get(origin + "/x/data.json")[0] == 404
        assert get(preview.url, Host="evil.example")[0] == 403
        assert get(preview.url + "../../etc/passwd")[0] == 404
        assert get(preview.url + "picture/99999/small")[0] == 404
        assert get(preview.url + "picture/0/huge")[0] == 404
    with pytest.raises(OSError, match="refused"):
        get(preview.url)


def test_a_served_image_that_cannot_be_drawn_says_why(broken: Path) -> None:
    with preview_dataset(broken, serve=True) as preview:
        assert preview.url is not None
        data = json.loads(get(preview.url + "data.json")[2])
        number = [picture[0].rpartition("/")[2] for picture in data["pictures"]].index("sick.webp")
        status, headers, body = get(f"{preview.url}picture/{number}/small")
    assert (status, headers["content-type"]) == (422, "text/plain; charset=utf-8")
    assert body == b"An image file is damaged."


def test_a_port_that_is_taken_is_said(photos: Path) -> None:
    with preview_dataset(photos, serve=True) as preview:
        assert preview.url is not None
        port = int(preview.url.split("/")[2].rpartition(":")[2])
        with pytest.raises(UsageError, match=f"Port {port} is taken"):
            preview_dataset(photos, serve=True, port=port)


# --- from a Hub -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heavy(hub: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A repo of 20 samples with 240 kB in each image, and the folder it came from."""
    root = tmp_path_factory.mktemp("heavy")
    for number in range(20):
        lay_split(root, "train" if number < 15 else "test", [f"s{number:02}"], ".bmp")
        split = root / ("train" if number < 15 else "test")
        for folder in ("control_images", "training_images"):
            write(split / folder / f"s{number:02}.bmp", picture(f"{folder}{number}.bmp", (400, 200)))
    upload_dataset(root, f"{hub.user}/heavy", hub=hub)
    return f"{hub.user}/heavy", root


def test_a_repo_is_shown_like_the_folder_it_came_from(hub: LocalHub, heavy: tuple[str, Path], tmp_path: Path) -> None:
    repo, root = heavy
    there, here = gallery(repo, tmp_path / "there.html", hub=hub), gallery(root, tmp_path / "here.html")  # type: ignore[arg-type]
    assert there.pictures == here.pictures
    assert (there.data["samples"], there.data["pictures"]) == (here.data["samples"], here.data["pictures"])
    assert (there.data["source"], there.data["layout"]) == (repo, "hub")
    assert hub.token not in there.text


def test_data_that_cannot_be_read_is_said(hub: LocalHub, repo: str, photos: Path, tmp_path: Path) -> None:
    upload_dataset(photos, repo, hub=hub, splits=["test"])
    put(hub, repo, "some/where/else/train.tar", b"no tar")
    shown = gallery(repo, tmp_path / "page.html", hub=hub)  # type: ignore[arg-type]
    assert shown.data["splits"] == [["test", 3, 3]]
    assert [finding[0] for finding in shown.data["findings"]] == ["unindexed-data"]
    put(hub, repo, "data/train-00000-of-00001.parquet", b"PAR1")
    shown = gallery(repo, tmp_path / "page.html", hub=hub)  # type: ignore[arg-type]
    assert shown.data["splits"] == [["train", 0, 0], ["test", 3, 3]]
    assert "undecodable-table" in [finding[0] for finding in shown.data["findings"]]


def test_a_revision_is_shown_as_it_was(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(tmp_path / "ds")
    first = upload_dataset(root, repo, hub=hub)
    write(root / "train/training_images/a.txt", "Another prompt.")
    upload_dataset(root, repo, hub=hub)
    then = gallery(repo, tmp_path / "then.html", hub=hub, revision=first.commit)  # type: ignore[arg-type]
    now = gallery(repo, tmp_path / "now.html", hub=hub)  # type: ignore[arg-type]
    assert (then.sample("a")["prompt"], now.sample("a")["prompt"]) == ("Prompt of a.", "Another prompt.")
    with pytest.raises(NotFoundError, match="has no revision 'v9'"):
        preview_dataset(repo, out=tmp_path / "page.html", hub=hub, revision="v9")


def test_serving_a_repo_reads_the_ranges_of_the_pictures_that_are_shown(
    hub: LocalHub, hub_log: list[RequestLog], heavy: tuple[str, Path]
) -> None:
    repo, root = heavy
    everything = sum(path.stat().st_size for path in root.rglob("*.bmp"))
    hub_log.clear()
    with preview_dataset(repo, serve=True, hub=hub) as preview:
        assert preview.url is not None
        data = json.loads(get(preview.url + "data.json")[2])
        assert [one[2] for one in data["samples"][:2]] == ["Prompt of s00.", "Prompt of s01."]
        before = sum(request.bytes_sent for request in hub_log)
        assert before < everything / 20
        for number in range(2):
            assert get(f"{preview.url}picture/{number}/small")[0] == 200
        after = sum(request.bytes_sent for request in hub_log) - before
    assert after < 2 * 241_000
    assert {request.method for request in hub_log} <= {"GET", "HEAD"}


def test_a_folder_wins_over_a_repo_and_costs_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_split(tmp_path / "me" / "ds")
    monkeypatch.chdir(tmp_path)
    report = preview_dataset("me/ds", out="page.html", hub="http://127.0.0.1:9", token="hf_unused")  # noqa: S106
    assert (report.source, report.layout) == ("me/ds", "directory")


def test_what_is_neither_here_nor_there_is_said(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="There is no folder 'me/nowhere' here, and no such dataset on"):
        preview_dataset("me/nowhere", out=tmp_path / "page.html", hub=hub)
    with pytest.raises(LayoutError, match="There is no folder"):
        preview_dataset("./nowhere", out=tmp_path / "page.html", hub=hub)


def test_options_of_folders_are_refused_for_repos(hub: LocalHub, heavy: tuple[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a repo has no links"):
        preview_dataset(heavy[0], out=tmp_path / "page.html", hub=hub, follow_links=True)
    with pytest.raises(NotFoundError, match="has no split 'dev'"):
        preview_dataset(heavy[0], out=tmp_path / "page.html", hub=hub, splits=["dev"])


# --- the command line -------------------------------------------------------------------------------------------


def test_the_command_writes_a_page_and_says_where(photos: Path, tmp_path: Path) -> None:
    env = environment(tmp_path)
    done = qflux("preview", str(photos), "--json", env=env, cwd=tmp_path)
    report = json.loads(done.stdout)
    assert [*report] == [
        "source", "layout", "page", "url", "splits", "shown", "pictures", "bytes", "findings", "counts", "seconds",
    ]  # fmt: skip
    assert (report["page"], report["url"], report["shown"]) == ("photo_edits-preview.html", None, 12)
    assert report["splits"] == {"train": 9, "test": 3}
    assert report["pictures"] == {"made": 35, "unreadable": 0, "side": 1024}
    assert report["bytes"]["read"] == report["counts"]["bytes"]
    assert report["bytes"]["page"] == (tmp_path / "photo_edits-preview.html").stat().st_size
    assert (done.returncode, done.stderr) == (0, "")
    assert qflux("preview", str(photos), "-q", env=env, cwd=tmp_path).stdout == "photo_edits-preview.html\n"
    words = qflux("preview", str(photos), "--out", "x.html", env=env, cwd=tmp_path).stdout
    assert words.startswith(f"{photos}: 12 samples, ")
    assert "\n35 pictures in " in words
    assert words.endswith("\nx.html\n")


def test_the_command_serves_until_it_is_interrupted(photos: Path, tmp_path: Path) -> None:
    process = start("preview", str(photos), "--serve", "--json", env=environment(tmp_path))
    assert process.stdout is not None
    report = json.loads(process.stdout.readline())
    assert get(report["url"])[0] == 200
    out, err = interrupt(process)
    assert (process.returncode, out, err) == (0, "", "")
    assert list(tmp_path.glob("*.html")) == []
