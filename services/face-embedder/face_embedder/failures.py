"""How looking at one photo or selfie can fail, each with a stable code and a sentence for people."""

from __future__ import annotations

from shared.messaging.errors import PermanentError, Postponed, TransientError


def gone(key: str) -> PermanentError:
    return PermanentError("photo_gone", f"{key} is not in the bucket any more. Put it there again, then sync again.")


def no_original(key: str) -> PermanentError:
    return PermanentError("no_original", f"{key!r} is no key of an original of the event that it was told for.")


def too_large(limit_bytes: int) -> PermanentError:
    return PermanentError(
        "photo_too_large",
        f"This file is larger than {limit_bytes / 2**20:.0f} MiB. Put a smaller version there, then sync again.",
    )


def not_kept() -> PermanentError:
    return PermanentError(
        "faces_not_kept",
        "The faces of this event are not kept: it was deleted, or the time for which they may be kept is over.",
    )


def forgotten() -> PermanentError:
    return PermanentError(
        "faces_expired", "The faces of this photo were removed with the end of the time for which they may be kept."
    )


def time_limit(limit_seconds: float) -> PermanentError:
    return PermanentError(
        "image_time_limit",
        f"Looking for faces on this picture took longer than {limit_seconds:g} seconds and was stopped. Use a smaller "
        "version.",
    )


def memory_limit(limit_bytes: int) -> PermanentError:
    return PermanentError(
        "image_memory_limit",
        f"Looking for faces on this picture needs more than {limit_bytes / 2**20:.0f} MiB of memory. Use a smaller "
        "version.",
    )


def event_not_told(number: int) -> Postponed:
    return Postponed("event_not_told", f"Nobody has told of event {number} yet. It is tried again.")


def starved(limit_seconds: float, cpu_seconds: float) -> TransientError:
    return TransientError(
        "face_worker_starved",
        f"The picture was not done after {limit_seconds:g} seconds, but got only {cpu_seconds:.1f} seconds of CPU: "
        "the machine is overloaded. It is tried again.",
    )


def worker_died(how: str) -> TransientError:
    return TransientError(
        "face_worker_died", f"The process that looked for faces on the picture died ({how}). It is tried again."
    )


def input_output(detail: str) -> TransientError:
    return TransientError("face_worker_io", f"A file could not be read or written ({detail}). It is tried again.")


def unforeseen(summary: str) -> TransientError:
    return TransientError("face_worker_failed", f"Looking for faces failed ({summary}). It is tried again.")


def no_worker(waited_seconds: float) -> Postponed:
    return Postponed(
        "face_pool_busy", f"No process was free to look at the picture within {waited_seconds:g} s. It is tried again."
    )


def pack_exchanged(expected: str, found: str) -> TransientError:
    return TransientError(
        "face_pack_exchanged",
        f"The files of the face pack were exchanged while the service runs: expected {expected}, found {found}. Start "
        "face-embedder anew.",
    )


def pool_closed() -> Postponed:
    return Postponed("face_pool_closed", "The service is stopping. The picture is tried again.")
