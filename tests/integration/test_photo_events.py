"""Photographed events over HTTP: who sees which, versions, what is told and what is recorded of consent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingest_api.accounts import Role
from shared.identifiers import new_id
from shared.testing.databases import TestDatabases
from tests.ingest_site import IngestSite, running_site

pytestmark = pytest.mark.stack

EVENTS = "/api/v1/events"


@pytest.fixture(scope="module")
async def site(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[IngestSite]:
    database = await databases.create()
    async with running_site(database, tmp_path_factory.mktemp("photo-events") / "media") as running:
        yield running
    await databases.drop(database)


async def made(site: IngestSite, **fields: Any) -> dict[str, Any]:
    answer = await site.api.post(EVENTS, json={"name": "Wedding", **fields})
    assert answer.status_code == 201, answer.text
    event: dict[str, Any] = answer.json()
    return event


async def told(site: IngestSite, event_id: str) -> list[dict[str, Any]]:
    rows = await site.rows.fetch("SELECT payload FROM outbox WHERE key = $1 ORDER BY id", event_id)
    return [json.loads(row["payload"]) for row in rows]


async def test_an_event_in_the_words_of_the_contract(site: IngestSite) -> None:
    first = await site.api.post(EVENTS, json={"name": "  Wedding "})
    event = first.json()
    url = f"{EVENTS}/{event['uuid']}"
    assert (first.status_code, first.headers["location"], first.headers["etag"]) == (201, url, '"1"')
    assert {name: event[name] for name in ("id", "name", "s3_prefix", "auto_index", "consent_required")} == {
        "id": event["id"],
        "name": "Wedding",
        "s3_prefix": f"events/{event['id']}/previews/",
        "auto_index": False,
        "consent_required": False,
    }
    assert (await made(site))["id"] == event["id"] + 1
    assert (await site.api.get(url)).json() == event
    (fact,) = await told(site, event["uuid"])
    assert fact | {"changed_at": None} == {
        "event_id": event["uuid"],
        "number": event["id"],
        "version": 1,
        "name": "Wedding",
        "auto_index": False,
        "is_searchable": True,
        "faces_expire_at": None,
        "is_deleted": False,
        "changed_at": None,
    }


async def test_changes_count_versions_and_are_told(site: IngestSite) -> None:
    event = await made(site, consent_text="I agree.")
    url = f"{EVENTS}/{event['uuid']}"
    changed = await site.api.patch(url, json={"auto_index": True}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["version"], changed.headers["etag"]) == (200, 2, '"2"')
    stale = await site.api.patch(url, json={"name": "Other"}, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    # What changes nothing makes no version.
    assert (await site.api.patch(url, json={"auto_index": True})).json()["version"] == 2
    off = (await site.api.patch(url, json={"face_search_enabled": False})).json()
    assert (off["version"], off["consent_version"]) == (3, 1)
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    ended = (await site.api.patch(url, json={"face_search_enabled": True, "expires_at": past})).json()
    assert datetime.fromisoformat(ended["expires_at"]) == datetime.fromisoformat(past)
    facts = await told(site, event["uuid"])
    assert [(fact["version"], fact["is_searchable"]) for fact in facts] == [
        (1, True),
        (2, True),
        (3, False),
        (4, False),
    ]


async def test_who_decided_what_about_faces_is_recorded(site: IngestSite) -> None:
    event = await made(site)
    url = f"{EVENTS}/{event['uuid']}"
    await site.api.patch(url, json={"consent_text": "I agree."})
    await site.api.patch(url, json={"name": "Another name"})
    await site.api.patch(url, json={"consent_text": "I agree to more."})
    await site.api.patch(url, json={"consent_text": None})
    decisions: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = (await site.api.get(f"{url}/consents", params=parameters)).json()
        decisions += page["decisions"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert [(one["event_version"], one["consent_version"], one["consent_text"]) for one in decisions] == [
        (5, 3, None),
        (4, 2, "I agree to more."),
        (2, 1, "I agree."),
        (1, 0, None),
    ]
    assert {one["decided_by"] for one in decisions} == {str(site.user_id)}


async def test_photographers_reach_their_own_events_and_admins_all(site: IngestSite) -> None:
    mine = await made(site)
    photographer, other, admin = [
        {"Authorization": f"Bearer {await site.key_of(role)}"}
        for role in (Role.PHOTOGRAPHER, Role.PHOTOGRAPHER, Role.ADMIN)
    ]
    theirs = (await site.api.post(EVENTS, json={"name": "Theirs"}, headers=photographer)).json()
    url = f"{EVENTS}/{theirs['uuid']}"

    async def listed(headers: dict[str, str]) -> list[str]:
        events = (await site.api.get(EVENTS, headers=headers)).json()["events"]
        return [event["uuid"] for event in events]

    assert await listed(photographer) == [theirs["uuid"]]
    assert await listed(other) == []
    assert (await listed(admin))[:2] == [theirs["uuid"], mine["uuid"]]
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/consents")):
        refused = await site.api.request(method, f"{url}{path}", json={}, headers=other)
        assert (refused.status_code, refused.json()["detail"]) == (404, "Event not found"), (method, path)
    assert (await site.api.patch(url, json={"name": "Ours"}, headers=admin)).json()["name"] == "Ours"
    assert (await site.api.get(url, headers=photographer)).json()["name"] == "Ours"


async def test_a_deleted_event_is_gone_for_everyone_and_its_number_stays_taken(site: IngestSite) -> None:
    event = await made(site)
    url = f"{EVENTS}/{event['uuid']}"
    assert (await site.api.delete(url, headers={"If-Match": '"7"'})).status_code == 412
    assert (await site.api.delete(url)).status_code == 204
    assert [(await site.api.request(method, url, json={})).status_code for method in ("GET", "PATCH", "DELETE")] == [
        404,
        404,
        404,
    ]
    assert event["uuid"] not in (await site.api.get(EVENTS)).text
    assert (await made(site))["id"] == event["id"] + 1
    deleted = (await told(site, event["uuid"]))[1]
    assert (deleted["version"], deleted["is_deleted"], deleted["is_searchable"]) == (2, True, False)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "\x00"}, "name"),
        ({"name": "x", "auto_index": "yes"}, "auto_index"),
        ({"name": "x", "expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"name": "x", "consent_text": " "}, "consent_text"),
        ({"name": "x", "number": 5}, "number"),
    ],
)
async def test_what_is_wrong_is_named(site: IngestSite, body: dict[str, Any], field: str) -> None:
    answer = await site.api.post(EVENTS, json=body)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])


async def test_only_texts_and_times_can_be_taken_away(site: IngestSite) -> None:
    url = f"{EVENTS}/{(await made(site))['uuid']}"
    answer = await site.api.patch(url, json={"name": None, "auto_index": None, "consent_text": None})
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["name", "auto_index"])


async def test_lists_page_through_events(site: IngestSite) -> None:
    headers = {"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"}
    events = [(await site.api.post(EVENTS, json={"name": "x"}, headers=headers)).json()["uuid"] for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await site.api.get(EVENTS, params=parameters, headers=headers)).json()
        assert len(page["events"]) <= 2
        seen += [event["uuid"] for event in page["events"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == events[::-1]
    assert (await site.api.get(f"{EVENTS}/{new_id()}")).json()["detail"] == "Event not found"
