"""Structured logs: one JSON object a line on standard output, with the trace it belongs to."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from opentelemetry import trace

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """`extra` fields of a record become fields of the object."""

    def __init__(self, service: str, instance: str) -> None:
        super().__init__()
        self._fixed = {"service": service, "instance": instance}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._fixed,
        }
        span_context = trace.get_current_span().get_span_context()
        if span_context.is_valid:
            line["trace_id"] = f"{span_context.trace_id:032x}"
            line["span_id"] = f"{span_context.span_id:016x}"
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD_ATTRIBUTES}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class RepetitionFilter(logging.Filter):
    """Lets a template of a noisy logger through once in `every_seconds`, and says how often it was held back.

    aiokafka logs thousands of lines a minute while a broker is away; the first of each kind says it all.
    """

    def __init__(self, every_seconds: float = 10.0) -> None:
        super().__init__()
        self._every_seconds = every_seconds
        self._last: dict[tuple[str, str], float] = {}
        self._held_back: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.name, str(record.msg)[:60])
        now = time.monotonic()
        if now - self._last.get(kind, float("-inf")) < self._every_seconds:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return False
        self._last[kind] = now
        repeated = self._held_back.pop(kind, 0)
        if repeated:
            record.repeated = repeated
        return True


QUIETER: Mapping[str, int] = {
    "aiokafka.consumer.group_coordinator": logging.WARNING,
    "aiokafka.consumer.subscription_state": logging.WARNING,
    "botocore": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    "shared.messaging.faststream": logging.ERROR,
}


def start_logging(service: str, instance: str, level: str) -> None:
    """Send every logger's records to standard output as JSON lines."""
    output = logging.StreamHandler(sys.stdout)
    output.setFormatter(JsonFormatter(service, instance))
    repetition = RepetitionFilter()
    output.addFilter(lambda record: not record.name.startswith("aiokafka") or repetition.filter(record))
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel(level.upper())
    for name, quieter in QUIETER.items():
        logging.getLogger(name).setLevel(quieter)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True
