"""An HTTP server on its bad days: a proxy that answers in its place, makes it slow, and cuts connections."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, urlsplit

HEAD_LIMIT_BYTES: Final = 64 * 1024
_LINGER_NOT_AT_ALL: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the proxy sees it; `target` is its path and query, decoded."""

    method: str
    target: str


class Moment(Enum):
    """When a connection is cut."""

    BEFORE_REQUEST = auto()
    """Nothing of the request reaches the server."""
    IN_REQUEST = auto()
    """Half of its body does."""
    BEFORE_ANSWER = auto()
    """It takes effect, and nobody is told."""
    IN_ANSWER = auto()
    """Half of the answer's body arrives."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The proxy answers in the server's place, with an error document as S3 has them."""

    status: int
    code: str


@dataclass(frozen=True, slots=True)
class Wait:
    """The request is passed on later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """The request is passed on once this has happened, which is the test's to say."""

    until: asyncio.Event


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends, by a reset or by a plain end as of a server that went away in good order."""

    moment: Moment
    by_reset: bool = True


Fault = Answer | Wait | Hold | Cut
Rule = Callable[[Request], Fault | None]


def healthy(_: Request) -> Fault | None:
    return None


def always(fault: Fault, when: Callable[[Request], bool] = lambda _: True) -> Rule:
    return lambda request: fault if when(request) else None


def in_turn(faults: Sequence[Fault], when: Callable[[Request], bool]) -> Rule:
    """One fault per request that matches, until none is left."""
    left = list(reversed(faults))
    return lambda request: left.pop() if left and when(request) else None


@dataclass
class Mix:
    """Faults for a share of the requests, drawn in the order in which they come.

    Requests of one `group` meet at most `most_per_group` faults that fail them, so that a known number of attempts is
    enough for what they belong to.
    """

    seed: int
    share: float
    faults: Sequence[Fault]
    group: Callable[[Request], str]
    most_per_group: int
    _given: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def __call__(self, request: Request) -> Fault | None:
        fault = self._chance.choice(self.faults)
        if self._chance.random() >= self.share:
            return None
        if not isinstance(fault, Wait):
            group = self.group(request)
            if self._given[group] >= self.most_per_group:
                return None
            self._given[group] += 1
        return fault


class FaultyHttp:
    """The proxy: set `rule` to break things, and to `healthy` to mend them. Remembers what it saw and did."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._tasks: set[asyncio.Task[None]] = set()
        self.rule: Rule = healthy
        self.url = ""
        self.requests: list[Request] = []
        self.faults: list[tuple[Request, Fault]] = []

    def count(self, when: Callable[[Request], bool]) -> int:
        """How many requests matched so far."""
        return sum(1 for request in self.requests if when(request))

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        opened: list[asyncio.StreamWriter] = [writer]
        try:
            there = await asyncio.open_connection(self._target.hostname, self._target.port, limit=HEAD_LIMIT_BYTES)
            opened.append(there[1])
            while await self._pass_one((reader, writer), there):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # Either side may leave at any time; the other one is let go below.
        finally:
            self._tasks.discard(task)
            for one in opened:
                one.close()
            for one in opened:
                with suppress(OSError):
                    await one.wait_closed()

    async def _pass_one(self, here: _Ends, there: _Ends) -> bool:
        """Pass one request and its answer; False when the connection ends."""
        head = await _head(here[0])
        if head is None:
            return False
        method, target = head.first_line.split(" ")[:2]
        request = Request(method, unquote(target))
        self.requests.append(request)
        fault = self.rule(request)
        if fault is not None:
            self.faults.append((request, fault))
        if isinstance(fault, Cut) and fault.moment is Moment.BEFORE_REQUEST:
            return _cut(fault, here, there)
        body = await _body(here[0], head, until_end=False)
        if isinstance(fault, Answer):
            await _write(here[1], _error_document(fault, is_head=method == "HEAD"))
            return True
        if isinstance(fault, Wait):
            await asyncio.sleep(fault.seconds)
        if isinstance(fault, Hold):
            await fault.until.wait()
        if isinstance(fault, Cut) and fault.moment is Moment.IN_REQUEST:
            await _write(there[1], head.raw + body[: len(body) // 2])
            return _cut(fault, here, there)
        await _write(there[1], head.raw + body)
        return await self._pass_answer(method, fault, here, there)

    async def _pass_answer(self, method: str, fault: Fault | None, here: _Ends, there: _Ends) -> bool:
        head = await _head(there[0])
        if head is None:
            return False
        has_body = method != "HEAD" and head.status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
        body = await _body(there[0], head, until_end=True) if has_body else b""
        if isinstance(fault, Cut):
            if fault.moment is Moment.IN_ANSWER:
                await _write(here[1], head.raw + body[: len(body) // 2] if body else head.raw[: len(head.raw) // 2])
            return _cut(fault, here, there)
        await _write(here[1], head.raw + body)
        return head.headers.get("connection", "").lower() != "close"

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def faulty(url: str) -> AsyncIterator[FaultyHttp]:
    """A proxy to the server at `url`, which passes everything until it is told otherwise."""
    proxy = FaultyHttp(url)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, limit=HEAD_LIMIT_BYTES)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()


_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class _Head:
    raw: bytes
    first_line: str
    headers: dict[str, str]

    @property
    def status(self) -> int:
        return int(self.first_line.split(" ")[1])


async def _head(reader: asyncio.StreamReader) -> _Head | None:
    """None at the end of the connection."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first_line, *lines = raw.decode("latin-1").rstrip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return _Head(raw, first_line, {name.lower(): value.strip() for name, _, value in pairs})


async def _body(reader: asyncio.StreamReader, head: _Head, *, until_end: bool) -> bytes:
    """The body as it was framed. Without a length it ends with the connection, or is empty."""
    if head.headers.get("transfer-encoding", "").lower() == "chunked":
        return await _chunks(reader)
    if (length := head.headers.get("content-length")) is not None:
        return await reader.readexactly(int(length))
    return await reader.read() if until_end else b""


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    read = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        read += line
        if size == 0:
            while (trailer := await reader.readuntil(b"\r\n")) != b"\r\n":
                read += trailer
            return bytes(read + b"\r\n")
        read += await reader.readexactly(size + 2)


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    # Drained to the last byte: what is still buffered here would be lost with a reset.
    writer.transport.set_write_buffer_limits(0)
    writer.write(data)
    await writer.drain()


def _cut(fault: Cut, *connections: _Ends) -> bool:
    for _, writer in connections:
        if fault.by_reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
            writer.transport.abort()
        else:
            writer.close()
    return False


def _error_document(fault: Answer, *, is_head: bool) -> bytes:
    body = f"<Error><Code>{fault.code}</Code><Message>a fault that a test asked for</Message></Error>".encode()
    head = f"HTTP/1.1 {fault.status} {HTTPStatus(fault.status).phrase}\r\nContent-Type: application/xml\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + (b"" if is_head else body)
