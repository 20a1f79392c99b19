"""Apache Kafka in KRaft mode, one node."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy.local.cache import cache_folder
from deploy.local.errors import StackError
from deploy.local.kafka_jars import Broker, ensure_broker, format_storage, write_properties
from deploy.local.ports import free_port
from deploy.local.processes import ProcessSpec, base_environment
from deploy.local.server import EmbeddedServer


class KafkaServer(EmbeddedServer):
    """A Kafka broker; `settings` are broker properties that go over ours.

    Without `controller_port` a free one is taken at every start.
    """

    name = "kafka"

    def __init__(
        self,
        data_folder: Path,
        port: int,
        controller_port: int | None = None,
        *,
        cache: Path | None = None,
        log_path: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_folder, port, log_path)
        self._controller_port = controller_port if controller_port is not None else free_port(taken=[port])
        self._cache = cache if cache is not None else cache_folder()
        self._settings = dict(settings or {})
        self._broker: Broker | None = None

    @property
    def bootstrap(self) -> str:
        """The address clients connect to."""
        return f"127.0.0.1:{self.port}"

    def ports(self) -> tuple[int, ...]:
        return (self.port, self._controller_port)

    @property
    def _properties(self) -> Path:
        return self.data_folder / "server.properties"

    def _prepare(self) -> None:
        self._broker = ensure_broker(self._cache)
        write_properties(self.data_folder, self.port, self._controller_port, self._settings)
        # Written by the formatter last of all.
        if not (self.data_folder / "log" / "meta.properties").exists():
            format_storage(self._broker, self._properties, (self._lock.descriptor,))

    def _spec(self) -> ProcessSpec:
        if self._broker is None:
            raise StackError("Kafka's jars were not prepared; call start()")
        return ProcessSpec(
            name=self.name,
            command=self._broker.command("kafka.Kafka", str(self._properties), flags=self._broker.archived()),
            log_path=self.log_path,
            record_path=self.record_path,
            environment=base_environment(),
            working_folder=self.data_folder,
            stop_timeout_seconds=30.0,
            # In its orderly way, since a log that was not closed costs the next start seconds.
            parent_death_signal=signal.SIGTERM,
        )

    async def _answers(self) -> bool:
        # The port first: a Kafka client that finds nobody logs an error.
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=0.2).close()
        except OSError:
            return False
        client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=2000)
        try:
            await client.start()
            cluster = await client.describe_cluster()
        except (KafkaError, OSError, TimeoutError):
            return False
        finally:
            with contextlib.suppress(KafkaError, OSError):
                await client.close()
        return bool(cluster["brokers"])
