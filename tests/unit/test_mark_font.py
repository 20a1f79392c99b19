"""The font's own table of letters, compared with what the drawing library makes of each."""

from __future__ import annotations

import string

import pytest
from PIL import ImageFont

from shared.mark_font import drawable_letters, font_path, undrawable

NO_LETTER = "\U0010fffd"


@pytest.fixture(scope="module")
def font() -> ImageFont.FreeTypeFont:
    # Letters one by one, as they are in the font: a shaping engine would put some together from others.
    return ImageFont.truetype(font_path(), 40, layout_engine=ImageFont.Layout.BASIC)


def shape(font: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


def test_the_table_says_what_the_drawing_library_finds(font: ImageFont.FreeTypeFont) -> None:
    box = shape(font, NO_LETTER)
    plane = (chr(code) for code in range(0x20, 0xFFFF) if not 0xD800 <= code < 0xE000)
    drawn = {ord(letter) for letter in plane if shape(font, letter) != box}
    known = {code for code in drawable_letters() if code >= 0x20}
    assert known == drawn


@pytest.mark.parametrize(
    "text",
    [
        string.ascii_letters + string.digits + string.punctuation,
        "ÄÖÜäöüß ÀÂÇÉÈÊËÎÏÔŒÙÛ ÑÁÍÓÚ¿¡ ÅÆØ ŁĄĘŚŻŹĆŃ ČŠŽĎŤŇŘŮ ŐŰ ĞŞİı ȘȚ",
        "АБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ абвгдеёжзийклмнопрстуфхцчшщъыьэюя ҐЄІЇ Ђ",
        "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ αβγδεζηθικλμνξοπρστυφχψω",
        "€ £ ¥ ¢ © ® ™ § № – — … “ ” „ ‘ ’ « » • ° ± × ÷",
    ],
)
def test_what_can_be_written(text: str) -> None:
    assert undrawable(text) == ""


def test_what_cannot_be_is_told_once_in_its_order() -> None:
    assert undrawable("Foto 日本, 本 \U0001f600") == "日本\U0001f600"
