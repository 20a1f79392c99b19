"""Which media are deleted softly since when, and the purges that take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import (
    MediaDeletedV1,
    MediaDeletionBegunV1,
    MediaDeletionCompletedV1,
    MediaPurgeTakenV1,
    MediaRestoredV1,
    MediumToPurge,
)

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "ledger.sql")
Stage = Literal["waiting", "sending", "sent", "dropped"]


@dataclass(frozen=True, slots=True)
class Due:
    """How much is due, altogether."""

    media: int
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DueMedium:
    media_id: UUID
    deleted_at: datetime
    files: int
    size_bytes: int


class Ledger:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    # --- what is told of media ------------------------------------------------------------------------------------

    async def know_uploaded(self, media_id: UUID) -> None:
        await self._connection.execute(QUERIES["know_uploaded"], media_id)

    async def know_deleted(self, events: Sequence[MediaDeletedV1]) -> None:
        """Of different media: a medium's facts come one after the other."""
        await self._connection.execute(
            QUERIES["know_deleted"],
            [event.media_id for event in events],
            [event.version for event in events],
            [event.deleted_at for event in events],
            [event.files for event in events],
            [event.size_bytes for event in events],
        )

    async def know_restored(self, event: MediaRestoredV1) -> None:
        await self._connection.execute(QUERIES["know_restored"], event.media_id, event.version)

    async def know_going(self, events: Sequence[MediaDeletionBegunV1]) -> None:
        """Of different media."""
        await self._connection.execute(
            QUERIES["know_going"], [event.media_id for event in events], [event.version for event in events]
        )

    async def forget(self, media_ids: Sequence[UUID]) -> None:
        await self._connection.execute(QUERIES["forget"], list(media_ids))

    # --- what is due ----------------------------------------------------------------------------------------------

    async def due(self, deleted_until: datetime) -> Due:
        row = await self._connection.fetchrow(QUERIES["due"], deleted_until)
        assert row is not None
        return Due(**row)

    async def due_media(self, deleted_until: datetime, limit: int) -> list[DueMedium]:
        """Those that were deleted first."""
        return [DueMedium(**row) for row in await self._connection.fetch(QUERIES["due_media"], deleted_until, limit)]

    async def live(self) -> int:
        """How many media are not deleted."""
        return int(await self._connection.fetchval(QUERIES["live"]))

    # --- purges ---------------------------------------------------------------------------------------------------

    async def free_left(self, sent_before: datetime) -> None:
        """Have media purged again that an answer passed over, or whose command, sent so long ago, nobody answered."""
        await self._connection.execute(QUERIES["free_left"], sent_before)

    async def add_plan(self, run_id: UUID, stage: Stage, deleted_until: datetime, now: datetime) -> None:
        await self._connection.execute(QUERIES["add_plan"], run_id, stage, deleted_until, now)

    async def waiting_runs(self) -> list[UUID]:
        """Those that a person has to approve, oldest first."""
        return [row["run_id"] for row in await self._connection.fetch(QUERIES["waiting_runs"])]

    async def set_stage(self, run_id: UUID, before: Stage, after: Stage) -> bool:
        """False where the plan was not at `before`."""
        return bool(await self._connection.fetchval(QUERIES["set_stage"], run_id, before, after))

    async def lock_sending(self) -> tuple[UUID, datetime] | None:
        """The oldest plan that is to be sent, with the moment up to which it takes, while nobody else sends any."""
        rows = await self._connection.fetch(QUERIES["lock_sending"])
        return (rows[0]["run_id"], rows[0]["deleted_until"]) if rows else None

    async def take(self, deleted_until: datetime, purge_id: UUID, limit: int) -> list[MediumToPurge]:
        """Some media that are due and in no purge, now in this one."""
        rows = await self._connection.fetch(QUERIES["take"], deleted_until, purge_id, limit)
        return [MediumToPurge(**row) for row in rows]

    async def add_purge(self, purge_id: UUID, run_id: UUID, media: int, now: datetime) -> None:
        await self._connection.execute(QUERIES["add_purge"], purge_id, run_id, media, now)

    async def outstanding(self, sent_after: datetime) -> int:
        """How many media of all runs, commanded since then, are neither gone nor passed over."""
        return int(await self._connection.fetchval(QUERIES["outstanding"], sent_after))

    async def note_taken(self, event: MediaPurgeTakenV1) -> UUID | None:
        """The run, where this purge is over. What was passed over is due again, should it still be deleted."""
        run_id: UUID | None = await self._connection.fetchval(
            QUERIES["note_taken"], event.purge_id, event.taken_at, len(event.begun), len(event.passed_over)
        )
        await self._pass_over(event.purge_id, event.passed_over)
        return run_id

    async def _pass_over(self, purge_id: UUID, media_ids: Sequence[UUID]) -> None:
        await self._connection.execute(QUERIES["pass_over"], purge_id, list(media_ids))

    async def note_completed(self, events: Sequence[MediaDeletionCompletedV1]) -> set[UUID]:
        """The runs of the purges that had the media deleted, where those purges are over with them."""
        media: Counter[UUID] = Counter()
        removed_bytes: Counter[UUID] = Counter()
        for event in events:
            if event.purge_id is not None:
                media[event.purge_id] += 1
                removed_bytes[event.purge_id] += event.removed_bytes
        rows = await self._connection.fetch(
            QUERIES["note_completed"],
            list(media),
            list(media.values()),
            [removed_bytes[purge_id] for purge_id in media],
        )
        return {row["run_id"] for row in rows if row["run_id"] is not None}

    async def outcome(self, run_id: UUID) -> dict[str, int] | None:
        """What a run's purges came to, by names of counts; None while something of them is open."""
        row = await self._connection.fetchrow(QUERIES["outcome"], run_id)
        return dict(row) if row else None
