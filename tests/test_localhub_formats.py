"""The formats that the embedded Hub reads and writes, without a server: hashes, chunks, trees, patterns."""

from __future__ import annotations

import os
import subprocess
import tracemalloc
from pathlib import Path

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflux_hub.localhub import gitobjects, shard, xethash
from qflux_hub.localhub.exchange import one_range
from qflux_hub.localhub.gitobjects import Entry
from qflux_hub.localhub.patterns import check_ref_name, check_repo_name, default_attributes, is_ignored, is_lfs
from qflux_hub.localhub.problems import HttpError
from qflux_hub.localhub.shard import Term
from qflux_hub.localhub.xorb import XorbCheck, XorbError, decode, whole_chunks

DIGESTS = st.binary(min_size=32, max_size=32)


@given(DIGESTS)
def test_a_printed_hash_reads_back(digest: bytes) -> None:
    assert xethash.parsed(xethash.printed(digest)) == digest


def test_hashes_are_printed_as_little_endian_words() -> None:
    printed = "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918"
    assert xethash.printed(bytes(range(32))) == printed
    with pytest.raises(ValueError, match="64 hex digits"):
        xethash.parsed("00")


def test_a_file_of_one_chunk_hashes_as_the_client_hashes_it(tmp_path: Path) -> None:
    import hf_xet

    content = b"less than a chunk"
    (tmp_path / "x").write_bytes(content)
    [info] = hf_xet.hash_files([str(tmp_path / "x")])
    assert info.hash == xethash.printed(xethash.file_hash([(xethash.chunk_hash(content), len(content))]))


@given(st.lists(st.tuples(DIGESTS, st.integers(1, 100)), min_size=1, max_size=60))
def test_the_root_is_reached_and_depends_on_the_order(leaves: list[tuple[bytes, int]]) -> None:
    assert len(xethash.root(leaves)) == 32
    if leaves != leaves[::-1]:
        assert xethash.root(leaves) != xethash.root(leaves[::-1])


@given(st.lists(st.tuples(DIGESTS, st.integers(0, 2**32 - 1), st.integers(0, 99), st.integers(0, 99)), max_size=9))
def test_packed_terms_read_back(terms: list[tuple[bytes, int, int, int]]) -> None:
    wanted = [Term(*fields) for fields in terms]
    assert shard.unpack_terms(shard.pack_terms(wanted)) == wanted


def stored(raw: bytes, scheme: int) -> bytes:
    """One stored chunk."""
    body = raw
    if scheme == 2:
        body = b"".join(raw[lane::4] for lane in range(4))
    if scheme:
        body = lz4.frame.compress(body)
    return b"\0" + len(body).to_bytes(3, "little") + bytes([scheme]) + len(raw).to_bytes(3, "little") + body


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=200), st.integers(0, 2)), min_size=1, max_size=5),
    st.integers(1, 60),
    st.binary(max_size=20),
)
def test_a_xorb_is_read_the_same_however_it_arrives(chunks: list[tuple[bytes, int]], step: int, footer: bytes) -> None:
    body = b"".join(stored(raw, scheme) for raw, scheme in chunks)
    sent = body + (b"X" + footer if footer else b"")
    check = XorbCheck()
    kept = bytearray()
    for start in range(0, len(sent), step):
        before = check.kept
        check.feed(sent[start : start + step])
        kept += sent[start : start + step][: check.kept - before]
    table = check.finish()
    assert bytes(kept) == body
    assert table.leaves() == [(xethash.chunk_hash(raw), len(raw)) for raw, _ in chunks]
    assert [bytes(raw) for raw in decode(memoryview(body))] == [raw for raw, _ in chunks]
    assert table.stored_start(len(table)) == len(body)
    assert whole_chunks(memoryview(body)[:-1]) == table.stored_start(len(table) - 1)


def test_a_chunk_cannot_claim_more_than_it_may_hold() -> None:
    packed = lz4.frame.compress(bytes(50_000_000))
    bomb = b"\0" + len(packed).to_bytes(3, "little") + b"\1" + (1_000).to_bytes(3, "little") + packed
    tracemalloc.start()
    with pytest.raises(XorbError, match="says 1000 raw bytes"):
        XorbCheck().feed(bomb)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    bomb = b"\0" + (100).to_bytes(3, "little") + b"\1" + (2**24 - 1).to_bytes(3, "little") + bytes(100)
    with pytest.raises(XorbError, match="at most"):
        XorbCheck().feed(bomb)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)


@given(st.dictionaries(NAMES, st.booleans(), max_size=8))
def test_a_packed_tree_reads_back(names: dict[str, bool]) -> None:
    modes = {True: gitobjects.TREE_MODE, False: gitobjects.FILE_MODE}
    entries = [Entry(name, modes[is_tree], os.urandom(20).hex()) for name, is_tree in names.items()]
    assert sorted(gitobjects.unpack_tree(gitobjects.pack_tree(entries)), key=str) == sorted(entries, key=str)


def test_ids_are_those_of_git(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    for name in ("a.txt", "b/c.txt", "b.txt", "b-1/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    git("add", ".")
    blob = {name: gitobjects.blob_id(name.encode()) for name in ("a.txt", "b/c.txt", "b.txt", "b-1/d.txt")}
    assert blob["a.txt"] == git("hash-object", "a.txt")

    def tree(*entries: Entry) -> str:
        return gitobjects.object_id("tree", gitobjects.pack_tree(list(entries)))

    file, folder = gitobjects.FILE_MODE, gitobjects.TREE_MODE
    inner = [Entry("b", folder, tree(Entry("c.txt", file, blob["b/c.txt"])))]
    inner += [Entry("b-1", folder, tree(Entry("d.txt", file, blob["b-1/d.txt"])))]
    root = tree(Entry("a.txt", file, blob["a.txt"]), Entry("b.txt", file, blob["b.txt"]), *inner)
    assert root == git("write-tree")
    raw = gitobjects.pack_commit(root, (), "me", 1_700_000_000_123, "title", "text")
    assert git("hash-object", "-t", "commit", "--stdin-paths", "-w", "--literally") == ""
    (tmp_path / "commit").write_bytes(raw)
    assert gitobjects.object_id("commit", raw) == git("hash-object", "-t", "commit", "commit")


@pytest.mark.parametrize(
    ("ignore", "path", "expected"),
    [
        ("*.log", "a/b.log", True),
        ("*.log\n!keep.log", "keep.log", False),
        ("/a.txt", "a.txt", True),
        ("/a.txt", "b/a.txt", False),
        ("build/", "build/x/y.txt", True),
        ("build/", "build", False),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "a/z", True),
        ("**/cache", "x/cache/y", True),
        ("file[0-9].txt", "file7.txt", True),
        ("file[!0-9].txt", "file7.txt", False),
        ("# comment\n\n", "# comment", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[", "[", True),
    ],
)
def test_gitignore_means_what_git_means(ignore: str, path: str, expected: bool) -> None:
    assert is_ignored(ignore, path) is expected


def test_gitattributes_decide_by_their_last_matching_line() -> None:
    attributes = default_attributes("dataset")
    assert is_lfs(attributes, "data/train.parquet")
    assert is_lfs(attributes, "a/b/photo.jpg")
    assert not is_lfs(default_attributes("model"), "a/b/photo.jpg")
    assert not is_lfs(attributes, "README.md")
    assert not is_lfs(attributes + "*.jpg -filter -text\n", "photo.jpg")
    assert is_lfs("saved_model/**/* filter=lfs\n", "saved_model/a/b.txt")


@pytest.mark.parametrize("name", ["a", "A-1_b.c", "x" * 96])
def test_names_of_repos_that_are_fine(name: str) -> None:
    check_repo_name(name)


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", ".a", "a.", "a..b", "a--b", "a/b", "a b", "ä", "x" * 97, "a.git", "a.ipynb"]
)
def test_names_of_repos_that_are_not(name: str) -> None:
    with pytest.raises(HttpError, match="Invalid repo name"):
        check_repo_name(name)


@pytest.mark.parametrize(
    "name", ["", "a b", "a..b", "a~1", "a^", "a:b", "a//b", "/a", "a/", "a.lock", "a@{1}", "-a", "refs/x", "a\\b"]
)
def test_names_of_branches_that_are_not(name: str) -> None:
    with pytest.raises(HttpError, match="Invalid reference"):
        check_ref_name(name)


@given(st.integers(1, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_what_slicing_gives(size: int, first: int, last: int) -> None:
    content = bytes(range(size))
    for header, wanted in (
        (f"bytes={first}-", content[first:]),
        (f"bytes=-{first}", content[-first:] if first else b""),
    ):
        if not wanted:
            with pytest.raises(HttpError):
                one_range(header, size)
        else:
            start, end = one_range(header, size) or (0, size)
            assert content[start:end] == wanted
    if first < size and first <= last:
        start, end = one_range(f"bytes={first}-{last}", size) or (0, size)
        assert content[start:end] == content[first : last + 1]
