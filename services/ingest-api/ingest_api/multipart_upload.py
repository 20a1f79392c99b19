"""One upload as multipart/form-data (RFC 7578): the file flows into staging, only small text fields stay in memory."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from ingest_api.part_names import HEADER_CHARSET, extended_filename, header_text
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from shared.picture_types import SNIFF_BYTES, PictureType, sniff

FILE_FIELD: Final = "file"
MOST_PARTS: Final = 32
MOST_TEXT_BYTES: Final = 16 * 1024
MOST_HEADER_BYTES: Final = 4 * 1024
ENVELOPE_BYTES: Final = MOST_PARTS * (MOST_HEADER_BYTES + MOST_TEXT_BYTES)
"""How much larger than its file a body may be."""

FILENAME_MAX_CHARACTERS: Final = 200
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,199}[0-9A-Za-z'()+_,\-./:=?]")


class FileSink(Protocol):
    """Takes the bytes of a file as they come."""

    async def write(self, chunk: bytes) -> None: ...


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


async def read_form(next_chunk: NextChunk, boundary: str, writer: FileSink) -> ReceivedForm:
    """Read a body to its end and write its file, as it comes, to `writer`.

    Raises Problem 400 for what is no form, 413 for text fields too long or too many, 415 for bytes that no accepted
    picture begins with, InvalidFields for an empty or second file; and what `next_chunk` and `writer` raise.
    """
    parts = _OneFile(writer)
    await read_parts(next_chunk, boundary, parts, MOST_PARTS)
    return parts.form


async def read_parts(next_chunk: NextChunk, boundary: str, parts: FormParts, most_parts: int) -> None:
    """Read a body to its end and hand its parts on; raises as `read_form` does."""
    parser = PushMultipartParser(
        boundary, max_header_size=MOST_HEADER_BYTES, max_segment_count=most_parts, header_charset=HEADER_CHARSET
    )
    try:
        while True:
            chunk = await next_chunk()
            # An empty chunk is the end: the parser then complains about a body that ended too early.
            for event in () if parser.closed and not chunk else parser.parse(chunk):
                await parts.take(event)
            if not chunk:
                return
    except ParserLimitReached as error:
        raise Problem(413, "too_large", f"The form has too many or too large parts: {error}.") from error
    except MultipartError as error:
        raise Problem(400, "bad_request", f"The body is no well-formed multipart/form-data: {error}.") from error


class FormParts(ABC):
    """What the parser's events make: a segment, its bytes, None at its end. Text fields are kept, files handed on."""

    def __init__(self) -> None:
        self.form = ReceivedForm()
        self._name = ""
        self._text = b""

    async def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        if event is None:
            await self._end()
        elif isinstance(event, MultipartSegment):
            await self._begin(event)
        elif self._name == FILE_FIELD:
            await self.add_to_file(bytes(event))
        else:
            self._add_to_text(bytes(event))

    @abstractmethod
    async def begin_file(self, filename: str) -> None:
        """`filename` is the client's, not worked on yet."""

    @abstractmethod
    async def add_to_file(self, data: bytes) -> None: ...

    @abstractmethod
    async def end_file(self) -> None: ...

    async def _begin(self, segment: MultipartSegment) -> None:
        self._name, self._text = header_text(segment.name or ""), b""
        if self._name == FILE_FIELD:
            extended = extended_filename(segment.header("Content-Disposition", ""))
            await self.begin_file(header_text(segment.filename or "") if extended is None else extended)
        elif self._name in self.form.texts:
            raise InvalidFields(FieldError(self._name, "is given twice"))

    def _add_to_text(self, data: bytes) -> None:
        if len(self._text) + len(data) > MOST_TEXT_BYTES:
            raise Problem(413, "too_large", f"A text field may have {MOST_TEXT_BYTES} bytes at most.")
        self._text += data

    async def _end(self) -> None:
        if self._name == FILE_FIELD:
            await self.end_file()
            return
        try:
            self.form.texts[self._name] = self._text.decode()
        except UnicodeDecodeError as error:
            raise InvalidFields(FieldError(self._name, "must be UTF-8 text")) from error


class _OneFile(FormParts):
    """Recognises the one file by its first bytes and writes it."""

    def __init__(self, writer: FileSink) -> None:
        super().__init__()
        self._writer = writer
        self._head = b""
        """The first bytes of the file while its type is not known."""

    async def begin_file(self, filename: str) -> None:
        if self.form.filename is not None:
            raise InvalidFields(FieldError(FILE_FIELD, "is given twice: send one file per upload"))
        self.form.filename = display_name(filename)

    async def add_to_file(self, data: bytes) -> None:
        if self.form.picture_type is None:
            self._head += data
            if len(self._head) < SNIFF_BYTES:
                return
            data, self._head = self._head, b""
            self.form.picture_type = recognise(data)
        await self._writer.write(data)

    async def end_file(self) -> None:
        if self.form.picture_type is None:
            self.form.picture_type = recognise(self._head)
            await self._writer.write(self._head)


def recognise(head: bytes) -> PictureType:
    """The type of a picture that begins with these bytes, all of them if it has fewer than SNIFF_BYTES.

    Raises Problem 422 for none, 415 for what no accepted picture begins with.
    """
    if not head:
        detail = "The file has no bytes. Choose one that has, and send again."
        raise Problem(422, "empty_file", detail, errors=[FieldError(FILE_FIELD, "is empty")])
    picture_type = sniff(head[:SNIFF_BYTES])
    if picture_type is None:
        known = ", ".join(sorted(kind.name for kind in PictureType))
        detail = f"The bytes of the file are none of {known}. Its name and declared type don't count."
        raise Problem(415, "unsupported_media_type", detail)
    return picture_type


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
