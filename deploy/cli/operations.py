"""`mediabus services` and `audit`: how the installation fares, and who did what."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from deploy.cli.asking import AsJson, ask, asking, show
from deploy.cli.output import Shown, moment, rows_table
from deploy.cli.paging import Cursor, Limit, given, titled
from deploy.cli.problems import ExitCode

PATH: Final = "/api/admin/ops"


class Area(StrEnum):
    SETTINGS = "settings"
    RECONCILE = "reconcile"
    SCHEDULES = "schedules"
    DEAD_LETTERS = "dead_letters"
    DELETIONS = "deletions"
    SELECTIONS = "selections"
    ACCOUNTS = "accounts"
    API_KEYS = "api_keys"


def services(as_json: AsJson = False) -> None:
    """Show how the services fare. The exit code is 4 unless all are ready."""
    with asking() as session:
        answer = session.ask("GET", f"{PATH}/services")
        show(answer, service_list, as_json=as_json)
        if any(one["status"] != "ready" for one in answer.body["services"]):
            raise typer.Exit(ExitCode.NOT_WELL)


def audit(
    area: Annotated[Area | None, typer.Option(help="Only what concerns that.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List who did what, newest first."""
    ask("GET", f"{PATH}/audit", audit_list, as_json=as_json, params=given(area=area, limit=limit, cursor=cursor))


def service_list(body: Any) -> Sequence[Shown]:
    rows = [
        (
            one["service"],
            one["status"].replace("_", " "),
            _lag(one["lagMessages"]),
            one["outboxWaiting"],
            one["openDeadLetters"],
            "\n".join(_replica(replica) for replica in one["replicas"]),
        )
        for one in body["services"]
    ]
    columns = ("service", "status", "messages to come", "in its outbox", "dead letters", "replicas")
    return [rows_table("Services", columns, rows)]


def audit_list(body: Any) -> Sequence[Shown]:
    rows = [
        (
            moment(one["doneAt"]),
            one["area"],
            one["action"],
            one["subject"],
            one["email"] or one["doneBy"],
            one["detail"],
        )
        for one in body["entries"]
    ]
    columns = ("when", "area", "what", "of", "by", "detail")
    return [rows_table(titled("Who did what, newest first", body), columns, rows)]


def _lag(messages: Any) -> str:
    return "\n".join(f"{topic} {count:,}" for topic, count in messages.items() if count)


def _replica(replica: Any) -> str:
    problems = "".join(f"; {part}: {why}" for part, why in replica["problems"].items())
    return f"{replica['instance']} {replica['version']} {replica['status'].replace('_', ' ')}{problems}"
