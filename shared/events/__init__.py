"""Every event and command of the system, one module per producer."""

from shared.events.envelope import EVENT_TYPES, Envelope, Event
from shared.events.images import (
    ImageFailedV1,
    ImageProcessedV1,
    ImageProgressV1,
    ImageRetryScheduledV1,
    ProcessImageV1,
    StorageStatus,
    StoredFile,
    SyncMediaV1,
)
from shared.events.media import MediaUploadedV1, StorageStrategy

__all__ = [
    "EVENT_TYPES",
    "Envelope",
    "Event",
    "ImageFailedV1",
    "ImageProcessedV1",
    "ImageProgressV1",
    "ImageRetryScheduledV1",
    "MediaUploadedV1",
    "ProcessImageV1",
    "StorageStatus",
    "StorageStrategy",
    "StoredFile",
    "SyncMediaV1",
]
