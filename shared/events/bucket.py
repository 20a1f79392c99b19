"""What a bucket tells of its objects: hints, since they come late, twice, out of order or not at all."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from shared.events.envelope import Event
from shared.messaging.topics import BUCKET_EVENTS


class BucketObjectV1(Event, type="bucket.object.v1", topic=BUCKET_EVENTS):
    """Something happened to an object; who acts on it looks at the object first.

    `sequencer` orders the events of one key where the store gives one; `etag` is that of a created object. `told_by` is
    `sweep` for what the listing showed and no notification had told of, and `deletion` for what one of us removed.
    """

    bucket: str
    object_key: str
    happened: Literal["created", "removed"]
    event_name: str
    size_bytes: int | None = None
    etag: str | None = None
    sequencer: str | None = None
    happened_at: datetime
    told_by: Literal["webhook", "kafka", "sweep", "deletion"]

    def key(self) -> str:
        return f"{self.bucket}/{self.object_key}"
