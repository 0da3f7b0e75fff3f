"""The strict reader of safetensors headers: every rule has a file that keeps it and one that breaks it."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflux_hub.lora.header import BITS, FIRST, LONGEST, Header, HeaderError, parse, read_header
from tests.weights import lora, numbers, pack, raw

ENTRY = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


def read(data: bytes, size: int | None = None) -> Header:
    return read_header(lambda begin, end: data[begin:end], len(data) if size is None else size)


def problem(data: bytes) -> tuple[str, str]:
    """(code, reason) of a file that is refused."""
    with pytest.raises(HeaderError) as refused:
        read(data)
    return refused.value.problem, str(refused.value)


def one(entry: str = ENTRY, data: bytes = bytes(4), name: str = '"a"') -> bytes:
    """A file of one tensor."""
    return raw(f"{{{name}:{entry}}}", data)


def test_a_right_file_is_read():
    header = read(pack({"b": numbers((2, 3), "F16"), "a": numbers((4,), "F32")}, {"format": "pt"}))
    assert [(t.name, t.dtype, t.shape, t.begin, t.end) for t in header.tensors] == [
        ("b", "F16", (2, 3), 0, 12),
        ("a", "F32", (4,), 12, 28),
    ]
    assert header.metadata == {"format": "pt"}
    assert header.oddities == ()
    assert header.data_size == 28


GOOD = {
    "an empty list of tensors": raw("{}"),
    "metadata alone": raw('{"__metadata__":{"a":"b"}}'),
    "padding with spaces": raw("{}      "),
    "a scalar": one('{"dtype":"F32","shape":[],"data_offsets":[0,4]}'),
    "an empty tensor": one('{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]}', b""),
    "two empty tensors at one place": raw(
        '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"b":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    ),
    "a half-byte type that ends on a byte": one('{"dtype":"F4","shape":[2],"data_offsets":[0,1]}', b"\0"),
    "an escaped name": one(name='"\\u00e4"'),
    "a whole surrogate pair": one(name='"\\ud83d\\ude00"'),
    "any order of fields": one('{"data_offsets":[0,4],"shape":[1],"dtype":"F32"}'),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_keeps_the_rules_is_accepted(name):
    assert read(GOOD[name]).oddities == ()


@pytest.mark.parametrize("dtype", BITS)
def test_every_dtype_has_its_size(dtype):
    size = BITS[dtype]  # of eight elements, in bytes
    assert read(one(f'{{"dtype":"{dtype}","shape":[8],"data_offsets":[0,{size}]}}', bytes(size))).data_size == size
    assert problem(one(f'{{"dtype":"{dtype}","shape":[8],"data_offsets":[0,{size + 1}]}}', bytes(size + 1)))


ODD = {
    "leading white space": (raw(" {}"), "begins with white space"),
    "metadata that is null": (raw('{"__metadata__":null}'), "metadata is null"),
    "a field of no meaning": (
        one('{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":[{"y":1.5e3}]}'),
        "fields of no meaning, such as 'x'",
    ),
    "an empty name": (one(name='""'), "named ''"),
    "a NUL in a name": (one(name='"a\\u0000b"'), "named 'a\\x00b'"),
    "a name like a path": (one(name='"../a"'), "named '../a'"),
    "an absolute name": (one(name='"/a"'), "named '/a'"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_readers_let_pass_is_accepted_and_named(name):
    data, words = ODD[name]
    (oddity,) = read(data).oddities
    assert words in oddity


BAD = {
    "no JSON": (raw("{]"), "not JSON"),
    "no header": (raw("", b"data"), "not JSON"),
    "a list at the top": (raw("[]"), "not a JSON object"),
    "a number at the top": (raw("1"), "not a JSON object"),
    "bytes that are not UTF-8": (raw(b'{"\xff":1}'), "not UTF-8 (byte 2)"),
    "a byte order mark": (raw(b"\xef\xbb\xbf{}"), "not JSON"),
    "NaN": (one('{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":NaN}'), "NaN, which is not JSON"),
    "Infinity": (one('{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":-Infinity}'), "-Infinity"),
    "a number out of range": (one('{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1e999}'), "out of range"),
    "half a surrogate pair": (one(name='"\\ud83d"'), "half a character"),
    "a NUL behind the header": (raw(b"{}\0"), "not JSON"),
    "garbage behind the header": (raw("{}x"), "not JSON"),
    "deep nesting": (raw('{"a":' + "[" * 200 + "]" * 200 + "}"), "nested too deeply"),
    "very deep nesting": (raw('{"a":' + "[" * 200_000 + "]" * 200_000 + "}"), "nested too deeply"),
    "a name that stands twice": (raw(f'{{"a":{ENTRY},"a":{ENTRY}}}', bytes(4)), "the name 'a' stands twice"),
    "metadata that stands twice": (raw('{"__metadata__":{},"__metadata__":{}}'), "'__metadata__' stands twice"),
    "a metadata key that stands twice": (raw('{"__metadata__":{"k":"1","k":"2"}}'), "metadata key 'k' stands twice"),
    "a metadata value that is no text": (raw('{"__metadata__":{"k":1}}'), "metadata value of 'k' is not a text"),
    "metadata that is no object": (raw('{"__metadata__":[]}'), "metadata is not an object"),
    "a field that stands twice": (
        one('{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}'),
        "the field 'dtype' stands twice",
    ),
    "an entry that is a list": (one('["F32",[1],[0,4]]'), "the entry of 'a' is not an object"),
    "a missing field": (one('{"dtype":"F32","shape":[1]}'), "has no data_offsets"),
    "an unknown dtype": (one('{"dtype":"F31","shape":[1],"data_offsets":[0,4]}'), "unknown dtype 'F31'"),
    "a dtype in lower case": (one('{"dtype":"f32","shape":[1],"data_offsets":[0,4]}'), "unknown dtype 'f32'"),
    "a dtype that is no text": (one('{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}'), "unknown dtype"),
    "a shape that is no list": (one('{"dtype":"F32","shape":1,"data_offsets":[0,4]}'), "shape of 'a' is not a list"),
    "a shape that is an object": (one('{"dtype":"F32","shape":{},"data_offsets":[0,4]}'), "is not a list"),
    "three offsets": (one('{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}'), "not two numbers"),
    "offsets turned round": (one('{"dtype":"F32","shape":[1],"data_offsets":[4,0]}'), "its offsets span -4"),
    "offsets that do not fit the shape": (one('{"dtype":"F32","shape":[2],"data_offsets":[0,4]}'), "takes 8 bytes"),
    "half a byte": (one('{"dtype":"F4","shape":[1],"data_offsets":[0,1]}', b"\0"), "whole byte"),
    "an overflow": (one('{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}'), "overflows 64 bits"),
    "an overflow that a zero hides": (
        one('{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}', b""),
        "overflows 64 bits",
    ),
    "a size that overflows": (one('{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,4]}'), "overflows"),
    "a hole at the beginning": (
        one('{"dtype":"F32","shape":[1],"data_offsets":[4,8]}', bytes(8)),
        "leaves a hole before it: it begins at byte 4 instead of 0",
    ),
    "an overlap": (
        raw(f'{{"a":{ENTRY},"b":{{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}}}', bytes(6)),
        "overlaps the tensor before it: it begins at byte 2 instead of 4",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_breaks_a_rule_is_refused_and_the_rule_named(name):
    data, words = BAD[name]
    code, reason = problem(data)
    assert code == "bad-header"
    assert words in reason


@pytest.mark.parametrize("item", ["1.0", "1e0", "true", "-0", "-1", '"1"', "null", "18446744073709551616", "9" * 30])
@pytest.mark.parametrize("place", ["shape", "data_offsets"])
def test_sizes_are_integers_and_nothing_that_equals_one(item, place):
    shape, offsets = (f"[{item}]", "[0,4]") if place == "shape" else ("[1]", f"[0,{item}]")
    code, reason = problem(one(f'{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}'))
    assert (code, reason) == ("bad-header", f"the {place} of 'a' has an item that is no size")


def test_a_file_that_lost_its_end_is_called_truncated():
    whole = pack({"a": numbers((100,), "F32")})
    code, reason = problem(whole[:-60])
    assert code == "truncated-weights"
    assert reason == "truncated, or still being written: header promises 400 bytes of data, file has 340"


def test_a_file_that_lost_its_header_is_called_truncated():
    whole = pack({"a": numbers((100,), "F32")})
    assert problem(whole[:30]) == (
        "truncated-weights",
        f"truncated, or still being written: the header takes {len(whole) - 408} bytes, file has 22",
    )
    assert problem(b"\x10\0\0")[0] == "truncated-weights"
    assert problem(b"")[0] == "truncated-weights"


def test_bytes_behind_the_last_tensor_are_named():
    code, reason = problem(pack({"a": numbers((1,), "F32")}) + b"PK")
    assert (code, reason.split(" follow")[0]) == ("trailing-bytes", "2 bytes")


STRANGERS = {
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
    "a web page": b"<!DOCTYPE html><html><body>Not found</body></html>",
    "another web page": b"\n<HTML><BODY>",
    "a ZIP": b"PK\x03\x04\x14\0\0\0\x08\0archive/data.pkl",
    "an image": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "a pickle": b"\x80\x02}q\0(X\x05\0\0\0aq\x01K\x01s.",
    "a GGUF": b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0",
    "an error message": b'{"error":"Repository not found"}',
    "text": b"hello, these are my weights",
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_no_safetensors_file_is_called_by_its_name(name):
    code, reason = problem(STRANGERS[name])
    assert code == "not-safetensors"
    if name != "text":
        assert name.split()[-1].lower() in reason.lower()


def test_a_file_of_zeros_is_still_being_written():
    assert problem(bytes(5000))[0] == "truncated-weights"


def test_a_header_length_that_looks_like_a_pickle_is_no_reason_to_refuse():
    text = b"{}" + b" " * (0x280 - 2)
    assert raw(text)[:2] == b"\x80\x02"
    assert read(raw(text)).tensors == ()


def test_a_length_beyond_the_limit_is_refused_before_anything_is_read_for_it():
    asked = []

    def counting(begin: int, end: int) -> bytes:
        asked.append(end - begin)
        return (LONGEST + 1).to_bytes(8, "little") + bytes(end - begin - 8)

    with pytest.raises(HeaderError, match="the limit is 100,000,000"):
        read_header(counting, 1 << 40)
    assert asked == [FIRST]


def test_a_length_beyond_the_file_is_refused_before_anything_is_read_for_it():
    asked = []

    def counting(begin: int, end: int) -> bytes:
        asked.append(end - begin)
        return (90_000_000).to_bytes(8, "little") + b"{" + bytes(end - begin - 9)

    with pytest.raises(HeaderError, match="still being written"):
        read_header(counting, 1_000_000)
    assert asked == [FIRST]


def test_a_header_of_more_than_the_hub_reads_is_accepted_and_named():
    text = b"{}" + b" " * 25_000_000
    (oddity,) = read(raw(text)).oddities
    assert "the Hub does not read more than 25,000,000" in oddity


def test_a_short_header_takes_one_read_and_a_long_one_two():
    for count, reads in ((3, 1), (6000, 2)):
        data, asked = pack({f"tensor.number.{n:05}": numbers((1,), "F32") for n in range(count)}), []

        def counting(begin: int, end: int, data: bytes = data, asked: list[int] = asked) -> bytes:
            asked.append(begin)
            return data[begin:end]

        assert len(read_header(counting, len(data)).tensors) == count
        assert len(asked) == reads


@given(st.integers(0, 2**32))
def test_no_damage_makes_it_fail_in_another_way(seed):
    draw = random.Random(seed)  # noqa: S311 - damage, not secrets
    data = bytearray(lora("kohya", alpha=1.0, metadata={"ss_network_alpha": "1"}))
    for _ in range(draw.randint(1, 4)):
        data[draw.randrange(min(900, len(data)))] = draw.randrange(256)
    damaged = bytes(data[: draw.choice((len(data), draw.randrange(len(data))))])
    try:
        header = read(damaged)
    except HeaderError:
        return
    assert sum(tensor.end - tensor.begin for tensor in header.tensors) == header.data_size


@given(
    st.dictionaries(st.text(max_size=8), st.sampled_from(sorted(BITS)), max_size=6),
    st.dictionaries(st.text(), st.text()),
)
def test_what_is_written_by_the_rules_is_read_back(names, metadata):
    names.pop("__metadata__", None)
    tensors = {
        name: (dtype, (8, number), bytes(number * BITS[dtype])) for number, (name, dtype) in enumerate(names.items())
    }
    if any(0xD800 <= ord(c) < 0xE000 for text in (*names, *metadata, *metadata.values()) for c in text):
        return
    header = read(pack(tensors, metadata))
    assert {t.name: (t.dtype, t.shape) for t in header.tensors} == {n: (d, s) for n, (d, s, _) in tensors.items()}
    assert header.metadata == metadata


def test_the_text_of_a_header_can_be_parsed_alone():
    text = json.dumps({"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}).encode()
    assert parse(text, 8 + len(text) + 3).tensors[0].name == "a"
