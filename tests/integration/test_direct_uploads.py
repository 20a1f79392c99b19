"""Direct uploads on a real bucket, PostgreSQL and disk: what is announced, what may be sent, what becomes of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from deploy.local.object_store import ObjectStoreServer
from ingest_api.accounts import Role
from ingest_api.repositories.uploads import CommitInDoubt, UploadRepository
from shared.events import BucketObjectV1, ProcessImageV1
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable, Postponed
from shared.storage.errors import StoreUnavailable
from shared.testing.databases import TestDatabase
from shared.testing.pictures import photo_jpeg, png_with_alpha
from shared.testing.waiting import eventually
from tests.ingest_site import PICTURE, IngestSite, running_site

pytestmark = pytest.mark.stack

UPLOADS = "/api/admin/media/uploads"
JOBS = "/api/admin/media/jobs"
BUCKET = "mediabus"


def options(store: ObjectStoreServer, **changes: Any) -> dict[str, Any]:
    return {
        "s3_endpoint": store.endpoint,
        "s3_access_key": SecretStr(store.access_key),
        "s3_secret_key": SecretStr(store.secret_key),
    } | changes


@pytest.fixture
async def site(
    database: TestDatabase, object_store_server: ObjectStoreServer, tmp_path: Path
) -> AsyncIterator[IngestSite]:
    async with running_site(database, tmp_path / "media", **options(object_store_server)) as running:
        yield running


def announcement(content: bytes = PICTURE, **changes: Any) -> dict[str, Any]:
    whole = {
        "filename": "C:\\photos\\cup.jpg",
        "size": len(content),
        "contentType": "image/jpeg",
        "entityType": "product",
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


async def announced(site: IngestSite, content: bytes = PICTURE, **changes: Any) -> dict[str, Any]:
    answer = await site.api.post(UPLOADS, json=announcement(content, **changes))
    assert answer.status_code == 201, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


async def sent(accepted: dict[str, Any], content: bytes = PICTURE, content_type: str | None = None) -> int:
    """As a browser sends it; the length is that of what is sent."""
    upload = accepted["upload"]
    headers = {"Content-Type": content_type or upload["headers"]["Content-Type"]}
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.request(upload["method"], upload["url"], content=content, headers=headers)
    return answer.status_code


async def put(store: ObjectStoreServer, key: str, content: bytes) -> None:
    """By other ways than the presigned one."""
    async with store.client() as client:
        await client.put_object(Bucket=BUCKET, Key=key, Body=content)


def told(key: str, happened: Any = "created", bucket: str = BUCKET) -> BucketObjectV1:
    return BucketObjectV1(
        bucket=bucket,
        object_key=key,
        happened=happened,
        event_name="s3:ObjectCreated:Put",
        happened_at=datetime.now(UTC),
        told_by="webhook",
    )


def key_of(accepted: dict[str, Any]) -> str:
    return f"uploads/{accepted['jobId']}"


async def is_in_bucket(site: IngestSite, key: str) -> bool:
    assert site.stores.bucket is not None
    return await site.stores.bucket.stat(key) is not None


async def failed(site: IngestSite, accepted: dict[str, Any], code: str) -> str:
    """Check that the upload was refused, that nothing of it is left and that its uploader was told; why it was."""
    job = await site.job(accepted["jobId"])
    assert (job["status"], job["progress"], job["error"]["code"]) == ("failed", 0, code)
    assert not await is_in_bucket(site, key_of(accepted))
    assert site.staged_files() == []
    assert [await site.count(table) for table in ("media", "jobs", "outbox")] == [0, 0, 0]
    (notice,) = await site.rows.fetch("SELECT type, job_id, media_id, body::text FROM notices")
    assert (notice["type"], str(notice["job_id"]), str(notice["media_id"])) == (
        "media:processed",
        accepted["jobId"],
        accepted["mediaId"],
    )
    assert code in notice["body"]
    detail: str = job["error"]["detail"]
    return detail


# --- announced ------------------------------------------------------------------------------------------------------


async def test_an_announcement_is_a_waiting_job_and_a_place_to_send_to(site: IngestSite) -> None:
    accepted = await announced(site)
    assert set(accepted) == {"success", "status", "jobId", "mediaId", "upload", "message"}
    assert (accepted["success"], accepted["status"]) == (True, "waiting")
    upload = accepted["upload"]
    assert upload["method"] == "PUT"
    assert f"/{BUCKET}/{key_of(accepted)}?" in upload["url"]
    assert upload["headers"] == {"Content-Type": "image/jpeg", "Content-Length": str(len(PICTURE))}
    expires_in = datetime.fromisoformat(upload["expiresAt"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < expires_in <= timedelta(hours=24)
    job = await site.job(accepted["jobId"])
    assert job == {
        "jobId": accepted["jobId"],
        "status": "waiting",
        "progress": 0,
        "result": None,
        "error": None,
        "attempts": 0,
    }
    # Nothing is known of a medium before its file is there.
    assert (await site.api.get(f"/api/admin/media/{accepted['mediaId']}")).status_code == 404
    assert [await site.count(table) for table in ("media", "jobs", "outbox")] == [0, 0, 0]


async def test_lists_of_jobs_show_announced_ones_in_their_order(site: IngestSite) -> None:
    first = await announced(site)
    second = await site.uploaded()
    third = await announced(site)

    async def listed(**query: Any) -> list[str]:
        answer = await site.api.get(JOBS, params=query)
        return [job["jobId"] for job in answer.json()["jobs"]]

    newest = [third["jobId"], second["jobId"], first["jobId"]]
    assert await listed() == await listed(status="waiting") == newest
    page = (await site.api.get(JOBS, params={"limit": 2})).json()
    assert [job["jobId"] for job in page["jobs"]] == newest[:2]
    assert await listed(cursor=page["nextCursor"]) == newest[2:]
    assert await listed(status="completed") == []


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"filename": None}, {"filename"}),
        ({"filename": "  "}, {"filename"}),
        ({"size": None}, {"size"}),
        ({"size": 0}, {"size"}),
        ({"size": -5}, {"size"}),
        ({"size": "many"}, {"size"}),
        ({"contentType": None}, {"contentType"}),
        ({"entityType": None}, {"entityType"}),
        ({"entityType": "1!"}, {"entityType"}),
        ({"storageStrategy": "nowhere"}, {"storageStrategy"}),
        ({"sha256": "abc"}, {"sha256"}),
        ({"alt": "x" * 3000, "size": 0, "entityType": ""}, {"alt", "size", "entityType"}),
        ({"title": "a\0b"}, {"title"}),
    ],
)
async def test_wrong_fields_are_named_at_once(site: IngestSite, changes: dict[str, Any], fields: set[str]) -> None:
    answer = await site.api.post(UPLOADS, json=announcement(**changes))
    assert (answer.status_code, {error["field"] for error in answer.json()["errors"]}) == (422, fields)
    assert await site.count("direct_uploads") == 0


async def test_what_would_be_refused_later_is_refused_at_once(site: IngestSite) -> None:
    limit_bytes = 50 * 1024 * 1024
    answer = await site.api.post(UPLOADS, json=announcement(size=limit_bytes + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    for content_type in ("image/svg+xml", "text/plain", "application/octet-stream", ""):
        answer = await site.api.post(UPLOADS, json=announcement(contentType=content_type))
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert (await site.api.post(UPLOADS, json=announcement(size=limit_bytes))).status_code == 201


async def test_without_a_bucket_there_is_nowhere_to_send_to(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media") as site:
        answer = await site.api.post(UPLOADS, json=announcement())
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_admins_may_announce_and_photographers_may_not(site: IngestSite) -> None:
    for role, status in ((Role.ADMIN, 201), (Role.PHOTOGRAPHER, 403)):
        headers = {"Authorization": f"Bearer {await site.key_of(role)}"}
        assert (await site.api.post(UPLOADS, json=announcement(), headers=headers)).status_code == status


async def test_one_idempotency_key_is_one_announcement(site: IngestSite) -> None:
    headers = {"Idempotency-Key": "order 66"}

    async def announce(**changes: Any) -> httpx.Response:
        return await site.api.post(UPLOADS, json=announcement(**changes), headers=headers)

    answers = [answer.json() for answer in await asyncio.gather(*(announce() for _ in range(3)))]
    first = answers[0]
    same = ("jobId", "mediaId", "status", "message")
    assert all([answer[name] for name in same] == [first[name] for name in same] for answer in answers)
    assert {answer["upload"]["expiresAt"] for answer in answers} == {first["upload"]["expiresAt"]}
    assert await site.count("direct_uploads") == 1
    # How it is said makes no difference, what is said does.
    assert (await announce(contentType="IMAGE/jpeg", filename="cup.jpg")).json()["jobId"] == first["jobId"]
    for changes in ({"size": 5}, {"filename": "b.jpg"}, {"sha256": "0" * 64}, {"alt": "A cup"}, {"entityId": "7"}):
        refused = await announce(**changes)
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")
    # An upload under the same key is another thing, and somebody else's key is another key.
    upload = await site.api.post(
        "/api/admin/media", data={"entityType": "product"}, files={"file": ("cup.jpg", PICTURE)}, headers=headers
    )
    assert (upload.status_code, upload.json()["code"]) == (409, "idempotency_conflict")
    elses = headers | {"Authorization": f"Bearer {await site.key_of(Role.ADMIN)}"}
    other = await site.api.post(UPLOADS, json=announcement(), headers=elses)
    assert (other.status_code, other.json()["jobId"] == first["jobId"]) == (201, False)

    # Any of the addresses takes the file, and then none is given out any more.
    assert await sent(answers[-1]) == 200
    await site.handlers.deliver(told(key_of(first)))
    again = await announce()
    assert (again.status_code, again.json()["jobId"]) == (201, first["jobId"])
    assert (again.json()["success"], again.json()["status"], again.json()["upload"]) == (True, "received", None)


async def test_a_repeated_announcement_is_told_of_its_end(site: IngestSite) -> None:
    headers = {"Idempotency-Key": "a"}
    first = (await site.api.post(UPLOADS, json=announcement(), headers=headers)).json()
    await site.rows.execute("UPDATE direct_uploads SET expires_at = clock_timestamp()")
    late = (await site.api.post(UPLOADS, json=announcement(), headers=headers)).json()
    assert (late["jobId"], late["status"], late["upload"]) == (first["jobId"], "waiting", None)
    await site.rows.execute("UPDATE direct_uploads SET status = 'failed', finished_at = clock_timestamp()")
    ended = (await site.api.post(UPLOADS, json=announcement(), headers=headers)).json()
    assert (ended["jobId"], ended["success"], ended["status"]) == (first["jobId"], False, "failed")
    await site.rows.execute("DELETE FROM direct_uploads")
    over = await site.api.post(UPLOADS, json=announcement(), headers=headers)
    assert (over.status_code, over.json()["code"]) == (409, "idempotency_conflict")
    for key in ("", "x" * 256, "a\tb"):
        wrong = await site.api.post(UPLOADS, json=announcement(), headers={"Idempotency-Key": key})
        assert [error["field"] for error in wrong.json()["errors"]] == ["Idempotency-Key"]


async def test_a_repeated_announcement_takes_no_place_of_others(
    database: TestDatabase, object_store_server: ObjectStoreServer, tmp_path: Path
) -> None:
    changes = options(object_store_server, direct_uploads_waiting=1)
    async with running_site(database, tmp_path / "media", **changes) as site:
        answers = [
            await site.api.post(UPLOADS, json=announcement(), headers={"Idempotency-Key": key})
            for key in ("a", "a", "b")
        ]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        # The refused one has claimed nothing.
        await site.rows.execute("DELETE FROM direct_uploads")
        last = await site.api.post(UPLOADS, json=announcement(size=9), headers={"Idempotency-Key": "b"})
        assert last.status_code == 201


async def test_what_is_announced_and_not_sent_is_bounded(
    database: TestDatabase, object_store_server: ObjectStoreServer, tmp_path: Path
) -> None:
    changes = options(object_store_server, direct_uploads_waiting=2)
    async with running_site(database, tmp_path / "media", **changes) as site:
        first = await announced(site)
        await announced(site)
        answer = await site.api.post(UPLOADS, json=announcement())
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_uploads")
        assert await sent(first) == 200
        await site.handlers.deliver(told(key_of(first)))
        await announced(site)


# --- sent -----------------------------------------------------------------------------------------------------------


async def test_the_store_takes_only_what_was_announced(site: IngestSite) -> None:
    accepted = await announced(site)
    assert await sent(accepted, content_type="text/html") == 403
    assert await sent(accepted, PICTURE + b"x") == 403
    assert await sent(accepted, PICTURE[:-1]) == 403
    assert not await is_in_bucket(site, key_of(accepted))
    assert await sent(accepted) == 200


async def test_a_file_that_arrived_is_a_job_like_any_other(site: IngestSite) -> None:
    digest = hashlib.sha256(PICTURE).hexdigest()
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = await site.api.post(
        UPLOADS,
        json=announcement(sha256=digest.upper(), entityId="42", alt="a cup", title="Cup", storageStrategy="local_only"),
        headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"},
    )
    accepted = answer.json()
    assert await sent(accepted) == 200
    assert await site.handlers.deliver(told(key_of(accepted)))

    assert (await site.job(accepted["jobId"]))["status"] == "waiting"
    record = (await site.api.get(f"/api/admin/media/{accepted['mediaId']}")).json()
    assert (record["sha256"], record["sizeBytes"], record["mimeType"]) == (digest, len(PICTURE), "image/jpeg")
    assert (record["filename"], record["entityType"], record["entityId"]) == ("cup.jpg", "product", "42")
    assert (record["alt"], record["title"], record["uploadedBy"]) == ("a cup", "Cup", str(site.user_id))
    rows = await site.rows.fetch("SELECT topic, key, payload, traceparent FROM outbox ORDER BY id")
    assert [row["topic"] for row in rows] == ["media.events", "image.process"]
    assert {row["key"] for row in rows} == {accepted["mediaId"]}
    # The trace is that of the announcement: the store knows of none.
    assert {row["traceparent"].split("-")[1] for row in rows} == {trace_id}
    command = ProcessImageV1.model_validate_json(rows[1]["payload"])
    assert (str(command.job_id), command.sha256, command.storage_strategy) == (accepted["jobId"], digest, "local_only")
    (staged,) = site.staged_files()
    assert staged == site.settings.media_root / command.staging_key
    assert staged.read_bytes() == PICTURE
    assert not await is_in_bucket(site, key_of(accepted))
    (listed,) = (await site.api.get(JOBS)).json()["jobs"]
    assert listed["jobId"] == accepted["jobId"]


async def test_the_bytes_tell_the_type_as_of_any_upload(site: IngestSite) -> None:
    content = png_with_alpha()
    accepted = await announced(site, content)
    assert await sent(accepted, content) == 200
    await site.handlers.deliver(told(key_of(accepted)))
    assert (await site.api.get(f"/api/admin/media/{accepted['mediaId']}")).json()["mimeType"] == "image/png"


async def test_a_file_of_several_chunks_arrives_whole(site: IngestSite) -> None:
    content = photo_jpeg(64, 48) + bytes(range(256)) * 12_000
    accepted = await announced(site, content, sha256=hashlib.sha256(content).hexdigest())
    assert await sent(accepted, content) == 200
    await site.handlers.deliver(told(key_of(accepted)))
    assert [path.read_bytes() for path in site.staged_files()] == [content]


# --- told twice, late, of nothing -----------------------------------------------------------------------------------


async def test_it_is_told_twice_and_done_once(site: IngestSite) -> None:
    accepted = await announced(site)
    assert await sent(accepted) == 200
    event, event_id = told(key_of(accepted)), new_id()
    assert await site.handlers.deliver(event, event_id=event_id)
    assert not await site.handlers.deliver(event, event_id=event_id)
    # The sweep tells of it under another id.
    await site.handlers.deliver(event)
    assert [await site.count(table) for table in ("media", "jobs", "outbox")] == [1, 1, 2]
    assert len(site.staged_files()) == 1


async def test_many_that_hear_of_it_at_once_make_one_job(site: IngestSite) -> None:
    """Whoever comes too late removes the file that it staged itself, and not that of the job."""
    accepted = await announced(site)
    assert await sent(accepted) == 200
    same_id = new_id()
    event = told(key_of(accepted))
    ids = [same_id, same_id, same_id, new_id(), new_id()]
    await asyncio.gather(*(site.handlers.deliver(event, event_id=event_id) for event_id in ids))
    assert [await site.count(table) for table in ("media", "jobs", "outbox")] == [1, 1, 2]
    (staged,) = site.staged_files()
    assert str(staged.relative_to(site.settings.media_root)) == await site.rows.fetchval("SELECT staging_key FROM jobs")
    assert not await is_in_bucket(site, key_of(accepted))


async def test_a_hint_without_an_object_changes_nothing(site: IngestSite) -> None:
    accepted = await announced(site)
    await site.handlers.deliver(told(key_of(accepted)))
    await site.handlers.deliver(told(key_of(accepted), "removed"))
    assert (await site.job(accepted["jobId"]))["status"] == "waiting"
    assert await sent(accepted) == 200
    await site.handlers.deliver(told(key_of(accepted)))
    assert await site.count("jobs") == 1


async def test_what_is_sent_once_more_is_removed_and_changes_nothing(site: IngestSite) -> None:
    accepted = await announced(site)
    for _ in range(2):
        assert await sent(accepted) == 200
        await site.handlers.deliver(told(key_of(accepted)))
        assert not await is_in_bucket(site, key_of(accepted))
    assert await site.count("jobs") == 1
    assert len(site.staged_files()) == 1


@pytest.mark.parametrize("form", ["{id}", "cup.jpg", "../x", "{ID}", "{id}/x"])
async def test_what_nobody_announced_is_reported_and_left_alone(
    site: IngestSite, object_store_server: ObjectStoreServer, form: str
) -> None:
    upload_id = str(new_id())
    name = form.format(id=upload_id, ID=upload_id.upper())

    def reported() -> float:
        return REGISTRY.get_sample_value("mediabus_bucket_objects_unknown_total", {"prefix": "uploads/"}) or 0.0

    before = reported()
    event, event_id = told(f"uploads/{name}"), new_id()
    for _ in range(2):
        await site.handlers.deliver(event, event_id=event_id)
    assert reported() == before + 1
    if ".." not in name:
        await put(object_store_server, f"uploads/{name}", b"x")
        await site.handlers.deliver(told(f"uploads/{name}"))
        assert await is_in_bucket(site, f"uploads/{name}")
        assert site.stores.bucket is not None
        await site.stores.bucket.delete(f"uploads/{name}")


async def test_other_buckets_and_prefixes_are_passed_over(site: IngestSite) -> None:
    accepted = await announced(site)
    assert await sent(accepted) == 200
    await site.handlers.deliver(told(key_of(accepted), bucket="elsewhere"))
    await site.handlers.deliver(told(f"staging/{accepted['jobId']}"))
    await site.handlers.deliver(told(f"media/{accepted['jobId']}"))
    assert await site.count("jobs") == 0
    assert await site.count("inbox") == 0


# --- refused --------------------------------------------------------------------------------------------------------


async def test_another_size_than_announced_is_refused(site: IngestSite, object_store_server: ObjectStoreServer) -> None:
    for content in (PICTURE + b"x", PICTURE[:-1], b""):
        accepted = await announced(site)
        await put(object_store_server, key_of(accepted), content)
        await site.handlers.deliver(told(key_of(accepted)))
        detail = await failed(site, accepted, "upload_size_differs")
        assert str(len(content)) in detail
        assert str(len(PICTURE)) in detail
        await site.rows.execute("DELETE FROM notices")


async def test_another_file_than_announced_is_refused(site: IngestSite) -> None:
    other = photo_jpeg(64, 48, seed=1)
    content = other + bytes(max(0, len(PICTURE) - len(other)))
    accepted = await announced(site, content, sha256=hashlib.sha256(PICTURE).hexdigest())
    assert await sent(accepted, content) == 200
    await site.handlers.deliver(told(key_of(accepted)))
    assert hashlib.sha256(content).hexdigest() in await failed(site, accepted, "upload_checksum_differs")


@pytest.mark.parametrize("content", [b"plain text", b"x" * 300_000, b"<svg/>"])
async def test_what_is_no_picture_is_refused(site: IngestSite, content: bytes) -> None:
    accepted = await announced(site, content)
    assert await sent(accepted, content) == 200
    event, event_id = told(key_of(accepted)), new_id()
    assert await site.handlers.deliver(event, event_id=event_id)
    await failed(site, accepted, "upload_no_picture")
    assert not await site.handlers.deliver(event, event_id=event_id)


async def test_what_was_refused_stays_so_and_can_only_be_announced_anew(site: IngestSite) -> None:
    accepted = await announced(site, b"text")
    assert await sent(accepted, b"text") == 200
    await site.handlers.deliver(told(key_of(accepted)))
    assert await sent(accepted, b"text") == 200
    await site.handlers.deliver(told(key_of(accepted)))
    await failed(site, accepted, "upload_no_picture")
    (listed,) = (await site.api.get(JOBS, params={"status": "failed"})).json()["jobs"]
    assert listed["jobId"] == accepted["jobId"]
    answer = await site.api.post(f"{JOBS}/{accepted['jobId']}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_not_retryable")


# --- when something is away -----------------------------------------------------------------------------------------


async def test_while_the_bucket_is_away_the_message_waits(site: IngestSite) -> None:
    accepted = await announced(site)
    assert await sent(accepted) == 200
    assert site.stores.bucket is not None
    here = site.stores.bucket.settings
    await site.stores.bucket.move_to(here.at("http://127.0.0.1:9", here.bucket, here.region))
    event, event_id = told(key_of(accepted)), new_id()
    with pytest.raises(Postponed, match="bucket_away"):
        await site.handlers.deliver(event, event_id=event_id)
    await site.stores.bucket.move_to(here)
    assert await site.handlers.deliver(event, event_id=event_id)
    assert await site.count("jobs") == 1


@pytest.mark.parametrize("is_committed", [True, False])
async def test_an_answer_that_was_lost_costs_no_file_that_a_job_needs(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    """Whether the transaction took effect is unknown: the file stays until it is known whether there is a job."""
    accepted = await announced(site)
    assert await sent(accepted) == 200
    recorded = UploadRepository.record

    async def lose(self: UploadRepository, *arguments: Any) -> bool:
        if is_committed:
            await recorded(self, *arguments)
            await self._connection.execute("COMMIT")
        raise CommitInDoubt("postgresql", "lost")

    monkeypatch.setattr(UploadRepository, "record", lose)
    event, event_id = told(key_of(accepted)), new_id()
    with pytest.raises(InfrastructureUnavailable):
        await site.handlers.deliver(event, event_id=event_id)
    monkeypatch.undo()
    assert len(site.staged_files()) == 1

    # The message comes again, as it was never acknowledged.
    assert await site.handlers.deliver(event, event_id=event_id) is not is_committed
    await site.sweep.resolve_doubts(older_than_seconds=0)
    needed = await site.rows.fetchval("SELECT staging_key FROM jobs")
    assert site.staged_files() == [site.settings.media_root / needed]
    assert await site.count("jobs") == 1


async def test_an_object_that_could_not_be_removed_is_removed_later(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = await announced(site)
    assert await sent(accepted) == 200
    assert site.stores.bucket is not None

    async def away(_: str) -> None:
        raise StoreUnavailable("s3", "gone for a moment")

    with monkeypatch.context() as patched:
        patched.setattr(site.stores.bucket, "delete", away)
        assert await site.handlers.deliver(told(key_of(accepted)))
        await site.direct_upload_sweep.sweep_once()
    assert await site.count("jobs") == 1
    assert await is_in_bucket(site, key_of(accepted))
    await site.direct_upload_sweep.sweep_once()
    assert not await is_in_bucket(site, key_of(accepted))


# --- never told, never sent -----------------------------------------------------------------------------------------


async def expire(site: IngestSite, accepted: dict[str, Any], *, ago_seconds: float) -> None:
    await site.rows.execute(
        "UPDATE direct_uploads SET expires_at = clock_timestamp() - make_interval(secs => $2) WHERE id = $1",
        UUID(accepted["jobId"]),
        ago_seconds,
    )


async def test_what_is_never_sent_expires_with_a_reason(site: IngestSite) -> None:
    accepted = await announced(site)
    await site.direct_upload_sweep.sweep_once()
    # A file that was begun in time may still be under way.
    await expire(site, accepted, ago_seconds=site.settings.direct_upload_under_way_seconds - 60)
    await site.direct_upload_sweep.sweep_once()
    assert (await site.job(accepted["jobId"]))["status"] == "waiting"
    await expire(site, accepted, ago_seconds=site.settings.direct_upload_under_way_seconds + 1)
    await site.direct_upload_sweep.sweep_once()
    assert "was not sent before" in await failed(site, accepted, "upload_expired")


async def test_what_was_sent_and_never_told_of_is_taken_all_the_same(site: IngestSite) -> None:
    accepted = await announced(site)
    assert await sent(accepted) == 200
    await expire(site, accepted, ago_seconds=site.settings.direct_upload_under_way_seconds + 1)
    await site.direct_upload_sweep.sweep_once()
    assert await site.count("jobs") == 1
    assert (await site.job(accepted["jobId"]))["status"] == "waiting"
    assert not await is_in_bucket(site, key_of(accepted))


async def test_two_sweeps_and_a_message_at_once_end_it_once(site: IngestSite) -> None:
    accepted = await announced(site)
    assert await sent(accepted) == 200
    await expire(site, accepted, ago_seconds=site.settings.direct_upload_under_way_seconds + 1)
    sweep = site.direct_upload_sweep
    await asyncio.gather(sweep.sweep_once(), sweep.sweep_once(), site.handlers.deliver(told(key_of(accepted))))
    assert [await site.count(table) for table in ("media", "jobs", "outbox", "notices")] == [1, 1, 2, 0]
    assert len(site.staged_files()) == 1


async def test_rows_go_when_nothing_can_come_any_more(
    database: TestDatabase, object_store_server: ObjectStoreServer, tmp_path: Path
) -> None:
    changes = options(object_store_server, failed_jobs_kept_seconds=0.01)
    async with running_site(database, tmp_path / "media", **changes) as site:
        accepted = await announced(site)
        assert await sent(accepted) == 200
        await site.handlers.deliver(told(key_of(accepted)))
        await site.direct_upload_sweep.sweep_once()
        # The address is still valid: what is sent to it has to be known as already received.
        assert await site.count("direct_uploads") == 1
        await expire(site, accepted, ago_seconds=1)

        async def gone() -> bool:
            await site.direct_upload_sweep.sweep_once()
            return await site.count("direct_uploads") == 0

        await eventually(gone, why="the row is gone")
        assert await site.count("jobs") == 1
