"""How the services fare, made of what their processes told last. Without I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ingest_api.repositories.replicas import Replica

MISSED_HEARTBEATS = 3

ReplicaStatus = Literal["ready", "not_ready", "not_seen"]
ServiceStatus = Literal["ready", "degraded", "not_ready", "not_seen"]


@dataclass(frozen=True, slots=True)
class ServiceOverview:
    """`lag_messages` are those of all replicas that are heard; `outbox_waiting` is None where none of them knows."""

    service: str
    status: ServiceStatus
    lag_messages: Mapping[str, int]
    outbox_waiting: int | None
    open_dead_letters: int
    replicas: Sequence[Replica]


def replica_status(replica: Replica, now: datetime) -> ReplicaStatus:
    """Not seen once three heartbeats in a row did not come."""
    if now - replica.told_at > timedelta(seconds=MISSED_HEARTBEATS * replica.every_seconds):
        return "not_seen"
    return "ready" if replica.is_ready else "not_ready"


def overview(
    services: Iterable[str], replicas: Sequence[Replica], open_dead_letters: Mapping[str, int], now: datetime
) -> list[ServiceOverview]:
    """One for each service, also for one of which nothing is heard."""
    return [
        _of_one(service, [one for one in replicas if one.service == service], open_dead_letters.get(service, 0), now)
        for service in services
    ]


def _of_one(service: str, replicas: Sequence[Replica], open_dead_letters: int, now: datetime) -> ServiceOverview:
    heard = [one for one in replicas if replica_status(one, now) != "not_seen"]
    lag: Counter[str] = Counter()
    for one in heard:
        lag.update(one.lag_messages)
    waiting = [one.outbox_waiting for one in heard if one.outbox_waiting is not None]
    return ServiceOverview(
        service,
        _status(heard, replicas),
        dict(sorted(lag.items())),
        max(waiting, default=None),
        open_dead_letters,
        replicas,
    )


def _status(heard: Sequence[Replica], replicas: Sequence[Replica]) -> ServiceStatus:
    ready = [one for one in heard if one.is_ready]
    if not heard:
        return "not_seen"
    if not ready:
        return "not_ready"
    return "ready" if len(ready) == len(replicas) else "degraded"
