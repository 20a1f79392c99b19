"""What a store's refusals come to, told by tables."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from shared.storage.errors import ChecksumMismatch, InsufficientSpace, ObjectNotFound, StoreRefused, StoreUnavailable
from shared.storage.s3_errors import Refusal, error_of


def refusal(status: int, code: str, message: str = "so it is", operation: str = "GetObject") -> Refusal:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return Refusal.of(ClientError(answer, operation))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("refused", "kind", "code"),
    [
        (refusal(404, "NoSuchKey"), ObjectNotFound, "object_not_found"),
        (refusal(404, "404", operation="HeadObject"), ObjectNotFound, "object_not_found"),
        (refusal(404, "NoSuchBucket"), StoreRefused, "no_such_bucket"),
        (refusal(403, "AccessDenied"), StoreRefused, "access_denied"),
        (refusal(403, "403", operation="HeadObject"), StoreRefused, "access_denied"),
        (refusal(403, "InvalidAccessKeyId"), StoreRefused, "wrong_credentials"),
        (refusal(403, "SignatureDoesNotMatch"), StoreRefused, "wrong_credentials"),
        (refusal(403, "RequestTimeTooSkewed"), StoreRefused, "clock_skewed"),
        (refusal(400, "InvalidArgument"), StoreRefused, "store_refused"),
        (refusal(301, "301"), StoreRefused, "store_refused"),
        (refusal(404, "404"), StoreRefused, "store_refused"),
        (refusal(400, "XMinioParentIsObject"), StoreRefused, "key_conflict"),
        (refusal(500, "InternalError", "it broke: cause(not a directory)"), StoreRefused, "key_conflict"),
        (refusal(500, "InternalError"), StoreUnavailable, None),
        (refusal(503, "SlowDown"), StoreUnavailable, None),
        (refusal(502, "502"), StoreUnavailable, None),
        (refusal(429, "429"), StoreUnavailable, None),
        (refusal(400, "RequestTimeout"), StoreUnavailable, None),
        (refusal(507, "507"), InsufficientSpace, None),
        (refusal(507, "XMinioStorageFull"), InsufficientSpace, None),
        (refusal(400, "XAmzContentSHA256Mismatch"), StoreRefused, "store_refused"),
    ],
)
def test_tells_outages_from_refusals(refused: Refusal, kind: type[Exception], code: str | None) -> None:
    error = error_of(refused, "bucket", "a/key")
    assert type(error) is kind
    assert getattr(error, "code", None) == code


@pytest.mark.parametrize("code", ["XAmzContentSHA256Mismatch", "BadDigest", "XAmzContentChecksumMismatch"])
def test_a_body_that_the_store_counts_otherwise_is_a_mismatch(code: str) -> None:
    error = error_of(refusal(400, code), "bucket", "a/key", sent_sha256="0f" * 32)
    assert isinstance(error, ChecksumMismatch)
    assert "0f" * 32 in str(error)


def test_an_error_without_a_document_is_told_by_its_status() -> None:
    assert Refusal.of(ClientError({}, "PutObject")) == Refusal("PutObject", 0, "", "")
