"""Draw the README's picture of the terminal: the real commands, run in a real terminal of 80 columns.

python -m tests.picture .github/demo.svg
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

COMMANDS = (
    "qflux check broken_edits",
    "qflux upload-dataset tests/data/photo_edits me/photo-edits --hub local",
    "qflux upload-dataset tests/data/photo_edits me/photo-edits --hub local",
)
WIDTH = 80


def run(command: str, environment: dict[str, str]) -> str:
    """What ``command`` shows in a terminal, escape codes included, progress bars taken out."""
    leader, follower = pty.openpty()
    # COLUMNS, because a pseudo-terminal has no size of its own.
    with subprocess.Popen(command.split(), stdout=follower, stderr=subprocess.DEVNULL, env=environment):
        os.close(follower)
        shown = b""
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # how a terminal says that its program has ended
                break
            shown += piece
    os.close(leader)
    return re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:5170", shown.decode()).replace("\r\n", "\n")


def break_some(folder: Path) -> None:
    """A few photos with what goes wrong in real datasets."""
    source = Path(__file__).parent / "data" / "photo_edits" / "train"
    split = folder / "train"
    for sub in ("control_images", "training_images"):
        (split / sub).mkdir(parents=True)
        for file in (source / sub).iterdir():
            if file.name.startswith(("cafe_colour", "cat_poster", "suit_blue", "portrait_restored")):
                (split / sub / file.name).write_bytes(file.read_bytes())
    controls, targets = split / "control_images", split / "training_images"
    (controls / "cafe_colour.jpg").rename(controls / "Cafe_colour.jpg")
    (controls / "suit_blue.webp").write_bytes((controls / "suit_blue.webp").read_bytes()[:5000])
    (targets / "portrait_restored.webp").rename(targets / "portrait_restored.png")
    (targets / "cat_poster.txt").write_bytes("Make a poster – only colours of the second picture.".encode("cp1252"))


def main(picture: Path) -> None:
    """Run the commands and draw what they showed."""
    with tempfile.TemporaryDirectory() as folder:
        break_some(Path(folder) / "broken_edits")
        home = {"QFLUX_HUB_DIR": f"{folder}/hub", "QFLUX_CACHE_DIR": f"{folder}/cache", "HF_HOME": f"{folder}/hf"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | home | {"PATH": path, "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
        console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
        for number, command in enumerate(COMMANDS):
            console.print(Text.assemble("" if number == 0 else "\n", ("$ ", "bold green"), (command, "bold")))
            real = command.replace("broken_edits", f"{folder}/broken_edits")
            console.print(Text.from_ansi(run(real, environment).replace(f"{folder}/", "").rstrip()))
    svg = console.export_svg(title="qflux", theme=SVG_EXPORT_THEME)
    picture.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
