"""Uploads over kept connections with as little work per request as Python allows, so that it measures the server."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any, Final, cast

BOUNDARY: Final = "mediabus-bench-7d1f0c"
ANSWER_SECONDS: Final = 60.0


def prepared_request(
    picture: bytes, api_key: str, host: str, *, filename: str = "bench.jpg", storage_strategy: str = "local_only"
) -> bytes:
    """A whole upload request, ready to be sent as often as wanted."""
    fields = {"entityType": "product", "storageStrategy": storage_strategy}
    text = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    file_head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = text.encode() + file_head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST /api/admin/media HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {api_key}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Lost(Exception):
    """A request without an answer."""


class Answer:
    """Status and body of one answer."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body

    @property
    def job_id(self) -> str:
        return str(json.loads(self.body)["jobId"])

    @property
    def media_id(self) -> str:
        return str(json.loads(self.body)["mediaId"])


class Connection(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._received = b""
        self._loop = asyncio.get_running_loop()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        answer = self._whole_answer()
        if answer is not None and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Lost(f"the connection ended before its answer: {error!r}"))

    def send(self, request: bytes) -> asyncio.Future[Answer]:
        """Begin sending; the future has the answer once all of it is there."""
        if self._transport is None:
            raise Lost("the connection is closed")
        self._waiting = self._loop.create_future()
        self._transport.write(request)
        return self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _whole_answer(self) -> Answer | None:
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return None
        lines = head.lower().split(b"\r\n")
        lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
        if not lengths:
            raise Lost(f"an answer without a length: {head[:200]!r}")
        if len(body) < lengths[0]:
            return None
        self._received = b""
        if b"connection: close" in lines and self._transport is not None:
            self._transport.close()
        return Answer(int(head[9:12]), body)


class Connections:
    """As many kept connections as requests are under way at once."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: deque[Connection] = deque()
        self.opened = 0

    async def request(self, request: bytes) -> Answer:
        """Raises Lost or TimeoutError for a request without an answer."""
        connection = await self._take()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await connection.send(request)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer

    async def open(self, count: int) -> None:
        """Have so many idle connections at hand."""
        opened = await asyncio.gather(*(self._open() for _ in range(max(count - len(self._idle), 0))))
        self._idle.extend(opened)

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return await self._open()

    async def _open(self) -> Connection:
        self.opened += 1
        try:
            _, made = await asyncio.get_running_loop().create_connection(Connection, self._host, self._port)
        except OSError as error:
            raise Lost(f"no connection: {error}") from error
        connection: Any = made
        return cast(Connection, connection)
