"""MinIO itself, from a program that was built or brought; the embedded stack does without it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from deploy.local.object_store import ObjectStoreServer
from deploy.local.processes import ProcessSpec, base_environment


class MinioServer(ObjectStoreServer):
    """An S3 server with buckets as its top folders, and every kind of notification target."""

    name = "minio"

    def __init__(
        self, program: Path, data_folder: Path, port: int, access_key: str, secret_key: str, **options: Any
    ) -> None:
        super().__init__(data_folder, port, access_key, secret_key, **options)
        self._program = program

    def ports(self) -> tuple[int, ...]:
        return (self.port,)

    def _prepare(self) -> None:
        # The client takes a second to load: here in a thread, beside the start of the other servers.
        importlib.import_module("aiobotocore.session")
        for folder in ("objects", "certs"):
            (self.data_folder / folder).mkdir(exist_ok=True)

    def _spec(self) -> ProcessSpec:
        command = [str(self._program), "server", "--quiet", "--address", f"127.0.0.1:{self.port}"]
        return ProcessSpec(
            name=self.name,
            command=[*command, "--certs-dir", str(self.data_folder / "certs"), str(self.data_folder / "objects")],
            log_path=self.log_path,
            record_path=self.record_path,
            environment={
                **base_environment(),
                "MINIO_ROOT_USER": self.access_key,
                "MINIO_ROOT_PASSWORD": self.secret_key,
                "MINIO_REGION_NAME": self.region,
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
                **self._environment,
            },
            working_folder=self.data_folder,
        )
