"""Takes a backup while everything goes on."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from deploy.backup.contents import Contents, counted, sha256_of_file
from deploy.backup.database import dump, snapshot
from deploy.backup.errors import BackupError
from deploy.backup.manifest import SUMMARY, FileEntry, Summary, read_entries, read_summary, write_entries
from deploy.backup.places import Listed, Place, at_once, open_places
from deploy.backup.site import Site
from deploy.local.processes import write_private
from shared.db.schemas import SCHEMAS
from shared.storage.atomic_file import sync_directory

CONTENTS: Final = "contents"
KEYS: Final = "keys.json"
READS_AT_ONCE: Final = 8
_UNFINISHED: Final = ".tmp-"
_KEYS_FORMAT: Final = TypeAdapter(dict[str, str])

Report = Callable[[str], None]
Entries = dict[str, FileEntry]


async def take(site: Site, backups: Path, *, with_contents: bool, report: Report) -> Path:
    """Write a backup into a folder of its own below `backups`, and return that folder.

    Files are read before the moment of the records and looked through again behind it: what records of that moment
    name has been there at one of the two, also while uploads and deletions go on. Bytes that an earlier backup in the
    same folder has are not kept twice, nor read again where listings say that nothing changed.

    Raises BackupError; then nothing of it stays but bytes that the next one finds.
    """
    if not site.media_root.is_dir():
        raise BackupError(f"the media root {site.media_root} is no folder: a backup would have none of its files")
    began_at = datetime.now(UTC)
    folder = backups / began_at.strftime("%Y%m%dT%H%M%S.%fZ")
    unfinished = backups / f"{_UNFINISHED}{folder.name}"
    unfinished.mkdir(parents=True, mode=0o700)
    contents = Contents(backups / CONTENTS) if with_contents else None
    known = _entries_of(newest(backups))
    try:
        async with open_places(site) as places:
            before = {name: await _read(place, known.get(name, {}), contents) for name, place in places.items()}
            report(f"read {sum(map(len, before.values()))} files")
            async with snapshot(site.admin_dsn) as moment:
                dumps = [await dump(site.admin_dsn, schema, moment, unfinished) for schema in SCHEMAS.values()]
            report(f"dumped {len(dumps)} schemas as they were at {moment.taken_at.isoformat(timespec='seconds')}")
            after = {name: await _read(place, before[name], contents) for name, place in places.items()}
        files = {name: before[name] | after[name] for name in places}
        for name, entries in files.items():
            write_entries(unfinished / f"{name}.jsonl", [entries[key] for key in sorted(entries)])
        write_private(unfinished / KEYS, json.dumps(dict(site.keys)))
        bucket, disk = files.get("bucket", {}), files["disk"]
        summary = Summary(
            began_at=began_at,
            records_of=moment.taken_at,
            ended_at=datetime.now(UTC),
            has_contents=with_contents,
            bucket=site.bucket.public if site.bucket else None,
            schemas=tuple(dumps),
            bucket_files=len(bucket),
            bucket_bytes=sum(entry.size_bytes for entry in bucket.values()),
            disk_files=len(disk),
            disk_bytes=sum(entry.size_bytes for entry in disk.values()),
            gone_meanwhile=sum(len(before[name].keys() - after[name].keys()) for name in places),
        )
        # What the summary speaks of is durable before it; pg_dump has seen to the dumps itself. When this returns, the
        # backup is durable, too: it may soon be all that is left.
        if contents:
            await asyncio.to_thread(contents.sync)
        write_private(unfinished / SUMMARY, summary.model_dump_json(indent=2))
        unfinished.rename(folder)
        sync_directory(backups)
        sync_directory(backups.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder


def whole_backups(backups: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path.parent for path in backups.glob(f"[!.]*/{SUMMARY}"))


def newest(backups: Path) -> Path | None:
    return next(reversed(whole_backups(backups)), None)


def prune(backups: Path, keep: int) -> tuple[int, int]:
    """Remove all but the newest `keep` backups, and return how many went and how many bytes became free.

    What killed backups left behind goes, too. No backup may be taken meanwhile: its bytes are not named yet.
    """
    for unfinished in backups.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(unfinished)
    whole = whole_backups(backups)
    gone = whole[: max(len(whole) - keep, 0)]
    for folder in gone:
        # Without it the folder is no backup any more, whatever happens to the rest.
        (folder / SUMMARY).unlink()
        sync_directory(folder)
        shutil.rmtree(folder)
    named = {
        entry.sha256
        for folder in whole_backups(backups)
        for entries in _entries_of(folder).values()
        for entry in entries.values()
    }
    return len(gone), Contents(backups / CONTENTS).keep_only(named)


async def verify(folder: Path) -> Summary:
    """Read every byte of a backup again; raises BackupError that names each damaged or missing file."""
    return await asyncio.to_thread(_verify, folder)


def _verify(folder: Path) -> Summary:
    summary = read_summary(folder)
    damaged: list[str] = []
    contents = Contents(folder.parent / CONTENTS)
    for name, files, size_bytes in (
        ("disk", summary.disk_files, summary.disk_bytes),
        ("bucket", summary.bucket_files, summary.bucket_bytes),
    ):
        listed = _entries_of(folder).get(name, {}).values()
        if (len(listed), sum(entry.size_bytes for entry in listed)) != (files, size_bytes):
            damaged.append(f"{folder / name}.jsonl is missing or cut short: it lists {len(listed)} files of {files}")
    try:
        read_keys(folder)
    except BackupError as error:
        damaged.append(str(error))
    sums = {entry.sha256 for name in ("disk", "bucket") for entry in _entries_of(folder).get(name, {}).values()}
    for sha256 in sorted(sums) if summary.has_contents else ():
        try:
            contents.proven(sha256)
        except BackupError as error:
            damaged.append(str(error))
    for one in summary.schemas:
        try:
            require_whole(folder, summary, one.schema_name)
        except BackupError as error:
            damaged.append(str(error))
    if damaged:
        raise BackupError("\n".join(damaged))
    return summary


def read_keys(folder: Path) -> dict[str, str]:
    """What signed addresses and receipts, by name. Raises BackupError where it can't be read."""
    try:
        return _KEYS_FORMAT.validate_json((folder / KEYS).read_bytes())
    except (FileNotFoundError, ValidationError):
        raise BackupError(f"{folder / KEYS} is missing or damaged") from None


def require_whole(folder: Path, summary: Summary, schema: str) -> None:
    """Raises BackupError where the dump of a schema is not the file that was written."""
    (one,) = (found for found in summary.schemas if found.schema_name == schema)
    path = folder / one.file
    if not path.exists() or sha256_of_file(path) != one.sha256:
        raise BackupError(f"{path} is missing or damaged")


def _entries_of(folder: Path | None) -> dict[str, Entries]:
    if folder is None:
        return {}
    paths = {name: folder / f"{name}.jsonl" for name in ("disk", "bucket")}
    return {name: {entry.key: entry for entry in read_entries(path)} for name, path in paths.items() if path.exists()}


async def _read(place: Place, known: Mapping[str, FileEntry], contents: Contents | None) -> Entries:
    """Everything that is there, each file read whole unless it is known; what goes while it is read is left out."""
    found: Entries = {}
    left = iter(await place.listed())

    async def reader() -> None:
        for listed in left:
            entry = known.get(listed.key)
            is_known = entry is not None and listed.is_as(entry)
            if entry is None or not is_known or (contents and not contents.has(entry.sha256, entry.size_bytes)):
                entry = await _read_one(place, listed, contents)
            if entry is not None:
                found[listed.key] = entry

    await at_once(READS_AT_ONCE, reader)
    return found


async def _read_one(place: Place, listed: Listed, contents: Contents | None) -> FileEntry | None:
    opened = await place.open(listed.key)
    if opened is None:
        return None
    sha256, size_bytes = await (contents.add(opened.chunks) if contents else counted(opened.chunks))
    return FileEntry(
        key=listed.key,
        size_bytes=size_bytes,
        sha256=sha256,
        modified_at=listed.modified_at,
        etag=listed.etag,
        content_type=opened.content_type,
        metadata=dict(opened.metadata),
    )
