"""Datasets loaded back from a Hub, as `datasets` types."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from qflux_hub import (
    AuthError,
    HubError,
    LocalHub,
    NotFoundError,
    UsageError,
    VerificationError,
    load_editing_dataset,
    upload_dataset,
)
from qflux_hub.report import UploadReport
from tests.builders import lay_split, write
from tests.jobtools import Answer, api, environment, files, network, prompts, put_raw, script

COLUMNS = ["id", "control_images", "control_mask", "target_image", "prompt"]


def load(repo: str, split: str | None = None, **options: Any) -> Any:
    """Untyped, because what comes back depends on the arguments."""
    return load_editing_dataset(repo, split, **options)


@pytest.fixture(scope="module")
def data() -> Path:
    return Path(__file__).parent / "data" / "photo_edits"


@pytest.fixture(scope="module")
def first(hub: LocalHub, data: Path) -> UploadReport:
    """``me/loaded``: the photos in nine small shards; a public repo."""
    return upload_dataset(data, "me/loaded", False, shard_size=60_000, hub=hub)


pytestmark = pytest.mark.usefixtures("first")


def test_all_splits_come_as_a_dataset_dict(hub: LocalHub) -> None:
    loaded = load("me/loaded", hub=hub)
    assert type(loaded).__name__ == "DatasetDict"
    assert {name: len(split) for name, split in loaded.items()} == {"train": 9, "test": 3}
    assert [*loaded] == ["train", "test"]


def test_one_split_comes_as_a_dataset(hub: LocalHub, data: Path) -> None:
    train = load("me/loaded", "train", hub=hub)
    assert type(train).__name__ == "Dataset"
    assert str(train.split) == "train"
    assert train["id"] == sorted(path.stem for path in data.glob("train/training_images/*.txt"))


def test_a_sample_is_what_the_documentation_says(hub: LocalHub) -> None:
    loaded = load("me/loaded", hub=hub)
    for dataset in loaded.values():
        assert dataset.column_names == COLUMNS
        for sample in dataset:
            assert isinstance(sample["prompt"], str)
            assert isinstance(sample["control_images"], list)
            assert sample["control_images"]
            for image in (*sample["control_images"], sample["control_mask"], sample["target_image"]):
                assert image is None or image.convert("RGB").size > (9, 9)
    assert {sample["control_mask"] is None for sample in loaded["train"]} == {True, False}
    assert {sample["target_image"] is None for sample in loaded["test"]} == {True, False}


def test_streaming_gives_the_same_rows_in_the_same_order(hub: LocalHub) -> None:
    loaded, streamed = load("me/loaded", hub=hub), load("me/loaded", streaming=True, hub=hub)
    assert type(streamed).__name__ == "IterableDatasetDict"
    assert [*streamed] == [*loaded]
    for name, stream in streamed.items():
        assert type(stream).__name__ == "IterableDataset"
        assert [*stream.features] == COLUMNS
        rows = list(stream)
        assert [row["id"] for row in rows] == loaded[name]["id"]
        for row, kept in zip(rows, loaded[name], strict=True):
            assert row["prompt"] == kept["prompt"]
            assert [image.tobytes() for image in row["control_images"]] == [
                image.tobytes() for image in kept["control_images"]
            ]


def test_one_split_can_be_streamed_from_its_middle(hub: LocalHub) -> None:
    stream = load("me/loaded", "train", streaming=True, hub=hub)
    assert [row["id"] for row in stream.skip(7)] == load("me/loaded", "train", hub=hub)["id"][7:]
    assert len(list(stream.take(2))) == 2


def test_a_pickled_stream_has_no_token_and_goes_on_reading(hub: LocalHub) -> None:
    import pickle

    stream = load("me/loaded", "test", streaming=True, hub=hub.url)
    packed = pickle.dumps(stream)
    assert hub.token.encode() not in packed
    assert len(list(pickle.loads(packed))) == 3  # noqa: S301 - our own


def test_several_workers_share_the_files_of_a_stream(hub: LocalHub) -> None:
    stream = load("me/loaded", "train", streaming=True, hub=hub)
    assert stream.num_shards > 2
    parts = [stream.shard(num_shards=2, index=number) for number in range(2)]
    found = [[row["id"] for row in part] for part in parts]
    assert all(found)
    assert sorted(found[0] + found[1]) == load("me/loaded", "train", hub=hub)["id"]


@pytest.mark.parametrize("kind", ["tag", "commit", "branch"])
def test_a_revision_is_a_tag_a_commit_or_a_branch(hub: LocalHub, repo: str, tmp_path: Path, kind: str) -> None:
    root = lay_split(tmp_path)
    report = upload_dataset(root, repo, tag="v1", hub=hub)
    api(hub).create_branch(repo, branch="old", repo_type="dataset")
    write(root / "train/training_images/a.txt", "Later.")
    upload_dataset(root, repo, hub=hub)
    revision = {"tag": "v1", "commit": report.commit, "branch": "old"}[kind]
    assert prompts(hub, repo, revision=revision)["a"] == "Prompt of a."
    assert prompts(hub, repo)["a"] == "Later."


# --- what is not there, or not to be seen -----------------------------------------------------------------------


def test_an_unknown_split_is_an_error_that_lists_those_there_are(hub: LocalHub) -> None:
    with pytest.raises(NotFoundError, match="has no split 'val'") as caught:
        load("me/loaded", "val", hub=hub)
    assert "train, test" in caught.value.hint
    assert caught.value.code == 4


def test_an_unknown_revision_is_named(hub: LocalHub) -> None:
    with pytest.raises(NotFoundError, match="has no revision 'v9'") as caught:
        load("me/loaded", revision="v9", hub=hub)
    assert caught.value.what == "revision"


def test_an_unknown_repo_is_named(hub: LocalHub) -> None:
    with pytest.raises(NotFoundError, match="There is no me/nothing on") as caught:
        load("me/nothing", hub=hub)
    assert caught.value.what == "repo"


def test_a_repo_without_data_says_so(hub: LocalHub, repo: str) -> None:
    api(hub).create_repo(repo, repo_type="dataset")
    with pytest.raises(NotFoundError, match="no Parquet files"):
        load(repo, hub=hub)
    with pytest.raises(NotFoundError):
        load(repo, "train", hub=hub)


def test_what_is_no_repo_id_is_wrong_usage() -> None:
    with pytest.raises(UsageError):
        load("no-namespace")


def test_a_public_dataset_needs_no_token(hub: LocalHub) -> None:
    assert len(load("me/loaded", "test", hub=hub.url)) == 3
    assert len(list(load("me/loaded", "test", hub=hub.url, streaming=True))) == 3


def test_a_private_dataset_needs_a_token_that_may_see_it(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    upload_dataset(lay_split(tmp_path), repo, hub=hub)
    assert len(load(repo, "train", hub=hub.url, token=hub.token)) == 2
    assert len(load(repo, "train", hub=hub.url, token=hub.add_user("me", "read"))) == 2
    with pytest.raises(AuthError, match="not visible without an access token") as caught:
        load(repo, hub=hub.url)
    assert "HF_TOKEN" in caught.value.hint
    assert "HUGGINGFACE_HUB_TOKEN" in caught.value.hint
    with pytest.raises(AuthError, match="is not accepted"):
        load(repo, hub=hub.url, token="hf_wrong")  # noqa: S106
    with pytest.raises(NotFoundError, match="private and this account may not see it"):
        load(repo, hub=hub.url, token=hub.add_user("stranger"))


def test_a_hub_that_is_not_there_is_an_error_of_the_network() -> None:
    with pytest.raises(HubError, match="No answer from"):
        load("me/loaded", hub="http://127.0.0.1:9")


# --- datasets of others -----------------------------------------------------------------------------------------


def test_a_dataset_of_push_to_hub_loads_as_well(hub: LocalHub, data: Path, tmp_path: Path) -> None:
    pushed = script(PUSH.format(data=data), env=environment(tmp_path, HF_TOKEN=hub.token, HF_ENDPOINT=hub.url))
    assert pushed.returncode == 0, pushed.stderr
    assert "data/train-00000-of-00002.parquet" in files(hub, "me/pushed")
    loaded = load("me/pushed", hub=hub)
    assert {name: len(split) for name, split in loaded.items()} == {"train": 2, "dev": 1}
    assert loaded["train"][0]["image"].size > (9, 9)
    assert [row["n"] for row in load("me/pushed", "train", hub=hub, streaming=True)] == [0, 1]


PUSH = """
from datasets import Dataset, DatasetDict, Image
one = "{data}/train/control_images/cafe_colour.jpg"
def make(n):
    return Dataset.from_dict({{"n": list(range(n)), "image": [one] * n}}).cast_column("image", Image())
make(2).push_to_hub("me/pushed", split="train", num_shards=2)
make(1).push_to_hub("me/pushed", split="dev")
"""


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test.parquet"], "test train"),
        (["train/0.parquet", "validation/0.parquet"], "train validation"),
        (["train.parquet"], "train"),
    ],
)
def test_without_a_card_files_are_found_by_their_names(hub: LocalHub, repo: str, names: list[str], splits: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    api(hub).create_repo(repo, repo_type="dataset")
    out = io.BytesIO()
    pq.write_table(pa.table({"id": ["a"]}), out)
    for name in names:
        put_raw(hub, repo, name, out.getvalue())
    assert sorted(load(repo, hub=hub)) == splits.split()


# --- several hubs -----------------------------------------------------------------------------------------------


def test_the_same_repo_on_two_hubs_is_two_datasets(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub") as other:
        root = lay_split(tmp_path / "ds")
        upload_dataset(root, repo, hub=hub)
        write(root / "train/training_images/a.txt", "On the other hub.")
        upload_dataset(root, repo, hub=other)
        for _ in range(2):
            assert prompts(hub, repo)["a"] == "Prompt of a."
            assert prompts(other, repo)["a"] == "On the other hub."


def test_the_token_of_the_environment_goes_to_no_other_hub(
    hub: LocalHub, repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_dataset(lay_split(tmp_path), repo, hub=hub)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    with pytest.raises(AuthError):
        load(repo, hub=hub.url)  # the endpoint of these tests' environment is another one


# --- as scripts -------------------------------------------------------------------------------------------------

GUIDE = """
from qflux_hub import load_editing_dataset, upload_editing_dataset, upload_editing_dataset_from_csv

upload_editing_dataset(
    root_dir="{data}/photo_edits",       # contains train/ and/or test/
    repo_id="me/guide",
    private=False                        # public or private
)
upload_editing_dataset_from_csv(
    root_dir="{data}/photo_edits_csv",   # contains train.csv and/or test.csv
    repo_id="me/guide-csv",
    private=True                         # public or private
)
dsd = load_editing_dataset("me/guide")  # returns DatasetDict
print(dsd)

# Get a sample from training set
sample = dsd["train"][0]
print(type(sample["control_images"]))
print(type(sample["control_mask"]))
print(type(sample["target_image"]))
print(type(sample["prompt"]))
train_ds = load_editing_dataset("me/guide-csv", split="train")
print(len(train_ds))
"""

PRINTED = """\
DatasetDict({
    train: Dataset({
        features: ['id', 'control_images', 'control_mask', 'target_image', 'prompt'],
        num_rows: 9
    })
    test: Dataset({
        features: ['id', 'control_images', 'control_mask', 'target_image', 'prompt'],
        num_rows: 3
    })
})
<class 'list'>
<class 'PIL.PngImagePlugin.PngImageFile'>
<class 'PIL.JpegImagePlugin.JpegImageFile'>
<class 'str'>
9
"""


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGINGFACE_HUB_TOKEN"])
def test_the_guides_snippets_run_as_a_plain_script_and_print_nothing_of_their_own(
    hub: LocalHub, data: Path, tmp_path: Path, variable: str
) -> None:
    env = environment(tmp_path, HF_ENDPOINT=hub.url, **{variable: hub.token})
    ran = script(GUIDE.format(data=data.parent), env=env)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, PRINTED, "")
    assert api(hub).dataset_info("me/guide").private is False
    assert api(hub).dataset_info("me/guide-csv").private is True


LOCAL = """
from qflux_hub import load_editing_dataset, upload_dataset

upload_dataset("{data}", "me/here", hub="local")
stream = load_editing_dataset("me/here", "test", streaming=True, hub="local")
print([row["id"] for row in stream])
print(len(load_editing_dataset("me/here", hub="local")["train"]))
print(len(list(stream)))
"""


def test_the_embedded_hub_needs_no_account_and_serves_streams_to_the_end(data: Path, tmp_path: Path) -> None:
    ran = script(LOCAL.format(data=data), env=environment(tmp_path))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "['cat_by_the_wall', 'photographer_colour', 'saucer_teal']\n9\n3\n"


@pytest.fixture
def uploaded(hub: LocalHub, repo: str, tmp_path: Path) -> str:
    upload_dataset(lay_split(tmp_path / "ds", "train", "abc"), repo, hub=hub)
    return repo


def test_a_bit_that_turns_in_the_cache_is_noticed_and_the_file_fetched_anew(hub: LocalHub, uploaded: str) -> None:
    load_editing_dataset(uploaded, hub=hub)
    cached = [path for path in (hub_cache(hub)).rglob("*") if path.is_file() and path.read_bytes()[:4] == b"PAR1"]
    for path in cached:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert load_editing_dataset(uploaded, "train", hub=hub)["id"][:] == ["a", "b", "c"]


def hub_cache(hub: LocalHub) -> Path:
    from qflux_hub.hub import open_hub

    with open_hub(hub) as opened:
        assert opened.cache_dir is not None
        return opened.cache_dir


def test_a_stream_whose_images_were_altered_on_the_way_stops(hub: LocalHub, uploaded: str) -> None:
    def after(method: str, path: str, answer: Answer) -> Answer:
        at = answer.body.find(b"IDAT")
        if method != "GET" or answer.status != 206 or at < 0:
            return answer
        body = bytearray(answer.body)
        body[at + 6] ^= 1
        return Answer(answer.status, answer.headers, bytes(body))

    with network(hub, after=after) as way:
        stream = load_editing_dataset(uploaded, "train", streaming=True, hub=way.url, token=hub.token)
        with pytest.raises(VerificationError, match="came with other bytes than were uploaded"):
            list(stream)
