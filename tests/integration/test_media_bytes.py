"""Reading media over HTTP: ranges, conditions, caching, private and deleted ones, and what is only in the bucket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from deploy.local.object_store import ObjectStoreServer
from ingest_api.accounts import Role
from shared.events import ProcessImageV1
from shared.identifiers import new_id
from shared.testing.databases import TestDatabase
from tests.ingest_site import PICTURE, UPLOADS, IngestSite, bucket_settings, running_site
from tests.outcomes import processed, stored

pytestmark = pytest.mark.stack

CONTENT = bytes(range(256)) * 4096  # 1 MiB: more than one chunk


@dataclass
class Shown:
    """A processed medium: its record, and a client that is nobody."""

    site: IngestSite
    record: dict[str, Any]
    nobody: httpx.AsyncClient

    @property
    def url(self) -> str:
        return str(self.record["urls"]["640"])

    @property
    def plain_url(self) -> str:
        return self.url.partition("?")[0]

    async def get(self, url: str | None = None, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.nobody.get(url or self.url, headers=sent)


async def show(
    site: IngestSite,
    nobody: httpx.AsyncClient,
    *,
    files: dict[str, bytes],
    on_disk: bool = True,
    in_bucket: bool = False,
) -> Shown:
    """Upload, and play image-processor: files on disk and the fact that they are there."""
    accepted = await site.uploaded()
    payload = await site.rows.fetchval("SELECT payload FROM outbox WHERE topic = 'image.process' ORDER BY id DESC")
    command = ProcessImageV1.model_validate_json(payload)
    for name, content in files.items():
        if on_disk:
            await site.stores.disk.put_bytes(stored(command, name, content).key, content)
        if in_bucket and site.stores.bucket is not None:
            await site.stores.bucket.put_bytes(stored(command, name, content).key, content)
    await site.handlers.deliver(processed(command, files=files, on_disk=on_disk, in_bucket=in_bucket))
    record = (await site.api.get(f"{UPLOADS}/{accepted['mediaId']}")).json()
    return Shown(site, record, nobody)


@pytest.fixture
async def site(database: TestDatabase, tmp_path: Path) -> AsyncIterator[IngestSite]:
    async with running_site(database, tmp_path / "media") as running:
        yield running


@pytest.fixture
async def shown(site: IngestSite) -> AsyncIterator[Shown]:
    async with httpx.AsyncClient(base_url=site.base_url, timeout=30) as nobody:
        yield await show(site, nobody, files={"640": CONTENT, "200": b"tiny"})


async def test_the_whole_file_with_its_tag(shown: Shown) -> None:
    answer = await shown.get()
    assert answer.status_code == 200
    assert answer.content == CONTENT
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["etag"] == f'"{shown.record["variants"][0]["sha256"]}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_without_or_with_another_revision_it_is_kept_shortly(shown: Shown) -> None:
    for url in (shown.plain_url, f"{shown.plain_url}?v=7"):
        answer = await shown.get(url)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=60")


async def test_head_is_get_without_its_body_everywhere(shown: Shown) -> None:
    """As proxies and monitors ask; what follows on the same connection must not meet a body."""
    api = shown.site.api
    record = f"{UPLOADS}/{shown.record['id']}"
    for client, address in [
        (api, UPLOADS),
        (api, record),
        (api, f"{UPLOADS}/jobs"),
        (api, f"{UPLOADS}/{new_id()}"),
        (api, "/api/auth/me"),
        (api, "/admin/media"),
        (shown.nobody, record),
        (shown.nobody, "/"),
        (shown.nobody, "/admin/media"),
        (shown.nobody, "/login"),
        (shown.nobody, "/docs"),
        (shown.nobody, "/docs/openapi.json"),
        (shown.nobody, "/static/pages.css"),
    ]:
        whole, head = await client.get(address), await client.head(address)
        assert (head.status_code, head.content) == (whole.status_code, b""), address
        for name in ("content-type", "location", "www-authenticate", "cache-control"):
            assert head.headers.get(name) == whole.headers.get(name), (address, name)
        if "traceId" not in whole.text:
            assert head.headers.get("content-length") == whole.headers.get("content-length"), address


async def test_head_gives_the_headers_alone(shown: Shown) -> None:
    answer = await shown.nobody.head(shown.url)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["etag"] == (await shown.get()).headers["etag"]
    # ranges are for GET alone
    part = await shown.nobody.head(shown.url, headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.headers["content-length"]) == (200, str(len(CONTENT)))


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=300000-700000", 300000, 700001), ("bytes=-5", len(CONTENT) - 5, len(CONTENT))],
)
async def test_a_range_is_206(shown: Shown, wanted: str, start: int, end: int) -> None:
    answer = await shown.get(range=wanted)
    assert answer.status_code == 206
    assert answer.content == CONTENT[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
    assert answer.headers["content-length"] == str(end - start)


async def test_a_range_behind_the_end_is_416(shown: Shown) -> None:
    answer = await shown.get(range=f"bytes={len(CONTENT)}-")
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(CONTENT)}")
    assert answer.json()["code"] == "range_not_satisfiable"


async def test_if_range_with_another_tag_gives_the_whole(shown: Shown) -> None:
    etag = (await shown.get()).headers["etag"]
    assert (await shown.get(range="bytes=0-9", if_range=etag)).status_code == 206
    assert (await shown.get(range="bytes=0-9", if_range='"other"')).status_code == 200


async def test_what_the_reader_has_is_304(shown: Shown) -> None:
    etag = (await shown.get()).headers["etag"]
    answer = await shown.get(if_none_match=f'"x", {etag}')
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert (await shown.get(if_none_match='"x"')).status_code == 200


@pytest.mark.parametrize(
    "variant",
    ["unknown", "original", "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "640.webp", "640%00", "%2fetc%2fpasswd"],
)
async def test_only_names_of_the_record_are_found(shown: Shown, variant: str) -> None:
    answer = await shown.get(f"/media/{shown.record['id']}/{variant}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_unknown_media_and_unfinished_ones_are_404(shown: Shown) -> None:
    accepted = await shown.site.uploaded()
    for media_id in (accepted["mediaId"], new_id(), "no-id"):
        answer = await shown.get(f"/media/{media_id}/640")
        assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")


async def test_a_file_that_vanished_is_404_not_an_empty_200(shown: Shown) -> None:
    for path in (shown.site.settings.media_root / "media").rglob("640.webp"):
        path.unlink()
    assert (await shown.get()).status_code == 404


async def test_deleted_media_are_for_admins_who_ask_for_them(shown: Shown) -> None:
    await shown.site.rows.execute("UPDATE media SET deleted_at = now()")
    assert (await shown.get()).status_code == 404
    assert (await shown.site.api.get(shown.url)).status_code == 404
    answer = await shown.site.api.get(shown.url, params={"v": "1", "deleted": "true"})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, max-age=600")


async def test_readers_that_stop_reading_do_not_hold_others_up(shown: Shown) -> None:
    writers = []
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", shown.site.port)
        writer.write(f"GET {shown.url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        writers.append(writer)
    assert (await shown.get()).content == CONTENT
    for writer in writers:
        writer.transport.abort()
        writer.close()


async def test_private_media_need_a_signature_or_a_signed_in_reader(database: TestDatabase, tmp_path: Path) -> None:
    private = {"private_entity_types": frozenset({"product"})}
    async with (
        running_site(database, tmp_path / "media", **private) as site,
        httpx.AsyncClient(base_url=site.base_url, timeout=30) as nobody,
    ):
        shown = await show(site, nobody, files={"640": CONTENT, "200": b"tiny"})
        signed = await shown.get()
        assert (signed.status_code, signed.headers["cache-control"]) == (200, "private, max-age=600")
        assert (await shown.get(shown.plain_url)).status_code == 404
        assert (await shown.get(shown.url.replace("/640?", "/200?"))).status_code == 404
        assert (await shown.get(shown.url[:-1] + ("0" if shown.url[-1] != "0" else "1"))).status_code == 404
        assert (await shown.get(shown.url.replace("expires=", "expires=9"))).status_code == 404
        for key in (site.key, await site.key_of(Role.PHOTOGRAPHER)):
            answer = await shown.get(shown.plain_url, authorization=f"Bearer {key}")
            assert answer.status_code == 200


async def test_what_is_only_in_the_bucket_is_a_redirect(
    database: TestDatabase, tmp_path: Path, object_store_server: ObjectStoreServer
) -> None:
    bucket = {
        **bucket_settings(object_store_server),
    }
    async with (
        running_site(database, tmp_path / "media", **bucket) as site,
        httpx.AsyncClient(base_url=site.base_url, timeout=30) as nobody,
    ):
        shown = await show(site, nobody, files={"640": CONTENT}, on_disk=False, in_bucket=True)
        answer = await shown.get()
        assert answer.status_code == 302
        assert answer.headers["cache-control"] == "private, max-age=600"
        assert (await nobody.get(answer.headers["location"])).content == CONTENT

        # on disk by the record, but gone from there: the bucket's copy serves
        both = await show(site, nobody, files={"640": CONTENT}, on_disk=True, in_bucket=True)
        assert (await both.get()).status_code == 200
        for path in (site.settings.media_root / "media").rglob("640.webp"):
            path.unlink()
        answer = await both.get()
        assert answer.status_code == 302
        assert (await nobody.get(answer.headers["location"])).content == CONTENT


async def show_original(site: IngestSite, *, in_bucket: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record and the job of a public medium that keeps its upload."""
    accepted = await site.uploaded()
    payload = await site.rows.fetchval("SELECT payload FROM outbox WHERE topic = 'image.process'")
    command = ProcessImageV1.model_validate_json(payload)
    event = processed(command, original=PICTURE, on_disk=not in_bucket, in_bucket=in_bucket)
    assert event.original is not None
    store = site.stores.bucket if in_bucket else site.stores.disk
    assert store is not None
    await store.put_bytes(event.original.key, PICTURE)
    await site.handlers.deliver(event)
    return (await site.api.get(f"{UPLOADS}/{accepted['mediaId']}")).json(), await site.job(accepted["jobId"])


async def test_the_original_is_for_the_signed_in_and_for_signed_addresses(site: IngestSite) -> None:
    """It tells where and with what a picture was taken, which the public variants don't."""
    record, job = await show_original(site)
    signed, variant = record["urls"]["original"], record["urls"]["640"]
    assert "signature=" in signed
    assert "signature=" not in variant
    # the same in every place that tells it
    assert job["result"]["urls"] == record["urls"]
    ticket = (await site.api.post("/api/auth/ticket")).json()["ticket"]
    async with websockets.connect(f"ws://127.0.0.1:{site.port}/api/ws?ticket={ticket}&after=0") as socket:
        async with asyncio.timeout(30):
            assert json.loads(await socket.recv())["urls"] == record["urls"]
    plain = signed.partition("?")[0]
    async with httpx.AsyncClient(base_url=site.base_url, timeout=30) as nobody:
        for address in (plain, f"{plain}?v=1", signed.replace("signature=", "signature=0")):
            assert (await nobody.get(address)).status_code == 404
            assert (await nobody.head(address)).status_code == 404
        answer = await nobody.get(signed)
    by_key = await site.api.get(plain)
    for read in (answer, by_key):
        assert (read.status_code, read.content, read.headers["content-type"]) == (200, PICTURE, "image/jpeg")
        assert read.headers["cache-control"] == "private, max-age=600"
    assert record["localPath"].endswith("original.jpg")


async def test_an_original_in_the_bucket_is_never_read_by_its_public_address(
    database: TestDatabase, tmp_path: Path, object_store_server: ObjectStoreServer
) -> None:
    bucket = {
        **bucket_settings(object_store_server),
        "s3_public_url": "https://pictures.example.org",
    }
    async with (
        running_site(database, tmp_path / "media", **bucket) as site,
        httpx.AsyncClient(base_url=site.base_url, timeout=30) as nobody,
    ):
        record, _ = await show_original(site, in_bucket=True)
        assert (await nobody.get(record["urls"]["original"].partition("?")[0])).status_code == 404
        answer = await nobody.get(record["urls"]["original"])
        assert (answer.status_code, answer.headers["cache-control"]) == (302, "private, max-age=600")
        assert answer.headers["location"].startswith(object_store_server.endpoint)
        assert (await nobody.get(answer.headers["location"])).content == PICTURE
        variant = await nobody.get(record["urls"]["640"])
        assert variant.headers["location"].startswith("https://pictures.example.org/")
