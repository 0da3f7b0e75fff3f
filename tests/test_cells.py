"""CSV cells: found as Python's reader finds them, and replaced without touching anything else."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qflux_hub.cells import replace_cells, split_cells

TEXTS = st.text(alphabet='ab,;\t" \r\né', max_size=30)
DELIMITERS = st.sampled_from(",;\t")


def read(text: str, delimiter: str) -> list[list[str]]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    return [*rows]


def told(text: str, delimiter: str) -> list[list[str]]:
    return [[cell.text for cell in record.cells] for record in split_cells(text, delimiter)]


@settings(max_examples=500)
@given(TEXTS, DELIMITERS)
@example(' "a" ,b\n', ",")
@example(' \n"\r\n', ",")
@example('a\n\n"b\r\n""c"\r', ",")
def test_cells_are_those_of_the_reader_or_none(text, delimiter):
    try:
        rows = read(text, delimiter)
    except csv.Error:
        with pytest.raises(csv.Error):
            split_cells(text, delimiter)
    else:
        assert told(text, delimiter) == rows


def test_records_know_their_line():
    records = split_cells('a,b\r\n"one\r\ntwo\n",c\n\nd\re', ",")
    assert [record.line for record in records] == [1, 2, 5, 6, 7]
    assert [len(record.cells) for record in records] == [2, 2, 0, 1, 1]


def test_everything_else_stays_byte_for_byte():
    text = 'id, path ,note\r\n1,"a ""1"".png","x"\n2, b.png ,\r3,c.png,;'
    records = split_cells(text, ",")
    said = {(1, 1): 'a "1".jpg', (2, 1): "b.jpg ", (3, 1): "d,e.jpg"}
    assert replace_cells(text, records, ",", said) == (
        'id, path ,note\r\n1,"a ""1"".jpg","x"\n2, b.jpg ,\r3,"d,e.jpg",;'
    )


@settings(max_examples=300)
@given(TEXTS, DELIMITERS, st.data())
def test_a_replaced_cell_says_what_it_should_and_the_others_what_they_did(text, delimiter, data):
    try:
        records = split_cells(text, delimiter)
    except csv.Error:
        return
    places = [(row, at) for row, record in enumerate(records) for at, _ in enumerate(record.cells)]
    if not places:
        return
    said = data.draw(st.dictionaries(st.sampled_from(places), TEXTS))
    rows = told(text, delimiter)
    for (row, at), new in said.items():
        rows[row][at] = new
    assert told(replace_cells(text, records, delimiter, said), delimiter) == rows
