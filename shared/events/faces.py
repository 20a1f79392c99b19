"""Photographed events and the faces on their photos: told by ingest-api and face-embedder."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.events.envelope import Event
from shared.messaging.topics import CATALOG_EVENTS, FACE_EVENTS, FACE_INDEX, FACE_SEARCH, FACE_SYNC


class PhotoEventChangedV1(Event, type="catalog.photo-event-changed.v1", topic=CATALOG_EVENTS):
    """An event at which photos were taken, as it is now. A lower `version` that comes later is passed over.

    `number` names its folder in the bucket. Faces may be looked for while `is_searchable`, and are kept until
    `faces_expire_at` at the latest (None: until the event is deleted).
    """

    event_id: UUID
    number: int
    version: int
    name: str
    auto_index: bool
    is_searchable: bool
    faces_expire_at: datetime | None
    is_deleted: bool
    changed_at: datetime

    def key(self) -> str:
        return str(self.event_id)


class SyncEventPhotosV1(Event, type="face.sync-event-photos.v1", topic=FACE_SYNC):
    """Look at what lies in the bucket for an event, and index what is new or was changed there."""

    task_id: UUID
    event_id: UUID
    number: int
    s3_prefix: str
    requested_by: UUID | None
    requested_at: datetime

    def key(self) -> str:
        return str(self.event_id)


class AddEventPhotoV1(Event, type="face.add-event-photo.v1", topic=FACE_SYNC):
    """Have the photo known whose original somebody uploaded to an event, and its faces found.

    The original lies in the bucket. Whether the event indexes by itself what appears there does not matter.
    """

    event_id: UUID
    number: int
    image_key: str
    uploaded_by: UUID
    uploaded_at: datetime

    def key(self) -> str:
        return str(self.event_id)


class IndexPhotoV1(Event, type="face.index-photo.v1", topic=FACE_INDEX):
    """Find the faces on one photo. face-embedder's own: it lists, and its replicas share the work.

    `generation` counts the contents that were seen under the key; the result of an older one is passed over.
    """

    photo_id: UUID
    event_id: UUID
    generation: int
    task_id: UUID | None

    def key(self) -> str:
        return str(self.photo_id)


class FaceSyncStatus(StrEnum):
    """`listing` and `indexing` are under way; the last two are final."""

    LISTING = "listing"
    INDEXING = "indexing"
    COMPLETED = "completed"
    FAILED = "failed"


class FaceSyncChangedV1(Event, type="face.sync-changed.v1", topic=FACE_EVENTS):
    """How a sync of an event's photos stands; `version` counts per task.

    Counts are of photos: `total_found` = `new_photos` + `skipped`, and `processed` + `failed` never exceed
    `new_photos`. `no_face` are among `processed`. `originals_missing` and `previews_made` are among `total_found`.
    """

    task_id: UUID
    event_id: UUID
    version: int
    status: FaceSyncStatus
    total_found: int
    new_photos: int
    skipped: int
    processed: int
    failed: int
    no_face: int
    originals_missing: int
    previews_made: int
    message: str
    changed_at: datetime

    def key(self) -> str:
        return str(self.event_id)


class PhotoStatus(StrEnum):
    """`pending` waits for its faces; `failed` has a code that says why; `removed` has left the bucket."""

    PENDING = "pending"
    INDEXED = "indexed"
    NO_FACE_DETECTED = "no_face_detected"
    FAILED = "failed"
    REMOVED = "removed"


class EventPhotoChangedV1(Event, type="face.event-photo-changed.v1", topic=FACE_EVENTS):
    """One photo of an event as face-embedder knows it; `version` counts per photo.

    `s3_key` is the preview that is looked at, `image_key` the original, None where there is none. `confidence` is the
    best detection score, 0.0 without a face. `preview_etag` and `image_etag` are of the contents that were seen last,
    None where none was, or none is known.
    """

    photo_id: UUID
    event_id: UUID
    version: int
    s3_key: str
    image_key: str | None
    status: PhotoStatus
    faces: int
    confidence: float
    code: str | None = None
    detail: str | None = None
    changed_at: datetime
    preview_etag: str | None = None
    image_etag: str | None = None

    def key(self) -> str:
        return str(self.event_id)


class SealedSelfie(BaseModel):
    """Where an encrypted picture lies for the moment that a search takes.

    Neither the place nor the message opens it: the key is known to the services alone, and the file is removed as
    soon as it was read. `question_id` of the search is bound into the seal.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    size_bytes: int
    sha256: str = Field(description="of the sealed bytes")


class SearchFacesV1(Event, type="face.search.v1", topic=FACE_SEARCH):
    """A question: on which photos of an event is the person of a selfie? Changes nothing.

    Published directly, without outbox and inbox; the answer goes to `answers`. After `answer_by` nobody listens.
    `choose` says which face counts where the selfie shows several: the largest, or the one of that index, ordered by
    size. `threshold` None is that of the pack. Who wants faces erased may ask `for_erasure` where searches are off.
    """

    question_id: UUID
    answer_by: datetime
    event_id: UUID
    selfie: SealedSelfie
    choose: int | Literal["largest"] = "largest"
    threshold: float | None = Field(default=None, ge=-1, le=1)
    limit: int = Field(default=100, ge=1, le=1000)
    for_erasure: bool = False

    def key(self) -> str:
        return str(self.question_id)


class FaceToErase(BaseModel):
    """The face in this place of a photo: left, top, right, bottom in pixels of its preview."""

    model_config = ConfigDict(frozen=True)

    photo_id: UUID
    box: tuple[float, float, float, float]


class EraseFacesV1(Event, type="face.erase.v1", topic=FACE_SYNC):
    """Forget these faces of an event for good: they don't come back when their photos are looked at again."""

    erasure_id: UUID
    event_id: UUID
    faces: tuple[FaceToErase, ...]

    def key(self) -> str:
        return str(self.event_id)


class ErasedPhoto(BaseModel):
    """How many faces were removed from a photo; none where they had gone before."""

    model_config = ConfigDict(frozen=True)

    photo_id: UUID
    faces: int


class FacesErasedV1(Event, type="face.erased.v1", topic=FACE_EVENTS):
    """The faces of an erasure are gone, and the transaction in which they went has committed."""

    erasure_id: UUID
    event_id: UUID
    photos: tuple[ErasedPhoto, ...]
    erased_at: datetime

    def key(self) -> str:
        return str(self.event_id)


class NamePerson(BaseModel):
    """Call a person so, or let them have no name any more.

    `version` is that of the person that whoever asked had seen; None takes whatever holds now.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["name"] = "name"
    person_id: UUID
    name: str | None
    version: int | None = None


class MergePeople(BaseModel):
    """These people are one; `into` stays, with its name if it has one, else with the first name of the others."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["merge"] = "merge"
    into: UUID
    people: tuple[UUID, ...]


class SplitPerson(BaseModel):
    """These faces are another person's: they get one of their own, without a name."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["split"] = "split"
    person_id: UUID
    faces: tuple[UUID, ...]


class UndoChange(BaseModel):
    """Take a change of people back, as far as its faces are still there."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["undo"] = "undo"
    undone: UUID


PeopleWish = Annotated[NamePerson | MergePeople | SplitPerson | UndoChange, Field(discriminator="kind")]


class ChangePeopleV1(Event, type="face.change-people.v1", topic=FACE_SYNC):
    """What somebody decided about the people of an event; `face.people-change-ended.v1` tells what came of it."""

    change_id: UUID
    event_id: UUID
    wish: PeopleWish
    requested_by: UUID | None
    requested_at: datetime

    def key(self) -> str:
        return str(self.event_id)


class PeopleChangeEndedV1(Event, type="face.people-change-ended.v1", topic=FACE_EVENTS):
    """A change of people was made, or refused for the reason that `code` and `detail` say.

    What it did to whom was told before it. `person_id` is who was named, who the others were merged into, or the
    person that a split has made; None where nobody is left.
    """

    change_id: UUID
    event_id: UUID
    is_done: bool
    person_id: UUID | None = None
    code: str | None = None
    detail: str | None = None
    ended_at: datetime

    def key(self) -> str:
        return str(self.event_id)


class FacePlace(BaseModel):
    """A face by its photo, and its place there: left, top, right, bottom in pixels of the preview."""

    model_config = ConfigDict(frozen=True)

    photo_id: UUID
    box: tuple[float, float, float, float]


class PersonChangedV1(Event, type="face.person-changed.v1", topic=FACE_EVENTS):
    """Somebody on the photos of one event, as they are known now; of two facts that of the higher `version` holds.

    A person without a face left is gone, with the name: `is_gone`, and `merged_into` where the faces are another
    person's now. Only undoing that merge brings the person back.
    """

    person_id: UUID
    event_id: UUID
    version: int
    name: str | None
    faces: int
    photos: int
    cover: FacePlace | None
    is_gone: bool
    merged_into: UUID | None = None
    changed_at: datetime

    def key(self) -> str:
        return str(self.event_id)


class FaceOfPerson(BaseModel):
    """A face on a photo and whose it is; None while that is not known."""

    model_config = ConfigDict(frozen=True)

    face_id: UUID
    box: tuple[float, float, float, float]
    person_id: UUID | None


class PhotoPeopleChangedV1(Event, type="face.photo-people-changed.v1", topic=FACE_EVENTS):
    """All faces of one photo and whose they are; of two facts that of the higher `version` holds.

    `width_px` and `height_px` are of the preview that the boxes are on, None where they are not known.
    """

    photo_id: UUID
    event_id: UUID
    version: int
    width_px: int | None
    height_px: int | None
    faces: tuple[FaceOfPerson, ...]
    changed_at: datetime

    def key(self) -> str:
        return str(self.event_id)
