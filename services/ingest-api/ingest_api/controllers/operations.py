"""Operating the system: how its services fare, and where more is to be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import require
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, id_of
from ingest_api.repositories.audit import AuditArea, AuditRepository
from ingest_api.repositories.dead_letters import DeadLetterRepository
from ingest_api.repositories.replicas import Replica, ReplicaRepository
from ingest_api.service_overview import ServiceOverview, overview, replica_status
from ingest_api.settings import IngestSettings
from shared.db.pool import Database
from shared.messaging.topics import SERVICES

SILENT_SHOWN_SECONDS = 600.0


class ReplicaAnswer(msgspec.Struct, rename="camel"):
    """One process. `not_seen`: three of its heartbeats did not come. `problems` say why it is not ready."""

    instance: str
    status: Literal["ready", "not_ready", "not_seen"]
    version: str
    started_at: datetime
    last_seen_at: datetime
    problems: Mapping[str, str]
    lag_messages: Mapping[str, int]


class ServiceAnswer(msgspec.Struct, rename="camel"):
    """`degraded`: some of its replicas are not ready or not seen.

    `lagMessages` by topic are those of all that are seen; `outboxWaiting` is null where nobody knows.
    """

    service: str
    status: Literal["ready", "degraded", "not_ready", "not_seen"]
    lag_messages: Mapping[str, int]
    outbox_waiting: int | None
    open_dead_letters: int
    replicas: list[ReplicaAnswer]


class ServiceList(msgspec.Struct, rename="camel"):
    services: list[ServiceAnswer]


class LinksAnswer(msgspec.Struct, rename="camel"):
    """Addresses for people; null where none is set. In `trace`, `{traceId}` stands for the id of a trace."""

    jaeger: str | None
    grafana: str | None
    trace: str | None


class AuditEntryAnswer(msgspec.Struct, rename="camel"):
    """What somebody did. `subject` is an id or a name, by `area`; `email` is null once the account is gone."""

    id: UUID
    area: AuditArea
    action: str
    subject: str
    done_at: datetime
    done_by: UUID
    email: str | None
    detail: Mapping[str, Any]


class AuditList(msgspec.Struct, rename="camel"):
    entries: list[AuditEntryAnswer]
    next_cursor: str | None


class OperationsController(Controller):
    """How the system fares."""

    path = "/api/admin/ops"
    tags = ("Operations",)
    guards = (require(Role.SUPERADMIN),)

    @get("/services", summary="How the services fare")
    async def services(self, database: NamedDependency[Database]) -> ServiceList:
        """As each process told last, some seconds ago; what was silent for ten minutes is left out."""
        async with database.connection() as connection:
            replicas = await ReplicaRepository(connection).heard_within(SILENT_SHOWN_SECONDS)
            letters = await DeadLetterRepository(connection).open_by_service()
        now = datetime.now(UTC)
        return ServiceList([_service_answer(one, now) for one in overview(SERVICES, replicas, letters, now)])

    @get("/audit", summary="Who did what")
    async def audit(
        self,
        database: NamedDependency[Database],
        area: FromQuery[AuditArea | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> AuditList:
        """Newest first. `nextCursor` is null on the last page.

        Changes of settings, accounts and API keys, decisions about repairs, schedules and dead letters, media deleted
        for good, and selections that were deleted, restored or rendered anew.
        """
        async with database.connection() as connection:
            entries = await AuditRepository(connection).newest(area, id_of(cursor), limit + 1)
        page = entries[:limit]
        return AuditList(
            [AuditEntryAnswer(**asdict(entry)) for entry in page],
            cursor_behind(entries, limit),
        )

    @get("/links", summary="Where traces and dashboards are")
    async def links(self, settings: NamedDependency[IngestSettings]) -> LinksAnswer:
        jaeger = settings.jaeger_url and settings.jaeger_url.rstrip("/")
        return LinksAnswer(jaeger, settings.grafana_url, settings.trace_address("{traceId}"))


def _service_answer(service: ServiceOverview, now: datetime) -> ServiceAnswer:
    return ServiceAnswer(
        service.service,
        service.status,
        service.lag_messages,
        service.outbox_waiting,
        service.open_dead_letters,
        [_replica_answer(one, now) for one in service.replicas],
    )


def _replica_answer(replica: Replica, now: datetime) -> ReplicaAnswer:
    return ReplicaAnswer(
        replica.instance,
        replica_status(replica, now),
        replica.version,
        replica.started_at,
        replica.told_at,
        replica.problems,
        replica.lag_messages,
    )
