"""A client of ingest-api as an admin's browser or a gateway would be one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from shared.storage.settings import S3Settings

REQUEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stack:
    """What `.mediabus/stack.json` tells scripts, as far as the demonstration needs it.

    `has_faces` unless face-embedder was left out.
    """

    base_url: str
    email: str
    password: str
    bucket: S3Settings
    has_faces: bool

    @classmethod
    def read(cls, path: Path) -> Stack:
        stack = json.loads(path.read_text())
        s3 = stack["s3"]
        bucket = S3Settings(
            endpoint=s3["endpoint"],
            bucket=s3["bucket"],
            region=s3["region"],
            access_key=s3["accessKey"],
            secret_key=s3["secretKey"],
        )
        superadmin = stack["superadmin"]
        has_faces = "face-embedder" in stack["services"]
        return cls(stack["baseUrl"], superadmin["email"], superadmin["password"], bucket, has_faces)


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

    async def make_event(self, name: str) -> dict[str, Any]:
        """A photographed event, with the place of its previews as `s3_prefix`."""
        answer = await self._http.post("/api/v1/events", json={"name": name})
        answer.raise_for_status()
        event: dict[str, Any] = answer.json()
        return event

    async def start_face_sync(self, event_uuid: str, s3_prefix: str) -> str:
        """The id of the task."""
        answer = await self._http.post("/api/v1/faces/sync-s3", json={"event_uuid": event_uuid, "s3_prefix": s3_prefix})
        answer.raise_for_status()
        return str(answer.json()["task_id"])

    async def face_task(self, task_id: str) -> dict[str, Any]:
        answer = await self._http.get(f"/api/v1/faces/tasks/{task_id}")
        answer.raise_for_status()
        task: dict[str, Any] = answer.json()
        return task

    async def search_faces(self, event_uuid: str, selfie: bytes) -> list[dict[str, Any]]:
        """The matches, best first."""
        answer = await self._http.post(
            "/api/v1/faces/search", data={"event_uuid": event_uuid}, files={"file": ("selfie.jpg", selfie)}
        )
        answer.raise_for_status()
        matches: list[dict[str, Any]] = answer.json()["matches"]
        return matches

    async def size_bytes(self, url: str) -> int:
        """How many bytes a variant's address really delivers."""
        answer = await self._http.get(url, follow_redirects=True)
        answer.raise_for_status()
        return len(answer.content)
