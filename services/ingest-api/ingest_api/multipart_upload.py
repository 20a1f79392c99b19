"""One upload as multipart/form-data (RFC 7578): the file flows into staging, only small text fields stay in memory."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from ingest_api.problem_details import FieldError, InvalidFields, Problem
from shared.picture_types import SNIFF_BYTES, PictureType, sniff
from shared.storage.staging import StagingWriter

FILE_FIELD: Final = "file"
MOST_PARTS: Final = 32
MOST_TEXT_BYTES: Final = 16 * 1024
MOST_HEADER_BYTES: Final = 4 * 1024
ENVELOPE_BYTES: Final = MOST_PARTS * (MOST_HEADER_BYTES + MOST_TEXT_BYTES)
"""How much larger than its file a body may be."""

FILENAME_MAX_CHARACTERS: Final = 200
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,199}[0-9A-Za-z'()+_,\-./:=?]")

NextChunk = Callable[[], Awaitable[bytes]]


@dataclass(slots=True)
class ReceivedForm:
    """What a form held besides the bytes of its file, which the writer has."""

    texts: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    picture_type: PictureType | None = None
    """None while no file was seen."""


def boundary_of(content_type: str | None) -> str:
    """The boundary that the Content-Type header names.

    Raises Problem 415 for another type of content and 400 for a boundary that is missing or none.
    """
    kind, options = parse_options_header(content_type or "")
    if kind != "multipart/form-data":
        detail = f"Send multipart/form-data with the field {FILE_FIELD!r}, not {kind or 'a body without a type'}."
        raise Problem(415, "unsupported_media_type", detail)
    boundary: str = options.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise Problem(400, "bad_request", "The Content-Type header of a multipart body must name its boundary.")
    return boundary


async def read_form(next_chunk: NextChunk, boundary: str, writer: StagingWriter) -> ReceivedForm:
    """Read a body to its end and write its file, as it comes, to `writer`.

    Raises Problem 400 for what is no form, 413 for text fields too long or too many, 415 for bytes that no accepted
    picture begins with, InvalidFields for an empty or second file; and what `next_chunk` and `writer` raise.
    """
    parser = PushMultipartParser(
        boundary, max_header_size=MOST_HEADER_BYTES, max_segment_count=MOST_PARTS, header_charset="utf-8"
    )
    parts = _Parts(writer)
    try:
        while True:
            chunk = await next_chunk()
            # An empty chunk is the end: the parser then complains about a body that ended too early.
            for event in () if parser.closed and not chunk else parser.parse(chunk):
                await parts.take(event)
            if not chunk:
                return parts.form
    except ParserLimitReached as error:
        raise Problem(413, "too_large", f"The form has too many or too large parts: {error}.") from error
    except MultipartError as error:
        raise Problem(400, "bad_request", f"The body is no well-formed multipart/form-data: {error}.") from error


class _Parts:
    """What the parser's events make: a segment, its bytes, None at its end."""

    def __init__(self, writer: StagingWriter) -> None:
        self.form = ReceivedForm()
        self._writer = writer
        self._segment: MultipartSegment | None = None
        self._held = b""
        """A text field so far, or the first bytes of a file of which the type is not known yet."""

    async def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        if event is None:
            await self._end()
        elif isinstance(event, MultipartSegment):
            self._begin(event)
        elif self._segment is not None and self._is_file(self._segment):
            await self._add_to_file(bytes(event))
        else:
            self._add_to_text(bytes(event))

    @staticmethod
    def _is_file(segment: MultipartSegment) -> bool:
        return bool(segment.name == FILE_FIELD)

    def _begin(self, segment: MultipartSegment) -> None:
        self._segment, self._held = segment, b""
        if not self._is_file(segment):
            if segment.name in self.form.texts:
                raise InvalidFields(FieldError(segment.name, "is given twice"))
            return
        if self.form.filename is not None:
            raise InvalidFields(FieldError(FILE_FIELD, "is given twice: send one file per upload"))
        self.form.filename = display_name(segment.filename or "")

    async def _add_to_file(self, data: bytes) -> None:
        if self.form.picture_type is None:
            self._held += data
            if len(self._held) < SNIFF_BYTES:
                return
            data, self._held = self._held, b""
            self._recognise(data)
        await self._writer.write(data)

    def _add_to_text(self, data: bytes) -> None:
        if len(self._held) + len(data) > MOST_TEXT_BYTES:
            raise Problem(413, "too_large", f"A text field may have {MOST_TEXT_BYTES} bytes at most.")
        self._held += data

    async def _end(self) -> None:
        assert self._segment is not None
        held, self._held = self._held, b""
        if not self._is_file(self._segment):
            try:
                self.form.texts[self._segment.name] = held.decode()
            except UnicodeDecodeError as error:
                raise InvalidFields(FieldError(self._segment.name, "must be UTF-8 text")) from error
        elif self.form.picture_type is None:
            if not held:
                detail = "The file has no bytes. Choose one that has, and send again."
                raise Problem(422, "empty_file", detail, errors=[FieldError(FILE_FIELD, "is empty")])
            self._recognise(held)
            await self._writer.write(held)

    def _recognise(self, head: bytes) -> None:
        self.form.picture_type = sniff(head[:SNIFF_BYTES])
        if self.form.picture_type is None:
            known = ", ".join(sorted(kind.name for kind in PictureType))
            detail = f"The bytes of the file are none of {known}. Its name and declared type don't count."
            raise Problem(415, "unsupported_media_type", detail)


def display_name(filename: str) -> str:
    """A client's file name as it is stored and shown: the last component, without what can't be seen.

    It is never part of a path; this only keeps lists readable.
    """
    last = re.split(r"[/\\]", filename)[-1]
    visible = "".join(c for c in unicodedata.normalize("NFC", last) if unicodedata.category(c)[0] != "C").strip(" .")
    if len(visible) <= FILENAME_MAX_CHARACTERS:
        return visible or "unnamed"
    stem, dot, extension = visible.rpartition(".")
    tail = dot + extension if dot and len(extension) <= 10 else ""
    return (stem if tail else visible)[: FILENAME_MAX_CHARACTERS - len(tail)] + tail


def missing_fields(form: ReceivedForm, names: Mapping[str, str]) -> list[FieldError]:
    """An error for the file and for each of `names` (field to what it is for) that the form lacks."""
    errors = [] if form.filename is not None else [FieldError(FILE_FIELD, "is missing: send the picture in it")]
    return errors + [FieldError(name, f"is missing: {use}") for name, use in names.items() if not form.texts.get(name)]
