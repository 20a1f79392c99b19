"""Settings of cleanup-scheduler, beside those of every service."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from shared.cron import zone
from shared.settings import ServiceSettings

DAY_SECONDS = 24 * 3600


def _zone(name: str) -> str:
    zone(name)
    return name


class CleanupSchedulerSettings(ServiceSettings):
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="of schedules that nobody changed, as an IANA name"
    )
    late_after_seconds: float = Field(
        default=300.0, gt=0, description="a due time this old counts as missed: no clock ran when it came"
    )
    absent_services: frozenset[str] = Field(
        default=frozenset(), description="JSON list: services that are not run here, so that no run waits for them"
    )
    purge_guard_media: int = Field(
        default=20, ge=0, description="a purge of more than so many and of more than the share waits for approval"
    )
    purge_guard_share: float = Field(default=0.10, ge=0, le=1, description="of the media that are not deleted")
    purge_guard_most_media: int = Field(default=1000, ge=0, description="a purge of more waits in any case")
    runs_kept_seconds: float = Field(default=90 * DAY_SECONDS, gt=0, description="how long ended runs are listed")
