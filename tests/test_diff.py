"""What an upload would change, by sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflux_hub import DataError, UsageError, diff_dataset, upload_dataset
from qflux_hub.localhub import LocalHub, RequestLog
from tests.builders import lay_split, picture, write
from tests.jobtools import environment, qflux


@pytest.fixture
def uploaded(tmp_path: Path, hub: LocalHub, repo: str) -> Path:
    """Three samples, uploaded."""
    root = lay_split(tmp_path / "ds", "train", "abc")
    upload_dataset(root, repo, hub=hub)
    return root


def test_an_unchanged_source_is_the_same(hub: LocalHub, repo: str, uploaded: Path) -> None:
    told = diff_dataset(uploaded, repo, hub=hub).to_dict()
    assert told == {
        "repo_id": repo,
        "splits": {"train": {"added": [], "changed": [], "removed": [], "unchanged": 3}},
    }


def test_a_changed_prompt_is_shown_with_its_old_and_new_text(hub: LocalHub, repo: str, uploaded: Path) -> None:
    write(uploaded / "train/training_images/b.txt", "Make it blue.")
    told = diff_dataset(uploaded, repo, hub=hub).to_dict()["splits"]["train"]
    assert told["changed"] == [{"id": "b", "fields": {"prompt": {"old": "Prompt of b.", "new": "Make it blue."}}}]
    assert told["unchanged"] == 2


def test_added_removed_and_replaced_are_told_apart(hub: LocalHub, repo: str, uploaded: Path) -> None:
    lay_split(uploaded, "train", "d")
    for name in ("control_images/a.png", "training_images/a.png", "training_images/a.txt"):
        (uploaded / "train" / name).unlink()
    write(uploaded / "train/training_images/c.png", picture("other.png"))
    told = diff_dataset(uploaded, repo, hub=hub).to_dict()["splits"]["train"]
    assert (told["added"], told["removed"], told["unchanged"]) == (["d"], ["a"], 1)
    (change,) = told["changed"]
    assert [*change["fields"]] == ["target_image"]
    assert change["fields"]["target_image"]["new"]["size"] == len(picture("other.png"))


def test_a_repo_that_is_not_there_lacks_everything(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(tmp_path, "train", "ab")
    assert diff_dataset(root, repo, hub=hub).splits["train"].added == ["a", "b"]


def test_comparing_writes_nothing_and_fetches_no_image(
    hub: LocalHub, repo: str, uploaded: Path, hub_log: list[RequestLog]
) -> None:
    write(uploaded / "train/training_images/c.png", picture("other.png"))
    hub_log.clear()
    diff_dataset(uploaded, repo, hub=hub)
    assert {line.method for line in hub_log} == {"GET"}
    assert not any("/data/" in line.path for line in hub_log)


def test_what_an_upload_would_keep_of_others_is_not_shown_as_removed(
    hub: LocalHub, repo: str, uploaded: Path, tmp_path: Path
) -> None:
    upload_dataset(lay_split(tmp_path / "theirs", "train", "abcz"), repo, hub=hub)
    split = diff_dataset(uploaded, repo, hub=hub).splits["train"]
    assert (split.added, split.removed, split.changed) == ([], [], [])


def test_data_that_could_not_be_uploaded_is_not_compared(hub: LocalHub, repo: str, uploaded: Path) -> None:
    write(uploaded / "train/control_images/a.png", b"")
    with pytest.raises(DataError, match="it is not compared"):
        diff_dataset(uploaded, repo, hub=hub)


def test_a_wrong_repo_id_is_a_wrong_call(hub: LocalHub, uploaded: Path) -> None:
    with pytest.raises(UsageError):
        diff_dataset(uploaded, "nope", hub=hub)


def test_the_command_reads_well(hub: LocalHub, repo: str, uploaded: Path, tmp_path: Path) -> None:
    lay_split(uploaded, "train", "d")
    write(uploaded / "train/training_images/b.txt", "Make it [red].\nNow.")
    (uploaded / "train/training_images/a.txt").unlink()
    done = qflux(
        "diff", str(uploaded), repo, "--hub", hub.url, "--token", hub.token, env=environment(tmp_path / "home")
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-7:] == [
        "train: 1 added, 1 changed, 1 removed, 1 unchanged",
        "+ d",
        "- a",
        "~ b",
        "    prompt",
        "    - Prompt of b.",
        "    + Make it [red].↵Now.",
    ]
