"""Every way a file can fail here, each with a stable code and a sentence for the person who asked."""

from __future__ import annotations

from shared.messaging.errors import PermanentError, Postponed, TransientError

UNKNOWN_MEDIA = "unknown_media"
UNKNOWN_MEDIA_DETAIL = "no medium with this id has been processed; check the id, or wait until it is processed"
EMPTY_SELECTION = "empty_selection: no medium matches the selection; choose others or a wider filter"

INCOMPLETE_SELECTION = "incomplete_selection: not all of the selected media arrived; start the job again"


def incomplete_selection(missing: int) -> TransientError:
    return TransientError("incomplete_selection", f"{missing} of the selected media have not arrived yet")


def unknown_media(count: int) -> TransientError:
    return TransientError(UNKNOWN_MEDIA, f"{count} of the ids are not known yet; they may be on their way")


def unknown_job(job_id: object) -> TransientError:
    return TransientError("unknown_job", f"there is no job {job_id}; its start may be on its way")


MEDIUM_DELETED = "medium_deleted"
MEDIUM_DELETED_DETAIL = "the medium is deleted for good, and its files with it"


def medium_deleted() -> PermanentError:
    return PermanentError(MEDIUM_DELETED, MEDIUM_DELETED_DETAIL)


def still_there(key: str, store: str) -> TransientError:
    return TransientError("still_there", f"{key!r} was removed from {store} and is there all the same")


def conflict(key: str, store: str) -> PermanentError:
    return PermanentError(
        "conflict",
        f"{store} holds other content under {key!r}, and it is never overwritten: remove or rename that object first",
    )


def changed(key: str, store: str) -> PermanentError:
    return PermanentError("changed", f"{key!r} in {store} is not what was meant any more; it was left alone")


def source_missing(key: str, store: str) -> PermanentError:
    return PermanentError("source_missing", f"{store} holds no {key!r}, and there is no copy to take its place")


def last_copy(key: str, store: str) -> PermanentError:
    return PermanentError(
        "last_copy",
        f"{store} holds no copy of {key!r} with the same content, so this one stays: "
        "copy it there first, or use hard_delete to give it up",
    )


def copy_differs(key: str, store: str) -> TransientError:
    return TransientError("copy_differs", f"{key!r} in {store} is not what was written there; nothing was removed")


def not_configured() -> PermanentError:
    return PermanentError("s3_not_configured", "no bucket is configured: set MEDIABUS_S3_ENDPOINT and its keys")


def bucket_away(detail: str) -> Postponed:
    return Postponed("bucket_away", detail)


def settings_unknown() -> Postponed:
    return Postponed("settings_unknown", "whether s3AutoSync is on is being read from the settings")


def media_held() -> Postponed:
    return Postponed("media_held", "another job works on the remaining media; this one goes on when it lets go")


def turn_over() -> Postponed:
    return Postponed("turn_over", "the batch is long; it goes on in another turn")


def scope_busy(scope: str) -> Postponed:
    return Postponed("scope_busy", f"an earlier task of {scope!r} is not done; this one goes on after it")
