"""The dataset of ``generate`` sent by ``datasets`` with its defaults: what uploads are compared with.

    python -m tests.bench.push DIR REPO_ID

Listing is done by one ``scandir``, so that the comparison is of packing and sending alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from datasets import Dataset, DatasetDict, Features, Image, Sequence, Value

FEATURES = Features(
    {
        "id": Value("string"),
        "control_images": Sequence(Image()),
        "control_mask": Image(),
        "target_image": Image(),
        "prompt": Value("string"),
    }
)


def rows(split: Path) -> dict[str, list[object]]:
    """Columns of ids, paths and prompts."""
    controls = {Path(entry.name).stem: entry.path for entry in os.scandir(split / "control_images")}
    training = list(os.scandir(split / "training_images"))
    targets = {Path(entry.name).stem: entry.path for entry in training if not entry.name.endswith(".txt")}
    prompts = {Path(entry.name).stem: entry.path for entry in training if entry.name.endswith(".txt")}
    ids = sorted(prompts)
    return {
        "id": list(ids),
        "control_images": [[controls[name], controls[f"{name}_control_1"]] for name in ids],
        "control_mask": [controls[f"{name}_mask"] for name in ids],
        "target_image": [targets[name] for name in ids],
        "prompt": [Path(prompts[name]).read_text().strip() for name in ids],
    }


def main() -> None:
    folder, repo_id = sys.argv[1:]
    splits = {"train": Dataset.from_dict(rows(Path(folder) / "train"), features=FEATURES)}
    DatasetDict(splits).push_to_hub(repo_id, private=True)


if __name__ == "__main__":
    main()
