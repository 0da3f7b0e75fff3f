"""Our reader against the files of ``write``: both must say the same. Repaired and cleaned copies go to ``DIR/ours``.

python -m tests.with_torch.read DIR
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from qflux_hub import LocalHub, inspect_lora, upload_lora
from qflux_hub.lora.header import read_header
from qflux_hub.lora.local import open_weights

CONFIG = "model:\n  lora:\n    r: 4\n    lora_alpha: 2\n"


def compare(path: Path, expected: dict[str, Any]) -> None:
    """Header by header, then the description."""
    data = path.read_bytes()
    header = read_header(lambda begin, end: data[begin:end], len(data))
    reference = expected["reference"]
    assert {t.name: list(t.shape) for t in header.tensors} == reference["shapes"]
    assert {t.name: t.dtype for t in header.tensors} == reference["dtypes"]
    assert dict(header.metadata) == reference["metadata"]
    found = inspect_lora(path, full=True)
    told = found.to_dict() | {"family": found.family.name}
    for fact in ("format", "rank", "alpha", "scale", "dtype", "family"):
        assert told[fact] == expected[fact], f"{fact}: {told[fact]} instead of {expected[fact]}"
    codes = {finding.code for finding in found.findings}
    assert set(expected.get("codes", ())) <= codes
    assert found.valid, codes


def repair(root: Path, path: Path, hub: LocalHub) -> None:
    """The copy that an upload with ``write_alpha`` and ``scrub`` sends."""
    from qflux_hub import download_lora

    (root / "ours").mkdir(exist_ok=True)
    config = root / "ours" / "train_config.yaml"
    config.write_text(CONFIG)
    repo = f"me/{path.parent.name}"
    upload_lora(path, repo, hub=hub, extra_files=[str(config)], write_alpha=True, scrub=True, card=False)
    copy = root / "ours" / f"{path.parent.name}.safetensors"
    shutil.copyfile(download_lora(repo, hub=hub), copy)
    assert open_weights(copy, copy.name).lora.alpha == 2.0


def main() -> None:
    root = Path(sys.argv[1])
    expected = json.loads((root / "expected.json").read_text())
    for name, one in expected.items():
        compare(root / one["file"], one)
        print(f"agree: {name}")
    with LocalHub(root / "hub") as hub:
        for name in ("diffusers", "comfyui"):
            if name in expected:
                repair(root, root / expected[name]["file"], hub)
                print(f"repaired: {name}")


if __name__ == "__main__":
    main()
