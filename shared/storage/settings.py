"""Where the bucket is and how patient its client is."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from shared.settings import ServiceSettings

MEBIBYTE = 1024 * 1024


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{value!r} is no address of a store: expected something like https://s3.example.org:9000")
    return value.rstrip("/")


def _endpoint(value: str) -> str:
    endpoint = _base_url(value)
    if urlsplit(endpoint).path:
        raise ValueError(f"{value!r} has a path: expected something like https://s3.example.org:9000")
    return endpoint


BaseUrl = Annotated[str, AfterValidator(_base_url)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]


class S3Settings(BaseModel):
    """One bucket of one S3 store.

    `endpoint` is a base URL such as http://127.0.0.1:9000. `presign_endpoint` is the address under which those who get
    presigned URLs reach the same store, when it is another. `public_url` is the base URL under which the bucket can be
    read by anyone, if it can.
    """

    model_config = ConfigDict(frozen=True)

    endpoint: Endpoint
    bucket: str
    access_key: SecretStr
    secret_key: SecretStr
    region: str = "us-east-1"
    presign_endpoint: Endpoint | None = None
    public_url: BaseUrl | None = None
    connect_seconds: float = Field(default=2.0, gt=0)
    answer_seconds: float = Field(default=10.0, gt=0, description="longest silence of the store")
    slowest_bytes_per_second: int = Field(default=256 * 1024, gt=0, description="a slower upload is given up")
    connections: int = Field(default=32, ge=1)
    part_bytes: int = Field(
        default=8 * MEBIBYTE, ge=5 * MEBIBYTE, description="larger streams go in parts of this size"
    )
    whole_file_bytes: int = Field(
        default=64 * MEBIBYTE, ge=0, le=5 * 1024 * MEBIBYTE, description="larger files go in parts, smaller ones whole"
    )
    buffered_parts: int = Field(default=8, ge=1, description="bodies above 1 MiB held in memory at once, by all")

    @classmethod
    def of(cls, settings: ServiceSettings) -> S3Settings | None:
        """The bucket of a service's settings; None when no endpoint is set."""
        if settings.s3_endpoint is None:
            return None
        if settings.s3_access_key is None or settings.s3_secret_key is None:
            raise ValueError("MEDIABUS_S3_ENDPOINT is set: set MEDIABUS_S3_ACCESS_KEY and MEDIABUS_S3_SECRET_KEY too")
        return cls(
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            bucket=settings.s3_bucket,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            presign_endpoint=settings.s3_presign_endpoint,
            public_url=settings.s3_public_url,
        )

    def at(self, endpoint: str | None, bucket: str, region: str, public_url: str | None = None) -> S3Settings:
        """The same credentials and patience for another place; without an endpoint the present one stays."""
        is_elsewhere = endpoint is not None and endpoint.rstrip("/") != self.endpoint
        changes = {
            "endpoint": endpoint or self.endpoint,
            "bucket": bucket,
            "region": region,
            "public_url": public_url,
            # It is another way to the store of the environment, and none to another store.
            "presign_endpoint": None if is_elsewhere else self.presign_endpoint,
        }
        return S3Settings.model_validate({**dict(self), **changes})
