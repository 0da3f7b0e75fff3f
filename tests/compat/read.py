"""Read what write.py wrote with whatever `datasets` and polars are installed here, and compare with the files.

Needs nothing of qflux, so that it runs in an environment with an old `datasets`.
"""

import hashlib
import sys
from pathlib import Path

import datasets
import polars
from datasets import Audio, Image, Sequence, Video, load_dataset

DATA = Path(__file__).parents[1] / "data"
COLUMNS = ["id", "control_images", "control_mask", "target_image", "prompt"]


def main(folder: Path) -> None:
    """Load both datasets with and without their card, streaming and not."""
    expected = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (DATA / "photo_edits").rglob("*.*")}
    for name in ("photo_edits", "photo_edits_csv"):
        repo = folder / name
        loaded = load_dataset(str(repo), cache_dir=str(folder / "datasets-cache"))
        assert {split: len(rows) for split, rows in loaded.items()} == {"train": 9, "test": 3}, loaded
        for split, rows in loaded.items():
            assert rows.column_names == COLUMNS, rows.column_names
            check(rows, expected)
            files = str(repo / "data" / split / "*.parquet")
            bare = load_dataset("parquet", data_files=files, cache_dir=str(folder / "datasets-cache"), split="train")
            check(bare, expected)
            first = next(iter(load_dataset(str(repo), split=split, streaming=True)))
            assert first["control_images"][0].size[0] > 100, first
            table = polars.read_parquet(files)
            assert table["id"].to_list() == rows["id"][:], table
            assert hashlib.sha256(table["control_images"][0][0]["bytes"]).hexdigest() in expected
    check_clips(folder)
    print(f"datasets {datasets.__version__}, polars {polars.__version__}: all datasets read, every file as it was")


def check(rows, expected):
    """Images decode to what the trainer takes, and their stored bytes are those of the files."""
    assert rows[0]["control_images"][0].convert("RGB").size[0] > 100
    raw = rows.cast_column("target_image", Image(decode=False)).cast_column("control_mask", Image(decode=False))
    for row in raw:
        for image in (row["target_image"], row["control_mask"]):
            assert image is None or hashlib.sha256(image["bytes"]).hexdigest() in expected


def check_clips(folder):
    """Videos and sounds have their features, and their stored bytes are those of the files. Nothing is decoded."""
    rows = load_dataset(str(folder / "clips"), split="train", cache_dir=str(folder / "datasets-cache"))
    assert rows.features["target_video"] == Video(), rows.features
    assert rows.features["control_audios"] == Sequence(Audio()), rows.features
    raw = rows.cast_column("target_video", Video(decode=False)).cast_column(
        "control_audios", Sequence(Audio(decode=False))
    )
    for row in raw:
        assert row["control_images"][0].size == (4, 3)
        stored = {"training_images": row["target_video"], "control_images": row["control_audios"][0]}
        for place, file in stored.items():
            assert file["bytes"] == (folder / "files" / "train" / place / file["path"]).read_bytes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
