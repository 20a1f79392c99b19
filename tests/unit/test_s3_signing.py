"""Our signatures are those of the AWS client."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from shared.storage.s3_signing import Signer, encoded_query

SIGNER = Signer("an-access-key", "a/secret+key", "eu-central-1")


@pytest.mark.parametrize("path", ["/b/media/5a/x.webp", "/b/%C3%A4%20b/%2B~_.-", "/b/a//b"])
@pytest.mark.parametrize("parameters", [{}, {"prefix": "ä b/+~%&=?/*'", "list-type": "2", "start-after": ""}])
@pytest.mark.parametrize("headers", [{}, {"content-type": "image/webp; a=b  c", "x-amz-meta-sha256": "ab"}])
def test_signs_as_the_aws_client_does(path: str, parameters: dict[str, str], headers: dict[str, str]) -> None:
    sha256 = hashlib.sha256(b"body").hexdigest()
    url = f"https://s3.example.test:9000{path}"
    request = AWSRequest("PUT", url, params=parameters, headers=headers, data=b"body")
    # Over TLS it would leave the body unsigned.
    request.context["payload_signing_enabled"] = True
    S3SigV4Auth(Credentials("an-access-key", "a/secret+key"), "s3", "eu-central-1").add_auth(request)
    at = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = SIGNER.signed("PUT", "s3.example.test:9000", path, headers, sha256, at, encoded_query(parameters))
    assert ours["x-amz-content-sha256"] == request.headers["X-Amz-Content-SHA256"] == sha256
    assert ours["authorization"] == request.headers["Authorization"]


@pytest.mark.parametrize("url", ["https://s3.example.test:9000/b/%C3%A4%20b/%2B~_.-", "http://s3/b/a//b.jpg"])
@pytest.mark.parametrize("headers", [{}, {"content-type": "image/webp; a=b  c", "content-length": "3"}])
@pytest.mark.parametrize("wishes", [{}, {"response-content-disposition": "attachment; filename*=UTF-8''%C3%A4.jpg"}])
def test_addresses_are_those_of_the_aws_client(url: str, headers: dict[str, str], wishes: dict[str, str]) -> None:
    request = AWSRequest("PUT", f"{url}?{encoded_query(wishes)}" if wishes else url, headers=headers)
    S3SigV4QueryAuth(Credentials("an-access-key", "a/secret+key"), "s3", "eu-central-1", expires=77).add_auth(request)
    at = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    parts = urlsplit(url)
    ours = SIGNER.signed_query("PUT", parts.netloc, parts.path, headers, 77, at, wishes)
    assert dict(parse_qsl(ours)) == dict(parse_qsl(urlsplit(str(request.url)).query))


def test_the_key_of_a_day_ends_with_it() -> None:
    def signed(at: datetime) -> str:
        return SIGNER.signed("HEAD", "h", "/b/k", {}, "ab", at)["authorization"]

    evening = datetime(2026, 3, 4, 23, 59, 59, tzinfo=UTC)
    first, next_day = signed(evening), signed(evening + timedelta(seconds=2))
    assert first != next_day
    assert "/20260305/" in next_day
    assert signed(evening) == first
