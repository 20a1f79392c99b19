"""A service of the topology, run like a server: one folder, one process, one way to start and to end it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deploy.local import proc
from deploy.local.http_probe import http_status
from deploy.local.processes import ProcessSpec
from deploy.local.server import EmbeddedServer
from deploy.local.topology import Service

# Longer than a service's own deadline for finishing what it holds.
_STOP_TIMEOUT_SECONDS = 30.0


class ServiceProcess(EmbeddedServer):
    """One replica of a service; ready when /health/ready answers 200."""

    def __init__(
        self, service: Service, data_folder: Path, port: int, environment: Mapping[str, str], log_path: Path
    ) -> None:
        self.name = service.name
        super().__init__(data_folder, port, log_path)
        self._service = service
        self._environment = dict(environment)

    def _prepare(self) -> None:
        """A service brings all it needs."""

    def _spec(self) -> ProcessSpec:
        return ProcessSpec(
            name=self.name,
            command=self._service.command,
            log_path=self.log_path,
            record_path=self.record_path,
            environment=self._environment,
            working_folder=self.data_folder,
            niceness=self._service.niceness,
            stop_timeout_seconds=_STOP_TIMEOUT_SECONDS,
        )

    async def _answers(self) -> bool:
        # Another stack's service that has taken the port meanwhile would answer just as well.
        return await http_status(self.port, "/health/ready") == 200 and proc.listens(self.process.pid, self.port)
