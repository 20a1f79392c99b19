"""A backup taken while everything goes on, restored where there is nothing: all of it is whole, and work goes on."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.backup.errors import BackupError
from deploy.backup.manifest import read_entries, read_summary
from deploy.backup.restoring import put_back
from deploy.backup.site import BucketAddress, Site
from deploy.backup.taking import CONTENTS, prune, take, verify, whole_backups
from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.identifiers import new_id
from shared.testing.databases import TestDatabases
from shared.testing.pictures import photo_jpeg
from shared.testing.topics import start_anew
from shared.testing.waiting import eventually
from tests.api_client import Api, signed_in
from tests.system import System, bucket_environment, running_system, system_of_its_own

pytestmark = pytest.mark.stack

SERVICES = ("ingest-api", "image-processor", "s3-syncer", "reconciler")
SETTINGS = "/api/admin/media/settings"
LATER = "later.jpg"


class Installation:
    """A system and what a backup needs to know of it."""

    def __init__(self, system: System, store: ObjectStoreServer, bucket: str) -> None:
        self.system = system
        address = BucketAddress(store.endpoint, store.region, bucket, store.access_key, store.secret_key)
        self.site = Site(system.database.admin_dsn, address, system.media_root, keys={"signing_key": "of a test"})

    async def records(self) -> dict[str, list[Any]]:
        """What people would miss, by table."""
        return {
            table: await self.system.rows("ingest-api", f"SELECT * FROM {table} ORDER BY id")
            for table in ("media", "products", "product_variants", "product_images")
        }


def environment(store: ObjectStoreServer, bucket: str) -> dict[str, str]:
    return {
        **bucket_environment(store),
        "MEDIABUS_S3_BUCKET": bucket,
        "MEDIABUS_OBJECT_GRACE_SECONDS": "0",
        "MEDIABUS_MEDIA_GRACE_SECONDS": "0",
        "MEDIABUS_RECORD_GRACE_SECONDS": "0",
        "MEDIABUS_SWEEP_EVERY_SECONDS": "3600",
        "MEDIABUS_SCRUB_ENABLED": "false",
    }


@pytest.fixture(scope="module")
async def bucket(object_store_server: ObjectStoreServer) -> str:
    name = f"backup-{new_id()}"
    await object_store_server.create_bucket(name)
    return name


@pytest.fixture(scope="module")
async def original(
    databases: TestDatabases,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    bucket: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Installation]:
    folder = tmp_path_factory.mktemp("original")
    own = environment(object_store_server, bucket)
    async with system_of_its_own(databases, kafka_server, folder, own) as system:
        await system.make_superadmin()
        await system.start_all(*SERVICES)
        yield Installation(system, object_store_server, bucket)


def silent(_: str) -> None:
    pass


async def shelve(http: httpx.AsyncClient) -> str:
    """A product with three images; its id."""
    product_id: str = (await http.post("/admin/products", json={"name": "Coffee"})).json()["id"]
    variant = await http.post(f"/admin/products/{product_id}/variants", json={"weight": "250g"})
    for number in range(3):
        answer = await http.post(
            f"/admin/products/{product_id}/images",
            data={"variantId": variant.json()["id"], "imageType": "hero-card"},
            files={"file": (f"{number}.jpg", photo_jpeg(64, 48, seed=number))},
        )
        assert answer.status_code == 201, answer.text
    return product_id


async def compared(api: Api, scope: str) -> dict[str, int]:
    """What a run counts that changes nothing; files that are changing are not judged."""
    answer = await api.http.post("/admin/reconcile/runs", json={"scope": scope, "approve": False})
    assert answer.status_code == 200, answer.text
    counts: dict[str, int] = answer.json()["counts"]
    return {name: counts[name] for name in ("synced", "orphaned", "missing", "differing")}


async def test_what_was_in_the_backup_is_whole_elsewhere_and_goes_on(
    original: Installation,
    databases: TestDatabases,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    tmp_path: Path,
) -> None:
    backups = tmp_path / "backups"
    processor = original.system.services[1]
    async with signed_in(original.system, original.system.services[0].base_url) as api:
        await api.http.patch(SETTINGS, json={"defaultStorageStrategy": "both", "deleteMode": "hard"})
        product_id = await shelve(api.http)
        done = [await api.upload(photo_jpeg(320, 240, seed=number)) for number in range(4)]
        await api.all_completed([one["jobId"] for one in done])
        # Commanded, and told to nobody who is there: Kafka has the commands, and no backup has Kafka.
        await processor.stop()
        waiting = [await api.upload(photo_jpeg(200, 150, seed=number)) for number in range(3)]
        await eventually(lambda: _all_sent(original.system), why="the commands have left the outbox")

        folder = await take(original.site, backups, with_contents=True, report=silent)
        before = await original.records()
        processor.start()
        await api.all_completed([one["jobId"] for one in waiting])
    await original.system.stop()
    await start_anew(kafka_server.bootstrap)

    bucket = f"restored-{new_id()}"
    await object_store_server.create_bucket(bucket)
    own = environment(object_store_server, bucket)
    database = await databases.create_empty()
    system = System(
        database,
        kafka_server.bootstrap,
        tmp_path / "media",
        tmp_path,
        own,
        superadmin_password=original.system.superadmin_password,
    )
    system.media_root.mkdir()
    restored = Installation(system, object_store_server, bucket)
    result = await put_back(restored.site, folder, report=silent)
    assert (result.kept, result.absent) == (0, 0)
    assert await restored.records() == before
    await databases.bring_up_to_date(database)

    async with running_system(system), object_store_server.client() as client:
        later = f"products/{product_id}/250g/hero-card/{LATER}"
        await client.put_object(Bucket=bucket, Key=later, Body=photo_jpeg(32, 32))
        await system.start_all(*SERVICES)
        async with signed_in(system, system.services[0].base_url) as api:
            await api.all_completed([one["jobId"] for one in waiting])
            settings = (await api.http.get(SETTINGS)).json()
            assert (settings["deleteMode"], settings["s3Bucket"]) == ("hard", bucket)
            for one in (*done, *waiting):
                url = (await api.job(one["jobId"]))["result"]["urls"]["original"]
                assert (await api.http.get(url)).status_code == 200

            async def media_are_whole() -> bool:
                files = await _files_of_media(system)
                assert await compared(api, "media") == {"synced": files, "orphaned": 0, "missing": 0, "differing": 0}
                return files >= 2 * len((*done, *waiting))

            await eventually(media_are_whole, within_seconds=60, every_seconds=0.3, why="reconciler knows all media")
            assert await compared(api, "products") == {"synced": 3, "orphaned": 1, "missing": 0, "differing": 0}
            answer = await api.http.get(f"/admin/products/{product_id}/images/sync/check")
            assert answer.json()["orphanedFiles"] == [later]
    await databases.drop(database)


async def _all_sent(system: System) -> bool:
    rows = await system.rows("ingest-api", "SELECT count(*) FROM outbox WHERE sent_at IS NULL")
    return bool(rows[0]["count"] == 0)


def _in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def _files_of_media(system: System) -> int:
    """Originals and variants that are recorded."""
    (row,) = await system.rows("reconciler", "SELECT count(*) AS files FROM media_files")
    return int(row["files"])


async def test_a_second_backup_keeps_what_is_new_alone_and_rot_is_found(
    original: Installation, bucket: str, object_store_server: ObjectStoreServer, tmp_path: Path
) -> None:
    backups = tmp_path / "backups"
    async with object_store_server.client() as client:
        await client.put_object(Bucket=bucket, Key="products/one.bin", Body=b"one", Metadata={"said": "something"})
        first = await take(original.site, backups, with_contents=True, report=silent)
        kept = {path.name for path in (backups / CONTENTS).rglob("*") if path.is_file()}
        await client.put_object(Bucket=bucket, Key="products/two.bin", Body=b"two")
        await client.delete_object(Bucket=bucket, Key="products/one.bin")
    second = await take(original.site, backups, with_contents=True, report=silent)
    assert whole_backups(backups) == [first, second]
    added = {path.name for path in (backups / CONTENTS).rglob("*") if path.is_file()} - kept
    assert added == {hashlib.sha256(b"two").hexdigest()}
    (one,) = [entry for entry in read_entries(first / "bucket.jsonl") if entry.key == "products/one.bin"]
    assert (one.size_bytes, one.metadata) == (3, {"said": "something"})
    assert read_summary(second).bucket_files == read_summary(first).bucket_files
    assert (await verify(first)).has_contents

    elsewhere = tmp_path / "copy"
    await asyncio.to_thread(shutil.copytree, backups, elsewhere)
    assert prune(elsewhere, keep=2) == (0, 0)
    assert prune(elsewhere, keep=1) == (1, 3), "the bytes of the file that the second does not have"
    assert await verify(elsewhere / second.name) == read_summary(second)

    rotten = backups / CONTENTS / one.sha256[:2] / one.sha256
    rotten.write_bytes(b"0ne")
    (second / "ingest.dump").write_bytes(b"")
    with pytest.raises(BackupError, match="damaged"):
        await verify(first)
    with pytest.raises(BackupError, match=r"ingest\.dump"):
        await verify(second)


async def test_without_contents_it_lists_and_hashes_and_restores_nothing_but_records(
    original: Installation, databases: TestDatabases, tmp_path: Path
) -> None:
    (original.site.media_root / "products").mkdir(exist_ok=True)
    (original.site.media_root / "products" / "here.bin").write_bytes(b"here")
    (original.site.media_root / "selfies").mkdir(exist_ok=True)
    (original.site.media_root / "selfies" / "sealed").write_bytes(b"for a moment")
    folder = await take(original.site, tmp_path, with_contents=False, report=silent)
    assert not (tmp_path / CONTENTS).exists()
    entries = {entry.key: entry.sha256 for entry in read_entries(folder / "disk.jsonl")}
    assert entries["products/here.bin"] == hashlib.sha256(b"here").hexdigest()
    assert not any(key.startswith("selfies/") for key in entries), "a selfie outlives its search in no backup"
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder, folder / "keys.json", folder / "backup.json"))

    database = await databases.create_empty()
    site = replace(original.site, admin_dsn=database.admin_dsn, media_root=tmp_path / "elsewhere")
    result = await put_back(site, folder, report=silent)
    assert (result.written, result.absent) == (0, len(entries)), "the bucket is the one it was, the disk is another"
    with pytest.raises(BackupError, match="holds records already"):
        await put_back(site, folder, report=silent)
    await databases.drop(database)


async def test_a_backup_that_fails_leaves_nothing_that_looks_like_one(original: Installation, tmp_path: Path) -> None:
    assert original.site.bucket is not None
    nowhere = replace(original.site, bucket=replace(original.site.bucket, name="no-such-bucket"))
    with pytest.raises(BackupError, match="no-such-bucket"):
        await take(nowhere, tmp_path, with_contents=True, report=silent)
    away = replace(original.site, admin_dsn="postgresql://nobody:nothing@127.0.0.1:9/nowhere")
    with pytest.raises(BackupError, match="does not answer"):
        await take(away, tmp_path, with_contents=True, report=silent)
    assert whole_backups(tmp_path) == []
    assert [path.name for path in _in(tmp_path)] == [CONTENTS]
    with pytest.raises(BackupError, match="no whole backup"):
        read_summary(tmp_path)
