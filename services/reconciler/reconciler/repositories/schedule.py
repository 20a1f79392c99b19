"""What is due: alerts on their way, quarantine whose time is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from reconciler.repositories.runs import KeptItem, kept_item
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "schedule.sql")


@dataclass(frozen=True, slots=True)
class DueAlert:
    alert_id: UUID
    channel: str
    subject: str
    body: Mapping[str, Any]
    attempts: int


class Schedule:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def add_alert(self, alert_id: UUID, channels: Sequence[str], subject: str, body: Mapping[str, Any]) -> None:
        await self._connection.execute(QUERIES["add_alert"], alert_id, list(channels), subject, dict(body))

    async def due_alerts(self) -> list[DueAlert]:
        """Locked until the transaction ends."""
        return [DueAlert(**row) for row in await self._connection.fetch(QUERIES["due_alerts"])]

    async def alert_sent(self, alert: DueAlert) -> None:
        await self._connection.execute(QUERIES["alert_sent"], alert.alert_id, alert.channel)

    async def alert_failed(self, alert: DueAlert, error: str, again_after_seconds: float, *, given_up: bool) -> None:
        await self._connection.execute(
            QUERIES["alert_failed"], alert.alert_id, alert.channel, error, again_after_seconds, given_up
        )

    async def prune_alerts(self, kept_seconds: float) -> None:
        """Forget alerts that got through, or were given up, so long ago."""
        await self._connection.execute(QUERIES["prune_alerts"], kept_seconds)

    async def expired_items(self, kept_seconds: float, limit: int) -> list[KeptItem]:
        """Items whose files lay in quarantine for so long, locked until the transaction ends; their plans too."""
        return [kept_item(row) for row in await self._connection.fetch(QUERIES["expired_items"], kept_seconds, limit)]

    async def expire(self, task_id: UUID, item_ids: Sequence[UUID]) -> None:
        """Note that a task removes their files, in this order."""
        await self._connection.execute(QUERIES["expire"], task_id, list(item_ids))

    async def expiry_failed(self, task_id: UUID, steps: Sequence[int]) -> None:
        """Note that these steps of the task failed: their files are in quarantine still."""
        await self._connection.execute(QUERIES["expiry_failed"], task_id, list(steps))
