"""What the clock tells."""

from __future__ import annotations

from datetime import datetime

from shared.events.envelope import Event
from shared.messaging.topics import SCHEDULE_EVENTS


class ScheduleDueV1(Event, type="schedule.due.v1", topic=SCHEDULE_EVENTS):
    """The time for something has come; told once per moment, and late where the clock was stopped meanwhile."""

    name: str
    due_at: datetime

    def key(self) -> str:
        return self.name
