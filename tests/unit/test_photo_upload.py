"""The names that an uploaded photo may get."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_api.photo_upload import MOST_NUMBERED, names, stem_of
from shared.picture_types import PictureType
from shared.storage.keys import validated

SHA256 = "0123456789abcdef" * 4


def first(filename: str, picture_type: PictureType = PictureType.JPEG) -> str:
    return str(next(names(filename, picture_type, SHA256)))


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("DSC_0001.JPG", "DSC_0001.JPG"),
        ("C:\\card\\DCIM\\100\\a b.jpeg", "a b.jpeg"),
        ("../../events/1/originals/x.jpg", "x.jpg"),
        ("..", "unnamed.jpg"),
        (".jpg", "jpg.jpg"),
        ("photo", "photo.jpg"),
        ("photo.exe", "photo.exe.jpg"),
        ("shot.heif", "shot.heif"),
        ("<img src=x>\n\u202e.jpg", "<img src=x>.jpg"),
        (unicodedata.normalize("NFD", "Żaneta.jpg"), unicodedata.normalize("NFC", "Żaneta.jpg")),
    ],
)
def test_a_name_is_the_clients_without_what_can_not_be_part_of_a_key(filename: str, name: str) -> None:
    assert first(filename) == name


def test_further_names_differ_by_their_stems_and_end() -> None:
    found = list(names("a.jpg", PictureType.JPEG, SHA256))
    assert [str(name) for name in found[:3]] == ["a.jpg", "a-2.jpg", "a-3.jpg"]
    assert str(found[-1]) == "a-0123456789abcdef.jpg"
    assert len({name.stem for name in found}) == len(found) == MOST_NUMBERED + 1


@given(st.text(max_size=300), st.sampled_from(PictureType))
def test_every_name_is_a_component_of_a_key(filename: str, picture_type: PictureType) -> None:
    for name in names(filename, picture_type, SHA256):
        key = validated(f"events/1/originals/{name}")
        assert key.count("/") == 3
        assert stem_of(key) == name.stem
        assert validated(f"events/1/previews/{name.stem}.jpg")
