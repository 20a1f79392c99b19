"""Which service owns which schema, and under which role."""

from __future__ import annotations

SCHEMAS: dict[str, str] = {
    "ingest-api": "ingest",
    "image-processor": "imaging",
    "s3-syncer": "sync",
    "face-embedder": "faces",
    "reconciler": "reconcile",
    "cleanup-scheduler": "cleanup",
}
"""Service name to schema. A service's role has rights on this schema alone."""


def role_of(schema: str) -> str:
    return f"mediabus_{schema}"
