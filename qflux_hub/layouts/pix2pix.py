"""Parquet with the columns that diffusers' instruct-pix2pix scripts look for, unless told others: ``input_image``,
``edit_prompt`` and ``edited_image``, each one image or text. It is read like any other Parquet (see ``parquet``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from qflux_hub.errors import DataError
from qflux_hub.layouts import parquet, roles
from qflux_hub.naming import is_image_name
from qflux_hub.placing import Fitting, Placed, Plan
from qflux_hub.report import Found
from qflux_hub.sample import NO_OTHERS, TARGET, Sample
from qflux_hub.tree import Tree
from qflux_hub.writing import Output

NAME = "pix2pix"
SHAPE = "data/train-00000-of-00001.parquet  with the columns  input_image, edit_prompt, edited_image"
LOSES: Mapping[str, str] = {
    "sample": "it has no target or no control, or one that is no image",
    "control": "there is one control image",
    "mask": "there is no place for masks",
    "captions": "there is one text for each sample",
    "column": "a column of the layout's own has that name",
    "other": "there is no place for further files",
    "file": "only the last part of a path is kept",
}
_INPUT, _PROMPT, _EDITED = roles.PIX2PIX

evidence, read = parquet.evidence, parquet.read


def splits(tree: Tree, found: Found) -> tuple[str, ...]:
    """The splits of Parquet files, if those have the columns."""
    names = parquet.splits(tree, found)
    with suppress(OSError, DataError):
        if names and set(roles.PIX2PIX) <= parquet.columns_of(tree, names[0]):
            return names
    return ()


def missing(tree: Tree) -> str:
    """What keeps the tree from this layout."""
    has_files = parquet.splits(tree, lambda _: None)
    return f"no columns {_INPUT}, {_PROMPT} and {_EDITED}" if has_files else parquet.missing(tree)


def doubt(tree: Tree, splits: Sequence[str]) -> str:  # noqa: ARG001 - the protocol's signature
    """None: these columns are nothing else."""
    return ""


def place(splits: Mapping[str, Sequence[Sample]]) -> Iterator[Placed]:
    """Every sample with a target and a control, in its order; of its controls the main one."""
    for samples in splits.values():
        yield from (_placed(number, sample) for number, sample in Fitting(samples, _fits))


def _fits(sample: Sample) -> bool:
    pair = [sample.target, *sample.controls[:1]]
    return len(pair) == 2 and all(blob is not None and is_image_name(blob.name) for blob in pair)


def _placed(number: int, sample: Sample) -> Placed:
    extra = {name: text for name, text in sample.extra.items() if text is not None and roles.is_free(name)}
    held = [sample.target, *sample.controls[:1]]
    paths = [f"{role}/{parquet.base_name(blob.name)}" if blob in held else "" for role, blob in sample.media()]
    return Placed(number, sample, sample.id, sample.prompt, extra, tuple(paths))


def outputs(placed: Mapping[str, Plan]) -> Iterator[Output]:
    """The files of each split, numbered in the order of the samples."""
    return parquet.files(placed, _held, {_EDITED: "image", _INPUT: "image"}, prompt=_PROMPT)


def _held(one: Placed) -> Sample:
    """The sample with its two images as files of columns of their own."""
    media = dict(one.source.media())
    images = {_EDITED: media[TARGET], _INPUT: one.source.controls[0]}
    bare = replace(one.source, controls=(), mask=None, target=None, captions=(), others=NO_OTHERS)
    return replace(bare, extra=one.extra, others=images)
