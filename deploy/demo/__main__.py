"""`python -m deploy.demo`: start the stack, upload the album, show every job's life and outcome.

Then an event: its photos are synced, and a guest's selfie is searched among them. Stays up until Ctrl-C. With EXIT=1 it
stops the stack and ends with 0 only if every good picture was processed, every bad one refused with its reason, and the
guest found on the right photos.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.demo.album import Entry, album
from deploy.demo.batch_sync import show_batch_sync
from deploy.demo.client import Client, Refused, Stack
from deploy.demo.event_photos import show_event
from deploy.local.stack_folder import StackFolder

POLL_SECONDS = 0.1
PICTURE_SECONDS = 120.0
UPLOADS_AT_ONCE = 4

PIPE_COLUMNS = 160

console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)


@dataclass(slots=True)
class Life:
    """What became of one upload; `steps` are its states with the seconds since its upload."""

    entry: Entry
    steps: list[tuple[str, float]] = field(default_factory=list)
    refused_with: str | None = None
    detail: str = ""
    width_px: int | None = None
    variant_bytes: int = 0
    variants: int = 0

    @property
    def as_expected(self) -> bool:
        return self.refused_with == self.entry.refused_with and bool(self.steps)


async def follow(client: Client, entry: Entry) -> Life:
    """Upload one picture and watch its job until it ends."""
    life = Life(entry)
    started_at = time.monotonic()
    try:
        job_id = await client.upload(entry.filename, entry.content)
    except Refused as refusal:
        life.refused_with, life.detail = refusal.code, refusal.detail
        life.steps.append(("refused", time.monotonic() - started_at))
        return life
    async with asyncio.timeout(PICTURE_SECONDS):
        while True:
            job = await client.job(job_id)
            step = f"{job['status']} {job['progress']}"
            if not life.steps or life.steps[-1][0] != step:
                life.steps.append((step, time.monotonic() - started_at))
            if job["status"] in {"completed", "failed"}:
                break
            await asyncio.sleep(POLL_SECONDS)
    if job["status"] == "failed":
        life.refused_with, life.detail = job["error"]["code"], job["error"]["detail"]
        return life
    record = await client.media(job["result"]["mediaId"])
    variants = [variant for variant in record["variants"] if variant["name"] != "original"]
    life.width_px = record["width"]
    life.variants = len(variants)
    life.variant_bytes = await client.size_bytes(variants[0]["url"])
    return life


async def show(stack: Stack) -> bool:
    """Upload the whole album with a progress bar; whether everything ended as it must."""
    entries = list(album())
    slots = asyncio.Semaphore(UPLOADS_AT_ONCE)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with Client(stack) as client:
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("pictures", total=len(entries))

            async def one(entry: Entry) -> Life:
                async with slots:
                    life = await follow(client, entry)
                progress.advance(bar)
                return life

            lives = await asyncio.gather(*(one(entry) for entry in entries))
        console.print(table_of(lives))
        synced = await show_batch_sync(client, console)
        is_guest_found = await show_event(stack, client, console)
    unexpected = [life for life in lives if not life.as_expected]
    for life in unexpected:
        console.print(
            f"[red]{life.entry.filename}[/]: expected {life.entry.refused_with or 'to be processed'}, "
            f"got {life.refused_with or 'processed'} {life.detail}"
        )
    good = sum(1 for life in lives if life.as_expected and life.refused_with is None)
    bad = sum(1 for life in lives if life.as_expected and life.refused_with is not None)
    console.print(f"{good} good pictures processed, {bad} bad ones refused, {len(unexpected)} not as expected")
    return synced and is_guest_found and not unexpected


def table_of(lives: list[Life]) -> Table:
    table = Table(title="What became of each picture")
    for column in ("picture", "what it is", "its life (seconds since upload)", "before", "largest variant", "outcome"):
        table.add_column(column, overflow="fold")
    for life in lives:
        steps = " → ".join(f"{step} {seconds:.1f}" for step, seconds in life.steps)
        before = f"{len(life.entry.content) / 1000:,.1f} kB"
        after = f"{life.variant_bytes / 1000:,.1f} kB" if life.variant_bytes else ""
        outcome = f"{life.variants} variants" if life.refused_with is None else f"{life.refused_with}: {life.detail}"
        mark = "" if life.as_expected else "[red]unexpected[/] "
        table.add_row(life.entry.filename, life.entry.about, steps, before, after, mark + outcome)
    return table


def stack_command(command: str) -> int:
    return subprocess.run([sys.executable, "-m", "deploy.local", command], check=False).returncode


def main() -> int:
    ends_by_itself = os.environ.get("EXIT") == "1"
    folder = StackFolder.configured()
    started_at = time.monotonic()
    if not folder.stack_file.exists() and stack_command("start") != 0:
        return 1
    console.print(f"the stack was ready after {time.monotonic() - started_at:.1f} s")
    try:
        stack = Stack.read(folder.stack_file)
        as_expected = asyncio.run(show(stack))
        console.print(f"\nLook at the results: [bold]{stack.base_url}/admin/media[/]")
        console.print(f"Sign in as {stack.email}; the password stands in {folder.stack_file} under superadmin")
        if ends_by_itself:
            return 0 if as_expected else 1
        console.print("Ctrl-C ends everything")
        while folder.stack_file.exists():
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("\nstopping")
    finally:
        stack_command("stop")
    return 0


if __name__ == "__main__":
    sys.exit(main())
