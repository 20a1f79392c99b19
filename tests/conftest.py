"""The real servers that tests run against: started when first asked for, one of each per test run."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.face_models import ensure_lite, models_folder
from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from deploy.local.postgres import PostgresServer
from shared.telemetry.tracing import start_tracing
from shared.testing.databases import TestDatabase, TestDatabases
from shared.testing.topics import start_anew
from tests.bucket_contents import BUCKET, empty_bucket
from tests.distribution import FilesAndFolder

# Nothing of these databases outlives the server, so it need not reach the disk: tests of crashes start their own. Nor
# does anybody guess passwords, and hashing them is half of logging in.
_FORGETFUL = {"fsync": "off", "full_page_writes": "off", "scram_iterations": "1"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what is no text in captured logs: poison has lone surrogates, and reports travel between processes."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesAndFolder | None:
    return FilesAndFolder(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_finish() -> None:
    """Spare the collector what lives until the end: thousands of tests and all that they import."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def tracing() -> None:
    """Spans are made in tests as in a service, and exported nowhere."""
    start_tracing("tests", "tests", None)


@pytest.fixture(scope="session")
def face_models() -> Path:
    """The folder with the face pack lite, which `make setup` has fetched; fetched now where it has not."""
    return ensure_lite(models_folder()).parent


@pytest.fixture(scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("postgres"), free_port(), settings=_FORGETFUL)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
async def kafka_process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaServer]:
    """Topics are as other modules left them: ask for `kafka_server`."""
    server = KafkaServer(tmp_path_factory.mktemp("kafka"), free_port())
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="module")
async def kafka_server(kafka_process: KafkaServer) -> KafkaServer:
    """Without anything that other modules left: messages, settings, offsets, members of groups."""
    await start_anew(kafka_process.bootstrap)
    return kafka_process


@pytest.fixture(scope="session")
async def object_store_process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ObjectStoreServer]:
    """Its bucket is as other modules left it: ask for `object_store_server`."""
    server = ObjectStoreServer(tmp_path_factory.mktemp("object-store"), free_port(), "test-access", "test-secret-key")
    await server.start()
    await server.create_bucket(BUCKET)
    yield server
    await server.stop()


@pytest.fixture(scope="module")
async def object_store_server(object_store_process: ObjectStoreServer) -> ObjectStoreServer:
    """With an empty bucket: another module's photos of event 1 would be found in this one's."""
    await empty_bucket(object_store_process, BUCKET)
    return object_store_process


@pytest.fixture(scope="session")
async def databases(postgres_server: PostgresServer) -> TestDatabases:
    """Makes databases that are provisioned and migrated for every service."""
    return await TestDatabases.prepare(postgres_server.admin_dsn)


@pytest.fixture
async def database(databases: TestDatabases) -> AsyncIterator[TestDatabase]:
    """A database of its own for one test."""
    made = await databases.create()
    yield made
    await databases.drop(made)
