"""The WebSocket on which uploaders hear of their own uploads."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from litestar import Controller, WebSocket, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromQuery

from ingest_api.accounts import Principal, Role
from ingest_api.authentication import require
from ingest_api.settings import IngestSettings
from ingest_api.sockets import NoticeStream, TooSlow

CLOSE_TOO_MANY: Final = 1013
CLOSE_TOO_SLOW: Final = 4408
CLOSE_LIFETIME_OVER: Final = 4409

Socket = WebSocket[Principal, Any, Any]


class SocketPlaces:
    """Counts the open sockets of this process."""

    def __init__(self, most: int) -> None:
        self.free = most


class WebSocketController(Controller):
    @websocket("/api/ws", guards=[require(Role.PHOTOGRAPHER)])
    async def listen(
        self,
        socket: Socket,
        stream: NamedDependency[NoticeStream],
        places: NamedDependency[SocketPlaces],
        settings: NamedDependency[IngestSettings],
        after: FromQuery[int | None] = None,
    ) -> None:
        """Messages of the signed-in user, each with an `id`; `?after=<id>` begins behind that one.

        Closes with 1013 when this process has enough sockets, 4408 for a client that does not read, 4409 when the
        socket's time is over: in each case come back with `after`.
        """
        await socket.accept()
        if places.free <= 0:
            await socket.close(CLOSE_TOO_MANY, "too many open sockets: come back in a moment")
            return
        places.free -= 1
        try:
            await _serve(socket, stream, after, settings.socket_lifetime_seconds)
        finally:
            places.free += 1


async def _serve(socket: Socket, stream: NoticeStream, after: int | None, lifetime_seconds: float) -> None:
    reading = asyncio.create_task(_read_until_gone(socket))
    writing = asyncio.create_task(stream.run(socket.user.user_id, after, lambda message: socket.send_json(message)))
    try:
        await asyncio.wait({reading, writing}, timeout=lifetime_seconds, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            return
        if not writing.done():
            # Who was signed in then may not be any more.
            await socket.close(CLOSE_LIFETIME_OVER, "sign in again and come back")
            return
        if isinstance(writing.exception(), TooSlow):
            async with asyncio.timeout(1):
                await socket.close(CLOSE_TOO_SLOW, "messages were not read in time: come back with after")
            return
        await writing
    finally:
        for task in (reading, writing):
            task.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)


async def _read_until_gone(socket: Socket) -> None:
    """Nothing that clients say matters, but only reading shows that they left."""
    try:
        while True:
            await socket.receive_data("text")
    except WebSocketDisconnect:
        return
