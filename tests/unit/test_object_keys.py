"""Object keys: what the server makes is always valid, what could leave the store's folder never is."""

from __future__ import annotations

from pathlib import PurePosixPath
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.identifiers import new_id
from shared.storage.errors import InvalidKey
from shared.storage.keys import (
    COMPONENT_MAX_BYTES,
    KEY_MAX_BYTES,
    MediaKey,
    media_prefix,
    staging_key,
    validated,
    validated_prefix,
)

VARIANTS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)
EXTENSIONS = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
MEDIA_KEYS = st.builds(MediaKey, st.uuids(), st.integers(min_value=1, max_value=10**9 - 1), VARIANTS, EXTENSIONS)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "a/../../x",
        "a/..",
        "./a",
        "a/.",
        "a//b",
        "a/",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\x7fb",
        "a\x85b",
        "a\ud800b",
        "a\uffffb",
        ".tmp-x",
        "a/.tmp-0123",
        "x" * (COMPONENT_MAX_BYTES + 1),
        "é" * (COMPONENT_MAX_BYTES // 2 + 1),
        "/".join(["x" * 200] * 6),
    ],
)
def test_refuses_what_is_no_key(key: str) -> None:
    with pytest.raises(InvalidKey, match="is no object key"):
        validated(key)


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "...",
        "a/b.c",
        "products/17/250 g/hero-card/apple + pear (1).jpg",
        "events/9/originals/großes Bild, 50%.jpg",
        "x" * COMPONENT_MAX_BYTES,
        "é" * (COMPONENT_MAX_BYTES // 2),
    ],
)
def test_takes_the_keys_of_the_outside_layouts(key: str) -> None:
    assert validated(key) == key


@given(st.text(max_size=400))
def test_a_valid_key_stays_below_the_root_as_it_is(key: str) -> None:
    try:
        validated(key)
    except InvalidKey:
        return
    path = PurePosixPath("/media-root") / key
    assert str(path) == f"/media-root/{key}"
    assert ".." not in path.parts
    assert len(key.encode()) <= KEY_MAX_BYTES


@given(MEDIA_KEYS)
def test_media_keys_are_valid_and_can_be_read_back(media_key: MediaKey) -> None:
    key = validated(str(media_key))
    assert MediaKey.parse(key) == media_key
    assert key.startswith(validated_prefix(media_prefix(media_key.media_id)))


@given(st.uuids())
def test_staging_keys_are_valid(upload_id: UUID) -> None:
    assert validated(staging_key(upload_id)) == f"staging/{upload_id}"


@given(st.text())
def test_other_texts_are_not_read_as_media_keys(text: str) -> None:
    assert MediaKey.parse(text) is None


def test_a_media_key_in_the_wrong_fan_out_is_not_one() -> None:
    key = str(MediaKey(UUID("01234567-89ab-7def-8123-456789abcdef"), 1, "large", "webp"))
    assert key == "media/ef/01234567-89ab-7def-8123-456789abcdef/1/large.webp"
    assert MediaKey.parse(key.replace("media/ef/", "media/ee/")) is None


@pytest.mark.parametrize(
    ("revision", "variant", "extension"),
    [
        (0, "large", "webp"),
        (10**9, "large", "webp"),
        (1, "", "webp"),
        (1, "Large", "webp"),
        (1, "../x", "webp"),
        (1, "large", "web/p"),
        (1, "large", ""),
    ],
)
def test_refuses_names_that_a_client_could_have_made(revision: int, variant: str, extension: str) -> None:
    with pytest.raises(InvalidKey):
        MediaKey(new_id(), revision, variant, extension)


def test_ids_made_one_after_the_other_spread_over_the_fan_out() -> None:
    folders = {media_prefix(new_id()).split("/")[1] for _ in range(2000)}
    assert len(folders) > 200
