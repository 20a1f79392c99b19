"""A page of somebody else's, on a server of its own: a browser lets no page that is nowhere call this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

IDLE_SECONDS = 30.0


@dataclass
class ForeignPage:
    """Shows `html` to whoever asks.

    `neighbour` is another origin of the same site as ours, to which browsers send our cookies; `stranger` is of another
    site.
    """

    port: int
    html: str = ""

    @property
    def neighbour(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stranger(self) -> str:
        return f"http://localhost:{self.port}"


@asynccontextmanager
async def foreign_page() -> AsyncIterator[ForeignPage]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Browsers open connections in advance that they then use for nothing.
        with suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            async with asyncio.timeout(IDLE_SECONDS):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(_answer(shown.html))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    shown = ForeignPage(server.sockets[0].getsockname()[1])
    async with server:
        yield shown


def _answer(html: str) -> bytes:
    body = f"<!doctype html><title>foreign</title><link rel=icon href=data:,>{html}".encode()
    lines = (
        "HTTP/1.1 200 OK",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode() + body
