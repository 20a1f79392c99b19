"""Make the secrets of the containers' deployment: `python3 -m deploy.compose [FOLDER]`, by the standard library alone.

Everything random is made once and kept in FOLDER/secrets.json; the files that compose.yaml reads are written from it at
every call, so a new service's password appears and what exists stays.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from shared.db.schemas import SCHEMAS, role_of

DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / ".mediabus-compose"
SERVICES = ("ingest-api", "image-processor", "s3-syncer", "reconciler", "face-embedder", "cleanup-scheduler")
SUPERADMIN_EMAIL = "superadmin@example.com"
OWNER_ONLY = 0o600
ROLE_PASSWORDS = "role-passwords.json"


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    write_secrets(folder, os.environ.get("MEDIABUS_SUPERADMIN_EMAIL") or SUPERADMIN_EMAIL)
    print(f"secrets are in {folder}; the superadmin's password is in {folder / 'superadmin.env'}")


def write_secrets(folder: Path, superadmin_email: str) -> None:
    """Make what is missing and write every file anew; the e-mail address counts only the first time."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    kept = folder / "secrets.json"
    known: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    made = _completed(known, superadmin_email)
    _write(kept, json.dumps(made, indent=2) + "\n")
    passwords = {schema: made[f"password_{schema}"] for schema in SCHEMAS.values()}
    # The one file that a container's own user reads: open to all in a folder that nobody else on this machine enters.
    _write(folder / ROLE_PASSWORDS, json.dumps(passwords) + "\n", mode=0o444)
    for name, variables in _environments(made).items():
        _write(folder / f"{name}.env", "".join(f"{key}={value}\n" for key, value in variables.items()))


def _completed(known: Mapping[str, str], superadmin_email: str) -> dict[str, str]:
    random = [f"password_{schema}" for schema in SCHEMAS.values()]
    random += ["postgres", "minio", "s3_secret_key", "webhook_token", "signing_key", "superadmin", "grafana"]
    fresh = {name: secrets.token_urlsafe(36) for name in random}
    fresh["selfie_key"] = secrets.token_hex(32)
    # Kafka's tools take an identifier that begins with a dash for an option.
    fresh["kafka_cluster_id"] = f"M{secrets.token_urlsafe(16)[1:]}"
    fresh["s3_access_key"] = f"mediabus{secrets.token_hex(6)}"
    fresh["superadmin_email"] = superadmin_email
    return {**fresh, **known}


def _environments(made: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The variables of each env file."""
    store = {"MEDIABUS_S3_ACCESS_KEY": made["s3_access_key"], "MEDIABUS_S3_SECRET_KEY": made["s3_secret_key"]}
    root = {"MINIO_ROOT_USER": "mediabus-root", "MINIO_ROOT_PASSWORD": made["minio"]}
    services = {service: {"MEDIABUS_POSTGRES_DSN": _service_dsn(service, made), **store} for service in SERVICES}
    services["ingest-api"]["MEDIABUS_SIGNING_KEY"] = made["signing_key"]
    services["ingest-api"]["MEDIABUS_WEBHOOK_TOKEN"] = made["webhook_token"]
    for service in ("ingest-api", "face-embedder"):
        services[service]["MEDIABUS_SELFIE_KEY"] = made["selfie_key"]
    return {
        **services,
        "postgres": {"POSTGRES_PASSWORD": made["postgres"]},
        "provision": {"MEDIABUS_ADMIN_DSN": _dsn("postgres", made["postgres"])},
        "superadmin": {
            "MEDIABUS_POSTGRES_DSN": _service_dsn("ingest-api", made),
            "MEDIABUS_SUPERADMIN_EMAIL": made["superadmin_email"],
            "MEDIABUS_SUPERADMIN_PASSWORD": made["superadmin"],
        },
        "kafka": {"CLUSTER_ID": made["kafka_cluster_id"]},
        "minio": {**root, "MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_FAST": made["webhook_token"]},
        "bucket": {**root, **store},
        "grafana": {"GF_SECURITY_ADMIN_PASSWORD": made["grafana"]},
    }


def _service_dsn(service: str, made: Mapping[str, str]) -> str:
    schema = SCHEMAS[service]
    return _dsn(role_of(schema), made[f"password_{schema}"])


def _dsn(user: str, password: str) -> str:
    return f"postgresql://{user}:{quote(password, safe='')}@postgres:5432/mediabus"


def _write(path: Path, text: str, mode: int = OWNER_ONLY) -> None:
    """Replace a file in one step; it has its mode from the start."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
    unfinished.replace(path)


if __name__ == "__main__":
    main()
