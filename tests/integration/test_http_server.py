"""The HTTP server against clients that send too much or nothing, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from shared.http_server import BoundedHttp
from shared.testing.waiting import eventually

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
DEADLINE_SECONDS = 30.0


class Impatient(BoundedHttp):
    head_seconds = 0.3
    silence_seconds = 0.6
    linger_seconds = 0.5


class Attentive(Impatient):
    """Waits for long, and not for those whom it has refused."""

    head_seconds = DEADLINE_SECONDS
    silence_seconds = DEADLINE_SECONDS


class Steady(Impatient):
    """Its silence is long enough for a busy machine to send in."""

    silence_seconds = 2.0


async def length_of_body(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body; /slow does so only after a while, and /refused without reading it."""
    if scope["path"] == "/refused":
        headers = [(b"content-length", b"8"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"too long"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(1.3 * Steady.silence_seconds)
    answer = str(len(body)).encode()
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def serving(protocol: type[BoundedHttp]) -> AsyncIterator[Connect]:
    config = uvicorn.Config(
        length_of_body, port=0, http=protocol, lifespan="off", log_config=None, access_log=False, timeout_keep_alive=1
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())

    async def started() -> bool:
        return server.started

    await eventually(started, within_seconds=DEADLINE_SECONDS, every_seconds=0.01, why="the server listens")
    port = server.servers[0].sockets[0].getsockname()[1]
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in writers:
            writer.close()
        server.should_exit = True
        await task


async def said(connect: Connect, *pieces: bytes, pause_seconds: float = 0.0) -> bytes:
    """All that the server says until it closes the connection."""
    reader, writer = await connect()
    for piece in pieces:
        if reader.at_eof():
            break
        writer.write(piece)
        await asyncio.sleep(pause_seconds)
    async with asyncio.timeout(DEADLINE_SECONDS):
        try:
            return await reader.read()
        except ConnectionResetError:
            # It was closed while a piece was on its way there.
            return b""


async def send_until_cut(writer: asyncio.StreamWriter, piece: bytes) -> None:
    while True:
        writer.write(piece)
        await writer.drain()


async def test_a_head_without_end_is_refused_in_bounded_memory() -> None:
    async with serving(Attentive) as connect:
        for filler in (b"X: a\r\n" * 1000, b"a" * 6000):
            reader, writer = await connect()
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nY: ")
            sent_bytes = 0
            async with asyncio.timeout(DEADLINE_SECONDS):
                answer = asyncio.create_task(reader.readline())
                while not answer.done():
                    writer.write(filler)
                    sent_bytes += len(filler)
                    await writer.drain()
                    await asyncio.sleep(0)
                assert answer.result().startswith(b"HTTP/1.1 431 ")
                assert sent_bytes < 10_000_000
                with pytest.raises(ConnectionError):
                    await send_until_cut(writer, filler)
        assert (await said(connect, b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 12_000)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((b"",), id="nothing"),
        pytest.param((GET[:20],), id="half a head"),
        pytest.param(tuple(bytes([byte]) for byte in GET[:20]), id="a head in crumbs"),
        pytest.param((POST + b"a",), id="half a body"),
        pytest.param((POST + b"abcd", b"\r\n"), id="a blank line after an answer"),
        pytest.param((POST + b"abcd" + b"\r\n",), id="a blank line behind a request"),
        pytest.param((POST + b"abcd", GET[:20]), id="half a head after an answer"),
        pytest.param((POST + b"abcd" + GET[:20],), id="half a second head"),
    ],
)
async def test_a_silent_connection_is_closed(pieces: tuple[bytes, ...]) -> None:
    async with serving(Impatient) as connect:
        answers = await said(connect, *pieces, pause_seconds=0.05 if len(pieces) > 1 else 0.0)
    assert answers.count(b"HTTP/1.1 200 OK") == pieces[0].count(b"abcd")


async def test_a_client_that_is_still_sending_hears_why_it_is_refused() -> None:
    body_bytes = 20_000_000
    async with serving(BoundedHttp) as connect:
        for _ in range(10):
            reader, writer = await connect()
            writer.write(b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % body_bytes)
            async with asyncio.timeout(DEADLINE_SECONDS):
                for _ in range(20):
                    writer.write(bytes(body_bytes // 20))
                    await writer.drain()
                answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert answer.endswith(b"too long")


async def test_a_client_that_never_stops_sending_is_cut() -> None:
    async with serving(Attentive) as connect:
        reader, writer = await connect()
        writer.write(b"POST /refused HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
            with pytest.raises(ConnectionError):
                await send_until_cut(writer, b"186a0\r\n" + bytes(100_000) + b"\r\n")


async def test_slow_bodies_slow_answers_and_pipelines_are_borne() -> None:
    async with serving(Steady) as connect:
        reader, writer = await connect()
        writer.write(POST)
        for byte in b"abcd":
            await asyncio.sleep(Steady.silence_seconds / 3)
            writer.write(bytes([byte]))
        writer.write(GET.replace(b" / ", b" /slow ") + GET)
        async with asyncio.timeout(DEADLINE_SECONDS):
            answers = b""
            while answers.count(b"HTTP/1.1 200 OK") < 3:
                piece = await reader.read(1000)
                assert piece, answers
                answers += piece
