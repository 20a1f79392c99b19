"""Sizes in words, where signing in may lead, and what a page may load."""

from __future__ import annotations

import pytest

from ingest_api.accounts import Role
from ingest_api.controllers.pages.entrance import START_PAGE, local_path
from ingest_api.pages.formats import size_in_words
from ingest_api.pages.navigation import first_page
from ingest_api.pages.policy import content_security_policy


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_400, "99.4 kB"),
        (312_345, "312 kB"),
        (999_600, "1.0 MB"),
        (5_400_000, "5.4 MB"),
        (7_000_000_000_000, "7.0 TB"),
    ],
)
def test_sizes_in_words(size_bytes: int, words: str) -> None:
    assert size_in_words(size_bytes) == words


@pytest.mark.parametrize("text", ["/admin/media?cursor=abc", "/", "/docs#not_found"])
def test_signing_in_leads_to_our_own_pages(text: str) -> None:
    assert local_path(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "//evil.test", "/\\evil.test", "\\\\evil.test", "http://evil.test", "http://[", "/\t/evil.test", "/a\r\nX: y"],
)
def test_signing_in_leads_nowhere_else(text: str) -> None:
    assert local_path(text) == START_PAGE


def test_the_policy_admits_nothing_inline() -> None:
    policy = content_security_policy("https://bucket.example.org")
    assert "default-src 'none'" in policy
    assert "img-src 'self' data: blob: https://bucket.example.org;" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("role", Role)
def test_everybody_begins_somewhere(role: Role) -> None:
    assert first_page(role).startswith("/")
