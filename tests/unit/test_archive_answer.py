"""Archives as answers: what goes wrong shows, before as a refusal and later as a connection that breaks off."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ingest_api.archive_answer import ArchiveAnswer
from shared.storage.errors import StoreUnavailable


class Place:
    """Counts who holds it."""

    held = 0

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1


async def test_pieces_are_sent_as_they_are_made() -> None:
    place = Place()
    sent: list[Any] = []

    async def made() -> AsyncGenerator[bytes, None]:
        for piece in (b"one", b"two"):
            assert place.held == 1
            yield piece

    async def send(message: Any) -> None:
        sent.append(message)

    answer: Any = ArchiveAnswer("a.zip", made, place.hold)
    await answer({"type": "http"}, None, send)
    start, first, second, end = sent
    headers = dict(start["headers"])
    assert (start["status"], headers[b"content-type"]) == (200, b"application/zip")
    assert headers[b"content-disposition"] == b'attachment; filename="a.zip"'
    assert [part["body"] for part in (first, second)] == [b"one", b"two"]
    assert end == {"type": "http.response.body", "body": b"", "more_body": False}
    assert place.held == 0


@pytest.mark.parametrize("pieces_before", [0, 1])
async def test_what_breaks_off_never_ends_well(pieces_before: int) -> None:
    place = Place()
    messages: list[Any] = []

    async def made() -> AsyncGenerator[bytes, None]:
        for _ in range(pieces_before):
            yield b"x"
        raise StoreUnavailable("s3", "away")

    async def send(message: Any) -> None:
        messages.append(message["type"] if message["type"] == "http.response.start" else message["more_body"])

    answer: Any = ArchiveAnswer("a.zip", made, place.hold)
    with pytest.raises(StoreUnavailable):
        await answer({"type": "http"}, None, send)
    # Before the first piece nothing is sent, so that the error is an answer of its own.
    assert messages == (["http.response.start", True] if pieces_before else [])
    assert place.held == 0
