"""What an S3 store's refusals mean, without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from botocore.exceptions import ClientError

from shared.storage.errors import ChecksumMismatch, InsufficientSpace, ObjectNotFound, StoreRefused, StoreUnavailable

_CHECKSUM_CODES: Final = {"XAmzContentSHA256Mismatch", "BadDigest", "XAmzContentChecksumMismatch"}
_BUSY_STATUSES: Final = {408, 425, 429}
_BUSY_CODES: Final = {"RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "OperationAborted"}
_NO_SPACE_CODES: Final = {"XMinioStorageFull", "InsufficientStorage", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"}
_CREDENTIAL_CODES: Final = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "AuthorizationHeaderMalformed",
}
_CONFLICT_CODES: Final = {"XMinioParentIsObject", "XMinioObjectExistsAsDirectory", "XMinioInvalidObjectName"}
# A store that keeps keys as paths says so in a 500: without telling it apart, such a key would look like an outage.
_CONFLICT_CAUSES: Final = ("cause(not a directory)", "cause(is a directory)")
_HEAD: Final = "HeadObject"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success. `code` is the status in digits where the answer has no document, as to HEAD."""

    operation: str
    status: int
    code: str
    message: str

    @classmethod
    def of(cls, error: ClientError) -> Self:
        said = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return cls(error.operation_name, status, said.get("Code", ""), said.get("Message", ""))


def error_of(refusal: Refusal, bucket: str, key: str, sent_sha256: str | None = None) -> Exception:
    """The error that a caller should see; `sent_sha256` is the checksum of the body that was sent, if one was."""
    said = f"the store answered {refusal.status} {refusal.code} {refusal.message}".strip()
    code = refusal.code
    if code in _CHECKSUM_CODES and sent_sha256 is not None:
        return ChecksumMismatch(key, sent_sha256, None)
    if refusal.status == 507 or code in _NO_SPACE_CODES:
        return InsufficientSpace("s3", f"{said}; free some space in bucket {bucket!r} or raise its quota")
    if code in _CONFLICT_CODES or refusal.message.endswith(_CONFLICT_CAUSES):
        return StoreRefused("key_conflict", f"{said}; {key!r} can't also be the folder of another key")
    if refusal.status >= 500 or refusal.status in _BUSY_STATUSES or code in _BUSY_CODES:
        return StoreUnavailable("s3", said)
    if code == "NoSuchBucket":
        return StoreRefused("no_such_bucket", f"{said}: make the bucket {bucket!r} or correct its name")
    if code in {"NoSuchKey", "NoSuchUpload"} or (refusal.operation == _HEAD and refusal.status == 404):
        return ObjectNotFound(key, "s3")
    if code in _CREDENTIAL_CODES:
        return StoreRefused("wrong_credentials", f"{said}: check access key, secret key and region")
    if code == "RequestTimeTooSkewed":
        return StoreRefused("clock_skewed", f"{said}: set this machine's clock right")
    if refusal.status in {401, 403}:
        return StoreRefused("access_denied", f"{said}: grant these credentials the right to bucket {bucket!r}")
    return StoreRefused("store_refused", f"{said}: {key!r}")
