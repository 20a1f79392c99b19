"""Addresses of media, ranges, conditions and the Prefer header: functions of strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_api.byte_ranges import ByteRange, RangeNotSatisfiable, etag_matches, requested_range
from ingest_api.entity_labels import EntityLabels
from ingest_api.media_urls import MediaUrls, Signature
from ingest_api.prefer import wait_seconds
from shared.identifiers import new_id

URLS = MediaUrls(b"k" * 32, 3600)
MEDIA_ID = new_id()


def signature_in(url: str) -> Signature:
    query = dict(pair.split("=") for pair in url.partition("?")[2].split("&"))
    return Signature(int(query["expires"]), query["signature"])


def test_public_addresses_carry_the_revision_alone() -> None:
    assert URLS.url(MEDIA_ID, "640", 3, private=False, now=0) == f"/media/{MEDIA_ID}/640?v=3"


@given(st.floats(0, 4e9))
def test_signed_addresses_hold_for_one_to_two_lifetimes(now: float) -> None:
    signature = signature_in(URLS.url(MEDIA_ID, "640", 1, private=True, now=now))
    assert now + 3600 <= signature.expires_at <= now + 7200
    assert URLS.is_valid(MEDIA_ID, "640", 1, signature, now=now + 3599)
    assert not URLS.is_valid(MEDIA_ID, "640", 1, signature, now=now + 7201)


@given(st.floats(0, 4e9), st.floats(0.5, 1e5))
def test_lifetimes_of_broken_seconds_are_as_long_as_they_say(now: float, lifetime_seconds: float) -> None:
    urls = MediaUrls(b"k" * 32, lifetime_seconds)
    signature = signature_in(urls.url(MEDIA_ID, "640", 1, private=True, now=now))
    assert now + lifetime_seconds - 1 <= signature.expires_at <= now + 2 * lifetime_seconds + 1


def test_a_signature_is_for_one_file_alone() -> None:
    signature = signature_in(URLS.url(MEDIA_ID, "640", 1, private=True, now=0))
    assert not URLS.is_valid(new_id(), "640", 1, signature, now=0)
    assert not URLS.is_valid(MEDIA_ID, "original", 1, signature, now=0)
    assert not URLS.is_valid(MEDIA_ID, "640", 2, signature, now=0)
    assert not URLS.is_valid(MEDIA_ID, "640", 1, Signature(signature.expires_at + 1, signature.value), now=0)
    assert not URLS.is_valid(MEDIA_ID, "640", 1, Signature(signature.expires_at, "ü"), now=0)
    assert not MediaUrls(b"x" * 32, 3600).is_valid(MEDIA_ID, "640", 1, signature, now=0)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=0-", ByteRange(0, 100)),
        ("bytes=10-19", ByteRange(10, 20)),
        ("bytes=90-500", ByteRange(90, 100)),
        ("bytes=-10", ByteRange(90, 100)),
        ("bytes=-500", ByteRange(0, 100)),
        ("bytes = 1 - 2", ByteRange(1, 3)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,4-5", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
    ],
)
def test_ranges(header: str | None, expected: ByteRange | None) -> None:
    assert requested_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_ranges_behind_the_end(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        requested_range(header, 100)


@given(st.text(alphabet="bytes=-,0123456789 ", max_size=30), st.integers(1, 1000))
def test_a_range_lies_within_the_file(header: str, size_bytes: int) -> None:
    try:
        found = requested_range(header, size_bytes)
    except RangeNotSatisfiable:
        return
    assert found is None or 0 <= found.start < found.end <= size_bytes


@pytest.mark.parametrize(
    ("header", "matches"),
    [(None, False), ("*", True), ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ('"b"', False), ("a", False)],
)
def test_entity_tags(header: str | None, matches: bool) -> None:
    assert etag_matches(header, '"a"') is matches


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("wait=10", 10),
        ('respond-async, wait="5"', 5),
        ("Wait = 7; x=y", 7),
        ("wait=3, wait=9", 3),
        ("respond-async", 0),
        ("wait=abc", None),
        ("wait=-1", None),
        ("handling=lenient", None),
    ],
)
def test_preferences(header: str | None, seconds: int | None) -> None:
    assert wait_seconds(header) == seconds


def test_labels_are_bounded() -> None:
    labels = EntityLabels(most=2)
    assert [labels.label(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]
