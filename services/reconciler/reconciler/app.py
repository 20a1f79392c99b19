"""Composition root of reconciler."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack

from reconciler.alerts import Alerts, channels_of
from reconciler.checks import Checks
from reconciler.commands import Commands
from reconciler.comparing import Comparing
from reconciler.executing import Executing
from reconciler.freshness import Freshness
from reconciler.handlers import register_bucket, register_checks, register_read_models, register_runs
from reconciler.looking import Looking
from reconciler.nightly import NightlyRun
from reconciler.planning import Guard
from reconciler.quarantine import QuarantineExpiry
from reconciler.retention import Retention
from reconciler.runner import Runner
from reconciler.scrub import Scrub
from reconciler.settings import ReconcilerSettings
from reconciler.sweep import Sweep
from reconciler.watch import Watch
from shared.scheduling import JOBS_RETENTION, QUARANTINE_EXPIRY, RECONCILE_NIGHTLY
from shared.service import Service
from shared.settings_feed import SettingsFeed, settings_of_environment
from shared.storage.following import BucketFollowing
from shared.storage.stores import open_stores

YOUNG_OBJECTS = 10_000
"""So many more objects are made than freed before the collector looks; a page of a listing is about as many."""


async def wire(service: Service, settings: ReconcilerSettings, stack: AsyncExitStack) -> None:
    """Open what the process owns, in order, and register the handlers; `stack` closes it in reverse."""
    stores = await stack.enter_async_context(open_stores(settings))
    feed = SettingsFeed(settings.kafka_bootstrap, settings_of_environment(settings))
    service.tell("settings", feed.state)
    service.background(feed.run, "settings feed")
    if stores.bucket is not None:
        service.background(BucketFollowing(stores.bucket, stores.bucket.settings, feed).run, "bucket following")
    freshness = Freshness(settings.kafka_bootstrap, service.name)
    stack.push_async_callback(freshness.close)
    looking = Looking(stores, freshness, settings)
    checks = Checks(service.unit_of_work, looking, service.publisher, at_once=settings.checks_at_once)
    guard = Guard(settings.guard_files, settings.guard_share, settings.guard_most_files)
    alerts = Alerts(service.unit_of_work, channels_of(settings))
    executing = Executing(
        service.unit_of_work,
        stores,
        checks,
        alerts,
        in_flight=settings.items_in_flight,
        temporary_kept_seconds=settings.temporary_kept_seconds,
    )
    comparing = Comparing(service.unit_of_work, looking, guard, alerts)
    runner = Runner(service.unit_of_work, comparing, executing, alerts, settings)
    register_read_models(service.consumer, service.unit_of_work)
    register_checks(service.consumer, checks, settings.checks_at_once)
    quarantine = QuarantineExpiry(service.unit_of_work, settings.quarantine_kept_seconds)
    register_runs(service.consumer, Commands(service.unit_of_work), executing, quarantine)
    service.background(runner.listen, "news of runs")
    service.background(runner.run, "runs")
    register_bucket(service.consumer, service.unit_of_work, settings.sweep_prefixes)
    service.scheduled.begin(RECONCILE_NIGHTLY, NightlyRun(service.unit_of_work).begin)
    if stores.bucket is not None:
        service.background(Sweep(service.unit_of_work, stores.bucket, settings).run, "sweep of the bucket")
    service.scheduled.on(QUARANTINE_EXPIRY, quarantine.sweep)
    service.scheduled.on(JOBS_RETENTION, Retention(service.unit_of_work, settings.runs_kept_seconds).sweep)
    if settings.scrub_enabled:
        service.background(Scrub(service.unit_of_work, stores, alerts, settings).run, "scrub of stored bytes")
    service.background(alerts.run, "alerts")
    service.background(Watch(service.unit_of_work, settings.quarantine_kept_seconds).run, "figures of repairs")
    _spare_collector()


def _spare_collector() -> None:
    """Take what lives as long as the process out of the garbage collector's sight, and have it look less often.

    Nothing that a comparison makes refers to itself: looking for what does took a quarter of its processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def main() -> None:
    settings = ReconcilerSettings()
    service = Service("reconciler", settings)
    service.run(lambda stack: wire(service, settings, stack))


if __name__ == "__main__":
    main()
