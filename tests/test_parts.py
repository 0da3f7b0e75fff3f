"""Parts of files as files of their own: what is read of them is what lies there, however it is asked for."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qflux_hub.parts import compared, part, part_of

WHOLE = bytes(range(256)) * 40
STEPS = st.lists(
    st.tuples(st.just("seek"), st.integers(0, 9000)) | st.tuples(st.just("read"), st.integers(0, 5000)), max_size=12
)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 9000), st.integers(0, 1200), st.integers(1, 3000), STEPS)
def test_a_part_reads_like_a_file_of_its_own(offset, size, piece, steps):
    expected = io.BytesIO(WHOLE[offset : offset + size])
    size = len(expected.getvalue())
    for file in (
        part_of(io.BytesIO(WHOLE), offset, size),
        part(size, lambda at, length: WHOLE[offset + at : offset + at + length], piece=piece),
    ):
        expected.seek(0)
        for step, number in steps:
            if step == "seek":
                assert file.seek(number) == expected.seek(number)
            else:
                assert file.read(number) == expected.read(number)
        file.seek(-min(3, size), io.SEEK_END)
        assert file.read() == expected.getvalue()[-3:] if size else True


def test_closing_a_part_closes_the_file_it_lies_in():
    whole = io.BytesIO(WHOLE)
    with part_of(whole, 3, 5) as file:
        assert file.read() == WHOLE[3:8]
    assert whole.closed


@pytest.mark.parametrize("data", [b"", b"abc", b"abcde", b"abcdX"])
def test_what_was_altered_is_noticed_by_its_end(data):
    def read():
        wrong = ValueError("altered")
        with compared(io.BytesIO(data), 4, hashlib.sha256(b"abcd").digest(), lambda: wrong) as file:
            return file.read()

    with pytest.raises(ValueError, match="altered"):
        read()


def test_what_was_not_altered_is_read():
    for data in (b"", b"abcd", WHOLE):
        with compared(io.BytesIO(data), len(data), hashlib.sha256(data).digest(), AssertionError) as file:
            assert file.read(2) + file.read() == data
