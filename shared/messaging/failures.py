"""Messages that failed, on their way to a retry or to the dead letters."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.messaging import headers as names
from shared.messaging.delivery import Delivery
from shared.messaging.plain_text import read_text
from shared.messaging.retry import DeadLetter, Decision, Failure, Postpone, Retry
from shared.messaging.topics import dead_letter_topic, retry_topic
from shared.outbox.outgoing import OutgoingMessage
from shared.telemetry.tracing import current_trace_id


def follow_up(delivery: Delivery, decision: Decision, service: str) -> OutgoingMessage:
    """The outbox row that carries out a decision: original bytes, key and headers, plus what happened.

    Key and headers travel as text: what of them is no UTF-8 is replaced.
    """
    headers = {
        **delivery.headers,
        names.ORIGIN_TOPIC: delivery.topic,
        names.ORIGIN_PARTITION: str(delivery.partition),
        names.ORIGIN_OFFSET: str(delivery.offset),
        names.CONSUMER: delivery.consumer,
        **_reason(decision.failure),
    }
    # The relay continues the trace of the failed attempt; a stale parent must not travel beside it.
    headers.pop("traceparent", None)
    headers.pop("tracestate", None)
    trace_id = current_trace_id()
    if trace_id:
        headers[names.TRACE_ID] = trace_id
    delay_seconds: float | None = None
    key = read_text(delivery.key)
    match decision:
        case Retry():
            topic = retry_topic(service).name
            headers[names.ATTEMPT] = str(decision.next_attempt)
            headers.pop(names.POSTPONED, None)
            delay_seconds = decision.delay_seconds
        case Postpone():
            topic = retry_topic(service).name
            headers[names.ATTEMPT] = str(decision.failure.attempt)
            headers[names.POSTPONED] = str(decision.postponed)
            delay_seconds = decision.delay_seconds
        case DeadLetter():
            topic = dead_letter_topic(service).name
            headers[names.ATTEMPT] = str(decision.failure.attempt)
            headers[names.DEAD_LETTERED_AT] = datetime.now(UTC).isoformat()
            headers[names.ORIGIN_KEY] = key
            key = delivery.letter_id
    return OutgoingMessage(topic, key, headers, delivery.payload, delay_seconds)


def _reason(failure: Failure) -> dict[str, str]:
    return {
        names.ERROR_CODE: failure.code,
        names.ERROR_DETAIL: failure.detail[: names.TEXT_LIMIT_CHARACTERS],
    }


def claim_suffix(decision: Decision) -> str:
    """What the inbox claim of a follow-up is called beside the delivery's own.

    A dead letter takes the delivery's own claim, so that a message ends once: handled, or dead. Each retry has a claim
    of its own, so that a delivery which fails twice at once is still retried once.
    """
    match decision:
        case Retry():
            return f"~attempt{decision.next_attempt}"
        case Postpone():
            return f"~attempt{decision.failure.attempt}.{decision.postponed}"
        case DeadLetter():
            return ""
