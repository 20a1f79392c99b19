"""Answers what would go for good at a moment; changes nothing."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from cleanup_scheduler.guard import Guard
from cleanup_scheduler.repositories.ledger import DueMedium, Ledger
from shared.db.unit_of_work import UnitOfWork
from shared.events import AnswerV1, DescribeDueMediaV1
from shared.messaging.publisher import Publisher
from shared.settings_feed import SettingsFeed

log = logging.getLogger(__name__)

SETTINGS_UNKNOWN = "the clock has not read the settings yet; ask again in a moment"


class DueMedia:
    """The ledger, as the purge would read it."""

    def __init__(self, unit_of_work: UnitOfWork, feed: SettingsFeed, guard: Guard, publisher: Publisher) -> None:
        self._unit_of_work = unit_of_work
        self._feed = feed
        self._guard = guard
        self._publisher = publisher

    async def answer(self, question: DescribeDueMediaV1) -> None:
        """Publish what is due, unless nobody waits for it any more."""
        try:
            async with asyncio.timeout(max((question.answer_by - datetime.now(UTC)).total_seconds(), 0)):
                answer = await self.described(question)
        except TimeoutError:
            log.warning("a question was not answered in time", extra={"type": question.event_type})
            return
        self._publisher.tell(answer)

    async def described(self, question: DescribeDueMediaV1) -> AnswerV1:
        if not self._feed.caught_up:
            return AnswerV1(question_id=question.question_id, problem=SETTINGS_UNKNOWN)
        settings = self._feed.current()
        days = settings.soft_delete_retention_days if question.retention_days is None else question.retention_days
        deleted_until = question.at - timedelta(days=days)
        async with self._unit_of_work.begin() as transaction:
            ledger = Ledger(transaction.connection)
            due, live = await ledger.due(deleted_until), await ledger.live()
            media = await ledger.due_media(deleted_until, question.limit)
        body = {
            "at": question.at.isoformat(),
            "retentionDays": days,
            "autoCleanupEnabled": settings.auto_cleanup_enabled,
            "media": due.media,
            "files": due.files,
            "bytes": due.size_bytes,
            "liveMedia": live,
            "needsApprovalBecause": self._guard.objection(due.media, live),
            "items": [_item(medium) for medium in media],
        }
        return AnswerV1(question_id=question.question_id, body=body)


def _item(medium: DueMedium) -> dict[str, Any]:
    return {
        "mediaId": str(medium.media_id),
        "deletedAt": medium.deleted_at.isoformat(),
        "files": medium.files,
        "bytes": medium.size_bytes,
    }
