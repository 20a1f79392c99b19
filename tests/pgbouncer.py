"""PgBouncer in front of a PostgreSQL server, in transaction mode, from the Debian package `pgbouncer`."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from deploy.local.errors import StackError
from deploy.local.identity import choose_identity, give_to
from deploy.local.processes import ProcessSpec, base_environment, write_private
from deploy.local.server import EmbeddedServer

SERVERS_PER_ROLE = 3


def pgbouncer_program() -> Path | None:
    """Where the package puts it, which is not on everybody's PATH."""
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    return None if found is None else Path(found)


class PgBouncerServer(EmbeddedServer):
    """Pools transactions of at most SERVERS_PER_ROLE server connections for each role.

    `passwords` is by role. The settings are those that deploy/README.md asks for, and no others that matter.
    """

    name = "pgbouncer"

    def __init__(self, data_folder: Path, port: int, postgres_port: int, passwords: Mapping[str, str]) -> None:
        super().__init__(data_folder, port, None)
        self._postgres_port = postgres_port
        self._passwords = dict(passwords)

    def pooled(self, dsn: str) -> str:
        """The same role and database by way of the pool."""
        parts = urlsplit(dsn)
        return urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{self.port}"))

    def _prepare(self) -> None:
        program = pgbouncer_program()
        if program is None:
            raise StackError("there is no pgbouncer: install the Debian package of that name")
        self._program = program
        self._identity = choose_identity(program, self.data_folder)
        accounts = self.data_folder / "users.txt"
        write_private(accounts, "".join(f'"{role}" "{password}"\n' for role, password in self._passwords.items()))
        self._config = self.data_folder / "pgbouncer.ini"
        write_private(
            self._config,
            f"""[databases]
* = host=127.0.0.1 port={self._postgres_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {accounts}
pool_mode = transaction
default_pool_size = {SERVERS_PER_ROLE}
max_client_conn = 500
""",
        )
        for path in (accounts, self._config):
            give_to(self._identity, path)

    def _spec(self) -> ProcessSpec:
        return ProcessSpec(
            name=self.name,
            command=[str(self._program), str(self._config)],
            log_path=self.log_path,
            record_path=self.record_path,
            environment=base_environment(),
            working_folder=Path("/"),
            # Immediate shutdown: open transactions are cut, as by a crash.
            stop_signal=signal.SIGTERM,
            parent_death_signal=signal.SIGTERM,
            identity=self._identity,
        )

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True
