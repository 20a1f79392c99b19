"""Every way a picture can fail here, each with a stable code and a sentence for the person who uploaded it."""

from __future__ import annotations

from uuid import UUID

from shared.messaging.errors import PermanentError, Postponed, TransientError


def too_many_pixels(found: str, limit_px: int) -> PermanentError:
    return PermanentError(
        "image_too_many_pixels",
        f"This picture has {found}; at most {limit_px / 1e6:g} megapixels are accepted. Upload a smaller version.",
    )


def time_limit(limit_seconds: float) -> PermanentError:
    return PermanentError(
        "image_time_limit",
        f"This picture took longer than {limit_seconds:g} seconds and was stopped. Upload a simpler version.",
    )


def memory_limit(limit_bytes: int) -> PermanentError:
    return PermanentError(
        "image_memory_limit",
        f"This picture needs more than {limit_bytes / 2**20:.0f} MiB of memory to process. Upload a smaller version.",
    )


def watermark_missing(media_id: UUID, reason: str) -> TransientError:
    return TransientError(
        "watermark_missing",
        f"The watermark is the picture of medium {media_id}, and {reason}. Upload it, or choose another one in the "
        "settings of the entity type. It is tried again.",
    )


def watermark_broken(reason: str) -> PermanentError:
    return PermanentError(
        "watermark_broken",
        f"The picture of the watermark cannot be drawn: {reason} Choose another one in the settings of the entity "
        "type, then retry the job.",
    )


def watermark_text(missing: str) -> PermanentError:
    return PermanentError(
        "watermark_text_undrawable",
        f"The text of the watermark holds {missing!r}, which the font has no shape for. Change the text in the "
        "settings of the entity type, then retry the job.",
    )


def original_missing(media_id: UUID, key: str) -> PermanentError:
    return PermanentError(
        "original_missing",
        f"The original of medium {media_id} is neither on the disk nor in the bucket ({key}). Restore it, or upload "
        "the picture again; the variants stay as they are.",
    )


def original_damaged(media_id: UUID, key: str) -> PermanentError:
    return PermanentError(
        "original_damaged",
        f"The stored original of medium {media_id} holds other bytes than were uploaded ({key}). Restore it, or upload "
        "the picture again; the variants stay as they are.",
    )


def settings_behind(entity_type: str) -> Postponed:
    return Postponed(
        "settings_behind",
        f"The newest settings of {entity_type} have not arrived here yet. It is tried again.",
    )


def starved(limit_seconds: float, cpu_seconds: float) -> TransientError:
    return TransientError(
        "render_starved",
        f"The picture was not done after {limit_seconds:g} seconds, but got only {cpu_seconds:.1f} seconds of CPU: "
        "the machine is overloaded. It is tried again.",
    )


def worker_died(how: str) -> TransientError:
    return TransientError(
        "render_worker_died", f"The process that rendered the picture died ({how}). It is tried again."
    )


def input_output(detail: str) -> TransientError:
    return TransientError(
        "render_io", f"A file of the picture could not be read or written ({detail}). It is tried again."
    )


def unforeseen(summary: str) -> TransientError:
    return TransientError("render_failed", f"Rendering the picture failed ({summary}). It is tried again.")


def no_worker(waited_seconds: float) -> Postponed:
    return Postponed(
        "render_pool_busy", f"No process was free to render the picture within {waited_seconds:g} s. It is tried again."
    )


def pool_closed() -> Postponed:
    return Postponed("render_pool_closed", "The service is stopping. The picture is tried again.")
