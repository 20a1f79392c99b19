"""Links for guests: passes in place of PINs, and what of an address may be logged."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from litestar.connection import ASGIConnection
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from ingest_api.gallery import Gallery, GalleryPasses
from ingest_api.problem_details import Problem, log_error, problem_of
from ingest_api.secret_paths import without_secrets
from ingest_api.tracing_middleware import traced
from shared.identifiers import new_id

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PASSES = GalleryPasses(b"k" * 32, 60.0)
GALLERY = Gallery(
    id=new_id(),
    event_id=new_id(),
    name="Guests",
    pin_hash="$argon2id$…",
    may_list=True,
    may_search=True,
    may_download=True,
    expires_at=NOW,
    revoked_at=None,
    created_by=new_id(),
    created_at=NOW - timedelta(days=1),
)


def test_a_pass_is_good_for_its_gallery_and_its_time() -> None:
    issued = PASSES.issue(GALLERY, 1000.0)
    assert PASSES.is_valid(GALLERY, issued, 1059.0)
    assert not PASSES.is_valid(GALLERY, issued, 1060.0)
    assert not PASSES.is_valid(replace(GALLERY, id=new_id()), issued, 1001.0)
    assert not PASSES.is_valid(replace(GALLERY, pin_hash="another"), issued, 1001.0)
    assert not GalleryPasses(b"x" * 32, 60.0).is_valid(GALLERY, issued, 1001.0)


@pytest.mark.parametrize("text", ["", ".", "9999999999", "9999999999.", "٣.x", "1e9.x", f"{'9' * 30}.x", "2000.\ud800"])
def test_what_we_did_not_make_is_no_pass(text: str) -> None:
    assert not PASSES.is_valid(GALLERY, text, 1000.0)


def test_the_end_of_a_pass_can_not_be_postponed() -> None:
    expires_at, _, signature = PASSES.issue(GALLERY, 1000.0).partition(".")
    assert not PASSES.is_valid(GALLERY, f"{int(expires_at) + 1000}.{signature}", 1001.0)


def test_a_gallery_ends_by_its_time_or_by_being_revoked() -> None:
    assert GALLERY.is_open(NOW - timedelta(seconds=1))
    assert not GALLERY.is_open(NOW)
    assert replace(GALLERY, expires_at=None).is_open(NOW)
    assert not replace(GALLERY, expires_at=None, revoked_at=NOW).is_open(NOW)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/gallery/Abc-123", "/gallery/{token}"),
        ("/gallery/Abc-123/photos/x", "/gallery/{token}/photos/x"),
        ("/api/v1/events", "/api/v1/events"),
        ("/media/gallery/x", "/media/gallery/x"),
    ],
)
def test_logs_and_traces_hold_no_token(path: str, shown: str) -> None:
    assert without_secrets(path) == shown


def scope_of(path: str) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "server": ("x", 80)}


async def test_spans_hold_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[Any] = []

    def noting(name: str, kind: SpanKind, attributes: dict[str, Any], **_: Any) -> AbstractContextManager[Span]:
        noted.extend((name, attributes))
        return nullcontext(INVALID_SPAN)

    async def nothing(*_: Any) -> None:
        return

    app: Any = nothing
    monkeypatch.setattr("ingest_api.tracing_middleware.span", noting)
    await traced(app)(scope_of("/gallery/a-secret-token/photos"), app, app)
    assert noted == ["GET", {"http.request.method": "GET", "url.path": "/gallery/{token}/photos"}]


def test_logs_of_failures_hold_no_token(caplog: pytest.LogCaptureFixture) -> None:
    connection: Any = ASGIConnection(cast(Any, scope_of("/gallery/a-secret-token/search")))
    for error in (Problem(503, "service_unavailable", "Try again."), RuntimeError("a defect")):
        log_error(connection, error, problem_of(error))
    told = [record for record in caplog.records if record.name == "ingest_api.problem_details"]
    assert [vars(record)["path"] for record in told] == ["/gallery/{token}/search"] * 2
    assert "a-secret-token" not in caplog.text
