"""What the pages of operations reckon: sums, what is behind, payloads and changes as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from ingest_api import account_changes
from ingest_api.accounts import Role, User
from ingest_api.pages.operations_view import Totals, behind, details, original_headers, readable
from ingest_api.pages.rendering import TEXTS
from ingest_api.payload_preview import preview
from ingest_api.repositories.audit import AuditArea, AuditEntry
from ingest_api.service_overview import ServiceOverview
from shared.identifiers import new_id


def test_totals_are_those_of_all_services() -> None:
    known = ServiceOverview("s3-syncer", "ready", {"sync.jobs": 2, "sync.batches": 3}, 7, 1, ())
    silent = ServiceOverview("reconciler", "not_seen", {}, None, 4, ())
    assert Totals.of([known, silent]) == Totals(1, 2, 5, 7, 5)


def test_the_topic_that_is_furthest_behind_comes_first_and_what_is_done_is_left_out() -> None:
    assert behind({"b": 1, "a": 1, "c": 9, "d": 0}) == [("c", 9), ("a", 1), ("b", 1)]


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b'{"n":12345678901234567890,"s":"\xd1\x8f"}', '{\n  "n": 12345678901234567890,\n  "s": "я"\n}'),
        (b"{n}", "{n}"),
        (b"\xff", "/w=="),
    ],
)
def test_a_payload_is_shown_in_lines_where_it_is_json(payload: bytes, shown: str) -> None:
    assert readable(preview(payload)) == shown


def test_a_payload_that_is_cut_is_shown_as_it_came() -> None:
    assert readable(preview(b"[1, 2]", most_bytes=4)) == "[1, "


def test_headers_are_shown_without_those_of_the_kernel() -> None:
    assert original_headers({"mb_attempt": "3", "ce_type": "x", "a": "b"}) == [("a", "b"), ("ce_type", "x")]


@pytest.mark.parametrize(
    ("area", "detail", "shown"),
    [
        ("settings", {"before": {"a": 1}, "after": {"a": 2, "b": [1]}}, [("a", "1 → 2"), ("b", "null → [1]")]),
        ("schedules", {"runId": None, "changes": {"paused": True}}, [("paused", "true")]),
        ("schedules", {"runId": "r", "changes": None}, [("runId", "r")]),
        (
            "accounts",
            {"email": "a@b", "newPassword": None, "before": {"role": "admin"}, "after": {"role": "superadmin"}},
            [("email", "a@b"), ("role", "admin → superadmin")],
        ),
        ("api_keys", {"name": "k", "expiresAt": None}, [("name", "k")]),
        ("dead_letters", {"code": "c" * 100, "type": None}, [("code", "c" * 80 + "…")]),
    ],
)
def test_an_entry_tells_what_was_changed(area: AuditArea, detail: dict[str, Any], shown: list[tuple[str, str]]) -> None:
    entry = AuditEntry(new_id(), area, "changed", "media", new_id(), datetime.now(UTC), detail, None)
    assert details(entry) == shown


def test_every_change_of_accounts_and_keys_has_its_words() -> None:
    user = User(new_id(), "a@example.test", Role.ADMIN, datetime.now(UTC), datetime.now(UTC))
    changes = (
        account_changes.account_added(user),
        account_changes.account_changed(user, user, has_new_password=True),
        account_changes.account_removed(user.id, user.email, user.role, 0),
        account_changes.signed_out_everywhere(user.id, user.email),
        account_changes.key_made(user.id, "k", Role.ADMIN, None),
        account_changes.key_revoked(user.id, "k", Role.ADMIN, user.email),
    )
    for texts in TEXTS.values():
        for area in get_args(AuditArea):
            assert texts(f"operations.areas.{area}")
        for change in changes:
            assert texts(f"operations.acts.{change.area}.{change.action}")
