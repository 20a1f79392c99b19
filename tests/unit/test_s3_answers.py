"""What a store's answers come to, told by tables."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import pytest

from shared.storage import s3_answers
from shared.storage.errors import InsufficientSpace, ObjectNotFound, StoreRefused, StoreUnavailable


def document(code: str, message: str = "so it is") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (404, document("NoSuchKey"), ObjectNotFound, "object_not_found"),
        (404, document("NoSuchBucket"), StoreRefused, "no_such_bucket"),
        (403, document("AccessDenied"), StoreRefused, "access_denied"),
        (403, document("InvalidAccessKeyId"), StoreRefused, "wrong_credentials"),
        (403, document("SignatureDoesNotMatch"), StoreRefused, "wrong_credentials"),
        (403, document("RequestTimeTooSkewed"), StoreRefused, "clock_skewed"),
        (400, document("InvalidArgument"), StoreRefused, "store_refused"),
        (301, b"", StoreRefused, "store_refused"),
        (404, b"<html>no such page</html>", StoreRefused, "store_refused"),
        (400, document("XMinioParentIsObject"), StoreRefused, "key_conflict"),
        (500, document("InternalError", "it broke: cause(not a directory)"), StoreRefused, "key_conflict"),
        (500, document("InternalError"), StoreUnavailable, None),
        (503, document("SlowDown"), StoreUnavailable, None),
        (502, b"<html>bad gateway</html>", StoreUnavailable, None),
        (429, b"", StoreUnavailable, None),
        (400, document("RequestTimeout"), StoreUnavailable, None),
        (507, b"", InsufficientSpace, None),
        (507, document("XMinioStorageFull"), InsufficientSpace, None),
    ],
)
def test_tells_outages_from_refusals(status: int, body: bytes, kind: type[Exception], code: str | None) -> None:
    error = s3_answers.error_of(s3_answers.parse_error(status, body), "bucket", "a/key")
    assert type(error) is kind
    assert getattr(error, "code", None) == code


def test_reads_a_listing_with_escaped_keys() -> None:
    page = s3_answers.parse_listing(
        b'<?xml version="1.0" encoding="UTF-8"?>'
        b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>'
        b"<IsTruncated>true</IsTruncated><Contents><Key>a%20b%2B/c+d%C3%A9</Key><Size>12</Size>"
        b"<LastModified>2026-03-04T05:06:07.890Z</LastModified><ETag>&quot;abc&quot;</ETag></Contents>"
        b"</ListBucketResult>"
    )
    (info,) = page.objects
    assert page.is_truncated
    assert (info.key, info.size_bytes, info.etag) == ("a b+/c dé", 12, "abc")
    assert info.modified_at == datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)


def test_a_page_that_is_no_listing_is_an_outage() -> None:
    with pytest.raises(StoreUnavailable, match="asked for a listing"):
        s3_answers.parse_listing(b"<html/>")


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        (b"<CopyObjectResult><ETag>x</ETag></CopyObjectResult>", False),
        (document("InternalError"), True),
        (b"", True),
        (b"cut o", True),
    ],
)
def test_a_200_may_say_inside_that_it_failed(body: bytes, failed: bool) -> None:
    assert s3_answers.is_error(body) is failed


def test_prefers_the_checksum_that_the_store_counted() -> None:
    digest = hashlib.sha256(b"x")
    counted = {"x-amz-checksum-sha256": base64.b64encode(digest.digest()).decode(), "x-amz-meta-sha256": "claimed"}
    assert s3_answers.info_of_headers("k", counted, 1).sha256 == digest.hexdigest()
    of_parts = {**counted, "x-amz-checksum-sha256": counted["x-amz-checksum-sha256"] + "-3"}
    assert s3_answers.info_of_headers("k", of_parts, 1).sha256 == "claimed"
    assert s3_answers.info_of_headers("k", {}, 1).sha256 is None
