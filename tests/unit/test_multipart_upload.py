"""Reading a form: whatever the chunks, the file arrives whole and what is wrong is named."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_api.multipart_upload import (
    FILENAME_MAX_CHARACTERS,
    MOST_PARTS,
    MOST_TEXT_BYTES,
    ReceivedForm,
    boundary_of,
    display_name,
    read_form,
)
from ingest_api.problem_details import InvalidFields, Problem
from ingest_api.upload_fields import read_fields
from shared.events import StorageStrategy
from shared.picture_types import PictureType
from shared.storage.errors import LimitExceeded
from shared.storage.staging import StagedFile

BOUNDARY = "----frontier7"
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 3


class Collected:
    """A staging writer in memory."""

    def __init__(self, limit_bytes: int = 10**9) -> None:
        self.data = b""
        self._limit_bytes = limit_bytes

    async def write(self, chunk: bytes) -> None:
        self.data += chunk
        if len(self.data) > self._limit_bytes:
            raise LimitExceeded(self._limit_bytes)

    async def commit(self) -> StagedFile:
        raise AssertionError("reading a form does not commit")


def text_part(name: str, value: str) -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file_part(content: bytes, filename: str = "p.jpg", name: str = "file") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
    return head.encode() + b"Content-Type: text/plain\r\n\r\n" + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


async def read(chunks: Iterable[bytes], writer: Collected | None = None) -> tuple[ReceivedForm, bytes]:
    """Read a body that comes in these chunks."""
    waiting = iter([chunk for chunk in chunks if chunk])

    async def next_chunk() -> bytes:
        return next(waiting, b"")

    into = writer or Collected()
    form = await read_form(next_chunk, BOUNDARY, into)
    return form, into.data


def cut(body: bytes, positions: Iterable[int]) -> list[bytes]:
    marks = [0, *sorted(positions), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(marks)]


async def refusal(body: bytes) -> Problem:
    with pytest.raises(Problem) as refused:
        await read([body])
    return refused.value


WHOLE = text_part("entityType", "product") + file_part(JPEG) + text_part("alt", "größer") + END


async def test_one_chunk_cut_at_every_position() -> None:
    for position in range(1, len(WHOLE)):
        form, data = await read(cut(WHOLE, [position]))
        assert data == JPEG, f"cut at {position}"
        assert form.texts == {"entityType": "product", "alt": "größer"}
        assert form.picture_type is PictureType.JPEG


async def test_every_byte_on_its_own() -> None:
    form, data = await read([WHOLE[at : at + 1] for at in range(len(WHOLE))])
    assert data == JPEG
    assert form.filename == "p.jpg"


# What looks like the boundary, or like its beginning, but belongs to the file.
LOOKALIKES = [f"\r\n--{BOUNDARY}"[:length].encode() for length in range(1, len(BOUNDARY) + 4)]
fragments = st.one_of(st.binary(max_size=40), st.sampled_from(LOOKALIKES), st.just(b"\r\n--"), st.just(b"\r"))


@given(
    pieces=st.lists(fragments, max_size=12),
    file_first=st.booleans(),
    positions=st.lists(st.integers(min_value=0, max_value=2000), max_size=20),
)
async def test_any_bytes_in_any_chunks(pieces: list[bytes], file_first: bool, positions: Sequence[int]) -> None:
    content = b"GIF89a" + b"x".join(pieces)
    parts = [text_part("entityType", "event"), file_part(content)]
    body = b"".join(reversed(parts) if file_first else parts) + END
    form, data = await read(cut(body, [position % (len(body) + 1) for position in positions]))
    assert data == content
    assert form.texts == {"entityType": "event"}
    assert form.picture_type is PictureType.GIF


async def test_an_unterminated_body_is_malformed() -> None:
    for end in (len(WHOLE) - len(END) - 1, len(WHOLE) - len(END), 30, 3):
        assert (await refusal(WHOLE[:end])).status == 400, f"ended at {end}"
    with pytest.raises(Problem) as refused:
        await read([])
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"no form at all, but long enough to hold a boundary of any length that is allowed",
        f"--{BOUNDARY}\r\nContent-Type: image/png\r\n\r\nx\r\n".encode() + END,
        f'--{BOUNDARY}\r\nContent-Disposition: attachment; name="file"\r\n\r\nx\r\n'.encode() + END,
        f"--{BOUNDARY}\nbroken line\n".encode() + END,
    ],
)
async def test_what_is_no_form_is_400(body: bytes) -> None:
    assert (await refusal(body)).status == 400


async def test_what_follows_the_end_is_passed_over() -> None:
    form, data = await read([WHOLE, b"an epilogue", b" of any kind"])
    assert data == JPEG
    assert form.texts["entityType"] == "product"


async def test_an_empty_file_is_named() -> None:
    problem = await refusal(text_part("entityType", "product") + file_part(b"") + END)
    assert (problem.status, problem.code) == (422, "empty_file")
    assert [error.field for error in problem.errors] == ["file"]


@pytest.mark.parametrize(
    "content", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"x", b"PK\x03\x04" * 40]
)
async def test_unknown_bytes_are_415_whatever_they_are_called(content: bytes) -> None:
    problem = await refusal(file_part(content, "innocent.jpg") + END)
    assert (problem.status, problem.code) == (415, "unsupported_media_type")


async def test_two_files_are_refused() -> None:
    problem = await refusal(file_part(JPEG) + file_part(JPEG) + END)
    assert isinstance(problem, InvalidFields)
    assert problem.errors[0].field == "file"


async def test_a_field_given_twice_is_refused() -> None:
    problem = await refusal(text_part("alt", "a") + text_part("alt", "b") + END)
    assert problem.errors[0].field == "alt"


async def test_text_fields_are_bounded() -> None:
    form, _ = await read([text_part("alt", "a" * MOST_TEXT_BYTES) + END])
    assert len(form.texts["alt"]) == MOST_TEXT_BYTES
    assert (await refusal(text_part("alt", "a" * (MOST_TEXT_BYTES + 1)) + END)).status == 413
    many = b"".join(text_part(f"f{number}", "x") for number in range(MOST_PARTS + 1))
    assert (await refusal(many + END)).status == 413
    long_header = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{"n" * 9000}"\r\n\r\nx\r\n'.encode()
    assert (await refusal(long_header + END)).status == 413


async def test_a_text_field_must_be_utf8() -> None:
    body = text_part("alt", "@").replace(b"@", b"\xff\xfe") + END
    assert (await refusal(body)).errors[0].field == "alt"


async def test_the_limit_of_the_writer_stops_the_reading() -> None:
    read_chunks = 0

    async def next_chunk() -> bytes:
        nonlocal read_chunks
        read_chunks += 1
        return file_part(JPEG)[:-2] if read_chunks == 1 else bytes(1000)

    with pytest.raises(LimitExceeded):
        await read_form(next_chunk, BOUNDARY, Collected(5000))
    assert read_chunks < 10


async def test_missing_fields_are_named() -> None:
    form, _ = await read([text_part("alt", "x") + END])
    with pytest.raises(InvalidFields) as refused:
        read_fields(form)
    assert [error.field for error in refused.value.errors] == ["file", "entityType"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("entityType", "../etc"),
        ("entityType", "9lives"),
        ("entityType", "x" * 65),
        ("entityId", "x" * 201),
        ("alt", "bell\a"),
        ("storageStrategy", "everywhere"),
    ],
)
async def test_wrong_fields_are_named(name: str, value: str) -> None:
    fields = {"entityType": "product"} | {name: value}
    form, _ = await read([b"".join(text_part(*field) for field in fields.items()) + file_part(JPEG) + END])
    with pytest.raises(InvalidFields) as refused:
        read_fields(form)
    assert [error.field for error in refused.value.errors] == [name]


async def test_fields_are_read() -> None:
    texts = {
        "entityType": "blogPost",
        "entityId": " 42 ",
        "alt": "",
        "title": "Zoë",
        "storageStrategy": "both",
        "x": "y",
    }
    form, _ = await read([b"".join(text_part(*field) for field in texts.items()) + file_part(JPEG) + END])
    fields = read_fields(form)
    assert (fields.entity_type, fields.entity_id, fields.alt, fields.title) == ("blogPost", "42", None, "Zoë")
    assert fields.storage_strategy is StorageStrategy.BOTH


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 415),
        ("", 415),
        ("application/json", 415),
        ("multipart/mixed; boundary=x", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ('multipart/form-data; boundary="bad\r\nline"', 400),
        (f"multipart/form-data; boundary={'x' * 300}", 400),
    ],
)
def test_a_content_type_without_a_usable_boundary_is_refused(content_type: str | None, status: int) -> None:
    with pytest.raises(Problem) as refused:
        boundary_of(content_type)
    assert refused.value.status == status


def test_boundaries_are_found() -> None:
    assert boundary_of("multipart/form-data; boundary=abc") == "abc"
    assert boundary_of('Multipart/Form-Data; charset=utf-8; boundary="a b:c"') == "a b:c"


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\bild.jpg", "bild.jpg"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("/", "unnamed"),
        ("Zoë 🖼️.png", "Zoë 🖼️.png"),
        ("evil\u202egpj.exe", "evilgpj.exe"),
        ("nul\x00l.jpg", "null.jpg"),
        ("x" * 300 + ".jpeg", "x" * (FILENAME_MAX_CHARACTERS - 5) + ".jpeg"),
    ],
)
def test_file_names_are_only_shown(given_name: str, shown: str) -> None:
    assert display_name(given_name) == shown


@pytest.mark.parametrize(
    ("disposition", "shown"),
    [
        ('filename="Zoë 🖼.jpg"'.encode(), "Zoë 🖼.jpg"),
        ('filename="Zoë – Größe.jpg"'.encode("cp1252"), "Zoë – Größe.jpg"),
        (b'filename="\x81\x8f.jpg"', "\ufffd\ufffd.jpg"),
        (b"filename*=UTF-8''Zo%C3%AB%20%F0%9F%96%BC.jpg", "Zoë 🖼.jpg"),
        (b"filename*=iso-8859-1'de'Gr%F6%DFe.jpg", "Größe.jpg"),
        # the one that can say more counts, wherever it stands
        (b"filename=\"Zoe.jpg\"; filename*=utf-8''Zo%c3%ab.jpg", "Zoë.jpg"),
        (b"filename*=utf-8''Zo%c3%ab.jpg; filename=\"Zoe.jpg\"", "Zoë.jpg"),
        # what is malformed leaves the plain one, or what can be read
        (b'filename="Zoe.jpg"; filename*=utf-8', "Zoe.jpg"),
        (b"filename*=utf-8''Zo%EB%.jpg", "Zo\ufffd%.jpg"),
        (b"filename*=klingon'x'a.jpg", "a.jpg"),
        (b"filename*=utf-8''..%2F..%2Fetc%2Fpass%00wd", "passwd"),
        (b"filename*=", "unnamed"),
        (b"filename=\"; filename*=utf-8''not.jpg\"", "; filename*=utf-8''not.jpg"),
    ],
)
async def test_names_are_shown_whatever_they_are_written_in(disposition: bytes, shown: str) -> None:
    part = file_part(JPEG, "@").replace(b'filename="@"', disposition)
    form, content = await read([text_part("entityType", "product") + part + END])
    assert (form.filename, content) == (shown, JPEG)


async def test_a_field_named_in_latin_1_is_no_file_and_no_fault() -> None:
    part = text_part("@", "x").replace(b"@", "größe".encode("latin-1"))
    form, _ = await read([part + WHOLE])
    assert (form.texts["größe"], form.texts["alt"], form.filename) == ("x", "größer", "p.jpg")
