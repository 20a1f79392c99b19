"""The system whose pages are looked at: real services on real servers, with an account of each role."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from ingest_api.accounts import Role
from shared.testing.databases import TestDatabases
from shared.testing.topics import start_anew
from tests.api_client import Api
from tests.bucket_contents import BUCKET, empty_bucket
from tests.running_service import RunningService
from tests.system import SUPERADMIN_EMAIL, System, bucket_environment, system_of_its_own

_GENEROUS = {
    "MEDIABUS_LOGIN_ATTEMPTS_PER_ADDRESS": "100000",
    "MEDIABUS_LOGIN_ATTEMPTS_PER_ACCOUNT": "100000",
    "MEDIABUS_LOGIN_ATTEMPTS_PER_ACCOUNT_AND_ADDRESS": "100000",
}
"""All tests come from one address, and some sign in wrongly."""

_PATIENT = {
    "MEDIABUS_FACE_SEARCH_SECONDS": "30",
    "MEDIABUS_PEOPLE_CHANGE_WAIT_SECONDS": "25",
    "MEDIABUS_PRODUCT_CHANGE_WAIT_SECONDS": "25",
}
"""A machine that has much to do answers late, and pages would tell of that."""

_AT_ONCE = {"MEDIABUS_OBJECT_GRACE_SECONDS": "0", "MEDIABUS_RECORD_GRACE_SECONDS": "0"}
"""What tests put into the bucket is judged though it is young."""


@dataclass(frozen=True, slots=True)
class Account:
    email: str
    password: str
    role: Role


@dataclass
class Site:
    """`base_url` is where its pages are; `accounts` has one for each role that can sign in."""

    system: System
    store: ObjectStoreServer
    base_url: str
    accounts: dict[Role, Account] = field(default_factory=dict)
    _workers: dict[str, RunningService] = field(default_factory=dict)

    async def session_cookies(self, role: Role) -> dict[str, str]:
        """Those of a session of its own."""
        async with httpx.AsyncClient(base_url=self.base_url, timeout=30) as http:
            await self._sign_in(http, self.accounts[role])
            return dict(http.cookies)

    @asynccontextmanager
    async def api(self, role: Role = Role.SUPERADMIN) -> AsyncIterator[Api]:
        """Somebody of this role who uses the HTTP API: to prepare what pages show, and to check what they did."""
        limits = httpx.Limits(max_connections=20)
        origin = {"Origin": self.base_url}
        async with httpx.AsyncClient(base_url=self.base_url, timeout=30, headers=origin, limits=limits) as http:
            await self._sign_in(http, self.accounts[role])
            yield Api(http)

    async def start(self, *workers: str) -> None:
        """Have these services at work until the site ends; those that are already stay as they are."""
        absent = [name for name in workers if name not in self._workers]
        made = {name: self.system.service(name) for name in absent}
        self._workers |= made
        for service in made.values():
            service.start()
        await asyncio.gather(*(service.wait_until_ready() for service in made.values()))

    async def add_accounts(self) -> None:
        """One of each role below superadmin."""
        self.accounts[Role.SUPERADMIN] = Account(SUPERADMIN_EMAIL, self.system.superadmin_password, Role.SUPERADMIN)
        async with self.api() as api:
            for role in (Role.ADMIN, Role.PHOTOGRAPHER):
                account = Account(f"{role}@example.test", secrets.token_urlsafe(12), role)
                fields = {"email": account.email, "password": account.password, "role": role}
                answer = await api.http.post("/api/admin/users", json=fields)
                assert answer.status_code == 201, answer.text
                self.accounts[role] = account

    async def _sign_in(self, http: httpx.AsyncClient, account: Account) -> None:
        fields = {"email": account.email, "password": account.password}
        answer = await http.post("/api/auth/login", json=fields)
        assert answer.status_code == 200, answer.text


@asynccontextmanager
async def running_site(
    databases: TestDatabases, kafka: KafkaServer, store: ObjectStoreServer, face_models: Path, folder: Path
) -> AsyncIterator[Site]:
    """ingest-api and image-processor at work; other services join when `Site.start` is asked for them."""
    await asyncio.gather(start_anew(kafka.bootstrap), empty_bucket(store, BUCKET))
    environment = {
        **bucket_environment(store),
        **_GENEROUS,
        **_PATIENT,
        **_AT_ONCE,
        "MEDIABUS_FACE_MODELS_FOLDER": str(face_models),
        "MEDIABUS_FACE_WORKERS": "1",
    }
    async with system_of_its_own(databases, kafka, folder, environment) as system:
        await system.make_superadmin()
        ingest = system.service("ingest-api")
        ingest.start()
        site = Site(system, store, ingest.base_url)
        await asyncio.gather(ingest.wait_until_ready(), site.start("image-processor"))
        await site.add_accounts()
        yield site
