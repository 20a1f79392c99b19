"""An event of a photographer with photos of real people, synced, for tests of its pages and of its gallery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingest_api.accounts import Role
from shared.testing.waiting import eventually
from tests.browser.site import Site
from tests.bucket_contents import BUCKET
from tests.face_world import SYNC_SECONDS, group, nobody, portrait

GUEST = 1
"""Who is on three of the photos; all others are on one."""

PEOPLE = 7


@dataclass(frozen=True, slots=True)
class Wedding:
    """`event` is what the API told of it."""

    site: Site
    event: dict[str, Any]

    @property
    def address(self) -> str:
        return f"/admin/events/{self.event['uuid']}"

    async def link(self, **wish: Any) -> str:
        """The path of a new gallery."""
        async with self.site.api(Role.PHOTOGRAPHER) as api:
            answer = await api.http.post(f"/api/v1/events/{self.event['uuid']}/galleries", json=wish)
            assert answer.status_code == 201, answer.text
            return str(answer.json()["path"])


async def add_event(site: Site, name: str, **fields: Any) -> Wedding:
    async with site.api(Role.PHOTOGRAPHER) as api:
        answer = await api.http.post("/api/v1/events", json={"name": name, **fields})
        assert answer.status_code == 201, answer.text
        return Wedding(site, answer.json())


async def put_photos(wedding: Wedding) -> None:
    """Five photos, two of them with their originals."""
    previews: str = wedding.event["s3_prefix"]
    originals = previews.replace("previews", "originals")
    photos = {
        f"{previews}group.jpg": group(),
        f"{originals}group.jpg": group(1200),
        f"{previews}guest.jpg": portrait(GUEST),
        f"{originals}guest.jpg": portrait(GUEST, 95, 800),
        f"{previews}guest-again.jpg": portrait(GUEST, 60),
        f"{previews}stranger.jpg": portrait(6),
        f"{previews}table.jpg": nobody(),
    }
    async with wedding.site.store.client() as bucket:
        for key, content in photos.items():
            await bucket.put_object(Bucket=BUCKET, Key=key, Body=content)


async def sync(wedding: Wedding) -> None:
    """Returns once the photos are synced and the people on them are known."""
    event = wedding.event
    async with wedding.site.api(Role.PHOTOGRAPHER) as api:
        wish = {"event_uuid": event["uuid"], "s3_prefix": event["s3_prefix"]}
        task_id = (await api.http.post("/api/v1/faces/sync-s3", json=wish)).json()["task_id"]

        async def is_done() -> bool:
            task = (await api.http.get(f"/api/v1/faces/tasks/{task_id}")).json()
            people = (await api.http.get(f"/api/v1/events/{event['uuid']}/people")).json()["people"]
            return task["status"] == "completed" and len(people) == PEOPLE

        await eventually(is_done, within_seconds=SYNC_SECONDS, every_seconds=0.2, why="the people are known")
