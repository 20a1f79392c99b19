"""The form of a search: a picture that stays in memory, and what is wanted of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar
from uuid import UUID

from litestar.openapi.spec import OpenAPIFormat, OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema

from ingest_api.intake import Intake, UploadCall
from ingest_api.multipart_upload import (
    ENVELOPE_BYTES,
    FILE_FIELD,
    boundary_of,
    missing_fields,
    read_form,
)
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.request_body import RequestBody as ReceivedBody
from ingest_api.settings import IngestSettings
from shared.settings_feed import SettingsFeed
from shared.storage.errors import LimitExceeded

T = TypeVar("T")

MOST_MATCHES = 1000
DEFAULT_MATCHES = 100


@dataclass(frozen=True, slots=True)
class SearchWish:
    """What is wanted of a search; `limit` matches are in its first answer. `threshold` None is that of the model."""

    threshold: float | None = None
    limit: int = DEFAULT_MATCHES
    choose: int | Literal["largest"] = "largest"
    consent_version: int | None = None


@dataclass(slots=True)
class Selfie:
    """The form as it came; the picture is shown to nobody."""

    picture: bytearray = field(repr=False)
    texts: Mapping[str, str]

    def forget(self) -> None:
        """Overwrite the picture: while the search goes on nobody needs it any more."""
        # Overwritten in place: a thread may still read it, when its request was cut off in the middle.
        self.picture[:] = bytes(len(self.picture))
        self.picture = bytearray()


class Selfies:
    """Takes selfies in, a few at once; their bytes are in memory alone and leave nothing behind."""

    def __init__(self, settings: IngestSettings, feed: SettingsFeed) -> None:
        self._limit_bytes = settings.selfie_limit_bytes
        # Turns of their own: selfies are held in memory, and must not wait behind uploads.
        turns = {
            "uploads_in_flight": settings.selfies_in_flight,
            "uploads_in_flight_bytes": settings.selfies_in_flight * self._limit_bytes,
            "uploads_waiting": settings.selfies_waiting,
        }
        self._intake = Intake(settings.model_copy(update=turns), feed)

    async def receive(self, call: UploadCall, needed: Mapping[str, str]) -> Selfie:
        """`needed` are text fields that the form must have, with what they are for.

        Raises Problem 422 naming the fields that are missing, 413 and 415, and what Intake raises.
        """
        boundary = boundary_of(call.content_type)
        most_bytes = self._limit_bytes + ENVELOPE_BYTES

        async def read(body: ReceivedBody) -> Selfie:
            picture = _InMemory(self._limit_bytes)
            form = await read_form(body.next_chunk, boundary, picture)
            if missing := missing_fields(form, needed):
                raise InvalidFields(*missing)
            return Selfie(picture.content, form.texts)

        return await self._intake.take(call, read, most_bytes=most_bytes, turn_bytes=self._limit_bytes)


class _InMemory:
    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.content = bytearray()

    async def write(self, chunk: bytes) -> None:
        if len(self.content) + len(chunk) > self._limit_bytes:
            raise LimitExceeded(self._limit_bytes)
        self.content += chunk


def search_wish(texts: Mapping[str, str]) -> SearchWish:
    """Raises InvalidFields that names every field which is wrong."""
    errors: list[FieldError] = []

    def read(name: str, parse: Callable[[str], T], absent: T) -> T:
        text = texts.get(name)
        if not text:
            return absent
        try:
            return parse(text)
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
            return absent

    wish = SearchWish(
        threshold=read("threshold", _threshold, None),
        limit=read("limit", lambda text: _number(text, 1, MOST_MATCHES), DEFAULT_MATCHES),
        choose=read("choose", _choice, "largest"),
        consent_version=read("consent_version", lambda text: _number(text, 0, 2**31 - 1), None),
    )
    if errors:
        raise InvalidFields(*errors)
    return wish


def event_uuid_of(text: str) -> UUID:
    """Raises Problem 400 for what is no UUID."""
    try:
        return UUID(text)
    except ValueError:
        raise Problem(400, "bad_request", "Invalid UUID format") from None


def _threshold(text: str) -> float | None:
    try:
        threshold = float(text)
    except ValueError:
        threshold = 2.0
    if not -1 <= threshold <= 1:
        raise ValueError("must be a number from -1 to 1")
    return threshold


def _number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and least <= int(text) <= most):
        raise ValueError(f"must be a whole number from {least} to {most}")
    return int(text)


def _choice(text: str) -> int | Literal["largest"]:
    if text == "largest":
        return "largest"
    try:
        return _number(text, 0, 99)
    except ValueError:
        raise ValueError("must be largest, or the number of a face, counted from 0 by size") from None


def _schema(properties: Mapping[str, Schema], *required: str) -> Schema:
    return Schema(type=OpenAPIType.OBJECT, required=[FILE_FIELD, *required], properties=dict(properties))


_FIELDS = {
    FILE_FIELD: Schema(
        type=OpenAPIType.STRING,
        content_media_type="application/octet-stream",
        description="A picture of the person; its bytes tell its type. It is not kept.",
    ),
    "threshold": Schema(
        type=OpenAPIType.NUMBER, minimum=-1, maximum=1, description="Least similarity; the model's own unless given."
    ),
    "limit": Schema(
        type=OpenAPIType.INTEGER, minimum=1, maximum=MOST_MATCHES, description="Matches in the first answer."
    ),
    "choose": Schema(
        type=OpenAPIType.STRING,
        description="`largest`, or which of several faces on the picture counts, from 0 on by size.",
    ),
    "consent_version": Schema(
        type=OpenAPIType.INTEGER, description="The version of the event's text that the person agreed to."
    ),
}


@dataclass
class SearchOperation(Operation):
    """The operation with its form."""

    def __post_init__(self) -> None:
        event = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.UUID, description="The event to search.")
        form = _schema({**_FIELDS, "event_uuid": event}, "event_uuid")
        self.request_body = RequestBody(content={"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True)


@dataclass
class GallerySearchOperation(Operation):
    """The same for guests, whose link names the event."""

    def __post_init__(self) -> None:
        form = _schema(_FIELDS, "consent_version")
        self.request_body = RequestBody(content={"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True)


@dataclass
class ErasureOperation(Operation):
    """What of the form counts where faces are to be erased."""

    def __post_init__(self) -> None:
        event = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.UUID, description="Where; all events without it.")
        fields = {name: _FIELDS[name] for name in (FILE_FIELD, "threshold", "choose")}
        form = _schema({**fields, "event_uuid": event})
        self.request_body = RequestBody(content={"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True)
