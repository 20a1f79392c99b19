"""What the store in a bucket promises beyond the others: large objects, addresses, and independent clients."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
import tracemalloc
from pathlib import Path

import httpx
import pytest

from deploy.local.object_store import ObjectStoreServer
from shared.storage.object_store import digest
from shared.storage.s3 import S3Store
from tests.integration.object_stores.stored_bytes import MIB, keys_of, s3_settings, sha256


async def test_large_objects_pass_in_bounded_memory(
    object_store_server: ObjectStoreServer, bucket: str, tmp_path: Path
) -> None:
    sources = [tmp_path / str(number) for number in range(4)]
    for source in sources:
        source.write_bytes(os.urandom(5 * MIB) * 4)
    async with S3Store(s3_settings(object_store_server, bucket, buffered_parts=2)) as store:
        tracemalloc.start()
        await asyncio.gather(*(store.put_file(source.name, source) for source in sources))
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert [(await digest(store, source.name)).size_bytes for source in sources] == [20 * MIB] * 4
    assert peak_bytes < 30 * MIB


async def test_presigned_urls_let_others_in_and_only_so_far(s3: S3Store) -> None:
    key = "uploads/a b+c/é.webp"
    put = s3.presigned_put(key, content_type="image/webp", size_bytes=3, expires_in_seconds=60)
    async with httpx.AsyncClient(timeout=60) as client:
        for body, content_type in ((b"1234", "image/webp"), (b"123", "text/html")):
            refused = await client.put(put, content=body, headers={"content-type": content_type})
            assert refused.status_code == 403
        stored = await client.put(put, content=b"123", headers={"content-type": "image/webp"})
        assert stored.status_code == 200
        got = await client.get(s3.presigned_get(key, expires_in_seconds=60))
        assert (got.status_code, got.content, got.headers["content-type"]) == (200, b"123", "image/webp")
        saved = await client.get(s3.presigned_get(key, expires_in_seconds=60, save_as='ä "1".webp'))
        assert (saved.status_code, saved.content) == (200, b"123")
        assert saved.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A4%20%221%22.webp"
        other = s3.presigned_get(key, expires_in_seconds=60).replace("uploads", "downloads")
        assert (await client.get(other)).status_code == 403


async def test_public_and_presigned_addresses_can_differ_from_ours(
    object_store_server: ObjectStoreServer, bucket: str
) -> None:
    shown = s3_settings(
        object_store_server,
        bucket,
        presign_endpoint="https://media.example.org",
        public_url="https://cdn.example.org/",
    )
    async with S3Store(shown) as store:
        assert store.public_url("a b/é.webp") == "https://cdn.example.org/a%20b/%C3%A9.webp"
        presigned = store.presigned_get("a", expires_in_seconds=5)
        assert presigned.startswith(f"https://media.example.org/{bucket}/a?")
    async with S3Store(s3_settings(object_store_server, bucket)) as store:
        assert store.public_url("a") is None


async def test_an_independent_client_reads_what_was_put(s3: S3Store, object_store_server: ObjectStoreServer) -> None:
    await s3.put_bytes("media/a b+c.webp", b"picture")
    async with object_store_server.client() as client:
        answer = await client.get_object(Bucket=s3.bucket, Key="media/a b+c.webp")
        assert await answer["Body"].read() == b"picture"
    assert answer["Metadata"] == {"sha256": sha256(b"picture")}
    assert answer["ContentType"] == "image/webp"


async def test_a_file_is_sent_whole_up_to_a_size_and_in_parts_above_it(
    object_store_server: ObjectStoreServer, bucket: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    async with S3Store(s3_settings(object_store_server, bucket, whole_file_bytes=6 * MIB)) as store:
        for size_bytes, is_whole in ((6 * MIB, True), (6 * MIB + 1, False)):
            content = os.urandom(size_bytes)
            source.write_bytes(content)
            put = await store.put_file("a", source)
            assert (put.size_bytes, put.sha256) == (size_bytes, hashlib.sha256(content).hexdigest())
            # Of parts the store makes "<MD5 of their MD5s>-<count>".
            assert ("-" not in put.etag) == is_whole
            assert (await digest(store, "a")).sha256 == put.sha256


async def test_uploads_that_nobody_finished_are_aborted_once_they_are_old(
    object_store_server: ObjectStoreServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.storage.s3_parts._UPLOADS_PAGE", 2)
    async with object_store_server.client() as client, S3Store(s3_settings(object_store_server, bucket)) as store:

        async def begin(key: str) -> str:
            begun = await client.create_multipart_upload(Bucket=bucket, Key=key)
            await client.upload_part(
                Bucket=bucket, Key=key, UploadId=begun["UploadId"], PartNumber=1, Body=bytes(5 * MIB)
            )
            return begun["UploadId"]

        async def unfinished() -> list[str]:
            listed = await client.list_multipart_uploads(Bucket=bucket)
            return sorted(upload["UploadId"] for upload in listed.get("Uploads", []))

        old = [await begin(f"media/{number}/{number // 2}") for number in range(5)]
        await store.put_bytes("media/0/kept", b"1")
        assert await store.abort_unfinished(older_than_seconds=60, limit=100) == 0
        assert await unfinished() == sorted(old)
        between = time.monotonic() + 1.5
        # The store tells the time in whole seconds.
        await asyncio.sleep(4)
        young = await begin("media/0/0")

        async def abort(limit: int) -> int:
            return await store.abort_unfinished(older_than_seconds=time.monotonic() - between, limit=limit)

        assert await abort(3) == 3
        assert len(await unfinished()) == 3
        assert await abort(100) == 2
        assert await unfinished() == [young]
        assert await keys_of(store) == ["media/0/kept"]
