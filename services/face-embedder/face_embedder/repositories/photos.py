"""Photos of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from face_embedder.packs import PackId
from face_embedder.photos import FoundPhoto, Photo
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import PhotoStatus
from shared.identifiers import new_id

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "photos.sql")


@dataclass(frozen=True, slots=True)
class NewPhoto:
    """A photo that nobody knew; one without a preview's tag has its preview made of the original."""

    s3_key: str
    stem: str
    preview_etag: str | None
    image_key: str | None = None
    original_etag: str | None = None

    def row(self) -> dict[str, Any]:
        return {
            "photo_id": str(new_id()),
            "s3_key": self.s3_key,
            "stem": self.stem,
            "preview_etag": self.preview_etag,
            "image_key": self.image_key,
            "original_etag": self.original_etag,
            "makes_preview": self.preview_etag is None,
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What came of looking at a content, with which pack; the pack and tags that are None stay as they were."""

    status: PhotoStatus
    faces: int = 0
    confidence: float = 0.0
    code: str | None = None
    detail: str | None = None
    preview_etag: str | None = None
    original_etag: str | None = None
    makes_preview: bool = False
    pack: PackId | None = None


@dataclass(frozen=True, slots=True)
class DuePhoto:
    """A photo whose faces are to be found, whether they may be kept, and the pack with which its event is searched."""

    photo: Photo
    keeps_faces: bool
    event_pack: PackId | None


class Photos:
    """Works on the connection it is given; whoever gives it decides about the transaction.

    Whoever adds photos or renews them holds the row of their event.
    """

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def due(self, photo_id: UUID, generation: int) -> DuePhoto | None:
        """The photo; None where its faces were found, or its content is another by now."""
        row = await self._connection.fetchrow(QUERIES["due"], photo_id, generation)
        if row is None:
            return None
        named = row["event_pack"] is not None
        event_pack = PackId(row["event_pack"], row["event_pack_version"]) if named else None
        return DuePhoto(photo_of(row), row["keeps_faces"], event_pack)

    async def plan_anew(self) -> None:
        """Let statements of this transaction be planned for as many photos as there are by now.

        For batches, where planning takes a fraction of a millisecond, and a plan that is as old as the connection
        reads every photo of the event for each batch.
        """
        await self._connection.execute(QUERIES["plan_anew"])

    async def lock_keys(self, event_id: UUID, s3_keys: Sequence[str]) -> list[Photo]:
        return [photo_of(row) for row in await self._connection.fetch(QUERIES["lock_keys"], event_id, s3_keys)]

    async def of_id(self, photo_id: UUID) -> Photo | None:
        """The photo as it is at the moment."""
        row = await self._connection.fetchrow(QUERIES["of_id"], photo_id)
        return None if row is None else photo_of(row)

    async def of_key(self, event_id: UUID, s3_key: str) -> Photo | None:
        """The photo with this preview, as it is at the moment."""
        row = await self._connection.fetchrow(QUERIES["of_key"], event_id, s3_key)
        return None if row is None else photo_of(row)

    async def of_stem(self, event_id: UUID, stem: str) -> list[Photo]:
        """Photos of this name, as they are at the moment."""
        return [photo_of(row) for row in await self._connection.fetch(QUERIES["of_stem"], event_id, stem)]

    async def lock_stems(self, event_id: UUID, stems: Sequence[str], task_id: UUID | None) -> list[FoundPhoto]:
        """Photos of these names, and whether the task found their previews."""
        rows = await self._connection.fetch(QUERIES["lock_stems"], event_id, stems, task_id)
        return [FoundPhoto(photo_of(row), row["is_found"]) for row in rows]

    async def lock_original(self, event_id: UUID, image_key: str) -> list[Photo]:
        """Photos that have this original."""
        return [photo_of(row) for row in await self._connection.fetch(QUERIES["lock_original"], event_id, image_key)]

    async def add(self, event_id: UUID, photos: Sequence[NewPhoto]) -> list[Photo]:
        if not photos:
            return []
        rows = await self._connection.fetch(QUERIES["add"], event_id, [photo.row() for photo in photos])
        return [photo_of(row) for row in rows]

    async def renew(self, etags: Mapping[UUID, str]) -> list[Photo]:
        """Photos whose previews have these contents now; their faces are to be found anew."""
        if not etags:
            return []
        rows = await self._connection.fetch(QUERIES["renew"], list(etags), list(etags.values()))
        return [photo_of(row) for row in rows]

    async def make(self, originals: Mapping[UUID, tuple[str, str]]) -> list[Photo]:
        """Photos whose previews are to be made of these originals, each a key and a tag."""
        if not originals:
            return []
        keys, etags = [key for key, _ in originals.values()], [etag for _, etag in originals.values()]
        return [photo_of(row) for row in await self._connection.fetch(QUERIES["make"], list(originals), keys, etags)]

    async def link(self, originals: Mapping[UUID, tuple[str, str]]) -> list[Photo]:
        """Photos with these originals, each a key and a tag; those that had them already are not among them."""
        if not originals:
            return []
        keys, etags = [key for key, _ in originals.values()], [etag for _, etag in originals.values()]
        return [photo_of(row) for row in await self._connection.fetch(QUERIES["link"], list(originals), keys, etags)]

    async def unlink(self, photo_ids: Sequence[UUID]) -> list[Photo]:
        """Photos without the originals that they had; those that had none are not among what is returned."""
        if not photo_ids:
            return []
        nothing = [None] * len(photo_ids)
        return [
            photo_of(row) for row in await self._connection.fetch(QUERIES["link"], list(photo_ids), nothing, nothing)
        ]

    async def note_made(self, photo: Photo, sha256: str) -> bool:
        """Remember what our own preview is, before it lies in the bucket; False where its content is another by now."""
        noted = await self._connection.fetchval(QUERIES["note_made"], photo.photo_id, photo.generation, sha256)
        return noted is not None

    async def record(self, photo: Photo, result: Result) -> Photo | None:
        """The photo with what was found; None where its content is another by now, or it is gone."""
        row = await self._connection.fetchrow(
            QUERIES["record"],
            photo.photo_id,
            photo.generation,
            result.status.value,
            result.faces,
            result.confidence,
            result.code,
            result.detail,
            result.preview_etag,
            result.original_etag,
            result.makes_preview,
            result.pack and result.pack.name,
            result.pack and result.pack.version,
        )
        return photo_of(row) if row else None

    async def remove(self, photo_id: UUID) -> Photo:
        row = await self._connection.fetchrow(QUERIES["remove"], photo_id)
        assert row is not None, "the photo's row is gone while it is locked"
        return photo_of(row)

    async def lock_to_forget(self, limit: int) -> list[UUID]:
        """Photos with faces of events that may have none any more."""
        return [row["photo_id"] for row in await self._connection.fetch(QUERIES["to_forget"], limit)]

    async def forget(self, photo_ids: Sequence[UUID], code: str, detail: str) -> list[Photo]:
        rows = await self._connection.fetch(QUERIES["forget"], photo_ids, code, detail)
        return [photo_of(row) for row in rows]


def photo_of(row: Mapping[str, Any]) -> Photo:
    return Photo(
        photo_id=row["photo_id"],
        event_id=row["event_id"],
        s3_key=row["s3_key"],
        stem=row["stem"],
        image_key=row["image_key"],
        preview_etag=row["preview_etag"],
        original_etag=row["original_etag"],
        makes_preview=row["makes_preview"],
        made_sha256=row["made_sha256"],
        generation=row["generation"],
        version=row["version"],
        status=PhotoStatus(row["status"]),
        faces=row["faces"],
        confidence=row["confidence"],
        code=row["code"],
        detail=row["detail"],
        changed_at=row["changed_at"],
    )
