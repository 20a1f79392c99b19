"""Composition root of cleanup-scheduler."""

from __future__ import annotations

from contextlib import AsyncExitStack

from cleanup_scheduler.catalogue import DEFINITIONS
from cleanup_scheduler.clock import SystemClock
from cleanup_scheduler.commands import Commands
from cleanup_scheduler.due_media import DueMedia
from cleanup_scheduler.ending import Ending, count_from_the_start
from cleanup_scheduler.firing import Firing
from cleanup_scheduler.guard import Guard
from cleanup_scheduler.handlers import register_ledger, register_purges, register_schedules
from cleanup_scheduler.purging import Purging
from cleanup_scheduler.retention import Retention
from cleanup_scheduler.settings import CleanupSchedulerSettings
from shared.scheduling import JOBS_RETENTION, MEDIA_PURGE
from shared.service import Service
from shared.settings_feed import SettingsFeed, settings_of_environment


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
    feed = SettingsFeed(settings.kafka_bootstrap, settings_of_environment(settings))
    service.tell("settings", feed.state)
    guard = Guard(settings.purge_guard_media, settings.purge_guard_share, settings.purge_guard_most_media)
    purging = Purging(work, clock, feed, guard)
    commands = Commands(work, clock, DEFINITIONS, settings.absent_services)
    register_schedules(service.consumer, commands, Ending(work, clock))
    register_purges(service.consumer, purging, DueMedia(work, feed, guard, service.publisher))
    register_ledger(service.consumer, work, purging)
    service.scheduled.begin(MEDIA_PURGE, purging.begin)
    service.scheduled.on(JOBS_RETENTION, Retention(work, clock, settings.runs_kept_seconds).sweep)
    service.background(feed.run, "settings feed")
    service.background(purging.work_off, "purges")
    service.background(firing.listen, "news of schedules")
    service.background(firing.run, "clock")


def main() -> None:
    settings = CleanupSchedulerSettings()
    service = Service("cleanup-scheduler", settings)
    service.run(lambda stack: wire(service, settings, stack))


if __name__ == "__main__":
    main()
