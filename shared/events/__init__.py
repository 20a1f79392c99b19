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
from shared.events.settings import (
    DEFAULT_VARIANTS,
    EntityTypeSettings,
    EntityTypeSettingsChangedV1,
    MediaSettings,
    SettingsChangedV1,
    VariantFormat,
    VariantSettings,
    WatermarkPosition,
    WatermarkSettings,
)

__all__ = [
    "DEFAULT_VARIANTS",
    "EVENT_TYPES",
    "EntityTypeSettings",
    "EntityTypeSettingsChangedV1",
    "Envelope",
    "Event",
    "ImageFailedV1",
    "ImageProcessedV1",
    "ImageProgressV1",
    "ImageRetryScheduledV1",
    "MediaSettings",
    "MediaUploadedV1",
    "ProcessImageV1",
    "SettingsChangedV1",
    "StorageStatus",
    "StorageStrategy",
    "StoredFile",
    "SyncMediaV1",
    "VariantFormat",
    "VariantSettings",
    "WatermarkPosition",
    "WatermarkSettings",
]
