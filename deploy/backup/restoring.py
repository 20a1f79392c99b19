"""Puts a backup into a provisioned installation that has no records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path

from deploy.backup.contents import Contents
from deploy.backup.database import lead_to_bucket, number_events_beyond, require_no_records, restore, tell_again
from deploy.backup.manifest import FileEntry, read_entries
from deploy.backup.places import Place, at_once, open_places
from deploy.backup.site import Site
from deploy.backup.taking import CONTENTS, verify

Report = Callable[[str], None]
WRITES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Restored:
    """Counts. `kept`: files that were there and were left as they are; `absent`: what is neither there nor kept."""

    told_again: int
    written: int
    kept: int
    absent: int


async def put_back(site: Site, folder: Path, *, report: Report) -> Restored:
    """Restore records and files; no service may run.

    A file that lies where the backup has one is left alone, whatever it holds: it may be newer, and whether it is
    right is the reconciler's to say. Raises BackupError before anything is written where the backup is damaged or
    the database holds records, and where a file fails; repeating it needs an empty database again.
    """
    summary = await verify(folder)
    await require_no_records(site.admin_dsn)
    contents = Contents(folder.parent / CONTENTS) if summary.has_contents else None
    written = kept = absent = 0
    there: dict[str, set[str]] = {}
    async with open_places(site) as places:
        for name, place in places.items():
            path = folder / f"{name}.jsonl"
            there[name] = {listed.key for listed in await place.listed()}
            entries = list(read_entries(path)) if path.exists() else []
            counts = await _put_files(place, entries, there[name], contents)
            written, kept, absent = written + counts[0], kept + counts[1], absent + counts[2]
    report(f"{written} files written, {kept} were there, {absent} are neither there nor in the backup")
    for one in summary.schemas:
        await restore(site.admin_dsn, one, folder)
    if summary.bucket and site.bucket:
        await lead_to_bucket(site.admin_dsn, summary.bucket, site.bucket.public)
    await number_events_beyond(site.admin_dsn, there.get("bucket", ()))
    told_again = await tell_again(site.admin_dsn, [one.schema_name for one in summary.schemas])
    report(f"{len(summary.schemas)} schemas as of {summary.records_of.isoformat(timespec='seconds')}")
    return Restored(told_again, written, kept, absent)


async def _put_files(
    place: Place, entries: list[FileEntry], there: Set[str], contents: Contents | None
) -> tuple[int, int, int]:
    missing = [entry for entry in entries if entry.key not in there]
    if contents is None:
        return 0, len(entries) - len(missing), len(missing)
    left = iter(missing)

    async def writer() -> None:
        for entry in left:
            await place.write(entry, await asyncio.to_thread(contents.proven, entry.sha256))

    await at_once(WRITES_AT_ONCE, writer)
    return len(missing), len(entries) - len(missing), 0
