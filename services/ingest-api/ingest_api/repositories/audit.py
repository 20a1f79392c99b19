"""Who did what, over all of ingest-api's records, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "audit.sql")

AuditArea = Literal[
    "settings", "reconcile", "schedules", "dead_letters", "deletions", "selections", "accounts", "api_keys"
]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """`subject` names what it was done to; `email` is None where the account is gone."""

    id: UUID
    area: AuditArea
    action: str
    subject: str
    done_by: UUID
    done_at: datetime
    detail: Mapping[str, Any]
    email: str | None


class AuditRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def newest(self, area: AuditArea | None, after: UUID | None, limit: int) -> list[AuditEntry]:
        rows = await self._connection.fetch(QUERIES["newest"], after, area, limit)
        return [AuditEntry(**row) for row in rows]
