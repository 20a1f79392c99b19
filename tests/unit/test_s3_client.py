"""What is set up around the AWS client."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from pydantic import SecretStr, ValidationError

from shared.settings import ServiceSettings
from shared.storage.s3_answers import recorded_sha256
from shared.storage.s3_client import presigned_url, timestamp
from shared.storage.s3_wire import read_at_most
from shared.storage.settings import S3Settings

SETTINGS = S3Settings(
    endpoint="http://127.0.0.1:9000/", bucket="b", access_key=SecretStr("an-access-key"), secret_key=SecretStr("secret")
)


def test_presigned_addresses_demand_what_they_sign() -> None:
    url = presigned_url(SETTINGS, "PUT", "http://s3:9/b/k", {"content-length": "3"}, expires_in_seconds=604_800)
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-SignedHeaders"] == ["content-length;host"]
    assert query["X-Amz-Expires"] == ["604800"]
    assert query["X-Amz-Credential"][0].startswith("an-access-key/")
    assert len(query["X-Amz-Signature"][0]) == 64


def test_the_port_of_the_scheme_is_not_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Browsers send none, and the store checks the Host that it got."""
    at = datetime(2026, 3, 4, tzinfo=UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return at

    monkeypatch.setattr("shared.storage.s3_client.datetime", Clock)

    def signature(address: str) -> str:
        url = presigned_url(SETTINGS, "GET", f"{address}/b/k", {}, expires_in_seconds=60)
        return parse_qs(urlsplit(url).query)["X-Amz-Signature"][0]

    assert signature("https://s3.example:443") == signature("https://s3.example")
    assert signature("http://s3.example:80") == signature("http://s3.example")
    assert signature("http://s3.example:443") != signature("http://s3.example")


@pytest.mark.parametrize("expires_in_seconds", [0, -1, 604_801])
def test_refuses_lives_that_no_store_takes(expires_in_seconds: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 604800"):
        presigned_url(SETTINGS, "GET", "http://s3:9/b/k", {}, expires_in_seconds=expires_in_seconds)


@pytest.mark.parametrize("text", ["2026-03-04T05:06:07.000Z", "Wed, 04 Mar 2026 05:06:07 GMT"])
def test_reads_the_times_of_documents_and_headers(text: str) -> None:
    assert timestamp(text) == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def test_prefers_the_checksum_that_the_store_counted() -> None:
    digest = hashlib.sha256(b"x")
    counted = base64.b64encode(digest.digest()).decode()
    assert recorded_sha256(counted, {"sha256": "claimed"}) == digest.hexdigest()
    assert recorded_sha256(f"{counted}-3", {"sha256": "claimed"}) == "claimed"
    assert recorded_sha256("", {}) is None


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "ftp://s3", "http://", "http://s3/path", "http://s3?x=1"])
def test_refuses_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="expected something like"):
        S3Settings(endpoint=endpoint, bucket="b", access_key=SecretStr("a"), secret_key=SecretStr("s"))


async def test_an_answer_that_comes_in_pieces_is_read_to_its_end_or_its_bound() -> None:
    for most_bytes, expected in ((100, b"<Error></Error>"), (7, b"<Error>")):
        loop = asyncio.get_running_loop()
        connection = BaseProtocol(loop)
        connection.connection_made(asyncio.Transport())
        body = StreamReader(connection, 2**16, loop=loop)
        body.feed_data(b"<Err")
        reading = asyncio.create_task(read_at_most(body, most_bytes))
        await asyncio.sleep(0)
        body.feed_data(b"or></Error>")
        body.feed_eof()
        assert await reading == expected


def test_every_address_comes_from_the_service_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "POSTGRES_DSN": "postgresql://127.0.0.1/x",
        "KAFKA_BOOTSTRAP": "127.0.0.1:9092",
        "MEDIA_ROOT": "/media",
        "HTTP_PORT": "8080",
        "S3_ENDPOINT": "http://minio:9000",
        "S3_PRESIGN_ENDPOINT": "https://s3.example.org/",
        "S3_PUBLIC_URL": "https://cdn.example.org/pictures/",
        "S3_ACCESS_KEY": "a",
        "S3_SECRET_KEY": "s",
    }
    for name, value in environment.items():
        monkeypatch.setenv(f"MEDIABUS_{name}", value)
    settings = S3Settings.of(ServiceSettings())
    assert settings is not None
    assert settings.endpoint == "http://minio:9000"
    assert settings.presign_endpoint == "https://s3.example.org"
    assert settings.public_url == "https://cdn.example.org/pictures"
