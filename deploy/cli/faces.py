"""`mediabus faces`: indexing the photos of an event, and finding those of somebody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import typer

from deploy.cli.asking import AsJson, ask, asking, show
from deploy.cli.events import PATH as EVENTS
from deploy.cli.output import Shown, facts_table, moment, rows_table, seconds
from deploy.cli.paging import given
from deploy.cli.session import Form
from deploy.cli.watching import DEFAULT_TIMEOUT, Timeout, Wait, WatchAsJson, follow, watch

PATH: Final = "/api/v1/faces"
ENDED: Final = frozenset({"completed", "failed"})

faces = typer.Typer(help="Index the photos of an event, and find those of somebody.", no_args_is_help=True)

Event: TypeAlias = Annotated[UUID, typer.Argument(metavar="EVENT", help="The UUID of an event.")]
Task: TypeAlias = Annotated[UUID, typer.Argument(metavar="TASK", help="The id of a sync, as its start told it.")]


@faces.command()
def sync(
    event: Event,
    prefix: Annotated[
        str | None, typer.Option(help="Only what begins so in the bucket; all photos of the event unless given.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Index what is new or changed among the photos of an event."""
    with asking() as session:
        below = prefix or session.ask("GET", f"{EVENTS}/{event}").body["s3_prefix"]
        answer = session.ask("POST", f"{PATH}/sync-s3", body={"event_uuid": str(event), "s3_prefix": below})
        if wait:
            follow(
                session,
                f"{PATH}/tasks/{answer.body['task_id']}",
                task_facts,
                has_ended=has_ended,
                is_well=is_well,
                timeout_seconds=timeout,
                as_json=as_json,
            )
        else:
            show(answer, started, as_json=as_json)


@faces.command()
def task(task: Task, as_json: AsJson = False) -> None:
    """Show how far a sync is."""
    ask("GET", f"{PATH}/tasks/{task}", task_facts, as_json=as_json)


@faces.command("watch")
def watch_task(task: Task, timeout: Timeout = DEFAULT_TIMEOUT, as_json: WatchAsJson = False) -> None:
    """Watch a sync until it has ended; the exit code is 4 where it or photos failed."""
    watch(
        f"{PATH}/tasks/{task}",
        task_facts,
        has_ended=has_ended,
        is_well=is_well,
        timeout_seconds=timeout,
        as_json=as_json,
    )


@faces.command()
def search(
    event: Event,
    selfie: Annotated[
        Path,
        typer.Argument(metavar="PICTURE", exists=True, dir_okay=False, readable=True, help="Of who is looked for."),
    ],
    threshold: Annotated[float | None, typer.Option(min=-1, max=1, help="Least similarity.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=1000, help="At most so many.")] = None,
    choose: Annotated[
        str | None, typer.Option(metavar="largest|0|1…", help="Which of several faces counts, by size.")
    ] = None,
    consent_version: Annotated[
        int | None, typer.Option(help="The version of the event's text that this person agreed to.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the photos of somebody, best first. The picture is kept nowhere; who searched is recorded."""
    wishes = given(threshold=threshold, limit=limit, choose=choose, consent_version=consent_version)
    fields = {"event_uuid": str(event)} | {name: str(value) for name, value in wishes.items()}
    with asking() as session, selfie.open("rb") as file:
        show(session.ask("POST", f"{PATH}/search", form=Form(fields, "selfie", file)), matches, as_json=as_json)


def has_ended(body: Any) -> bool:
    return body["status"] in ENDED


def is_well(body: Any) -> bool:
    return body["status"] == "completed" and not body["failed"]


def started(body: Any) -> Sequence[Shown]:
    return [body["message"], f"mediabus faces watch {body['task_id']}"]


def task_facts(body: Any) -> Sequence[Shown]:
    facts = {
        "event": body["event_uuid"],
        "below": body["s3_prefix"],
        "status": body["status"],
        "found": f"{body['total_found']:,}, of which {body['new_photos']:,} new",
        "processed": body["processed"],
        "without a face": body["no_face"],
        "failed": body["failed"],
        "time left": seconds(body["eta"]),
        "message": body["message"],
        "begun": moment(body["requested_at"]),
        "ended": moment(body["finished_at"]),
    }
    return [facts_table(f"Sync {body['task_id']}", facts)]


def matches(body: Any) -> Sequence[Shown]:
    rows = [(one["photo_id"], f"{one['similarity']:.3f}", one["s3_key"], one["preview_url"]) for one in body["matches"]]
    further = " (there are further ones: --limit)" if body["next_cursor"] else ""
    faces_said = f"{body['faces_in_selfie']} faces on the picture, number {body['chosen']} was looked for"
    said = [faces_said] if body["faces_in_selfie"] > 1 else []
    return [rows_table(f"Photos{further}", ("photo", "similarity", "file", "preview"), rows), *said]
