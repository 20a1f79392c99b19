"""Names of the Kafka headers that the kernel adds to a CloudEvent."""

from __future__ import annotations

ATTEMPT = "mb_attempt"
"""Which attempt a delivery is, from 1. Absent means 1."""

POSTPONED = "mb_postponed"
"""How often a delivery was postponed without using up an attempt. Absent means 0."""

ORIGIN_TOPIC = "mb_origin_topic"
ORIGIN_PARTITION = "mb_origin_partition"
ORIGIN_OFFSET = "mb_origin_offset"

ORIGIN_KEY = "mb_origin_key"
"""The original key of a dead letter, whose own key is its id."""

ERROR_CODE = "mb_error_code"
ERROR_DETAIL = "mb_error_detail"
DEAD_LETTERED_AT = "mb_dead_lettered_at"
CONSUMER = "mb_consumer"
TRACE_ID = "mb_trace_id"

REPLAY = "mb_replay"
"""Set when a person sends a dead letter back: a new claim in the inbox, so the replay is not taken for a duplicate."""

REPLAY_OF = "mb_replay_of"
"""Beside it, the id of the letter that was sent back: what is given up again names the letter it was."""

SETTLED = "mb_settled"
"""In a dead-letter topic: the record is no letter, it says what a person decided about the one with its key."""

SETTLED_AT = "mb_settled_at"

KERNEL_HEADERS = frozenset(
    {
        ATTEMPT,
        POSTPONED,
        ORIGIN_TOPIC,
        ORIGIN_PARTITION,
        ORIGIN_OFFSET,
        ORIGIN_KEY,
        ERROR_CODE,
        ERROR_DETAIL,
        DEAD_LETTERED_AT,
        CONSUMER,
        TRACE_ID,
        REPLAY,
        REPLAY_OF,
        SETTLED,
        SETTLED_AT,
    }
)

TEXT_LIMIT_CHARACTERS = 2_000
"""Longer reasons are cut: a header is no place for a stack trace."""
