"""Settings that every service has, read from environment variables with the prefix MEDIABUS_."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

SHORTEST_INBOX_SECONDS = 8 * 24 * 3600
"""A day more than topics keep their messages: what Kafka may deliver again must still be known."""


def _default_instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def _hex_of_32_bytes(key: SecretStr) -> SecretStr:
    if not re.fullmatch("[0-9a-fA-F]{64}", key.get_secret_value()):
        raise ValueError("must be 64 hexadecimal digits: make one with `openssl rand -hex 32`")
    return key


class PostgresSettings(BaseSettings):
    """Where PostgreSQL is, for whoever logs in with a service's role."""

    model_config = SettingsConfigDict(env_prefix="MEDIABUS_", frozen=True, hide_input_in_errors=True)

    postgres_dsn: SecretStr
    postgres_session_dsn: SecretStr | None = Field(
        default=None,
        description="the server itself, where postgres_dsn is a PgBouncer in transaction mode: for LISTEN, for locks "
        "that live as long as a session, and for migrations",
    )


class ServiceSettings(PostgresSettings):
    """What a process needs to find the rest of the system."""

    postgres_connections: int = Field(default=10, ge=2, le=100)
    kafka_bootstrap: str
    media_root: Path
    staging_store: Literal["local", "bucket"] = Field(
        default="local",
        description="where uploads wait: under media_root (one machine or a shared volume) or in the bucket",
    )
    s3_endpoint: str | None = None
    s3_presign_endpoint: str | None = Field(
        default=None, description="where readers reach the same store, when that is not s3_endpoint"
    )
    s3_public_url: str | None = Field(
        default=None, description="base URL under which anyone may read variants in the bucket, if anyone may"
    )
    s3_region: str = "us-east-1"
    s3_bucket: str = "mediabus"
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    selfie_key: Annotated[SecretStr, AfterValidator(_hex_of_32_bytes)] | None = Field(
        default=None, description="seals selfies between ingest-api and face-embedder, which have the same one"
    )
    http_host: str = "127.0.0.1"
    http_port: int = Field(ge=1, le=65535)
    trusted_proxies: str = Field(
        default="127.0.0.1", description="comma-separated addresses or networks whose X-Forwarded-For is believed"
    )
    otlp_endpoint: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    instance: str = Field(default_factory=_default_instance, description="names this process in logs, traces, Kafka")
    drain_seconds: float = Field(default=20.0, gt=0, description="at SIGTERM: how long running work may go on")
    kafka_session_timeout_seconds: float = Field(default=6.0, gt=0)
    heartbeat_seconds: float = Field(default=10.0, gt=0, description="how often a process tells how it fares")
    outbox_kept_seconds: float = Field(default=24 * 3600, gt=0, description="how long sent outbox rows are kept")
    inbox_kept_seconds: float = Field(
        default=14 * 24 * 3600, ge=SHORTEST_INBOX_SECONDS, description="how long duplicates are known"
    )

    @property
    def selfie_key_bytes(self) -> bytes | None:
        return None if self.selfie_key is None else bytes.fromhex(self.selfie_key.get_secret_value())
