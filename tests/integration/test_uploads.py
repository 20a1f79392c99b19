"""Uploads over HTTP on a real PostgreSQL and disk: every answer, and that nothing is left of what was refused."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deploy.local.object_store import ObjectStoreServer
from ingest_api.accounts import Role
from ingest_api.multipart_upload import ENVELOPE_BYTES
from shared.events import ImageFailedV1, ImageProcessedV1, ProcessImageV1
from shared.identifiers import new_id
from shared.storage.errors import InsufficientSpace
from shared.storage.staging import BATCH_BYTES
from shared.testing.databases import TestDatabase
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.ingest_site import PICTURE, UPLOADS, IngestSite, bucket_settings, running_site
from tests.outcomes import failed, processed

pytestmark = pytest.mark.stack

BOUNDARY = "frontier"
FIELDS = {"success", "status", "jobId", "mediaId", "message"}


@pytest.fixture
async def site(database: TestDatabase, tmp_path: Path) -> AsyncIterator[IngestSite]:
    async with running_site(database, tmp_path / "media") as running:
        yield running


def multipart(content: bytes, fields: dict[str, str] | None = None) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in ({"entityType": "product"} if fields is None else fields).items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="p.jpg"\r\n\r\n'.encode()
    return b"".join(parts) + head + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def request_head(site: IngestSite, content_length: int | None) -> bytes:
    length = "Transfer-Encoding: chunked" if content_length is None else f"Content-Length: {content_length}"
    lines = (
        f"POST {UPLOADS} HTTP/1.1",
        f"Host: 127.0.0.1:{site.port}",
        f"Authorization: Bearer {site.key}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        length,
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def raw(site: IngestSite) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", site.port)


async def status_line(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(20):
        return int((await reader.readline()).split()[1])


async def nothing_is_left(site: IngestSite) -> None:
    await eventually(lambda: not site.staged_files(), why="no file is left")
    assert [await site.count(table) for table in ("media", "jobs", "outbox")] == [0, 0, 0]


async def outbox(site: IngestSite) -> list[asyncpg.Record]:
    return await site.rows.fetch("SELECT topic, key, headers, payload, traceparent FROM outbox ORDER BY id")


# --- taken in ------------------------------------------------------------------------------------------------------


async def test_an_upload_is_media_job_command_and_fact(site: IngestSite) -> None:
    accepted = await site.uploaded(entityId="42", alt="a cup", title="Cup", storageStrategy="local_only")
    assert set(accepted) == FIELDS
    assert (accepted["success"], accepted["status"]) == (True, "processing")

    record = (await site.api.get(f"{UPLOADS}/{accepted['mediaId']}")).json()
    digest = hashlib.sha256(PICTURE).hexdigest()
    assert record["sha256"] == digest
    assert (record["sizeBytes"], record["mimeType"], record["filename"]) == (len(PICTURE), "image/jpeg", "p.jpg")
    assert (record["entityType"], record["entityId"], record["alt"], record["title"]) == (
        "product",
        "42",
        "a cup",
        "Cup",
    )
    assert record["uploadedBy"] == str(site.user_id)
    assert (record["storageStatus"], record["variants"], record["urls"]) == ("pending", [], {})
    assert set(record) == {
        *("id", "filename", "mimeType", "sizeBytes", "sha256", "width", "height", "entityType", "entityId"),
        *("uploadedBy", "alt", "title", "localPath", "s3Key", "storageStatus", "variants", "urls"),
        *("createdAt", "deletedAt"),
    }
    job = await site.job(accepted["jobId"])
    assert job == {
        "jobId": accepted["jobId"],
        "status": "waiting",
        "progress": 0,
        "result": None,
        "error": None,
        "attempts": 0,
    }

    rows = await outbox(site)
    assert [row["topic"] for row in rows] == ["media.events", "image.process"]
    assert {row["key"] for row in rows} == {accepted["mediaId"]}
    assert all(row["traceparent"] for row in rows)
    command = ProcessImageV1.model_validate_json(rows[1]["payload"])
    assert (str(command.job_id), command.sha256, command.revision) == (accepted["jobId"], digest, 1)
    assert command.storage_strategy == "local_only"
    staged = site.settings.media_root / command.staging_key
    assert staged.read_bytes() == PICTURE
    assert site.staged_files() == [staged]


async def test_fields_may_follow_the_file(site: IngestSite) -> None:
    file_first = multipart(PICTURE, {}).replace(f"--{BOUNDARY}--".encode(), b"")
    body = file_first + multipart(b"", {"entityType": "event"}).split(b'name="file"')[0]
    body = body[: body.rindex(f"--{BOUNDARY}".encode())] + f"--{BOUNDARY}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = await site.api.post(UPLOADS, content=body, headers=headers)
    assert answer.status_code == 202, answer.text


async def test_a_chunked_body_of_unknown_length_is_taken(site: IngestSite) -> None:
    body = multipart(PICTURE)

    async def trickle() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 100):
            yield body[at : at + 100]

    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = await site.api.post(UPLOADS, content=trickle(), headers=headers)
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    ("filename", "shown"),
    [("../../../etc/passwd", "passwd"), ("..\\..\\boot.ini", "boot.ini"), ("Zoë – дом 🖼.jpg", "Zoë – дом 🖼.jpg")],
)
async def test_a_file_name_is_data_and_never_a_path(site: IngestSite, filename: str, shown: str) -> None:
    accepted = await site.uploaded(filename=filename)
    record = (await site.api.get(f"{UPLOADS}/{accepted['mediaId']}")).json()
    assert record["filename"] == shown
    assert [path.name for path in site.staged_files()] == [accepted["jobId"]]


async def test_admins_and_their_keys_may_upload_photographers_may_not(site: IngestSite) -> None:
    for role, status in ((Role.ADMIN, 202), (Role.PHOTOGRAPHER, 403)):
        headers = {"Authorization": f"Bearer {await site.key_of(role)}"}
        assert (await site.upload(headers=headers)).status_code == status
    assert (await site.upload(headers={"Authorization": "Bearer mb_no_key"})).status_code == 401


async def test_the_trace_of_the_caller_goes_on_in_the_outbox(site: IngestSite) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    await site.uploaded(headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"})
    assert {row["traceparent"].split("-")[1] for row in await outbox(site)} == {trace_id}


async def test_the_api_description_tells_of_the_form(site: IngestSite) -> None:
    description = (await site.api.get("/docs/openapi.json")).json()
    described = description["paths"][UPLOADS]["post"]
    form = described["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file", "entityType"]
    assert set(form["properties"]) == {"file", "entityType", "entityId", "alt", "title", "storageStrategy"}
    assert {parameter["name"] for parameter in described["parameters"]} == {"Idempotency-Key", "Prefer"}
    fields = {"200": FIELDS | {"result", "error"}, "202": FIELDS}
    assert set(described["responses"]) == {*fields, "default"}
    for status, expected in fields.items():
        name = described["responses"][status]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert set(description["components"]["schemas"][name]["properties"]) == expected


# --- refused -------------------------------------------------------------------------------------------------------


async def test_missing_fields_are_named(site: IngestSite) -> None:
    answer = await site.upload(entityType=None)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["entityType"]
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    only_text = multipart(b"").split(b'; name="file"')[0] + f'; name="alt"\r\n\r\nx\r\n--{BOUNDARY}--\r\n'.encode()
    answer = await site.api.post(UPLOADS, content=only_text, headers=headers)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["file"])
    await nothing_is_left(site)


async def test_an_empty_file_is_422(site: IngestSite) -> None:
    answer = await site.upload(b"")
    assert (answer.status_code, answer.json()["code"]) == (422, "empty_file")
    await nothing_is_left(site)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jpg", PICTURE)
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"plain text", b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", zipped()])
async def test_what_is_no_picture_is_415(site: IngestSite, content: bytes) -> None:
    answer = await site.upload(content, filename="picture.jpg")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert answer.headers["content-type"] == "application/problem+json"
    await nothing_is_left(site)


async def test_malformed_bodies_are_400_and_other_types_415(site: IngestSite) -> None:
    async def post(content_type: str | None, content: bytes = b"whatever") -> int:
        headers = {} if content_type is None else {"Content-Type": content_type}
        return (await site.api.post(UPLOADS, content=content, headers=headers)).status_code

    assert await post("multipart/form-data") == 400
    assert await post(f"multipart/form-data; boundary={BOUNDARY}") == 400
    assert await post(f"multipart/form-data; boundary={BOUNDARY}", multipart(PICTURE)[:-20]) == 400
    assert await post("application/json", b"{}") == 415
    assert await post(None) == 415
    await nothing_is_left(site)


async def test_one_byte_more_than_the_limit_is_413(database: TestDatabase, tmp_path: Path) -> None:
    limit_bytes = 2_000_000
    async with running_site(database, tmp_path / "media", upload_limit_bytes=limit_bytes) as site:
        just_fits = PICTURE + bytes(limit_bytes - len(PICTURE))
        answer = await site.upload(just_fits + b"x")
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        await nothing_is_left(site)
        assert (await site.upload(just_fits)).status_code == 202


async def test_the_default_limit_is_50_mebibytes(site: IngestSite) -> None:
    answer = await site.upload(PICTURE + bytes(50 * 1024 * 1024 + 1 - len(PICTURE)))
    assert answer.status_code == 413
    await nothing_is_left(site)


async def test_a_claimed_length_beyond_the_limit_is_refused_before_the_body(site: IngestSite) -> None:
    reader, writer = await raw(site)
    writer.write(request_head(site, 50 * 1024 * 1024 + ENVELOPE_BYTES + 1))
    writer.write(multipart(PICTURE)[:500])
    assert await status_line(reader) == 413
    writer.close()
    await nothing_is_left(site)


async def test_a_client_that_asks_first_is_refused_at_once(site: IngestSite) -> None:
    reader, writer = await raw(site)
    head = request_head(site, 10**12).removesuffix(b"\r\n")
    # Nobody sends the body, so an answer that waited for it would be another one.
    writer.write(head + b"Expect: 100-continue\r\n\r\n")
    assert await status_line(reader) == 413
    writer.close()


async def test_an_endless_chunked_body_is_cut(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media", upload_limit_bytes=500_000) as site:
        reader, writer = await raw(site)
        writer.write(request_head(site, None))
        first = multipart(PICTURE)[:-20]
        writer.write(f"{len(first):x}\r\n".encode() + first + b"\r\n")

        async def send_for_ever() -> None:
            block = bytes(100_000)
            while True:
                writer.write(f"{len(block):x}\r\n".encode() + block + b"\r\n")
                await writer.drain()

        sending = asyncio.create_task(send_for_ever())
        assert await status_line(reader) == 413
        async with asyncio.timeout(20):
            await asyncio.wait([sending])
        assert isinstance(sending.exception(), ConnectionError), "the connection was closed"
        writer.close()
        await nothing_is_left(site)


async def test_a_client_that_vanishes_leaves_nothing(site: IngestSite) -> None:
    body = multipart(photo_jpeg(900, 700) + bytes(2_000_000))
    for sent_bytes in (10, 300, 1_500_000, len(body) - 3):
        _, writer = await raw(site)
        writer.write(request_head(site, len(body)) + body[:sent_bytes])
        await writer.drain()
        if sent_bytes > BATCH_BYTES:
            await eventually(site.staged_files, why="the upload is on its way")
        writer.transport.abort()
        await nothing_is_left(site)


async def test_a_silent_client_is_408_and_leaves_nothing(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media", upload_idle_seconds=0.3) as site:
        body = multipart(PICTURE + bytes(600_000))
        reader, writer = await raw(site)
        writer.write(request_head(site, len(body)) + body[:-100])
        assert await status_line(reader) == 408
        writer.close()
        await nothing_is_left(site)


async def test_a_trickling_client_is_408(database: TestDatabase, tmp_path: Path) -> None:
    slow = {"upload_idle_seconds": 0.5, "upload_slowest_bytes_per_second": 1_000_000}
    async with running_site(database, tmp_path / "media", **slow) as site:
        body = multipart(PICTURE)
        reader, writer = await raw(site)
        writer.write(request_head(site, len(body)))

        async def trickle() -> None:
            for at in range(len(body)):
                writer.write(body[at : at + 1])
                await asyncio.sleep(0.1)

        trickling = asyncio.create_task(trickle())
        assert await status_line(reader) == 408
        assert not trickling.done(), "it was not waited for"
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)
        writer.close()


async def test_a_full_disk_is_507(site: IngestSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise InsufficientSpace("disk", "No space left on device")

    monkeypatch.setattr("shared.storage.atomic_file.AtomicFile.write", full)
    answer = await site.upload()
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert int(answer.headers["retry-after"]) > 0
    monkeypatch.undo()
    await nothing_is_left(site)


async def test_a_transaction_that_fails_takes_the_file_with_it(site: IngestSite) -> None:
    await site.rows.execute("ALTER TABLE outbox ADD CONSTRAINT refuse CHECK (topic <> 'image.process')")
    answer = await site.upload()
    assert answer.status_code == 500
    await nothing_is_left(site)


# --- when PostgreSQL is away ---------------------------------------------------------------------------------------


async def test_without_a_database_connection_503_and_no_file(site: IngestSite, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.uploaded()
    await site.rows.execute("DELETE FROM outbox")
    await site.rows.execute("DELETE FROM media")
    for path in site.staged_files():
        path.unlink()
    await site.database.close()
    monkeypatch.setattr(site.database, "dsn", "postgresql://nobody@127.0.0.1:9/nowhere")
    answer = await site.upload()
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    await nothing_is_left(site)


async def test_an_answer_that_was_lost_costs_no_file_that_a_job_needs(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after the statement was sent: the file stays until it is known whether there is a job."""
    from ingest_api.repositories.uploads import UploadRepository

    recorded = UploadRepository._record

    async def commit_and_lose_the_answer(self: UploadRepository, *arguments: Any) -> bool:
        await recorded(self, *arguments)
        raise ConnectionResetError("lost")

    async def lose_the_statement(self: UploadRepository, *arguments: Any) -> bool:
        raise ConnectionResetError("lost")

    monkeypatch.setattr(UploadRepository, "_record", commit_and_lose_the_answer)
    assert (await site.upload()).status_code == 503
    monkeypatch.setattr(UploadRepository, "_record", lose_the_statement)
    assert (await site.upload()).status_code == 503
    assert len(site.staged_files()) == 2

    await site.sweep.resolve_doubts(older_than_seconds=0)
    needed = await site.rows.fetchval("SELECT staging_key FROM jobs")
    assert site.staged_files() == [site.settings.media_root / needed]


async def test_a_connection_that_the_pool_took_back_leaves_an_upload_in_doubt(site: IngestSite) -> None:
    """Asking such a connection whether it is closed is an error of its own, which must not hide the doubt."""
    from ingest_api.repositories.uploads import CommitInDoubt, UploadRepository

    async with site.database.connection() as connection:
        repository = UploadRepository(connection, "ingest")
    with pytest.raises(CommitInDoubt), repository._doubting():
        raise asyncpg.PostgresConnectionError("the server is gone")


async def test_orphans_are_swept_and_needed_files_stay(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media") as site:
        accepted = await site.uploaded()
        staging = site.settings.media_root / "staging"
        (staging / str(new_id())).write_bytes(b"orphan")
        (staging / ".tmp-0123").write_bytes(b"unfinished")
        site.sweep._orphans_kept_seconds = -1
        await site.sweep.sweep()
        assert [path.name for path in site.staged_files()] == [accepted["jobId"]]


# --- Idempotency-Key -----------------------------------------------------------------------------------------------


async def test_the_same_key_and_bytes_give_the_same_job(site: IngestSite) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await site.uploaded(headers=headers)
    again = await site.uploaded(headers=headers)
    assert (again["jobId"], again["mediaId"]) == (first["jobId"], first["mediaId"])
    assert set(again) == FIELDS
    assert [await site.count(table) for table in ("media", "jobs", "outbox")] == [1, 1, 2]
    assert len(site.staged_files()) == 1


async def test_the_same_key_with_other_bytes_is_409(site: IngestSite) -> None:
    headers = {"Idempotency-Key": "k-1"}
    await site.uploaded(headers=headers)
    answer = await site.upload(photo_jpeg(32, 32), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert len(site.staged_files()) == 1


async def test_keys_belong_to_accounts(site: IngestSite) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await site.uploaded(headers=headers)
    other = await site.uploaded(headers=headers | {"Authorization": f"Bearer {await site.key_of(Role.ADMIN)}"})
    assert other["jobId"] != first["jobId"]


async def test_concurrent_duplicates_make_one_job(site: IngestSite) -> None:
    answers = await asyncio.gather(*(site.upload(headers={"Idempotency-Key": "race"}) for _ in range(12)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["jobId"] for answer in answers}) == 1
    assert [await site.count(table) for table in ("media", "jobs", "outbox")] == [1, 1, 2]
    await eventually(lambda: len(site.staged_files()) == 1)


async def test_concurrent_uploads_with_one_key_and_other_bytes_make_one_job(site: IngestSite) -> None:
    contents = [photo_jpeg(40 + number, 40) for number in range(6)]
    answers = await asyncio.gather(*(site.upload(content, headers={"Idempotency-Key": "r"}) for content in contents))
    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: 5}
    assert await site.count("jobs") == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_malformed_idempotency_key_is_named(site: IngestSite, key: str) -> None:
    answer = await site.upload(headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Idempotency-Key")


# --- many at once --------------------------------------------------------------------------------------------------


async def test_more_than_can_be_received_wait_for_their_turn(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media", uploads_in_flight=2) as site:
        answers = await asyncio.gather(*(site.upload() for _ in range(40)))
        assert {answer.status_code for answer in answers} == {202}
        assert await site.count("jobs") == 40


async def test_beyond_the_queue_429_at_once(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media", uploads_in_flight=1, uploads_waiting=0) as site:
        body = multipart(PICTURE + bytes(2 * BATCH_BYTES))
        _, writer = await raw(site)
        writer.write(request_head(site, len(body)) + body[:-100])
        await eventually(site.staged_files, why="one upload occupies the only place")
        # It keeps the place until it is given up, so an answer that waited for it would be another one.
        answer = await site.upload()
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_uploads")
        assert int(answer.headers["retry-after"]) >= 1
        writer.close()
        await nothing_is_left(site)
        assert (await site.upload()).status_code == 202


# --- waiting for the outcome ---------------------------------------------------------------------------------------


async def finish_next(site: IngestSite, make: Callable[[ProcessImageV1], ImageProcessedV1 | ImageFailedV1]) -> None:
    """Play image-processor for the next command that appears."""

    async def command() -> asyncpg.Record | None:
        return await site.rows.fetchrow(
            "SELECT payload FROM outbox WHERE topic = 'image.process' ORDER BY id DESC LIMIT 1"
        )

    row = await eventually(command)
    assert row is not None
    await site.handlers.deliver(make(ProcessImageV1.model_validate_json(row["payload"])))


async def test_prefer_wait_answers_with_the_finished_result(site: IngestSite) -> None:
    finishing = asyncio.create_task(finish_next(site, processed))
    answer = await site.upload(headers={"Prefer": "wait=20"})
    await finishing
    body = answer.json()
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=20")
    assert (body["success"], body["status"], body["error"]) == (True, "completed", None)
    assert body["result"]["urls"]["640"].startswith(f"/media/{body['mediaId']}/640?v=1")
    assert set(body) == FIELDS | {"result", "error"}


async def test_prefer_wait_tells_of_a_failure_too(site: IngestSite) -> None:
    finishing = asyncio.create_task(finish_next(site, failed))
    answer = await site.upload(headers={"Prefer": "wait=20"})
    await finishing
    body = answer.json()
    assert (answer.status_code, body["success"], body["status"]) == (200, False, "failed")
    assert body["error"] == {"code": "image_truncated", "detail": "It ends too early."}


async def test_at_the_deadline_the_answer_is_202(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media", longest_wait_seconds=0.3) as site:
        started_at = time.monotonic()
        answer = await site.upload(headers={"Prefer": "wait=60"})
        assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=0.3")
        assert 0.3 <= time.monotonic() - started_at < 20
        assert set(answer.json()) == FIELDS


async def test_hybrid_mode_waits_only_while_little_is_pending(database: TestDatabase, tmp_path: Path) -> None:
    hybrid = {"hybrid_mode_enabled": True, "hybrid_wait_seconds": 20, "hybrid_pending_below": 2}
    async with running_site(database, tmp_path / "media", **hybrid) as site:
        finishing = asyncio.create_task(finish_next(site, processed))
        assert (await site.upload()).status_code == 200
        await finishing
        started_at = time.monotonic()
        for _ in range(2):
            assert (await site.upload(headers={"Prefer": "respond-async"})).status_code == 202
        assert (await site.upload()).status_code == 202
        assert time.monotonic() - started_at < 20, "it would have waited in vain, for nobody processes"


async def test_the_notification_may_be_lost(site: IngestSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest_api.outcome_wait.LOOK_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(site.hub, "_hear", lambda *_: None)
    site.hub._sleepers.clear()
    finishing = asyncio.create_task(finish_next(site, processed))
    monkeypatch.setattr(site.hub, "_sleepers", {})
    answer = await site.upload(headers={"Prefer": "wait=20"})
    await finishing
    assert answer.status_code == 200


# --- staging in the bucket -----------------------------------------------------------------------------------------


async def test_uploads_may_be_staged_in_the_bucket(
    database: TestDatabase, tmp_path: Path, object_store_server: ObjectStoreServer
) -> None:
    """For machines that share no disk: the same answers, and nothing is left of what was refused."""
    bucket = {
        "staging_store": "bucket",
        **bucket_settings(object_store_server),
    }
    async with running_site(database, tmp_path / "media", **bucket) as site:
        store = site.stores.bucket
        assert store is not None
        large = PICTURE + bytes(3_000_000)
        for content in (PICTURE, large):
            accepted = await site.uploaded(content, headers={"Idempotency-Key": str(len(content))})
            found = await store.stat(f"staging/{accepted['jobId']}")
            assert found is not None
            assert (found.size_bytes, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert (await site.upload(b"no picture")).status_code == 415
        assert (await site.upload(large, entityType=None)).status_code == 422
        assert (await site.upload(large + b"x", headers={"Idempotency-Key": str(len(large))})).status_code == 409
        assert not [path for path in site.settings.media_root.rglob("*") if path.is_file()]
        assert len([info async for info in store.list("staging/")]) == 2
