"""Notifications by webhook: who may post, what is stored of them, and that nothing well-authenticated is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import asyncpg
import httpx
import pytest
from pydantic import SecretStr, ValidationError

from ingest_api.bucket_webhook import KEPT_OF_LARGER_BYTES, LARGEST_BODY_BYTES, MOST_SKIPPED_BYTES
from ingest_api.settings import IngestSettings
from shared.events.bucket_notifications import read_notification
from shared.messaging.errors import InfrastructureUnavailable
from shared.testing.databases import TestDatabase
from tests.ingest_site import IngestSite, running_site

pytestmark = pytest.mark.stack

WEBHOOK = "/webhooks/minio"
TOKEN = "a-token-of-the-store"
LETTERS = "ingest-api.dead-letter"


@pytest.fixture
async def site(database: TestDatabase, tmp_path: Path) -> AsyncIterator[IngestSite]:
    async with running_site(database, tmp_path / "media", webhook_token=SecretStr(TOKEN)) as running:
        yield running


def notification(*keys: str, event_name: str = "s3:ObjectCreated:Put") -> bytes:
    records = [
        {
            "eventName": event_name,
            "eventTime": "2026-01-02T03:04:05.678Z",
            "s3": {
                "bucket": {"name": "mediabus"},
                "object": {"key": quote_plus(key), "size": 7, "eTag": "0cc1", "sequencer": f"17A{position}"},
            },
        }
        for position, key in enumerate(keys)
    ]
    return json.dumps({"EventName": event_name, "Key": f"mediabus/{keys[0]}", "Records": records}).encode()


async def post(site: IngestSite, body: bytes, authorization: str | None = f"Bearer {TOKEN}") -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with httpx.AsyncClient(base_url=site.base_url, timeout=30) as client:
        return await client.post(WEBHOOK, content=body, headers=headers)


async def outbox(site: IngestSite) -> list[asyncpg.Record]:
    return await site.rows.fetch("SELECT topic, key, headers::text, payload FROM outbox ORDER BY id")


def ids(rows: list[asyncpg.Record]) -> list[str]:
    return [json.loads(row["headers"])["ce_id"] for row in rows]


# --- who may post ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        TOKEN,
        f"Basic {TOKEN}",
    ],
)
async def test_without_the_token_nothing_is_taken(site: IngestSite, authorization: str | None) -> None:
    answer = await post(site, notification("uploads/a"), authorization)
    assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in")
    assert await outbox(site) == []


async def test_the_key_of_a_person_opens_nothing_here_and_the_token_nothing_elsewhere(site: IngestSite) -> None:
    assert (await post(site, notification("uploads/a"), f"Bearer {site.key}")).status_code == 401
    answer = await site.api.get("/api/admin/media/jobs", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 401


async def test_where_no_token_is_set_nobody_is_admitted(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media") as site:
        for authorization in ("Bearer", "Bearer None", f"Bearer {TOKEN}"):
            assert (await post(site, notification("uploads/a"), authorization)).status_code == 401


@pytest.mark.parametrize("token", ["short", "two words that are long", "tab\tand more of it", "töken-of-the-store"])
def test_a_token_that_minio_would_not_send_is_refused_at_the_start(tmp_path: Path, token: str) -> None:
    with pytest.raises(ValidationError, match="webhook_token"):
        IngestSettings(
            postgres_dsn=SecretStr("postgresql://x"),
            kafka_bootstrap="127.0.0.1:9",
            media_root=tmp_path,
            http_port=9,
            webhook_token=SecretStr(token),
        )


# --- what is stored -------------------------------------------------------------------------------------------------


async def test_every_record_is_in_the_outbox_when_the_store_is_told_yes(site: IngestSite) -> None:
    body = notification("uploads/a b+c", "products/ü/250g/hero-card/x.jpg")
    answer = await post(site, body)
    assert (answer.status_code, answer.content) == (200, b"")
    rows = await outbox(site)
    assert [(row["topic"], row["key"]) for row in rows] == [
        ("bucket.events", "mediabus/uploads/a b+c"),
        ("bucket.events", "mediabus/products/ü/250g/hero-card/x.jpg"),
    ]
    notices = read_notification(body, "webhook").notices
    assert ids(rows) == [str(notice.envelope.id) for notice in notices]
    assert [row["payload"] for row in rows] == [notice.event.payload() for notice in notices]
    assert json.loads(rows[0]["headers"])["ce_source"] == "/buckets/mediabus"


async def test_what_is_posted_again_is_told_yes_and_stored_once(site: IngestSite) -> None:
    """The store tells everything twice."""
    for body in (notification("uploads/a"), notification("uploads/a"), notification("uploads/a", "uploads/b")):
        assert (await post(site, body)).status_code == 200
    assert [row["key"] for row in await outbox(site)] == ["mediabus/uploads/a", "mediabus/uploads/b"]


async def test_another_replica_tells_of_the_same_events_under_the_same_ids(
    site: IngestSite, database: TestDatabase, tmp_path: Path
) -> None:
    async with running_site(database, tmp_path / "media", webhook_token=SecretStr(TOKEN)) as replica:
        for one in (site, replica):
            assert (await post(one, notification("uploads/a"))).status_code == 200
    first, second = ids(await outbox(site))
    assert first == second


async def test_what_could_not_be_stored_is_no_repetition_when_it_comes_again(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> None:
        raise InfrastructureUnavailable("postgresql", "gone")

    with monkeypatch.context() as patched:
        patched.setattr("ingest_api.bucket_webhook.append", gone)
        assert (await post(site, notification("uploads/a"))).status_code == 503
    assert (await post(site, notification("uploads/a"))).status_code == 200
    assert len(await outbox(site)) == 1


async def test_what_is_remembered_is_bounded(site: IngestSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest_api.bucket_webhook.MOST_REMEMBERED", 3)
    for key in ("a", "b", "c", "d", "b", "a"):
        assert (await post(site, notification(key))).status_code == 200
    assert [row["key"].removeprefix("mediabus/") for row in await outbox(site)] == ["a", "b", "c", "d", "a"]


async def test_many_posts_at_once_are_all_stored(site: IngestSite) -> None:
    answers = await asyncio.gather(*(post(site, notification(f"uploads/{n}")) for n in range(30)))
    assert {answer.status_code for answer in answers} == {200}
    assert {row["key"] for row in await outbox(site)} == {f"mediabus/uploads/{n}" for n in range(30)}


@pytest.mark.parametrize("event_name", ["s3:ObjectAccessed:Get", "s3:ObjectCreated:PutTagging", "s3:NobodyKnows"])
async def test_what_changes_nothing_is_told_yes_and_not_stored(site: IngestSite, event_name: str) -> None:
    assert (await post(site, notification("uploads/a", event_name=event_name))).status_code == 200
    assert await outbox(site) == []


# --- nonsense -------------------------------------------------------------------------------------------------------

BROKEN_RECORD: dict[str, Any] = {"eventName": "s3:ObjectCreated:Put"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"\x00\xff\xfe",
        b"[" * 100_000,
        b'{"Records":[]}',
        json.dumps({"Records": [BROKEN_RECORD]}).encode(),
        notification("a\0b"),
        notification("\ud800".encode("utf-8", "surrogatepass").decode("latin-1") + "x" * 2000),
    ],
)
async def test_nonsense_is_told_yes_and_kept_as_one_dead_letter(site: IngestSite, body: bytes) -> None:
    for _ in range(3):
        assert (await post(site, body)).status_code == 200
    (row,) = await outbox(site)
    assert (row["topic"], row["payload"]) == (LETTERS, body)
    headers = json.loads(row["headers"])
    assert (headers["mb_error_code"], headers["mb_origin_topic"]) == ("notification_invalid", "bucket.events")
    assert headers["mb_error_detail"]


async def test_a_bad_record_among_good_ones_takes_none_with_it(site: IngestSite) -> None:
    mixed = json.loads(notification("uploads/a", "uploads/b"))
    mixed["Records"].insert(1, BROKEN_RECORD)
    assert (await post(site, json.dumps(mixed).encode())).status_code == 200
    rows = await outbox(site)
    assert [row["topic"] for row in rows] == ["bucket.events", "bucket.events", LETTERS]
    assert "Records[1]" in json.loads(rows[2]["headers"])["mb_error_detail"]


@pytest.mark.parametrize("size_bytes", [LARGEST_BODY_BYTES + 1, MOST_SKIPPED_BYTES + LARGEST_BODY_BYTES])
async def test_a_body_beyond_the_limit_is_told_yes_and_its_beginning_kept(site: IngestSite, size_bytes: int) -> None:
    """A refusal would have the store send it for ever, and nothing after it."""
    answered = asyncio.create_task(_raw_answer(site, size_bytes))
    async with asyncio.timeout(20):
        assert await answered == 200
    (row,) = await outbox(site)
    assert (row["topic"], row["payload"]) == (LETTERS, b"x" * KEPT_OF_LARGER_BYTES)
    assert str(LARGEST_BODY_BYTES) in json.loads(row["headers"])["mb_error_detail"]


async def _raw_answer(site: IngestSite, size_bytes: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    head = (
        f"POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {size_bytes}\r\n\r\n"
    )
    writer.write(head.encode())
    try:
        for _ in range(size_bytes // LARGEST_BODY_BYTES):
            writer.write(b"x" * LARGEST_BODY_BYTES)
            await writer.drain()
        writer.write(b"x" * (size_bytes % LARGEST_BODY_BYTES))
        return int((await reader.readline()).split()[1])
    finally:
        writer.transport.abort()


async def test_while_nothing_can_be_stored_the_store_is_asked_to_come_again(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.database.close()
    monkeypatch.setattr(site.database, "dsn", "postgresql://nobody@127.0.0.1:9/nowhere")
    answer = await post(site, notification("uploads/a"))
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    # Without the token even an outage tells nothing.
    assert (await post(site, notification("uploads/a"), "Bearer wrong")).status_code == 401


async def test_the_description_tells_of_the_token(site: IngestSite) -> None:
    described = (await site.api.get("/docs/openapi.json")).json()
    operation = described["paths"][WEBHOOK]["post"]
    assert operation["security"] == [{"webhookToken": []}]
    assert described["components"]["securitySchemes"]["webhookToken"]["scheme"] == "bearer"
    assert "application/json" in operation["requestBody"]["content"]
