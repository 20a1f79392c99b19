"""`mediabus schedules`: when what is due, what came of it, and what will go for good."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import quote
from uuid import UUID

import typer

from deploy.cli.asking import AsJson, ask
from deploy.cli.output import Shown, counts, facts_table, moment, rows_table

PATH: Final = "/api/admin/schedules"
MAX_LIMIT: Final = 200

schedules = typer.Typer(help="When what is due, what came of it, and what will go for good.", no_args_is_help=True)


def schedule_name(text: str) -> str:
    """What can be one: at these addresses the API has something else, or nothing."""
    if text in {"", ".", "..", "due", "runs"}:
        raise typer.BadParameter(f"{text!r} is no schedule: `mediabus schedules list` names them")
    return text


Name: TypeAlias = Annotated[
    str, typer.Argument(parser=schedule_name, metavar="NAME", help="A schedule, such as media.purge.")
]
Run: TypeAlias = Annotated[UUID, typer.Argument(metavar="RUN", help="The id of a run.")]


class Missed(StrEnum):
    """What becomes of due times that passed while no clock ran."""

    RUN_ONCE = "run_once"
    SKIP = "skip"


def moment_option(text: str) -> datetime:
    """A time as a person writes it; without an offset it is of this machine's zone."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no time: write it as 2030-03-29T03:00+01:00, or without +01:00 in this machine's zone"
        ) from None


@schedules.command("list")
def list_schedules(as_json: AsJson = False) -> None:
    """List schedules, when each is due next, and its last run."""
    ask("GET", PATH, schedule_list, as_json=as_json)


@schedules.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show a schedule, its next three due times, and its last run."""
    ask("GET", _path(name), schedule_facts, as_json=as_json)


@schedules.command()
def run(name: Name, as_json: AsJson = False) -> None:
    """Run a schedule now, beside its due times and though it is paused.

    Returns at once; `mediabus schedules runs` tells what came of it.
    """
    ask("POST", f"{_path(name)}/run", run_facts, as_json=as_json)


@schedules.command()
def pause(name: Name, as_json: AsJson = False) -> None:
    """Let nothing of a schedule be due until it is resumed."""
    ask("PATCH", _path(name), schedule_facts, as_json=as_json, body={"paused": True})


@schedules.command()
def resume(name: Name, as_json: AsJson = False) -> None:
    """Let a paused schedule be due again; what passed meanwhile is not made up for."""
    ask("PATCH", _path(name), schedule_facts, as_json=as_json, body={"paused": False})


@schedules.command("set")
def set_schedule(
    name: Name,
    cron: Annotated[str | None, typer.Option(help="Five fields, as Debian's cron reads them: '0 3 * * *'.")] = None,
    time_zone: Annotated[str | None, typer.Option(help="An IANA name, such as Europe/Berlin.")] = None,
    missed: Annotated[Missed | None, typer.Option(help="What becomes of times that passed with no clock.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change when a schedule is due. What is not given stays."""
    wanted = {"cron": cron, "timeZone": time_zone, "missed": missed}
    changes = {field: value for field, value in wanted.items() if value is not None}
    if not changes:
        raise typer.BadParameter("nothing to change: give --cron, --time-zone or --missed")
    ask("PATCH", _path(name), schedule_facts, as_json=as_json, body=changes)


@schedules.command()
def runs(
    name: Annotated[
        str | None, typer.Option(parser=schedule_name, metavar="NAME", help="Only the runs of this schedule.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LIMIT, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    path = f"{PATH}/runs" if name is None else f"{_path(name)}/runs"
    ask("GET", path, run_list, as_json=as_json, params={"limit": limit})


@schedules.command()
def approve(run_id: Run, as_json: AsJson = False) -> None:
    """Let a run begin that waits for approval."""
    ask("POST", f"{PATH}/runs/{run_id}/approve", run_facts, as_json=as_json)


@schedules.command()
def refuse(run_id: Run, as_json: AsJson = False) -> None:
    """Let nothing come of a run that waits for approval; the next due time asks again."""
    ask("POST", f"{PATH}/runs/{run_id}/refuse", run_facts, as_json=as_json)


@schedules.command()
def due(
    at: Annotated[
        datetime | None,
        typer.Option(parser=moment_option, metavar="TIME", help="Of this moment; the next purge's, if not given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a purge would delete for good, and change nothing."""
    ask("GET", f"{PATH}/due", due_media, as_json=as_json, params={} if at is None else {"at": at.isoformat()})


def schedule_list(body: Any) -> Sequence[Shown]:
    rows = [
        (one["name"], one["cron"], one["timeZone"], one["missed"], _next_due(one), _last_run(one))
        for one in body["schedules"]
    ]
    return [rows_table("Schedules", ("schedule", "cron", "time zone", "missed", "next due", "last run"), rows)]


def schedule_facts(body: Any) -> Sequence[Shown]:
    facts = {
        "cron": body["cron"],
        "time zone": body["timeZone"],
        "missed": body["missed"],
        "next due": "paused" if body["paused"] else "\n".join(map(moment, body["nextFirings"])),
        "changed": moment(body["changedAt"]),
    }
    last_run = [] if body["lastRun"] is None else run_facts(body["lastRun"])
    return [facts_table(body["name"], facts), *last_run]


def run_list(body: Any) -> Sequence[Shown]:
    rows = [
        (
            f"{one['id']}\n{one['schedule']}, by {one['trigger']}",
            _status(one),
            f"{moment(one['dueAt'])}\n{moment(one['endedAt'])}",
            counts(one["counts"]),
        )
        for one in body["runs"]
    ]
    columns = ("run", "status", "due, ended", "what came of it")
    return [rows_table("Runs, newest first" + (" (there are older ones)" if body["nextCursor"] else ""), columns, rows)]


def run_facts(body: Any) -> Sequence[Shown]:
    facts = {
        "run": body["id"],
        "schedule": body["schedule"],
        "by": body["trigger"],
        "status": _status(body),
        "due": moment(body["dueAt"]),
        "made up for": str(body["missed"]) if body["missed"] else "",
        "started": moment(body["startedAt"]),
        "ended": moment(body["endedAt"]),
        "waits because": body["needsApprovalBecause"] or "",
        "what came of it": counts(body["counts"]),
        "detail": body["detail"] or "",
        "have not answered": ", ".join(body["owing"]),
    }
    answers = {one["service"]: one["error"] or counts(one["counts"]) for one in body["answers"]}
    return [facts_table("Run", {name: fact for name, fact in (facts | answers).items() if fact})]


def due_media(body: Any) -> Sequence[Shown]:
    facts = {
        "at": moment(body["at"]),
        "kept for": f"{body['retentionDays']} days",
        "purged by itself": "yes" if body["autoCleanupEnabled"] else "no",
        "media": f"{body['media']:,}, beside {body['liveMedia']:,} that are not deleted",
        "files": f"{body['files']:,}",
        "bytes": f"{body['bytes']:,}",
        "would wait because": body["needsApprovalBecause"] or "",
    }
    rows = [
        (item["mediaId"], moment(item["deletedAt"]), f"{item['files']:,}", f"{item['bytes']:,}")
        for item in body["items"]
    ]
    title = f"The first {len(rows)} of them"
    items = [rows_table(title, ("medium", "deleted", "files", "bytes"), rows)] if rows else []
    return [facts_table("Due to be deleted for good", {name: fact for name, fact in facts.items() if fact}), *items]


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


def _next_due(schedule: Any) -> str:
    return "paused" if schedule["paused"] else moment(schedule["nextFirings"][0])


def _last_run(schedule: Any) -> str:
    last = schedule["lastRun"]
    return "" if last is None else f"{_status(last)} {moment(last['endedAt'] or last['startedAt'] or last['dueAt'])}"


def _status(one: Any) -> str:
    return str(one["status"]).replace("_", " ")
