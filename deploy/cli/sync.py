"""`mediabus sync`: jobs that move stored files between disk and bucket."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import typer
from rich.filesize import decimal

from deploy.cli.asking import AsJson, ask
from deploy.cli.media import Before, EntityId, EntityType, Everything, Query, Standing, Storage, matching_of
from deploy.cli.output import Shown, facts_table, moment, rows_table, seconds
from deploy.cli.paging import Cursor, Limit, given, titled
from deploy.cli.session import Session
from deploy.cli.watching import DEFAULT_TIMEOUT, Timeout, Wait, WatchAsJson, follow, start, watch

PATH: Final = "/api/admin/media/sync"
ENDED: Final = frozenset({"completed", "failed", "cancelled"})
FAILURES_SHOWN: Final = 20

sync = typer.Typer(help="Jobs that move stored files between disk and bucket.", no_args_is_help=True)

Job: TypeAlias = Annotated[UUID, typer.Argument(metavar="JOB", help="The id of a storage job.")]


class Operation(StrEnum):
    UPLOAD_TO_S3 = "upload_to_s3"
    DOWNLOAD_FROM_S3 = "download_from_s3"
    DELETE_S3 = "delete_s3"
    DELETE_LOCAL = "delete_local"
    HARD_DELETE = "hard_delete"
    RENAME = "rename"


class Profile(StrEnum):
    DEFAULT = "default"
    LARGE = "large"


@sync.command("start")
def start_job(
    operation: Annotated[Operation, typer.Argument(metavar="OPERATION", help=", ".join(Operation))],
    media: Annotated[
        list[UUID] | None, typer.Argument(metavar="[MEDIUM]...", help="The ids of media; else choose by options.")
    ] = None,
    query: Query = None,
    entity_type: EntityType = None,
    entity_id: EntityId = None,
    status: Standing = None,
    storage: Storage = None,
    before: Before = None,
    everything: Everything = False,
    delete_source: Annotated[
        bool, typer.Option("--delete-source", help="Remove what was copied once the copy is verified.")
    ] = False,
    profile: Annotated[Profile, typer.Option(help="How large jobs are split.")] = Profile.DEFAULT,
    rename: Annotated[
        tuple[str, str] | None, typer.Option(metavar="FROM TO", help="The old and the new beginning of keys.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Start a storage job over the media that are named, or that `media list` has with these options."""
    selection = matching_of(query, entity_type, entity_id, status, storage, before, everything)
    if bool(media) == bool(selection):
        raise typer.BadParameter("choose media either by their ids, or by --entity-type … or --everything")
    body: dict[str, Any] = {"operation": operation, "deleteSource": delete_source, "profile": profile}
    body |= {"mediaIds": [str(one) for one in media]} if media else {"matching": selection}
    if rename is not None:
        body["renamePrefix"] = {"from": rename[0], "to": rename[1]}
    _start(PATH, body, timeout if wait else None, as_json=as_json)


@sync.command("list")
def list_jobs(limit: Limit = 10, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List storage jobs, newest first."""
    ask("GET", PATH, job_list, as_json=as_json, params=given(limit=limit, cursor=cursor))


@sync.command("show")
def show_job(job: Job, as_json: AsJson = False) -> None:
    """Show a storage job with its batches, and the files that failed."""
    ask("GET", f"{PATH}/{job}", job_facts, as_json=as_json)


@sync.command("watch")
def watch_job(job: Job, timeout: Timeout = DEFAULT_TIMEOUT, as_json: WatchAsJson = False) -> None:
    """Watch a storage job until it has ended; the exit code is 4 where files failed or it was cancelled."""
    watch(f"{PATH}/{job}", job_facts, has_ended=has_ended, is_well=is_well, timeout_seconds=timeout, as_json=as_json)


@sync.command()
def cancel(job: Job, as_json: AsJson = False) -> None:
    """Begin no other file; those in flight are finished, and what is done stays done."""
    ask("POST", f"{PATH}/{job}/cancel", started, as_json=as_json)


@sync.command()
def retry(job: Job, wait: Wait = False, timeout: Timeout = DEFAULT_TIMEOUT, as_json: AsJson = False) -> None:
    """Try the failed files of a storage job again, as a new one."""
    _start(f"{PATH}/{job}/retry", None, timeout if wait else None, as_json=as_json)


def _start(path: str, body: object, wait_seconds: float | None, *, as_json: bool) -> None:
    def followed(session: Session, told: Any) -> None:
        follow(
            session,
            f"{PATH}/{told['jobId']}",
            job_facts,
            has_ended=has_ended,
            is_well=is_well,
            timeout_seconds=wait_seconds or 0,
            as_json=as_json,
        )

    start("POST", path, started, as_json=as_json, body=body, then=None if wait_seconds is None else followed)


def has_ended(body: Any) -> bool:
    return body["status"] in ENDED


def is_well(body: Any) -> bool:
    return body["status"] == "completed" and not body["failedFiles"]


def started(body: Any) -> Sequence[Shown]:
    return [f"{body['message']}", f"mediabus sync watch {body['jobId']}"]


def job_list(body: Any) -> Sequence[Shown]:
    rows = [
        (
            one["id"],
            one["operation"],
            f"{one['status']}\n{one['childCount']:,} batches" if one["isParent"] else one["status"],
            _files(one),
            decimal(one["movedBytes"]),
            f"{moment(one['createdAt'])}\n{moment(one['finishedAt'])}",
        )
        for one in body["jobs"]
    ]
    columns = ("job", "operation", "status", "files", "moved", "made, ended")
    return [rows_table(titled("Storage jobs, newest first", body), columns, rows)]


def job_facts(body: Any) -> Sequence[Shown]:
    speed = body["bytesPerSecond"]
    facts = {
        "operation": body["operation"],
        "status": body["status"],
        "files": _files(body),
        "moved": f"{decimal(body['movedBytes'])} of {decimal(body['totalBytes'])}",
        "speed": "" if speed is None else f"{decimal(speed)}/s",
        "time left": seconds(body["etaSeconds"]),
        "made": moment(body["createdAt"]),
        "started": moment(body["startedAt"]),
        "ended": moment(body["finishedAt"]),
        "retry of": body["retryOf"],
        "error": body["error"],
    }
    batches = [
        (one["id"], one["batchIndex"], one["status"], _files(one), decimal(one["movedBytes"]), one["error"])
        for one in body["childJobs"]
    ]
    columns = ("job", "batch", "status", "files", "moved", "error")
    failures = [one for one in body["results"] if one["status"] == "failed"][:FAILURES_SHOWN]
    failed = [(one["mediaId"], one["code"], one["detail"]) for one in failures]
    return [
        facts_table(f"Storage job {body['id']}", facts),
        *([rows_table(_batches(body), columns, batches)] if batches else []),
        *([rows_table("Files that failed", ("medium", "code", "why"), failed)] if failed else []),
    ]


def _batches(job: Any) -> str:
    first = len(job["childJobs"])
    return "Batches" if first == job["childCount"] else f"The first {first} of {job['childCount']:,} batches"


def _files(job: Any) -> str:
    failed = f", {job['failedFiles']:,} failed" if job["failedFiles"] else ""
    return f"{job['processedFiles']:,} of {job['totalFiles']:,}{failed}"
