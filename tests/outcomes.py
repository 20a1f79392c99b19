"""What image-processor would tell of a command, for tests without one."""

from __future__ import annotations

import hashlib

from shared.events import ImageFailedV1, ImageProcessedV1, ProcessImageV1, StorageStatus, StoredFile
from shared.storage.keys import MediaKey


def stored(command: ProcessImageV1, name: str, content: bytes, mime_type: str = "image/webp") -> StoredFile:
    extension = mime_type.removeprefix("image/").replace("jpeg", "jpg")
    return StoredFile(
        name=name,
        key=str(MediaKey(command.media_id, command.revision, name, extension)),
        mime_type=mime_type,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        width_px=640,
        height_px=480,
    )


def processed(
    command: ProcessImageV1,
    *,
    files: dict[str, bytes] | None = None,
    original: bytes | None = None,
    on_disk: bool = True,
    in_bucket: bool = False,
) -> ImageProcessedV1:
    """The picture came out as these variants."""
    contents = {"640": b"six hundred and forty", "200": b"two hundred"} if files is None else files
    return ImageProcessedV1(
        job_id=command.job_id,
        media_id=command.media_id,
        revision=command.revision,
        width_px=1280,
        height_px=960,
        mime_type=command.mime_type,
        sha256=command.sha256,
        original=None if original is None else stored(command, "original", original, command.mime_type),
        variants=tuple(stored(command, name, content) for name, content in contents.items()),
        placeholder="data:image/webp;base64,UklGRg==",
        storage_status=StorageStatus.LOCAL_ONLY if on_disk else StorageStatus.S3_ONLY,
        on_disk=on_disk,
        in_bucket=in_bucket,
        render_seconds=0.1,
        processed_at=command.requested_at,
    )


def failed(command: ProcessImageV1, *, code: str = "image_truncated", attempts: int = 1) -> ImageFailedV1:
    return ImageFailedV1(
        job_id=command.job_id,
        media_id=command.media_id,
        revision=command.revision,
        code=code,
        detail="It ends too early.",
        attempts=attempts,
        failed_at=command.requested_at,
    )
