"""What the pages of operations reckon from what is known, without I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ingest_api.payload_preview import PayloadPreview
from ingest_api.repositories.audit import AuditEntry
from ingest_api.service_overview import ServiceOverview
from shared.events import ScheduleRunStatus
from shared.messaging.headers import KERNEL_HEADERS

RUN_KINDS: Final = {
    ScheduleRunStatus.WAITING_FOR_APPROVAL: "busy",
    ScheduleRunStatus.RUNNING: "accent",
    ScheduleRunStatus.DONE: "good",
    ScheduleRunStatus.FAILED: "bad",
    ScheduleRunStatus.OPEN: "busy",
    ScheduleRunStatus.SKIPPED: "",
    ScheduleRunStatus.REFUSED: "",
}
"""By how a run stands, the kind of its chip."""

Standing = Literal["ready", "degraded", "not_ready", "not_seen"]
STANDING_KINDS: Final[Mapping[Standing, str]] = {
    "ready": "good",
    "degraded": "busy",
    "not_ready": "bad",
    "not_seen": "bad",
}


@dataclass(frozen=True, slots=True)
class Totals:
    """Of the whole system. `outbox_waiting` counts the services that are known of."""

    ready: int
    services: int
    lag_messages: int
    outbox_waiting: int
    open_dead_letters: int

    @classmethod
    def of(cls, services: Sequence[ServiceOverview]) -> Totals:
        return cls(
            sum(one.status == "ready" for one in services),
            len(services),
            sum(sum(one.lag_messages.values()) for one in services),
            sum(one.outbox_waiting or 0 for one in services),
            sum(one.open_dead_letters for one in services),
        )


def behind(lag_messages: Mapping[str, int]) -> list[tuple[str, int]]:
    """Topics with something that is not done, the longest first."""
    return sorted(((topic, count) for topic, count in lag_messages.items() if count), key=lambda one: (-one[1], one[0]))


def readable(payload: PayloadPreview) -> str:
    """JSON in lines where it is whole; everything else as it came."""
    if payload.format != "json" or payload.is_cut:
        return payload.content
    return json.dumps(json.loads(payload.content), indent=2, ensure_ascii=False)


def original_headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Without those that the kernel added: the page tells what they say."""
    return sorted((name, value) for name, value in headers.items() if name not in KERNEL_HEADERS)


def details(entry: AuditEntry) -> list[tuple[str, str]]:
    """What an entry says beside its subject, as names and short values; of what was changed, from what to what."""
    before, after = entry.detail.get("before", {}), entry.detail.get("after", {})
    changed = [(name, f"{_short(before.get(name))} → {_short(value)}") for name, value in after.items()]
    plain = {name: value for name, value in entry.detail.items() if name not in ("before", "after", "changes")}
    shown = entry.detail.get("changes") or plain
    flat: dict[str, Any] = {}
    for name, value in shown.items():
        flat |= {f"{name}.{part}": one for part, one in value.items()} if isinstance(value, dict) else {name: value}
    return [(name, _short(value)) for name, value in flat.items() if value is not None] + changed


LONGEST_VALUE_CHARACTERS: Final = 80


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE_CHARACTERS else f"{text[:LONGEST_VALUE_CHARACTERS]}…"
