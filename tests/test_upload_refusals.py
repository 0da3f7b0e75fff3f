"""Uploads that are refused: why, how the message helps, and that nothing was read or sent that need not be."""

from __future__ import annotations

import io
import os
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qflux_hub import (
    AuthError,
    ConflictError,
    DataError,
    FormatError,
    HubError,
    NotFoundError,
    OutsideRootError,
    Progress,
    QfluxError,
    RefusedError,
    UsageError,
    VisibilityError,
    upload_dataset,
)
from qflux_hub.hub import Hub, Token
from qflux_hub.localhub import LocalHub, RequestLog
from qflux_hub.report import Task
from qflux_hub.repos import Add
from tests.builders import lay, lay_split, picture, write
from tests.jobtools import (
    api,
    commits,
    fetch,
    files,
    forget,
    lay_endless,
    prompts,
    push,
    put,
    put_raw,
    rows,
    shards,
    tree,
    writes,
)

Log = list[RequestLog]


def found(report: Any) -> list[str]:
    """The codes of what was found, but for targets, which most of these samples lack."""
    return [finding.code for finding in report.findings if finding.code != "missing-target"]


def codes(error: QfluxError) -> list[str]:
    """The same, of the report that an error carries."""
    return found(error.report)


# --- errors in the data -----------------------------------------------------------------------------------------


def test_errors_in_the_data_stop_before_the_first_request(
    hub: LocalHub, hub_log: Log, repo: str, tmp_path: Path
) -> None:
    root = lay_split(tmp_path, "train", "abcd")
    write(root / "train/control_images/a.png", b"")
    write(root / "train/training_images/b.txt", b" \n")
    write(root / "train/training_images/c.txt", b"caf\xe9")
    forget(hub_log)
    with pytest.raises(DataError, match="has 3 errors; nothing was sent") as caught:
        upload_dataset(root, repo, hub=hub)
    assert sorted(codes(caught.value)) == ["empty-file", "empty-prompt", "undecodable-prompt"]
    assert "--skip-bad" in caught.value.hint
    assert hub_log == []


def test_damage_that_only_hashing_finds_stops_before_anything_is_written(
    hub: LocalHub, hub_log: Log, repo: str, tmp_path: Path
) -> None:
    root = lay_split(tmp_path, "train", "ab")
    data = bytearray(picture("x.png", (80, 60)))
    data[len(data) // 2] ^= 1
    write(root / "train/control_images/a.png", bytes(data))
    forget(hub_log)
    with pytest.raises(DataError) as caught:
        upload_dataset(root, repo, hub=hub)
    assert codes(caught.value) == ["damaged-image"]
    assert writes(hub_log) == []


def test_one_bad_split_fails_the_run_and_removes_nothing(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay(
        tmp_path, "a.png", "b.png", train_csv="control,prompt\na.png,Do a.\n", test_csv="control,prompt\nb.png,B\n"
    )
    upload_dataset(root, repo, hub=hub)
    before = files(hub, repo)
    write(root / "test.csv", "control,prompt\nb.png,Add a cat, then a dog\n")
    with pytest.raises(DataError) as caught:
        upload_dataset(root, repo, hub=hub)
    assert "ragged-row" in codes(caught.value)
    assert files(hub, repo) == before


def test_a_path_out_of_the_folder_is_refused_with_all_findings(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    write(tmp_path / "secret.png", picture("secret.png"))
    rows_ = "control,prompt\n../secret.png,Out.\na.png,\nmissing.png,Gone.\n"
    root = lay(tmp_path / "ds", "a.png", train_csv=rows_)
    with pytest.raises(OutsideRootError) as caught:
        upload_dataset(root, repo, hub=hub, skip_bad=True)
    assert caught.value.code == 8
    assert {"outside-root", "empty-prompt", "missing-file"} <= set(codes(caught.value))


def test_a_link_out_of_the_folder_needs_to_be_allowed(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere.png", picture("elsewhere.png"))
    root = lay_split(tmp_path / "ds", "train", "ab")
    (root / "train/control_images/c.png").symlink_to(tmp_path / "elsewhere.png")
    write(root / "train/training_images/c.txt", "Do c.")
    with pytest.raises(OutsideRootError):
        upload_dataset(root, repo, hub=hub)
    upload_dataset(root, repo, hub=hub, follow_links=True)
    assert rows(hub, repo)[2]["control_images"][0]["bytes"] == picture("elsewhere.png")


def test_warnings_fail_only_when_strict(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(tmp_path, "train", "ab")
    (root / "train/training_images/a.png").unlink()
    with pytest.raises(DataError, match="has 1 warning; nothing was sent") as caught:
        upload_dataset(root, repo, hub=hub, strict=True)
    assert [finding.code for finding in caught.value.report.findings] == ["missing-target"]
    report = upload_dataset(root, repo, hub=hub)
    assert [finding.code for finding in report.findings] == ["missing-target"]
    assert rows(hub, repo)[0]["target_image"] is None


def test_what_the_upload_itself_mends_is_no_warning_that_fails(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(tmp_path, "test", "ab", ".png")
    upload_dataset(root, repo, hub=hub)
    put(hub, repo, ".qflux/index/test.parquet", b"no index")
    report = upload_dataset(root, repo, hub=hub, strict=True)
    assert [(finding.code, finding.severity) for finding in report.findings] == [("broken-index", "note")]
    assert upload_dataset(root, repo, hub=hub, strict=True).changed is False


def test_an_empty_prompt_needs_to_be_allowed(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(tmp_path, "train", "ab")
    write(root / "train/training_images/a.txt", b"")
    with pytest.raises(DataError) as caught:
        upload_dataset(root, repo, hub=hub, skip_bad=True)
    assert codes(caught.value) == ["empty-prompt"]
    report = upload_dataset(root, repo, hub=hub, allow_empty_prompt=True)
    assert [(finding.code, finding.severity) for finding in report.findings] == [("empty-prompt", "note")]
    assert prompts(hub, repo) == {"a": "", "b": "Prompt of b."}


def test_the_same_image_in_train_and_test_is_a_warning(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(lay_split(tmp_path, "train", "ab"), "test", "c")
    write(root / "test/control_images/c.png", (root / "train/control_images/a.png").read_bytes())
    report = upload_dataset(root, repo, hub=hub, dry_run=True)
    (finding,) = report.findings
    assert (finding.code, finding.severity) == ("same-image-in-splits", "warning")
    assert finding.where == "test/control_images/c.png"
    assert "train/control_images/a.png" in finding.message


# --- leaving out what is bad ------------------------------------------------------------------------------------


@pytest.fixture
def known(tmp_path: Path, hub: LocalHub, repo: str) -> Path:
    """A table of four samples, uploaded to ``repo``; then two of their files break."""
    names = ["a.png", "b.png", "c.png", "d.png"]
    table = "control,prompt\n" + "".join(f"{name},Do {name}.\n" for name in names)
    root = lay(tmp_path / "ds", *names, train_csv=table)
    upload_dataset(root, repo, hub=hub)
    return root


def break_two(root: Path) -> None:
    """``b`` loses its image, ``c`` has half of one; both prompts change, and so does that of ``d``."""
    (root / "b.png").unlink()
    write(root / "c.png", picture("c.png")[:40])
    table = (root / "train.csv").read_text()
    for name in "bcd":
        table = table.replace(f"Do {name}.png", f"Do {name} anew")
    write(root / "train.csv", table)


def test_what_is_left_out_is_listed_and_its_older_version_stays(hub: LocalHub, repo: str, known: Path) -> None:
    before = {row["id"]: row for row in rows(hub, repo)}
    break_two(known)
    with pytest.raises(DataError):
        upload_dataset(known, repo, hub=hub)
    report = upload_dataset(known, repo, skip_bad=True, hub=hub)
    assert sorted(found(report)) == ["missing-file", "truncated-image"]
    assert all(finding.severity == "warning" for finding in report.findings)
    assert sum("is left out" in finding.message for finding in report.findings) == 2
    assert report.splits["train"].to_dict() == {"samples": 4, "added": 0, "changed": 1, "removed": 0, "unchanged": 3}
    after = {row["id"]: row for row in rows(hub, repo)}
    assert (after["b"], after["c"]) == (before["b"], before["c"])
    assert after["d"]["prompt"] == "Do d anew."
    assert upload_dataset(known, repo, skip_bad=True, hub=hub).changed is False


def test_what_was_never_on_the_hub_is_left_out_of_a_first_upload(hub: LocalHub, repo: str, known: Path) -> None:
    break_two(known)
    report = upload_dataset(known, f"{repo}-2", skip_bad=True, hub=hub)
    assert report.splits["train"].samples == 2
    assert [*prompts(hub, f"{repo}-2")] == ["a", "d"]


@pytest.mark.parametrize("layout", ["csv", "directory"])
def test_a_split_in_which_nothing_is_left_is_an_error(hub: LocalHub, repo: str, tmp_path: Path, layout: str) -> None:
    if layout == "csv":
        root = lay(tmp_path, train_csv="control,prompt\na.png,Do a.\n")
    else:
        root = lay_split(tmp_path, "train", "a")
        write(root / "train/control_images/a.png", b"")
    with pytest.raises(DataError) as caught:
        upload_dataset(root, repo, skip_bad=True, hub=hub)
    assert "empty-split" in codes(caught.value)
    assert not api(hub).repo_exists(repo, repo_type="dataset")


# --- the index on the Hub ---------------------------------------------------------------------------------------

INDEX = ".qflux/index/train.parquet"


@pytest.mark.parametrize("damage", ["missing", "garbage", "cut", "not ours"])
def test_a_broken_index_is_rebuilt_from_the_source(hub: LocalHub, repo: str, known: Path, damage: str) -> None:
    before = shards(hub, repo)
    whole = fetch(hub, repo, INDEX)
    if damage == "missing":
        api(hub).delete_file(INDEX, repo, repo_type="dataset")
    else:
        content = {"garbage": b"\0garbage" * 99, "cut": whole[: len(whole) // 2], "not ours": other_parquet()}
        put(hub, repo, INDEX, content[damage])
    write(known / "train.csv", (known / "train.csv").read_text().replace("Do a.png", "Do a anew"))
    report = upload_dataset(known, repo, hub=hub)
    assert found(report) == ([] if damage == "missing" else ["broken-index"])
    assert prompts(hub, repo)["a"] == "Do a anew."
    assert shards(hub, repo).keys() == before.keys()
    assert upload_dataset(known, repo, hub=hub).changed is False


def other_parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"x": [1]}), out)
    return out.getvalue()


@pytest.mark.parametrize("damage", ["garbage", "disagreement"])
def test_without_a_true_index_nothing_is_left_out_over_what_the_hub_may_have(
    hub: LocalHub, repo: str, known: Path, damage: str
) -> None:
    if damage == "garbage":
        put(hub, repo, INDEX, b"garbage")
    else:
        replace_shard(hub, repo)
    before = files(hub, repo)
    break_two(known)
    with pytest.raises(RefusedError, match=r"index of 'train'.*2 samples.*left out"):
        upload_dataset(known, repo, skip_bad=True, hub=hub)
    assert files(hub, repo) == before


def replace_shard(hub: LocalHub, repo: str) -> None:
    """Someone replaces the shard by hand: two samples are gone, one has another prompt."""
    (path,) = shards(hub, repo)
    held = pq.read_table(io.BytesIO(fetch(hub, repo, path))).slice(0, 2)
    held = held.set_column(held.schema.get_field_index("prompt"), "prompt", pa.array(["By hand.", "By hand."]))
    out = io.BytesIO()
    pq.write_table(held, out)
    put(hub, repo, path, out.getvalue())


def test_an_index_that_disagrees_with_the_shards_is_not_believed(hub: LocalHub, repo: str, known: Path) -> None:
    replace_shard(hub, repo)
    before = files(hub, repo)
    with pytest.raises(ConflictError, match="train/a, train/b; nothing was published") as caught:
        upload_dataset(known, repo, hub=hub)
    assert codes(caught.value) == ["broken-index", "edit-conflict", "edit-conflict"]
    assert files(hub, repo) == before
    report = upload_dataset(known, repo, hub=hub, mirror=True)
    assert found(report) == ["broken-index"]
    assert report.changed is True
    assert prompts(hub, repo) == {name: f"Do {name}.png." for name in "abcd"}
    assert upload_dataset(known, repo, hub=hub).changed is False


def test_a_false_index_of_another_split_does_not_matter(hub: LocalHub, repo: str, known: Path) -> None:
    replace_shard(hub, repo)
    (known / "train.csv").rename(known / "test.csv")
    report = upload_dataset(known, repo, hub=hub)
    assert found(report) == ["broken-index"]
    assert len(rows(hub, repo, "test")) == 4
    assert len(rows(hub, repo, "train")) == 2


def test_an_index_of_a_newer_format_is_never_overwritten(hub: LocalHub, repo: str, known: Path) -> None:
    table = pq.read_table(io.BytesIO(fetch(hub, repo, INDEX)))
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), b"qflux_format": b"2"}), out)
    put(hub, repo, INDEX, out.getvalue())
    before = files(hub, repo)
    with pytest.raises(FormatError, match="has format 2; this qflux knows 1") as caught:
        upload_dataset(known, repo, hub=hub)
    assert (caught.value.code, "pip install -U qflux-hub" in caught.value.hint) == (8, True)
    assert files(hub, repo) == before
    assert len(rows(hub, repo)) == 4  # reading goes on


# --- what others put there --------------------------------------------------------------------------------------


def test_a_split_of_push_to_hub_is_not_replaced_unasked(hub: LocalHub, hub_log: Log, repo: str, tmp_path: Path) -> None:
    api(hub).create_repo(repo, repo_type="dataset")
    push(hub, repo, "train")
    forget(hub_log)
    with pytest.raises(RefusedError, match=r"data/train-00000-of-00001\.parquet") as caught:
        upload_dataset(lay_split(tmp_path), repo, hub=hub)
    assert (caught.value.code, "--mirror" in caught.value.hint) == (8, True)
    assert writes(hub_log) == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_more_files_than_one_commit_takes_are_refused_before_anything_is_sent(
    hub: LocalHub, hub_log: Log, repo: str, tmp_path: Path, dry_run: bool
) -> None:
    api(hub).create_repo(repo, repo_type="dataset")
    theirs = [Add(f"data/train-{number:05}-of-01998.parquet", 1, content=b"x") for number in range(1_998)]
    Hub(hub.url, Token(hub.token, "given")).commit(repo, theirs, [], parent=None, message="Many small files")
    forget(hub_log)
    with pytest.raises(RefusedError, match="a commit of 2,001 files; one commit takes 2,000") as caught:
        upload_dataset(lay_split(tmp_path), repo, hub=hub, mirror=True, dry_run=dry_run)
    assert "--shard-size" in caught.value.hint
    with pytest.raises(RefusedError, match=r"files of another kind: data/train-00000-of-01998\.parquet and 1997 more"):
        upload_dataset(tmp_path, repo, hub=hub, dry_run=dry_run)  # a repo without a card has splits, too
    assert writes(hub_log) == []


UNMERGEABLE = {
    "not yaml": (b"---\nconfigs: [\n---\n", "YAML"),
    "not utf-8": (b"---\nlicense: mit\n---\ncaf\xe9\n", "UTF-8"),
    "a data_dir": (b"---\nconfigs:\n- config_name: default\n  data_dir: elsewhere\n---\n", "data_dir"),
    "another default": (b"---\nconfigs:\n- config_name: other\n  default: true\n  data_files: x/*\n---\n", "default"),
}


@pytest.mark.parametrize("what", UNMERGEABLE)
def test_a_card_that_cannot_be_merged_into_is_an_error_before_anything_is_sent(
    hub: LocalHub, hub_log: Log, repo: str, known: Path, what: str
) -> None:
    card, said = UNMERGEABLE[what]
    put_raw(hub, repo, "README.md", card)
    write(known / "train.csv", (known / "train.csv").read_text().replace("Do a.png", "Do a anew"))
    forget(hub_log)
    with pytest.raises(DataError, match=said) as caught:
        upload_dataset(known, repo, hub=hub)
    assert "--no-card" in caught.value.hint
    assert writes(hub_log) == []
    upload_dataset(known, repo, card=False, hub=hub)
    assert fetch(hub, repo, "README.md") == card


# --- visibility -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("private", "asked"), [(True, "public"), (False, "private")])
def test_a_repo_of_the_other_visibility_is_refused(
    hub: LocalHub, hub_log: Log, repo: str, tmp_path: Path, private: bool, asked: str
) -> None:
    api(hub).create_repo(repo, repo_type="dataset", private=private)
    forget(hub_log)
    with pytest.raises(VisibilityError, match=f"but {asked} was asked for; nothing was sent") as caught:
        upload_dataset(lay_split(tmp_path), repo, not private, hub=hub)
    assert (caught.value.code, "--keep-visibility" in caught.value.hint) == (8, True)
    assert writes(hub_log) == []


# --- revisions and tags -----------------------------------------------------------------------------------------


def test_a_tag_that_exists_is_refused_before_anything_is_sent(
    hub: LocalHub, hub_log: Log, repo: str, known: Path
) -> None:
    upload_dataset(known, repo, tag="v1", hub=hub)
    write(known / "train.csv", (known / "train.csv").read_text().replace("Do a.png", "Do a anew"))
    forget(hub_log)
    with pytest.raises(RefusedError, match="has a tag 'v1' already; nothing was sent"):
        upload_dataset(known, repo, tag="v1", hub=hub)
    assert writes(hub_log) == []


@pytest.mark.parametrize("kind", ["tag", "commit"])
def test_uploads_go_to_branches_only(hub: LocalHub, hub_log: Log, repo: str, known: Path, kind: str) -> None:
    report = upload_dataset(known, repo, tag="v1", hub=hub)
    forget(hub_log)
    with pytest.raises(UsageError, match="is a tag or a commit"):
        upload_dataset(known, repo, revision="v1" if kind == "tag" else report.commit, hub=hub)
    assert writes(hub_log) == []


@pytest.mark.parametrize("revision", ["0" * 40, "refs/pr/7"])
def test_a_revision_that_cannot_be_created_is_not_found(
    hub: LocalHub, hub_log: Log, repo: str, known: Path, revision: str
) -> None:
    forget(hub_log)
    with pytest.raises(NotFoundError, match=revision):
        upload_dataset(known, repo, revision=revision, hub=hub)
    assert writes(hub_log) == []


# --- tokens -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("whose", "said"),
    [
        ("nobody's", "needs an access token, and none was found"),
        ("a wrong one", "is not accepted"),
        ("a reader's", "may only read"),
        ("someone else's", "may not write to me"),
    ],
)
def test_a_token_that_may_not_write_is_known_before_any_image_is_read(
    hub: LocalHub, hub_log: Log, repo: str, tmp_path: Path, whose: str, said: str
) -> None:
    tokens = {"nobody's": None, "a wrong one": "hf_wrong"}
    tokens |= {"a reader's": hub.add_user("me", "read"), "someone else's": hub.add_user("else")}
    lay_endless(tmp_path)
    forget(hub_log)
    with pytest.raises(AuthError, match=said) as caught:
        upload_dataset(tmp_path, repo, hub=hub.url, token=tokens[whose])
    assert caught.value.code == 3
    assert caught.value.hint
    assert writes(hub_log) == []
    if token := tokens[whose]:
        assert token not in f"{caught.value} {caught.value.hint} {caught.value.to_dict()}"
    else:
        assert "HF_TOKEN" in caught.value.hint
        assert "HUGGINGFACE_HUB_TOKEN" in caught.value.hint


# --- no hub -----------------------------------------------------------------------------------------------------


def test_a_hub_that_is_not_there_is_known_soon(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(HubError, match=r"No answer from http://127.0.0.1:9: .*refused") as caught:
        upload_dataset(lay_split(tmp_path), "me/ds", hub="http://127.0.0.1:9", token="hf_x")  # noqa: S106
    assert caught.value.code == 5
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("repo_id", ["ds", "me/", "a/b/c", "me/with space", "", "me/ds.git"])
def test_what_is_no_repo_id_is_wrong_usage(tmp_path: Path, repo_id: str) -> None:
    with pytest.raises(UsageError):
        upload_dataset(lay_split(tmp_path), repo_id, hub="http://127.0.0.1:9", token="hf_x")  # noqa: S106


@pytest.mark.parametrize("options", [{"workers": 0}, {"shard_size": 0}, {"shard_size": -1}, {"layout": "zip"}])
def test_options_that_make_no_sense_are_wrong_usage(tmp_path: Path, options: Any) -> None:
    with pytest.raises(UsageError):
        upload_dataset(lay_split(tmp_path), "me/ds", hub="http://127.0.0.1:9", **options)


# --- the source changes while it is uploaded --------------------------------------------------------------------


class WhenSending(Progress):
    """Does something when the sending begins: all checks are done then, and nothing is packed yet."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def task(self, label: str, total: int | None, unit: str = "B") -> Task:
        if label == "Sending":
            self.action()
        return super().task(label, total, unit)


@pytest.mark.parametrize("change", ["other content", "other size", "gone"])
def test_a_file_that_changes_during_the_upload_is_an_error_and_nothing_is_published(
    hub: LocalHub, repo: str, known: Path, change: str
) -> None:
    before = files(hub, repo)
    lay(known, "e.png")
    write(known / "train.csv", (known / "train.csv").read_text() + "e.png,Do e.\n")

    def act() -> None:
        if change == "gone":
            (known / "b.png").unlink()
        else:
            write(known / "b.png", picture("b.png") if change == "other content" else b"other")
            os.utime(known / "b.png", ns=(1, 1))

    with pytest.raises(DataError, match=r"b\.png changed while it was uploaded") as caught:
        upload_dataset(known, repo, hub=hub, progress=WhenSending(act))
    assert "changed-file" in codes(caught.value)
    assert files(hub, repo) == before


def test_an_upload_leaves_its_source_alone(hub: LocalHub, repo: str, known: Path) -> None:
    before = tree(known)
    upload_dataset(known, repo, hub=hub)
    assert tree(known) == before
    assert threading.active_count() < 40
    assert len(commits(hub, repo)) == 2


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"workers": 0}, "--workers 0 sends nothing.", "It is how many shards are under way at once, 1 or more."),
        ({"shard_size": 0}, "--shard-size 0 holds nothing.", "Give the bytes of a shard, or for example 64MB or 1GB."),
        (
            {"shard_size": -1},
            "--shard-size -1 holds nothing.",
            "Give the bytes of a shard, or for example 64MB or 1GB.",
        ),
    ],
)
def test_numbers_that_leave_nothing_to_do_are_wrong_usage(
    tmp_path: Path, options: Any, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as wrong:
        upload_dataset(tmp_path / "none", "me/none", **options)
    assert (wrong.value.message, wrong.value.hint) == (message, hint)
