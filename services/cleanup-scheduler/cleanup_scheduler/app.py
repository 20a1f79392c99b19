"""Composition root of cleanup-scheduler."""

from __future__ import annotations

from contextlib import AsyncExitStack

from cleanup_scheduler.catalogue import DEFINITIONS
from cleanup_scheduler.clock import SystemClock
from cleanup_scheduler.commands import Commands
from cleanup_scheduler.ending import Ending, count_from_the_start
from cleanup_scheduler.firing import Firing
from cleanup_scheduler.handlers import register
from cleanup_scheduler.retention import Retention
from cleanup_scheduler.settings import CleanupSchedulerSettings
from shared.scheduling import JOBS_RETENTION
from shared.service import Service


async def wire(service: Service, settings: CleanupSchedulerSettings, stack: AsyncExitStack) -> None:
    """Open what the process owns, in order, and register the handlers; `stack` closes it in reverse."""
    count_from_the_start(DEFINITIONS)
    clock = SystemClock()
    work = service.unit_of_work
    firing = Firing(
        work,
        clock,
        DEFINITIONS,
        time_zone=settings.time_zone,
        late_after_seconds=settings.late_after_seconds,
        absent=settings.absent_services,
    )
    commands = Commands(work, clock, DEFINITIONS, settings.absent_services)
    register(service.consumer, commands, Ending(work, clock))
    service.scheduled.on(JOBS_RETENTION, Retention(work, clock, settings.runs_kept_seconds).sweep)
    service.background(firing.listen, "news of schedules")
    service.background(firing.run, "clock")


def main() -> None:
    settings = CleanupSchedulerSettings()
    service = Service("cleanup-scheduler", settings)
    service.run(lambda stack: wire(service, settings, stack))


if __name__ == "__main__":
    main()
