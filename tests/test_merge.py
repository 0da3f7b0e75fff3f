"""Edits of two sides since they were last made equal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflux_hub.merge import Merge, merge

THEN = {"a": "1", "b": "1", "c": "1"}


def apply(ours: dict[str, str], theirs: dict[str, str], done: Merge) -> dict[str, str]:
    """The dataset that an upload makes."""
    return {name: content for name, content in ours.items() if name not in done.theirs} | {
        name: theirs[name] for name in done.theirs
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        pytest.param(THEN, THEN, Merge(), id="nothing-happened"),
        pytest.param({**THEN, "a": "2"}, THEN, Merge(), id="the-source-changed-one"),
        pytest.param(THEN, {**THEN, "a": "2"}, Merge(changed=("a",)), id="they-changed-one"),
        pytest.param(THEN, {**THEN, "d": "1"}, Merge(added=("d",)), id="they-added-one"),
        pytest.param(THEN, {"a": "1", "b": "1"}, Merge(), id="what-they-removed-is-put-back"),
        pytest.param({"a": "1", "b": "1"}, THEN, Merge(), id="what-the-source-removed-is-removed"),
        pytest.param({**THEN, "a": "2"}, {**THEN, "b": "2"}, Merge(changed=("b",)), id="each-another"),
        pytest.param({**THEN, "a": "2"}, {**THEN, "a": "2"}, Merge(), id="both-the-same-edit"),
        pytest.param({**THEN, "a": "2"}, {**THEN, "a": "3"}, Merge(conflicts=("a",)), id="both-changed-one"),
        pytest.param({**THEN, "d": "1"}, {**THEN, "d": "2"}, Merge(conflicts=("d",)), id="both-added-one"),
        pytest.param(
            {"b": "1", "c": "1"}, {**THEN, "a": "3"}, Merge(conflicts=("a",)), id="removed-here-changed-there"
        ),
        pytest.param({**THEN, "a": "2"}, {"b": "1", "c": "1"}, Merge(), id="changed-here-removed-there"),
    ],
)
def test_whose_version_stands(ours, theirs, expected):
    assert merge(ours, theirs, THEN, THEN) == expected


def test_a_kept_edit_stays_theirs_on_every_later_upload():
    theirs = {**THEN, "a": "2", "d": "1"}
    assert merge(THEN, theirs, THEN, theirs) == Merge(added=("d",), changed=("a",))


def test_a_kept_edit_can_be_overruled_by_touching_the_sample():
    theirs = {**THEN, "a": "2"}
    assert merge({**THEN, "a": "3"}, theirs, THEN, theirs) == Merge()


contents = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123"), max_size=6)


@given(contents, contents, contents)
def test_no_edit_of_either_side_is_lost_without_being_named(ours, theirs, then):
    done = merge(ours, theirs, then, then)
    result = apply(ours, theirs, done)
    for name in set(ours) | set(theirs):
        if name in done.conflicts:
            assert ours.get(name) != then.get(name)
            assert theirs[name] != then.get(name)
        elif ours.get(name) != then.get(name):
            assert result.get(name) == ours.get(name)
        elif theirs.get(name) is not None:
            assert result[name] == theirs[name]


@given(contents, contents, contents)
def test_after_an_upload_the_same_source_has_nothing_to_do(ours, theirs, then):
    done = merge(ours, theirs, then, then)
    if not done.conflicts:
        result = apply(ours, theirs, done)
        assert apply(ours, result, merge(ours, result, ours, result)) == result
