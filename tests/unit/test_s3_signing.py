"""Our request signatures are those that the reference client makes of the same requests."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from shared.storage.s3_signing import EMPTY_SHA256, Signer, encoded_path, encoded_query

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HOST = "s3.example.org:9000"
CREDENTIALS = Credentials("an-access-key", "a-secret/key+")
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)


def signer() -> Signer:
    return Signer("an-access-key", "a-secret/key+", "eu-central-1")


@given(key=TEXTS, query=st.dictionaries(TEXTS, TEXTS, max_size=4), body=st.binary(max_size=20))
def test_signs_requests_as_the_reference_does(key: str, query: dict[str, str], body: bytes) -> None:
    path, query_text = encoded_path("bucket", key), encoded_query(query)
    headers = {"content-type": "image/webp", "x-amz-meta-sha256": "00"}
    request = AWSRequest("PUT", f"http://{HOST}{path}?{query_text}", headers=dict(headers), data=body)
    with patch.object(auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None)):
        auth.S3SigV4Auth(CREDENTIALS, "s3", "eu-central-1").add_auth(request)

    signed = signer().signed_headers("PUT", HOST, path, query_text, hashlib.sha256(body).hexdigest(), headers, NOW)

    assert signed["authorization"] == request.headers["Authorization"]
    assert signed["x-amz-content-sha256"] == request.headers["X-Amz-Content-SHA256"]


@given(key=TEXTS, expires_in_seconds=st.integers(min_value=1, max_value=604_800))
def test_presigns_urls_as_the_reference_does(key: str, expires_in_seconds: int) -> None:
    path = encoded_path("bucket", key)
    request = AWSRequest("PUT", f"http://{HOST}{path}", headers={"content-type": "image/webp"})
    with patch.object(auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None)):
        auth.S3SigV4QueryAuth(CREDENTIALS, "s3", "eu-central-1", expires=expires_in_seconds).add_auth(request)

    query = signer().presigned_query("PUT", HOST, path, {"content-type": "image/webp"}, expires_in_seconds, NOW)

    assert parse_qs(query) == parse_qs(urlsplit(str(request.url)).query)


@pytest.mark.parametrize("expires_in_seconds", [0, -1, 604_801])
def test_refuses_lives_that_no_store_takes(expires_in_seconds: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 604800"):
        signer().presigned_query("GET", HOST, "/b/k", {}, expires_in_seconds, NOW)


def test_the_empty_body_has_the_known_checksum() -> None:
    assert hashlib.sha256().hexdigest() == EMPTY_SHA256
