"""What a backup is taken of and restored into: a database, a bucket and a disk, by their addresses."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deploy.backup.errors import BackupError
from deploy.backup.manifest import BucketName
from deploy.local.stack_folder import StackFolder

DATA_KEYS = ("signing_key", "selfie_key", "superadmin_email", "superadmin_password")
"""Secrets without which what is restored is not what it was: addresses and receipts are signed with them."""


@dataclass(frozen=True)
class BucketAddress:
    endpoint: str
    region: str
    name: str
    access_key: str
    secret_key: str

    @property
    def public(self) -> BucketName:
        """Without the keys."""
        return BucketName(endpoint=self.endpoint, region=self.region, name=self.name)


@dataclass(frozen=True)
class Site:
    """`admin_dsn` is a superuser's; `bucket` is None where none is configured; `keys` are those of DATA_KEYS."""

    admin_dsn: str
    bucket: BucketAddress | None
    media_root: Path
    keys: Mapping[str, str]


def running_stack(folder: StackFolder) -> Site:
    """The embedded stack that runs in a folder. Raises BackupError where none does."""
    if folder.supervisor_pid() is None or not folder.stack_file.exists():
        raise BackupError(f"no stack is ready in {folder.root}: start it with `make stack-start`")
    facts: dict[str, Any] = json.loads(folder.stack_file.read_text())
    known: dict[str, Any] = json.loads(folder.secrets.read_text())
    database, store = facts["postgres"], facts["s3"]
    login = f"{quote(database['user'], safe='')}:{quote(database['password'], safe='')}"
    return Site(
        admin_dsn=f"postgresql://{login}@{database['host']}:{database['port']}/{database['database']}",
        bucket=BucketAddress(
            store["endpoint"], store["region"], store["bucket"], store["accessKey"], store["secretKey"]
        ),
        media_root=Path(facts["mediaRoot"]),
        keys={name: known[name] for name in DATA_KEYS},
    )


def site_of_environment(environment: Mapping[str, str] = os.environ) -> Site:
    """Any other installation, by the variables that its services have and the superuser's MEDIABUS_ADMIN_DSN.

    Raises BackupError naming the variable that is missing.
    """

    def variable(name: str) -> str:
        if not (value := environment.get(f"MEDIABUS_{name}")):
            raise BackupError(f"MEDIABUS_{name} is not set; see deploy/README.md for what a backup needs")
        return value

    bucket = None
    if environment.get("MEDIABUS_S3_ENDPOINT"):
        bucket = BucketAddress(
            variable("S3_ENDPOINT"),
            environment.get("MEDIABUS_S3_REGION", "us-east-1"),
            environment.get("MEDIABUS_S3_BUCKET", "mediabus"),
            variable("S3_ACCESS_KEY"),
            variable("S3_SECRET_KEY"),
        )
    return Site(variable("ADMIN_DSN"), bucket, Path(variable("MEDIA_ROOT")), keys={})
