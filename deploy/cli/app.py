"""The commands of `mediabus`, put together."""

from __future__ import annotations

from typing import Final

import typer

from deploy.cli.accounts import keys, users
from deploy.cli.consistency import check, fix, plans, runs
from deploy.cli.dead_letters import dead_letters
from deploy.cli.deletions import deletions
from deploy.cli.events import events
from deploy.cli.faces import faces
from deploy.cli.jobs import jobs
from deploy.cli.login import login, logout, whoami
from deploy.cli.media import media
from deploy.cli.operations import audit, services
from deploy.cli.schedules import schedules
from deploy.cli.settings import settings
from deploy.cli.stack import stack
from deploy.cli.sync import sync
from deploy.cli.upload import upload

NAME: Final = "mediabus"
ABOUT: Final = """Ask a running Mediabus, and tell it what to do, over its HTTP API.

MEDIABUS_URL and MEDIABUS_API_KEY name the installation and who asks; without both it is as `mediabus login` keeps it,
else the embedded stack of this clone, asked by its superadmin.
"""
EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 refused by the API, which says why on stderr; 2 wrong use; 3 not reached or not signed in; "
    "4 done, but something failed or differs, which the output names; 130 interrupted."
)
COMMANDS: Final = (login, logout, whoami, upload, check, fix, services, audit)
GROUPS: Final = {
    "media": media,
    "jobs": jobs,
    "sync": sync,
    "runs": runs,
    "plans": plans,
    "events": events,
    "faces": faces,
    "schedules": schedules,
    "deletions": deletions,
    "dead-letters": dead_letters,
    "settings": settings,
    "users": users,
    "keys": keys,
    "stack": stack,
}

# Tracebacks never show local variables: among them is the key.
app = typer.Typer(name=NAME, help=ABOUT, epilog=EXIT_CODES, no_args_is_help=True, pretty_exceptions_show_locals=False)
for command in COMMANDS:
    app.command(epilog=EXIT_CODES)(command)
for name, group in GROUPS.items():
    app.add_typer(group, name=name, epilog=EXIT_CODES)


def main() -> None:
    """Run the command of `sys.argv`, and end with its exit code."""
    app(prog_name=NAME)
