"""The commands of `mediabus`, put together."""

from __future__ import annotations

from typing import Final

import typer

from deploy.cli.deletions import deletions
from deploy.cli.login import login, logout, whoami
from deploy.cli.schedules import schedules
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

# Tracebacks never show local variables: among them is the key.
app = typer.Typer(name=NAME, help=ABOUT, epilog=EXIT_CODES, no_args_is_help=True, pretty_exceptions_show_locals=False)
for command in (login, logout, whoami, upload):
    app.command(epilog=EXIT_CODES)(command)
app.add_typer(schedules, name="schedules", epilog=EXIT_CODES)
app.add_typer(deletions, name="deletions", epilog=EXIT_CODES)


def main() -> None:
    """Run the command of `sys.argv`, and end with its exit code."""
    app(prog_name=NAME)
