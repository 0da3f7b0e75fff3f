"""The gallery in a real browser: it asks for nothing, obeys keys and filters, compares, and runs no one's text.

Pictures of it, to be looked at, are written to ``.demo/screenshots``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from qflux_hub import preview_dataset
from tests.bench.generate import GenerateOptions, write_tiny_samples
from tests.browser.chromium import Browser, browser
from tests.builders import lay_split, picture, write

SCREENSHOTS = Path(__file__).parents[2] / ".demo" / "screenshots"
NASTY = "<img src=x onerror=alert(1)>"
VISIBLE = "[...document.querySelectorAll('.row')].map((row) => row.querySelector('.name span').textContent)"
CURRENT = "document.querySelector('.row[aria-current=true] .name span')?.textContent"
OPEN = "document.querySelector('#detail').open && document.querySelector('#detail-id').firstChild.textContent"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def photos_page(pages: Path) -> str:
    preview_dataset(Path(__file__).parents[1] / "data" / "photo_edits", out=pages / "photos.html")
    return (pages / "photos.html").as_uri()


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cut target, an empty prompt, a prompt and an id that look like markup, a photo on its side; two splits."""
    root = lay_split(tmp_path_factory.mktemp("broken"), bases=["cut", "mute", "well", f"x{NASTY}"])
    controls, training = root / "train/control_images", root / "train/training_images"
    write(training / "cut.png", picture("cut.png", (64, 64))[:60])
    write(training / "mute.txt", "\n")
    write(training / f"x{NASTY}.txt", f"{NASTY}</script><script>alert(2)</script>")
    write(controls / "nobody.png", picture())
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40), (200, 30, 30)).save(controls / "well.png", exif=exif)
    return lay_split(root, "test", ["t1", "t2"])


@pytest.fixture(scope="module")
def broken_page(pages: Path, broken: Path) -> str:
    preview_dataset(broken, out=pages / "broken.html")
    return (pages / "broken.html").as_uri()


@pytest.fixture(scope="module")
def many_page(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("many")
    write_tiny_samples(root, range(5_000), GenerateOptions(jobs=1))
    preview_dataset(root, out=pages / "many.html")
    return (pages / "many.html").as_uri()


# --- opening ----------------------------------------------------------------------------------------------------


def test_a_page_opens_without_complaint_and_without_asking_for_anything(chromium: Browser, photos_page: str) -> None:
    chromium.open(photos_page)
    chromium.press("End", "Enter", "3", "Escape")
    assert chromium.complaints() == []
    assert chromium.requests() == [photos_page]
    assert chromium.evaluate("document.querySelector('#count').textContent") == "12 samples"
    broken = "[...document.images].filter((image) => image.complete && !image.naturalWidth).length"
    assert chromium.evaluate(broken) == 0


def test_nothing_that_users_wrote_is_run(chromium: Browser, broken_page: str) -> None:
    chromium.open(broken_page)
    chromium.press("j", "j", "j", "Enter")
    assert chromium.evaluate(OPEN) == f"x{NASTY}"
    prompt = chromium.evaluate("document.querySelector('#detail-prompt').textContent")
    assert prompt == f"{NASTY}</script><script>alert(2)</script>"
    assert chromium.evaluate("document.querySelectorAll('img[src=x], script:not([type]) ~ script').length") == 0
    chromium.press("Escape", "/")
    chromium.type("<img src=x")
    assert chromium.evaluate(f"({VISIBLE})[0]") == f"x{NASTY}"
    assert chromium.evaluate("document.querySelector('mark').textContent") == "<img"
    assert chromium.complaints() == []


def test_the_policy_of_the_page_stops_what_is_not_its_own(chromium: Browser, photos_page: str) -> None:
    chromium.open(photos_page)
    chromium.evaluate("document.body.append(Object.assign(document.createElement('script'), {textContent: 'x = 1'}))")
    chromium.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
    assert chromium.evaluate("typeof x") == "undefined"
    assert len([said for said in chromium.complaints() if "Content Security Policy" in said]) == 2


def test_images_are_shown_the_right_way_up_and_damaged_ones_as_damaged(chromium: Browser, broken_page: str) -> None:
    chromium.open(broken_page)
    natural = "(({naturalWidth, naturalHeight}) => [naturalWidth, naturalHeight])"
    chromium.wait("document.querySelector('img[alt=\"Control of well\"]').complete")
    assert chromium.evaluate(f"{natural}(document.querySelector('img[alt=\"Control of well\"]'))") == [40, 60]
    row = "document.querySelector('.row[aria-label^=cut]')"
    assert chromium.evaluate(f"{row}.querySelector('.broken').innerText").endswith("An image file ends too early.")
    assert "truncated-image" in chromium.evaluate(f"{row}.querySelector('.findings').textContent")
    whole = chromium.evaluate("document.querySelector('#whole').textContent")
    assert "orphan-control" in whole
    assert "truncated-image" not in whole


# --- keys -------------------------------------------------------------------------------------------------------


def test_the_keyboard_walks_through_the_samples(chromium: Browser, photos_page: str) -> None:
    chromium.open(photos_page)
    names = chromium.evaluate("JSON.parse(JSON.stringify([...document.querySelectorAll('.row')].length))")
    assert names < 12  # not all of them exist
    visited = [chromium.evaluate(CURRENT)]
    for key in ("j", "ArrowDown", "ArrowRight", "k", "ArrowUp", "ArrowLeft", "End", "j", "Home", "k"):
        chromium.press(key)
        visited.append(chromium.evaluate(CURRENT))
    assert visited == [
        "astronaut_in_space", "cafe_colour", "cat_eyes_sharp", "cat_poster", "cat_eyes_sharp", "cafe_colour",
        "astronaut_in_space", "saucer_teal", "saucer_teal", "astronaut_in_space", "astronaut_in_space",
    ]  # fmt: skip
    assert chromium.evaluate("document.activeElement.getAttribute('aria-label')") == "astronaut_in_space, train"


def test_the_keyboard_opens_walks_and_closes_the_large_view(chromium: Browser, photos_page: str) -> None:
    chromium.open(photos_page)
    chromium.press("j", "Enter")
    assert chromium.evaluate(OPEN) == "cafe_colour"
    assert chromium.evaluate("location.hash") == "#train/cafe_colour"
    chromium.press("ArrowRight", "j", "k")
    assert chromium.evaluate(OPEN) == "cat_eyes_sharp"
    modes = []
    for key in ("2", "3", "1"):
        chromium.press(key)
        modes.append(chromium.evaluate("document.querySelector('[data-mode][aria-pressed=true]').dataset.mode"))
    assert modes == ["side", "difference", "slide"]
    chromium.press("Escape")
    assert chromium.evaluate(OPEN) is False
    assert chromium.evaluate(CURRENT) == "cat_eyes_sharp"
    assert chromium.evaluate("document.activeElement.classList.contains('row')") is True


def test_the_mask_comes_and_goes(chromium: Browser, photos_page: str) -> None:
    chromium.open(f"{photos_page}#train/suit_blue")
    assert chromium.evaluate(OPEN) == "suit_blue"
    shown = []
    for key in ("m", "m"):
        chromium.press(key)
        shown.append(chromium.evaluate("document.querySelectorAll('#stage .tint').length"))
    assert shown == [1, 0]


def test_slash_searches_question_mark_helps_and_escape_goes_back(chromium: Browser, photos_page: str) -> None:
    chromium.open(photos_page)
    chromium.press("?")
    assert chromium.evaluate("document.querySelector('#keys').open") is True
    chromium.press("Escape", "/")
    assert chromium.evaluate("document.activeElement.id") == "search"
    chromium.type("CAT poster")
    assert chromium.evaluate(VISIBLE) == ["cat_poster"]
    chromium.press("Escape")
    assert chromium.evaluate("document.querySelector('#search').value") == ""
    assert chromium.evaluate("document.querySelector('#count').textContent") == "12 samples"


# --- filters ----------------------------------------------------------------------------------------------------


def test_samples_are_filtered_by_split_finding_and_text(chromium: Browser, broken_page: str) -> None:
    chromium.open(broken_page)
    chromium.click("#splits button:nth-child(3)")
    assert chromium.evaluate(VISIBLE) == ["t1", "t2"]
    chromium.click("#splits button:nth-child(1)")
    chromium.click("#codes [data-is=truncated-image]")
    assert chromium.evaluate(VISIBLE) == ["cut"]
    assert chromium.evaluate("document.querySelector('#count').textContent") == "1 of 6 samples"
    chromium.click("#codes [data-is=truncated-image]")
    chromium.press("/")
    chromium.type("prompt of t2")
    assert chromium.evaluate(VISIBLE) == ["t2"]
    chromium.type(" nowhere")
    assert chromium.evaluate(VISIBLE) == []
    chromium.click("#clear")
    assert len(chromium.evaluate(VISIBLE)) == 6
    chromium.press("f")
    with_findings = set(chromium.evaluate(VISIBLE))
    assert {"cut", "mute"} <= with_findings
    assert "t1" not in with_findings


def test_more_kinds_of_findings_than_two_rows_hold_are_a_click_away(
    chromium: Browser, pages: Path, tmp_path: Path
) -> None:
    root = lay_split(tmp_path / "kinds", bases="abcdefghijkl")
    for base, data in zip(
        "abcdef",
        (b"", b"?", b"<html>", b"GIF89a", b"version https://git-lfs.github.com/spec/v1", b"\x89PNG\r\n\x1a\n"),
        strict=True,
    ):
        write(root / f"train/training_images/{base}.png", data)
    write(root / "train/training_images/g.txt", "")
    for base, mode in (("h", "P"), ("i", "RGBA"), ("j", "I;16")):
        write(root / f"train/training_images/{base}.png", picture(mode=mode))
    write(root / "train/training_images/k.png", picture(format="JPEG"))
    write(root / "train/training_images/l.png", picture("l.png", (9, 3)))
    preview_dataset(root, out=pages / "kinds.html")
    chromium.open((pages / "kinds.html").as_uri(), (900, 800))
    shown = "(({offsetHeight, scrollHeight}) => offsetHeight >= scrollHeight)(document.querySelector('#codes'))"
    assert chromium.evaluate(shown) is False
    assert chromium.evaluate("document.querySelector('#more').textContent").endswith(" more")
    chromium.click("#more")
    assert chromium.evaluate(shown) is True
    chromium.click("#codes [data-is=palette]")
    assert chromium.evaluate(VISIBLE) == ["h"]
    chromium.click("#more")
    assert chromium.evaluate(shown) is False


def test_a_filter_keeps_the_sample_that_was_looked_at(chromium: Browser, photos_page: str) -> None:
    chromium.open(photos_page)
    chromium.press("End", "k", "k")
    held = chromium.evaluate(CURRENT)
    chromium.click("#splits button:nth-child(3)")
    assert chromium.evaluate(CURRENT) == held


# --- comparing --------------------------------------------------------------------------------------------------


def cut(chromium: Browser) -> float:
    """How much of the control the slider shows, in percent."""
    return float(chromium.evaluate("document.querySelector('.slide').style.getPropertyValue('--cut')").rstrip("%"))


def test_the_slider_follows_the_mouse_and_the_keyboard(chromium: Browser, photos_page: str) -> None:
    chromium.open(f"{photos_page}#train/suit_blue")
    left, top, width, height = chromium.box(".slide")
    assert cut(chromium) == 50
    chromium.mouse("Pressed", left + width * 0.2, top + height / 2)
    assert cut(chromium) == pytest.approx(20, abs=1)
    chromium.mouse("Moved", left + width * 0.8, top + height / 3)
    assert cut(chromium) == pytest.approx(80, abs=1)
    chromium.mouse("Released", left + width * 0.8, top + height / 3)
    chromium.mouse("Moved", left + width * 0.3, top + height / 3)
    assert cut(chromium) == pytest.approx(80, abs=1)
    chromium.press("ArrowLeft")  # the slider has the focus now
    assert cut(chromium) == pytest.approx(79.5, abs=1)
    chromium.press("Space")
    assert cut(chromium) == 0
    chromium.press("Space")
    assert cut(chromium) == 100
    assert chromium.evaluate(OPEN) == "suit_blue"
    chromium.press("j")
    assert chromium.evaluate(OPEN) == "cat_by_the_wall"


def test_what_the_slider_shows_is_control_on_the_left_and_target_on_the_right(
    chromium: Browser, photos_page: str, tmp_path: Path
) -> None:
    chromium.open(f"{photos_page}#test/saucer_teal")
    chromium.wait("[...document.querySelectorAll('.slide img')].every((image) => image.complete)")
    chromium.settle()
    chromium.screenshot(tmp_path / "slider.png")
    left, top, width, height = chromium.box(".slide")
    shot = Image.open(tmp_path / "slider.png").convert("RGB")
    red, teal = (shot.getpixel((int(left + width * x), int(top + height * 0.5))) for x in (0.14, 0.95))
    assert isinstance(red, tuple)
    assert isinstance(teal, tuple)
    assert red[0] > red[2] + 60
    assert teal[2] > teal[0] + 60


# --- many -------------------------------------------------------------------------------------------------------


def test_five_thousand_samples_scroll(chromium: Browser, many_page: str) -> None:
    chromium.open(many_page)
    assert chromium.evaluate("document.querySelector('#count').textContent") == "5,000 samples"
    for share in (0.25, 0.5, 0.99, 0.1):
        chromium.evaluate(f"scrollTo(0, document.body.scrollHeight * {share})")
        chromium.settle()
        rows = "[...document.querySelectorAll('.row')]"
        assert chromium.evaluate(f"{rows}.length") < 30
        middle = "document.elementFromPoint(innerWidth - 200, innerHeight / 2)?.closest('.row')"
        place = chromium.evaluate(f"Number(({middle} ?? {rows}[0]).dataset.place)")
        assert place == pytest.approx(5_000 * share, abs=60)
        name = f"sample_{place:06d}"
        assert chromium.evaluate(f"document.querySelector('[data-place=\"{place}\"]').textContent").startswith(name)
    chromium.press("End")
    assert chromium.evaluate(CURRENT) == "sample_004999"
    chromium.press("/")
    chromium.type("tiny sample 4321,")
    assert chromium.evaluate(VISIBLE) == ["sample_004321"]
    assert chromium.complaints() == []


# --- windows, themes, people ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [340, 420, 768, 1280, 1920])
def test_it_fits_into_any_window(chromium: Browser, broken_page: str, width: int) -> None:
    chromium.open(broken_page, (width, 800))
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    chromium.press("Enter")
    overflowing = "document.querySelector('#detail').scrollWidth > document.querySelector('#detail').clientWidth"
    assert chromium.evaluate(overflowing) is False
    left, _, wide, _ = chromium.box("#close")
    assert 0 <= left <= width - wide


def test_it_is_dark_where_the_reader_is(chromium: Browser, photos_page: str) -> None:
    colour = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    chromium.open(photos_page)
    assert min(chromium.evaluate(colour)) > 200
    chromium.open(photos_page, dark=True)
    assert max(chromium.evaluate(colour)) < 50


def test_everything_has_a_name(chromium: Browser, broken_page: str) -> None:
    chromium.open(broken_page)
    chromium.press("Enter")
    tree = chromium.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "image", "article", "searchbox", "slider", "dialog", "feed", "group", "img")
    nameless = [
        node["role"]["value"]
        for node in tree
        if not node.get("ignored")
        and node.get("role", {}).get("value") in roles
        and not node.get("name", {}).get("value")
    ]
    assert nameless == []
    assert any(node.get("role", {}).get("value") == "dialog" for node in tree)


# --- served -----------------------------------------------------------------------------------------------------


def test_a_served_gallery_asks_only_its_server_and_shows_the_same(chromium: Browser, photos: Path) -> None:
    with preview_dataset(photos, serve=True) as preview:
        assert preview.url is not None
        chromium.open(preview.url)
        chromium.wait("[...document.images].length > 6 && [...document.images].every((image) => image.naturalWidth)")
        chromium.press("j", "Enter")
        chromium.wait("[...document.querySelectorAll('#stage img')].every((image) => image.naturalWidth)")
        assert chromium.evaluate(OPEN) == "cafe_colour"
        assert chromium.complaints() == []
        assert all(url.startswith(preview.url) for url in chromium.requests())
        drawn = {url.rpartition("picture/")[2] for url in chromium.requests() if "picture/" in url}
        assert 0 < len(drawn) < 35  # those of the rows in view


def test_a_served_image_that_cannot_be_drawn_says_why(chromium: Browser, broken: Path, tmp_path: Path) -> None:
    root = tmp_path / "sick"
    shutil.copytree(broken, root)
    data = bytearray(picture("sick.webp", (64, 64), lossless=True))
    data[25:] = bytes(0xFF - value for value in data[25:])
    (root / "train/training_images/well.png").unlink()
    write(root / "train/training_images/well.webp", bytes(data))
    with preview_dataset(root, serve=True) as preview:
        assert preview.url is not None
        chromium.open(f"{preview.url}#train/well")
        chromium.wait("document.querySelector('#stage .broken')")
        assert "An image file is damaged." in chromium.evaluate("document.querySelector('#stage').innerText")
        assert [said for said in chromium.complaints() if "422" not in said] == []


# --- to be looked at --------------------------------------------------------------------------------------------


def test_pictures_of_it_are_there_to_be_looked_at(
    chromium: Browser, photos_page: str, broken_page: str, many_page: str
) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for name, page, size, dark, keys in (
        ("photos", photos_page, (1280, 900), False, []),
        ("photos-dark", photos_page, (1600, 1000), True, ["j"]),
        ("photos-narrow", photos_page, (420, 900), False, []),
        ("detail", f"{photos_page}#train/suit_blue", (1280, 900), False, []),
        ("detail-dark-mask", f"{photos_page}#train/astronaut_in_space", (1280, 900), True, ["m"]),
        ("detail-difference", f"{photos_page}#train/cat_poster", (1280, 900), True, ["3"]),
        ("detail-narrow", f"{photos_page}#test/saucer_teal", (420, 900), False, []),
        ("findings", broken_page, (1280, 1000), False, []),
        ("findings-dark", broken_page, (1280, 1000), True, ["f"]),
        ("many", many_page, (1280, 900), False, ["End"]),
        ("keys", photos_page, (1280, 900), False, ["?"]),
    ):
        chromium.open(page, size, dark=dark)
        chromium.press(*keys)
        chromium.wait("[...document.images].every((image) => image.complete)")
        chromium.screenshot(SCREENSHOTS / f"{name}.png")
