"""The dataset card: what qflux writes, and that the user's words survive it."""

from __future__ import annotations

from qflux_hub.cards import SplitFacts, dataset_card, read_card
from qflux_hub.pack import features

SPLITS = (
    SplitFacts("test", 1, 500, "data/test/*.parquet", (1, 1), 0, 0, {"png": 1}),
    SplitFacts("train", 1204, 3_400_000_000, "data/train/*.parquet", (1, 3), 10, 1200, {"jpeg": 12, "png": 2400}),
)


def card(existing=None, splits=SPLITS, extra=(), version="0.1.0", drop=()):
    return dataset_card(
        existing, repo_id="me/photo-edits", splits=splits, features=features(extra), version=version, drop=drop
    )


def test_the_same_data_gives_the_same_card():
    assert card(card()) == card()


def test_what_was_written_is_read_again():
    facts = read_card(card(extra=["camera"]))
    assert facts.files == {"train": ("data/train/*.parquet",), "test": ("data/test/*.parquet",)}
    assert facts.samples == {"train": 1204, "test": 1}
    assert facts.features == features(["camera"])
