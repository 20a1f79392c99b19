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
from ingest_api.handshakes import HandshakeRefused
from ingest_api.problem_details import RETRY_AFTER_SECONDS, Problem, retry_after
from ingest_api.settings import IngestSettings
from ingest_api.sign_in import SignIn
from ingest_api.sockets import NoticeStream, TooSlow
from shared.messaging.errors import InfrastructureUnavailable

CLOSE_SIGNED_OUT: Final = 4401
CLOSE_TOO_SLOW: Final = 4408
CLOSE_LIFETIME_OVER: Final = 4409

ROLE: Final = Role.PHOTOGRAPHER
"""What a listener must be, at the beginning and for as long as the socket is open."""

Socket = WebSocket[Principal, Any, Any]


class SocketPlaces:
    """Counts the open sockets of this process."""

    def __init__(self, most: int) -> None:
        self.free = most


class WebSocketController(Controller):
    @websocket("/api/ws", guards=[require(ROLE)])
    async def listen(
        self,
        socket: Socket,
        stream: NamedDependency[NoticeStream],
        places: NamedDependency[SocketPlaces],
        sign_in: NamedDependency[SignIn],
        settings: NamedDependency[IngestSettings],
        after: FromQuery[int | None] = None,
    ) -> None:
        """Messages of the signed-in user, each with an `id`; `?after=<id>` begins behind that one.

        Refused with 401 and 403 like a request, and with 429 when this process has enough sockets. Closes with 4401
        soon after the session, API key or account has ended; with 4408 for a client that does not read and 4409 when
        the socket's time is over: come back with `after`.
        """
        if places.free <= 0:
            detail = "Too many sockets are open here: come back in a moment."
            raise HandshakeRefused(Problem(429, "too_many_requests", detail, retry_after(RETRY_AFTER_SECONDS)))
        places.free -= 1
        try:
            await socket.accept()
            await _serve(socket, stream, sign_in, after, settings)
        finally:
            places.free += 1


async def _serve(
    socket: Socket, stream: NoticeStream, sign_in: SignIn, after: int | None, settings: IngestSettings
) -> None:
    reading = asyncio.create_task(_read_until_gone(socket))
    writing = asyncio.create_task(stream.run(socket.user.user_id, after, lambda message: socket.send_json(message)))
    watching = asyncio.create_task(_watch_until_signed_out(socket.user, sign_in, settings.socket_check_seconds))
    tasks = (reading, writing, watching)
    try:
        await asyncio.wait(tasks, timeout=settings.socket_lifetime_seconds, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            return
        if watching.done():
            await watching
            await socket.close(CLOSE_SIGNED_OUT, "signed out: sign in again")
            return
        if not writing.done():
            await socket.close(CLOSE_LIFETIME_OVER, "come back with after")
            return
        if isinstance(writing.exception(), TooSlow):
            async with asyncio.timeout(1):
                await socket.close(CLOSE_TOO_SLOW, "messages were not read in time: come back with after")
            return
        await writing
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watch_until_signed_out(principal: Principal, sign_in: SignIn, every_seconds: float) -> None:
    """Return once the principal may not listen any more; while nobody can tell, the socket stays as it is."""
    while True:
        await asyncio.sleep(every_seconds)
        try:
            if not await sign_in.still_admits(principal, ROLE):
                return
        except InfrastructureUnavailable:
            continue


async def _read_until_gone(socket: Socket) -> None:
    """Nothing that clients say matters, but only reading shows that they left."""
    try:
        while True:
            await socket.receive_data("text")
    except WebSocketDisconnect:
        return
