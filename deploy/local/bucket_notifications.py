"""How an embedded store tells of its bucket: MinIO's own settings, for the gateway and for MinIO itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from shared.messaging.topics import BUCKET_EVENTS

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import NotificationConfigurationTypeDef

FAST = "FAST"
DURABLE = "DURABLE"
QUEUED_EVENTS = 1_000_000
TARGETS_SECONDS = 30.0
"""MinIO answers before it has set up its targets, which it does not know until then."""
AGAIN_SECONDS = 0.2


def webhook_environment(endpoint: str, token: str, queue_folder: Path) -> dict[str, str]:
    """Two targets with one receiver.

    FAST tells at once and forgets what the receiver did not take. DURABLE keeps each event on disk until it was taken,
    however long the receiver is away, and is up to 3 seconds late. Whoever reads drops the second of each pair.
    """
    settings: dict[str, str] = {}
    for target in (FAST, DURABLE):
        settings |= {
            f"MINIO_NOTIFY_WEBHOOK_ENABLE_{target}": "on",
            f"MINIO_NOTIFY_WEBHOOK_ENDPOINT_{target}": endpoint,
            f"MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_{target}": token,
        }
    return settings | {
        f"MINIO_NOTIFY_WEBHOOK_QUEUE_DIR_{DURABLE}": str(queue_folder),
        f"MINIO_NOTIFY_WEBHOOK_QUEUE_LIMIT_{DURABLE}": str(QUEUED_EVENTS),
    }


def webhook_and_kafka_environment(endpoint: str, token: str, bootstrap: str, queue_folder: Path) -> dict[str, str]:
    """As in compose.yaml: FAST tells a webhook, DURABLE writes into the topic; MinIO itself is needed for that."""
    return {
        f"MINIO_NOTIFY_WEBHOOK_ENABLE_{FAST}": "on",
        f"MINIO_NOTIFY_WEBHOOK_ENDPOINT_{FAST}": endpoint,
        f"MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_{FAST}": token,
        f"MINIO_NOTIFY_KAFKA_ENABLE_{DURABLE}": "on",
        f"MINIO_NOTIFY_KAFKA_BROKERS_{DURABLE}": bootstrap,
        f"MINIO_NOTIFY_KAFKA_TOPIC_{DURABLE}": BUCKET_EVENTS.name,
        f"MINIO_NOTIFY_KAFKA_QUEUE_DIR_{DURABLE}": str(queue_folder),
        f"MINIO_NOTIFY_KAFKA_QUEUE_LIMIT_{DURABLE}": str(QUEUED_EVENTS),
        # The answer to a PUT waits until FAST has tried and DURABLE has the event on disk.
        "MINIO_API_SYNC_EVENTS": "on",
    }


async def send_notifications(client: S3Client, bucket: str, region: str, *targets: tuple[str, str]) -> None:
    """Have the bucket told of to targets, each a name and a kind such as `webhook`; what was set before is replaced.

    The receivers need not be there yet. Raises ClientError for targets that the store does not know.
    """
    from botocore.exceptions import ClientError

    wanted: NotificationConfigurationTypeDef = {
        "QueueConfigurations": [
            {
                "QueueArn": f"arn:minio:sqs:{region}:{name}:{kind}",
                "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
            }
            for name, kind in targets
        ]
    }
    deadline = asyncio.get_running_loop().time() + TARGETS_SECONDS
    while True:
        try:
            await client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=wanted)
        except ClientError as error:
            is_unknown = error.response["Error"]["Code"] == "InvalidArgument"
            if not is_unknown or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            return
