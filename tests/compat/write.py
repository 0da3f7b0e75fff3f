"""Write the example datasets, and one of clips, to a folder as they would lie on the Hub: shards and card.

For `make compat`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from huggingface_hub import snapshot_download

from qflux_hub import LocalHub, upload_dataset
from tests.builders import lay

DATA = Path(__file__).parents[1] / "data"


def main(destination: Path) -> None:
    """Upload the datasets to a Hub of our own and download the repos as they are."""
    shutil.rmtree(destination, ignore_errors=True)
    controls, targets = "train/control_images", "train/training_images"
    files = (f"{controls}/%s.png", f"{controls}/%s_control_1.wav", f"{targets}/%s.txt", f"{targets}/%s.mp4")
    clips = lay(destination / "files", *(file % name for name in "ab" for file in files))
    sources = {"photo_edits": DATA / "photo_edits", "photo_edits_csv": DATA / "photo_edits_csv", "clips": clips}
    with LocalHub(destination / "hub") as hub:
        for name, source in sources.items():
            upload_dataset(source, f"me/{name}", hub=hub)
            snapshot_download(
                f"me/{name}",
                repo_type="dataset",
                endpoint=hub.url,
                token=hub.token,
                local_dir=destination / name,
                cache_dir=destination / "cache",
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
