"""What cleanup-scheduler tells a site of its schedules and their runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from shared.events import MissedFirings, ScheduleChangedV1, ScheduleRunChangedV1, ScheduleRunStatus
from shared.identifiers import new_id
from tests.ingest_site import IngestSite

NEXT = datetime(2030, 3, 29, 3, tzinfo=UTC)


async def with_one_schedule(site: IngestSite) -> IngestSite:
    """The site as if it had been told of the nightly purge, and nothing else."""
    await site.rows.execute("TRUNCATE schedules, schedule_runs, schedule_requests, outbox")
    await tell(site)
    return site


async def tell(site: IngestSite, version: int = 1, **changes: Any) -> None:
    """What cleanup-scheduler says of the nightly purge."""
    values: dict[str, Any] = {
        "name": "media.purge",
        "version": version,
        "cron": "0 3 * * *",
        "time_zone": "UTC",
        "missed": MissedFirings.RUN_ONCE,
        "is_paused": False,
        "next_due_at": NEXT,
        "changed_at": NEXT - timedelta(days=1),
    }
    assert await site.handlers.deliver(ScheduleChangedV1(**{**values, **changes}))


async def tell_run(site: IngestSite, status: ScheduleRunStatus, version: int = 1, **changes: Any) -> UUID:
    """The id of the run of the nightly purge that it tells of."""
    values: dict[str, Any] = {
        "run_id": new_id(),
        "name": "media.purge",
        "version": version,
        "trigger": "clock",
        "status": status,
        "due_at": NEXT,
        "changed_at": NEXT,
    }
    event = ScheduleRunChangedV1(**{**values, **changes})
    assert await site.handlers.deliver(event)
    return event.run_id
