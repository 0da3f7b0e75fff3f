"""What is true of every layout, and how the one that a folder has is found out."""

import pickle

import pytest

from qflux_hub import layouts
from qflux_hub.errors import LayoutError, UsageError
from qflux_hub.report import Progress
from qflux_hub.tree import FolderTree
from tests.builders import lay, lay_split, roles, scan, table, write
from tests.layouttools import sample as make


def as_directory(root, split, bases):
    return lay_split(root, split, bases)


def as_csv(root, split, bases):
    paths = {base: (f"{split}/target/{base}.png", f"{split}/control/{base}.png") for base in bases}
    rows = [[base, *paths[base], f"Prompt of {base}."] for base in bases]
    write(root / f"{split}.csv", table(["id", "image", "control", "prompt"], *rows))
    return lay(root, *(path for pair in paths.values() for path in pair))


def written(name):
    """What writes samples of a split by the layout's own writer."""

    def write_as(root, split, bases):
        samples = [make(base, split=split, prompt=f"Prompt of {base}.") for base in bases]
        layouts.write(layouts.called(name), {split: samples}, root, force=True, progress=Progress())
        return root

    return write_as


WRITERS = {name: written(name) for name in layouts.names()} | {"directory": as_directory, "csv": as_csv}


@pytest.fixture(params=layouts.names())
def write_as(request):
    """Writes samples of a split in one of the layouts; the fixture meets each of them."""
    return WRITERS[request.param]


def names_of(write_as):
    return next(name for name, writer in WRITERS.items() if writer is write_as)


# --- every layout -----------------------------------------------------------------------------------------------

BASES = ["a", "a_1", "b.v2", "im[1]", "caf\u00e9", "\U0001f431 x"]


def test_every_layout_is_detected_and_reads_the_same_samples(tmp_path, write_as):
    result = scan(write_as(tmp_path, "train", BASES))
    assert (result.layout, result.findings) == (names_of(write_as), [])
    assert {sample.id: sample.prompt for sample in result.samples} == {base: f"Prompt of {base}." for base in BASES}
    for sample in result.samples:
        for _, blob in sample.media():
            with blob.open() as file:
                assert len(file.read()) == blob.size > 0
        assert roles(sample)["target"] not in roles(sample)["controls"]


def test_every_layout_can_be_called_by_its_name(tmp_path, write_as):
    write_as(tmp_path, "train", BASES)
    assert scan(tmp_path, names_of(write_as)).samples == scan(tmp_path, "auto").samples == scan(tmp_path).samples


def test_every_layout_lists_train_before_test_before_others(tmp_path, write_as):
    for split in ("extra", "test", "train", "Zoo"):
        write_as(tmp_path, split, [f"{split}_1"])
    result = scan(tmp_path)
    assert list(result.splits) == ["train", "test", "Zoo", "extra"]
    assert [sample.split for sample in result.samples] == ["train", "test", "Zoo", "extra"]


def test_samples_of_every_layout_travel_between_processes(tmp_path, write_as):
    samples = scan(write_as(tmp_path, "train", BASES)).samples
    assert pickle.loads(pickle.dumps(samples)) == samples  # noqa: S301 - our own bytes


def test_every_layout_reads_prompts_as_samples_are_taken(tmp_path, write_as):
    tree = FolderTree(write_as(tmp_path, "train", BASES))
    findings = []
    samples = layouts.detect(tree, None, findings.append).layout.read(tree, "train", {}, findings.append)
    assert next(samples).split == "train"
    assert findings == []


def test_every_layout_says_what_it_looks_like_in_one_line():
    for layout in layouts.LAYOUTS:
        assert layout.NAME.isidentifier()
        assert "\n" not in layout.SHAPE
        assert "train" in layout.SHAPE


# --- detection --------------------------------------------------------------------------------------------------


def refused(root, layout=None):
    with pytest.raises(LayoutError) as error:
        scan(root, layout)
    return error.value


def test_an_unknown_folder_is_explained_to_somebody_who_never_saw_the_docs(tmp_path, monkeypatch):
    monkeypatch.chdir(lay(tmp_path, "set/pictures/a.png", "set/notes.txt"))
    error = refused("set")
    assert error.message == (
        "set is not a dataset that qflux can read.\n"
        "  directory: no train/ or test/ that holds control_images/ and training_images/\n"
        "  csv: no train.csv or test.csv at the top\n"
        "  metadata: no metadata.jsonl, .csv, .parquet or .json at the top or in the folder of a split\n"
        "  parquet: no Parquet file at the top, in data/ or in the folder of a split\n"
        "  pix2pix: no Parquet file at the top, in data/ or in the folder of a split\n"
        "  webdataset: no tar at the top, in data/ or in the folder of a split\n"
        "  lists: no prompts.txt (or captions.txt) beside an images.txt or videos.txt, at the top or in the folder "
        "of a split\n"
        "  aitoolkit: no folder of images with captions beside a folder control/ with images of their names\n"
        "  pairs: no .txt beside an image or video of the same name, at the top or in the folder of a split"
    )
    assert error.hint == (
        "The dataset's folder is the one that holds:\n"
        "  train/control_images/cat.jpg   train/training_images/cat.txt   train/training_images/cat.png\n"
        "  train.csv  with the columns  image,control,control_1,prompt\n"
        "  train/metadata.jsonl  with  prompt, control_images_file_names, target_image_file_name\n"
        "  data/train-00000-of-00001.parquet  with the columns  id, prompt, control_images, target_image\n"
        "  data/train-00000-of-00001.parquet  with the columns  input_image, edit_prompt, edited_image\n"
        "  train-00000.tar  with the members  0001.txt, 0001.control.png, 0001.mask.png, 0001.jpg\n"
        "  train/prompts.txt  with a caption per line   train/images.txt or videos.txt  with a path per line\n"
        "  train/target/cat.txt   train/target/cat.png   train/control/cat.png   train/control_1/cat.png\n"
        "  train/cat.txt   train/cat.jpg or cat.mp4"
    )


def test_an_empty_folder_is_called_empty(tmp_path):
    assert refused(tmp_path).hint == "The folder is empty."


def test_a_folder_of_both_layouts_needs_a_choice(tmp_path):
    as_directory(tmp_path, "train", ["a"])
    as_csv(tmp_path, "test", ["b"])
    error = refused(tmp_path)
    assert error.message == (
        f"{tmp_path} can be read as directory (train) and csv (test).\n"
        "  directory: train/control_images/, train/training_images/\n"
        "  csv: test.csv\n"
        "  metadata: no metadata.jsonl, .csv, .parquet or .json at the top or in the folder of a split\n"
        "  parquet: no Parquet file at the top, in data/ or in the folder of a split\n"
        "  pix2pix: no Parquet file at the top, in data/ or in the folder of a split\n"
        "  webdataset: no tar at the top, in data/ or in the folder of a split\n"
        "  lists: no prompts.txt (or captions.txt) beside an images.txt or videos.txt, at the top or in the folder "
        "of a split\n"
        "  aitoolkit: no folder of images with captions beside a folder control/ with images of their names\n"
        "  pairs: no .txt beside an image or video of the same name, at the top or in the folder of a split"
    )
    assert error.hint == "Say which with --layout directory or --layout csv."
    assert (scan(tmp_path, "directory").ids, scan(tmp_path, "csv").ids) == (["a"], ["b"])


def test_a_layout_that_is_hardly_meant_is_not_taken_but_told(tmp_path, caplog):
    as_directory(tmp_path, "train", ["a"])
    write(tmp_path / "backup/train.tar", b"whatever")
    lay(tmp_path, "notes/cat.png", "notes/cat.txt")
    with caplog.at_level("INFO", "qflux_hub"):
        assert scan(tmp_path).layout == "directory"
    assert caplog.messages[-1].splitlines()[:5] == [
        f"{tmp_path} is read as directory:",
        "  directory: train/control_images/, train/training_images/",
        "  webdataset: backup/train.tar, but tars may be archives of anything",
        "  pairs: notes/cat.txt, but a text beside a file may be anything",
        "  csv: no train.csv or test.csv at the top",
    ]
    for path in (tmp_path / "train").rglob("*.txt"):
        path.unlink()
    error = refused(tmp_path)
    assert f"{tmp_path} can be read as directory (train) and webdataset (backup) and pairs (notes).\n" in error.message
    assert "\n  directory: train/control_images/, train/training_images/, but no prompt in training_images/\n" in (
        error.message
    )
    assert error.hint == "Say which with --layout directory or --layout webdataset or --layout pairs."


def test_every_layout_says_by_what_it_was_recognised(tmp_path, write_as):
    first, *others = layouts.rank(FolderTree(write_as(tmp_path, "train", BASES)))
    assert (first.match.layout.NAME, first.match.splits, first.doubt) == (names_of(write_as), ("train",), "")
    assert "train" in first.line
    assert len(others) == len(layouts.LAYOUTS) - 1
    assert all(one.doubt or not one.match.splits for one in others)


def test_what_the_other_layouts_took_offence_at_is_not_reported(tmp_path):
    lay(as_directory(tmp_path, "train", ["a"]), stats_csv="step,loss\n1,0.5\n")
    assert [(finding.code, finding.where) for finding in scan(tmp_path).findings] == [("unused-file", "stats.csv")]


def test_a_layout_that_does_not_exist_is_a_wrong_call(tmp_path):
    with pytest.raises(UsageError, match="There is no layout 'folder'") as error:
        scan(as_directory(tmp_path, "train", ["a"]), "folder")
    assert error.value.hint == f"Layouts: {', '.join(layouts.names())}."


def test_a_layout_asked_for_that_is_not_there_says_what_it_misses(tmp_path):
    error = refused(as_directory(tmp_path, "train", ["a"]), "csv")
    assert "csv: no train.csv or test.csv at the top" in error.message
    assert "directory:" not in error.message


@pytest.mark.parametrize("folder", ["control_images", "training_images"])
def test_the_folder_of_a_split_is_recognised_as_one(tmp_path, folder):
    as_directory(tmp_path, "train", ["a"])
    for name in {"control_images", "training_images"} - {folder}:
        for path in (tmp_path / "train" / name).iterdir():
            path.unlink()
    assert (
        f"{folder}/ lies at the top; the folder above is the dataset, and this one a split such as train"
        in refused(tmp_path / "train").message
    )


@pytest.mark.parametrize(
    "names", [["control_image", "training_image"], ["Control_Images", "Training-Images"], ["controlimages", "x"]]
)
def test_folders_that_nearly_have_the_right_names_are_named(tmp_path, names):
    lay(tmp_path, *(f"train/{name}/a.png" for name in names))
    assert f"train/{names[0]}/ is nearly {'control_images'}/" in refused(tmp_path).message


def test_a_dataset_in_a_folder_below_is_named(tmp_path):
    as_directory(tmp_path / "data/set", "train", ["a"])
    as_csv(tmp_path / "more", "test", ["a"])
    error = refused(tmp_path)
    assert (
        "directory: no train/ or test/ that holds control_images/ and training_images/; data/set/ has them"
        in error.message
    )
    assert "csv: no train.csv or test.csv at the top; more/ has them" in error.message


@pytest.mark.parametrize("name", ["my-split", "all"])
def test_a_dataset_whose_only_split_has_no_legal_name_says_so(tmp_path, write_as, name):
    error = refused(write_as(tmp_path, name, ["a"]))
    assert f"{names_of(write_as)}: {name!r} is no legal name of a split" in error.message


def test_a_table_without_a_control_column_says_so(tmp_path):
    error = refused(lay(tmp_path, "a.png", other_csv="file_name,text\na.png,Hi\n"))
    assert "csv: other.csv: no control column (control, path_control, control_1, …)" in error.message
