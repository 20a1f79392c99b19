"""The whole stack in one list: servers, the steps that prepare them, and the services with their settings."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.bucket_notifications import webhook_environment
from deploy.local.face_models import models_folder
from deploy.local.stack_folder import StackFolder
from deploy.local.stack_secrets import StackSecrets
from shared.db.schemas import SCHEMAS, role_of

DATABASE = "mediabus"
BUCKET = "mediabus"
REGION = "us-east-1"

POSTGRES = "postgres"
KAFKA = "kafka"
OBJECT_STORE = "object-store"
JAEGER = "jaeger"
INGEST_API = "ingest-api"
FACE_EMBEDDER = "face-embedder"
DEFAULT_PACK = "lite"


@dataclass(frozen=True)
class Site:
    """Where everything of one running stack is: folder, ports by part, secrets."""

    folder: StackFolder
    ports: Mapping[str, int]
    secrets: StackSecrets
    otlp_endpoint: str | None = None

    @property
    def kafka_bootstrap(self) -> str:
        return f"127.0.0.1:{self.ports[KAFKA]}"

    @property
    def s3_endpoint(self) -> str:
        return self.url(OBJECT_STORE)

    def notifications(self, queue_folder: Path) -> dict[str, str]:
        """What the store needs to tell ingest-api of the bucket, where the stack has one."""
        if INGEST_API not in self.ports:
            return {}
        return webhook_environment(f"{self.url(INGEST_API)}/webhooks/minio", self.secrets.webhook_token, queue_folder)

    def url(self, part: str) -> str:
        return f"http://127.0.0.1:{self.ports[part]}"

    def dsn(self, user: str, password: str) -> str:
        """The address of the database; our passwords need no quoting."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.ports[POSTGRES]}/{DATABASE}"

    def admin_dsn(self) -> str:
        return self.dsn("postgres", self.secrets.postgres_admin_password)

    def service_dsn(self, service: str) -> str:
        schema = SCHEMAS[service]
        return self.dsn(role_of(schema), self.secrets.role_passwords[schema])


Environment = Callable[[Site], Mapping[str, str]]


def python(*arguments: str) -> tuple[str, ...]:
    """A command of our own Python."""
    return (sys.executable, *arguments)


@dataclass(frozen=True)
class Step:
    """A command that prepares something at every start and must end with exit code 0.

    It runs as soon as the servers and steps named in `after` are there, beside the others.
    """

    name: str
    command: tuple[str, ...]
    environment: Environment
    after: tuple[str, ...]


@dataclass(frozen=True)
class Service:
    """A program that serves /health/ready on the port of its name and runs until it is told to stop.

    Services of a higher `stage` stop before those of a lower one. A `niceness` above 0 leaves the processor to those
    that somebody waits for.
    """

    name: str
    command: tuple[str, ...]
    environment: Environment
    stage: int = 1
    niceness: int = 0


@dataclass(frozen=True)
class Topology:
    """The parts of a stack in the order of their start; they stop the other way round."""

    servers: tuple[str, ...]
    steps: tuple[Step, ...]
    services: tuple[Service, ...]

    def port_names(self) -> list[str]:
        """Every port the stack needs, by name."""
        further = {
            KAFKA: ["kafka-controller"],
            OBJECT_STORE: ["object-store-metrics"],
            JAEGER: ["jaeger-otlp", "jaeger-otlp-grpc", "jaeger-query-grpc", "jaeger-admin"],
        }
        servers = [name for server in self.servers for name in (server, *further.get(server, []))]
        return servers + [service.name for service in self.services]


def _provisioning(site: Site) -> dict[str, str]:
    return {
        "MEDIABUS_ADMIN_DSN": site.admin_dsn(),
        "MEDIABUS_ROLE_PASSWORDS_FILE": str(site.folder.role_passwords),
    }


def _database_of(service: str) -> Environment:
    return lambda site: {"MEDIABUS_POSTGRES_DSN": site.service_dsn(service)}


def _service(service: str) -> Environment:
    def environment(site: Site) -> dict[str, str]:
        variables = {
            "MEDIABUS_POSTGRES_DSN": site.service_dsn(service),
            "MEDIABUS_KAFKA_BOOTSTRAP": site.kafka_bootstrap,
            "MEDIABUS_MEDIA_ROOT": str(site.folder.media),
            "MEDIABUS_S3_ENDPOINT": site.s3_endpoint,
            "MEDIABUS_S3_REGION": REGION,
            "MEDIABUS_S3_BUCKET": BUCKET,
            "MEDIABUS_S3_ACCESS_KEY": site.secrets.s3_access_key,
            "MEDIABUS_S3_SECRET_KEY": site.secrets.s3_secret_key,
            "MEDIABUS_HTTP_HOST": "127.0.0.1",
            "MEDIABUS_HTTP_PORT": str(site.ports[service]),
        }
        if site.otlp_endpoint is not None:
            variables["MEDIABUS_OTLP_ENDPOINT"] = site.otlp_endpoint
        return variables

    return environment


def _ingest_api(site: Site) -> dict[str, str]:
    traces = {"MEDIABUS_JAEGER_URL": site.url(JAEGER)} if JAEGER in site.ports else {}
    return {
        **traces,
        **_service("ingest-api")(site),
        "MEDIABUS_SIGNING_KEY": site.secrets.signing_key,
        "MEDIABUS_SELFIE_KEY": site.secrets.selfie_key,
        "MEDIABUS_WEBHOOK_TOKEN": site.secrets.webhook_token,
    }


def _face_models() -> Path:
    """The caller's folder of face packs, or that of `make setup`."""
    return Path(os.environ.get("MEDIABUS_FACE_MODELS_FOLDER") or models_folder())


def _face_embedder(site: Site) -> dict[str, str]:
    return {
        **_service(FACE_EMBEDDER)(site),
        "MEDIABUS_SELFIE_KEY": site.secrets.selfie_key,
        "MEDIABUS_FACE_MODELS_FOLDER": str(_face_models()),
    }


def _cleanup_scheduler(site: Site) -> dict[str, str]:
    absent = sorted(set(SCHEMAS) - set(site.ports))
    return {**_service("cleanup-scheduler")(site), "MEDIABUS_ABSENT_SERVICES": json.dumps(absent)}


def _first_superadmin(site: Site) -> dict[str, str]:
    return {
        **_database_of("ingest-api")(site),
        "MEDIABUS_SUPERADMIN_EMAIL": site.secrets.superadmin_email,
        "MEDIABUS_SUPERADMIN_PASSWORD": site.secrets.superadmin_password,
    }


def _migrations(service: str) -> Step:
    return Step(
        name=f"migrate-{service}",
        command=python("-m", "shared.db.migrations", service),
        environment=_database_of(service),
        after=("provision",),
    )


SERVICES = (
    # Rendering takes every processor it can get; niced, it leaves the API its share.
    Service("image-processor", python("-m", "image_processor.app"), _service("image-processor"), stage=1, niceness=10),
    # Its copies wait for nobody's answer.
    Service("s3-syncer", python("-m", "s3_syncer.app"), _service("s3-syncer"), stage=1, niceness=5),
    Service("reconciler", python("-m", "reconciler.app"), _service("reconciler"), stage=1, niceness=5),
    # Photos wait for nobody's answer; somebody who searches waits for one selfie.
    Service(FACE_EMBEDDER, python("-m", "face_embedder.app"), _face_embedder, stage=1, niceness=10),
    Service("cleanup-scheduler", python("-m", "cleanup_scheduler.app"), _cleanup_scheduler, stage=1),
    Service("ingest-api", python("-m", "ingest_api.app"), _ingest_api, stage=2),
)

STEPS = (
    Step("provision", python("-m", "shared.db.provision"), _provisioning, after=(POSTGRES,)),
    *(_migrations(service.name) for service in SERVICES),
    Step(
        "create-topics",
        python("-m", "shared.messaging.topics", "create"),
        lambda site: {"MEDIABUS_KAFKA_BOOTSTRAP": site.kafka_bootstrap},
        after=(KAFKA,),
    ),
    Step(
        "first-superadmin",
        python("-m", "ingest_api.bootstrap_superadmin"),
        _first_superadmin,
        after=("migrate-ingest-api",),
    ),
)


def has_face_models() -> bool:
    """Whether face-embedder can run: its models come from the internet, and a machine without has the rest.

    Whoever names a pack is told by the service itself what is missing.
    """
    is_named = any(os.environ.get(f"MEDIABUS_FACE_{name}") for name in ("PACK", "PACK_FOLDER", "MODELS_FOLDER"))
    return is_named or (models_folder() / DEFAULT_PACK).is_dir()


def configured_topology() -> Topology:
    """All of Mediabus; with Jaeger when MEDIABUS_JAEGER_BINARY names its program, without faces where no models are."""
    tracing = (JAEGER,) if os.environ.get("MEDIABUS_JAEGER_BINARY") else ()
    services = tuple(service for service in SERVICES if service.name != FACE_EMBEDDER or has_face_models())
    return Topology(servers=(POSTGRES, KAFKA, OBJECT_STORE, *tracing), steps=STEPS, services=services)
