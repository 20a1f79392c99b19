"""An event over HTTP: photos come by sync and by upload, a selfie finds its person, and what is removed is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.testing.databases import TestDatabases
from shared.testing.waiting import eventually
from tests.api_client import Api, signed_in
from tests.face_world import BUCKET, START_SECONDS, SYNC_SECONDS, group, nobody, portrait
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack


@pytest.fixture
async def system(
    databases: TestDatabases,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    face_models: Path,
    tmp_path: Path,
) -> AsyncIterator[System]:
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_FACE_MODELS_FOLDER": str(face_models),
        "MEDIABUS_FACE_WORKERS": "2",
        "MEDIABUS_FACE_SEARCH_SECONDS": "30",
        "MEDIABUS_PEOPLE_CHANGE_WAIT_SECONDS": "25",
    }
    async with system_of_its_own(databases, kafka_server, tmp_path, environment) as made:
        await made.make_superadmin()
        embedder = made.service("face-embedder")
        embedder.start()
        await made.start_all("ingest-api")
        await embedder.wait_until_ready(START_SECONDS)
        yield made


async def synced(api: Api, event: dict[str, Any]) -> dict[str, Any]:
    answer = await api.http.post(
        "/api/v1/faces/sync-s3", json={"event_uuid": event["uuid"], "s3_prefix": event["s3_prefix"]}
    )
    assert answer.status_code == 200, answer.text
    started = answer.json()
    assert started["message"] == f"Sync task started for event {event['name']}"

    async def ended() -> dict[str, Any] | None:
        task: dict[str, Any] = (await api.http.get(f"/api/v1/faces/tasks/{started['task_id']}")).json()
        return task if task["status"] in ("completed", "failed") else None

    task: dict[str, Any] = await eventually(ended, within_seconds=SYNC_SECONDS, why="the sync ends")
    return task


async def searched(api: Api, event: dict[str, Any], picture: bytes) -> httpx.Response:
    return await api.http.post(
        "/api/v1/faces/search", data={"event_uuid": event["uuid"]}, files={"file": ("me.jpg", picture)}
    )


async def people_are_named_and_told_apart(api: Api, event: dict[str, Any]) -> None:
    """The guest is on three photos; everybody else on one."""
    address = f"/api/v1/events/{event['uuid']}/people"

    async def all_found() -> list[dict[str, Any]] | None:
        people: list[dict[str, Any]] = (await api.http.get(address)).json()["people"]
        return people if [one["faces"] for one in people] == [3, 1, 1, 1, 1, 1, 1] else None

    guest, other, *_ = await eventually(all_found, within_seconds=60, why="everybody is found")
    stale = {"If-Match": f'"{guest["version"] + 1000}"'}
    named = await api.http.patch(f"{address}/{guest['id']}", json={"name": "Anna"})
    assert (named.status_code, named.json()["person"]["name"]) == (200, "Anna"), named.text
    assert (await api.http.patch(f"{address}/{guest['id']}", json={"name": "x"}, headers=stale)).status_code == 412
    shown = (await api.http.get(f"{address}/{guest['id']}")).json()
    async with httpx.AsyncClient(timeout=30) as anybody:
        assert (await anybody.get(shown["person"]["cover"]["preview_url"])).status_code == 200
    faces = [face["face_id"] for photo in shown["photos"] for face in photo["faces"]]
    split = await api.http.post(f"{address}/{guest['id']}/split", json={"faces": faces[:1]})
    assert (split.status_code, split.json()["person"]["faces"]) == (200, 1), split.text
    refused = await api.http.post(f"{address}/{other['id']}/split", json={"faces": faces[1:]})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    undone = await api.http.post(f"{address}/changes/{split.json()['change']['id']}/undo")
    assert (undone.status_code, undone.json()["person"]["faces"]) == (200, 3), undone.text
    merged = await api.http.post(f"{address}/merge", json={"into": other["id"], "from": [guest["id"]]})
    assert (merged.json()["person"]["name"], merged.json()["person"]["faces"]) == ("Anna", 4), merged.text
    on_photo = (
        await api.http.get(f"/api/v1/events/{event['uuid']}/photos/{shown['photos'][0]['photo_id']}/faces")
    ).json()
    assert other["id"] in {face["person_id"] for face in on_photo["faces"]}


async def an_uploaded_photo_is_found_without_a_sync(api: Api, event: dict[str, Any]) -> None:
    """Under a name of its own: the other one is taken, and its photo stays what it is."""
    content = portrait(1, 91, 640)
    answer = await api.http.post(f"/api/v1/events/{event['uuid']}/photos", files={"file": ("group.jpg", content)})
    assert (answer.status_code, answer.json()["filename"]) == (201, "group-2.jpg"), answer.text
    key = answer.json()["image_key"]

    async def listed() -> dict[str, Any] | None:
        photos = (await api.http.get(f"/api/v1/events/{event['uuid']}/photos")).json()["photos"]
        return next((photo for photo in photos if photo["image_key"] == key), None)

    photo = await eventually(listed, within_seconds=SYNC_SECONDS, why="the uploaded photo is listed")
    assert (photo["status"], photo["faces"]) == ("indexed", 1)
    matches = (await searched(api, event, portrait(1))).json()["matches"]
    assert photo["s3_key"] in {match["s3_key"] for match in matches}
    async with httpx.AsyncClient(timeout=30) as anybody:
        assert (await anybody.get(photo["image_url"])).content == content


async def test_a_guest_is_found_on_the_photos_of_an_event(
    system: System, object_store_server: ObjectStoreServer
) -> None:
    async with signed_in(system, system.services[1].base_url) as api, object_store_server.client() as bucket:
        made = await api.http.post("/api/v1/events", json={"name": "Wedding"})
        assert made.status_code == 201, made.text
        event = made.json()
        previews, originals = event["s3_prefix"], event["s3_prefix"].replace("previews", "originals")
        photos = {
            f"{previews}group.jpg": group(),
            f"{originals}group.jpg": group(1200),
            f"{previews}guest.jpg": portrait(1),
            f"{previews}stranger.jpg": portrait(6),
            f"{previews}table.jpg": nobody(),
            f"{originals}late.jpg": portrait(1, 95, 800),
        }
        for key, content in photos.items():
            await bucket.put_object(Bucket=BUCKET, Key=key, Body=content)
        task = await synced(api, event)
        assert (task["status"], task["message"]) == ("completed", "Successfully synced 5 new photos")
        counts = ("event_id", "total_found", "new_photos", "skipped", "no_face", "originals_missing", "previews_made")
        assert [task[name] for name in counts] == [event["id"], 5, 5, 0, 1, 3, 1]

        answer = await searched(api, event, portrait(1, quality=55))
        assert answer.status_code == 200, answer.text
        found = {match["s3_key"]: match for match in answer.json()["matches"]}
        assert found.keys() == {f"{previews}{name}" for name in ("group.jpg", "guest.jpg", "late.jpg")}
        async with httpx.AsyncClient(timeout=30) as anybody:
            together = found[f"{previews}group.jpg"]
            assert (await anybody.get(together["preview_url"])).content == photos[f"{previews}group.jpg"]
            assert (await anybody.get(together["image_url"])).content == photos[f"{originals}group.jpg"]
        assert found[f"{previews}guest.jpg"]["image_url"] is None

        assert (await searched(api, event, nobody())).status_code == 422
        assert (await synced(api, event))["skipped"] == 5
        await people_are_named_and_told_apart(api, event)

        # Gone with its photo, and refused with the event.
        photo_id = found[f"{previews}guest.jpg"]["photo_id"]
        removed = await api.http.delete(f"/api/v1/events/{event['uuid']}/photos/{photo_id}")
        assert removed.status_code == 204, removed.text
        left = (await searched(api, event, portrait(1))).json()["matches"]
        assert {match["s3_key"] for match in left} == found.keys() - {f"{previews}guest.jpg"}

        async def is_forgotten() -> bool:
            sql = "SELECT 1 FROM faces JOIN photos USING (photo_id) WHERE s3_key = $1"
            return not await system.rows("face-embedder", sql, f"{previews}guest.jpg")

        await eventually(is_forgotten, within_seconds=60, why="the faces of the removed photo are gone")
        await an_uploaded_photo_is_found_without_a_sync(api, event)
        assert (await api.http.delete(f"/api/v1/events/{event['uuid']}")).status_code == 204
        assert (await searched(api, event, portrait(1))).status_code == 404

        async def all_forgotten() -> bool:
            return not await system.rows("face-embedder", "SELECT 1 FROM faces")

        await eventually(all_forgotten, within_seconds=60, why="the faces of the deleted event are gone")
