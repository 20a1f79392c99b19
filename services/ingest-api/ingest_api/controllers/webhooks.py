"""What other systems post, each with a token of its own."""

from __future__ import annotations

from typing import Any

from litestar import Controller, MediaType, Request, Response, post
from litestar.di import NamedDependency

from ingest_api.authentication import OWN_TOKEN
from ingest_api.bucket_webhook import MOST_SKIPPED_BYTES, BucketWebhook
from ingest_api.problem_details import Problem
from ingest_api.request_body import ClientDisconnected, Patience, RequestBody
from ingest_api.settings import IngestSettings
from ingest_api.upload_operation import NotificationOperation


class WebhookController(Controller):
    """Notifications in."""

    path = "/webhooks"
    tags = ("Webhooks",)

    @post(
        "/minio",
        summary="Take a bucket notification",
        status_code=200,
        request_max_body_size=None,
        opt={OWN_TOKEN: True},
        security=[{"webhookToken": []}],
        operation_class=NotificationOperation,
    )
    async def minio(
        self,
        request: Request[Any, Any, Any],
        bucket_webhook: NamedDependency[BucketWebhook],
        settings: NamedDependency[IngestSettings],
    ) -> Response[bytes]:
        """MinIO's own notification, or Amazon's, with the webhook's token as a bearer token.

        200 once what it tells is stored, and for everything else that bears the token too: a refusal would have the
        store send the same again and again, and nothing after it. 503 while it can't be stored.
        """
        bucket_webhook.admit(request.headers.get("authorization"))
        patience = Patience(settings.upload_idle_seconds, settings.upload_slowest_bytes_per_second)
        try:
            await bucket_webhook.take(RequestBody(request.receive, patience, 2 * MOST_SKIPPED_BYTES))
        except ClientDisconnected as error:
            raise Problem(400, "bad_request", "The notification ended before its body did.") from error
        return Response(b"", status_code=200, media_type=MediaType.TEXT)
