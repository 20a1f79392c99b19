"""What goes through one WebSocket: the notices of its user, in order, from where the client left off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from opentelemetry.trace import SpanKind

from ingest_api.catalogue import Records
from ingest_api.notifications import NewsHub
from ingest_api.repositories.notices import Notice, NoticeRepository
from shared.db.pool import Database
from shared.messaging.errors import InfrastructureUnavailable
from shared.telemetry.tracing import span

log = logging.getLogger(__name__)

PAGE_ROWS: Final = 100
LOOK_EVERY_SECONDS: Final = 15.0
"""How often notices are looked for though nothing was heard, in case a notification was lost."""
AWAY_SECONDS: Final = 1.0

SendMessage = Callable[[dict[str, Any]], Awaitable[None]]


class TooSlow(Exception):
    """The client did not take a message in time; it can come back and have it replayed."""


@dataclass(frozen=True, slots=True)
class NoticeStream:
    """Reads notices at the pace of their reader, so that nothing piles up in memory for a slow one."""

    database: Database
    hub: NewsHub
    records: Records
    send_seconds: float

    async def run(self, user_id: UUID, after: int | None, send: SendMessage) -> None:
        """Send every notice behind `after`, or from now on if that is None; returns only by cancellation.

        Raises TooSlow. While PostgreSQL is away the socket stays open and goes on later.
        """
        with self.hub.listening_for(str(user_id)) as news:
            last_id = await self._start_at(user_id, after)
            while True:
                news.clear()
                try:
                    notices = await self._read(user_id, last_id)
                except InfrastructureUnavailable:
                    await asyncio.sleep(AWAY_SECONDS)
                    continue
                for notice in notices:
                    await self._send(notice, send)
                    last_id = notice.id
                if len(notices) < PAGE_ROWS:
                    await _sleep_until(news)

    async def _start_at(self, user_id: UUID, after: int | None) -> int:
        while True:
            try:
                async with self.database.connection() as connection:
                    newest = await NoticeRepository(connection).last_id(user_id)
            except InfrastructureUnavailable:
                await asyncio.sleep(AWAY_SECONDS)
            else:
                # A number that was never given would keep the socket silent until it is.
                return newest if after is None else max(0, min(after, newest))

    async def _read(self, user_id: UUID, last_id: int) -> list[Notice]:
        async with self.database.connection() as connection:
            return await NoticeRepository(connection).after(user_id, last_id, PAGE_ROWS)

    async def _send(self, notice: Notice, send: SendMessage) -> None:
        parent = {"traceparent": notice.traceparent} if notice.traceparent else {}
        with span(f"notify {notice.type}", SpanKind.PRODUCER, {"mediabus.notice": notice.id}, parent_headers=parent):
            try:
                async with asyncio.timeout(self.send_seconds):
                    await send(message_of(notice, self.records))
            except TimeoutError as error:
                raise TooSlow from error


def message_of(notice: Notice, records: Records) -> dict[str, Any]:
    """The message as clients know it; `id` is what `?after=` takes."""
    message: dict[str, Any] = {"id": notice.id, "type": notice.type, "jobId": notice.job_id}
    if notice.media_id is None:
        return message | dict(notice.body)
    message["mediaId"] = notice.media_id
    if notice.type == "media:progress":
        return message | {"progress": notice.body["progress"]}
    success = bool(notice.body["success"])
    urls = (
        records.urls(notice.media_id, notice.body["revision"], notice.body["names"], private=notice.body["private"])
        if success
        else None
    )
    return message | {"success": success, "urls": urls, "error": notice.body.get("error")}


async def _sleep_until(news: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_EVERY_SECONDS):
            await news.wait()
    except TimeoutError:
        return
