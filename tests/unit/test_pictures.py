"""What the page of pictures tells of each, and where signing in may lead."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from ingest_api.controllers.pages.entrance import START_PAGE, local_path
from ingest_api.pages.formats import size_in_words
from ingest_api.pages.policy import content_security_policy
from ingest_api.pictures import Picture, any_unfinished
from shared.events import StoredFile


def stored(name: str, width_px: int, height_px: int, size_bytes: int) -> StoredFile:
    return StoredFile(
        name=name,
        key=f"media/{name}",
        mime_type="image/webp",
        size_bytes=size_bytes,
        sha256="0" * 64,
        width_px=width_px,
        height_px=height_px,
    )


def picture(**changes: Any) -> Picture:
    facts: dict[str, Any] = {
        "id": uuid4(),
        "revision": 1,
        "status": "completed",
        "filename": "a.jpg",
        "title": None,
        "alt": None,
        "mime_type": "image/jpeg",
        "size_bytes": 1000,
        "width_px": 3000,
        "height_px": 2000,
        "entity_type": "product",
        "private": False,
        "storage_status": "local_only",
        "variants": (),
        "placeholder": None,
        "created_at": datetime.now(UTC),
        "job_status": "completed",
        "progress": 100,
        "attempts": 1,
        "error_code": None,
        "error_detail": None,
        "seconds_to_finish": 0.5,
    }
    return Picture(**{**facts, **changes})


LARGE, MEDIUM, SMALL = stored("large", 2000, 1333, 800), stored("m", 640, 427, 100), stored("s", 200, 133, 10)


@pytest.mark.parametrize(
    ("variants", "thumbnail"),
    [
        ((LARGE, MEDIUM, SMALL), MEDIUM),
        ((LARGE, SMALL), LARGE),
        ((SMALL,), SMALL),
        ((stored("tall", 100, 500, 1), LARGE), stored("tall", 100, 500, 1)),
        ((), None),
    ],
)
def test_the_thumbnail_is_the_smallest_that_is_sharp(
    variants: tuple[StoredFile, ...], thumbnail: StoredFile | None
) -> None:
    assert picture(variants=variants).thumbnail == thumbnail


@pytest.mark.parametrize(
    ("status", "job_status", "state"),
    [
        ("completed", None, "completed"),
        ("completed", "completed", "completed"),
        ("failed", None, "failed"),
        ("processing", "active", "active"),
        ("processing", "waiting", "waiting"),
        ("processing", None, "waiting"),
    ],
)
def test_the_state_outlives_the_job(status: str, job_status: str | None, state: str) -> None:
    shown = picture(status=status, job_status=job_status)
    assert shown.state == state
    assert any_unfinished([picture(), shown]) == (state in {"waiting", "active"})


def test_a_refusal_tells_its_reason_as_long_as_it_is_kept() -> None:
    refused = picture(status="failed", error_code="truncated", error_detail="The file ends early.")
    assert refused.reason == "The file ends early. (truncated)"
    assert picture(status="failed", job_status=None).reason == "The reason is no longer kept."
    assert picture().reason is None


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(800, "20 % smaller"), (15, "98.5 % smaller"), (1000, "same size"), (1500, "50 % larger")],
)
def test_savings_are_told_against_the_upload(size_bytes: int, words: str) -> None:
    assert picture().difference(stored("x", 1, 1, size_bytes)) == words


def test_nothing_is_all_smaller() -> None:
    assert picture(size_bytes=10_000_000).difference(stored("x", 1, 1, 50)) == "99.9 % smaller"


def test_an_empty_upload_divides_nothing_by_zero() -> None:
    assert picture(size_bytes=0).share_percent(SMALL) == 1000


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


@pytest.mark.parametrize("text", ["/pictures?cursor=abc", "/", "/docs#not_found"])
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
