"""What stands on pages that are looked at: photographs, a product, an event with faces and a gallery for its guests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx

from shared.testing import pictures
from shared.testing.waiting import eventually
from tests.api_client import Api
from tests.browser.site import Site
from tests.bucket_contents import BUCKET
from tests.face_world import group, nobody, portrait

Exhibits = dict[str, str]
"""What paths of pages name, by name."""

PHOTOS = 10
WITHIN_SECONDS = 300.0
WORKERS = ("s3-syncer", "reconciler", "face-embedder", "cleanup-scheduler")


@dataclass(frozen=True, slots=True)
class Names:
    """The words that people gave to things."""

    title: str = "Harbour"
    alt: str = "A photograph"
    file: str = "harbour.jpg"
    product: str = "House blend"
    event: str = "Summer wedding"
    consent: str = "I agree to be searched for."
    gallery: str = "Guests"
    person: str = "Anna"


async def set_up(site: Site, names: Names | None = None, photographs: int = PHOTOS) -> Exhibits:
    """Returns once everything is processed, in half a minute. All services of the site are at work then.

    With `names` everything is named by them, otherwise what has a name of its own keeps it.
    """
    await site.start(*WORKERS)
    given = names or Names()
    titles = [given.title] * photographs if names else [path.stem.capitalize() for path in pictures.real_photos()]
    async with site.api() as api:
        made = await asyncio.gather(
            _photographs(api, titles[:photographs], given), _product(site, api, given), _event(site, api, given)
        )
    return {name: value for exhibits in made for name, value in exhibits.items()}


async def _photographs(api: Api, titles: list[str], names: Names) -> Exhibits:
    photos = zip(pictures.real_photos(), titles, strict=False)
    uploads = [
        await api.upload(path.read_bytes(), names.file, title=title, alt=names.alt, storageStrategy="local_only")
        for path, title in photos
    ]
    refused = await api.upload(pictures.truncated_jpeg(), names.file)
    await asyncio.gather(*(api.ended(upload["jobId"], WITHIN_SECONDS) for upload in [*uploads, refused]))
    ids = [upload["mediaId"] for upload in uploads]
    job = await api.http.post("/api/admin/media/sync", json={"operation": "upload_to_s3", "mediaIds": ids[:6]})
    assert job.status_code == 202, job.text
    return {"media": ids[0], "sync_job": job.json()["jobId"]}


async def _product(site: Site, api: Api, names: Names) -> Exhibits:
    """With files of nobody beside its images, and a plan for them that waits to be read."""
    product: str = (await _made(api, "/admin/products", {"name": names.product}))["id"]
    url = f"/admin/products/{product}"
    for weight in ("250g", "1kg"):
        variant = await _made(api, f"{url}/variants", {"weight": weight})
        answer = await api.http.post(
            f"{url}/images",
            data={"variantId": variant["id"], "imageType": "hero-card"},
            files={"file": (names.file, pictures.photo_jpeg(900, 600))},
        )
        await _settled(api, answer)
    async with site.store.client() as bucket:
        for number in range(3):
            key, content = f"products/{product}/250g/by hand {number}.jpg", pictures.photo_jpeg(600 + number, 400)
            await bucket.put_object(Bucket=BUCKET, Key=key, Body=content, ContentType="image/jpeg")

    async def is_known() -> bool:
        found = (await api.http.get(f"{url}/images/sync/check")).json()
        return len(found.get("orphanedFiles", ())) == 3 and len(found["syncedFiles"]) == 2

    await eventually(is_known, within_seconds=WITHIN_SECONDS, every_seconds=0.2, why="the check knows every file")
    wishes = {"removeOrphaned": True, "recreateMissing": True}
    answer = await api.http.post("/admin/reconcile/runs", json={"scope": "product", "productId": product, **wishes})
    return {"product": product, "plan": answer.json()["id"]}


async def _settled(api: Api, answer: httpx.Response) -> None:
    """A slow machine answers with the job of the change: then that is what has to end well."""
    if answer.status_code == 201:
        return
    assert answer.status_code == 202, answer.text
    job = answer.json()["jobId"]

    async def completed() -> bool:
        status = (await api.http.get(f"/admin/products/jobs/{job}")).json()["status"]
        assert status != "failed", job
        return bool(status == "completed")

    await eventually(completed, within_seconds=WITHIN_SECONDS, every_seconds=0.2, why=f"the change {job} ends")


async def _event(site: Site, api: Api, names: Names) -> Exhibits:
    event = await _made(api, "/api/v1/events", {"name": names.event, "consent_text": names.consent})
    url, previews = f"/api/v1/events/{event['uuid']}", event["s3_prefix"]
    photos = {f"portrait-{person}": portrait(person) for person in range(4)} | {"group": group(), "table": nobody()}
    async with site.store.client() as bucket:
        for name, content in photos.items():
            await bucket.put_object(Bucket=BUCKET, Key=f"{previews}{name}.jpg", Body=content)
    started = await api.http.post("/api/v1/faces/sync-s3", json={"event_uuid": event["uuid"], "s3_prefix": previews})
    assert started.status_code == 200, started.text

    async def is_synced() -> bool:
        task = (await api.http.get(f"/api/v1/faces/tasks/{started.json()['task_id']}")).json()
        return bool(task["status"] == "completed")

    async def people() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await api.http.get(f"{url}/people")).json()["people"]
        return found

    await eventually(is_synced, within_seconds=WITHIN_SECONDS, every_seconds=0.2, why="the photos are synced")
    somebody, *_ = await eventually(people, within_seconds=WITHIN_SECONDS, every_seconds=0.2, why="people are found")
    named = await api.http.patch(f"{url}/people/{somebody['id']}", json={"name": names.person})
    assert named.status_code == 200, named.text
    link = await _made(api, f"{url}/galleries", {"name": names.gallery})
    return {"event": event["uuid"], "person": somebody["id"], "gallery": link["path"].rpartition("/")[2]}


async def _made(api: Api, url: str, fields: dict[str, Any]) -> dict[str, Any]:
    answer = await api.http.post(url, json=fields)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made
