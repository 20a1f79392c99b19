"""The FastStream broker of a service: one producer and the subscribers' clients."""

from __future__ import annotations

import logging
from typing import Any

from aiokafka import AIOKafkaProducer
from faststream.kafka import KafkaBroker
from faststream.kafka.publisher.producer import AioKafkaFastProducerImpl

REQUEST_TIMEOUT_MS = 15_000
"""After so long the producer gives a message up, and its error says why."""

LARGEST_REQUEST_BYTES = 2 * 2**20
"""Of the producer. A retry or a dead letter is a message and what happened to it, so their topics take more."""


def kafka_broker(
    bootstrap_servers: str, *, client_id: str, drain_seconds: float, logger: logging.Logger | None
) -> KafkaBroker:
    """A broker that is not connected yet.

    Its producer is not idempotent, on purpose: after one batch that the broker refused, or that expired without a
    leader, aiokafka's goes on with a gap in its sequence numbers and the broker refuses that partition for ever; and it
    never gives a batch up, so every new try of the relay during an outage would be sent once more at its end. Order
    needs no sequence numbers: one batch per partition is under way, and the relay waits for each message of a key.
    Copies are what consumers have their inbox for.
    """
    broker = KafkaBroker(
        bootstrap_servers,
        client_id=client_id,
        acks="all",
        enable_idempotence=False,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        max_request_size=LARGEST_REQUEST_BYTES,
        allow_auto_create_topics=False,
        apply_types=False,
        graceful_timeout=drain_seconds,
        logger=logger,
    )
    broker.config.broker_config.producer = _Producer(parser=None, decoder=None)
    return broker


class _Producer(AioKafkaFastProducerImpl):
    """FastStream's own forgets a client that could not be started, and that complains that nobody closed it."""

    async def connect(self, producer: AIOKafkaProducer, serializer: Any, codec: Any = None) -> None:
        try:
            await super().connect(producer, serializer, codec)
        except BaseException:
            await producer.stop()
            raise
