"""Dead letters over HTTP: what is shown of them, and how they are settled."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from prometheus_client import REGISTRY

from deploy.local.kafka_server import KafkaServer
from ingest_api.dead_letter_retention import DeadLetterRetention, LettersKept
from ingest_api.dead_letters import DeadLetterDesk
from ingest_api.repositories.dead_letters import DeadLetterRepository, DeadLetterRow, LetterFilter
from shared.db.pool import PooledConnection
from shared.db.unit_of_work import UnitOfWork
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import PermanentError
from shared.messaging.letters import Settlement
from shared.testing.databases import TestDatabase, TestDatabases
from shared.testing.waiting import eventually
from tests.ingest_site import IngestSite, running_site
from tests.integration.kernel_world import PlaceOrderV1, World, place_orders, placed

pytestmark = pytest.mark.stack

PATH = "/api/admin/ops/dead-letters"
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class FakeRecord:
    """A record of a dead-letter topic."""

    partition, offset = 0, 1

    def __init__(self, service: str, key: str, headers: dict[str, str], value: bytes | None) -> None:
        self.topic = f"{service}.dead-letter"
        self.key, self.value = key.encode(), value
        self.headers = [(name, text.encode()) for name, text in headers.items()]


@pytest.fixture(scope="module")
async def running(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[IngestSite]:
    database = await databases.create()
    async with running_site(database, tmp_path_factory.mktemp("site") / "media") as made:
        yield made
    await databases.drop(database)


@pytest.fixture
async def site(running: IngestSite) -> IngestSite:
    await running.rows.execute("TRUNCATE dead_letters, dead_letter_decisions, outbox")
    return running


KEPT = LettersKept(seconds=30 * 24 * 3600, letters=100, size_bytes=2**20)


def desk_of(site: IngestSite) -> DeadLetterDesk:
    unit_of_work = UnitOfWork(site.database, source="/tests", schema="ingest")
    return DeadLetterDesk(unit_of_work, DeadLetterRetention(site.database, KEPT))


async def take(site: IngestSite, payload: bytes = b'{"n": 1}', /, service: str = "s3-syncer", **headers: str) -> str:
    """The id of a letter that the service has given up just now."""
    letter_id = str(uuid4())
    told = {
        "ce_id": str(new_id()),
        "ce_type": "sync.run-batch.v1",
        "ce_source": "/mediabus/ingest-api",
        "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
        "mb_origin_topic": "sync.jobs",
        "mb_origin_partition": "2",
        "mb_origin_offset": "41",
        "mb_origin_key": "job-7",
        "mb_error_code": "s3_refused",
        "mb_error_detail": "the bucket said no",
        "mb_attempt": "5",
        "mb_trace_id": TRACE,
        "mb_dead_lettered_at": TIME.isoformat(),
    }
    await desk_of(site).take(FakeRecord(service, letter_id, told | headers, payload))
    return letter_id


async def sent(site: IngestSite) -> list[tuple[str, str, dict[str, str], bytes]]:
    rows = await site.rows.fetch("SELECT topic, key, headers, payload FROM outbox ORDER BY id")
    return [(row["topic"], row["key"], json.loads(row["headers"]), row["payload"]) for row in rows]


async def test_a_letter_is_shown_with_all_that_is_known_of_it(site: IngestSite) -> None:
    letter_id = await take(site)
    (listed,) = (await site.api.get(PATH)).json()["deadLetters"]
    assert listed | {"eventId": None} == {
        "id": letter_id,
        "service": "s3-syncer",
        "state": "open",
        "topic": "sync.jobs",
        "partition": 2,
        "offset": 41,
        "key": "job-7",
        "type": "sync.run-batch.v1",
        "eventId": None,
        "code": "s3_refused",
        "detail": "the bucket said no",
        "attempts": 5,
        "traceId": TRACE,
        "deadLetteredAt": "2026-01-02T03:04:05Z",
        "replayOf": None,
        "replayedAs": None,
        "settledAt": None,
        "settledBy": None,
    }
    whole = (await site.api.get(f"{PATH}/{letter_id}")).json()
    assert whole["payload"] == {"format": "json", "content": '{"n": 1}', "sizeBytes": 8, "isCut": False}
    assert whole["headers"]["ce_source"] == "/mediabus/ingest-api"
    assert (await site.api.get(f"{PATH}/{uuid4()}")).status_code == 404


async def test_letters_are_listed_newest_first_page_by_page_and_by_what_they_are(site: IngestSite) -> None:
    ids = [
        await take(site, mb_dead_lettered_at=(TIME + timedelta(seconds=number // 2)).isoformat()) for number in range(5)
    ]
    other = await take(site, service="reconciler", mb_origin_topic="reconcile.runs", mb_dead_lettered_at="long ago")
    seen: list[str] = []
    cursor = None
    while True:
        page = (await site.api.get(PATH, params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        seen += [letter["id"] for letter in page["deadLetters"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen[0] == other, "without a readable time it is as old as its arrival"
    assert set(seen) == {*ids, other}
    assert len(seen) == 6
    assert {seen[1]} == {ids[4]}

    async def found(**filters: str) -> set[str]:
        return {letter["id"] for letter in (await site.api.get(PATH, params=filters)).json()["deadLetters"]}

    assert await found(service="reconciler") == {other}
    assert await found(topic="sync.jobs") == set(ids)
    await site.api.post(f"{PATH}/{ids[0]}/drop")
    assert await found(state="dropped") == {ids[0]}
    assert await found(state="open", service="s3-syncer") == set(ids[1:])
    assert (await site.api.get(PATH, params={"state": "lost"})).status_code == 422
    assert (await site.api.get(PATH, params={"cursor": "bm9uc2Vuc2U"})).json()["code"] == "invalid_cursor"


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"hello", {"format": "text", "content": "hello", "sizeBytes": 5, "isCut": False}),
        (b"\xff\x00", {"format": "base64", "content": "/wA=", "sizeBytes": 2, "isCut": False}),
        (b"", {"format": "text", "content": "", "sizeBytes": 0, "isCut": False}),
        (
            b"x" + "я".encode() * 40_000,
            {"format": "text", "content": "x" + "я" * 32_767, "sizeBytes": 80_001, "isCut": True},
        ),
    ],
)
async def test_payloads_are_shown_as_what_they_are_and_never_whole_when_large(
    site: IngestSite, payload: bytes, shown: dict[str, Any]
) -> None:
    letter_id = await take(site, payload)
    assert (await site.api.get(f"{PATH}/{letter_id}")).json()["payload"] == shown


async def test_a_replay_goes_once_to_the_one_service_with_bytes_and_headers_as_they_were(site: IngestSite) -> None:
    letter_id = await take(site, b"\xffraw")
    replayed = [(await site.api.post(f"{PATH}/{letter_id}/replay")) for _ in range(2)]
    assert [answer.status_code for answer in replayed] == [200, 200]
    assert replayed[0].json() == replayed[1].json()
    assert (replayed[0].json()["state"], replayed[0].json()["settledBy"]) == ("replayed", str(site.user_id))
    (replay, mark) = await sent(site)
    topic, key, headers, payload = replay
    assert (topic, key, payload) == ("s3-syncer.retry", "job-7", b"\xffraw")
    assert (headers["ce_type"], headers["mb_origin_offset"]) == ("sync.run-batch.v1", "41")
    assert headers["traceparent"].split("-")[1] == TRACE, "it goes on in the trace of what failed"
    assert "mb_attempt" not in headers, "it begins anew"
    assert headers["mb_replay_of"] == letter_id
    assert mark[:2] == ("s3-syncer.dead-letter", letter_id)
    assert (mark[2]["mb_settled"], mark[3]) == ("replayed", b"")
    assert (await site.api.post(f"{PATH}/{letter_id}/drop")).json()["code"] == "conflict"
    decided = await site.rows.fetch("SELECT letter_id, decision, decided_by FROM dead_letter_decisions")
    assert [tuple(row.values()) for row in decided] == [(UUID(letter_id), "replayed", site.user_id)]


async def test_a_dropped_letter_stays_to_be_read_and_can_not_be_replayed(site: IngestSite) -> None:
    letter_id = await take(site)
    assert (await site.api.post(f"{PATH}/{letter_id}/drop")).json()["state"] == "dropped"
    assert (await site.api.post(f"{PATH}/{letter_id}/drop")).status_code == 200
    assert (await site.api.post(f"{PATH}/{letter_id}/replay")).status_code == 409
    ((topic, key, headers, _),) = await sent(site)
    assert (topic, key, headers["mb_settled"]) == ("s3-syncer.dead-letter", letter_id, "dropped")
    assert (await site.api.post(f"{PATH}/{uuid4()}/drop")).status_code == 404


async def test_what_was_settled_elsewhere_is_known_and_a_letter_that_comes_again_changes_nothing(
    site: IngestSite,
) -> None:
    replayed, forgotten = await take(site), await take(site)
    mark = {"mb_settled": "replayed", "mb_settled_at": TIME.isoformat()}
    await desk_of(site).take(FakeRecord("s3-syncer", replayed, mark, b""))
    await desk_of(site).take(FakeRecord("s3-syncer", forgotten, {}, None))
    await desk_of(site).take(FakeRecord("s3-syncer", replayed, {"mb_error_code": "again"}, b"again"))
    await desk_of(site).take(FakeRecord("s3-syncer", "no id", {}, b"garbage"))
    (letter,) = (await site.api.get(PATH)).json()["deadLetters"]
    assert (letter["id"], letter["state"], letter["code"]) == (replayed, "replayed", "s3_refused")
    assert letter["settledBy"] is None


def forgotten(reason: str) -> float:
    return REGISTRY.get_sample_value("mediabus_dead_letters_forgotten_total", {"reason": reason}) or 0.0


def told_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the log says of letters that were forgotten."""
    return [record for record in caplog.records if record.name == "ingest_api.dead_letter_retention"]


async def kept(site: IngestSite, bounds: LettersKept) -> list[str]:
    """The letters that are left within these bounds, newest first."""
    await DeadLetterRetention(site.database, bounds).remove()
    rows = await site.rows.fetch("SELECT id FROM dead_letters ORDER BY dead_lettered_at DESC")
    return [str(row["id"]) for row in rows]


async def test_old_letters_too_many_and_too_large_ones_are_forgotten_the_oldest_first(
    site: IngestSite, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ingest_api.dead_letter_retention")
    now = datetime.now(UTC)
    days = {day: (now - timedelta(days=day)).isoformat() for day in (1, 2, 3, 4, 31)}
    ids = {day: await take(site, b"x" * 10_000, mb_dead_lettered_at=at) for day, at in days.items()}
    before = {reason: forgotten(reason) for reason in ("age", "number", "bytes")}
    assert await kept(site, KEPT) == [ids[1], ids[2], ids[3], ids[4]]
    assert [record.levelname for record in told_of(caplog)] == ["INFO"]
    assert await kept(site, replace(KEPT, letters=3)) == [ids[1], ids[2], ids[3]]
    assert await kept(site, replace(KEPT, size_bytes=25_000)) == [ids[1], ids[2]], "headers count, too"
    assert {reason: forgotten(reason) - count for reason, count in before.items()} == {
        "age": 1,
        "number": 1,
        "bytes": 1,
    }
    told = told_of(caplog)[-1].__dict__
    assert (told["levelname"], told["bytes"], told["undecided"]) == ("WARNING", 1, 1)


async def test_a_letter_that_somebody_holds_keeps_no_other_from_being_forgotten(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest_api.dead_letter_retention.BATCH_ROWS", 2)
    now = datetime.now(UTC)
    ids = [await take(site, mb_dead_lettered_at=(now - timedelta(hours=hours)).isoformat()) for hours in range(7)]
    async with site.database.connection() as connection, connection.transaction():
        await connection.execute("SELECT FROM dead_letters WHERE id = $1 FOR UPDATE", UUID(ids[-1]))
        assert await kept(site, replace(KEPT, letters=1)) == [ids[0], ids[-1]]


async def test_a_flood_of_large_letters_is_bounded_while_it_comes(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest_api.dead_letter_retention.LOOK_AFTER_BYTES", 100_000)
    desk = DeadLetterDesk(
        UnitOfWork(site.database, source="/tests", schema="ingest"),
        DeadLetterRetention(site.database, replace(KEPT, size_bytes=100_000)),
    )
    most_bytes = 0
    for _ in range(12):
        await desk.take(FakeRecord("s3-syncer", str(uuid4()), {"ce_type": "t.v1"}, b"x" * 40_000))
        most_bytes = max(most_bytes, await site.rows.fetchval("SELECT sum(size_bytes) FROM dead_letters"))
    assert 100_000 < most_bytes < 100_000 + 100_000 + 50_000
    assert await site.count("dead_letters") >= 2


async def end_medium(connection: PooledConnection[Any] | asyncpg.Connection[Any], media_id: str) -> None:
    """As the end of a deletion for good leaves it."""
    await connection.execute("DELETE FROM media WHERE id = $1", UUID(media_id))
    await connection.execute(
        "INSERT INTO media_deletions (id, media_id, version, revision, entity_type, keeps_bucket, reason, is_told,"
        " stage, owing) VALUES ($1, $2, 1, 1, 'product', false, 'requested', false, 'completed', '{}')",
        new_id(),
        UUID(media_id),
    )


async def test_a_letter_of_a_medium_that_is_gone_is_dropped_unless_it_is_about_that(site: IngestSite) -> None:
    media_id = str(new_id())
    await end_medium(site.rows, media_id)
    dropped = await take(site, b'{"filename": "me.jpg"}', ce_type="image.process.v1", mb_origin_key=media_id)
    about_its_end = await take(site, ce_type="image.discarded.v1", mb_origin_key=media_id)
    of_another = await take(site, ce_type="image.process.v1", mb_origin_key=str(new_id()))
    rows = await site.rows.fetch("SELECT id FROM dead_letters")
    assert {str(row["id"]) for row in rows} == {about_its_end, of_another}
    ((topic, key, headers, _),) = await sent(site)
    assert (topic, key, headers["mb_settled"]) == ("s3-syncer.dead-letter", dropped, "dropped")


async def test_a_letter_that_comes_while_its_medium_goes_is_not_missed(site: IngestSite) -> None:
    """The letter waits for the end of the medium, so that one of both finds the other."""
    media_id = (await site.uploaded())["mediaId"]
    async with site.database.connection() as connection:
        going = connection.transaction()
        await going.start()
        await end_medium(connection, media_id)
        taking = asyncio.create_task(take(site, ce_type="image.process.v1", mb_origin_key=media_id))
        waits = (
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        await eventually(lambda: site.rows.fetchval(waits), why="the letter waits for the medium")
        await going.commit()
    await taking
    assert await site.count("dead_letters") == 0


async def test_a_letter_is_read_from_its_topic_replayed_by_its_service_and_linked_when_it_fails_again(
    world: World, database: TestDatabase, kafka_server: KafkaServer
) -> None:
    shop = world.process()
    is_open = False

    def refuse(command: PlaceOrderV1, delivery: Delivery) -> None:
        if not is_open:
            raise PermanentError("shop_closed", "the shop is closed")

    place_orders(shop, refuse)
    ingest = World("ingest-api", database.dsn("ingest-api"), kafka_server.bootstrap)
    reader = ingest.process()
    world.processes.append(reader)
    desk = DeadLetterDesk(reader.unit_of_work, DeadLetterRetention(reader.database, KEPT), services=[world.service])
    reader.consumer.on_records(f"letters-of-{world.service}", desk.topics, desk.take)
    await shop.start(world.relay(shop))
    await reader.start(ingest.relay(reader))

    async def letters() -> list[DeadLetterRow]:
        async with reader.database.connection() as connection:
            return await DeadLetterRepository(connection).newest(LetterFilter(), None, 10)

    user_id = new_id()
    await world.send(PlaceOrderV1(customer="ann", number=1))
    (first,) = await eventually(letters, why="the letter is read")
    assert (first.service, first.topic, first.key, first.code) == (world.service, "test.orders", "ann", "shop_closed")
    await desk.settle(first.id, Settlement.REPLAYED, user_id)

    async def came_back() -> DeadLetterRow | None:
        return next((row for row in await letters() if row.replay_of == first.id), None)

    again = await eventually(came_back, why="the replay has failed again")
    assert (again.state, again.attempts) == ("open", 1)
    assert next(row for row in await letters() if row.id == first.id).replayed_as == again.id
    is_open = True
    await desk.settle(again.id, Settlement.REPLAYED, user_id)
    await desk.settle(again.id, Settlement.REPLAYED, user_id)
    await eventually(lambda: placed(world, 1), why="the second replay took effect")
