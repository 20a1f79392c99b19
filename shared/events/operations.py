"""How the processes of the system fare, for who operates it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from shared.events.envelope import Event
from shared.messaging.topics import OPS_EVENTS


class HeartbeatV1(Event, type="ops.heartbeat.v1", topic=OPS_EVENTS):
    """One process of a service as it is now; told again and again, published directly, and lost without harm.

    `lag_messages` counts by topic what lies in this process's partitions and is not done. `outbox_waiting` counts what
    the service has not published yet, and is told by the process whose relay leads.
    """

    service: str
    instance: str
    version: str
    started_at: datetime
    told_at: datetime
    every_seconds: float = Field(description="when the next one comes")
    is_ready: bool
    problems: dict[str, str] = Field(default_factory=dict, description="why it is not ready, by what it needs")
    lag_messages: dict[str, int] = Field(default_factory=dict)
    outbox_waiting: int | None = None
    is_stopping: bool = Field(default=False, description="the last one of this process")

    def key(self) -> str:
        return self.instance
