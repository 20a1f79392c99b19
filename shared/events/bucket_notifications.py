"""What S3 stores write of their buckets, read as our events: MinIO by webhook or Kafka, and Amazon."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote_plus

from pydantic import BaseModel, Field, ValidationError

from shared.events.bucket import BucketObjectV1
from shared.events.envelope import Envelope
from shared.messaging.plain_text import plain_text

MOST_RECORDS: Final = 1000
"""Stores send one record at a time; more than this is no notification."""

KEY_MAX_BYTES: Final = 1024

_LARGEST_SIZE: Final = 2**63 - 1
_NAMESPACE: Final = uuid.UUID("0b0c8a52-6d1f-5a5e-9f0e-5c1a3d9e7b41")
_WITHOUT_NEW_BYTES: Final = frozenset(
    {
        "s3:ObjectCreated:PutTagging",
        "s3:ObjectCreated:DeleteTagging",
        "s3:ObjectCreated:PutRetention",
        "s3:ObjectCreated:PutLegalHold",
        # Deleting what was not there.
        "s3:ObjectRemoved:NoOP",
    }
)
_HAPPENED: Final[tuple[tuple[str, Literal["created", "removed"]], ...]] = (
    ("s3:ObjectCreated:", "created"),
    ("s3:ObjectRemoved:", "removed"),
    ("s3:LifecycleExpiration:", "removed"),
)


@dataclass(frozen=True, slots=True)
class Notice:
    """One event with its envelope.

    Id, type and source are those of what happened, whichever way and however often it was told, so that readers'
    inboxes let one of them act.
    """

    envelope: Envelope
    event: BucketObjectV1


@dataclass(frozen=True, slots=True)
class Notification:
    """One body that a store sent. `problem` says what of it could not be read; the rest holds all the same."""

    notices: tuple[Notice, ...] = ()
    ignored: int = 0
    problem: str | None = None


class _Bucket(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=255)]


class _Object(BaseModel):
    key: Annotated[str, Field(min_length=1)]
    size: Annotated[int, Field(ge=0, le=_LARGEST_SIZE)] | None = None
    eTag: Annotated[str, Field(max_length=255)] | None = None
    sequencer: Annotated[str, Field(max_length=255)] | None = None


class _Place(BaseModel):
    bucket: _Bucket
    object: _Object


class _Record(BaseModel):
    eventName: Annotated[str, Field(max_length=255)]
    eventTime: datetime
    s3: _Place


def read_notification(body: bytes, told_by: Literal["webhook", "kafka"]) -> Notification:
    """The events of one body, in its order; never raises, for the store would send the same again and for ever.

    What changes no bytes (reading, tagging, retention, kinds that nobody knows) is only counted.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Notification(problem=f"the body is no JSON: {error}")
    if isinstance(document, dict) and document.get("Event") == "s3:TestEvent":
        return Notification(ignored=1)
    records = document.get("Records") if isinstance(document, dict) else None
    if not isinstance(records, list) or not 0 < len(records) <= MOST_RECORDS:
        return Notification(problem=f"the body has no list `Records` with 1 to {MOST_RECORDS} entries")
    notices: list[Notice] = []
    ignored = 0
    problems: list[str] = []
    for position, record in enumerate(records):
        try:
            notice = _notice(record, told_by)
        except ValueError as error:
            problems.append(f"Records[{position}]: {'; '.join(_reasons(error))}")
            continue
        if notice is None:
            ignored += 1
        else:
            notices.append(notice)
    return Notification(tuple(notices), ignored, "\n".join(problems) or None)


def _notice(raw: Any, told_by: Literal["webhook", "kafka"]) -> Notice | None:
    """None for what concerns nobody; raises ValueError for what is no record."""
    event_name = _full_name(raw)
    happened = _happened(event_name)
    if happened is None:
        return None
    record = _Record.model_validate(raw)
    stored = record.s3.object
    event = BucketObjectV1(
        bucket=_plain("bucket", record.s3.bucket.name),
        object_key=_object_key(stored.key),
        happened=happened,
        event_name=_plain("eventName", event_name),
        size_bytes=stored.size if happened == "created" else None,
        etag=stored.eTag.strip('"') if stored.eTag and happened == "created" else None,
        sequencer=stored.sequencer or None,
        happened_at=record.eventTime if record.eventTime.tzinfo else record.eventTime.replace(tzinfo=UTC),
        told_by=told_by,
    )
    return Notice(_envelope(event), event)


def _full_name(raw: Any) -> str:
    name = raw.get("eventName") if isinstance(raw, dict) else None
    if not isinstance(name, str) or not name:
        raise ValueError("it has no eventName")
    # Amazon leaves the beginning out in its records.
    return name if name.startswith("s3:") else f"s3:{name}"


def _happened(event_name: str) -> Literal["created", "removed"] | None:
    if event_name in _WITHOUT_NEW_BYTES:
        return None
    return next((happened for prefix, happened in _HAPPENED if event_name.startswith(prefix)), None)


def _object_key(quoted: str) -> str:
    """Keys in records are encoded as forms are: a plus is a space, a plus sign is %2B."""
    try:
        key = unquote_plus(quoted, errors="strict")
    except UnicodeDecodeError as error:
        raise ValueError(f"the object's key is no UTF-8: {error}") from error
    if len(key.encode("utf-8", "replace")) > KEY_MAX_BYTES:
        raise ValueError(f"the object's key is longer than {KEY_MAX_BYTES} bytes")
    return _plain("the object's key", key)


def _plain(name: str, text: str) -> str:
    if plain_text(text) != text:
        raise ValueError(f"{name} has characters that no text may have")
    return text


def _envelope(event: BucketObjectV1) -> Envelope:
    # A store without sequencers tells two writes of the same key apart by what it wrote and when.
    mark = event.sequencer or f"{event.etag}@{event.happened_at.isoformat()}"
    identity = json.dumps([event.bucket, event.object_key, mark, event.event_name])
    return Envelope(
        id=uuid.uuid5(_NAMESPACE, identity),
        type=event.event_type,
        source=f"/buckets/{event.bucket}",
        time=event.happened_at,
    )


def _reasons(error: ValueError) -> Iterator[str]:
    if not isinstance(error, ValidationError):
        yield str(error)
        return
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        yield f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
