"""stack.json: what a running stack tells scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping

from deploy.local.processes import write_private
from deploy.local.topology import BUCKET, DATABASE, JAEGER, KAFKA, OBJECT_STORE, POSTGRES, REGION, Site


def write_stack_file(site: Site, service_pids: Mapping[str, int]) -> None:
    """Write where everything of the stack is; only the owner may read it, because it holds passwords."""
    facts = json.dumps(stack_facts(site, service_pids), indent=2)
    # It goes when the stack ends, however it ends.
    write_private(site.folder.stack_file, facts + "\n", is_durable=False)


def stack_facts(site: Site, service_pids: Mapping[str, int]) -> dict[str, object]:
    """The content of stack.json; parts that the stack does not have are null."""
    secrets = site.secrets
    return {
        "baseUrl": site.url("ingest-api") if "ingest-api" in service_pids else None,
        "superadmin": {"email": secrets.superadmin_email, "password": secrets.superadmin_password},
        "s3": {
            "endpoint": site.s3_endpoint,
            "accessKey": secrets.s3_access_key,
            "secretKey": secrets.s3_secret_key,
            "bucket": BUCKET,
            "region": REGION,
        }
        if OBJECT_STORE in site.ports
        else None,
        "kafka": {"bootstrap": site.kafka_bootstrap, "kind": "apache-kafka"} if KAFKA in site.ports else None,
        "postgres": {
            "host": "127.0.0.1",
            "port": site.ports[POSTGRES],
            "database": DATABASE,
            "user": "postgres",
            "password": secrets.postgres_admin_password,
        }
        if POSTGRES in site.ports
        else None,
        "jaeger": {"queryUrl": site.url(JAEGER) if JAEGER in site.ports else None},
        "mediaRoot": str(site.folder.media),
        "webhookToken": secrets.webhook_token,
        "services": {
            name: {
                "pid": pid,
                "metricsUrl": f"{site.url(name)}/metrics",
                "healthUrl": f"{site.url(name)}/health/ready",
            }
            for name, pid in service_pids.items()
        },
    }
