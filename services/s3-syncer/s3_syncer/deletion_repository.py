"""Media that go for good, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import affected_rows, load_queries
from shared.events import FileOfMedium, MediaDeletionBegunV1, RemoveMediaFilesV1

QUERIES = load_queries(Path(__file__).with_name("deletions.sql"))


@dataclass(frozen=True, slots=True)
class Deletion:
    """One medium whose places are to be emptied. `files` had to go so far; `wanted` tells one wish from a later one."""

    media_id: UUID
    deletion_id: UUID
    keeps_bucket: bool
    keys: tuple[str, ...]
    staging_keys: tuple[str, ...]
    files: tuple[FileOfMedium, ...]
    wanted: int
    attempts: int
    told_trouble: str | None


@dataclass(frozen=True, slots=True)
class PutOff:
    """`now` and `due_at` are by PostgreSQL's clock."""

    attempts: int
    due_at: datetime
    now: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """`records` are the rows that went with the medium, in all, `files` those that had to go."""

    records: int
    files: tuple[FileOfMedium, ...]
    ended_at: datetime


class DeletionRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def fence(self, events: Sequence[MediaDeletionBegunV1]) -> None:
        """From the commit on nobody begins anything with the media's files, and no copy of them waits."""
        media_ids = [event.media_id for event in events]
        deletion_ids = [event.deletion_id for event in events]
        await self._connection.execute(
            QUERIES["fence"], media_ids, deletion_ids, [event.keeps_bucket for event in events]
        )
        await self._connection.execute(QUERIES["drop_copies"], media_ids)

    async def command(self, commands: Sequence[RemoveMediaFilesV1]) -> None:
        """Of different media: a medium's commands come one after the other."""
        fields = {"media_id", "deletion_id", "keeps_bucket", "keys", "staging_keys"}
        await self._connection.execute(
            QUERIES["command"], [command.model_dump(mode="json", include=fields) for command in commands]
        )

    async def look_again(self, media_ids: Sequence[UUID]) -> None:
        """Have those of the media emptied once more that were emptied before; others are left alone."""
        await self._connection.execute(QUERIES["look_again"], list(media_ids))

    async def deleted_among(self, media_ids: Sequence[UUID]) -> set[UUID]:
        rows = await self._connection.fetch(QUERIES["deleted_among"], list(media_ids))
        return {row["media_id"] for row in rows}

    async def pending_deleted(self, job_id: UUID, limit: int) -> list[UUID]:
        """Media of a job that it has not come to, and that are no more."""
        rows = await self._connection.fetch(QUERIES["pending_deleted"], job_id, limit)
        return [row["media_id"] for row in rows]

    async def take_due(self, limit: int, hold_seconds: float) -> list[Deletion]:
        """The longest due, which nobody else gets for so long."""
        return [
            Deletion(
                media_id=row["media_id"],
                deletion_id=row["deletion_id"],
                keeps_bucket=row["keeps_bucket"],
                keys=tuple(row["keys"]),
                staging_keys=tuple(row["staging_keys"] or ()),
                files=_files(row["files"]),
                wanted=row["wanted"],
                attempts=row["attempts"],
                told_trouble=row["told_trouble"],
            )
            for row in await self._connection.fetch(QUERIES["take_due"], limit, hold_seconds)
        ]

    async def known_keys(self, media_id: UUID) -> set[str]:
        """Every key that this service's tables name for the medium."""
        return {row["key"] for row in await self._connection.fetch(QUERIES["known_keys"], media_id)}

    async def is_in_bucket(self, media_id: UUID) -> bool:
        return bool(await self._connection.fetchval(QUERIES["is_in_bucket"], media_id))

    async def note_files(self, media_id: UUID, files: Sequence[FileOfMedium]) -> None:
        await self._connection.execute(
            QUERIES["note_files"], media_id, [file.model_dump(mode="json") for file in files]
        )

    async def is_held(self, media_id: UUID) -> bool:
        """Whether somebody works on the medium's files now; its row is locked until the transaction ends."""
        return bool(await self._connection.fetchval(QUERIES["is_held"], media_id))

    async def end(self, deletion: Deletion) -> Ended:
        """Forget the medium; unless it was wanted once more meanwhile, nothing is left to do."""
        records = await self._connection.fetchval(QUERIES["forget"], deletion.media_id)
        row = await self._connection.fetchrow(QUERIES["end"], deletion.media_id, deletion.wanted, records)
        assert row is not None, "a deletion's row is kept for longer than it is worked on"
        return Ended(row["records"], _files(row["files"]), row["ended_at"])

    async def put_off(self, deletion: Deletion, seconds: float, trouble: str | None) -> PutOff:
        row = await self._connection.fetchrow(QUERIES["put_off"], deletion.media_id, seconds, trouble)
        assert row is not None, "a deletion's row is kept for longer than it is worked on"
        return PutOff(row["attempts"], row["due_at"], row["now"])

    async def remove_late_rows(self, ended_within_seconds: float) -> None:
        await self._connection.execute(QUERIES["remove_late_rows"], ended_within_seconds)

    async def prune(self, kept_seconds: float, limit: int) -> int:
        """Remove at most `limit`, and say how many."""
        return affected_rows(await self._connection.execute(QUERIES["prune"], kept_seconds, limit))


def _files(stored: Sequence[Mapping[str, Any]]) -> tuple[FileOfMedium, ...]:
    return tuple(FileOfMedium.model_validate(file) for file in stored)
