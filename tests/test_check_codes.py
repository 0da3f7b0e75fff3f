"""The table of findings is complete, explained and tested; findings become a file, and a second check reads nothing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from qflux_hub import LocalHub, UsageError, check_dataset, codes, upload_dataset
from qflux_hub.codes import CODES, Code
from tests.builders import lay, lay_split, picture, table, write

ROOT = Path(__file__).parents[1]
CONSTANTS = {code.name: name for name, code in vars(codes).items() if isinstance(code, Code)}


def qflux(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qflux_hub", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


# --- the table --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CODES)
def test_every_code_is_explained_made_and_tested(name: str) -> None:
    code = CODES[name]
    assert re.fullmatch(r"[a-z]+[0-9]*(-[a-z]+)*", name)
    assert re.fullmatch(r"[A-Z].*[^.]\.", code.title)
    assert len(code.title) <= 80
    assert len(code.page) >= 30
    assert code.page.endswith(".")
    assert code.fix or code.severity == "note"
    makers = [path for path in (ROOT / "qflux_hub").rglob("*.py") if path.name != "codes.py"]
    makers = [path for path in makers if re.search(rf'codes\.{CONSTANTS[name]}\b|"{name}"', path.read_text())]
    assert makers, "nothing makes it"
    tests = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    assert any(f'"{name}"' in text for text in tests), "nothing tests it"


def test_the_table_is_printed_from_the_code_in_every_mode() -> None:
    words = qflux("check", "--list-codes").stdout.splitlines()
    assert [line.split()[:2] for line in words] == [[code.name, code.severity] for code in CODES.values()]
    assert [code.title in line for code, line in zip(CODES.values(), words, strict=True)]
    told = json.loads(qflux("check", "--list-codes", "--json").stdout)
    assert told == {"codes": [code.to_dict() for code in CODES.values()]}
    assert qflux("check", "--list-codes", "-q").stdout.split() == list(CODES)


def test_a_code_is_explained_with_its_repair() -> None:
    done = qflux("check", "--explain", "wrong-extension")
    code = CODES["wrong-extension"]
    assert done.returncode == 0
    assert done.stdout.startswith(f"wrong-extension  warning\n{code.title}\n\n{code.page}\n→ {code.fix}\n")
    assert "qflux fix SOURCE --only wrong-extension" in done.stdout
    assert json.loads(qflux("check", "--explain", "wrong-extension", "--json").stdout) == code.to_dict()


@pytest.mark.parametrize("name", ["WRONG_EXTENSION", "[wrong-extension]", " wrong-extension "])
def test_a_code_is_found_as_people_write_it(name: str) -> None:
    assert codes.explain(name) is CODES["wrong-extension"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("wrong-extensions", "Did you mean wrong-extension, "),
        ("mask", "mask-twice"),
        ("zebra", "`qflux check --list-codes` lists them."),
        ("", "`qflux check --list-codes` lists them."),
    ],
)
def test_an_unknown_code_names_the_nearest_and_is_wrong_usage(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        codes.explain(name)
    assert hint in caught.value.hint
    assert qflux("check", "--explain", name).returncode == 2


def test_without_a_source_there_is_nothing_to_check() -> None:
    done = qflux("check")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Missing argument 'SOURCE'" in done.stderr


# --- tables -----------------------------------------------------------------------------------------------------


def read(root: Path, *rows: list[str]) -> dict[str, list[tuple[str, int | None, str | None]]]:
    """What is found in a table of these rows, beside a.png and b.png: by code, message, line and remedy."""
    lay(root, "a.png", "b.png", train_csv=table(*rows))
    found: dict[str, list[tuple[str, int | None, str | None]]] = {}
    for finding in check_dataset(root).findings:
        found.setdefault(finding.code, []).append((finding.message, finding.line, finding.fix))
    return found


def test_columns_that_mean_nothing_are_noted_once_with_a_guess(tmp_path: Path) -> None:
    found = read(tmp_path, ["control", "target", "prompt", "score", "masks"], ["a.png", "b.png", "Hi", "3", ""])
    ((message, line, fix),) = found["unknown-column"]
    assert message == "train.csv has columns that mean nothing to qflux: score, masks. They are carried along as text."
    assert (line, fix) == (1, "--column mask=masks, if that is what it holds")


def test_a_path_in_the_prompt_column_is_suspicious(tmp_path: Path) -> None:
    found = read(tmp_path, ["control", "target", "prompt"], ["a.png", "b.png", "b.png"])
    ((message, line, _),) = found["shifted-cells"]
    assert (message, line) == ("train.csv, line 2: the prompt is 'b.png', which looks like a path.", 2)


def test_a_prompt_may_speak_of_files(tmp_path: Path) -> None:
    assert "shifted-cells" not in read(
        tmp_path, ["control", "target", "prompt"], ["a.png", "b.png", "Draw what a.png shows"]
    )


def test_a_sentence_in_a_path_column_is_no_missing_file(tmp_path: Path) -> None:
    found = read(tmp_path, ["control", "prompt", "target"], ["a.png", "b.png", "Make it more red"])
    messages = [message for message, _, _ in found["shifted-cells"]]
    assert "train.csv, line 2: 'Make it more red' stands where a path should, but reads like a prompt." in messages
    assert "missing-file" not in found


def test_images_that_no_row_names_are_one_note_a_folder(tmp_path: Path) -> None:
    lay(tmp_path, "images/c.png", "images/d.png", "images/e.jpg", "more/f.png", "a_mask.png", "notes.txt")
    found = read(tmp_path, ["control", "target", "prompt"], ["a.png", "", "Hi"], ["gone.png", "images/c.png", "Hi"])
    assert [message for message, _, _ in found["unused-image"]] == [
        "b.png is named by no row.",
        "images/d.png and 1 more image are named by no row.",
        "more/f.png is named by no row.",
    ]


def test_other_splits_name_images_too(tmp_path: Path) -> None:
    lay(tmp_path, "a.png", "b.png", train_csv="control,prompt\na.png,Hi\n", test_csv="control,prompt\nb.png,Hi\n")
    assert "unused-image" not in [finding.code for finding in check_dataset(tmp_path, splits=["test"]).findings]


# --- uploads ----------------------------------------------------------------------------------------------------


def test_an_upload_to_a_name_with_a_dot_is_warned_of(hub: LocalHub, photos: Path) -> None:
    report = upload_dataset(photos, f"{hub.user}/photos.v2", hub=hub, dry_run=True)
    assert [finding.code for finding in report.findings] == ["dot-in-repo-name"]


def test_an_upload_tells_errors_and_warnings_of_images_but_no_notes(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    lay_split(tmp_path, bases="ab")
    for base in "ab":
        write(tmp_path / f"train/control_images/{base}.png", picture("same.png", mode="P"))
    Image.new("CMYK", (4, 3)).save(tmp_path / "train/control_images/a_control_1.jpg")
    report = upload_dataset(tmp_path, repo, hub=hub, dry_run=True)
    assert [finding.code for finding in report.findings] == ["cmyk"]


def test_an_upload_that_finds_a_bad_mask_says_that_it_did_not_look_at_all(
    hub: LocalHub, repo: str, tmp_path: Path
) -> None:
    for number in range(51):
        lay_split(tmp_path, bases=[str(number)])
        write(tmp_path / f"train/control_images/{number}_mask.png", picture(f"{number}.png", mode="1"))
    found = upload_dataset(tmp_path, repo, hub=hub, dry_run=True).findings
    assert "masks-sampled" not in [finding.code for finding in found]
    Image.new("1", (4, 3)).save(tmp_path / "train/control_images/7_mask.png")
    found = upload_dataset(tmp_path, repo, hub=hub, dry_run=True).findings
    assert [finding.code for finding in found] == ["mask-empty", "masks-sampled"]
    assert re.match(r"train: of 51 masks, the pixels of [34]\d were looked at", found[1].message)


# --- the report -------------------------------------------------------------------------------------------------


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A dataset with a finding of each severity, and with names that a spreadsheet would compute."""
    root = lay_split(tmp_path / "bad", bases=["a", "=1+1", "ü"])
    write(root / "train/control_images/a.png", b"hello")
    write(root / "train/training_images/=1+1.txt", "")
    (root / "train/training_images/ü.png").unlink()
    return root


def test_a_report_as_csv_opens_in_a_spreadsheet_and_computes_nothing(bad: Path, tmp_path: Path) -> None:
    done = qflux("check", str(bad), "--report", str(tmp_path / "found.csv"), "-q")
    assert (done.returncode, done.stdout) == (1, "")
    content = (tmp_path / "found.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    scan = check_dataset(bad)
    assert [row["code"] for row in rows] == [finding.code for finding in scan.findings]
    assert [*rows[0]] == ["severity", "code", "where", "line", "message", "fix", "split", "id"]
    assert "'=1+1" in [row["id"] for row in rows]
    assert "ü" in [row["id"] for row in rows]
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]


def test_a_report_as_json_has_what_json_prints_of_findings(bad: Path, tmp_path: Path) -> None:
    check_dataset(bad, report=tmp_path / "found.JSON")
    told = json.loads((tmp_path / "found.JSON").read_text())
    scan = check_dataset(bad).to_dict()
    assert told["findings"] == scan["findings"]
    assert told["counts"] == {name: scan["counts"][name] for name in ("errors", "warnings", "notes")}
    assert (told["source"], told["layout"]) == (str(bad), "directory")


def test_a_report_replaces_the_last_one_and_leaves_nothing_beside_it(bad: Path, tmp_path: Path) -> None:
    write(tmp_path / "out/found.csv", "old")
    check_dataset(bad, report=tmp_path / "out/found.csv")
    assert "old" not in (tmp_path / "out/found.csv").read_text()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["found.csv"]


@pytest.mark.parametrize("name", ["found.txt", "found", "found.xlsx", "nowhere/found.csv"])
def test_other_reports_are_wrong_usage(bad: Path, tmp_path: Path, name: str) -> None:
    done = qflux("check", str(bad), "--report", str(tmp_path / name))
    assert (done.returncode, done.stdout) == (2, "")
    assert not (tmp_path / name).exists()


# --- again ------------------------------------------------------------------------------------------------------


def opened(root: Path, cache: Path, *arguments: str) -> list[str]:
    """The images of ``root`` that a check opens, told by the interpreter itself."""
    code = (
        "import sys; from qflux_hub.cli import main; seen = []\n"
        "def hook(event, given):\n"
        "    if event == 'open' and str(given[0]).startswith(sys.argv[2]): seen.append(str(given[0]))\n"
        "sys.addaudithook(hook)\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(*seen, sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(root), "-q", *arguments],
        capture_output=True, text=True, check=False, env=os.environ | {"QFLUX_CACHE_DIR": str(cache)},
    )  # fmt: skip
    return [line for line in done.stderr.splitlines() if line.endswith((".png", ".jpg", ".jpeg"))]


@pytest.fixture
def settled(tmp_path: Path) -> Path:
    """A dataset whose files are older than the clock's grain, with masks and with a broken image."""
    root = lay_split(tmp_path / "set", bases="abc")
    lay(root, "train/control_images/a_mask.png")
    write(root / "train/training_images/b.png", picture("b.png")[:30])
    past = time.time_ns() - 60_000_000_000
    for path in root.rglob("*.*"):
        os.utime(path, ns=(past, past))
    return root


def test_a_second_check_opens_no_image_not_even_broken_ones(settled: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert len(opened(settled, cache)) == 7
    assert opened(settled, cache) == []
    write(settled / "train/training_images/c.png", picture("new.png"))
    assert opened(settled, cache) == [str(settled / "train/training_images/c.png")]


def test_what_is_found_is_the_same_the_second_time(settled: Path) -> None:
    first, second = check_dataset(settled), check_dataset(settled)
    assert first.findings == second.findings
    assert (first.facts, first.hashes) == (second.facts, second.hashes)


def test_who_asks_for_more_has_files_read_again_once(settled: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    opened(settled, cache)
    assert len(opened(settled, cache, "--decode")) == 6  # what is broken stays broken
    assert opened(settled, cache, "--decode") == []
    assert len(opened(settled, cache, "--near-duplicates")) == 6
    assert opened(settled, cache, "--near-duplicates") == []


def test_large_files_are_checked_in_pieces(tmp_path: Path) -> None:
    lay_split(tmp_path, bases="ab")
    whole = picture("a.png")
    text = b"Comment\0" + bytes(17 << 20)
    chunk = struct.pack(">I", len(text)) + b"tEXt" + text + struct.pack(">I", zlib.crc32(b"tEXt" + text))
    large = whole[:-12] + chunk + whole[-12:]
    write(tmp_path / "train/control_images/a.png", large)
    damaged = bytearray(large)
    damaged[1 << 20] = 1
    write(tmp_path / "train/control_images/b.png", bytes(damaged))
    scan = check_dataset(tmp_path)
    assert [(finding.code, finding.where) for finding in scan.findings if finding.severity == "error"] == [
        ("damaged-image", "train/control_images/b.png")
    ]
    assert scan.hashes["train/control_images/a.png"] == hashlib.sha256(large).digest()
