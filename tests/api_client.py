"""A signed-in admin, as tests need one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from shared.testing.waiting import eventually
from tests.system import SUPERADMIN_EMAIL, System

UPLOADS = "/api/admin/media"


class Api:
    """Uploads and jobs over HTTP."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def post(
        self, content: bytes, filename: str = "picture.jpg", headers: Mapping[str, str] | None = None, **fields: str
    ) -> httpx.Response:
        data = {"entityType": "product", **fields}
        return await self.http.post(
            UPLOADS, data=data, files={"file": (filename, content)}, headers=dict(headers or {})
        )

    async def upload(self, content: bytes, filename: str = "picture.jpg", **fields: str) -> dict[str, Any]:
        """The 202 answer."""
        answer = await self.post(content, filename, None, **fields)
        assert answer.status_code == 202, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted

    async def job(self, job_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"{UPLOADS}/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    async def ended(self, job_id: str, within_seconds: float = 120) -> dict[str, Any]:
        """The job once it is completed, failed or cancelled."""

        async def ended() -> dict[str, Any] | None:
            job = await self.job(job_id)
            return job if job["status"] in {"completed", "failed", "cancelled"} else None

        job: dict[str, Any] = await eventually(
            ended, within_seconds=within_seconds, every_seconds=0.1, why=f"job {job_id} ends"
        )
        return job

    async def all_completed(self, job_ids: list[str], within_seconds: float = 180) -> None:
        jobs = await asyncio.gather(*(self.ended(job_id, within_seconds) for job_id in job_ids))
        assert {job["status"] for job in jobs} == {"completed"}, [job for job in jobs if job["status"] != "completed"]

    async def media(self, media_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"{UPLOADS}/{media_id}")
        assert answer.status_code == 200, answer.text
        record: dict[str, Any] = answer.json()
        return record


@asynccontextmanager
async def signed_in(system: System, base_url: str) -> AsyncIterator[Api]:
    limits = httpx.Limits(max_connections=50)
    async with httpx.AsyncClient(base_url=base_url, timeout=30, headers={"Origin": base_url}, limits=limits) as http:
        answer = await http.post(
            "/api/auth/login", json={"email": SUPERADMIN_EMAIL, "password": system.superadmin_password}
        )
        assert answer.status_code == 200, answer.text
        yield Api(http)
