"""What can go wrong with stored bytes, told apart by what a caller should do about it."""

from __future__ import annotations

from shared.messaging.errors import InfrastructureUnavailable, PermanentError, TransientError


class StoreUnavailable(InfrastructureUnavailable):
    """The store can't be reached or can't answer now: timeouts, resets, refused connections, 5xx, disk errors.

    Nobody's data is at fault. A consumer holds its partition and tries again; HTTP answers 503.
    """


class InsufficientSpace(StoreUnavailable):
    """The store is full (ENOSPC, a quota, 507). Waits like any outage; HTTP answers 507."""


class StoreRefused(TransientError):
    """The store answered, and said no: wrong credentials, no permission, no such bucket, a key it can't hold.

    `code` tells which: `wrong_credentials`, `access_denied`, `no_such_bucket`, `key_conflict` or `store_refused`.
    Uses up an attempt.
    """


class ObjectNotFound(TransientError):
    """There is no object under this key. Uses up an attempt, unless the caller knows that it is gone for good."""

    def __init__(self, key: str, store: str) -> None:
        super().__init__("object_not_found", f"{store} holds no object {key!r}")
        self.key = key


class ChecksumMismatch(TransientError):
    """Bytes that were sent, stored or read are not the bytes that were meant. Nothing became visible under the key.

    Uses up an attempt: damage on the way is cured by sending again, damage at the source is not.
    """

    def __init__(self, key: str, expected_sha256: str, actual_sha256: str | None) -> None:
        found = f"the bytes have {actual_sha256}" if actual_sha256 else "the store counted another one"
        super().__init__("checksum_mismatch", f"{key!r}: expected SHA-256 {expected_sha256}, but {found}")
        self.key = key


class LimitExceeded(PermanentError):
    """More bytes arrived than were allowed; what had arrived is removed. HTTP answers 413."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__("size_limit_exceeded", f"the file is larger than the limit of {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class InvalidKey(PermanentError):
    """A string that can't be an object key. It never can: the message goes to the dead letters at once."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__("invalid_object_key", f"{key[:200]!r} is no object key: {reason}")
