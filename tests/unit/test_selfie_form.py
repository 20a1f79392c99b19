"""What is wanted of a search, and that a selfie can be forgotten at any moment."""

from __future__ import annotations

import pytest

from ingest_api.problem_details import InvalidFields
from ingest_api.selfie_form import DEFAULT_MATCHES, SearchWish, Selfie, search_wish


def test_what_is_absent_or_empty_is_left_to_the_model() -> None:
    expected = SearchWish(threshold=None, limit=DEFAULT_MATCHES, choose="largest", consent_version=None)
    assert search_wish({}) == search_wish({"threshold": "", "limit": "", "choose": ""}) == expected


def test_everything_can_be_wished_for() -> None:
    texts = {"threshold": "-0.5", "limit": "1000", "choose": "2", "consent_version": "7"}
    assert search_wish(texts) == SearchWish(threshold=-0.5, limit=1000, choose=2, consent_version=7)
    assert search_wish({"choose": "largest"}).choose == "largest"


def test_every_wrong_field_is_named() -> None:
    texts = {"threshold": "inf", "limit": "1001", "choose": "-1", "consent_version": "1.0"}
    with pytest.raises(InvalidFields) as refused:
        search_wish(texts)
    assert [error.field for error in refused.value.errors] == list(texts)


@pytest.mark.parametrize("text", ["٣", "1_0", " 5", "9" * 5000, "+5", "0x5"])
def test_numbers_are_plain_digits(text: str) -> None:
    with pytest.raises(InvalidFields):
        search_wish({"limit": text})


def test_a_selfie_is_forgotten_even_while_a_thread_reads_it() -> None:
    picture = bytearray(b"a face")
    selfie = Selfie(picture, {})
    with memoryview(picture) as read_elsewhere:
        selfie.forget()
        assert bytes(read_elsewhere) == bytes(6)
    assert selfie.picture == b""
    selfie.forget()
    assert "face" not in repr(Selfie(bytearray(b"a face"), {}))
