import os
import pickle
import random
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflux_hub.errors import LayoutError, UsageError
from qflux_hub.layouts import directory
from qflux_hub.sample import stamp
from qflux_hub.tree import Cursor, FolderTree, Names, stamp_of
from tests.builders import lay, lay_split, scan, write


def codes_of(tree):
    return [(finding.code, finding.where) for finding in tree.findings]


def test_a_folder_is_one_sorted_listing(tmp_path):
    lay(tmp_path, "b/z.png", "b/a.png", "b/c/x.txt", "a.txt", "b/B.png", "a/y.txt", "b-2/x.txt", "\u00e4/x.txt")
    (tmp_path / "empty/er").mkdir(parents=True)
    tree = FolderTree(tmp_path)
    assert list(tree.files.items()) == [
        ("", ["a.txt"]),
        ("a", ["y.txt"]),
        ("b", ["B.png", "a.png", "z.png"]),
        ("b/c", ["x.txt"]),
        ("b-2", ["x.txt"]),
        ("\u00e4", ["x.txt"]),
    ]
    assert tree.findings == []


def test_the_tree_is_called_what_the_user_called_it(tmp_path, monkeypatch):
    monkeypatch.chdir(lay(tmp_path, "set/a.txt"))
    tree = FolderTree("set/")
    assert tree.name == "set/"
    assert tree.read("a.txt") == b"Prompt of a.\n"


def test_a_blob_has_size_and_stamp_and_opens_its_bytes(tmp_path):
    path = write(tmp_path / "sub/a.png", b"12345")
    blob = FolderTree(tmp_path).blob("sub/a.png")
    stat = path.stat()
    assert (blob.name, blob.size, blob.stamp) == ("sub/a.png", 5, stamp(stat.st_mtime_ns, stat.st_ino))
    with pickle.loads(pickle.dumps(blob)).open() as file:  # noqa: S301 - it travels to worker processes
        assert stamp_of(file) == blob.stamp
        assert file.read() == b"12345"


def test_a_blob_of_a_file_that_is_gone_is_not_found(tmp_path):
    tree = FolderTree(lay(tmp_path, "a.png"))
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileNotFoundError):
        tree.blob("a.png")


def test_a_file_that_became_a_folder_is_an_error_with_its_name(tmp_path):
    tree = FolderTree(lay(tmp_path, "sub/a.txt"))
    (tmp_path / "sub/a.txt").unlink()
    (tmp_path / "sub/a.txt").mkdir()
    with pytest.raises(IsADirectoryError) as error:
        tree.read("sub/a.txt")
    assert error.value.filename == "sub/a.txt"


def test_the_litter_of_systems_is_not_listed(tmp_path):
    write(tmp_path / "train/._x.txt", b"\x00\x05\x16\x07\x00")
    lay(tmp_path, "train/x.txt", "train/.DS_Store", "train/Thumbs.db", ".git/config", "desktop.ini")
    tree = FolderTree(tmp_path)
    assert tree.files == {"train": ["x.txt"]}
    assert sorted(tree.junk) == ["train/.DS_Store", "train/._x.txt", "train/Thumbs.db"]
    (finding,) = tree.findings  # one for the folder
    assert (finding.code, finding.where, finding.severity) == ("junk", "train/.DS_Store", "note")


def test_what_is_not_a_folder_is_said(tmp_path):
    file = write(tmp_path / "train.csv", "control,prompt\n")
    with pytest.raises(LayoutError, match="There is no folder"):
        FolderTree(tmp_path / "absent")
    with pytest.raises(LayoutError, match="is a file") as error:
        FolderTree(file)
    assert error.value.hint == "Give the folder that holds the dataset."
    with pytest.raises(UsageError, match="empty"):
        FolderTree("")


# --- links ------------------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path_factory):
    return lay(tmp_path_factory.mktemp("outside"), "secret.txt", "private/key.txt")


def test_links_that_are_followed_are_told_with_their_ends(tmp_path):
    lay(tmp_path, "train/a.txt")
    (tmp_path / "b.txt").symlink_to("train/a.txt")
    (tmp_path / "test").symlink_to("train")
    assert FolderTree(tmp_path).links == {"b.txt": str(tmp_path / "train/a.txt"), "test": str(tmp_path / "train")}


def test_links_out_of_the_root_are_left_out_and_reported(tmp_path, outside):
    lay(tmp_path, "train/a.txt")
    (tmp_path / "train/b.txt").symlink_to(outside / "secret.txt")
    (tmp_path / "train/more").symlink_to(outside / "private")
    (tmp_path / "train/up.txt").symlink_to(os.path.relpath(outside / "secret.txt", tmp_path / "train"))
    tree = FolderTree(tmp_path)
    assert tree.files == {"train": ["a.txt"]}
    assert codes_of(tree) == [("outside-root", f"train/{name}") for name in ("b.txt", "more", "up.txt")]
    assert str(outside / "secret.txt") in tree.findings[0].message
    assert "--follow-links" in tree.findings[0].fix


def test_links_out_of_the_root_are_followed_when_asked(tmp_path, outside):
    lay(tmp_path, "train/a.txt")
    (tmp_path / "train/b.txt").symlink_to(outside / "secret.txt")
    (tmp_path / "train/more").symlink_to(outside / "private")
    tree = FolderTree(tmp_path, follow_links=True)
    assert tree.files == {"train": ["a.txt", "b.txt"], "train/more": ["key.txt"]}
    assert tree.findings == []
    assert tree.read("train/more/key.txt") == b"Prompt of key.\n"


def test_a_root_whose_name_begins_like_the_link_s_target_is_no_inside(tmp_path):
    lay(tmp_path, "set/a.txt", "set-2/b.txt")
    (tmp_path / "set/b.txt").symlink_to(tmp_path / "set-2/b.txt")
    assert codes_of(FolderTree(tmp_path / "set")) == [("outside-root", "b.txt")]


def test_links_inside_the_root_are_followed(tmp_path):
    lay(tmp_path, "train/control/a.png")
    (tmp_path / "train/target").symlink_to("control")
    (tmp_path / "train/control/b.png").symlink_to("a.png")
    tree = FolderTree(tmp_path)
    assert tree.files == {"train/control": ["a.png", "b.png"], "train/target": ["a.png", "b.png"]}
    assert tree.findings == []


def test_a_root_that_is_a_link_holds_its_own_files(tmp_path):
    lay(tmp_path, "set/a.txt", "set/b/c.txt")
    (tmp_path / "link").symlink_to("set")
    (tmp_path / "set/d.txt").symlink_to("b/c.txt")
    tree = FolderTree(tmp_path / "link")
    assert tree.files == {"": ["a.txt", "d.txt"], "b": ["c.txt"]}
    assert tree.findings == []


def test_links_that_go_round_end(tmp_path):
    lay(tmp_path, "a/x.txt", "b/y.txt")
    (tmp_path / "a/root").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to(".")
    (tmp_path / "a/b").symlink_to("../b")
    (tmp_path / "b/a").symlink_to("../a")
    tree = FolderTree(tmp_path, follow_links=True)
    assert tree.files == {"a": ["x.txt"], "a/b": ["y.txt"], "b": ["y.txt"], "b/a": ["x.txt"]}


def test_a_link_that_leads_nowhere_is_reported(tmp_path):
    lay(tmp_path, "a.txt")
    (tmp_path / "b.txt").symlink_to("absent.txt")
    (tmp_path / "c.txt").symlink_to("c.txt")
    tree = FolderTree(tmp_path)
    assert tree.files == {"": ["a.txt"]}
    assert codes_of(tree) == [("missing-file", "b.txt"), ("missing-file", "c.txt")]


def test_pipes_and_sockets_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    (tmp_path / "b.txt").symlink_to("a.txt")
    assert FolderTree(tmp_path).files == {}


def test_findings_come_in_the_order_of_their_paths(tmp_path, outside):
    for name in ("zebra", "b/ant", "m", "a/fox", "a/bee", "bear"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(outside)
    paths = [where for _, where in codes_of(FolderTree(tmp_path))]
    assert paths == ["a/bee", "a/fox", "b/ant", "bear", "m", "zebra"]


# --- names and depths -------------------------------------------------------------------------------------------


def test_folders_may_be_deeper_than_python_s_stack(tmp_path):
    lay(tmp_path, "a.txt")
    path = os.fspath(tmp_path)
    for _ in range(1500):
        path += "/d"
        os.mkdir(path)  # noqa: PTH102 - pathlib and shutil go down by recursion
    (tmp_path / "a.txt").rename(f"{path}/x.txt")
    tree = FolderTree(tmp_path)
    (tmp_path / "/".join("d" * 1500) / "x.txt").rename(tmp_path / "a.txt")
    os.removedirs(path)
    assert list(tree.files) == ["/".join("d" * 1500)]


def test_names_that_are_not_utf_8_are_left_out_and_reported(tmp_path):
    lay_split(tmp_path, bases=["a"])
    write(tmp_path / "train/training_images" / os.fsdecode(b"caf\xe9.txt"), "Add milk.")
    write(tmp_path / os.fsdecode(b"gar\xe7on") / "x.txt", "Hello.")
    result = scan(tmp_path)
    assert result.ids == ["a"]
    found = [finding for finding in result.findings if finding.code == "undecodable-name"]
    assert [finding.where for finding in found] == ["gar\\xe7on", "train/training_images/caf\\xe9.txt"]
    assert {finding.severity for finding in found} == {"error"}
    assert "\\xe9" in found[1].message


def test_whatever_is_said_of_a_name_can_be_printed(tmp_path):
    root = tmp_path / os.fsdecode(b"s\xe9t")
    (lay(root, "a.txt") / "b.txt").symlink_to(os.fsdecode(b"../\xe9"))
    tree = FolderTree(root)
    assert tree.read("a.txt") == b"Prompt of a.\n"
    (finding,) = tree.findings
    assert f"{tree.name} {finding.message}".encode().count(rb"\xe9") == 2


def test_a_folder_whose_path_is_too_long_is_reported_and_the_rest_is_listed(tmp_path):
    lay(tmp_path, "a.txt")
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(17):  # 4,251 bytes; step by step, because no call takes such a path
        os.mkdir("d" * 250, dir_fd=at)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    tree = FolderTree(tmp_path)
    shutil.rmtree(tmp_path / ("d" * 250))
    assert tree.files == {"": ["a.txt"]}
    ((code, where),) = codes_of(tree)
    assert (code, set(where)) == ("unreadable-file", {"d", "/"})
    assert tree.findings[0].message.endswith("cannot be read: File name too long.")


def test_a_file_that_cannot_be_opened_is_reported_and_the_rest_is_read(tmp_path):
    lay_split(tmp_path, bases=["a", "b", "c"])
    tree = FolderTree(tmp_path)
    (tmp_path / "train/training_images/a.txt").unlink()
    (tmp_path / "train/control_images/b.png").unlink()
    findings = []
    samples = list(directory.read(tree, "train", {}, findings.append))
    assert [sample.id for sample in samples] == ["c"]
    assert [(finding.code, finding.where, finding.sample) for finding in findings] == [
        ("unreadable-file", "train/training_images/a.txt", ("train", "a")),
        ("unreadable-file", "train/control_images/b.png", ("train", "b")),
    ]


def test_the_names_of_a_large_folder_are_sorted_in_runs_and_found():
    names = [f"{number}{end}" for number in range(10_000) for end in (".png", "-\u00e4.png")]
    shuffled = random.Random(1).sample(names, len(names))  # noqa: S311 - no secret
    listed = Names.sorted(iter(shuffled))
    names.sort()
    assert isinstance(listed, Names)
    assert (len(listed), list(listed)) == (20_000, names)
    assert (listed[0], listed[12_345], listed[-1], listed[5:900:7]) == (
        names[0],
        names[12_345],
        names[-1],
        names[5:900:7],
    )
    assert all(name in listed for name in shuffled[:500])
    assert not any(name in listed for name in ("", "!", "12", "12.pn", "12.png!", "zzz"))
    with pytest.raises(IndexError):
        listed[20_000]
    assert Names.sorted(iter(["b", "a"])) == ["a", "b"]


NAMES = st.text("ab.-_", min_size=1, max_size=4)


@given(st.sets(NAMES), st.lists(st.tuples(NAMES, NAMES)))
def test_a_cursor_finds_the_names_between_two_wherever_it_looked_before(some, asked):
    names = sorted(some | {f"b{number}" for number in range(300)})
    for listing in (names, Names(names), sorted(some)):
        cursor = Cursor(listing)
        for low, high in (*asked, *sorted(asked)):
            assert list(cursor.between(low, high)) == [name for name in listing if low <= name < high]
            assert (low in cursor) == (low in listing)
        assert all(name in cursor for name in listing)
