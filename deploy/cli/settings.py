"""`mediabus settings`: what can be changed while the system runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import quote

import typer

from deploy.cli.asking import AsJson, ask, asking, show
from deploy.cli.output import Shown, facts_table, moment, rows_table
from deploy.cli.paging import Cursor, Limit, given, titled
from deploy.cli.problems import ExitCode

PATH: Final = "/api/admin/media/settings"
VERSIONING: Final = ("version", "updatedAt", "updatedBy")

settings = typer.Typer(help="What can be changed while the system runs.", no_args_is_help=True)
entity_type = typer.Typer(help="The variants, strategy and watermark of an entity type.", no_args_is_help=True)
settings.add_typer(entity_type, name="entity-type")

Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="Of the entity type, such as product.")]


@settings.command("show")
def show_settings(as_json: AsJson = False) -> None:
    """Show the settings."""
    ask("GET", PATH, settings_facts, as_json=as_json)


@settings.command("set")
def set_settings(
    assignments: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE...", help="As `settings show` names them; null takes away.")
    ],
    as_json: AsJson = False,
) -> None:
    """Change settings, all of the named ones or none. What somebody else changed meanwhile is not overwritten."""
    wanted = dict(map(assignment, assignments))
    with asking() as session:
        present = session.ask("GET", PATH).body
        body = {name: value_like(present.get(name), text) for name, text in wanted.items()}
        unless_changed = {"If-Match": f'"{present["version"]}"'}
        show(session.ask("PATCH", PATH, body=body, headers=unless_changed), settings_facts, as_json=as_json)


@settings.command("test-s3")
def try_bucket(
    endpoint: Annotated[str | None, typer.Option(help="Another one than is set.")] = None,
    bucket: Annotated[str | None, typer.Option(help="Another one than is set.")] = None,
    region: Annotated[str | None, typer.Option(help="Another one than is set.")] = None,
    as_json: AsJson = False,
) -> None:
    """Try the bucket: list it, write into it, remove that again. The exit code is 4 where that fails."""
    body = given(s3Endpoint=endpoint, s3Bucket=bucket, s3Region=region)
    with asking() as session:
        answer = session.ask("POST", f"{PATH}/test-s3", body=body or None)
        show(answer, trial_facts, as_json=as_json)
        if not answer.body["success"]:
            raise typer.Exit(ExitCode.NOT_WELL)


@settings.command()
def history(limit: Limit = 20, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List who changed what, newest first."""
    ask("GET", f"{PATH}/audit", change_list, as_json=as_json, params=given(limit=limit, cursor=cursor))


@entity_type.command("show")
def show_entity_type(name: Name, as_json: AsJson = False) -> None:
    """Show what holds for an entity type; --json prints what `entity-type set` reads."""
    ask("GET", _entity_type_path(name), entity_type_facts, as_json=as_json)


@entity_type.command("set")
def set_entity_type(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON with variants, strategy, watermark; - for stdin.")],
    as_json: AsJson = False,
) -> None:
    """Replace what holds for an entity type, for pictures that are rendered from then on."""
    try:
        body = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{file} is no JSON that can be read: {error}") from None
    ask("PUT", _entity_type_path(name), entity_type_facts, as_json=as_json, body=body)


def assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{text!r} is no NAME=VALUE, such as softDeleteRetentionDays=30")
    return name, value


def value_like(present: Any, text: str) -> Any:
    """What a person wrote, as JSON: a text where a text stands, else what it reads as; the API says what is wrong."""
    if isinstance(present, str) and text != "null":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def settings_facts(body: Any) -> Sequence[Shown]:
    facts = {name: value for name, value in body.items() if name not in VERSIONING}
    plain = {name: str(value) if type(value) in {int, float} else value for name, value in facts.items()}
    return [facts_table("Settings", {**plain, **_versioning(body)})]


def trial_facts(body: Any) -> Sequence[Shown]:
    facts = {"bucket": body["bucket"], "objects": body["objectCount"], "message": body["message"]}
    return [facts_table("The bucket can be used" if body["success"] else "The bucket can't be used", facts)]


def change_list(body: Any) -> Sequence[Shown]:
    rows = [
        (
            moment(one["changedAt"]),
            one["settings"],
            one["changedByEmail"],
            "\n".join(f"{name}: {_json(one['before'].get(name))} → {_json(new)}" for name, new in one["after"].items()),
        )
        for one in body["changes"]
    ]
    return [rows_table(titled("Changes, newest first", body), ("when", "settings", "who", "what"), rows)]


def entity_type_facts(body: Any) -> Sequence[Shown]:
    variants = [(one["name"], f"{one['width']} px", one["format"], one["quality"]) for one in body["variants"]]
    facts = {"strategy": body["strategy"] or "as the settings say", "watermark": body["watermark"]}
    return [
        facts_table(f"Entity type {body['entityType']}", {**facts, **_versioning(body)}),
        rows_table("Variants", ("variant", "width", "format", "quality"), variants),
    ]


def _versioning(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"version": body["version"], "changed": moment(body["updatedAt"])}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _entity_type_path(name: str) -> str:
    return f"{PATH}/entity-types/{quote(name, safe='')}"
