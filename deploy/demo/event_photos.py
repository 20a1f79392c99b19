"""An event: its photos are found in the bucket, and one guest's selfie finds the guest on them."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Iterator
from typing import Any, Final

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from deploy.demo.client import Client, Stack
from shared.storage.s3 import S3Store
from shared.testing.pictures import encoded, real_photos

POLL_SECONDS: Final = 0.3
SYNC_SECONDS: Final = 300.0
FINAL: Final = frozenset({"completed", "failed"})
GROUP: Final = "t1.jpg"
PREVIEW_SIDE_PX: Final = 900
GUESTS: Final = ((225, 75, 412, 345), (705, 280, 885, 545), (1085, 215, 1275, 460))
"""Parts of the group photo around three of its people: left, top, right, bottom."""
GUEST: Final = 1
"""Whose selfie is searched for."""


async def show_event(stack: Stack, client: Client, console: Console) -> bool:
    """Sync an event's photos and search one selfie; whether it found the guest on just the right photos."""
    if not stack.has_faces:
        console.print("[red]no event is shown: face-embedder has no models here, `make setup` says why[/]")
        return False
    event = await client.make_event("Wedding")
    photos = dict(_photos(event["s3_prefix"]))
    async with S3Store(stack.bucket) as bucket:
        for key, content in photos.items():
            await bucket.put_bytes(key, content)
    started_at = time.monotonic()
    task = await _synced(client, event, console)
    console.print(
        f"event {event['name']}: {task['message']} in {time.monotonic() - started_at:.1f} s, "
        f"{task['no_face']} without a face, {task['previews_made']} previews made"
    )
    found = await client.search_faces(event["uuid"], _selfie())
    _show_matches(found, console)
    wanted = {f"{event['s3_prefix']}{name}" for name in ("group.jpg", f"guest-{GUEST}.jpg", "late.jpg")}
    names = {match["s3_key"] for match in found}
    sizes = [await client.size_bytes(match["preview_url"]) for match in found]
    is_right = names == wanted and all(sizes) and task["status"] == "completed" and task["failed"] == 0
    console.print(
        f"the guest of the selfie is on {len(names)} of {task['total_found']} photos"
        if is_right
        else f"[red]the guest was found on {sorted(names)}, expected {sorted(wanted)}; the sync: {task}[/]"
    )
    return is_right


def _photos(previews: str) -> Iterator[tuple[str, bytes]]:
    """What a photographer puts into the bucket: previews, some originals, and one that has no preview yet."""
    originals = previews.replace("/previews/", "/originals/")
    photos = {path.name: path for path in real_photos()}
    group = _opened(photos[GROUP].read_bytes())
    yield f"{originals}group.jpg", encoded(group, "JPEG", quality=92)
    small = group.copy()
    small.thumbnail((PREVIEW_SIDE_PX, PREVIEW_SIDE_PX))
    yield f"{previews}group.jpg", encoded(small, "JPEG", quality=85)
    for number, part in enumerate(GUESTS):
        yield f"{previews}guest-{number}.jpg", encoded(group.crop(part), "JPEG", quality=88)
    left, top, right, bottom = GUESTS[GUEST]
    wider = group.crop((left - 30, top - 30, right + 30, bottom + 30))
    yield f"{originals}late.jpg", encoded(wider.resize((wider.width * 3, wider.height * 3)), "JPEG", quality=92)
    for name in ("coffee.png", "rocket.jpg"):
        still = _opened(photos[name].read_bytes())
        still.thumbnail((640, 640))
        yield f"{previews}{name.partition('.')[0]}.jpg", encoded(still, "JPEG")


def _selfie() -> bytes:
    """The guest once more: mirrored, smaller and poorer, as from another camera."""
    photos = {path.name: path for path in real_photos()}
    face = _opened(photos[GROUP].read_bytes()).crop(GUESTS[GUEST]).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    face.thumbnail((240, 240))
    return encoded(face, "JPEG", quality=60)


def _opened(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as opened:
        return opened.convert("RGB")


async def _synced(client: Client, event: dict[str, Any], console: Console) -> dict[str, Any]:
    task_id = await client.start_face_sync(event["uuid"], event["s3_prefix"])
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("event photos", total=None)
        async with asyncio.timeout(SYNC_SECONDS):
            while True:
                task = await client.face_task(task_id)
                progress.update(bar, total=task["new_photos"] or None, completed=task["processed"] + task["failed"])
                if task["status"] in FINAL:
                    return task
                await asyncio.sleep(POLL_SECONDS)


def _show_matches(matches: list[dict[str, Any]], console: Console) -> None:
    """One photo after the other; an address stays in one piece, whatever the console's width."""
    for match in matches:
        console.print(f"{match['s3_key'].rpartition('/')[2]}: {match['similarity']:.2f} alike")
        for what, url in (("preview", match["preview_url"]), ("original", match["image_url"])):
            text = f"  {what:9}[link={url}]{url}[/link]" if url else f"  {what:9}none"
            console.print(text, soft_wrap=True, highlight=False)
