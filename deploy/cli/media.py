"""`mediabus media`: the catalogue."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any, Final, TypeAlias
from urllib.parse import quote
from uuid import UUID

import typer
from rich.filesize import decimal

from deploy.cli.asking import AsJson, ask, asking
from deploy.cli.jobs import Status
from deploy.cli.output import Shown, facts_table, moment, print_json_line, print_problem, print_shown, rows_table
from deploy.cli.paging import Cursor, Limit, given, titled
from deploy.cli.problems import ExitCode
from deploy.cli.session import Session

PATH: Final = "/api/admin/media"
NAME_MAX_BYTES: Final = 200

media = typer.Typer(help="The catalogue: what is there, its files, deleting and restoring.", no_args_is_help=True)

Medium: TypeAlias = Annotated[UUID, typer.Argument(metavar="MEDIUM", help="The id of a medium.")]
Deleted: TypeAlias = Annotated[bool, typer.Option("--deleted", help="Among those that are deleted, not the others.")]
Query: TypeAlias = Annotated[str | None, typer.Option("--query", "-q", help="Part of a file name, alt text or title.")]
EntityType: TypeAlias = Annotated[str | None, typer.Option("--entity-type", help="Only of this type.")]
EntityId: TypeAlias = Annotated[str | None, typer.Option("--entity-id", help="Only of this thing.")]
Standing: TypeAlias = Annotated[Status | None, typer.Option("--status", help="Only those whose processing stands so.")]
Before: TypeAlias = Annotated[
    str | None, typer.Option("--before", metavar="DAY", help="Only those uploaded before a day (UTC), as 2026-05-31.")
]
Everything: TypeAlias = Annotated[bool, typer.Option("--everything", help="All media, in place of other options.")]
Hard: TypeAlias = Annotated[
    bool | None, typer.Option("--hard/--soft", help="For good, or so that it can be restored; else as the settings.")
]


class StorageStatus(StrEnum):
    LOCAL_ONLY = "local_only"
    S3_ONLY = "s3_only"
    SYNCED = "synced"
    PENDING = "pending"
    MISSING = "missing"


Storage: TypeAlias = Annotated[StorageStatus | None, typer.Option("--storage", help="Only those that are stored so.")]


@media.command("list")
def list_media(
    query: Query = None,
    entity_type: EntityType = None,
    entity_id: EntityId = None,
    status: Standing = None,
    storage: Storage = None,
    before: Before = None,
    deleted: Deleted = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List media, newest first."""
    filters = matching_of(query, entity_type, entity_id, status, storage, before, everything=False)
    params = filters | given(deleted=deleted, limit=limit, cursor=cursor)
    ask("GET", PATH, media_list, as_json=as_json, params=params)


@media.command("show")
def show_medium(medium: Medium, deleted: Deleted = False, as_json: AsJson = False) -> None:
    """Show a medium and its files."""
    ask("GET", f"{PATH}/{medium}", medium_facts, as_json=as_json, params=given(deleted=deleted))


@media.command()
def delete(medium: Medium, hard: Hard = None, as_json: AsJson = False) -> None:
    """Delete a medium."""
    ask("DELETE", f"{PATH}/{medium}", deletion_said, as_json=as_json, params=given(hard=hard))


@media.command("delete-all")
def delete_all(
    query: Query = None,
    entity_type: EntityType = None,
    entity_id: EntityId = None,
    status: Standing = None,
    storage: Storage = None,
    before: Before = None,
    deleted: Deleted = False,
    everything: Everything = False,
    hard: Hard = None,
    confirm: Annotated[
        int | None, typer.Option(metavar="COUNT", min=1, help="How many that are, as is told without this.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Delete all media that `media list` has with these options; without --confirm, tell how many those are."""
    matching = matching_of(query, entity_type, entity_id, status, storage, before, everything)
    body: dict[str, Any] = {"matching": matching | ({"deleted": True} if deleted else {})}
    if hard is not None:
        body["hard"] = hard
    if confirm is None:
        ask("POST", f"{PATH}/delete", counted, as_json=as_json, params=given(dryRun=True), body=body)
    else:
        ask("POST", f"{PATH}/delete", begun, as_json=as_json, body=body | {"confirm": confirm})


@media.command("restore-all")
def restore_all(
    query: Query = None,
    entity_type: EntityType = None,
    entity_id: EntityId = None,
    status: Standing = None,
    storage: Storage = None,
    before: Before = None,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """Bring all media back that `media list --deleted` has with these options."""
    matching = matching_of(query, entity_type, entity_id, status, storage, before, everything)
    ask("POST", f"{PATH}/restore", begun, as_json=as_json, body={"matching": matching})


@media.command()
def restore(medium: Medium, as_json: AsJson = False) -> None:
    """Bring a medium back that was deleted softly."""
    ask("POST", f"{PATH}/{medium}/restore", medium_facts, as_json=as_json)


@media.command()
def timeline(medium: Medium, deleted: Deleted = False, as_json: AsJson = False) -> None:
    """Show what happened to a medium, newest first."""
    ask("GET", f"{PATH}/{medium}/timeline", timeline_rows, as_json=as_json, params=given(deleted=deleted))


@media.command()
def download(
    medium: Medium,
    variant: Annotated[str, typer.Option(help="A variant, or the file as it was uploaded.")] = "original",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file, or - for stdout; else named as it was uploaded.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="In place of a file that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print where the file is, as JSON.")] = False,
) -> None:
    """Download a file of a medium."""
    with asking() as session:
        if output is not None and str(output) == "-":
            _fetch(session, medium, variant, sys.stdout.buffer)
            return
        record = session.ask("GET", f"{PATH}/{medium}").body
        path = output or Path(_local_name(record, variant))
        if path.exists() and not force:
            print_problem(f"{path} is there already: --force replaces it, --output names another file")
            raise typer.Exit(ExitCode.NOT_WELL)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with unfinished.open("xb") as file:
                size_bytes = _fetch(session, medium, variant, file)
            unfinished.replace(path)
        except OSError as error:
            print_problem(f"{path} can't be written: {error}")
            raise typer.Exit(ExitCode.NOT_WELL) from None
        finally:
            unfinished.unlink(missing_ok=True)
    if as_json:
        print_json_line({"path": os.fspath(path), "sizeBytes": size_bytes})
    else:
        print_shown([f"{path}: {decimal(size_bytes)}"])


def _fetch(session: Session, medium: UUID, variant: str, file: IO[bytes]) -> int:
    size_bytes = 0
    with session.reading(f"/media/{medium}/{quote(variant, safe='')}") as response:
        for chunk in response.iter_bytes():
            size_bytes += file.write(chunk)
    return size_bytes


def _local_name(record: Any, variant: str) -> str:
    """A name in this folder, whatever the uploader called the file: no path, nothing hidden, no control."""
    name = re.sub(r"[\x00-\x1f\x7f-\x9f/\\]", "_", str(record["filename"])).lstrip(". ")
    # File systems count bytes, and the ends of names tell what they are.
    name = name.encode()[-NAME_MAX_BYTES:].decode(errors="ignore").lstrip(". ")
    if variant == "original":
        return name or str(record["id"])
    mime_type = next((one["mimeType"] for one in record["variants"] if one["name"] == variant), "image/bin")
    return f"{Path(name).stem or record['id']}-{variant}.{mime_type.removeprefix('image/')}"


def matching_of(
    query: str | None,
    entity_type: str | None,
    entity_id: str | None,
    status: Status | None,
    storage: StorageStatus | None,
    before: str | None,
    everything: bool,
) -> dict[str, Any]:
    """All media that a list has, as calls take them; who means every medium has to say so."""
    filters = given(
        q=query, entityType=entity_type, entityId=entity_id, status=status, storageStatus=storage, before=before
    )
    return {**filters, "everything": True} if everything else dict(filters)


def counted(body: Any) -> Sequence[Shown]:
    total = body["total"]
    return [f"{total:,} media match: --confirm {total} deletes them." if total else "No medium matches."]


def begun(body: Any) -> Sequence[Shown]:
    return [f"{body['message']}", f"mediabus jobs watch {body['jobId']}", f"mediabus jobs cancel {body['jobId']}"]


def media_list(body: Any) -> Sequence[Shown]:
    rows = [
        (
            one["id"],
            one["filename"],
            f"{one['entityType']} {one['entityId'] or ''}",
            one["storageStatus"],
            decimal(one["sizeBytes"]),
            moment(one["deletedAt"] or one["createdAt"]),
        )
        for one in body["media"]
    ]
    columns = ("medium", "file", "of", "stored", "uploaded", "made, deleted")
    return [rows_table(titled("Media, newest first", body), columns, rows)]


def medium_facts(body: Any) -> Sequence[Shown]:
    facts = {
        "file": body["filename"],
        "of": f"{body['entityType']} {body['entityId'] or ''}",
        "type": body["mimeType"],
        "size": "" if body["width"] is None else f"{body['width']} × {body['height']}",
        "uploaded": f"{body['sizeBytes']:,} bytes",
        "sha256": body["sha256"],
        "title": body["title"],
        "alt": body["alt"],
        "stored": body["storageStatus"],
        "on disk": body["localPath"],
        "in the bucket": body["s3Key"],
        "made": moment(body["createdAt"]),
        "deleted": moment(body["deletedAt"]),
    }
    rows = [
        (one["name"], one["mimeType"], f"{one['width']} × {one['height']}", f"{one['sizeBytes']:,}", one["url"])
        for one in body["variants"]
    ]
    variants = [rows_table("Variants", ("variant", "type", "size", "bytes", "address"), rows)] if rows else []
    return [facts_table(f"Medium {body['id']}", facts), *variants]


def deletion_said(body: Any) -> Sequence[Shown]:
    if body["mode"] == "soft":
        return [f"Deleted: `mediabus media restore {body['mediaId']}` brings it back."]
    return [f"It goes for good, as deletion {body['deletionId']}: `mediabus deletions list` tells how far that is."]


def timeline_rows(body: Any) -> Sequence[Shown]:
    rows = [(moment(one["at"]), one["what"], one["by"], one["jobId"], one["code"]) for one in body["entries"]]
    return [rows_table("Newest first", ("when", "what", "by", "job", "code"), rows)]
