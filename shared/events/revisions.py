"""What becomes of the revisions of a medium, told by ingest-api."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field

from shared.events.envelope import Event
from shared.events.images import StoredFile
from shared.messaging.topics import MEDIA_EVENTS


class RerenderingCancelledV1(Event, type="media.rerendering-cancelled.v1", topic=MEDIA_EVENTS):
    """Somebody cancelled a selection that is rendered anew: of what is queued for it nothing is begun any more."""

    job_id: UUID = Field(description="of the selection, as its commands name it")
    cancelled_at: datetime

    def key(self) -> str:
        return str(self.job_id)


class MediaRevisionSupersededV1(Event, type="media.revision-superseded.v1", topic=MEDIA_EVENTS):
    """The catalogue shows a newer revision of a medium: the files of this one may go once nobody reads them."""

    media_id: UUID
    revision: int
    files: tuple[StoredFile, ...] = Field(description="of that revision, under the keys that they had last")
    superseded_at: datetime

    def key(self) -> str:
        return str(self.media_id)
