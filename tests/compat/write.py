"""Write the example datasets to a folder as they would lie on the Hub: shards and card. For `make compat`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from huggingface_hub import snapshot_download

from qflux_hub import LocalHub, upload_dataset

DATA = Path(__file__).parents[1] / "data"


def main(destination: Path) -> None:
    """Upload both twins to a Hub of our own and download the repos as they are."""
    shutil.rmtree(destination, ignore_errors=True)
    with LocalHub(destination / "hub") as hub:
        for name in ("photo_edits", "photo_edits_csv"):
            upload_dataset(DATA / name, f"me/{name}", hub=hub)
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
