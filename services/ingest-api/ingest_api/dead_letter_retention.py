"""Which dead letters are forgotten: those whose time is over, what is too much, and those of media that are gone."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from ingest_api.repositories.dead_letters import DeadLetterRepository
from ingest_api.settings import MEBIBYTE, IngestSettings
from shared.db.batches import remove_in_batches
from shared.db.pool import Database, PooledConnection
from shared.db.unit_of_work import Transaction
from shared.events import (
    Event,
    ImageDiscardedV1,
    ImageMediaForgottenV1,
    MediaDeletionBegunV1,
    MediaDeletionCompletedV1,
    MediaFilesRemovedV1,
    MediaRemovalDelayedV1,
    ReconcileMediaForgottenV1,
    RemoveMediaFilesV1,
)
from shared.messaging.letters import Settlement, settlement_of
from shared.telemetry import metrics

log = logging.getLogger(__name__)

BATCH_ROWS: Final = 500
LOOK_AFTER_BYTES: Final = 16 * MEBIBYTE
"""So much may come before it is looked at again, so that a flood stays bounded between two due times."""

_OF_ITS_END: Final[tuple[type[Event], ...]] = (
    ImageDiscardedV1,
    ImageMediaForgottenV1,
    MediaDeletionBegunV1,
    MediaDeletionCompletedV1,
    MediaFilesRemovedV1,
    MediaRemovalDelayedV1,
    ReconcileMediaForgottenV1,
    RemoveMediaFilesV1,
)
TYPES_OF_ITS_END: Final = tuple(event.event_type for event in _OF_ITS_END)
"""They have no names in them, and a replay may still remove what came back, or tell others that the medium is gone."""


@dataclass(frozen=True, slots=True)
class LettersKept:
    """The newest, as long as all three hold: their age, how many, and the bytes of all of them with their headers."""

    seconds: float
    letters: int
    size_bytes: int

    @classmethod
    def of(cls, settings: IngestSettings) -> LettersKept:
        return cls(settings.dead_letters_kept_seconds, settings.dead_letters_kept, settings.dead_letters_kept_bytes)


class DeadLetterRetention:
    """Keeps letters within bounds, and tells of what it forgets. Several processes at it do no harm."""

    def __init__(self, database: Database, kept: LettersKept) -> None:
        self._database = database
        self._kept = kept
        self._added_bytes = 0

    async def added(self, size_bytes: int) -> None:
        """Tell of a letter that has been recorded; removes at once what is too much."""
        self._added_bytes += size_bytes
        if self._added_bytes < LOOK_AFTER_BYTES:
            return
        # What comes meanwhile counts for the next look, and so does this where it is in vain.
        looked_for, self._added_bytes = self._added_bytes, 0
        try:
            await self.remove()
        except BaseException:
            self._added_bytes += looked_for
            raise

    async def remove(self) -> int:
        """Remove what is over or too much, the oldest first; how many letters."""
        letters: Counter[str] = Counter()
        open_letters = 0

        async def remove_some(connection: PooledConnection[Any]) -> int:
            nonlocal open_letters
            kept = self._kept
            repository = DeadLetterRepository(connection)
            removed = await repository.remove_over(kept.seconds, kept.letters, kept.size_bytes, BATCH_ROWS)
            letters.update({one.reason: one.letters for one in removed})
            open_letters += sum(one.open_letters for one in removed)
            return sum(one.letters for one in removed)

        try:
            # A letter that somebody holds leaves a batch short: there may be more behind it.
            removed = 0
            while some := await remove_in_batches(self._database, BATCH_ROWS, remove_some):
                removed += some
            return removed
        finally:
            for reason, count in letters.items():
                metrics.dead_letters_forgotten_total.labels(reason).inc(count)
            if letters:
                is_flood = bool(letters.keys() - {"age"})
                told = {**letters, "undecided": open_letters}
                log.log(logging.WARNING if is_flood else logging.INFO, "dead letters are forgotten", extra=told)


async def forget_letters_of(transaction: Transaction, media_ids: Sequence[UUID]) -> None:
    """Remove the letters of media whose record goes in this transaction, from their topics too; behind the records.

    Nobody can do anything with them any more, and they name what was uploaded.
    """
    removed = await DeadLetterRepository(transaction.connection).remove_of_media(media_ids, TYPES_OF_ITS_END)
    if not removed:
        return
    transaction.outgoing.extend(
        settlement_of(str(one.id), one.service, Settlement.DROPPED) for one in removed if one.state == "open"
    )
    metrics.dead_letters_forgotten_total.labels("medium_gone").inc(len(removed))
    log.info("dead letters went with their media", extra={"letters": len(removed), "media": len(media_ids)})
