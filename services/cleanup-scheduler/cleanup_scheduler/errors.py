"""What this service refuses."""

from __future__ import annotations

from shared.messaging.errors import PermanentError


class UnknownSchedule(PermanentError):
    """This version defines no schedule of the name."""

    def __init__(self, name: str) -> None:
        super().__init__("unknown_schedule", f"there is no schedule {name!r}")
