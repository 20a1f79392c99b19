"""`mediabus deletions`: what was deleted for good, and who has not answered yet."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from deploy.cli.asking import AsJson, ask
from deploy.cli.output import Shown, moment, rows_table

PATH: Final = "/api/admin/media/deletions"
MAX_LIMIT: Final = 200

deletions = typer.Typer(help="What was deleted for good, and who has not answered yet.", no_args_is_help=True)


class Status(StrEnum):
    PROCESSING = "processing"
    COMPLETED = "completed"


@deletions.command("list")
def list_deletions(
    status: Annotated[Status | None, typer.Option(help="Only those that stand so.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LIMIT, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List deletions for good, newest first, with what was removed and what is waited for."""
    params: dict[str, str | int] = {"limit": limit} | ({} if status is None else {"status": status.value})
    ask("GET", PATH, deletion_list, as_json=as_json, params=params)


def deletion_list(body: Any) -> Sequence[Shown]:
    rows = [
        (
            f"{one['deletionId']}\n{one['mediaId']}",
            f"{one['status']}\n{one['reason']}",
            moment(one["begunAt"]),
            _removed(one["receipt"]["removed"]),
            "\n".join(_waited_for(wait) for wait in one["waitsFor"]),
        )
        for one in body["deletions"]
    ]
    columns = ("deletion, medium", "status, reason", "begun", "removed", "waits for")
    title = "Deletions for good, newest first" + (" (there are older ones)" if body["nextCursor"] else "")
    return [rows_table(title, columns, rows)]


def _removed(files: Any) -> str:
    return f"{files['files']:,} files, {files['bytes']:,} bytes" if files["files"] else ""


def _waited_for(wait: Any) -> str:
    because = wait["because"]
    return str(wait["service"]) if because is None else f"{wait['service']}: {because['detail']}"
