"""`mediabus users` and `mediabus keys`: who may sign in, and API keys."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import typer

from deploy.cli.asking import AsJson, ask, asking, show
from deploy.cli.output import Shown, facts_table, moment, rows_table
from deploy.cli.paging import Cursor, Limit, given, titled
from deploy.cli.problems import NotReached, Refused
from deploy.cli.schedules import moment_option
from deploy.cli.session import Session

USERS: Final = "/api/admin/users"
KEYS: Final = "/api/admin/api-keys"
MOST_PAGES: Final = 100

users = typer.Typer(help="Accounts: who may sign in, and as what.", no_args_is_help=True)
keys = typer.Typer(help="API keys for gateways and scripts.", no_args_is_help=True)


class Role(StrEnum):
    SUPERADMIN = "superadmin"
    ADMIN = "admin"
    PHOTOGRAPHER = "photographer"


Account: TypeAlias = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The id or e-mail address of an account.")]
PasswordStdin: TypeAlias = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]


@users.command("list")
def list_users(limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List accounts, newest first."""
    ask("GET", USERS, user_list, as_json=as_json, params=given(limit=limit, cursor=cursor))


@users.command("add")
def add_user(
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    role: Annotated[Role, typer.Option(help="What the account may do.")],
    password_stdin: PasswordStdin = False,
    as_json: AsJson = False,
) -> None:
    """Add an account; its password is asked for."""
    body = {"email": email, "password": _password(from_stdin=password_stdin), "role": role}
    ask("POST", USERS, user_facts, as_json=as_json, body=body)


@users.command("change")
def change_user(
    account: Account,
    email: Annotated[str | None, typer.Option(help="Another e-mail address.")] = None,
    role: Annotated[Role | None, typer.Option(help="Another role; ends the account's sessions.")] = None,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for another password; ends the account's sessions.")
    ] = False,
    password_stdin: PasswordStdin = False,
    as_json: AsJson = False,
) -> None:
    """Change an account. What is not given stays."""
    changes: dict[str, Any] = {"email": email, "role": role}
    if password or password_stdin:
        changes["password"] = _password(from_stdin=password_stdin)
    body = {field: value for field, value in changes.items() if value is not None}
    if not body:
        raise typer.BadParameter("nothing to change: give --email, --role or --password")
    with asking() as session:
        path = f"{USERS}/{_user_id(session, account)}"
        show(session.ask("PATCH", path, body=body), user_facts, as_json=as_json)


@users.command("remove")
def remove_user(account: Account, as_json: AsJson = False) -> None:
    """Remove an account with its sessions and API keys; what it uploaded stays."""
    with asking() as session:
        path = f"{USERS}/{_user_id(session, account)}"
        show(session.ask("DELETE", path), lambda _: [f"The account {account} is removed."], as_json=as_json)


@keys.command("list")
def list_keys(limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List API keys, newest first: one's own, as superadmin everyone's. The keys themselves are shown nowhere."""
    ask("GET", KEYS, key_list, as_json=as_json, params=given(limit=limit, cursor=cursor))


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    role: Annotated[Role, typer.Option(help="What it may do; at most what its maker may.")],
    ends: Annotated[
        datetime | None, typer.Option(parser=moment_option, metavar="TIME", help="When it ends; never unless given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key. It is shown once, now."""
    body = {"name": name, "role": role} | ({} if ends is None else {"expiresAt": ends.isoformat()})
    ask("POST", KEYS, new_key_facts, as_json=as_json, body=body)


@keys.command()
def revoke(
    key: Annotated[UUID, typer.Argument(metavar="KEY", help="The id of a key, as `keys list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Have a key refused from now on."""
    ask("DELETE", f"{KEYS}/{key}", lambda _: [f"The key {key} is revoked."], as_json=as_json)


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _user_id(session: Session, account: str) -> UUID:
    """Of an e-mail address it is looked up; raises Refused where no account has it."""
    try:
        return UUID(account)
    except ValueError:
        pass
    cursor = None
    for _ in range(MOST_PAGES):
        page = session.ask("GET", USERS, given(limit=200, cursor=cursor)).body
        found = [one["id"] for one in page["users"] if one["email"].casefold() == account.strip().casefold()]
        if found:
            return UUID(found[0])
        if (cursor := page["nextCursor"]) is None:
            raise Refused(
                404, {"title": f"There is no account {account}", "detail": "`mediabus users list` names them."}
            )
    raise NotReached(f"{account} is not among the newest {MOST_PAGES * 200:,} accounts: give its id")


def user_list(body: Any) -> Sequence[Shown]:
    rows = [(one["id"], one["email"], one["role"], moment(one["createdAt"])) for one in body["users"]]
    return [rows_table(titled("Accounts, newest first", body), ("account", "e-mail", "role", "made"), rows)]


def user_facts(body: Any) -> Sequence[Shown]:
    facts = {
        "account": body["id"],
        "role": body["role"],
        "made": moment(body["createdAt"]),
        "changed": moment(body["updatedAt"]),
    }
    return [facts_table(body["email"], facts)]


def key_list(body: Any) -> Sequence[Shown]:
    rows = [
        (
            one["id"],
            one["name"],
            one["role"],
            one["createdByEmail"],
            moment(one["createdAt"]),
            moment(one["expiresAt"]),
            moment(one["lastUsedAt"]),
        )
        for one in body["apiKeys"]
    ]
    columns = ("key", "name", "role", "made by", "made", "ends", "last used")
    return [rows_table(titled("API keys, newest first", body), columns, rows)]


def new_key_facts(body: Any) -> Sequence[Shown]:
    facts = {"key": body["key"], "id": body["id"], "role": body["role"], "ends": moment(body["expiresAt"]) or "never"}
    return [facts_table(body["name"], facts), "Keep the key: it is shown here and never again."]
