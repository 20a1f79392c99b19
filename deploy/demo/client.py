"""A client of ingest-api as an admin's browser or a gateway would be one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

REQUEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stack:
    """What `.mediabus/stack.json` tells scripts, as far as the demonstration needs it."""

    base_url: str
    email: str
    password: str

    @classmethod
    def read(cls, path: Path) -> Stack:
        stack = json.loads(path.read_text())
        return cls(stack["baseUrl"], stack["superadmin"]["email"], stack["superadmin"]["password"])


class Refused(Exception):
    """ingest-api refused an upload at once; `code` and `detail` are those of its problem details."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class Client:
    """Signed in while the block runs."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._http = httpx.AsyncClient(
            base_url=stack.base_url, timeout=REQUEST_SECONDS, headers={"Origin": stack.base_url}
        )

    async def __aenter__(self) -> Self:
        answer = await self._http.post(
            "/api/auth/login", json={"email": self._stack.email, "password": self._stack.password}
        )
        answer.raise_for_status()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def upload(self, filename: str, content: bytes, strategy: str | None = None) -> str:
        """The id of the job; Refused for what is no picture."""
        fields = {"entityType": "demo", "title": filename}
        if strategy is not None:
            fields["storageStrategy"] = strategy
        answer = await self._http.post("/api/admin/media", data=fields, files={"file": (filename, content)})
        if answer.is_client_error:
            problem = answer.json()
            raise Refused(problem.get("code", str(answer.status_code)), problem["detail"])
        answer.raise_for_status()
        return str(answer.json()["jobId"])

    async def job(self, job_id: str) -> dict[str, Any]:
        answer = await self._http.get(f"/api/admin/media/jobs/{job_id}")
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()
        return job

    async def media(self, media_id: str) -> dict[str, Any]:
        answer = await self._http.get(f"/api/admin/media/{media_id}")
        answer.raise_for_status()
        record: dict[str, Any] = answer.json()
        return record

    async def start_sync(self, operation: str, media_ids: list[str]) -> str:
        """The id of the storage job."""
        answer = await self._http.post("/api/admin/media/sync", json={"operation": operation, "mediaIds": media_ids})
        answer.raise_for_status()
        return str(answer.json()["jobId"])

    async def sync_job(self, job_id: str) -> dict[str, Any]:
        answer = await self._http.get(f"/api/admin/media/sync/{job_id}")
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()
        return job

    async def size_bytes(self, url: str) -> int:
        """How many bytes a variant's address really delivers."""
        answer = await self._http.get(url, follow_redirects=True)
        answer.raise_for_status()
        return len(answer.content)
