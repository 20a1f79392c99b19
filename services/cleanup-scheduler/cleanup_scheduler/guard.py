"""When so much is to go for good that a person has to approve it first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guard:
    """More than `most_media`, or more than both `media` and the `share` of all media that are not deleted."""

    media: int
    share: float
    most_media: int

    def objection(self, due_media: int, live_media: int) -> str | None:
        """Why a purge of so many waits for approval; None: it may go on."""
        if due_media > self.most_media:
            return f"{due_media} media would go for good, more than {self.most_media}"
        if due_media > self.media and due_media > self.share * live_media:
            return f"{due_media} media would go for good, beside {live_media} that are not deleted"
        return None
