"""Searches for a face over the real ingest-api and broker; a double answers in face-embedder's place."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.events import AnswerV1, ErasedPhoto, EventPhotoChangedV1, FacesErasedV1, PhotoStatus, SearchFacesV1
from shared.identifiers import new_id
from shared.messaging.topics import CATALOG_EVENTS, FACE_EVENTS
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.api_client import signed_in
from tests.bus import Bus
from tests.face_double import FaceDouble, found, match_of, photo_of
from tests.running_service import RunningService
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack

EVENTS = "/api/v1/events"
SEARCH = "/api/v1/faces/search"
SELFIE = photo_jpeg(200, 150)
SELFIE_KEY = "ab" * 32


@pytest.fixture(scope="module")
async def system(
    databases: Any, kafka_server: KafkaServer, object_store_server: ObjectStoreServer, tmp_path_factory: Any
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("face-search")
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_SELFIE_KEY": SELFIE_KEY,
        "MEDIABUS_SELFIE_LIMIT_BYTES": "100000",
        "MEDIABUS_FACE_SEARCH_SECONDS": "5",
    }
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        await made.make_superadmin()
        yield made


@pytest.fixture(scope="module")
async def ingest(system: System) -> RunningService:
    """It hears answers: it is ready before that."""
    made = await system.started("ingest-api")
    async with httpx.AsyncClient(base_url=made.base_url, timeout=30) as client:

        async def hears() -> bool:
            return bool((await client.get("/health/ready")).json()["details"]["answers"]["hearing"])

        await eventually(hears, why="answers are heard")
    return made


@pytest.fixture(scope="module")
async def api(system: System, ingest: RunningService) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(system, ingest.base_url) as root:
        answer = await root.http.post("/api/admin/api-keys", json={"name": "tests", "role": "admin"})
        headers = {"Authorization": f"Bearer {answer.json()['key']}"}
    async with httpx.AsyncClient(base_url=ingest.base_url, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
async def bus(system: System) -> AsyncIterator[Bus]:
    async with Bus(system.kafka_bootstrap, FACE_EVENTS, CATALOG_EVENTS) as made:
        yield made


@pytest.fixture(scope="module")
async def serving(system: System, bus: Bus) -> AsyncIterator[FaceDouble]:
    async with FaceDouble(bus, system.kafka_bootstrap, system.media_root, SELFIE_KEY) as double:
        yield double


@pytest.fixture
def faces(serving: FaceDouble) -> FaceDouble:
    serving.reply = lambda question, _: found(question)
    serving.questions.clear()
    serving.pictures.clear()
    return serving


async def made(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await api.post(EVENTS, json={"name": "Wedding", **fields})
    assert answer.status_code == 201, answer.text
    event: dict[str, Any] = answer.json()
    return event


async def tell(system: System, bus: Bus, *photos: EventPhotoChangedV1) -> None:
    """Tell of photos, and wait until ingest-api knows."""
    for photo in photos:
        await bus.send(photo)

    async def known() -> bool:
        rows = await system.rows("ingest-api", "SELECT id, version FROM event_photos")
        versions = {row["id"]: row["version"] for row in rows}
        return all(versions.get(photo.photo_id, 0) >= photo.version for photo in photos)

    await eventually(known, why="ingest-api knows the photos")


async def search(
    api: httpx.AsyncClient, event: dict[str, Any], content: bytes = SELFIE, **fields: Any
) -> httpx.Response:
    data = {"event_uuid": event["uuid"]} | {name: str(value) for name, value in fields.items()}
    return await api.post(SEARCH, data=data, files={"file": ("me.jpg", content)})


async def records(api: httpx.AsyncClient, event: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await api.get(f"{EVENTS}/{event['uuid']}/searches")
    assert answer.status_code == 200, answer.text
    found_records: list[dict[str, Any]] = answer.json()["searches"]
    return found_records


async def test_a_search_in_the_words_of_the_contract(
    api: httpx.AsyncClient, faces: FaceDouble, bus: Bus, system: System, object_store_server: ObjectStoreServer
) -> None:
    event = await made(api)
    best, second = photo_of(event, "a b.jpg"), photo_of(event, "b.jpg", image_key=None)
    await tell(system, bus, best, second)
    faces.reply = lambda question, _: found(question, match_of(best, 0.8), match_of(second, 0.5))
    answer = await search(api, event, threshold=0.3, choose=0)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    first, other = body["matches"]
    assert {name: first[name] for name in ("s3_key", "similarity", "box", "confidence")} == {
        "s3_key": best.s3_key,
        "similarity": 0.8,
        "box": [10.0, 20.0, 110.0, 140.5],
        "confidence": 0.97,
    }
    for address, key in ((first["image_url"], best.image_key), (first["preview_url"], best.s3_key)):
        parts = urlsplit(address)
        assert f"{parts.scheme}://{parts.netloc}" == object_store_server.endpoint
        assert parts.path == f"/mediabus/{key}".replace(" ", "%20")
        assert "X-Amz-Signature" in parts.query
    assert (other["s3_key"], other["image_url"]) == (second.s3_key, None)
    assert (body["faces_in_selfie"], body["chosen"], body["pack"], body["next_cursor"]) == (1, 0, "lite", None)
    (question,) = faces.questions
    assert (str(question.event_id), question.threshold, question.choose) == (event["uuid"], 0.3, 0)
    assert faces.pictures == [SELFIE]


async def test_the_selfie_is_nowhere_afterwards(
    api: httpx.AsyncClient, faces: FaceDouble, system: System, ingest: RunningService
) -> None:
    event = await made(api)
    part = SELFIE[1000:1016]
    assert (await search(api, event)).status_code == 200
    faces.reply = lambda question, _: None
    assert (await search(api, event)).status_code == 503
    assert faces.pictures == [SELFIE, SELFIE]
    left = [path for path in system.media_root.rglob("*") if path.is_file() and path.name != ".keep"]
    assert left == []
    assert all(part not in value for value in faces.raw)
    assert part not in ingest.log_path.read_bytes()
    for table in ("outbox", "face_searches", "face_search_results", "notices"):
        rows = await system.rows("ingest-api", f"SELECT t::text AS row FROM {table} AS t")
        assert all(part.hex() not in row["row"] for row in rows), table


async def test_pages_go_on_where_the_last_one_ended(
    api: httpx.AsyncClient, faces: FaceDouble, bus: Bus, system: System
) -> None:
    event = await made(api)
    photos = [photo_of(event, f"{number}.jpg") for number in range(5)]
    await tell(system, bus, *photos)
    matches = [match_of(photo, 0.9 - number / 10) for number, photo in enumerate(photos)]
    faces.reply = lambda question, _: found(question, *matches)
    first = (await search(api, event, limit=2)).json()
    url = f"/api/v1/faces/searches/{first['search_id']}"
    # What is removed between two pages is on neither.
    gone = photos[2].model_copy(update={"version": 2, "status": PhotoStatus.REMOVED})
    await tell(system, bus, gone)
    second = (await api.get(url, params={"cursor": first["next_cursor"], "limit": 2})).json()
    assert [match["s3_key"] for page in (first, second) for match in page["matches"]] == [
        photos[number].s3_key for number in (0, 1, 3, 4)
    ]
    assert second["next_cursor"] is None
    assert len(faces.questions) == 1
    assert (await api.get(url, params={"cursor": "x"})).json()["code"] == "invalid_cursor"
    assert (await api.get(f"/api/v1/faces/searches/{new_id()}")).status_code == 404
    # Nothing is shown from the moment in which the search is switched off.
    await api.patch(f"{EVENTS}/{event['uuid']}", json={"face_search_enabled": False})
    assert (await api.get(url)).json()["code"] == "search_off"


async def test_hidden_photos_and_keys_of_other_events_are_no_matches(
    api: httpx.AsyncClient, faces: FaceDouble, bus: Bus, system: System
) -> None:
    event, other = await made(api), await made(api)
    removed = photo_of(event, "removed.jpg", status=PhotoStatus.REMOVED)
    foreign, unheard = photo_of(other, "foreign.jpg"), photo_of(event, "unheard.jpg")
    lying = photo_of(event, "lying.jpg", image_key=f"events/{other['id']}/originals/lying.jpg")
    await tell(system, bus, removed, foreign, lying)
    shown = [match_of(photo, 0.7) for photo in (removed, foreign, unheard, lying)]
    faces.reply = lambda question, _: found(question, *shown)
    matches = (await search(api, event)).json()["matches"]
    assert [(match["s3_key"], match["image_url"]) for match in matches] == [
        (unheard.s3_key, None),
        (lying.s3_key, None),
    ]


async def test_consent_is_asked_for_where_the_event_has_a_text(api: httpx.AsyncClient, faces: FaceDouble) -> None:
    event = await made(api, consent_text="I agree.")
    for refused in (await search(api, event), await search(api, event, consent_version=0)):
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (403, "consent_needed")
        assert (problem["consent_text"], problem["consent_version"]) == ("I agree.", 1)
    assert (await search(api, event, consent_version=1)).status_code == 200
    await api.patch(f"{EVENTS}/{event['uuid']}", json={"consent_text": "I agree to more."})
    assert (await search(api, event, consent_version=1)).status_code == 403
    assert [(one["outcome"], one["consent_version"]) for one in await records(api, event)] == [
        ("consent_needed", 1),
        ("answered", 1),
        ("consent_needed", 0),
        ("consent_needed", None),
    ]
    assert len(faces.questions) == 1


async def test_what_is_switched_off_or_over_is_searched_by_nobody(api: httpx.AsyncClient, faces: FaceDouble) -> None:
    off = await made(api, face_search_enabled=False)
    over = await made(api, expires_at="2020-01-01T00:00:00Z")
    deleted = await made(api)
    await api.delete(f"{EVENTS}/{deleted['uuid']}")
    answers = [await search(api, event) for event in (off, over, deleted)]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (409, "search_off"),
        (409, "search_off"),
        (404, "not_found"),
    ]
    assert [one["outcome"] for one in await records(api, off)] == ["search_off"]
    assert faces.questions == []


@pytest.mark.parametrize(
    ("problem", "status", "code"),
    [
        ("no_face_in_selfie", 422, "no_face"),
        ("not_a_picture: it is cut short", 422, "invalid_request"),
        ("no_such_face: the picture shows 2 faces", 422, "invalid_request"),
        ("event_not_searchable", 409, "search_off"),
        ("unknown_event", 503, "service_unavailable"),
        ("models_unavailable: the pack is not installed", 503, "service_unavailable"),
    ],
)
async def test_what_can_not_be_answered_says_why(
    api: httpx.AsyncClient, faces: FaceDouble, problem: str, status: int, code: str
) -> None:
    event = await made(api)
    faces.reply = lambda question, _: AnswerV1(question_id=question.question_id, problem=problem)
    answer = await search(api, event)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    told = problem.partition(": ")[2]
    assert told.lower() in answer.text.lower()
    assert [one["outcome"] for one in await records(api, event)] == [code]


async def test_an_answer_that_makes_no_sense_shows_nothing(api: httpx.AsyncClient, faces: FaceDouble) -> None:
    event = await made(api)
    faces.reply = lambda question, _: AnswerV1(question_id=question.question_id, body={"matches": [{"s3_key": 1}]})
    assert (await search(api, event)).status_code == 503


async def test_nobody_answers_in_time(api: httpx.AsyncClient, faces: FaceDouble, system: System) -> None:
    event = await made(api)
    faces.reply = lambda question, _: None
    answer = await search(api, event)
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    assert "retry-after" in answer.headers
    assert [one["outcome"] for one in await records(api, event)] == ["service_unavailable"]


@pytest.mark.parametrize(
    ("fields", "content", "status", "named"),
    [
        ({"event_uuid": "nonsense"}, SELFIE, 400, "Invalid UUID format"),
        ({"event_uuid": str(new_id())}, SELFIE, 404, "Event not found"),
        ({"event_uuid": ""}, SELFIE, 422, "event_uuid"),
        ({"threshold": "1.5"}, SELFIE, 422, "threshold"),
        ({"threshold": "nan"}, SELFIE, 422, "threshold"),
        ({"limit": "0"}, SELFIE, 422, "limit"),
        ({"limit": "5.5"}, SELFIE, 422, "limit"),
        ({"choose": "best"}, SELFIE, 422, "choose"),
        ({"consent_version": "v1"}, SELFIE, 422, "consent_version"),
        ({}, b"", 422, "file"),
        ({}, b"no picture at all", 415, "none of"),
        ({}, SELFIE + b"\0" * 100_000, 413, "100000 bytes"),
    ],
)
async def test_what_is_wrong_with_a_form_is_named(
    api: httpx.AsyncClient, faces: FaceDouble, fields: dict[str, str], content: bytes, status: int, named: str
) -> None:
    data = {"event_uuid": (await made(api))["uuid"]} | fields
    answer = await api.post(SEARCH, data=data, files={"file": ("me.jpg", content)})
    assert answer.status_code == status, answer.text
    assert named in answer.text
    assert faces.questions == []


async def test_a_form_without_a_file_names_all_that_is_missing(api: httpx.AsyncClient) -> None:
    answer = await api.post(SEARCH, files={"threshold": (None, "0.5")})
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, ["file", "event_uuid"])


async def test_searches_are_recorded_for_the_owner_in_pages(
    api: httpx.AsyncClient, faces: FaceDouble, system: System
) -> None:
    event = await made(api)
    await asyncio.gather(*(search(api, event) for _ in range(5)))
    seen: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await api.get(f"{EVENTS}/{event['uuid']}/searches", params=parameters)).json()
        seen += page["searches"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert len({one["id"] for one in seen}) == 5
    assert {(one["outcome"], one["matches"], one["gallery_id"]) for one in seen} == {("answered", 0, None)}
    (user,) = {one["asked_by"] for one in seen}
    assert user
    columns = await system.rows(
        "ingest-api", "SELECT column_name FROM information_schema.columns WHERE table_name = 'face_searches'"
    )
    assert {row["column_name"] for row in columns} == {
        "id",
        "event_id",
        "asked_by",
        "gallery_id",
        "asked_at",
        "consent_version",
        "outcome",
        "matches",
        "finished_at",
    }


async def test_guests_find_their_own_photos_and_get_those_alone(
    api: httpx.AsyncClient, faces: FaceDouble, bus: Bus, system: System, ingest: RunningService
) -> None:
    event = await made(api, consent_text="I agree.")
    mine, other = photo_of(event, "mine.jpg"), photo_of(event, "other.jpg")
    await tell(system, bus, mine, other)
    faces.reply = lambda question, _: found(question, match_of(mine, 0.9))
    wish = {"may_list": False}
    link = (await api.post(f"{EVENTS}/{event['uuid']}/galleries", json=wish)).json()
    async with httpx.AsyncClient(base_url=ingest.base_url, timeout=30) as guest:
        files = {"file": ("me.jpg", SELFIE)}
        answer = await guest.post(f"{link['path']}/search", files=files, data={"consent_version": "1"})
        assert answer.status_code == 200, answer.text
        (match,) = answer.json()["matches"]
        assert (match["photo_id"], match["s3_key"]) == (str(mine.photo_id), mine.s3_key)
        search_id = answer.json()["search_id"]
        again = await guest.get(f"{link['path']}/searches/{search_id}")
        assert [one["photo_id"] for one in again.json()["matches"]] == [str(mine.photo_id)]
        originals = [
            await guest.get(f"{link['path']}/photos/{photo.photo_id}/original", params={"search_id": search_id})
            for photo in (mine, other)
        ]
        assert [original.status_code for original in originals] == [302, 422]
        # Another link to the same event does not open the search.
        strange = (await api.post(f"{EVENTS}/{event['uuid']}/galleries", json=wish)).json()
        assert (await guest.get(f"{strange['path']}/searches/{search_id}")).status_code == 404
    assert (await api.get(f"/api/v1/faces/searches/{search_id}")).status_code == 404
    (record,) = await records(api, event)
    assert (record["asked_by"], record["gallery_id"]) == (None, link["gallery"]["id"])
    assert (record["consent_version"], record["outcome"], record["matches"]) == (1, "answered", 1)
    assert link["token"] not in ingest.log_path.read_text()


async def asked_for_erasure(
    api: httpx.AsyncClient, guest: httpx.AsyncClient, event: dict[str, Any], **wish: Any
) -> tuple[dict[str, Any], str]:
    """What a guest with a new link is answered, and the token of the link."""
    link = (await api.post(f"{EVENTS}/{event['uuid']}/galleries", json=wish)).json()
    files = {"file": ("me.jpg", SELFIE)}
    answer = await guest.post(f"{link['path']}/erasure-requests", files=files, data={"consent_version": "1"})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    return answer.json(), link["token"]


async def state_of(guest: httpx.AsyncClient, asked: dict[str, Any], **changes: str) -> httpx.Response:
    known = {**asked, **changes}
    headers = {"X-Erasure-Secret": known["secret"]}
    return await guest.get(f"/api/v1/faces/erasure-requests/{known['id']}", headers=headers)


async def test_guests_ask_to_be_erased_and_get_a_receipt_once_somebody_confirms(
    api: httpx.AsyncClient, faces: FaceDouble, bus: Bus, system: System, ingest: RunningService
) -> None:
    event = await made(api, consent_text="I agree.")
    mine, alike = photo_of(event, "mine.jpg"), photo_of(event, "alike.jpg")
    await tell(system, bus, mine, alike)
    faces.reply = lambda question, _: found(question, match_of(mine, 0.9), match_of(alike, 0.5))
    async with httpx.AsyncClient(base_url=ingest.base_url, timeout=30) as guest:
        # Also with a link that lets nobody search.
        asked, token = await asked_for_erasure(api, guest, event, may_search=False, may_list=False)
        assert set(asked) == {"id", "secret", "expires_at"}
        assert faces.questions[-1].for_erasure is True
        waiting = (await state_of(guest, asked)).json()
        assert (waiting["status"], waiting["receipt"]) == ("proposed", None)
        for strange in ({"secret": "x" * 43}, {"id": str(new_id())}):
            assert (await state_of(guest, asked, **strange)).status_code == 404
        assert (await guest.get(f"/api/v1/faces/erasures/{asked['id']}")).status_code == 401

        (shown,) = (await api.get(f"{EVENTS}/{event['uuid']}/erasure-requests")).json()["requests"]
        assert (shown["id"], shown["consent_version"]) == (asked["id"], 1)
        assert [face["photo_id"] for face in shown["faces"]] == [str(mine.photo_id), str(alike.photo_id)]
        assert all("X-Amz-Signature" in face["preview_url"] for face in shown["faces"])

        decided = f"/api/v1/faces/erasures/{asked['id']}"
        confirmed = await api.post(f"{decided}/confirm", json={"photo_ids": [str(mine.photo_id)]})
        assert (confirmed.status_code, confirmed.json()["status"]) == (202, "confirmed")
        assert (await api.post(f"{decided}/refuse")).status_code == 409
        assert (await api.get(f"{EVENTS}/{event['uuid']}/erasure-requests")).json()["requests"] == []
        erased = ErasedPhoto(photo_id=mine.photo_id, faces=1)
        await bus.send(
            FacesErasedV1(erasure_id=asked["id"], event_id=event["uuid"], photos=(erased,), erased_at=datetime.now(UTC))
        )
        # The link is over; the receipt is the guest's all the same.
        await system.rows("ingest-api", "UPDATE galleries SET revoked_at = now() RETURNING 1")

        async def completed() -> bool:
            return bool((await state_of(guest, asked)).json()["status"] == "completed")

        await eventually(completed, why="the receipt is written")
        ended = (await state_of(guest, asked)).json()
        public_key = (await guest.get("/api/v1/faces/receipt-key")).json()["public_key"]
    assert ended["public_key"] == public_key
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key))
    key.verify(base64.b64decode(ended["signature"]), ended["receipt"].encode())
    assert json.loads(ended["receipt"])["photos"] == [{"photo_id": str(mine.photo_id), "faces_erased": 1}]
    (row,) = await system.rows("ingest-api", "SELECT * FROM face_erasures WHERE id = $1", asked["id"])
    assert (row["asked_by"], row["faces"]) == (None, "[]")
    assert all(secret not in ingest.log_path.read_text() for secret in (token, asked["secret"]))


async def test_a_refused_request_keeps_nothing_of_what_was_found(
    api: httpx.AsyncClient, faces: FaceDouble, bus: Bus, system: System, ingest: RunningService
) -> None:
    event = await made(api)
    mine = photo_of(event, "mine.jpg")
    await tell(system, bus, mine)
    faces.reply = lambda question, _: found(question, match_of(mine, 0.9))
    async with httpx.AsyncClient(base_url=ingest.base_url, timeout=30) as guest:
        asked, _ = await asked_for_erasure(api, guest, event)
        path = f"/api/v1/faces/erasures/{asked['id']}"
        for _ in range(2):
            assert (await api.post(f"{path}/refuse")).json()["status"] == "refused"
        confirm = await api.post(f"{path}/confirm", json={"photo_ids": [str(mine.photo_id)]})
        assert confirm.status_code == 409
        assert (await state_of(guest, asked)).json()["status"] == "refused"
        # What nobody decides on, or was refused long ago, is over.
        late, _ = await asked_for_erasure(api, guest, event)
        ids = [asked["id"], late["id"]]
        rows = await system.rows("ingest-api", "SELECT faces FROM face_erasures WHERE id = ANY($1) ORDER BY id", ids)
        assert [len(json.loads(row["faces"])) for row in rows] == [0, 1]
        expire = "UPDATE face_erasures SET expires_at = now() WHERE id = ANY($1) RETURNING 1"
        await system.rows("ingest-api", expire, ids)
        assert [(await state_of(guest, one)).status_code for one in (asked, late)] == [404, 404]
        late_path = f"/api/v1/faces/erasures/{late['id']}/confirm"
        assert (await api.post(late_path, json={"photo_ids": [str(mine.photo_id)]})).status_code == 404


async def test_nothing_of_a_guests_selfie_is_left_behind_a_request(
    api: httpx.AsyncClient, faces: FaceDouble, system: System, ingest: RunningService
) -> None:
    event = await made(api, consent_text="I agree.")
    part = SELFIE[1000:1016]
    async with httpx.AsyncClient(base_url=ingest.base_url, timeout=30) as guest:
        # Nothing was found: who asks is not told so.
        asked, _ = await asked_for_erasure(api, guest, event)
    assert (await api.get(f"/api/v1/faces/erasures/{asked['id']}")).json()["status"] == "proposed"
    assert faces.pictures == [SELFIE]
    assert [path for path in system.media_root.rglob("*") if path.is_file() and path.name != ".keep"] == []
    assert all(part not in value for value in faces.raw)
    assert part not in ingest.log_path.read_bytes()
    for table in ("outbox", "face_searches", "face_search_results", "face_erasures", "notices"):
        rows = await system.rows("ingest-api", f"SELECT t::text AS row FROM {table} AS t")
        assert all(part.hex() not in row["row"] for row in rows), table


def test_the_question_carries_no_picture() -> None:
    schema = json.dumps(SearchFacesV1.model_json_schema())
    assert "bytes" not in schema.replace("size_bytes", "").replace("sealed bytes", "")
