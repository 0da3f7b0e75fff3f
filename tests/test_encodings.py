"""Encodings are only told where the text speaks for itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflux_hub.encodings import guess

WESTERN = [
    "Add a café to the naïve scene",
    "“Make it blue” – the user’s wish…",
    "Ersetze die Tür durch ein größeres Fenster",
    "Où est l’été ? Ajoute une crème brûlée à côté",
    "¡Añade un niño! ¿Qué más?",
    "Gør himlen blå og læg en ø til",
    "Byt ut båten mot en älg från Åre",
    "Remova o céu e adicione um balão",
    "Sostituisci il caffè: così è più bello",
    "price 5 € or 3½ m², 20 °C",
    "ÄNDERE DEN HIMMEL ÜBER KÖLN",
    "Ajoute un œuf",
]
OTHERS = [
    ("Добавь кошку в сцену", "cp1251"),
    ("добавь кошку", "koi8-r"),
    ("加一只猫", "gbk"),
    ("Add a 猫 here now", "gbk"),
    ("猫を追加してください", "shift-jis"),
    ("Add ネコ here please", "shift-jis"),
    ("고양이를 추가", "euc-kr"),
    ("Add 貓 here", "big5"),
    ("Πρόσθεσε μια γάτα", "cp1253"),
    ("הוסף חתול", "cp1255"),
    ("Dodaj żółtą łódź na środku", "cp1250"),
    ("Přidej kočku do okna", "cp1250"),
    ("Tegyél egy őzet a tűzhöz", "cp1250"),
    ("Şehir ağacı ekle", "cp1254"),
    ("Make a café déjà vu, naïve", "cp850"),
    ("Make a café déjà vu", "mac-roman"),
    ("Ändere Mädchen schön", "mac-roman"),
]


@pytest.mark.parametrize("text", WESTERN)
@pytest.mark.parametrize("around", ["{}", "{}\r\n", "Add a cat.\n\n{} "])
def test_western_european_texts_are_recognised(text, around):
    text = around.format(text)
    assert guess(text.encode("cp1252")).text == text


@pytest.mark.parametrize(("text", "encoding"), OTHERS)
def test_texts_in_other_encodings_are_not_mistaken(text, encoding):
    told = guess(text.encode(encoding))
    assert (told.encoding, told.text) == ("", "")
    assert told.why


@pytest.mark.parametrize("text", [*WESTERN, "Add a cat 😀, now", "a"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_utf_16_is_recognised_with_and_without_its_mark(text, order):
    data = text.encode(f"utf-16-{order}")
    assert guess(data).text == text
    assert guess("\ufeff".encode(f"utf-16-{order}") + data).text == text


def test_utf_16_of_other_scripts_needs_its_mark():
    assert guess("加一只猫\n".encode("utf-16")).text == "加一只猫\n"
    assert not guess("加一只猫\n".encode("utf-16-le")).encoding


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a binary file"),
        (b"\xff\xfea", "damaged UTF-16"),
        (b"\xff\xfea\0\0\0", "damaged UTF-16"),
        (b"caf\xe9 caf\xc3\xa9", "a part of it is UTF-8"),
        (b"\xef\xbb\xbfcaf\xe9", "a part of it is UTF-8"),
        (b"a \x81 b", "mean nothing in Windows-1252"),
        (b"a\x07\xe9", "mean nothing in Windows-1252"),
        (b"\xff\xff\xff", 'it would read "ÿÿÿ"'),
        (b"a\xc3", 'it would read "aÃ"'),  # the first half of a letter in UTF-8
    ],
)
def test_what_is_not_safe_to_say_is_not_said(data, why):
    told = guess(data)
    assert not told.encoding
    assert why in told.why


def test_latin_1_is_the_part_of_windows_1252_without_its_own_signs():
    assert guess("café".encode("cp1252")).encoding == "Latin-1"
    assert guess("“café”".encode("cp1252")).encoding == "Windows-1252"
    assert guess("“café”".encode("cp1252")).why == 'it reads "“café”"'


@given(st.binary(max_size=80))
def test_what_is_told_is_what_the_bytes_say(data):
    told = guess(data)
    if told.encoding:
        codec = {"UTF-16": "utf-16", "Windows-1252": "cp1252"}.get(told.encoding, told.encoding)
        assert told.text == data.decode(codec)
        assert "\0" not in told.text
