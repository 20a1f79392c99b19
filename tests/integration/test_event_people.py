"""People of events as callers see them, the test telling what face-embedder would."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from ingest_api.accounts import Role
from ingest_api.repositories.event_removals import EventRemovalRepository
from shared.events import (
    ChangePeopleV1,
    FaceOfPerson,
    FacePlace,
    MergePeople,
    NamePerson,
    PeopleChangeEndedV1,
    PersonChangedV1,
    PhotoPeopleChangedV1,
    SplitPerson,
    UndoChange,
)
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable
from shared.testing.databases import TestDatabases
from shared.testing.waiting import eventually
from tests.face_double import photo_of
from tests.ingest_site import IngestSite, running_site

pytestmark = pytest.mark.stack

EVENTS = "/api/v1/events"
BOX = (10.0, 20.0, 110.0, 140.5)
VERSIONS = itertools.count(1)


@pytest.fixture(scope="module")
async def site(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[IngestSite]:
    """Addresses of photos are signed, and nobody reads them."""
    database = await databases.create()
    bucket = {
        "s3_endpoint": "http://127.0.0.1:9",
        "s3_access_key": SecretStr("unused"),
        "s3_secret_key": SecretStr("unused"),
        "people_change_wait_seconds": 30.0,
    }
    async with running_site(database, tmp_path_factory.mktemp("people") / "media", **bucket) as running:
        yield running
    await databases.drop(database)


@pytest.fixture
async def event(site: IngestSite) -> dict[str, Any]:
    made: dict[str, Any] = (await site.api.post(EVENTS, json={"name": "Wedding"})).json()
    return made


def people_at(event: dict[str, Any], below: str = "") -> str:
    return f"{EVENTS}/{event['uuid']}/people{below}"


async def photo(site: IngestSite, event: dict[str, Any], name: str, *people: UUID | None) -> UUID:
    """A photo with the faces of these people."""
    fact = photo_of(event, name, faces=len(people))
    assert await site.handlers.deliver(fact)
    await show(site, event, fact.photo_id, *people)
    return fact.photo_id


async def show(site: IngestSite, event: dict[str, Any], photo_id: UUID, *people: UUID | None, **facts: Any) -> None:
    told = PhotoPeopleChangedV1(
        photo_id=photo_id,
        event_id=UUID(event["uuid"]),
        version=facts.get("version", next(VERSIONS)),
        width_px=640,
        height_px=427,
        faces=tuple(
            FaceOfPerson(face_id=new_id(), box=(130.0 * place, 20.0, 130.0 * place + 100, 140.5), person_id=person_id)
            for place, person_id in enumerate(people)
        ),
        changed_at=datetime.now(UTC),
    )
    await site.handlers.deliver(told)


async def person(site: IngestSite, event: dict[str, Any], person_id: UUID | None = None, **facts: Any) -> UUID:
    fact = {
        "person_id": person_id or new_id(),
        "event_id": UUID(event["uuid"]),
        "version": next(VERSIONS),
        "name": None,
        "faces": 1,
        "photos": 1,
        "cover": None,
        "is_gone": False,
        "changed_at": datetime.now(UTC),
        **facts,
    }
    told = PersonChangedV1.model_validate(fact)
    await site.handlers.deliver(told)
    return told.person_id


async def read(site: IngestSite, address: str, **options: Any) -> dict[str, Any]:
    answer = await site.api.get(address, **options)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@asynccontextmanager
async def deciding(site: IngestSite, event: dict[str, Any], **outcome: Any) -> AsyncIterator[list[ChangePeopleV1]]:
    """Stands where face-embedder decides: the command that comes meanwhile ends like this."""
    sql = "SELECT payload FROM outbox WHERE topic = 'face.sync' AND key = $1 ORDER BY id"
    before = len(await site.rows.fetch(sql, event["uuid"]))
    commands: list[ChangePeopleV1] = []

    async def end() -> None:
        async def came() -> list[Any]:
            return (await site.rows.fetch(sql, event["uuid"]))[before:]

        (row,) = await eventually(came, within_seconds=20)
        command = ChangePeopleV1.model_validate_json(row["payload"])
        commands.append(command)
        ended = {"is_done": True, "ended_at": datetime.now(UTC), **outcome}
        await site.handlers.deliver(
            PeopleChangeEndedV1.model_validate({"change_id": command.change_id, "event_id": command.event_id, **ended})
        )

    async with asyncio.TaskGroup() as group:
        group.create_task(end())
        yield commands


async def test_the_largest_come_first_with_their_covers(site: IngestSite, event: dict[str, Any]) -> None:
    few, many = new_id(), new_id()
    photo_id = await photo(site, event, "a.jpg", few, many)
    cover = FacePlace(photo_id=photo_id, box=BOX)
    await person(site, event, few, faces=2, cover=cover)
    await person(site, event, many, faces=7, photos=6, name="Anna", cover=cover)
    equal = sorted([await person(site, event, faces=2), few])
    listed = await read(site, people_at(event))
    assert [one["id"] for one in listed["people"]] == [str(many), *map(str, equal)]
    anna = listed["people"][0]
    assert (anna["name"], anna["faces"], anna["photos"]) == ("Anna", 7, 6)
    assert anna["cover"]["box"] == list(BOX)
    assert "/previews/a.jpg?" in anna["cover"]["preview_url"]
    pages: list[str] = []
    cursor: str | None = None
    while cursor or not pages:
        page = await read(site, people_at(event), params={"limit": 1, **({"cursor": cursor} if cursor else {})})
        pages += [one["id"] for one in page["people"]]
        cursor = page["next_cursor"]
    assert pages == [str(many), *map(str, equal)]
    assert (await site.api.get(people_at(event), params={"cursor": "x"})).json()["code"] == "invalid_cursor"
    # The photo is deleted: nobody sees it as a cover, nor among somebody's photos.
    await site.rows.execute("UPDATE event_photos SET hidden_at = now() WHERE id = $1", photo_id)
    listed = await read(site, people_at(event))
    assert [one["cover"] for one in listed["people"]] == [None] * 3
    assert (await read(site, people_at(event, f"/{many}")))["photos"] == []
    assert (await site.api.get(f"{EVENTS}/{event['uuid']}/photos/{photo_id}/faces")).status_code == 404


async def test_a_person_with_the_photos_and_a_photo_with_its_people(site: IngestSite, event: dict[str, Any]) -> None:
    anna, ben = await person(site, event, name="Anna"), await person(site, event)
    photos = [await photo(site, event, f"{number}.jpg", anna, ben, None) for number in range(3)]
    await photo(site, event, "ben.jpg", ben)
    shown = await read(site, people_at(event, f"/{anna}"), params={"limit": 2})
    assert [one["photo_id"] for one in shown["photos"]] == [str(photo_id) for photo_id in photos[:2]]
    first = shown["photos"][0]
    assert "/originals/0.jpg?" in first["image_url"]
    assert [face["box"][0] for face in first["faces"]] == [0.0]
    rest = await read(site, people_at(event, f"/{anna}"), params={"cursor": shown["next_cursor"]})
    assert ([one["photo_id"] for one in rest["photos"]], rest["next_cursor"]) == ([str(photos[2])], None)
    faces = await read(site, f"{EVENTS}/{event['uuid']}/photos/{photos[0]}/faces")
    assert (faces["width_px"], faces["height_px"]) == (640, 427)
    assert [(face["person_id"], face["name"]) for face in faces["faces"]] == [
        (str(anna), "Anna"),
        (str(ben), None),
        (None, None),
    ]
    # A fact that comes late says nothing; a newer one all.
    await show(site, event, photos[0], ben, version=0)
    await person(site, event, anna, name="old", version=0)
    assert (await read(site, f"{EVENTS}/{event['uuid']}/photos/{photos[0]}/faces"))["faces"] == faces["faces"]
    await show(site, event, photos[0], ben)
    faces = await read(site, f"{EVENTS}/{event['uuid']}/photos/{photos[0]}/faces")
    assert [face["person_id"] for face in faces["faces"]] == [str(ben)]


async def test_who_is_gone_leaves_no_name(site: IngestSite, event: dict[str, Any]) -> None:
    anna, ben = await person(site, event, name="Anna"), await person(site, event, name="Ben")
    photo_id = await photo(site, event, "a.jpg", anna, ben)
    await person(site, event, anna, is_gone=True, faces=0, photos=0, merged_into=ben)
    faces = await read(site, f"{EVENTS}/{event['uuid']}/photos/{photo_id}/faces")
    assert [face["name"] for face in faces["faces"]] == ["Ben", "Ben"]
    await person(site, event, ben, is_gone=True, faces=0, photos=0)
    assert (await read(site, people_at(event)))["people"] == []
    assert (await site.api.get(people_at(event, f"/{ben}"))).status_code == 404
    assert (
        await site.rows.fetchval(
            "SELECT count(*) FROM people WHERE event_id = $1 AND name IS NOT NULL", UUID(event["uuid"])
        )
        == 0
    )
    await site.rows.execute("UPDATE people SET changed_at = changed_at - interval '31 days' WHERE id = $1", ben)
    await site.retention.sweep()
    kept = await site.rows.fetch("SELECT id FROM people WHERE event_id = $1", UUID(event["uuid"]))
    assert [row["id"] for row in kept] == [anna]


async def test_of_a_deleted_event_nobody_is_kept(
    site: IngestSite, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = await person(site, event, name="Anna")
    photo_id = await photo(site, event, "a.jpg", anna)
    async with deciding(site, event, person_id=anna):
        await site.api.patch(people_at(event, f"/{anna}"), json={"name": "Anne"})
    await photo(site, event, "b.jpg", anna)
    event_id = UUID(event["uuid"])
    for sql in (
        "INSERT INTO face_searches (id, event_id, asked_by, outcome) VALUES ($1, $2, $1, 'found')",
        "INSERT INTO face_search_results VALUES ($1, $2, $1, NULL, 1, 0, 'lite', 0.5, '[]')",
        "INSERT INTO face_erasures (id, event_id, asked_by, faces, expires_at) VALUES ($1, $2, $1, '[]', 'infinity')",
    ):
        await site.rows.execute(sql, photo_id, event_id)
    assert (await site.api.delete(f"{EVENTS}/{event['uuid']}")).status_code == 204
    due = "UPDATE event_removals SET due_at = now() WHERE event_id = $1"
    await site.rows.execute(due, event_id)
    forget, turns = EventRemovalRepository.forget, 0

    async def breaks_off_once(repository: EventRemovalRepository, event_id: UUID, limit: int) -> int:
        nonlocal turns
        turns += 1
        if turns == 2:
            raise InfrastructureUnavailable("postgres_unavailable", "PostgreSQL is away")
        return await forget(repository, event_id, limit)

    # However many there are, each transaction is short, and what is done stays done.
    with monkeypatch.context() as patched:
        patched.setattr("ingest_api.event_removals.ROWS_AT_ONCE", 1)
        patched.setattr(EventRemovalRepository, "forget", breaks_off_once)
        with pytest.raises(InfrastructureUnavailable):
            await site.photo_desk.removals.turn()
        assert await site.rows.fetchval("SELECT count(*) FROM photo_people WHERE event_id = $1", event_id) == 1
        await site.rows.execute(due, event_id)
        while await site.photo_desk.removals.turn():
            pass
    # What is told late finds nothing to be told of.
    await person(site, event, anna, name="Anna")
    await show(site, event, photo_id, anna)
    for table in ("people", "photo_people", "people_changes", "event_photos", "face_search_results", "face_erasures"):
        assert await site.rows.fetch(f"SELECT 1 FROM {table} WHERE event_id = $1", event_id) == []
    assert await site.rows.fetch("SELECT 1 FROM photo_faces WHERE photo_id = $1", photo_id) == []


async def test_decisions_wait_for_their_outcome(site: IngestSite, event: dict[str, Any]) -> None:
    anna, ben = await person(site, event), await person(site, event)
    version = (await read(site, people_at(event, f"/{anna}")))["person"]["version"]
    async with deciding(site, event, person_id=anna) as commands:
        headers = {"If-Match": f'"{version}"'}
        answer = await site.api.patch(people_at(event, f"/{anna}"), json={"name": " Anna "}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert commands[0].wish == NamePerson(person_id=anna, name="Anna", version=version)
    named = answer.json()
    assert (named["person"]["id"], named["change"]["status"], named["change"]["kind"]) == (str(anna), "done", "name")

    async with deciding(site, event, person_id=anna) as commands:
        body = {"into": str(anna), "from": [str(ben), str(ben), str(anna)]}
        answer = await site.api.post(people_at(event, "/merge"), json=body)
    assert (answer.status_code, commands[0].wish) == (200, MergePeople(into=anna, people=(ben,)))
    merged = answer.json()["change"]

    faces = [new_id(), new_id()]
    async with deciding(site, event, person_id=ben) as commands:
        answer = await site.api.post(people_at(event, f"/{anna}/split"), json={"faces": [str(one) for one in faces]})
    assert (answer.status_code, answer.json()["person"]["id"]) == (200, str(ben))
    assert commands[0].wish == SplitPerson(person_id=anna, faces=tuple(faces))

    async with deciding(site, event, person_id=anna) as commands:
        answer = await site.api.post(people_at(event, f"/changes/{merged['id']}/undo"))
    assert (answer.status_code, commands[0].wish) == (200, UndoChange(undone=UUID(merged["id"])))
    undo = answer.json()["change"]
    assert undo["undone"] == merged["id"]
    assert (await read(site, people_at(event, f"/changes/{merged['id']}")))["undone_by"] == undo["id"]
    again = await site.api.post(people_at(event, f"/changes/{undo['id']}/undo"))
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    listed = await read(site, people_at(event, "/changes"), params={"limit": 3})
    assert [one["kind"] for one in listed["changes"]] == ["undo", "split", "merge"]
    rest = await read(site, people_at(event, "/changes"), params={"cursor": listed["next_cursor"]})
    assert [one["kind"] for one in rest["changes"]] == ["name"]
    # What somebody is called stands with them alone.
    assert "Anna" not in str(await site.rows.fetch("SELECT * FROM people_changes"))


async def test_refusals_say_why(site: IngestSite, event: dict[str, Any]) -> None:
    anna = await person(site, event)
    for code, status, name in (
        ("unknown_person", 404, "not_found"),
        ("person_changed", 412, "precondition_failed"),
        ("unknown_face", 422, "invalid_request"),
        ("nothing_to_split", 422, "invalid_request"),
        ("search_off", 409, "search_off"),
        ("changed_since", 409, "conflict"),
    ):
        async with deciding(site, event, is_done=False, code=code, detail="Because of that."):
            answer = await site.api.post(people_at(event, f"/{anna}/split"), json={"faces": [str(new_id())]})
        assert (answer.status_code, answer.json()["code"]) == (status, name), answer.text
        assert "Because of that." in answer.text
    refused = (await read(site, people_at(event, "/changes")))["changes"][0]
    assert (refused["status"], refused["code"]) == ("refused", "changed_since")
    stale = await site.api.patch(people_at(event, f"/{anna}"), json={"name": "x"}, headers={"If-Match": '"0"'})
    assert stale.status_code == 412
    for method, below, body in (
        ("PATCH", f"/{anna}", {}),
        ("PATCH", f"/{anna}", {"name": " "}),
        ("PATCH", f"/{anna}", {"name": "a\nb"}),
        ("POST", "/merge", {"into": str(anna), "from": []}),
        ("POST", "/merge", {"into": str(anna), "from": [str(anna)]}),
        ("POST", f"/{anna}/split", {"faces": ["x"]}),
    ):
        refusal = await site.api.request(method, people_at(event, below), json=body)
        assert (refusal.status_code, refusal.json()["code"]) == (422, "invalid_request"), (below, body, refusal.text)
    assert (await site.api.post(people_at(event, f"/changes/{new_id()}/undo"))).status_code == 404


async def test_what_takes_longer_can_be_read_later(site: IngestSite, event: dict[str, Any]) -> None:
    anna = await person(site, event)
    people = site.photo_desk.people
    waited, people._wait_seconds = people._wait_seconds, 0.0
    try:
        answer = await site.api.patch(people_at(event, f"/{anna}"), json={"name": None})
    finally:
        people._wait_seconds = waited
    assert (answer.status_code, answer.json()["person"]) == (202, None)
    read_at = answer.headers["location"]
    assert (await read(site, read_at))["status"] == "waiting"
    change_id = UUID(answer.json()["change"]["id"])
    for is_done in (True, False):
        ended = PeopleChangeEndedV1(
            change_id=change_id,
            event_id=UUID(event["uuid"]),
            is_done=is_done,
            person_id=anna,
            ended_at=datetime.now(UTC),
        )
        await site.handlers.deliver(ended)
        assert (await read(site, read_at))["status"] == "done"


async def test_others_see_nobody_and_nobody_sees_who_may_not_be_looked_for(
    site: IngestSite, event: dict[str, Any]
) -> None:
    anna = await person(site, event)
    photo_id = await photo(site, event, "a.jpg", anna)
    addresses = [
        people_at(event),
        people_at(event, f"/{anna}"),
        people_at(event, "/changes"),
        f"{EVENTS}/{event['uuid']}/photos/{photo_id}/faces",
    ]

    async def statuses(**options: Any) -> set[int]:
        answers: list[httpx.Response] = [await site.api.get(address, **options) for address in addresses]
        answers.append(await site.api.patch(people_at(event, f"/{anna}"), json={"name": "x"}, **options))
        return {answer.status_code for answer in answers}

    other = {"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"}
    assert await statuses(headers=other) == {404}
    await site.api.patch(f"{EVENTS}/{event['uuid']}", json={"face_search_enabled": False})
    assert await statuses() == {409}
    assert (await site.api.get(people_at(event))).json()["code"] == "search_off"
    # A person of another event is none of this one.
    elsewhere = (await site.api.post(EVENTS, json={"name": "Other"})).json()
    assert (await site.api.get(people_at(elsewhere, f"/{anna}"))).status_code == 404
    assert (await read(site, people_at(elsewhere)))["people"] == []
