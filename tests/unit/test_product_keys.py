"""The layout of products' files, and the names that people may give to parts of it."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_api.product_keys import ProductKey, file_name, slug, weight_of
from shared.events import ProductImageType
from shared.picture_types import PictureType
from shared.storage.keys import validated

PRODUCT = UUID("0190f3c0-0000-7000-8000-000000000001")


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("Foto: Bär.JPG", "foto-bar"),
        ("../../etc/passwd", "passwd"),
        ("咖啡.png", "image"),
        ("", "image"),
        (".jpg", "jpg"),
        ("a" * 59 + "--b.jpg", "a" * 59),
        ("archive.tar.gz", "archive-tar"),
    ],
)
def test_slugs(given_name: str, expected: str) -> None:
    assert slug(given_name) == expected


@given(st.text(max_size=300), st.uuids(), st.sampled_from(PictureType))
def test_file_names_are_plain_and_belong_to_one_file(name: str, file_id: UUID, kind: PictureType) -> None:
    made = file_name(name, file_id, kind)
    key = str(ProductKey(PRODUCT, "250g", ProductImageType.HERO_CARD, made))
    assert validated(key) == key
    assert made.isascii()
    assert made.endswith(f"-{file_id.hex[-8:]}.{kind.extension}")
    assert len(made) <= 60 + 1 + 8 + 5


@given(st.text(max_size=80))
def test_a_weight_is_a_folder_of_its_own(text: str) -> None:
    try:
        weight = weight_of(text)
    except ValueError:
        return
    key = ProductKey(PRODUCT, weight, ProductImageType.OTHER_IMAGES, "a.jpg")
    assert ProductKey.parse(str(key)) == key


@pytest.mark.parametrize("weight", ["250g", "1 kg", "0,5 kg", "½ Pfund", "a+b"])
def test_weights(weight: str) -> None:
    assert weight_of(f" {weight} ") == weight


@pytest.mark.parametrize("wrong", ["", " ", "a/b", "..", ".a", "a\\b", "a\nb", "x" * 65, None, True, 1.5, ["a"]])
def test_what_can_be_no_weight(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"must|names a folder"):
        weight_of(wrong)


def test_whole_numbers_are_weights() -> None:
    assert weight_of(250) == "250"


@pytest.mark.parametrize(
    "key",
    [
        f"products/{PRODUCT}/250g/hero-card",
        f"products/{PRODUCT}/250g/poster/a.jpg",
        f"products/{PRODUCT}/250g/hero-card/a/b.jpg",
        f"products/{str(PRODUCT).upper()}/250g/hero-card/a.jpg",
        f"products/{PRODUCT}//hero-card/a.jpg",
        "products/x/250g/hero-card/a.jpg",
        f"goods/{PRODUCT}/250g/hero-card/a.jpg",
        "",
    ],
)
def test_keys_outside_the_layout(key: str) -> None:
    assert ProductKey.parse(key) is None


def test_another_weight_is_another_folder() -> None:
    key = ProductKey(PRODUCT, "250g", ProductImageType.INFO_CARD, "a b+c.jpg")
    assert str(key.with_weight("1 kg")) == f"products/{PRODUCT}/1 kg/info-card/a b+c.jpg"
