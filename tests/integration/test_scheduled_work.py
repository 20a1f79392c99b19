"""What a service does when something is due, and what it answers: on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import Envelope, ScheduleDueV1, ScheduledWorkDoneV1
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled, InfrastructureUnavailable
from shared.scheduling import ScheduledWork, work_done
from shared.storage.errors import StoreUnavailable
from shared.testing.databases import TestDatabase

pytestmark = pytest.mark.stack


class Service:
    """One that has something to do, and notes what it did."""

    def __init__(self, database: Database) -> None:
        self.work = UnitOfWork(database, source="/mediabus/s3-syncer", schema="sync")
        self.scheduled = ScheduledWork("s3-syncer", self.work)
        self.done: list[str] = []

    async def sweep(self) -> dict[str, int]:
        self.done.append("sweep")
        return {"files": 2, "rows": 1}

    async def sweep_more(self) -> dict[str, int]:
        self.done.append("more")
        return {"rows": 5}

    async def answers(self) -> list[dict[str, Any]]:
        async with self.work.database.connection() as connection:
            rows = await connection.fetch("SELECT payload FROM outbox ORDER BY id")
        return [json.loads(row["payload"]) for row in rows]


@pytest.fixture
async def service(database: TestDatabase) -> AsyncIterator[Service]:
    opened = Database(database.dsn("s3-syncer"), application_name="test")
    yield Service(opened)
    await opened.close()


def due(name: str, **changes: Any) -> ScheduleDueV1:
    values: dict[str, Any] = {"name": name, "due_at": datetime(2026, 5, 1, 3, tzinfo=UTC), "run_id": new_id()}
    return ScheduleDueV1(**{**values, **changes})


def delivery_of(event: ScheduleDueV1) -> Delivery:
    envelope = Envelope.new(event, "/mediabus/cleanup-scheduler")
    return Delivery("s3-syncer", envelope, event.topic.name, 0, 0, event.key().encode(), {}, event.payload(), 1)


async def test_what_is_due_is_done_once_and_answered_with_counts(service: Service) -> None:
    service.scheduled.on("cleaning", service.sweep)
    service.scheduled.on("cleaning", service.sweep_more)
    event = due("cleaning")
    delivery = delivery_of(event)
    await service.scheduled.take(event, delivery)
    await service.scheduled.take(event, delivery)
    await service.scheduled.take(due("of another"), delivery_of(due("of another")))
    assert service.done == ["sweep", "more"]
    (answer,) = await service.answers()
    assert (answer["run_id"], answer["service"]) == (str(event.run_id), "s3-syncer")
    assert (answer["counts"], answer["error"]) == ({"files": 2, "rows": 6}, None)


async def test_a_failure_is_answered_and_holds_up_no_other_work(service: Service) -> None:
    async def fail() -> dict[str, int]:
        raise ValueError("no such thing")

    async def miss_the_bucket() -> dict[str, int]:
        raise StoreUnavailable("bucket", "connection refused")

    service.scheduled.on("cleaning", fail, miss_the_bucket, service.sweep)
    event = due("cleaning")
    await service.scheduled.take(event, delivery_of(event))
    (answer,) = await service.answers()
    assert answer["counts"] == {"files": 2, "rows": 1}
    assert answer["error"] == "unexpected_error: ValueError: no such thing; bucket_away: connection refused"


async def test_without_postgresql_it_comes_again(service: Service) -> None:
    async def miss_the_database() -> dict[str, int]:
        raise InfrastructureUnavailable("postgresql", "it restarts")

    service.scheduled.on("cleaning", miss_the_database)
    event = due("cleaning")
    with pytest.raises(InfrastructureUnavailable):
        await service.scheduled.take(event, delivery_of(event))
    assert await service.answers() == []


async def test_work_that_takes_too_long_is_stopped(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.scheduling.LONGEST_WORK_SECONDS", 0.05)

    async def hang() -> dict[str, int]:
        await asyncio.Event().wait()
        return {}

    service.scheduled.on("cleaning", hang)
    event = due("cleaning")
    await service.scheduled.take(event, delivery_of(event))
    assert (await service.answers())[0]["error"] == "work_deadline: stopped after 0.05 s"


async def test_who_is_told_without_a_run_answers_nobody(service: Service) -> None:
    service.scheduled.on("cleaning", service.sweep)
    event = due("cleaning", run_id=None)
    await service.scheduled.take(event, delivery_of(event))
    assert service.done == ["sweep"]
    assert await service.answers() == []


async def test_what_is_only_begun_is_answered_by_whoever_ends_it(service: Service) -> None:
    async def begin(event: ScheduleDueV1, delivery: Delivery) -> None:
        async with service.work.begin(delivery) as transaction:
            transaction.publish(work_done(event, "s3-syncer", {"begun": 1}))

    service.scheduled.begin("cleaning", begin)
    event = due("cleaning")
    delivery = delivery_of(event)
    await service.scheduled.take(event, delivery)
    with pytest.raises(AlreadyHandled):
        await service.scheduled.take(event, delivery)
    (answer,) = await service.answers()
    assert ScheduledWorkDoneV1.model_validate(answer).counts == {"begun": 1}
