"""What the store posts about the bucket: admitted by a token of its own, in the outbox before it is answered."""

from __future__ import annotations

import hashlib
import hmac
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import SecretStr

from ingest_api.problem_details import Problem
from ingest_api.request_body import RequestBody
from shared.db.unit_of_work import UnitOfWork, claim
from shared.events import Envelope
from shared.events.bucket_notifications import Notice, read_notification
from shared.messaging.delivery import Delivery
from shared.messaging.failures import follow_up
from shared.messaging.retry import DeadLetter, Failure
from shared.messaging.topics import BUCKET_EVENTS
from shared.outbox.outgoing import OutgoingMessage, append
from shared.telemetry import metrics

log = logging.getLogger(__name__)

SERVICE: Final = "ingest-api"
LARGEST_BODY_BYTES: Final = 1024 * 1024
"""Of a body that is read; a notification has about one kibibyte."""

KEPT_OF_LARGER_BYTES: Final = 64 * 1024
MOST_SKIPPED_BYTES: Final = 16 * LARGEST_BODY_BYTES

MOST_REMEMBERED: Final = 20_000

_SOURCE: Final = "/webhooks/minio"
_NOWHERE: Final = -1
"""Partition and offset of what never was in the topic."""


@dataclass(frozen=True, slots=True)
class _Letter:
    """A body that can't be read, as the delivery that it would have been."""

    delivery: Delivery
    failure: Failure


class BucketWebhook:
    """Takes notifications in.

    The store sends one until it is taken and then the next, so a refusal would hold up all that follow for ever:
    whoever has the token is told yes, whatever is sent. What can't be read is kept as a dead letter.
    """

    def __init__(self, unit_of_work: UnitOfWork, token: SecretStr | None) -> None:
        """Without a token nobody is admitted."""
        self._unit_of_work = unit_of_work
        # The store tells everything twice, at once and from its queue. What is in the outbox already needs no second
        # row; what this forgets, or another replica has stored, the readers' inboxes know.
        self._stored: dict[uuid.UUID, None] = {}
        self._expected = None if token is None else f"Bearer {token.get_secret_value()}".encode()

    def admit(self, authorization: str | None) -> None:
        """Raises Problem 401 unless the header bears the token; how long that takes tells nothing about it."""
        given = (authorization or "").encode("utf-8", "replace")
        if self._expected is None or not hmac.compare_digest(given, self._expected):
            detail = "Send the webhook's own token as a bearer token: MEDIABUS_WEBHOOK_TOKEN of this service."
            raise Problem(401, "not_signed_in", detail, {"WWW-Authenticate": "Bearer"})

    async def take(self, body: RequestBody) -> None:
        """Return once everything in the body is in the outbox.

        Doing it twice is harmless: the same facts get the same ids. Raises InfrastructureUnavailable while PostgreSQL
        is away, and what reading the body raises.
        """
        content, is_whole = await _read(body)
        if not is_whole:
            detail = f"the body is larger than {LARGEST_BODY_BYTES} bytes; its beginning is kept"
            await self._store((), _letter(content[:KEPT_OF_LARGER_BYTES], detail))
            return
        notification = read_notification(content, "webhook")
        letter = None if notification.problem is None else _letter(content, notification.problem)
        if notification.ignored:
            metrics.bucket_notifications_total.labels("ignored").inc(notification.ignored)
        news = [notice for notice in notification.notices if notice.envelope.id not in self._stored]
        if repeated := len(notification.notices) - len(news):
            metrics.bucket_notifications_total.labels("repeated").inc(repeated)
        if news or letter:
            await self._store(news, letter)
            self._remember(news)

    def _remember(self, stored: Sequence[Notice]) -> None:
        """Only what has committed: before that a repetition is the only copy that may survive."""
        self._stored.update((notice.envelope.id, None) for notice in stored)
        while len(self._stored) > MOST_REMEMBERED:
            del self._stored[next(iter(self._stored))]

    async def _store(self, notices: Sequence[Notice], letter: _Letter | None) -> None:
        work = self._unit_of_work
        outgoing = [
            OutgoingMessage(
                notice.event.topic.name, notice.event.key(), notice.envelope.headers(), notice.event.payload()
            )
            for notice in notices
        ]
        async with work.database.connection() as connection, connection.transaction():
            # Claimed, so that what is posted again and again is one dead letter.
            if letter is not None and await claim(connection, letter.delivery):
                outgoing.append(follow_up(letter.delivery, DeadLetter(letter.failure), SERVICE))
            if outgoing:
                await append(connection, outgoing, work.schema)
        if notices:
            metrics.bucket_notifications_total.labels("stored").inc(len(notices))
        if letter is not None:
            metrics.bucket_notifications_total.labels("invalid").inc()
            log.error("a notification can't be read, see the dead letters", extra={"detail": letter.failure.detail})


def _letter(content: bytes, detail: str) -> _Letter:
    """Named by its bytes. A replay reads it as what MinIO's Kafka target would have written into the topic."""
    digest = hashlib.sha256(content).hexdigest()
    envelope = Envelope(
        id=uuid.uuid5(uuid.NAMESPACE_URL, f"{_SOURCE}\n{digest}"),
        type="unknown",
        source=_SOURCE,
        time=datetime.now(UTC),
    )
    delivery = Delivery(
        consumer=SERVICE,
        envelope=envelope,
        topic=BUCKET_EVENTS.name,
        partition=_NOWHERE,
        offset=_NOWHERE,
        key=None,
        headers={},
        payload=content,
        attempt=1,
    )
    return _Letter(delivery, Failure("notification_invalid", detail, 1))


async def _read(body: RequestBody) -> tuple[bytes, bool]:
    """What arrived, and whether it is all; of a body that is too large the rest is skipped within bounds."""
    content = bytearray()
    while chunk := await body.next_chunk():
        if len(content) <= LARGEST_BODY_BYTES:
            content += chunk
        if body.received_bytes > MOST_SKIPPED_BYTES:
            break
    return bytes(content), body.received_bytes <= LARGEST_BODY_BYTES
