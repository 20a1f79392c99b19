"""HTTP/1.1 from clients that nobody knows: what one connection may take of memory and time is bounded."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 36\r\nconnection: close\r\n\r\n"
    b"The head of the request is too long."
)


class AnswersTransport:
    """The transport as the writer of an answer sees it: closing it lets the client hear the answer first."""

    def __init__(self, protocol: BoundedHttp) -> None:
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.lingering or self._protocol.transport.is_closing()

    def close(self) -> None:
        self._protocol.close_after_answer()


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol with bounds on the head of a request and on the silence of its sender.

    The parser itself keeps heads of any length, and waits for the rest of a request for ever. Beyond the bounds a
    long head is answered 431, and a silent connection is closed.

    A connection closed while its client still sends is reset, and the reset overtakes the answer. So a request that
    is refused before its end is read on for a moment, and what comes is thrown away (RFC 9112, section 9.6).
    """

    most_head_bytes = 64 * 1024
    head_seconds = 20.0
    """From the first byte of a head, or from the opening of the connection, to the head's end."""
    silence_seconds = 60.0
    """Between two pieces of a body; more than what the application itself waits for."""
    linger_seconds = 5.0
    """From the answer to a request that is still coming, to the end of its connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_head = True
        self._head_bytes = 0
        self._heard_at = 0.0
        self._giving_up: asyncio.TimerHandle | None = None
        self.lingering = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._give_up_in(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.lingering:
            return
        self._head_bytes += len(data)
        self._heard_at = self.loop.time()
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        if self._head_bytes > self.most_head_bytes:
            self.transport.write(REFUSAL)
            self._linger()
        # The bytes took the timer of idle connections away. While an answer is due, that of its end comes.
        elif self._giving_up is None and (self.cycle is None or self.cycle.response_complete):
            self._give_up_in(self.head_seconds)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_waiting()
        if not self.parser.should_upgrade():
            self._give_up_in(self.silence_seconds)
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.transport = AnswersTransport(self)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle.body or cycle.response_complete or self.parser.should_upgrade():
            super().on_body(body)
            return
        # The application has taken what came before: these bytes go on as they are, not by way of a bytearray.
        cycle.body = body  # type: ignore[assignment]
        if len(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._stop_waiting()
        super().on_message_complete()

    def close_after_answer(self) -> None:
        """Closes the connection: at once where the request has come whole, else when its client had time to read."""
        if self.cycle.more_body:
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        self.lingering = True
        self._stop_waiting()
        self.pipeline.clear()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._give_up_in(self.linger_seconds)

    def _give_up_in(self, seconds: float) -> None:
        self._giving_up = self.loop.call_later(seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _give_up(self) -> None:
        self._giving_up = None
        if self.lingering:
            self.transport.close()
            return
        silent_seconds = self.loop.time() - self._heard_at
        if not self._in_head and (self.flow.read_paused or silent_seconds < self.silence_seconds):
            # Where reading is paused it is the application that is slow.
            self._give_up_in(self.silence_seconds)
        else:
            self.transport.close()
