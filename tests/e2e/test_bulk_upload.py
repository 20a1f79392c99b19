"""Twelve pictures in one archive, two of them bad, through everything."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.kafka_server import KafkaServer
from shared.testing.databases import TestDatabases
from shared.testing.pictures import photo_jpeg, truncated_jpeg
from tests.api_client import UPLOADS, Api, signed_in
from tests.system import System, running_system

pytestmark = pytest.mark.stack


@pytest.fixture
async def api(databases: TestDatabases, kafka_server: KafkaServer, tmp_path: Path) -> AsyncIterator[Api]:
    database = await databases.create()
    system = System(database, kafka_server.bootstrap, tmp_path / "media", tmp_path)
    async with running_system(system):
        await system.make_superadmin()
        services = [system.service("ingest-api"), system.service("image-processor")]
        for service in services:
            service.start()
        await asyncio.gather(*(service.wait_until_ready() for service in services))
        async with signed_in(system, services[0].base_url) as made:
            yield made
    await databases.drop(database)


async def test_ten_of_twelve_pictures_come_out(api: Api) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(10):
            archive.writestr(f"album/{number}.jpg", photo_jpeg(320 + number, 240))
        archive.writestr("album/cut.jpg", truncated_jpeg())
        archive.writestr("album/notes.jpg", b"this is no picture")
    answer = await api.http.post(
        f"{UPLOADS}/bulk", data={"entityType": "product"}, files={"file": ("album.zip", made.getvalue())}
    )
    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    refused = [entry for entry in accepted["jobs"] if "error" in entry]
    assert [(entry["filename"], entry["error"]["code"]) for entry in refused] == [
        ("notes.jpg", "unsupported_media_type")
    ]

    parent = await api.ended(accepted["jobId"])
    assert (parent["status"], parent["progress"]) == ("completed", 100)
    assert parent["result"] == {"total": 12, "completed": 10, "failed": 2}
    failures = {child["filename"]: child["error"]["code"] for child in parent["children"] if child["error"]}
    assert failures == {"cut.jpg": "image_truncated", "notes.jpg": "unsupported_media_type"}
    for number, child in enumerate(parent["children"][:10]):
        medium = await api.media(child["mediaId"])
        assert (medium["width"], medium["height"]) == (320 + number, 240)
        assert medium["variants"]
