"""The schedules that there are: when they are due unless somebody changed it, and who does the work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shared import scheduling
from shared.events import MissedFirings

HOUR: Final = timedelta(hours=1)
EVERYBODY: Final = ("ingest-api", "image-processor", "s3-syncer", "reconciler", "face-embedder", "cleanup-scheduler")


@dataclass(frozen=True, slots=True)
class Definition:
    """`workers` answer when their part is done, within `answer_within`, or the run counts as open."""

    name: str
    cron: str
    missed: MissedFirings
    workers: tuple[str, ...]
    answer_within: timedelta


def _hourly(name: str, minute: int, *workers: str) -> Definition:
    # At different minutes: together they would be one burst on the database.
    return Definition(name, f"{minute} * * * *", MissedFirings.RUN_ONCE, workers, HOUR / 2)


def _nightly(name: str, hour: int, worker: str) -> Definition:
    return Definition(name, f"0 {hour} * * *", MissedFirings.RUN_ONCE, (worker,), 12 * HOUR)


DEFINITIONS: Final[Mapping[str, Definition]] = {
    definition.name: definition
    for definition in (
        _nightly(scheduling.RECONCILE_NIGHTLY, 2, "reconciler"),
        _nightly(scheduling.MEDIA_PURGE, 3, "ingest-api"),
        _hourly(scheduling.STAGING_CLEANUP, 5, "ingest-api"),
        _hourly(
            scheduling.JOBS_RETENTION, 15, "ingest-api", "s3-syncer", "reconciler", "face-embedder", "cleanup-scheduler"
        ),
        _hourly(scheduling.MESSAGES_PRUNING, 25, *EVERYBODY),
        _hourly(scheduling.QUARANTINE_EXPIRY, 35, "reconciler"),
        _hourly(scheduling.CONSENTS_EXPIRY, 45, "face-embedder"),
        _hourly(scheduling.MULTIPART_CLEANUP, 55, "s3-syncer"),
    )
}
