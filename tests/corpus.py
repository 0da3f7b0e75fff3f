"""Check every file of a folder of images, alone, as control, mask and target; print what came of it as JSON lines.

    python -m tests.corpus .demo/corpus

Each line: the file, its role, seconds, peak memory in bytes (the kernel's high-water mark, reset before every file),
the codes of errors and of other findings about it, its size as the check saw it, and what Pillow says of it: its size
as displayed, or why it does not load. One process for all: a crash or a hang shows by the line that is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from qflux_hub import check_dataset
from qflux_hub.naming import is_image_name, split_extension
from tests.builders import lay, write

ROLES = {
    "control": "train/control_images/a",
    "mask": "train/control_images/a_mask",
    "target": "train/training_images/a",
}


def files(corpus: Path) -> list[Path]:
    return sorted(path for path in corpus.rglob("*") if path.is_file() and path.suffix not in (".txt", ".md"))


def look(path: Path, role: str, root: Path) -> dict[str, Any]:
    """What a check says of one file in one role, beside images that are well."""
    shutil.rmtree(root, ignore_errors=True)
    lay(root, "train/training_images/a.txt")
    name = ROLES[role] + (split_extension(path.name)[1] if is_image_name(path.name) else ".png")
    for other in ROLES.values():
        if other != ROLES[role]:
            lay(root, other + ".png")
    write(root / name, path.read_bytes())
    Path("/proc/self/clear_refs").write_text("5")
    began, crash, scan = time.perf_counter(), "", None
    try:
        scan = check_dataset(root)
    except Exception:  # noqa: BLE001 - this is what the corpus is for
        crash = traceback.format_exc()
    seconds = time.perf_counter() - began
    status = Path("/proc/self/status").read_text()
    about = [finding for finding in scan.findings if finding.where == name] if scan else []
    facts = scan.facts[name] if scan else None
    return {
        "file": str(path),
        "role": role,
        "seconds": round(seconds, 3),
        "peak": int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024,
        "errors": [finding.code for finding in about if finding.severity == "error"],
        "others": [finding.code for finding in about if finding.severity != "error"],
        "format": facts.format if facts else None,
        "size": [facts.width, facts.height] if facts else None,
        "crash": crash,
    }


def truth(path: Path, role: str) -> dict[str, Any]:
    """What a trainer's loader makes of the file: upright, and in colours or, of a mask, in grey."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                turned = ImageOps.exif_transpose(image)
                turned.convert("L" if role == "mask" else "RGB")
                return {"loads": True, "loader": image.format, "displayed": list(turned.size)}
    except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
        return {"loads": False, "loader": f"{type(error).__name__}: {error}", "displayed": None}


def main(corpus: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["QFLUX_CACHE_DIR"] = f"{scratch}/cache"
        for path in files(corpus):
            for role in ROLES:
                print(json.dumps(look(path, role, Path(scratch) / "dataset") | truth(path, role)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
