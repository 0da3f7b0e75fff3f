"""The command line: what it prints in every mode, its exit codes, and that it is the library with words.

Most run in this process through ``cli.run``; what concerns terminals, pipes, signals and imports runs as a process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer.main

import qflux_hub
from qflux_hub import LocalHub, layouts, options
from qflux_hub.cli import run
from qflux_hub.cli.commands import app
from qflux_hub.localhub import RequestLog
from tests.builders import lay, lay_split, picture, write
from tests.jobtools import (
    Answer,
    api,
    commits,
    environment,
    forget,
    interrupt,
    is_commit,
    lay_endless,
    network,
    put,
    qflux,
    start,
    wait_until_open,
)


@dataclass(frozen=True, slots=True)
class Said:
    """What a command ended with and printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout; nothing else may be there."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Run = Callable[..., Said]


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process."""

    def call(*arguments: object) -> Said:
        code = run([str(argument) for argument in arguments])
        return Said(code, *capfd.readouterr())

    return call


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A dataset with two errors, three warnings and a note."""
    root = lay_split(lay_split(tmp_path / "bad", "train", "abc"), "test", "x")
    write(root / "train/control_images/a.png", b"")
    write(root / "train/training_images/b.txt", b" \n")
    (root / "train/control_images/c.png").unlink()
    write(root / "test/control_images/x.png", picture("x.png", format="JPEG"))
    write(root / "train/training_images/notes.md", "hi")
    return root


@pytest.fixture
def upload(hub: LocalHub, repo: str, say: Run) -> Run:
    """Runs ``qflux upload-dataset SOURCE`` to a repo of its own."""

    def call(source: Path, *arguments: object) -> Said:
        return say("upload-dataset", source, repo, "--hub", hub.url, "--token", hub.token, *arguments)

    return call


# --- flags ------------------------------------------------------------------------------------------------------

MODES = {"--json", "-q", "--quiet", "-v", "--verbose", "-h", "--help"}
READ = {"--layout", "--column", "--split", "--follow-links", "--decode"}
HUB = {"--hub", "--token", "--revision"}
WRITE = {"--private", "--public", "-m", "--commit-message", "--create-pr", "--tag", "--dry-run", "--keep-visibility"}
UPLOAD = {"--shard-size", "--skip-bad", "--allow-empty-prompt", "--strict", "--prune-splits", "--mirror"}
UPLOAD |= {"--workers", "--no-card"}
CHECK = {"--strict", "--allow-empty-prompt", "--near-duplicates", "--validation", "--multiple-of"}
CHECK |= {"--report", "--list-codes", "--explain"}

COMMANDS: Any = typer.main.get_command(app())


def flags(command: str) -> set[str]:
    found = [name for one in COMMANDS.commands[command].params for name in (*one.opts, *one.secondary_opts)]
    return {name for name in found if name.startswith("-")} | {"-h", "--help"}


def test_commands_have_the_documented_flags_and_no_others() -> None:
    assert flags("upload-dataset") == MODES | READ | HUB | WRITE | UPLOAD
    assert flags("scan") == MODES | READ
    assert flags("check") == MODES | READ | CHECK
    assert (
        MODES | {"--dir", "--port", "--user"} <= flags("hub") <= MODES | {"--dir", "--port", "--user", "--fsck", "--gc"}
    )


def test_a_switch_has_no_opposite_that_nobody_documented() -> None:
    assert {flag for command in COMMANDS.commands for flag in flags(command) if flag.startswith("--no-")} == {
        "--no-card"
    }


PAIRS = {
    "upload_dataset": (options.UploadOptions, options.UploadKeywords, "upload-dataset"),
    "scan_dataset": (options.ReadOptions, options.ReadKeywords, "scan"),
    "check_dataset": (options.FullCheckOptions, options.FullCheckKeywords, "check"),
}


@pytest.mark.parametrize("function", PAIRS)
def test_a_command_its_function_and_its_options_are_the_same(function: str) -> None:
    chosen, keywords, command = PAIRS[function]
    fields = {field.name for field in dataclasses.fields(chosen)}
    taken = {name for name in get_type_hints(getattr(qflux_hub, function), include_extras=True) if name != "return"}
    own = taken - {"options", "progress", "source", "repo_id"}
    assert keywords.__annotations__.keys() | own == fields
    names = {one.name for one in COMMANDS.commands[command].params}
    assert fields <= names


@pytest.mark.parametrize("command", COMMANDS.commands)
def test_help_names_every_flag_and_ends_well(say: Run, command: str) -> None:
    said = say(command, "--help")
    assert (said.code, said.err) == (0, "")
    assert all(flag in said.out for flag in flags(command))
    assert say(command, "-h").out == said.out


def test_the_version_is_printed(say: Run) -> None:
    assert say("--version") == Said(0, f"qflux {qflux_hub.__version__}\n", "")


def test_a_flag_becomes_the_keyword_of_its_name(upload: Run, tmp_path: Path) -> None:
    root = lay_split(tmp_path / "ds", "train", "ab")
    said = upload(
        root,
        "--json",
        "--dry-run",
        "--public",
        "--shard-size",
        "64MB",
        "--workers",
        "2",
        "--split",
        "train",
        "--no-card",
    )
    assert said.code == 0
    assert (said.json["private"], said.json["dry_run"], [*said.json["splits"]]) == (False, True, ["train"])
    assert not any(operation["path"] == "README.md" for operation in said.json["operations"])


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("64MB", 64_000_000), ("1GB", 10**9), ("1.5 mb", 1_500_000), ("2k", 2000), ("5B", 5)],
)
def test_sizes_are_decimal(text: str, size: int) -> None:
    from qflux_hub.cli.flags import _size

    assert _size(text) == size


@pytest.mark.parametrize("text", ["", "x", "1XB", "-5", "1.2.3", "MB", "inf", ".", "9" * 400])
def test_what_is_no_size_is_wrong_usage(say: Run, photos: Path, text: str) -> None:
    said = say("upload-dataset", photos, "me/x", "--shard-size", text, "--json", "--hub", "http://127.0.0.1:9")
    assert (said.code, said.json["error"]["type"]) == (2, "UsageError")


def test_columns_are_given_as_role_and_column(say: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.png", picture("a.png"))
    write(tmp_path / "train.csv", "photo,caption\na.png,Do it.\n")
    said = say("scan", tmp_path, "--json", "--column", "control=photo", "--column", "prompt=caption")
    assert said.json["splits"]["train"][0]["prompt"] == "Do it."
    assert say("scan", tmp_path, "--column", "prompt").code == 2


# --- JSON -------------------------------------------------------------------------------------------------------


def test_scan_and_check_print_the_documented_json(say: Run, bad: Path) -> None:
    said = say("check", bad, "--json")
    assert (said.code, said.err) == (1, "")
    told = said.json
    assert [*told] == ["source", "layout", "splits", "findings", "counts", "seconds"]
    assert (told["source"], told["layout"]) == (str(bad), "directory")
    assert told["splits"]["train"][0] == {
        "id": "a",
        "prompt": "Prompt of a.",
        "controls": ["train/control_images/a.png"],
        "mask": None,
        "target": "train/training_images/a.png",
        "extra": {},
    }
    assert told["counts"].items() >= {"samples": 3, "files": 6, "errors": 2, "warnings": 2, "notes": 1}.items()
    assert {tuple(finding) for finding in told["findings"]} == {
        ("code", "severity", "where", "line", "message", "fix"),
    }
    assert {"missing-control", "empty-file"} <= {finding["code"] for finding in told["findings"]}
    scanned = say("scan", bad, "--json")
    assert scanned.code == 0
    assert [*scanned.json] == [*told]


def test_a_report_is_the_same_in_python_and_as_json(say: Run, photos: Path) -> None:
    told, report = say("check", photos, "--json").json, qflux_hub.check_dataset(photos).to_dict()
    del told["seconds"], report["seconds"]
    assert told == report


FAILURES: dict[str, tuple[int, str, list[str]]] = {
    "a command that does not exist": (2, "UsageError", ["nope"]),
    "an option that does not exist": (2, "UsageError", ["scan", "SOURCE", "--nope"]),
    "no source": (2, "UsageError", ["scan"]),
    "too much": (2, "UsageError", ["scan", "SOURCE", "SOURCE"]),
    "a value of another type": (2, "UsageError", ["upload-dataset", "SOURCE", "me/x", "--workers", "x"]),
    "a value that makes no sense": (2, "UsageError", ["upload-dataset", "SOURCE", "me/x", "--workers", "0"]),
    "no repo id": (2, "UsageError", ["upload-dataset", "SOURCE", "x"]),
    "a layout that does not exist": (2, "UsageError", ["scan", "SOURCE", "--layout", "zip"]),
    "no folder": (1, "LayoutError", ["scan", "SOURCE/nope"]),
    "no dataset": (1, "LayoutError", ["check", "SOURCE/train/control_images"]),
    "a repo id of three parts": (2, "UsageError", ["upload-dataset", "SOURCE", "a/b/c"]),
    "a branch that git refuses": (2, "UsageError", ["upload-dataset", "SOURCE", "me/x", "--revision", "a b"]),
    "a tag that git refuses": (2, "UsageError", ["upload-lora", "SOURCE", "me/x", "--tag", "v1..2"]),
    "a hub without a host": (2, "UsageError", ["diff", "SOURCE", "me/x", "--hub", "http://"]),
    "a hub with a password": (2, "UsageError", ["diff", "SOURCE", "me/x", "--hub", "https://me:hf_x@host"]),
    "no token": (3, "AuthError", ["upload-dataset", "SOURCE", "me/x", "--hub", "URL"]),
    "no hub": (5, "HubError", ["upload-dataset", "SOURCE", "me/x", "--hub", "http://127.0.0.1:9", "--token", "x"]),
    "an empty source": (2, "UsageError", ["scan", ""]),
    "an empty place to write to": (2, "UsageError", ["convert", "SOURCE", "", "--as", "csv"]),
    "an empty hub": (2, "UsageError", ["diff", "SOURCE", "me/x", "--hub", ""]),
    "an empty value among several": (2, "UsageError", ["scan", "SOURCE", "--split", "train", "--split", ""]),
    "an empty folder of a hub": (2, "UsageError", ["hub", "--dir", ""]),
    "a port that does not exist": (2, "UsageError", ["hub", "--dir", "SOURCE/../hub", "--port", "65536"]),
    "a hub in a file": (2, "UsageError", ["hub", "--dir", "SOURCE/train/training_images/a.txt"]),
    "a hub that is checked and served": (2, "UsageError", ["hub", "--fsck", "--port", "8000"]),
    "an account without a name": (2, "UsageError", ["hub", "--dir", "SOURCE/../hub", "--user", ":read"]),
}


@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_is_one_json_object_a_sentence_or_both_quiet(
    say: Run, hub: LocalHub, tmp_path: Path, what: str
) -> None:
    code, kind, arguments = FAILURES[what]
    source = str(lay_split(tmp_path / "ds", "train", "ab"))
    arguments = [argument.replace("SOURCE", source).replace("URL", hub.url) for argument in arguments]
    said = say(*arguments, "--json")
    assert (said.code, said.err) == (code, "")
    assert [*said.json] == ["error"]
    error = said.json["error"]
    assert [*error] == ["code", "type", "message", "hint"]
    assert (error["code"], error["type"]) == (code, kind)
    assert error["message"]
    for mode in ([], ["-q"]):
        plain = say(*arguments, *mode)
        assert (plain.code, plain.out) == (code, "")
        assert plain.err == f"error: {error['message']}\n{error['hint']}\n".replace("\n\n", "\n")
        assert "Traceback" not in plain.err


def test_an_error_with_findings_carries_the_report(upload: Run, bad: Path) -> None:
    said = upload(bad, "--json")
    assert said.code == 1
    assert [*said.json] == ["error", "report"]
    assert said.json["error"]["type"] == "DataError"
    assert [*said.json["report"]] == ["source", "layout", "splits", "findings", "counts", "seconds"]
    assert said.json["report"]["counts"]["errors"] == 2


def test_all_other_kinds_of_errors_have_their_codes(upload: Run, hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(tmp_path / "ds", "train", "ab")
    assert upload(root, "--revision", "refs/pr/1", "--json").json["error"]["code"] == 4
    assert upload(root, "--public", "--json").code == 0
    assert upload(root, "--private", "--json").json["error"] == {
        "code": 8,
        "type": "VisibilityError",
        "message": f"{repo} is public, but private was asked for; nothing was sent.",
        "hint": "Change it in the repo's settings, or upload to it as it is with --keep-visibility.",
    }
    write(root / "train/training_images/a.txt", "Changed.")

    def first(method: str, path: str) -> None:
        if is_commit(method, path):
            put(hub, repo, "notes.txt", os.urandom(9))

    def alter(_method: str, _path: str, answer: Answer) -> Answer:
        answer.body = answer.body[::-1] if answer.status == 206 else answer.body
        return answer

    with network(hub, before=first) as way:
        assert upload(root, "--hub", way.url, "--json").json["error"]["code"] == 6
    with network(hub, after=alter) as way:
        assert upload(root, "--hub", way.url, "--json").json["error"]["code"] == 7


PLACES = {
    "convert": ("convert", "SOURCE", "PLACE", "--as", "csv"),
    "download": ("download-dataset", "me/none", "PLACE"),
    "lora": ("download-lora", "me/none", "--local-dir", "PLACE"),
    "report": ("check", "SOURCE", "--report", "PLACE.csv"),
    "page": ("preview", "SOURCE", "--out", "PLACE.html"),
}
"""Commands that write to a place which the user names."""


@pytest.mark.parametrize("command", PLACES)
@pytest.mark.parametrize(("name", "why"), [("file/deeper", "Not a directory"), ("x" * 300, "File name too long")])
def test_a_place_that_cannot_be_written_to_is_said_before_any_work(
    say: Run, photos: Path, tmp_path: Path, command: str, name: str, why: str
) -> None:
    write(tmp_path / "file", "")
    given = {"SOURCE": str(photos), "PLACE": str(tmp_path / name)}
    told = say(*(given.get(one, one.replace("PLACE", given["PLACE"])) for one in PLACES[command]))
    assert told.code == 2
    first, hint = told.err.splitlines()
    assert re.fullmatch(rf"error: '/.*' cannot be written to: {why}\.", first)
    assert len(first) < 250
    assert hint == "Take another place."


@pytest.mark.parametrize("command", ["report", "page"])
def test_what_cannot_be_written_in_the_end_is_told_with_its_place(
    say: Run, photos: Path, tmp_path: Path, command: str
) -> None:
    place = str(tmp_path / ("x" * 248))  # a name that has no room for the one it bears until it is whole
    told = say(*({"SOURCE": str(photos)}.get(one, one.replace("PLACE", place)) for one in PLACES[command]))
    assert (told.code, told.err.splitlines()[-1]) == (1, "Take another place.")
    assert "cannot be written to: File name too long." in told.err
    assert [*tmp_path.iterdir()] == []


def test_a_file_in_the_way_of_a_folder_is_told_with_the_way_out(say: Run, photos: Path, tmp_path: Path) -> None:
    write(tmp_path / "out/train", "")
    told = say("convert", photos, tmp_path / "out", "--as", "directory")
    assert told.code == 1
    assert re.search(
        r"error: train/\S+ cannot be written to '/.*/out': Not a directory\.\nTake another place\.\n", told.err
    )


def test_strict_lets_a_check_fail_over_warnings(say: Run, tmp_path: Path) -> None:
    root = lay_split(tmp_path, "train", "ab")
    (root / "train/training_images/a.png").unlink()
    assert say("check", root).code == 0
    assert say("check", root, "--strict").code == 1
    assert say("check", root, "--strict", "--json").json["counts"]["warnings"] == 1


# --- words ------------------------------------------------------------------------------------------------------


def terminal(*arguments: object, env: dict[str, str], columns: int = 80) -> tuple[int, str]:
    """(exit code, what stands on a terminal in the end); colours are off, bars have come and gone."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in env.items() if name != "COLUMNS"} | {"NO_COLOR": "1", "TERM": "xterm"}
    command = [sys.executable, "-m", "qflux_hub", *map(str, arguments)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        pieces = []
        with contextlib.suppress(OSError):  # how a terminal ends
            while piece := os.read(ours, 65536):
                pieces.append(piece)
    os.close(ours)
    return process.returncode, _screen(b"".join(pieces).decode())


def _screen(written: str) -> str:
    """The lines that are left after moving up and erasing, without styles and trailing space."""
    lines: list[str] = [""]
    row = 0
    for piece in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", written):
        if piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\r":
            continue
        elif not piece.startswith("\x1b"):
            lines[row] += piece
        elif piece.endswith("A"):
            row -= int(piece[2:-1] or 1)
        elif piece.endswith("K"):
            lines[row] = ""
    return "\n".join(line.rstrip() for line in lines).rstrip("\n") + "\n"


PHOTOS = """\
photo_edits: 12 samples, 35 images, 380 kB (directory layout)

split   samples   controls each         masks   targets      size
─────────────────────────────────────────────────────────────────
train         9   1 (6), 2 (2), 3 (1)       6         9    301 kB
test          3   1 (2), 2 (1)              2         1   79.4 kB

train  formats  jpg 13, png 8, webp 7
       sizes    320×320 3, 320×240 3, 320×213 1, 320×229 1, 280×320 1
       aspects  1:1 3, 4:3 3, 3:2 1, 1.40:1 1, 1:1.14 1
test   formats  png 3, webp 2, jpg 2
       sizes    320×229 1, 224×224 1, 320×320 1
       aspects  1:1 2, 1.40:1 1

Everything pairs up. `qflux check` looks into the files.
"""

PHOTOS_PIPED = """\
photo_edits: 12 samples, 35 images, 380 kB (directory layout)

split  samples  controls each        masks  targets     size
train        9  1 (6), 2 (2), 3 (1)      6        9   301 kB
test         3  1 (2), 2 (1)             2        1  79.4 kB

train  formats  jpg 13, png 8, webp 7
       sizes    320×320 3, 320×240 3, 320×213 1, 320×229 1, 280×320 1
       aspects  1:1 3, 4:3 3, 3:2 1, 1.40:1 1, 1:1.14 1
test   formats  png 3, webp 2, jpg 2
       sizes    320×229 1, 224×224 1, 320×320 1
       aspects  1:1 2, 1.40:1 1

Everything pairs up. `qflux check` looks into the files.
"""

WELL = """\
note    train/training_images/cat_poster.png is stored with a palette of at most
        256 colours, which loads well. [palette]

All is well: no errors, no warnings, 6 notes.
Samples differ in controls (train, test), masks (train, test) and targets
(test). A batch size of 1 takes them as they are; `qflux check --explain
uneven-controls` says what larger ones do.
"""

WELL_PIPED = """\
note    train/training_images/cat_poster.png is stored with a palette of at most 256 colours, which loads well. \
[palette]

All is well: no errors, no warnings, 6 notes.
Samples differ in controls (train, test), masks (train, test) and targets (test). A batch size of 1 takes them as \
they are; `qflux check --explain uneven-controls` says what larger ones do.
"""

BAD = """\
bad: 3 samples, 6 images, 968 B (directory layout)

split   samples   controls each   masks   targets    size
─────────────────────────────────────────────────────────
train         2   1                   0         2   246 B
test          1   1                   0         1   722 B

train  formats  png 4
       sizes    4×3 2
       aspects  4:3 2
test   formats  png 2
       sizes    4×3 1
       aspects  4:3 1

error   train/training_images/b.txt: the prompt is empty. [empty-prompt]
        → write the prompt, or allow it with --allow-empty-prompt
error   train/control_images/a.png has no bytes. [empty-file]
        → copy or download it again
warning train/training_images/c.txt has no control image
        train/control_images/c.*, so the sample is left out. [missing-control]
        → give it a control image, or remove the sample
warning test/control_images/x.png is a JPEG file. [wrong-extension]
        → rename it to x.jpg
note    train/training_images/notes.md is left aside. [unused-file]

2 errors, 2 warnings, 1 note.
`qflux fix SOURCE` shows what it can repair.
`qflux check --explain CODE` says more about a kind of finding.
"""

BAD_PIPED = """\
bad: 3 samples, 6 images, 968 B (directory layout)

split  samples  controls each  masks  targets   size
train        2  1                  0        2  246 B
test         1  1                  0        1  722 B

train  formats  png 4
       sizes    4×3 2
       aspects  4:3 2
test   formats  png 2
       sizes    4×3 1
       aspects  4:3 1

error   train/training_images/b.txt: the prompt is empty. [empty-prompt] → write the prompt, or allow it with \
--allow-empty-prompt
error   train/control_images/a.png has no bytes. [empty-file] → copy or download it again
warning train/training_images/c.txt has no control image train/control_images/c.*, so the sample is left out. \
[missing-control] → give it a control image, or remove the sample
warning test/control_images/x.png is a JPEG file. [wrong-extension] → rename it to x.jpg
note    train/training_images/notes.md is left aside. [unused-file]

2 errors, 2 warnings, 1 note.
`qflux fix SOURCE` shows what it can repair.
`qflux check --explain CODE` says more about a kind of finding.
"""


def test_what_people_read_on_a_terminal(
    photos: Path, bad: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = environment(tmp_path) | {"PYTHONPATH": str(Path.cwd())}
    monkeypatch.chdir(photos.parent)
    assert terminal("scan", "photo_edits", env=env) == (0, PHOTOS)
    assert terminal("check", "photo_edits", env=env) == (0, PHOTOS.rpartition("Everything")[0] + WELL)
    monkeypatch.chdir(bad.parent)
    assert terminal("check", "bad", env=env) == (1, BAD)


def test_what_goes_into_a_pipe(say: Run, photos: Path, bad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    assert say("scan", "photo_edits") == Said(0, PHOTOS_PIPED, "")
    assert say("check", "photo_edits") == Said(0, PHOTOS_PIPED.rpartition("Everything")[0] + WELL_PIPED, "")
    assert say("check", "photo_edits", "--verbose").out.count("[uneven-") == 5
    monkeypatch.chdir(bad.parent)
    assert say("check", "bad") == Said(1, BAD_PIPED, "")
    assert say("check", "bad", "-q") == Said(1, "", "")


FIRST = """\
REPO (private) at main
split  samples  added  changed  removed  unchanged
train        9      9        -        -          -
test         3      3        -        -          -

Done: SIZE sent for 380 kB of files, in N s.
URL/datasets/REPO/commit/COMMIT
"""

PLANNED = """\
REPO (private) at main
split  samples  added  changed  removed  unchanged
train        9      -        1        -          8
test         3      -        -        -          3

update    SIZE  data/train/astronaut_in_space-b55fa42a.parquet  (9 samples, some changed)
update            .qflux/index/train.parquet  (index of the split)
keep      SIZE  data/test/cat_by_the_wall-abc8bc21.parquet  (3 samples unchanged)
keep      SIZE  .qflux/index/test.parquet  (index of the split)
update            README.md  (dataset card)
Dry run: nothing was sent.
"""

AGAIN = """\
REPO (private) at main
split  samples  added  changed  removed  unchanged
train        9      -        -        -          9
test         3      -        -        -          3

Nothing to do: the Hub has all of it.
"""


def test_what_an_upload_says(upload: Run, hub: LocalHub, repo: str, photos: Path, tmp_path: Path) -> None:
    import shutil

    root = shutil.copytree(photos, tmp_path / "ds")

    def words(said: Said) -> str:
        assert (said.code, said.err) == (0, "")
        text = said.out.replace(repo, "REPO").replace(hub.url, "URL")
        text = re.sub(r"[\d.]+ k?B sent", "SIZE sent", re.sub(r"in [\d.]+ s\.", "in N s.", text))
        return re.sub(r"commit/[0-9a-f]{40}", "commit/COMMIT", re.sub(r"(?m)^(update|keep) +[\d.]+ k?B", _sized, text))

    assert words(upload(root)) == FIRST
    assert words(upload(root)) == AGAIN
    assert words(upload(root, "--tag", "v1", "--dry-run")).endswith(
        "\nDry run: the Hub has all of it, and would tag it v1.\n"
    )
    assert words(upload(root, "--tag", "v1")).endswith("\n\nThe Hub had all of it; now it is tagged v1.\n")
    assert words(upload(root, "--tag", "v1")) == AGAIN
    head = api(hub).dataset_info(repo).sha
    assert upload(root, "-q") == Said(0, f"{hub.url}/datasets/{repo}/commit/{head}\n", "")
    write(root / "train/training_images/cat_poster.txt", "Another prompt.")
    assert words(upload(root, "--dry-run")) == PLANNED
    assert len(commits(hub, repo)) == 2
    assert re.search(r"(?m)^[\d.]+ kB read, [\d.]+ kB packed\.$", upload(root, "--verbose").out)


def _sized(found: re.Match[str]) -> str:
    return f"{found[1]:<6}    SIZE"


def test_a_long_path_is_never_cut_short(tmp_path: Path) -> None:
    root = lay_split(tmp_path / "ds", "train", "a")
    name = "a_long_name_of_an_image_that_belongs_to_no_sample_at_all_and_goes_on_and_on.png"
    write(root / "train/control_images" / name, picture("x.png"))
    _, screen = terminal("check", root, env=environment(tmp_path))
    assert name in re.sub(r"\n *", "", screen)
    assert "…" not in screen


def test_names_cannot_command_the_terminal_nor_break_lines(say: Run, tmp_path: Path) -> None:
    root = lay_split(tmp_path / "ds", "train", "a")
    write(root / "train/control_images/\x1b[31mred\x07[bold]x[/bold]\nerror   fake.png", picture("x.png"))
    said = say("check", root)
    assert "\x1b" not in said.out
    assert "\x07" not in said.out
    assert "\\x1b[31mred\\x07[bold]x[/bold]" in said.out
    assert not any(line.startswith("error") for line in said.out.splitlines())


def test_nothing_is_coloured_or_wrapped_in_a_pipe(tmp_path: Path, bad: Path) -> None:
    ran = qflux("check", str(bad), env=environment(tmp_path, TERM="xterm-256color", COLUMNS="40"))
    assert "\x1b" not in ran.stdout + ran.stderr
    assert "no control image train/control_images/c.*, so the sample is left out. [missing-control] → " in ran.stdout


def test_many_findings_of_one_kind_are_counted_unless_verbose(say: Run, tmp_path: Path) -> None:
    root = lay_split(tmp_path, "train", [f"s{number:02}" for number in range(30)])
    for path in root.glob("train/training_images/*.png"):
        path.unlink()
    short = say("check", root)
    assert short.out.count("[missing-target]") == 5
    assert "… and 25 more missing-target (--verbose lists all)" in short.out
    assert say("check", root, "--verbose").out.count("[missing-target]") == 30


def test_what_the_client_says_of_its_retries_is_for_verbose(say: Run, hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root, token = lay_split(tmp_path), hub.token

    def busy(_method: str, _path: str) -> Answer | None:
        return Answer(503, [], b"overloaded") if len(way.seen) == 1 else None

    for flag in ("--json", "--dry-run", "--verbose"):
        with network(hub, before=busy) as way:
            said = say("upload-dataset", root, repo, "--hub", way.url, "--token", token, flag)
        assert said.code == 0
        assert len(way.seen) > 1
        assert ("503 thrown while requesting GET" in said.err) is (flag == "--verbose")
        assert flag == "--verbose" or said.err == ""


def test_a_traceback_is_shown_only_with_verbose(say: Run, tmp_path: Path) -> None:
    assert "Traceback" not in say("scan", tmp_path / "nope").err
    verbose = say("scan", tmp_path / "nope", "--verbose").err
    assert "Traceback (most recent call last)" in verbose
    assert verbose.splitlines()[-2].startswith("error: There is no folder")


# --- pipes and signals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["scan"], ["scan", "--json"]])
def test_a_closed_pipe_ends_quietly(tmp_path: Path, arguments: list[str]) -> None:
    root = lay_split(tmp_path / "ds", "train", ["a"])
    lay(root, *(f"train/training_images/without_a_control_{number}.txt" for number in range(700)))
    with start(*arguments, str(root), "--verbose", env=environment(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read()
        assert said.startswith(f"{root} is read as directory:\n")
        assert said.count("\n") == 1 + len(layouts.names())
        assert process.wait(10) == 0


def test_a_closed_pipe_ends_an_error_quietly(tmp_path: Path, hub: LocalHub) -> None:
    root = lay_split(tmp_path / "ds", "train", ["a"])
    lay(root, *(f"train/training_images/without_a_control_{number}.txt" for number in range(700)))
    given = ["upload-dataset", str(root), "me/x", "--strict", "--hub", hub.url, "--token", hub.token, "--json"]
    with start(*given, env=environment(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == ("", 1)


@pytest.mark.parametrize(("closed", "arguments", "code"), [(1, ["--json"], 0), (2, ["--nope"], 2), (1, ["--nope"], 2)])
def test_streams_that_were_closed_before_the_start_are_nothing_to_stumble_over(
    tmp_path: Path, photos: Path, closed: int, arguments: list[str], code: int
) -> None:
    ran = qflux("scan", str(photos), *arguments, env=environment(tmp_path), preexec_fn=lambda: os.close(closed))
    assert ran.returncode == code
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--nope", "--json"]])
def test_output_that_cannot_be_written_is_said(tmp_path: Path, photos: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ran = qflux(
            "scan",
            str(photos),
            *arguments,
            env=environment(tmp_path),
            capture_output=False,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert ran.returncode == 1
    assert "No space left on device.\n" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_short_flags_in_one_word_set_the_mode_of_errors_as_well(say: Run, tmp_path: Path) -> None:
    assert "Traceback" in say("scan", tmp_path / "nope", "-qv").err


def test_text_that_a_stream_cannot_hold_is_escaped(tmp_path: Path) -> None:
    root = lay_split(tmp_path / "ds", "train", ["猫"])
    (root / "train/training_images/猫.png").unlink()
    env = environment(tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C")
    ran = qflux("check", str(root), env=env)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\\u732b" in ran.stdout
    told = json.loads(qflux("check", str(root), "--json", env=env).stdout)
    assert told["splits"]["train"][0]["id"] == "猫"


def test_a_folder_whose_name_is_not_utf_8_is_read_uploaded_and_converted(upload: Run, say: Run, tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        lay_split(root, "train", "ab")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    told = say("check", root, "--json")
    assert (told.code, told.json["source"]) == (0, f"{tmp_path}/caf\\xe9")
    assert upload(root, "-q").code == 0
    assert upload(root, "--json").json["changed"] is False
    assert say("convert", root, tmp_path / "csv", "--as", "csv").code == 0


def test_interrupted_as_json(tmp_path: Path) -> None:
    endless = lay_endless(tmp_path / "ds")
    with start("check", str(tmp_path / "ds"), "--json", env=environment(tmp_path)) as process:
        wait_until_open(process, endless)
        out, err = interrupt(process)
    error = json.loads(out)["error"]
    assert (process.returncode, error["code"], error["type"], err) == (130, 130, "Interrupted", "")


# --- the embedded hub -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(home: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """``qflux hub`` as a process, and the variables that it prints."""
    with start("hub", "--dir", str(home / "hub"), *arguments, env=environment(home)) as process:
        try:
            assert process.stdout is not None
            count = 2 + arguments.count("--user")
            lines = [process.stdout.readline().strip() for _ in range(count)]
            yield process, dict(line.removeprefix("# ").split("=", 1) for line in lines)
        finally:
            process.kill()


def test_the_hub_serves_until_ctrl_c(tmp_path: Path) -> None:
    with serving(tmp_path, "--user", "anna", "--user", "bob:read") as (process, told):
        client = api_of(told)
        assert client.whoami()["name"] == "me"
        assert [name for name in told if name.startswith(("anna", "bob"))] == ["anna: HF_TOKEN", "bob: HF_TOKEN"]
        assert client.whoami(told["anna: HF_TOKEN"])["name"] == "anna"
        assert client.whoami(told["bob: HF_TOKEN"])["auth"]["accessToken"]["role"] == "read"
        _, err = interrupt(process)
        assert (process.returncode, err) == (0, "Serving until Ctrl-C.\n")


def api_of(told: dict[str, str]) -> Any:
    from huggingface_hub import HfApi

    return HfApi(told["HF_ENDPOINT"], token=told["HF_TOKEN"])


def test_the_hub_comes_back_where_it_was_with_what_it_had(photos: Path, tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        with serving(tmp_path) as (process, told):
            env = environment(tmp_path, **told)
            ran = qflux("upload-dataset", str(photos), "me/ds", "--json", env=env)
            seen.append((told, json.loads(ran.stdout)["changed"]))
            interrupt(process)
    (first, changed), (second, again) = seen
    assert first == second
    assert (changed, again) == (True, False)


def test_two_commands_at_once_on_one_local_hub(photos: Path, tmp_path: Path) -> None:
    env = environment(tmp_path)
    arguments = ["upload-dataset", str(photos), "--hub", "local", "--json"]
    both = [start(*arguments, f"me/ds{number}", env=env) for number in range(2)]
    for process in both:
        with process:
            out, err = process.communicate(timeout=60)
            assert (process.returncode, err) == (0, ""), out
            assert json.loads(out)["changed"] is True
    assert json.loads(qflux(*arguments, "me/ds1", env=env).stdout)["changed"] is False


# --- what is imported -------------------------------------------------------------------------------------------

SPY = """
import sys
from qflux_hub.cli import run
code = run(sys.argv[1:])
print(code, *sorted({name.partition(".")[0] for name in sys.modules} & set(%r)), file=sys.stderr)
"""
HEAVY = ["pyarrow", "datasets", "huggingface_hub", "PIL", "pandas", "numpy", "torch", "starlette", "rich"]


def imported(home: Path, *arguments: object, **variables: str) -> str:
    command = [sys.executable, "-c", SPY % HEAVY, *map(str, arguments)]
    env = environment(home, **variables)
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stderr.splitlines()[-1]


def test_help_and_scans_import_nothing_heavy(photos: Path, tmp_path: Path) -> None:
    assert imported(tmp_path, "--help") == "0"
    assert imported(tmp_path, "upload-dataset", "--help") == "0"
    assert imported(tmp_path, "scan", photos) == "0 rich"
    assert imported(tmp_path, "scan", photos, "--json") == "0"


def test_an_unchanged_upload_asks_for_the_listing_and_imports_nothing_for_data(
    hub: LocalHub, hub_log: list[RequestLog], repo: str, photos: Path, tmp_path: Path
) -> None:
    there = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token}
    assert qflux("upload-dataset", str(photos), repo, env=environment(tmp_path, **there)).returncode == 0
    forget(hub_log)
    assert imported(tmp_path, "upload-dataset", photos, repo, "--quiet", **there) == "0 huggingface_hub"
    assert {request.path for request in hub_log} <= {f"/api/datasets/{repo}"}


def test_importing_the_package_imports_no_other_module_of_it(tmp_path: Path) -> None:
    source = "import sys, qflux_hub; print([name for name in sys.modules if name.startswith('qflux')])"
    ran = subprocess.run([sys.executable, "-c", source], env=environment(tmp_path), capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("['qflux_hub']\n", "")
