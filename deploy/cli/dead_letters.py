"""`mediabus dead-letters`: messages that services gave up."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import typer

from deploy.cli.asking import AsJson, ask
from deploy.cli.output import Shown, facts_table, moment, rows_table
from deploy.cli.paging import Cursor, Limit, given, titled

PATH: Final = "/api/admin/ops/dead-letters"

dead_letters = typer.Typer(help="Messages that services will not try again by themselves.", no_args_is_help=True)

Letter: TypeAlias = Annotated[UUID, typer.Argument(metavar="LETTER", help="The id of a dead letter.")]


class State(StrEnum):
    OPEN = "open"
    REPLAYED = "replayed"
    DROPPED = "dropped"


@dead_letters.command("list")
def list_letters(
    state: Annotated[State | None, typer.Option(help="Only those about which that was done.")] = None,
    service: Annotated[str | None, typer.Option(help="Only those that this service gave up.")] = None,
    topic: Annotated[str | None, typer.Option(help="Only those that came from this topic.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, newest first."""
    params = given(state=state, service=service, topic=topic, limit=limit, cursor=cursor)
    ask("GET", PATH, letter_list, as_json=as_json, params=params)


@dead_letters.command("show")
def show_letter(letter: Letter, as_json: AsJson = False) -> None:
    """Show a dead letter with the message."""
    ask("GET", f"{PATH}/{letter}", letter_facts, as_json=as_json)


@dead_letters.command()
def replay(letter: Letter, as_json: AsJson = False) -> None:
    """Give the message once more to the service that gave it up, and to no other."""
    ask("POST", f"{PATH}/{letter}/replay", letter_facts, as_json=as_json)


@dead_letters.command()
def drop(letter: Letter, as_json: AsJson = False) -> None:
    """Do nothing about the message any more."""
    ask("POST", f"{PATH}/{letter}/drop", letter_facts, as_json=as_json)


def letter_list(body: Any) -> Sequence[Shown]:
    rows = [
        (
            f"{one['id']}\n{moment(one['deadLetteredAt'])}",
            one["state"],
            f"{one['service']}\n{one['topic']}",
            one["type"],
            f"{one['code']}\n{one['detail']}",
        )
        for one in body["deadLetters"]
    ]
    columns = ("letter", "state", "given up by, from", "message", "why")
    return [rows_table(titled("Dead letters, newest first", body), columns, rows)]


def letter_facts(body: Any) -> Sequence[Shown]:
    facts = {
        "state": body["state"],
        "given up by": body["service"],
        "at": moment(body["deadLetteredAt"]),
        "attempts": body["attempts"],
        "code": body["code"],
        "why": body["detail"],
        "from": f"{body['topic']}, partition {body['partition']}, offset {body['offset']}",
        "message": body["type"],
        "event": body["eventId"],
        "key": body["key"],
        "trace": body["traceId"],
        "replay of": body["replayOf"],
        "failed again as": body["replayedAs"],
        "settled": moment(body["settledAt"]),
    }
    shown = [facts_table(f"Dead letter {body['id']}", facts)]
    if (payload := body.get("payload")) is not None:
        cut = " (the beginning of it)" if payload["isCut"] else ""
        shown.append(facts_table("Headers", body["headers"]))
        shown.append(
            facts_table(f"Content, {payload['sizeBytes']:,} bytes{cut}", {payload["format"]: payload["content"]})
        )
    return shown
