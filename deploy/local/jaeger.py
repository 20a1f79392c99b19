"""Jaeger, from a program that the user built or brought: it keeps traces in memory."""

from __future__ import annotations

from pathlib import Path

from deploy.local.http_probe import http_status
from deploy.local.processes import ProcessSpec, base_environment
from deploy.local.server import EmbeddedServer


class JaegerServer(EmbeddedServer):
    """Jaeger's all-in-one program (1.x): `port` serves its query API, `otlp_port` takes spans by OTLP over HTTP.

    `further_ports` are three more it insists on: OTLP over gRPC, its gRPC query API and its admin page.
    """

    name = "jaeger"

    def __init__(
        self,
        program: Path,
        data_folder: Path,
        port: int,
        otlp_port: int,
        further_ports: tuple[int, int, int],
        *,
        log_path: Path | None = None,
    ) -> None:
        super().__init__(data_folder, port, log_path)
        self._program = program
        self._otlp_port = otlp_port
        self._further_ports = further_ports

    @property
    def otlp_endpoint(self) -> str:
        """The base address for OTLP over HTTP."""
        return f"http://127.0.0.1:{self._otlp_port}"

    def ports(self) -> tuple[int, ...]:
        return (self.port, self._otlp_port, *self._further_ports)

    def _prepare(self) -> None:
        """Jaeger keeps nothing on disk."""

    def _spec(self) -> ProcessSpec:
        otlp_grpc, query_grpc, admin = self._further_ports
        listeners = {
            "query.http-server.host-port": self.port,
            "query.grpc-server.host-port": query_grpc,
            "collector.otlp.http.host-port": self._otlp_port,
            "collector.otlp.grpc.host-port": otlp_grpc,
            "collector.http-server.host-port": 0,
            "collector.grpc-server.host-port": 0,
            "admin.http.host-port": admin,
        }
        command = [str(self._program), *(f"--{flag}=127.0.0.1:{port}" for flag, port in listeners.items())]
        return ProcessSpec(
            name=self.name,
            command=[*command, "--memory.max-traces=20000"],
            log_path=self.log_path,
            record_path=self.record_path,
            environment={**base_environment(), "SPAN_STORAGE_TYPE": "memory"},
            working_folder=self.data_folder,
        )

    async def _answers(self) -> bool:
        return await http_status(self.port, "/api/services") == 200
