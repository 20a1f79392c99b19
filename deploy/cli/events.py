"""`mediabus events`: photographed events and the people on their photos."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import typer

from deploy.cli.asking import AsJson, ask
from deploy.cli.event_uploads import upload_photos
from deploy.cli.output import Shown, facts_table, moment, rows_table
from deploy.cli.paging import Cursor, Limit, given, titled
from deploy.cli.schedules import moment_option

PATH: Final = "/api/v1/events"

events = typer.Typer(help="Photographed events, and the people on their photos.", no_args_is_help=True)

Event: TypeAlias = Annotated[UUID, typer.Argument(metavar="EVENT", help="The UUID of an event.")]
Ends: TypeAlias = Annotated[
    datetime | None,
    typer.Option(parser=moment_option, metavar="TIME", help="When its faces are removed at the latest."),
]
Consent: TypeAlias = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A file with what who searches agrees to.")
]
Indexing: TypeAlias = Annotated[
    bool | None, typer.Option("--auto-index/--no-auto-index", help="Index photos as they appear in the bucket.")
]
Searching: TypeAlias = Annotated[
    bool | None, typer.Option("--search/--no-search", help="Whether faces are looked for.")
]


class Photos(StrEnum):
    KEEP = "keep"
    REMOVE = "remove"


class PhotoStatus(StrEnum):
    PENDING = "pending"
    INDEXED = "indexed"
    NO_FACE = "no_face_detected"
    FAILED = "failed"


@events.command("list")
def list_events(limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List events, newest first."""
    ask("GET", PATH, event_list, as_json=as_json, params=given(limit=limit, cursor=cursor))


@events.command("show")
def show_event(event: Event, as_json: AsJson = False) -> None:
    """Show an event: where its photos belong, and what holds for the search."""
    ask("GET", f"{PATH}/{event}", event_facts, as_json=as_json)


@events.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    auto_index: Indexing = None,
    search: Searching = None,
    consent: Consent = None,
    ends: Ends = None,
    as_json: AsJson = False,
) -> None:
    """Add an event, and show where its photos belong."""
    ask("POST", PATH, event_facts, as_json=as_json, body=_wanted(name, auto_index, search, consent, ends))


@events.command()
def change(
    event: Event,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    auto_index: Indexing = None,
    search: Searching = None,
    consent: Consent = None,
    ends: Ends = None,
    as_json: AsJson = False,
) -> None:
    """Change an event. What is not given stays."""
    body = _wanted(name, auto_index, search, consent, ends)
    if not body:
        raise typer.BadParameter("nothing to change: give --name, --auto-index, --search, --consent or --ends")
    ask("PATCH", f"{PATH}/{event}", event_facts, as_json=as_json, body=body)


@events.command()
def remove(
    event: Event,
    photos: Annotated[Photos, typer.Option(help="What becomes of the files in the bucket.")] = Photos.KEEP,
    as_json: AsJson = False,
) -> None:
    """Delete an event with its faces; its files in the bucket stay unless --photos remove is given."""
    ask("DELETE", f"{PATH}/{event}", lambda _: ["It is deleted."], as_json=as_json, params={"photos": photos})


events.command("upload")(upload_photos)


@events.command("photos")
def list_photos(
    event: Event,
    status: Annotated[PhotoStatus | None, typer.Option(help="Only those that stand so.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List the photos of an event, and how many faces are on each."""
    params = given(status=status, limit=limit, cursor=cursor)
    ask("GET", f"{PATH}/{event}/photos", photo_list, as_json=as_json, params=params)


@events.command("people")
def list_people(event: Event, limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List the people on the photos of an event, who has most faces first."""
    ask("GET", f"{PATH}/{event}/people", people_list, as_json=as_json, params=given(limit=limit, cursor=cursor))


def _wanted(
    name: str | None, auto_index: bool | None, search: bool | None, consent: Path | None, ends: datetime | None
) -> dict[str, Any]:
    body = {
        "name": name,
        "auto_index": auto_index,
        "face_search_enabled": search,
        "consent_text": None if consent is None else consent.read_text(),
        "expires_at": None if ends is None else ends.isoformat(),
    }
    return {field: value for field, value in body.items() if value is not None}


def event_list(body: Any) -> Sequence[Shown]:
    rows = [
        (one["uuid"], one["id"], one["name"], one["face_search_enabled"], one["s3_prefix"], moment(one["created_at"]))
        for one in body["events"]
    ]
    columns = ("event", "number", "name", "search", "photos", "made")
    return [rows_table(titled("Events, newest first", body), columns, rows)]


def event_facts(body: Any) -> Sequence[Shown]:
    facts = {
        "event": body["uuid"],
        "number": body["id"],
        "photos below": body["s3_prefix"],
        "indexed by itself": body["auto_index"],
        "search": body["face_search_enabled"],
        "consent": body["consent_text"],
        "consent version": body["consent_version"] if body["consent_required"] else None,
        "faces are removed": moment(body["expires_at"]),
        "made": moment(body["created_at"]),
        "changed": moment(body["updated_at"]),
    }
    return [facts_table(body["name"], facts)]


def photo_list(body: Any) -> Sequence[Shown]:
    rows = [(one["id"], one["s3_key"], one["status"], one["faces"], one["detail"]) for one in body["photos"]]
    return [rows_table(titled("Photos", body), ("photo", "file", "status", "faces", "why"), rows)]


def people_list(body: Any) -> Sequence[Shown]:
    rows = [(one["id"], one["name"], one["faces"], one["photos"], moment(one["changed_at"])) for one in body["people"]]
    return [rows_table(titled("People", body), ("person", "name", "faces", "photos", "changed"), rows)]
