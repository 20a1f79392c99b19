"""A bucket that is away, silent, wrong, or answers with something else: an outage or a refusal, never a loss."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from shared.storage.errors import (
    StoreRefused,
    StoreUnavailable,
)
from shared.storage.object_store import digest
from shared.storage.s3 import S3Store
from tests.integration.object_stores.stored_bytes import (
    DEADLINE_SECONDS,
    MIB,
    chunks_of,
    keys_of,
    read,
    s3_settings,
    sha256,
)


async def test_says_what_is_wrong_with_the_bucket(object_store_server: ObjectStoreServer, bucket: str) -> None:
    right = s3_settings(object_store_server, bucket)
    wrongs = {
        "no_such_bucket": right.model_copy(update={"bucket": "no-such-bucket"}),
        "wrong_credentials": right.model_copy(update={"secret_key": SecretStr("not-the-secret")}),
    }
    for code, wrong in wrongs.items():
        async with S3Store(wrong) as store:
            for attempt in (
                store.check(),
                store.stat("a"),
                store.delete("a"),
                store.put_bytes("a", b"1"),
                keys_of(store),
                read(store, "a"),
            ):
                with pytest.raises(StoreRefused) as refused:
                    await attempt
                assert refused.value.code == code


async def test_a_closed_port_is_an_outage(object_store_server: ObjectStoreServer, bucket: str) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    async with S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store:
        for attempt in (store.check(), store.stat("a"), store.put_bytes("a", b"1"), keys_of(store), read(store, "a")):
            with pytest.raises(StoreUnavailable, match="s3 is unavailable"):
                await attempt


async def test_a_silent_store_is_an_outage_within_the_deadline(
    object_store_server: ObjectStoreServer, bucket: str
) -> None:
    async def ignore(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silence.wait()
        writer.close()

    silence = asyncio.Event()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(ignore, "127.0.0.1", 0))
        stack.callback(silence.set)
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        quick = s3_settings(
            object_store_server,
            bucket,
            endpoint=endpoint,
            connect_seconds=0.3,
            answer_seconds=0.3,
            slowest_bytes_per_second=16 * MIB,
        )
        store = await stack.enter_async_context(S3Store(quick))
        # The second body is larger than what the connection buffers: writing it stalls, not only reading.
        for attempt in (store.stat("a"), store.put_bytes("a", b"1" * 24 * MIB), read(store, "a")):
            async with asyncio.timeout(DEADLINE_SECONDS):
                with pytest.raises(StoreUnavailable):
                    await attempt


@asynccontextmanager
async def answering(answers: Callable[[int], bytes]) -> AsyncIterator[str]:
    """Endpoint of a server that gives this answer to its first, second, … request, and closes where it is empty."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = [line for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(length[0].partition(b":")[2]) if length else 0)
                count += 1
                if not (answer := answers(count)):
                    return
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_page_instead_of_an_answer_is_an_outage(object_store_server: ObjectStoreServer, bucket: str) -> None:
    """Above all it is no empty listing."""

    def page(_: int) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 7\r\n\r\n<html/>"

    async with (
        answering(page) as endpoint,
        S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store,
    ):
        attempts = (
            keys_of(store),
            store.check(),
            store.copy("a", "b"),
            store.put_stream("a", chunks_of(bytes(5 * MIB))),
        )
        for attempt in attempts:
            with pytest.raises(StoreUnavailable, match="an answer without it"):
                await attempt


async def test_a_kept_connection_that_the_store_closed_is_no_outage(
    object_store_server: ObjectStoreServer, bucket: str
) -> None:
    def closing_every_second_time(count: int) -> bytes:
        return b"" if count % 2 == 0 else b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n'

    async with (
        answering(closing_every_second_time) as endpoint,
        S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store,
    ):
        for _ in range(4):
            assert (await store.put_bytes("a", b"1" * 300_000)).etag == "x"


def refusing(code: str, status: bytes = b"404 Not Found") -> bytes:
    document = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(document), document)


async def test_a_write_whose_folder_was_just_removed_is_made_again(
    object_store_server: ObjectStoreServer, bucket: str
) -> None:
    def losing_it_twice(count: int) -> bytes:
        return refusing("NoSuchKey") if count < 3 else b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n'

    for answers, outcome in ((losing_it_twice, None), (lambda _: refusing("NoSuchKey"), "lost the folder")):
        async with (
            answering(answers) as endpoint,
            S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store,
        ):
            if outcome is None:
                assert (await store.put_bytes("a/b", b"1")).etag == "x"
            else:
                with pytest.raises(StoreUnavailable, match=outcome):
                    await store.put_bytes("a/b", b"1")


async def test_a_copy_that_fails_after_its_answer_began_is_no_copy(
    object_store_server: ObjectStoreServer, bucket: str
) -> None:
    """To keep the connection alive while it copies, a store answers 200 and spaces first."""
    async with (
        answering(
            lambda _: refusing("InternalError", b"200 OK").replace(b"<?xml version='1.0'?>", b" " * 21)
        ) as endpoint,
        S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store,
    ):
        with pytest.raises(StoreUnavailable, match="InternalError"):
            await store.copy("a", "b")


@asynccontextmanager
async def own_server(folder: Path) -> AsyncIterator[ObjectStoreServer]:
    server = ObjectStoreServer(folder, free_port(), "test-access", "test-secret-key")
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.mark.fault
async def test_a_store_killed_in_the_middle_is_an_outage_and_comes_back(tmp_path: Path) -> None:
    data = os.urandom(48 * MIB)
    async with own_server(tmp_path) as server:
        await server.create_bucket("bucket")
        async with S3Store(s3_settings(server, "bucket")) as store:
            await store.put_bytes("kept", data)
            async with store.open("kept") as opened:
                await anext(opened.chunks)
                await server.kill()
                with pytest.raises(StoreUnavailable):
                    [chunk async for chunk in opened.chunks]
            with pytest.raises(StoreUnavailable):
                await store.put_bytes("new", b"1")

            await server.start()
            await store.put_bytes("new", b"1")
            assert (await digest(store, "kept")).sha256 == sha256(data)

            killing = asyncio.Event()

            async def chunks() -> AsyncIterator[bytes]:
                yield data
                # First, for parts on their way fail while the server is being killed, and end this here.
                killing.set()
                await server.kill()
                yield data

            with pytest.raises(StoreUnavailable):
                await store.put_stream("half", chunks())
            assert killing.is_set()
            await server.start()
            assert await keys_of(store) == ["kept", "new"]


async def test_a_large_file_is_sent_anew_on_a_kept_connection_that_the_store_closed(
    object_store_server: ObjectStoreServer, bucket: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(3 * MIB))

    def closing_every_second_time(count: int) -> bytes:
        return b"" if count % 2 == 0 else b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n'

    async with (
        answering(closing_every_second_time) as endpoint,
        S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store,
    ):
        for _ in range(3):
            assert (await store.put_file("a", source)).etag == "x"


async def test_a_file_that_is_cut_while_it_is_sent_is_no_outage_of_the_bucket(
    object_store_server: ObjectStoreServer, bucket: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(32 * MIB))
    started = asyncio.Event()

    async def take_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        started.set()
        await cut.wait()
        with suppress(ConnectionError):
            await reader.read(-1)
        writer.close()

    cut = asyncio.Event()
    async with await asyncio.start_server(take_slowly, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store:
            sending = asyncio.create_task(store.put_file("a", source, sha256="0" * 64))
            async with asyncio.timeout(DEADLINE_SECONDS):
                await started.wait()
                os.truncate(source, MIB)
                cut.set()
                with pytest.raises(StoreUnavailable, match="it was cut") as failed:
                    await sending
    assert failed.value.dependency == "disk"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 7\r\n\r\n<html/>",
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 10\r\n\r\n<p>Go away",
    ],
)
async def test_a_page_is_no_proof_of_a_write(
    object_store_server: ObjectStoreServer, bucket: str, answer: bytes
) -> None:
    async with (
        answering(lambda _: answer) as endpoint,
        S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store,
    ):
        with pytest.raises(StoreUnavailable):
            await store.put_bytes("a", b"1")
