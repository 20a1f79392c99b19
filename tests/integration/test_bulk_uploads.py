"""Bulk uploads over HTTP on a real PostgreSQL and disk: each bad picture fails alone, parents count."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import time
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingest_api.accounts import Role
from ingest_api.staging_sweep import StagingSweep
from shared.events import ProcessImageV1
from shared.testing.databases import TestDatabase
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.ingest_site import JOBS, PICTURE, UPLOADS, IngestSite, running_site
from tests.outcomes import failed, processed

pytestmark = pytest.mark.stack

BULK = f"{UPLOADS}/bulk"
LARGE = PICTURE + bytes(600_000)
Files = Sequence[tuple[str, bytes]]


@pytest.fixture
async def site(database: TestDatabase, tmp_path: Path) -> AsyncIterator[IngestSite]:
    async with running_site(database, tmp_path / "media") as running:
        yield running


async def send(
    site: IngestSite, files: Files, fields: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    return await site.api.post(
        BULK,
        files=[("file", (name, content)) for name, content in files],
        data={"entityType": "product", **(fields or {})},
        headers=dict(headers or {}),
    )


async def accepted(site: IngestSite, files: Files, **fields: str) -> dict[str, Any]:
    answer = await send(site, files, fields)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def packed(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return made.getvalue()


async def commands(site: IngestSite) -> dict[str, ProcessImageV1]:
    """What image-processor is told, by file name."""
    rows = await site.rows.fetch("SELECT payload FROM outbox WHERE topic = 'image.process'")
    told = [ProcessImageV1.model_validate_json(row["payload"]) for row in rows]
    return {command.filename: command for command in told}


def pictures(count: int) -> list[tuple[str, bytes]]:
    """Different ones."""
    return [(f"{number}.jpg", photo_jpeg(64, 48) + bytes([number])) for number in range(count)]


async def test_many_parts_become_a_parent_and_a_job_each(site: IngestSite) -> None:
    sent = pictures(3)
    answer = await send(site, sent, {"alt": "all of them", "entityId": "7"})
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert set(body) == {"success", "status", "jobId", "jobs", "message"}
    assert (body["success"], body["status"]) == (True, "processing")
    assert answer.headers["location"] == f"{JOBS}/{body['jobId']}"
    assert [entry["filename"] for entry in body["jobs"]] == [name for name, _ in sent]
    for entry, (_, content) in zip(body["jobs"], sent, strict=True):
        assert set(entry) == {"jobId", "mediaId", "filename"}
        assert (await site.job(entry["jobId"]))["status"] == "waiting"
        medium = (await site.api.get(f"{UPLOADS}/{entry['mediaId']}")).json()
        assert medium["sha256"] == hashlib.sha256(content).hexdigest()
        assert (medium["alt"], medium["entityId"], medium["entityType"]) == ("all of them", "7", "product")
    topics = await site.rows.fetch("SELECT topic, count(*) FROM outbox GROUP BY topic")
    assert dict(topics) == {"image.process": 3, "media.events": 3}
    assert len(site.staged_files()) == 3


async def test_a_zip_becomes_the_same(site: IngestSite) -> None:
    sent = [("a/1.jpg", PICTURE), ("../../2.jpg", PICTURE), ("/etc/3.jpg", PICTURE), ("c:\\x\\4.jpg", PICTURE)]
    noise = [("__MACOSX/._1.jpg", b"x"), ("a/", b""), (".DS_Store", b"x"), (".hidden/5.jpg", PICTURE)]
    body = await accepted(site, [("pictures.zip", packed([*noise, *sent]))])
    assert [entry["filename"] for entry in body["jobs"]] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    assert len(site.staged_files()) == 4
    assert {path.read_bytes() for path in site.staged_files()} == {PICTURE}
    assert list(site.settings.media_root.parent.rglob("*.jpg")) == [], "names in archives are data, never paths"


async def test_a_zip_is_known_by_its_bytes(site: IngestSite) -> None:
    body = await accepted(site, [("looks-like.jpg", packed(pictures(2)))])
    assert [entry["filename"] for entry in body["jobs"]] == ["0.jpg", "1.jpg"]


@pytest.mark.parametrize("as_archive", [False, True])
async def test_bad_pictures_fail_alone(database: TestDatabase, tmp_path: Path, as_archive: bool) -> None:
    large = PICTURE + random.Random(1).randbytes(60_000)
    sent = [
        ("good.jpg", PICTURE),
        ("empty.jpg", b""),
        ("text.jpg", b"no picture at all " * 10),
        ("short.jpg", b"x"),
        ("large.jpg", large),
        ("nested.zip", packed([("a.jpg", PICTURE)])),
        ("last.jpg", PICTURE),
    ]
    if not as_archive:
        del sent[5]
    async with running_site(database, tmp_path / "media", upload_limit_bytes=50_000) as site:
        body = await accepted(site, [("all.zip", packed(sent))] if as_archive else sent)
        told = {entry["filename"]: entry.get("error", {}).get("code") for entry in body["jobs"]}
        expected = {
            "good.jpg": None,
            "empty.jpg": "empty_file",
            "text.jpg": "unsupported_media_type",
            "short.jpg": "unsupported_media_type",
            "large.jpg": "too_large",
            "last.jpg": None,
        }
        assert told == expected | ({"nested.zip": "unsupported_media_type"} if as_archive else {})
        assert all(set(entry) == {"filename", "error"} for entry in body["jobs"] if "error" in entry)
        assert all(entry["error"]["detail"] for entry in body["jobs"] if "error" in entry)
        assert len(site.staged_files()) == 2
        parent = await site.job(body["jobId"])
        assert (parent["total"], parent["completed"], parent["failed"]) == (len(sent), 0, len(sent) - 2)
        assert parent["status"] == "waiting"


async def test_a_broken_archive_keeps_what_came_whole(site: IngestSite) -> None:
    whole = packed(pictures(3), zipfile.ZIP_STORED)
    third = whole.index(b"2.jpg") + 200
    body = await accepted(site, [("half.zip", whole[:third])])
    entries = body["jobs"]
    assert [entry["filename"] for entry in entries] == ["0.jpg", "1.jpg", "2.jpg", "half.zip"]
    assert ["jobId" in entry for entry in entries] == [True, True, False, False]
    assert {entry["error"]["code"] for entry in entries[2:]} == {"broken_archive"}
    assert len(site.staged_files()) == 2


@pytest.mark.parametrize(
    ("files", "fields", "status", "code"),
    [
        ([], {}, 422, "invalid_request"),
        (pictures(1), {"entityType": ""}, 422, "invalid_request"),
        (pictures(1), {"entityType": "!"}, 422, "invalid_request"),
        (pictures(1), {"storageStrategy": "elsewhere"}, 422, "invalid_request"),
        ([("a.txt", b"text"), ("b.txt", b"")], {}, 422, "no_picture"),
        ([("empty.zip", packed([]))], {}, 422, "no_picture"),
        ([("a.jpg", PICTURE), ("b.zip", packed(pictures(1)))], {}, 422, "invalid_request"),
        ([("b.zip", packed(pictures(1))), ("a.jpg", PICTURE)], {}, 422, "invalid_request"),
        (pictures(6), {}, 413, "too_large"),
        ([("six.zip", packed(pictures(6)))], {}, 413, "too_large"),
        ([("folders.zip", packed([(f"{number}/", b"") for number in range(11)]))], {}, 413, "too_large"),
        ([("unpacks.zip", packed([("a.jpg", LARGE), ("b.jpg", LARGE)]))], {}, 413, "too_large"),
    ],
)
async def test_what_is_refused_as_a_whole_leaves_nothing(
    database: TestDatabase, tmp_path: Path, files: Files, fields: dict[str, str], status: int, code: str
) -> None:
    limits = {"bulk_files": 5, "bulk_archive_entries": 10, "bulk_limit_bytes": 1_000_000}
    async with running_site(database, tmp_path / "media", bulk_archive_ratio=10_000, **limits) as site:
        if files:
            answer = await send(site, files, fields)
        else:
            answer = await site.api.post(BULK, files={"entityType": (None, "product")})
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert site.staged_files() == []
        assert [await site.count(table) for table in ("media", "jobs", "bulk_jobs", "bulk_items", "outbox")] == [0] * 5


async def test_a_body_beyond_the_limit_is_413(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media", bulk_limit_bytes=1000) as site:
        answer = await send(site, [("a.jpg", PICTURE + bytes(2_000_000))])
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert site.staged_files() == []


async def test_an_idempotency_key_is_refused(site: IngestSite) -> None:
    answer = await send(site, pictures(1), headers={"Idempotency-Key": "k"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


async def test_photographers_may_not(site: IngestSite) -> None:
    answer = await send(site, pictures(1), headers={"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"})
    assert answer.status_code == 403


async def test_a_client_that_goes_away_leaves_nothing(site: IngestSite) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' + PICTURE + b"\r\n"
    head = (
        f"POST {BULK} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nAuthorization: Bearer {site.key}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {10 * len(part)}\r\n\r\n"
    )
    writer.write(head.encode() + part * 3)
    await writer.drain()
    await eventually(lambda: len(site.staged_files()) >= 2, why="the first pictures are staged")
    writer.close()
    await eventually(lambda: site.staged_files() == [], why="the files of the lost upload are gone")
    assert await site.count("media") == 0
    assert not await reader.read()


async def test_what_a_slow_upload_staged_is_not_swept_under_its_hands(database: TestDatabase, tmp_path: Path) -> None:
    """Not by another replica either; nor does it leave anything of its claim."""
    goes_on = asyncio.Event()
    boundary = "slow"

    def part(name: str, disposition: str, content: bytes) -> bytes:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{disposition}\r\n\r\n'
        return head.encode() + content + b"\r\n"

    async def body() -> AsyncIterator[bytes]:
        yield part("entityType", "", b"product")
        yield part("file", '; filename="first.jpg"', PICTURE)
        # The next part's beginning: by it the first file is known to be whole.
        yield part("file", '; filename="second.jpg"', LARGE)[:300_000]
        await goes_on.wait()
        yield part("file", '; filename="second.jpg"', LARGE)[300_000:] + f"--{boundary}--\r\n".encode()

    async with running_site(database, tmp_path / "media", staging_orphans_kept_seconds=2) as site:
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        sending = asyncio.create_task(site.api.post(BULK, content=body(), headers=headers))

        async def held() -> list[str]:
            return list(await site.rows.fetchval("SELECT staging_keys FROM staging_leases") or [])

        (key,) = await eventually(held, why="the upload holds what it has staged")
        long_ago = time.time() - 3600
        os.utime(site.settings.media_root / key, (long_ago, long_ago))
        other_replica = StagingSweep(site.stores.staging, site.stores.disk, site.database, orphans_kept_seconds=2)
        assert await other_replica.sweep() == {"staged_files": 0, "unfinished_files": 0}
        goes_on.set()
        answer = await sending
        assert answer.status_code == 202, answer.text
        assert len(answer.json()["jobs"]) == len(site.staged_files()) == 2
        assert await site.count("staging_leases") == 0


async def test_an_upload_that_ends_while_it_is_swept_keeps_its_files(site: IngestSite) -> None:
    """Its job appears and its claim goes between two questions of the sweep."""
    accepted_upload = await site.uploaded()
    key = await site.rows.fetchval("SELECT staging_key FROM jobs")
    await site.rows.execute("UPDATE jobs SET staging_key = NULL")
    await site.rows.execute(
        "INSERT INTO staging_leases (upload_id, staging_keys, held_until)"
        " VALUES (gen_random_uuid(), $1, clock_timestamp() + interval '1 hour')",
        [key],
    )
    site.sweep.doubt(key)

    async def is_asking() -> bool:
        return bool(
            await site.rows.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'staging_leases'::regclass AND NOT granted)"
            )
        )

    async with site.rows.transaction():
        await site.rows.execute("LOCK TABLE staging_leases IN ACCESS EXCLUSIVE MODE")
        sweeping = asyncio.create_task(site.sweep.resolve_doubts(older_than_seconds=0))
        await eventually(is_asking, why="the sweep asks who holds the file")
        await site.rows.execute("UPDATE jobs SET staging_key = $2 WHERE id = $1", accepted_upload["jobId"], key)
        await site.rows.execute("DELETE FROM staging_leases")
    await sweeping
    assert site.staged_files() == [site.settings.media_root / key]


async def test_the_parent_follows_its_children(site: IngestSite) -> None:
    body = await accepted(site, [*pictures(3), ("text.jpg", b"text")])
    told = await commands(site)
    assert {(str(told[name].job_id), str(told[name].media_id)) for name in told} == {
        (entry["jobId"], entry["mediaId"]) for entry in body["jobs"][:3]
    }
    assert (await site.job(body["jobId"]))["progress"] == 25

    await site.handlers.deliver(processed(told["0.jpg"]))
    parent = await site.job(body["jobId"])
    assert (parent["status"], parent["progress"], parent["completed"], parent["failed"]) == ("active", 50, 1, 1)
    assert (parent["isParent"], parent["result"], parent["error"]) == (True, None, None)

    await site.handlers.deliver(failed(told["1.jpg"]))
    await site.handlers.deliver(processed(told["2.jpg"]))
    parent = await site.job(body["jobId"])
    assert (parent["status"], parent["progress"]) == ("completed", 100)
    assert parent["result"] == {"total": 4, "completed": 2, "failed": 2}
    assert [child["status"] for child in parent["children"]] == ["completed", "failed", "completed", "failed"]
    assert parent["children"][1]["error"]["code"]
    assert parent["children"][3]["jobId"] is None
    assert parent["children"][3]["error"]["code"] == "unsupported_media_type"


async def test_a_parent_fails_only_where_no_picture_came_out(site: IngestSite) -> None:
    body = await accepted(site, pictures(1))
    await site.handlers.deliver(failed((await commands(site))["0.jpg"]))
    parent = await site.job(body["jobId"])
    assert (parent["status"], parent["result"], parent["error"]["code"]) == ("failed", None, "no_picture")


async def test_the_parent_goes_after_the_last_of_its_children(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media", completed_jobs_kept=0) as site:
        body = await accepted(site, pictures(2))
        told = await commands(site)
        await site.handlers.deliver(processed(told["0.jpg"]))
        await site.handlers.deliver(failed(told["1.jpg"]))
        before = await site.job(body["jobId"])
        await site.rows.execute("UPDATE jobs SET finished_at = finished_at - interval '25 hours'")
        await site.retention.sweep()
        assert await site.count("jobs") == 1
        after = await site.job(body["jobId"])
        assert {name: after[name] for name in ("status", "progress", "result")} == {
            name: before[name] for name in ("status", "progress", "result")
        }
        await site.rows.execute("UPDATE jobs SET finished_at = finished_at - interval '7 days'")
        await site.retention.sweep()
        assert [await site.count(table) for table in ("jobs", "bulk_jobs")] == [0, 1], "not before a job's own time"
        await site.rows.execute("UPDATE bulk_jobs SET created_at = created_at - interval '25 hours'")
        await site.retention.sweep()
        assert [await site.count(table) for table in ("jobs", "bulk_jobs", "bulk_items")] == [0, 0, 0]
        assert (await site.api.get(f"{JOBS}/{body['jobId']}")).status_code == 404


async def test_the_description_tells_of_it(site: IngestSite) -> None:
    described = (await site.api.get("/docs/openapi.json")).json()["paths"][BULK]["post"]
    form = described["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["file"]["type"] == "array"
    assert "202" in described["responses"]
