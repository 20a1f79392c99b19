"""The way to one bucket: requests within deadlines, and what goes wrong in the words of the stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, TypeVar

from aiohttp import ClientError as BrokenAnswer
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnection
from botocore.parsers import ResponseParserError
from opentelemetry.trace import SpanKind

from shared.storage.errors import StoreUnavailable
from shared.storage.s3_client import s3_client, send_hashed_bodies
from shared.storage.s3_errors import Refusal, error_of
from shared.storage.s3_wire import RefusedAnswer, Wire
from shared.storage.settings import S3Settings
from shared.telemetry.tracing import span

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

_T = TypeVar("_T")
_RANGE_OUTSIDE: Final = 416


class RangeOutside(Exception):
    """What was asked for lies behind the object's end."""


@dataclass(frozen=True, slots=True)
class S3Connection:
    """Two clients of one place: `wire` for what is done often, `client` for all else."""

    settings: S3Settings
    client: S3Client
    wire: Wire

    @classmethod
    async def opened(cls, settings: S3Settings, stack: AsyncExitStack) -> Self:
        """Closed with the stack."""
        client = await stack.enter_async_context(s3_client(settings))
        send_hashed_bodies(client)
        return cls(settings, client, await stack.enter_async_context(Wire(settings)))

    @property
    def bucket(self) -> str:
        return self.settings.bucket

    async def exchange(
        self, name: str, key: str, request: Awaitable[_T], body_bytes: int = 0, sha256: str | None = None
    ) -> _T:
        """Wait for the answer to a request, within a deadline that grows with the body."""
        seconds = (
            self.settings.connect_seconds
            + self.settings.answer_seconds
            + body_bytes / self.settings.slowest_bytes_per_second
        )
        with span(f"s3 {name}", SpanKind.CLIENT, {"s3.bucket": self.bucket, "s3.key": key}):
            try:
                with store_errors():
                    async with asyncio.timeout(seconds):
                        return await request
            except RefusedAnswer as error:
                if error.refusal.status == _RANGE_OUTSIDE:
                    raise RangeOutside from error
                raise error_of(error.refusal, self.bucket, key, sha256) from error
            except ClientError as error:
                raise error_of(Refusal.of(error), self.bucket, key, sha256) from error


@contextmanager
def store_errors() -> Iterator[None]:
    # The last three come out of bodies as the HTTP client under the AWS client raises them.
    try:
        yield
    except (
        NoConnection,
        HTTPClientError,
        IncompleteReadError,
        ResponseParserError,
        BrokenAnswer,
        TimeoutError,
        OSError,
    ) as error:
        raise StoreUnavailable("s3", f"{type(error).__name__}: {str(error) or 'it took too long'}") from error
