"""The embedded Hub as the unmodified clients see it."""

from __future__ import annotations

import io
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hubtools import Traffic, api, ask, run_client
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, HfFileSystem
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from qflux_hub.localhub import LocalHub


@pytest.fixture(scope="module")
def log() -> Traffic:
    return Traffic([])


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, log: Traffic) -> Iterator[LocalHub]:
    with LocalHub(tmp_path_factory.mktemp("hub"), log=log.add) as running:
        yield running


@pytest.fixture
def traffic(log: Traffic) -> Traffic:
    log.requests.clear()
    return log


@pytest.fixture
def repo(hub: LocalHub, request: pytest.FixtureRequest) -> str:
    name = re.sub(r"\W", "-", request.node.name)[:90].strip("-").replace("--", "-")
    return api(hub).create_repo(f"me/{name}", repo_type="dataset").repo_id


def add(path: str, content: bytes | str) -> CommitOperationAdd:
    return CommitOperationAdd(path, content)


def test_a_token_says_whose_it_is_and_whether_it_may_write(hub: LocalHub) -> None:
    reader = hub.add_user("me", "read")
    assert api(hub).whoami()["name"] == "me"
    assert api(hub).whoami()["auth"]["accessToken"]["role"] == "write"
    assert api(hub, reader).whoami()["auth"]["accessToken"]["role"] == "read"
    assert hub.add_user("me", "read") == reader
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api(hub, "hf_wrong").whoami()


def test_a_repo_is_created_once(hub: LocalHub) -> None:
    url = api(hub).create_repo("me/m", private=True)
    assert url == f"{hub.url}/me/m"
    assert api(hub).create_repo("ME/m", exist_ok=True) == url
    with pytest.raises(HfHubHTTPError, match="409"):
        api(hub).create_repo("me/m")
    assert api(hub).model_info("me/M").private
    assert [commit.title for commit in api(hub).list_repo_commits("me/m")] == ["initial commit"]
    assert api(hub).list_repo_files("me/m") == [".gitattributes"]


def test_spaces_and_bad_names_are_refused(hub: LocalHub) -> None:
    with pytest.raises(HfHubHTTPError, match="spaces are not supported"):
        api(hub).create_repo("me/s", repo_type="space", space_sdk="static")
    answer = ask(f"{hub.url}/api/repos/create", "POST", token=hub.token, body=b'{"name": "a..b"}')
    assert (answer.status, "Invalid repo name" in answer.json["error"]) == (400, True)


def test_others_see_public_repos_and_write_to_none(hub: LocalHub, repo: str) -> None:
    api(hub).create_repo("me/secret", private=True)
    other, reader = hub.add_user("you"), hub.add_user("me", "read")
    assert api(hub, other).dataset_info(repo).id == repo
    assert api(hub, reader).model_info("me/secret").id == "me/secret"
    with pytest.raises(RepositoryNotFoundError, match="404"):
        api(hub, other).model_info("me/secret")
    assert ask(f"{hub.url}/api/models/me/secret").status == 401
    for token in (other, reader):
        with pytest.raises(HfHubHTTPError, match="403"):
            api(hub, token).upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo, repo_type="dataset")
        with pytest.raises(HfHubHTTPError, match="403"):
            api(hub, token).delete_repo(repo, repo_type="dataset")


def test_an_organisation_is_a_name_space_of_its_members(hub: LocalHub) -> None:
    member, stranger = hub.add_user("ann", orgs=["lab"]), hub.add_user("bob")
    assert [org["name"] for org in api(hub, member).whoami()["orgs"]] == ["lab"]
    assert api(hub, member).create_repo("lab/m", private=True).repo_id == "lab/m"
    with pytest.raises(RepositoryNotFoundError):
        api(hub, stranger).model_info("lab/m")
    with pytest.raises(HfHubHTTPError, match="403"):
        api(hub, stranger).create_repo("lab/n")


def test_a_gated_repo_shows_itself_but_not_its_files(hub: LocalHub) -> None:
    api(hub).create_repo("me/g")
    api(hub).update_repo_settings("me/g", gated="auto")
    stranger = api(hub, hub.add_user("you"))
    assert stranger.model_info("me/g").gated == "auto"
    with pytest.raises(GatedRepoError, match="not in the authorized list"):
        stranger.hf_hub_download("me/g", ".gitattributes")


def test_a_large_file_goes_through_xet_and_comes_back(
    hub: LocalHub, repo: str, traffic: Traffic, tmp_path: Path
) -> None:
    content = os.urandom(3_000_000) + bytes(range(256)) * 8_000
    (tmp_path / "x.bin").write_bytes(content)
    api(hub).upload_file(
        path_or_fileobj=tmp_path / "x.bin", path_in_repo="data/x.bin", repo_id=repo, repo_type="dataset"
    )
    [folder, file] = [e for e in api(hub).list_repo_tree(repo, repo_type="dataset", recursive=True) if "data" in e.path]
    assert (folder.path, file.path, file.size, file.lfs.size) == ("data", "data/x.bin", len(content), len(content))
    assert len(file.xet_hash) == 64
    assert traffic.count("POST", "/v1/xorbs/") == 1
    got = api(hub).hf_hub_download(repo, "data/x.bin", repo_type="dataset", cache_dir=tmp_path / "cache")
    assert Path(got).read_bytes() == content
    assert traffic.count("GET", "/v2/reconstructions/") == 1
    sibling = api(hub).dataset_info(repo, files_metadata=True).siblings[-1]
    assert (sibling.rfilename, sibling.lfs.sha256) == ("data/x.bin", file.lfs.sha256)


def test_another_machine_sends_nothing_for_known_content(
    hub: LocalHub, repo: str, traffic: Traffic, tmp_path: Path
) -> None:
    (tmp_path / "x.bin").write_bytes(os.urandom(5_000_000))
    upload = """
        from huggingface_hub import HfApi
        HfApi().upload_file(path_or_fileobj=file, path_in_repo=name, repo_id=repo, repo_type="dataset")
    """
    for home, name in (("one", "a.bin"), ("two", "b.bin")):
        run_client(hub, tmp_path / home, upload, file=str(tmp_path / "x.bin"), name=name, repo=repo)
    assert traffic.received("POST", "/v1/xorbs/") < 5_010_000
    assert traffic.count("POST", "/v1/xorbs/") == 1
    assert api(hub).list_repo_files(repo, repo_type="dataset") == [".gitattributes", "a.bin", "b.bin"]


# The client itself hands its file object to its HTTP library in a way that the library calls outdated.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
@pytest.mark.parametrize("size", [1_000, 40_000_000])
def test_a_file_object_goes_through_lfs(hub: LocalHub, repo: str, traffic: Traffic, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    api(hub).upload_file(path_or_fileobj=io.BytesIO(content), path_in_repo="x.bin", repo_id=repo, repo_type="dataset")
    assert traffic.count("PUT", "/lfs/part/") == (3 if size > 16_000_000 else 0)
    got = api(hub).hf_hub_download(repo, "x.bin", repo_type="dataset", cache_dir=tmp_path / "cache")
    assert Path(got).read_bytes() == content
    before = traffic.count("PUT", "/lfs/")
    api(hub).upload_file(path_or_fileobj=io.BytesIO(content), path_in_repo="y.bin", repo_id=repo, repo_type="dataset")
    assert traffic.count("PUT", "/lfs/") == before


def test_a_commit_adds_copies_and_deletes_at_once(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    first = api(hub).create_commit(
        repo,
        [add("a/1.txt", b"one"), add("a/2.txt", b"two"), add("b.bin", b"\0b")],
        commit_message="1",
        repo_type="dataset",
    )
    moved = [
        CommitOperationDelete("a/"),
        CommitOperationCopy("b.bin", "c/b.bin"),
        CommitOperationCopy("a/1.txt", "1.txt"),
        add("d.txt", b"new"),
    ]
    api(hub).create_commit(repo, moved, commit_message="2", repo_type="dataset", parent_commit=first.oid)
    files = api(hub).list_repo_files(repo, repo_type="dataset")
    assert files == [".gitattributes", "1.txt", "b.bin", "c/b.bin", "d.txt"]
    got = Path(api(hub).snapshot_download(repo, repo_type="dataset", cache_dir=tmp_path))
    assert {path.name: path.read_bytes() for path in got.glob("*.txt")} == {"1.txt": b"one", "d.txt": b"new"}
    assert (got / "c/b.bin").read_bytes() == b"\0b"
    old = api(hub).list_repo_files(repo, repo_type="dataset", revision=first.oid)
    assert old == [".gitattributes", "a/1.txt", "a/2.txt", "b.bin"]


def test_a_stale_parent_is_refused(hub: LocalHub, repo: str) -> None:
    head = api(hub).dataset_info(repo).sha
    options = {"repo_type": "dataset", "commit_message": "m", "parent_commit": head}
    api(hub).create_commit(repo, [add("a.txt", b"1")], **options)
    with pytest.raises(HfHubHTTPError, match=r"updated since you opened this page"):
        api(hub).create_commit(repo, [add("a.txt", b"2")], **options)
    assert len(api(hub).list_repo_commits(repo, repo_type="dataset")) == 2


def test_unchanged_content_is_no_new_commit(hub: LocalHub, repo: str) -> None:
    operations = [("a.txt", b"text"), ("b.bin", b"\0bin")]
    for _ in range(2):
        api(hub).create_commit(
            repo, [add(path, content) for path, content in operations], commit_message="m", repo_type="dataset"
        )
    assert len(api(hub).list_repo_commits(repo, repo_type="dataset")) == 2


def test_branches_and_tags_come_and_go(hub: LocalHub, repo: str) -> None:
    client = api(hub)
    client.create_branch(repo, branch="dev/one", repo_type="dataset")
    client.upload_file(
        path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo, repo_type="dataset", revision="dev/one"
    )
    client.create_tag(repo, tag="v1", revision="dev/one", repo_type="dataset", tag_message="first")
    refs = client.list_repo_refs(repo, repo_type="dataset")
    assert [branch.name for branch in refs.branches] == ["main", "dev/one"]
    assert [(tag.name, tag.target_commit) for tag in refs.tags] == [("v1", refs.branches[1].target_commit)]
    assert client.file_exists(repo, "x.txt", repo_type="dataset", revision="v1")
    assert not client.file_exists(repo, "x.txt", repo_type="dataset")
    with pytest.raises(HfHubHTTPError, match="Reference refs/tags/v1 already exists"):
        client.create_tag(repo, tag="v1", repo_type="dataset")
    client.delete_branch(repo, branch="dev/one", repo_type="dataset")
    client.delete_tag(repo, tag="v1", repo_type="dataset")
    with pytest.raises(RevisionNotFoundError):
        client.dataset_info(repo, revision="v1")
    with pytest.raises(HfHubHTTPError, match="Cannot delete refs/heads/main"):
        client.delete_branch(repo, branch="main", repo_type="dataset")


def test_a_pull_request_is_opened_with_a_commit_and_merged(hub: LocalHub, repo: str) -> None:
    other = api(hub, hub.add_user("you"))
    options = {"repo_id": repo, "repo_type": "dataset"}
    made = other.upload_file(path_or_fileobj=b"theirs", path_in_repo="t.txt", create_pr=True, **options)
    assert made.pr_url == f"{hub.url}/datasets/{repo}/discussions/1"
    api(hub).upload_file(path_or_fileobj=b"ours", path_in_repo="o.txt", **options)
    pull = api(hub).get_discussion_details(repo, 1, repo_type="dataset")
    assert (pull.status, pull.author, pull.target_branch) == ("open", "you", "refs/heads/main")
    assert "+theirs" in pull.diff
    with pytest.raises(HfHubHTTPError, match="403"):
        other.merge_pull_request(repo, 1, repo_type="dataset")
    api(hub).merge_pull_request(repo, 1, repo_type="dataset")
    assert api(hub).list_repo_files(repo, repo_type="dataset") == [".gitattributes", "o.txt", "t.txt"]


def test_a_pull_request_that_clashes_is_not_merged(hub: LocalHub, repo: str) -> None:
    options = {"repo_id": repo, "repo_type": "dataset", "path_in_repo": "t.txt"}
    api(hub).upload_file(path_or_fileobj=b"theirs", create_pr=True, **options)
    api(hub).upload_file(path_or_fileobj=b"ours", **options)
    assert api(hub).get_discussion_details(repo, 1, repo_type="dataset").conflicting_files == ["t.txt"]
    with pytest.raises(HfHubHTTPError, match=r"both sides changed t\.txt"):
        api(hub).merge_pull_request(repo, 1, repo_type="dataset")


def test_a_moved_repo_is_found_under_its_old_name(hub: LocalHub) -> None:
    api(hub).create_repo("me/old")
    api(hub).move_repo("me/old", "me/new")
    assert api(hub).model_info("me/old").id == "me/new"
    api(hub).create_repo("me/old")
    assert api(hub).model_info("me/old").id == "me/old"
    assert {"me/new", "me/old"} <= {model.id for model in api(hub).list_models(author="me")}


def test_repos_are_listed_by_author_words_and_tags(hub: LocalHub) -> None:
    client = api(hub, hub.add_user("zoe"))
    for number in range(5):
        client.create_repo(f"zoe/photo-{number}", repo_type="dataset", private=number == 0)
    client.upload_file(
        path_or_fileobj=b"---\ntags: [sky]\n---\n", path_in_repo="README.md", repo_id="zoe/photo-3", repo_type="dataset"
    )

    def names(caller: HfApi, **options: Any) -> list[str]:
        return [found.id for found in caller.list_datasets(author="zoe", **options)]

    assert names(client) == [f"zoe/photo-{number}" for number in (4, 3, 2, 1, 0)]
    assert names(api(hub)) == [f"zoe/photo-{number}" for number in (4, 3, 2, 1)]
    assert names(client, search="PHOTO-2") == ["zoe/photo-2"]
    assert names(client, filter="sky") == ["zoe/photo-3"]
    first = ask(f"{hub.url}/api/datasets?author=zoe&limit=3", token=hub.token)
    rest = ask(first.headers["link"].partition(">")[0][1:], token=hub.token)
    assert [found["id"] for found in first.json + rest.json] == names(api(hub))


def test_a_deleted_repo_is_gone(hub: LocalHub, repo: str) -> None:
    api(hub).delete_repo(repo, repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        api(hub).dataset_info(repo)
    api(hub).delete_repo(repo, repo_type="dataset", missing_ok=True)


def test_missing_things_are_named_as_the_client_expects(hub: LocalHub, repo: str) -> None:
    with pytest.raises(EntryNotFoundError):
        api(hub).hf_hub_download(repo, "no.txt", repo_type="dataset")
    with pytest.raises(RevisionNotFoundError):
        api(hub).hf_hub_download(repo, ".gitattributes", repo_type="dataset", revision="no")
    with pytest.raises(RepositoryNotFoundError):
        api(hub).dataset_info("one-segment")
    assert api(hub).get_paths_info(repo, ["no.txt", ".gitattributes"], repo_type="dataset")[0].path == ".gitattributes"


def test_gitignore_in_the_repo_keeps_files_out(hub: LocalHub, repo: str) -> None:
    api(hub).upload_file(
        path_or_fileobj=b"*.log\n!keep.log\nbuild/\n", path_in_repo=".gitignore", repo_id=repo, repo_type="dataset"
    )
    wanted = ["a.log", "keep.log", "build/x.txt", "b.txt"]
    api(hub).create_commit(repo, [add(path, b"x") for path in wanted], commit_message="m", repo_type="dataset")
    assert api(hub).list_repo_files(repo, repo_type="dataset") == [".gitattributes", ".gitignore", "b.txt", "keep.log"]


def test_a_tree_past_a_thousand_entries_comes_in_pages(hub: LocalHub, repo: str, traffic: Traffic) -> None:
    names = [f"{folder}/{number:04}.txt" for folder in ("a", "b") for number in range(1_100)]
    for start in range(0, len(names), 1_100):
        operations = [add(name, name.encode()) for name in names[start : start + 1_100]]
        api(hub).create_commit(repo, operations, commit_message="m", repo_type="dataset")
    before = traffic.count("GET", "/tree/")
    listed = [entry.path for entry in api(hub).list_repo_tree(repo, repo_type="dataset", recursive=True)]
    assert listed == [".gitattributes", "a", *names[:1_100], "b", *names[1_100:]]
    assert traffic.count("GET", "/tree/") - before == 3
    assert len(list(api(hub).list_repo_tree(repo, "b", repo_type="dataset"))) == 1_100
    some = list(api(hub).list_repo_tree(repo, "a", repo_type="dataset", expand=True))[1_099]
    assert (some.path, some.last_commit.title) == ("a/1099.txt", "m")


def test_the_file_system_reads_ranges(hub: LocalHub, repo: str, traffic: Traffic) -> None:
    content = os.urandom(2_000_000)
    api(hub).upload_file(path_or_fileobj=content, path_in_repo="x.bin", repo_id=repo, repo_type="dataset")
    files = HfFileSystem(endpoint=hub.url, token=hub.token)
    with files.open(f"datasets/{repo}/x.bin", "rb", block_size=100_000) as file:
        file.seek(1_000_000)
        assert file.read(10) == content[1_000_000:1_000_010]
    assert sum(request.bytes_sent for request in traffic.requests if "/storage/" in request.path) < 300_000
    assert files.ls(f"datasets/{repo}", detail=False) == [f"datasets/{repo}/.gitattributes", f"datasets/{repo}/x.bin"]


def test_datasets_loads_and_streams(hub: LocalHub, tmp_path: Path) -> None:
    source = """
        from datasets import Dataset, load_dataset
        Dataset.from_dict({"id": ["a", "b"], "n": [1, 2]}).push_to_hub("me/table", private=True)
        loaded = load_dataset("me/table", split="train")
        streamed = list(load_dataset("me/table", split="train", streaming=True))
        result = [loaded.to_list(), streamed]
    """
    rows = [{"id": "a", "n": 1}, {"id": "b", "n": 2}]
    assert run_client(hub, tmp_path / "home", source) == [rows, rows]


def test_without_xet_clients_upload_and_download_through_lfs(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    api(hub).upload_file(
        path_or_fileobj=b"\0through xet" * 50_000, path_in_repo="x.bin", repo_id=repo, repo_type="dataset"
    )
    source = """
        from huggingface_hub import HfApi, hf_hub_download
        HfApi().upload_file(path_or_fileobj=b"\\0through lfs", path_in_repo="l.bin", repo_id=repo, repo_type="dataset")
        files = [hf_hub_download(repo, name, repo_type="dataset") for name in ("x.bin", "l.bin")]
        result = [open(file, "rb").read().decode() for file in files]
    """
    assert run_client(hub, tmp_path / "home", source, xet=False, repo=repo) == [
        "\0through xet" * 50_000,
        "\0through lfs",
    ]


def test_the_older_routes_of_the_content_store_work_too(
    hub: LocalHub, repo: str, traffic: Traffic, tmp_path: Path
) -> None:
    content = b"".join(bytes([n % 251]) * 1_000 for n in range(3_000))
    (tmp_path / "x.bin").write_bytes(content)
    source = """
        from huggingface_hub import HfApi, hf_hub_download
        HfApi().upload_file(path_or_fileobj=file, path_in_repo="x.bin", repo_id=repo, repo_type="dataset")
        result = hf_hub_download(repo, "x.bin", repo_type="dataset")
    """
    older = {"HF_XET_CLIENT_SHARD_API_VERSION": "1", "HF_XET_CLIENT_RECONSTRUCTION_API_VERSION": "1"}
    got = run_client(hub, tmp_path / "home", source, settings=older, file=str(tmp_path / "x.bin"), repo=repo)
    assert Path(got).read_bytes() == content
    assert traffic.count("POST", "/v1/shards") == traffic.count("GET", "/v1/reconstructions/") == 1
    assert traffic.count("POST", "/v2/") == traffic.count("GET", "/v2/") == 0


def test_the_content_store_gives_ranges_of_files(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    content = os.urandom(1_000_000) + bytes(500_000) + os.urandom(1_000_000)
    api(hub).upload_file(path_or_fileobj=content, path_in_repo="x.bin", repo_id=repo, repo_type="dataset")
    link = ask(f"{hub.url}/datasets/{repo}/resolve/main/x.bin", "HEAD").headers["location"]
    random.seed(3)
    for _ in range(40):
        start, end = sorted(random.sample(range(len(content)), 2))
        assert ask(link, range=f"bytes={start}-{end}").body == content[start : end + 1]
    source = """
        import hf_xet
        from huggingface_hub import HfApi
        from huggingface_hub.utils._xet import XetFileData, refresh_xet_connection_info
        [file] = HfApi().get_paths_info(repo, "x.bin", repo_type="dataset")
        url = f"{os.environ['HF_ENDPOINT']}/api/datasets/{repo}/xet-read-token/main"
        headers = {"authorization": "Bearer " + os.environ["HF_TOKEN"]}
        info = refresh_xet_connection_info(file_data=XetFileData(file.xet_hash, url), headers=headers)
        result = [info.endpoint, info.access_token, file.xet_hash]
    """
    store, token, name = run_client(hub, tmp_path / "home", source, repo=repo)
    plan = ask(f"{store}/v2/reconstructions/{name}", token=token, range="bytes=1100000-1199999").json
    assert sum(term["unpacked_length"] for term in plan["terms"]) < 400_000
    assert 0 <= plan["offset_into_first_range"] < 200_000
    assert ask(f"{store}/v2/reconstructions/{name}", token=token, range="bytes=9000000-").status == 416


def test_a_card_is_checked_before_it_is_committed(hub: LocalHub, repo: str) -> None:
    with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
        api(hub).upload_file(
            path_or_fileobj=b"---\ntags: {a: 1}\n---\n", path_in_repo="README.md", repo_id=repo, repo_type="dataset"
        )
    api(hub).upload_file(
        path_or_fileobj=b"---\nlicense: mit\ntags: [edit]\n---\n# Hi",
        path_in_repo="README.md",
        repo_id=repo,
        repo_type="dataset",
    )
    info = api(hub).dataset_info(repo)
    assert info.card_data.license == "mit"
    assert info.tags[:2] == ["license:mit", "edit"]


def test_permanently_deleted_files_leave_the_history(hub: LocalHub) -> None:
    client = api(hub)
    client.create_repo("me/history")
    for name in ("a.bin", "b.bin"):
        client.upload_file(path_or_fileobj=b"\0" + name.encode(), path_in_repo=name, repo_id="me/history")
    before = [commit.commit_id for commit in client.list_repo_commits("me/history")]
    [gone] = [file for file in client.list_lfs_files("me/history") if file.filename == "a.bin"]
    client.permanently_delete_lfs_files("me/history", [gone])
    assert client.list_repo_files("me/history") == [".gitattributes", "b.bin"]
    after = [commit.commit_id for commit in client.list_repo_commits("me/history")]
    assert (len(after), after[-1]) == (3, before[-1])
    assert set(before) & set(after) == {before[-1]}
