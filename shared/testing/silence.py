"""A network that swallows packets: connections stay open, and nothing arrives any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

CHUNK_BYTES = 65_536


@asynccontextmanager
async def silenceable(url: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Yield the URL by way of a proxy, and an event: while it is set nothing passes, in connections old or new.

    A connection that was silent once stays so, as one whose packets were given up.
    """
    silence = asyncio.Event()
    target = urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()
    writers: set[asyncio.StreamWriter] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                data = await reader.read(CHUNK_BYTES)
                if silence.is_set():
                    # Ends are swallowed too.
                    await asyncio.Event().wait()
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(target.hostname, target.port)
        writers.update((writer, there_writer))
        for task in (
            asyncio.create_task(pass_on(reader, there_writer)),
            asyncio.create_task(pass_on(there_reader, writer)),
        ):
            tasks.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    userinfo = f"{target.username}:{target.password}@" if target.username else ""
    try:
        yield urlunsplit(target._replace(netloc=f"{userinfo}127.0.0.1:{port}")), silence
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
