"""The dataset card: what qflux writes, and that the user's words survive it."""

from __future__ import annotations

import io
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from qflux_hub.cards import BEGIN, END, CardFacts, SplitFacts, dataset_card, read_card
from qflux_hub.errors import DataError
from qflux_hub.features import features
from qflux_hub.frontmatter import FrontMatter, take_apart
from qflux_hub.pack import pack
from qflux_hub.sample import Blob, Sample
from tests.builders import picture

SPLITS = (
    SplitFacts("test", 1, 500, "data/test/*.parquet", (1, 1), 0, 0, {"png": 1}),
    SplitFacts("train", 1204, 3_400_000_000, "data/train/*.parquet", (1, 3), 10, 1200, {"jpeg": 12, "png": 2400}),
)
TRAIN = SPLITS[1:]

INFO = """\
dataset_info:
  features:
  - name: id
    dtype: string
  - name: control_images
    sequence: image
  - name: control_mask
    dtype: image
  - name: target_image
    dtype: image
  - name: prompt
    dtype: string
  splits:
  - name: train
    num_bytes: 3400000000
    num_examples: 1204
  download_size: 3400000000
  dataset_size: 3400000000
"""
CONFIGS = """\
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train/*.parquet
"""


def card(existing=None, splits=SPLITS, extra=(), version="0.1.0", drop=()):
    return dataset_card(
        existing, repo_id="me/photo-edits", splits=splits, features=features(extra), version=version, drop=drop
    )


def matter(existing, splits=TRAIN, **options):
    """The front matter of the card after an upload, from the one before."""
    text = card(f"---\n{existing}---\nBody\n", splits, **options)
    assert card(text, splits, **options) == text
    return take_apart(text).matter.text


def test_a_new_card_says_what_there_is_and_how_to_use_it():
    assert card(extra=["source|url"]) == (
        """\
---
task_categories:
- image-to-image
tags:
- image-editing
- qflux
size_categories:
- "1K<n<10K"
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train/*.parquet
  - split: test
    path: data/test/*.parquet
dataset_info:
  features:
  - name: id
    dtype: string
  - name: control_images
    sequence: image
  - name: control_mask
    dtype: image
  - name: target_image
    dtype: image
  - name: prompt
    dtype: string
  - name: "source|url"
    dtype: string
  splits:
  - name: train
    num_bytes: 3400000000
    num_examples: 1204
  - name: test
    num_bytes: 500
    num_examples: 1
  download_size: 3400000500
  dataset_size: 3400000500
---

# photo-edits

An image-editing dataset. Each sample holds the control images that an edit starts from, the prompt that says what to \
change and, where there is one, the target image that it leads to.

<!-- qflux:begin -->
<!-- qflux rewrites this part on every upload; write above or below it. -->

## Contents

| Split | Samples | Controls per sample | With mask | With target | Size |
| --- | ---: | ---: | ---: | ---: | ---: |
| `train` | 1,204 | 1 to 3 | 10 | 1,200 | 3.4 GB |
| `test` | 1 | 1 | 0 | 0 | 500 B |

Images: 2,401 PNG, 12 JPEG.

| Column | Type | Meaning |
| --- | --- | --- |
| `id` | text | Name of the sample, unique in its split |
| `control_images` | list of image | What the edit starts from: the main control image first, then further ones |
| `control_mask` | image | Where the edit applies; empty for samples without a mask |
| `target_image` | image | What the edit leads to; empty for samples without a target |
| `prompt` | text | What to change, in words |
| <code>source&#124;url</code> | text | Carried over from the source |

## Use

```python
from datasets import load_dataset

dataset = load_dataset("me/photo-edits")
```

or, with qflux:

```python
from qflux_hub import load_editing_dataset

dataset = load_editing_dataset("me/photo-edits")
```

Made with qflux 0.1.
<!-- qflux:end -->
"""
    )


@pytest.mark.parametrize(("samples", "category"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**9, "n>1B")])
def test_a_new_card_names_the_size_of_the_dataset(samples, category):
    text = card(None, [SplitFacts("train", samples, 1, "x")])
    assert take_apart(text).matter.data["size_categories"] == [category]


# Loading


def sample(id, split, **extra):
    data = picture(f"{id}.png", (8, 8))
    image = Blob(f"{id}.png", len(data), lambda _: io.BytesIO(data))
    return Sample(id, split, f"edit {id}", (image, image), None, image, extra)


def write_repo(folder, splits, extra=(), existing=None):
    """A repo as an upload leaves it, in a folder."""
    facts = []
    for split, samples in splits.items():
        shard = folder / "data" / split / "shard.parquet"
        shard.parent.mkdir(parents=True)
        with shard.open("wb") as sink:
            packed = pack(samples, extra, sink)
        facts.append(SplitFacts(split, len(samples), packed.size, f"data/{split}/*.parquet", (2, 2)))
    text = card(existing, facts, extra)
    (folder / "README.md").write_bytes(text.encode())
    return text


EXISTING = [
    None,
    "# Only words\n",
    "\ufeff---\r\nlicense: mit # ours\r\nconfigs: [{config_name: default, data_files: old/*.csv}]\r\n---\r\nWords",
    "---\ndataset_info:\n  config_name: old\n  features:\n  - name: x\n    dtype: int64\n---\n",
]


@pytest.mark.parametrize("existing", EXISTING)
def test_datasets_loads_the_repo_with_its_splits_and_features(tmp_path, existing):
    import datasets

    splits = {"train": [sample("a", "train", note="x"), sample("b", "train")], "test": [sample("c", "test")]}
    write_repo(tmp_path / "repo", splits, ["note"], existing)
    loaded = datasets.load_dataset(str(tmp_path / "repo"), cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in loaded.items()} == {"train": 2, "test": 1}
    assert loaded["train"].features == datasets.Features.from_dict(features(["note"]))
    assert list(loaded["train"].features) == ["id", "control_images", "control_mask", "target_image", "prompt", "note"]
    row = loaded["train"][0]
    assert (row["id"], row["prompt"], row["note"], row["control_mask"]) == ("a", "edit a", "x", None)
    assert [image.size for image in row["control_images"]] == [(8, 8), (8, 8)]


def test_datasets_loads_our_splits_beside_one_of_unknown_size(tmp_path):
    import datasets

    existing = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: more\n    path: more/*.parquet\n---\n"
    text = write_repo(tmp_path / "repo", {"train": [sample("a", "train")]}, existing=existing)
    (tmp_path / "repo/more").mkdir()
    with (tmp_path / "repo/more/0.parquet").open("wb") as sink:
        pack([sample("z", "more"), sample("zz", "more")], [], sink)
    loaded = datasets.load_dataset(str(tmp_path / "repo"), cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in loaded.items()} == {"train": 1, "more": 2}
    assert read_card(text).samples == {}


@pytest.mark.parametrize("existing", EXISTING)
def test_the_hub_client_reads_the_card(existing):
    from huggingface_hub import DatasetCard

    text = card(existing)
    data = DatasetCard(text.removeprefix("\ufeff")).data.to_dict()
    assert data["configs"][-1]["data_files"][0] == {"split": "train", "path": "data/train/*.parquet"}
    assert data == yaml.safe_load(take_apart(text).matter.text)


def test_features_in_yaml_mean_the_same_to_datasets_as_features_in_parquet():
    import datasets

    ours = features(["yes", "1e3", "a: b", "é\u2028"])
    text = card(extra=["yes", "1e3", "a: b", "é\u2028"])
    listed = take_apart(text).matter.data["dataset_info"]["features"]
    assert datasets.Features._from_yaml_list(listed) == datasets.Features.from_dict(ours)
    assert read_card(text).features == ours


# The user's front matter


def test_new_keys_come_last_in_the_front_matter():
    before = "# who we are\nlicense: mit  # really\ntags: ['a',   b]\n# the end\n"
    assert matter(before) == before + CONFIGS + INFO


def test_front_matter_without_keys_is_filled():
    assert card("---\n---\nBody\n", TRAIN).startswith(f"---\n{CONFIGS}{INFO}---\nBody\n")
    assert matter("# only a comment\n") == "# only a comment\n" + CONFIGS + INFO
    assert matter("{}\n").startswith("{configs: [{config_name: default,")


def test_a_card_without_front_matter_gets_it_on_top():
    assert card("Words\n", TRAIN).startswith(f"---\n{CONFIGS}{INFO}---\nWords\n\n{BEGIN}\n")
    assert card("\ufeff\r\nWords", TRAIN).startswith("\ufeff---\r\nconfigs:\r\n")


def test_line_ends_and_the_byte_order_mark_stay():
    text = card("\ufeff---\r\nlicense: mit\r\n---\r\nWords\r\n", TRAIN)
    assert text.startswith(
        "\ufeff---\r\nlicense: mit\r\n" + (CONFIGS + INFO).replace("\n", "\r\n") + "---\r\nWords\r\n"
    )
    assert "\n" not in text.replace("\r\n", "")


def test_only_our_splits_of_the_default_config_are_rewritten():
    before = """\
configs:
  # the words of old
  - config_name: "words"   # keep
    data_files: [words/*.csv]
  - data_files: # ours
      # trained on
      - path: [data/train-*]   # was pushed
        split: 'train'
      # held out
      - {split: validation, path: "valid/*"}
    config_name: 'default'
    version: 1.0.0

license: mit
"""
    after = before.replace("[data/train-*] ", "data/train/*.parquet ").replace(
        "      # held out\n",
        "      - split: test\n        path: data/test/*.parquet\n      # held out\n",
    )
    assert matter(before, SPLITS).startswith(after + "dataset_info:\n")


@pytest.mark.parametrize(
    ("files", "kept"),
    [
        ("data_files: old/*.parquet", {}),
        ("data_files: [a/*, b/*]", {}),
        ("data_files:\n  - a/*\n  - b/*", {}),
        ("data_files:", {}),
        ("data_files: []", {}),
        ("version: 1.0.0", {}),
        ("data_files: {train: a/*, more: [b/*, c/*]}", {"more": ("b/*", "c/*")}),
        ("data_files:\n    train: a/*\n    more: b/*", {"more": ("b/*",)}),
        ("data_files: [{split: train, path: a}, {split: more, path: b}]", {"more": ("b",)}),
        ("data_files:\n  - split: more\n    path:\n    - b\n    - c # c\n", {"more": ("b", "c")}),
        (
            "data_files:\n  - split: train\n    path: >-\n      a\n  - split: more\n    path: |-\n      b",
            {"more": ("b",)},
        ),
        ("data_files:\n  -\n    split: more\n    path: b\n  - split: train\n    path:\n    - a", {"more": ("b",)}),
    ],
)
def test_all_forms_of_data_files_are_understood(files, kept):
    text = matter(f"configs:\n- config_name: default\n  {files}\n")
    assert read_card(f"---\n{text}---\n").files == {"train": ("data/train/*.parquet",), **kept}


def test_files_of_the_only_split_become_those_of_train():
    text = matter("configs:\n- config_name: default\n  data_files: old/* # mine\n", SPLITS[:1])
    assert text.startswith(
        "configs:\n- config_name: default\n  data_files:\n"
        "  - split: train\n    path: old/*\n  - split: test\n    path: data/test/*.parquet # mine\n"
    )


def test_splits_whose_files_are_gone_are_dropped():
    before = CONFIGS + "  # later\n  - split: old\n    path: old/*\n  - {split: older, path: x} # x\n" + INFO
    assert matter(before, drop=["old", "older"]) == CONFIGS + "  # later\n" + INFO
    flow = "configs: [{config_name: default, data_files: [{split: old, path: o}, {split: train, path: t}]}]\n"
    assert matter(flow, drop=["old"]) == (
        "configs: [{config_name: default, data_files: [{split: train, path: data/train/*.parquet}]}]\n" + INFO
    )


def test_what_is_right_already_is_not_touched():
    before = 'configs: [{data_files: [{"path": "data/train/*.parquet", split: train}], config_name: "default"}]\n' + (
        INFO.replace("splits:", "'splits':").replace("sequence: image", 'sequence: "image" # pictures')
    )
    assert matter(before) == before


def test_sizes_of_kept_splits_are_added_to_ours():
    old = "  - name: validation\n    num_bytes: 7\n    num_examples: 1\n    note: x\n"
    before = CONFIGS + "  - split: validation\n    path: v/*\n" + INFO.replace("  splits:\n", "  splits:\n" + old)
    after = INFO.replace("  download_size: 3400000000\n", old.replace("validation", "validation"))
    after = matter(before)
    assert "download_size" not in after
    assert old in after
    assert "dataset_size: 3400000007\n" in after
    assert read_card(f"---\n{after}---\n").samples == {"train": 1204, "validation": 1}


def test_sizes_are_left_out_when_one_split_has_none():
    before = CONFIGS + "  - split: validation\n    path: v/*\n" + INFO
    assert matter(before) == before[: before.index("  splits:\n")]


OTHER = "  config_name: words\n  features:   # of words\n  - name: word\n    dtype: string\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (OTHER, "- config_name: words\n" + OTHER[OTHER.index("  features") :] + "- config_name: default\n"),
        (
            OTHER.replace("  config", " config").replace("\n  ", "\n "),
            "-\n" + OTHER.replace("  config", " config").replace("\n  ", "\n ") + "- config_name: default\n",
        ),
        (
            "- config_name: words # w\n  features: []\n# after\n",
            "- config_name: words # w\n  features: []\n- config_name: default\n",
        ),
    ],
)
def test_the_info_of_another_config_stays(before, after):
    text = matter("dataset_info:\n" + before)
    assert text.startswith("dataset_info:\n" + after)
    infos = take_apart(f"---\n{text}---\n").matter.data["dataset_info"]
    assert infos[0] == yaml.safe_load("dataset_info:\n" + after)["dataset_info"][0]
    assert infos[1] == {"config_name": "default", **yaml.safe_load(INFO)["dataset_info"]}


def test_the_info_of_another_config_stays_in_flow_style():
    text = matter("dataset_info: {config_name: words, features: []}\n")
    assert text.startswith("dataset_info: [{config_name: words, features: []}, {config_name: default, features: [{")


def test_other_keys_of_our_own_info_stay():
    before = (
        "dataset_info:\n  # about\n  homepage: https://a.b  # h\n  features: []\n  license: |\n    two\n    lines\n"
    )
    text = matter(before)
    assert text.startswith("dataset_info:\n  # about\n  homepage: https://a.b  # h\n  features:\n  - name: id\n")
    assert "  license: |\n    two\n    lines\n  splits:\n" in text


@pytest.mark.parametrize(
    ("yaml_text", "said"),
    [
        ("license: [mit\nx: 1\n", "line 3: the front matter is not valid YAML: "),
        ("\tlicense: mit\n", "line 2: the front matter is not valid YAML: "),
        ("a: 1\na: 2\n", "line 3: the front matter is not valid YAML: the key `a` appears twice"),
        ("a: 1\nb:\n  - x: {y: 1, y: 2}\n", "line 4: the front matter is not valid YAML: the key `y` appears twice"),
        ("- mit\n", "line 2: the front matter is a list"),
        ("mit\n", "line 2: the front matter is a text"),
        ("a: 1\n...\nb: 2\n", "line 4: the front matter is not valid YAML: "),
        ("a: 1\nb: \x07\n", "line 3: the front matter is not valid YAML: the character U+0007"),
        ("date: 2023-02-30\n", "an impossible value: day"),
        ("a: " + "[" * 999 + "]" * 999 + "\n", "nested too deeply"),
        ("a: *b\n", "undefined alias"),
        ("a: 1\nconfigs: default\n", "line 3: `configs` must be a list"),
        ("a: 1\nconfigs:\n- data_files: x\n", "line 3: `configs` must be a list"),
        ("a: 1\ndataset_info: [x]\n", "line 3: `dataset_info` must be a mapping"),
        ("configs:\n- config_name: default\n  data_files: 3\n", "line 4: `data_files` of the config 'default'"),
        ("configs:\n- config_name: default\n  data_files: [{split: a}]\n", "line 4: `data_files` of"),
        ("configs:\n- config_name: default\n  data_dir: x\n", "line 4: the config 'default' has a `data_dir`"),
        ("configs:\n- config_name: x\n  default: true\n", "line 4: the config 'x' is marked as the default one"),
        ("a: &a []\nb: *a\nconfigs: &c\n- config_name: x\nd: *c\n", "line 4: `configs` cannot be changed without"),
        (
            "configs:\n- config_name: default\n  data_files: &f [{split: train, path: x}]\nmine: *f\n",
            "line 4: `configs.0.data_files",
        ),
        (
            "configs:\n- config_name: default\n  data_files: [{split: train, path: &f [x]}]\nmine: *f\n",
            "line 4: `configs.0.data_files.0.path` cannot be changed without",
        ),
    ],
)
def test_a_card_that_cannot_be_merged_is_refused_with_its_line(yaml_text, said):
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        card(f"---\n{yaml_text}---\nBody\n")
    assert str(caught.value).startswith("README.md, line ")
    assert "--no-card" in caught.value.hint


def test_anchors_that_are_not_ours_do_no_harm():
    before = "base: &base [a]\ntags: *base\nmore: {<<: {x: 1}}\n"
    assert matter(before) == before + CONFIGS + INFO


# The body


def test_the_block_comes_last_after_a_blank_line():
    block = card()[card().index(BEGIN) :]
    assert card("---\na: 1\n---\nWords").endswith(f"---\nWords\n\n{block}")
    assert card("---\na: 1\n---\nWords\n\n").endswith(f"---\nWords\n\n\n{block}")
    assert card("---\na: 1\n---").endswith(f"---\n\n{block}")


def test_the_block_is_replaced_where_it_stands():
    text = f"---\na: 1\n---\nAbove\n{BEGIN}\nold\n{END}\t\nBelow"
    block = card()[card().index(BEGIN) :].rstrip("\n")
    assert card(text).endswith(f"---\nAbove\n{block}\t\nBelow")


@pytest.mark.parametrize("words", [BEGIN, END, f"Write `{BEGIN}` and\n`{END}`.", f"{END}\n{BEGIN}", f" {BEGIN}\n{END}"])
def test_markers_that_are_not_a_pair_of_lines_are_words(words):
    text = card(f"---\na: 1\n---\n{words}\n")
    assert f"---\n{words}\n\n{BEGIN}\n<!-- qflux rewrites" in text
    assert card(text) == text


def test_a_newer_version_alone_changes_nothing():
    text = card(version="0.1.7")
    assert card(text, version="2.0.1") == text
    assert "Made with qflux 2.0.\n" in card(text, TRAIN, version="2.0.1")


def test_splits_of_others_are_listed_with_what_is_known():
    files = "  - split: more\n    path: more/*\n"
    sizes = "  - name: more\n    num_bytes: 1\n    num_examples: 2000\n"
    known = card(f"---\n{CONFIGS}{files}dataset_info:\n  splits:\n{sizes}---\n", TRAIN)
    assert "| `train` | 1,204 | 1 to 3 | 10 | 1,200 | 3.4 GB |\n| `more` | 2,000 | ? | ? | ? | ? |\n" in known
    assert "| `more` | ? | ? | ? | ? | ? |\n" in card(f"---\n{CONFIGS}{files}---\n", TRAIN)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_449, "99.4 kB"), (123_456_789, "123 MB"), (10**16, "10000 TB")],
)
def test_sizes_are_shown_in_decimal_units(count, shown):
    assert f"| {shown} |\n" in card(None, [SplitFacts("train", 1, count, "x")])


def test_names_from_outside_cannot_leave_their_cell():
    text = card(extra=[f"|\n{END}\n`*_"])
    row = next(line for line in text.splitlines() if line.startswith("| <code>"))
    assert re.fullmatch(r"\| <code>[A-Za-z0-9&#; ]+</code> \| text \| Carried over from the source \|", row)
    assert card(text, extra=[f"|\n{END}\n`*_"]) == text


# Whatever the card is

PIECES = st.one_of(st.text(max_size=9), st.sampled_from(["\n", "\r\n", "\n\n", "---", "---\n", "# T", "```", "<!--"]))
ABOVE = st.lists(PIECES | st.just(f"\n{BEGIN}\n")).map("".join)
BELOW = st.lists(PIECES | st.just(f"\n{END}\n")).map("".join)
MATTERS = st.sampled_from(["", "---\na: 1 # x\n---\n", "---\r\n# x\r\n---\r\n", "\ufeff---\n[a]\n---\n", "---\n---\n"])


@settings(deadline=None)
@given(MATTERS, ABOVE)
def test_words_survive_an_upload(top, words):
    existing = f"{top}{words}#"
    try:
        text = card(existing, TRAIN)
    except DataError:
        return
    was, now = take_apart(existing), take_apart(text)
    assert now.opening.startswith(was.opening)
    assert now.matter.text.startswith(was.matter.text)
    assert re.fullmatch(rf"(\r?\n)\1{BEGIN}\1[\S\s]*\1{END}\1", now.body.removeprefix(was.body))
    assert card(text, TRAIN) == text


@settings(deadline=None)
@given(MATTERS, ABOVE, BELOW)
def test_words_around_the_block_survive_an_upload(top, above, below):
    try:
        text = card(f"{top}{above}\n{BEGIN}\nold\n{END}\n{below}", TRAIN)
    except DataError:
        return
    body = take_apart(text).body
    assert text.startswith(top[:4])
    assert body.startswith(take_apart(f"{top}{above}\n").body)
    assert body.endswith(f"{END}\n{below}")
    assert body.count("Made with qflux") == 1
    assert card(text, TRAIN) == text


class Indented(yaml.SafeDumper):
    """Writes lists further right than their key."""

    def increase_indent(self, flow=False, indentless=False):  # noqa: ARG002 - the signature is PyYAML's
        return super().increase_indent(flow, indentless=False)


@st.composite
def front_matters(draw):
    """Front matter with a default config and perhaps others, in some style."""
    names = draw(st.lists(st.sampled_from(["train", "test", "more", "2024"]), unique=True, min_size=1))
    configs = [{"config_name": "default", "data_files": [{"split": name, "path": "old/*"} for name in names]}]
    splits = [{"num_examples": 1, "num_bytes": 1, "name": name} for name in draw(st.permutations(names))]
    infos = [{"homepage": "x", "features": [], "splits": splits, "config_name": "default"}]
    if draw(st.booleans()):
        configs.insert(draw(st.integers(0, 1)), {"config_name": "words", "data_files": "words/*"})
        infos.insert(draw(st.integers(0, 1)), {"config_name": "words", "features": []})
    infos = draw(st.sampled_from([infos[0], infos, infos[-1:]]))
    pairs = [("license", "mit"), ("configs", configs), ("dataset_info", infos), ("tags", ["a", "é"])]
    data = dict(draw(st.permutations(pairs)))
    flow = draw(st.sampled_from([True, False, False, None]))
    dumper = draw(st.sampled_from([yaml.SafeDumper, Indented]))
    text = yaml.dump(
        data, Dumper=dumper, default_flow_style=flow, indent=draw(st.integers(2, 4)), width=40, sort_keys=False
    )
    if flow is False:
        lines = text.splitlines()
        text = "\n".join(
            draw(st.sampled_from([line, f"{line} # {at}", f"# {at}\n{line}"])) for at, line in enumerate(lines)
        )
        text += "\n"
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


@settings(max_examples=25, deadline=None)
@given(front_matters())
def test_in_any_style_only_our_facts_change(before):
    newline = "\r\n" if "\r" in before else "\n"
    text = card(f"---{newline}{before}---{newline}Body", SPLITS)
    assert card(text, SPLITS) == text
    after = take_apart(text).matter
    assert re.findall(r"# [0-9]+", after.text) == re.findall(r"# [0-9]+", before)
    assert after.text.count("\n") == after.text.count(newline)

    def others(data):
        infos = data["dataset_info"]
        infos = infos if isinstance(infos, list) else [infos]
        ours = ("features", "splits", "download_size", "dataset_size")
        return (
            {key: value for key, value in data.items() if key not in ("configs", "dataset_info")},
            [item for item in data["configs"] if item["config_name"] != "default"],
            [info for info in infos if info["config_name"] != "default"],
            [
                {**info, **dict.fromkeys(ours)}
                for info in infos
                if info["config_name"] == "default" and "homepage" in info
            ],
        )

    assert others(after.data) == others(yaml.safe_load(before))
    sizes = {split.name: split.samples for split in SPLITS}
    files = {split.name: (split.files,) for split in SPLITS}
    kept = read_card(f"---\n{before}---\n")
    facts = read_card(text)
    assert facts.files == {**kept.files, **files}
    assert facts.samples == (
        {} if kept.files.keys() - kept.samples.keys() - files.keys() else {**kept.samples, **sizes}
    )
    assert facts.features == features([])


# The reader


def test_a_card_that_says_nothing_leaves_the_files_to_their_names():
    assert read_card("# Words\n") == CardFacts()
    assert read_card(card(), config="other") == CardFacts()


def test_files_lie_below_the_folder_of_their_config():
    text = "---\nconfigs:\n- config_name: x\n  data_dir: deep\n  data_files: [a/*, b]\n---\n"
    assert read_card(text, config="x").files == {"train": ("deep/a/*", "deep/b")}


def test_features_of_other_writers_are_read():
    import datasets

    written = datasets.Features(
        {
            "id": datasets.Value("string"),
            "images": datasets.List(datasets.Image()),
            "kind": datasets.ClassLabel(names=["a", "b"]),
            "raw": datasets.Image(decode=False),
            "box": datasets.List(datasets.Value("float32"), length=4),
            "parts": datasets.List({"x": datasets.Value("int64"), "sound": datasets.Audio()}),
            "meta": {"size": datasets.Value("int64")},
            "grid": datasets.Array2D((2, 2), "int8"),
        }
    )
    info = yaml.safe_dump({"dataset_info": {"features": written._to_yaml_list()}})
    read = read_card(f"---\n{info}---\n").features
    assert datasets.Features.from_dict(read) == written


@pytest.mark.parametrize("listed", ["3", "[x]", "[{name: a}]", "[{name: a, dtype: {}}]", "{a: b}"])
def test_features_that_are_not_features_are_none(listed):
    assert read_card(f"---\ndataset_info: {{features: {listed}}}\n---\n").features is None


# Changing YAML


def test_only_what_is_asked_for_changes():
    before = FrontMatter("a:\n  b: 1 # one\n  c: {d: [x, y]} # two\n")
    after = before.put(("a", "b"), {"e": None}).put(("a", "c", "d"), "z").put(("f",), [1, "1"]).put(("a", "g"), 2.5)
    assert after.text == 'a:\n  b:\n    e: null # one\n  c: {d: z} # two\n  g: 2.5\nf:\n- 1\n- "1"\n'
    assert after.drop(("a", "b")).drop(("a", "c", "d")).text == 'a:\n  c: {} # two\n  g: 2.5\nf:\n- 1\n- "1"\n'
