"""Passwords and keys of one stack, made at its first start and kept in a file that only its owner may read."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.local.processes import write_private

SUPERADMIN_EMAIL = "superadmin@example.com"


@dataclass(frozen=True)
class StackSecrets:
    """`role_passwords` holds one password per database schema."""

    postgres_admin_password: str
    role_passwords: dict[str, str]
    s3_access_key: str
    s3_secret_key: str
    webhook_token: str
    signing_key: str
    selfie_key: str
    superadmin_email: str
    superadmin_password: str


def load_secrets(path: Path, schemas: Iterable[str]) -> StackSecrets:
    """Read the secrets of a stack, making what is missing: all of them at first, a new schema's password later."""
    known = json.loads(path.read_text()) if path.exists() else {}
    roles = known.get("role_passwords", {})
    loaded = StackSecrets(
        postgres_admin_password=known.get("postgres_admin_password") or _random(),
        role_passwords={schema: roles.get(schema) or _random() for schema in schemas},
        s3_access_key=known.get("s3_access_key") or f"mediabus{secrets.token_hex(6)}",
        s3_secret_key=known.get("s3_secret_key") or _random(),
        webhook_token=known.get("webhook_token") or _random(),
        signing_key=known.get("signing_key") or secrets.token_urlsafe(48),
        selfie_key=known.get("selfie_key") or secrets.token_hex(32),
        superadmin_email=known.get("superadmin_email") or SUPERADMIN_EMAIL,
        superadmin_password=known.get("superadmin_password") or _random(),
    )
    if asdict(loaded) != known:
        write_private(path, json.dumps(asdict(loaded), indent=2))
    return loaded


def _random() -> str:
    return secrets.token_urlsafe(24)
