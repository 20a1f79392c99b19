"""An archive as the answer to a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing

from litestar.types import Receive, Scope, Send

SEND_SECONDS = 60.0
"""A reader that takes longer for one piece is disconnected."""


class ArchiveAnswer:
    """Sends the pieces as they are made, while `place` is held.

    What goes wrong before the first piece is answered like any refusal; later the connection breaks off, and so the
    archive does not look whole.
    """

    def __init__(
        self,
        filename: str,
        make_pieces: Callable[[], AsyncGenerator[bytes, None]],
        place: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        """`filename` is ASCII without quotes."""
        self._filename = filename
        self._make_pieces = make_pieces
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._place(), aclosing(self._make_pieces()) as pieces:
            first = await anext(pieces)
            await self._start(send)
            await _send(send, first)
            async for piece in pieces:
                await _send(send, piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self, send: Send) -> None:
        headers = [
            (b"content-type", b"application/zip"),
            (b"content-disposition", f'attachment; filename="{self._filename}"'.encode()),
            (b"cache-control", b"private, no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _send(send: Send, piece: bytes) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
