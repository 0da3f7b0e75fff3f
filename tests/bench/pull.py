"""What people do without qflux to have a dataset of the Hub as files.

python -m tests.bench.pull REPO DEST            # all files of the repo, as they are
python -m tests.bench.pull REPO DEST --unpack   # its Parquet files, and from them images and prompts
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
from huggingface_hub import snapshot_download


def main() -> None:
    repo, dest, *unpack = sys.argv[1:]
    if not unpack:
        snapshot_download(repo, repo_type="dataset", local_dir=dest)
        return
    root = Path(snapshot_download(repo, repo_type="dataset", allow_patterns="data/**"))
    for path in sorted(root.rglob("*.parquet")):
        split = Path(dest, path.relative_to(root / "data").parts[0].partition("-")[0])
        controls, targets = split / "control_images", split / "training_images"
        controls.mkdir(parents=True, exist_ok=True)
        targets.mkdir(exist_ok=True)
        for batch in pq.ParquetFile(path).iter_batches(batch_size=16):
            for row in batch.to_pylist():
                (targets / f"{row['id']}.txt").write_text(row["prompt"])
                beside = [row["target_image"]] if row["target_image"] else []
                for image in beside:
                    (targets / image["path"]).write_bytes(image["bytes"])
                for image in [*row["control_images"], *([row["control_mask"]] if row["control_mask"] else [])]:
                    (controls / image["path"]).write_bytes(image["bytes"])


if __name__ == "__main__":
    main()
