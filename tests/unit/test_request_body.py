"""The body of a request: slow clients, vanishing ones, and those who send too much."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_api.problem_details import Problem
from ingest_api.request_body import ClientDisconnected, Patience, RequestBody

PATIENT = Patience(idle_seconds=5, slowest_bytes_per_second=1)


def body_of(*messages: dict[str, Any], patience: Patience = PATIENT, most_bytes: int = 1000) -> RequestBody:
    """A body of these ASGI messages; after the last one nothing comes."""
    waiting = list(messages)

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        return await asyncio.get_running_loop().create_future()

    return RequestBody(receive, patience, most_bytes)


def chunk(data: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


async def test_chunks_come_until_the_last() -> None:
    body = body_of(chunk(b"a"), chunk(b""), chunk(b"bc"), chunk(b"d", more=False))
    assert [await body.next_chunk() for _ in range(4)] == [b"a", b"bc", b"d", b""]
    assert body.ending == "complete"
    assert await body.next_chunk() == b""


async def test_a_vanished_client_is_told_apart_from_the_end() -> None:
    body = body_of(chunk(b"a"), {"type": "http.disconnect"})
    assert await body.next_chunk() == b"a"
    with pytest.raises(ClientDisconnected):
        await body.next_chunk()
    with pytest.raises(ClientDisconnected):
        await body.next_chunk()


async def test_silence_ends_with_408() -> None:
    body = body_of(chunk(b"a"), patience=Patience(idle_seconds=0.05, slowest_bytes_per_second=1))
    await body.next_chunk()
    with pytest.raises(Problem) as refused:
        await body.next_chunk()
    assert refused.value.status == 408


async def test_more_than_allowed_is_413() -> None:
    body = body_of(chunk(b"123"), chunk(b"45"), most_bytes=4)
    await body.next_chunk()
    with pytest.raises(Problem) as refused:
        await body.next_chunk()
    assert refused.value.status == 413


async def test_the_rest_can_be_skipped_within_bounds() -> None:
    ended = body_of(chunk(b"1"), chunk(b"2" * 50), chunk(b"3", more=False))
    await ended.next_chunk()
    assert await ended.skip_rest(most_bytes=60, most_seconds=1)
    endless = body_of(*[chunk(b"x" * 10)] * 100)
    assert not await endless.skip_rest(most_bytes=60, most_seconds=1)
    silent = body_of(chunk(b"1"))
    assert not await silent.skip_rest(most_bytes=60, most_seconds=0.05)


@given(st.floats(0, 1e6), st.integers(0, 10**9))
def test_patience_is_finite_and_grows_with_what_came(now: float, received_bytes: int) -> None:
    patience = Patience(idle_seconds=15, slowest_bytes_per_second=16 * 1024)
    deadline = patience.deadline(0.0, now, received_bytes)
    assert deadline <= now + 15
    assert deadline <= 30 + received_bytes / (16 * 1024)
    assert patience.deadline(0.0, now, received_bytes + 1) >= deadline


def test_a_trickle_is_given_up() -> None:
    patience = Patience(idle_seconds=10, slowest_bytes_per_second=1000)
    # one byte every nine seconds is never idle, yet far too slow
    assert patience.deadline(0.0, 27.0, 4) < 27.0
