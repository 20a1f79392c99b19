"""`mediabus jobs`: how the processing of uploads fares, and of many media at once."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import typer

from deploy.cli.asking import AsJson, ask
from deploy.cli.output import Shown, facts_table, moment, rows_table
from deploy.cli.paging import Cursor, Limit, given, titled
from deploy.cli.watching import DEFAULT_TIMEOUT, Timeout, WatchAsJson, watch

PATH: Final = "/api/admin/media/jobs"
ENDED: Final = frozenset({"completed", "failed", "cancelled"})

jobs = typer.Typer(help="How the processing of uploads fares, and of many media at once.", no_args_is_help=True)

Job: TypeAlias = Annotated[UUID, typer.Argument(metavar="JOB", help="The id of a job, or of the parent of many.")]


class Status(StrEnum):
    WAITING = "waiting"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@jobs.command("list")
def list_jobs(
    status: Annotated[Status | None, typer.Option(help="Only those that stand so.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    ask("GET", PATH, job_list, as_json=as_json, params=given(status=status, limit=limit, cursor=cursor))


@jobs.command("show")
def show_job(job: Job, as_json: AsJson = False) -> None:
    """Show a job: how far it is, and what came of it."""
    ask("GET", f"{PATH}/{job}", job_facts, as_json=as_json)


@jobs.command("watch")
def watch_job(job: Job, timeout: Timeout = DEFAULT_TIMEOUT, as_json: WatchAsJson = False) -> None:
    """Watch a job until it has ended; the exit code is 4 where something of it failed or it was cancelled."""
    watch(f"{PATH}/{job}", job_facts, has_ended=has_ended, is_well=is_well, timeout_seconds=timeout, as_json=as_json)


@jobs.command()
def cancel(job: Job, as_json: AsJson = False) -> None:
    """Begin nothing more of a job that deletes, restores or renders many; what is begun is finished, and stays."""
    ask("POST", f"{PATH}/{job}/cancel", cancelled, as_json=as_json)


@jobs.command()
def retry(job: Job, as_json: AsJson = False) -> None:
    """Try a failed job again, with the file that was uploaded."""
    ask("POST", f"{PATH}/{job}/retry", job_facts, as_json=as_json)


def has_ended(body: Any) -> bool:
    return body["status"] in ENDED


def is_well(body: Any) -> bool:
    """Of a parent: all of its pictures came out."""
    return body["status"] == "completed" and not body.get("failed")


def cancelled(body: Any) -> Sequence[Shown]:
    return [f"{body['message']}", f"mediabus jobs watch {body['jobId']}"]


def job_list(body: Any) -> Sequence[Shown]:
    rows = [
        (
            f"{one['jobId']}\n{one['mediaId']}",
            f"{one['status']}\n{one['kind']}",
            f"{one['progress']} %",
            f"{moment(one['createdAt'])}\n{moment(one['finishedAt'])}",
            _error(one["error"]),
        )
        for one in body["jobs"]
    ]
    return [rows_table(titled("Jobs, newest first", body), ("job, medium", "status", "", "made, ended", "error"), rows)]


def job_facts(body: Any) -> Sequence[Shown]:
    result = body["result"] or {}
    facts = {
        "status": body["status"],
        "progress": f"{body['progress']} %",
        "attempts": body["attempts"],
        "medium": result.get("mediaId"),
        "size": f"{result['width']} × {result['height']}" if "width" in result else None,
        "stored": result.get("storageStatus"),
        "pictures": _counts(body) if "total" in body else None,
        "error": _error(body["error"]),
    }
    ill = [one for one in body.get("children", ()) if one["error"]]
    rows = [(str(one["jobId"] or ""), one["filename"], _error(one["error"])) for one in ill]
    children = [rows_table("Those that failed", ("job", "file", "error"), rows)] if rows else []
    return [facts_table(f"Job {body['jobId']}", facts), *children]


def _counts(body: Any) -> str:
    cancelled = f", {body['cancelled']:,} cancelled" if body["cancelled"] else ""
    return f"{body['completed']:,} of {body['total']:,}, {body['failed']:,} failed{cancelled}"


def _error(error: Any) -> str:
    return "" if error is None else f"{error['code']}: {error['detail']}"
