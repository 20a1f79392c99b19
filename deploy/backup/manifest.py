"""What a backup says of itself: one document, and a line for each file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from deploy.backup.errors import BackupError

FORMAT: Final = 1
SUMMARY: Final = "backup.json"


class FileEntry(BaseModel):
    """One file on the disk or in the bucket, found by reading it; `content_type`, `metadata`, `etag`: of the bucket."""

    model_config = ConfigDict(frozen=True)

    key: str
    size_bytes: int
    sha256: str
    modified_at: datetime
    etag: str | None = None
    content_type: str | None = None
    metadata: dict[str, str] = {}


class SchemaDump(BaseModel):
    """The dump of one schema, and the checksum of its file."""

    model_config = ConfigDict(frozen=True)

    schema_name: str
    file: str
    size_bytes: int
    sha256: str


class BucketName(BaseModel):
    """Where the files of the bucket were, as settings name it."""

    model_config = ConfigDict(frozen=True)

    endpoint: str
    region: str
    name: str


class Summary(BaseModel):
    """Written last: a folder without it is no backup. `has_contents`: the bytes of the files were kept too."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = FORMAT
    began_at: datetime
    records_of: datetime
    ended_at: datetime
    has_contents: bool
    bucket: BucketName | None
    schemas: tuple[SchemaDump, ...]
    bucket_files: int
    bucket_bytes: int
    disk_files: int
    disk_bytes: int
    gone_meanwhile: int


def write_entries(path: Path, entries: Iterable[FileEntry]) -> None:
    """Durably: the summary, which counts them, comes behind."""
    with path.open("x", encoding="utf-8") as lines:
        lines.writelines(entry.model_dump_json(exclude_defaults=True) + "\n" for entry in entries)
        lines.flush()
        os.fsync(lines.fileno())


def read_entries(path: Path) -> Iterator[FileEntry]:
    """Raises BackupError for a line that is none of ours."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield FileEntry.model_validate_json(line)
            except ValidationError as error:
                raise BackupError(f"{path.name}, line {number} is damaged: {error.errors()[0]['msg']}") from None


def read_summary(folder: Path) -> Summary:
    """Raises BackupError where the folder holds no whole backup."""
    try:
        return Summary.model_validate_json((folder / SUMMARY).read_bytes())
    except FileNotFoundError:
        raise BackupError(f"{folder} holds no whole backup: it has no {SUMMARY}") from None
    except ValidationError as error:
        raise BackupError(f"{folder / SUMMARY} can't be read: {error.errors()[0]['msg']}") from None
