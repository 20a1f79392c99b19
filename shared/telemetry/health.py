"""Whether a process makes progress (live) and can do its work (ready)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from shared.telemetry import metrics

LOOP_TICK_SECONDS = 0.5
LOOP_BLOCKED_SECONDS = 15.0
CHECK_SECONDS = 2.0

Check = Callable[[], Awaitable[None]]
Stuck = Callable[[], list[str]]


@dataclass(slots=True)
class Health:
    """Collects what the parts of a process say of themselves.

    Live means "restarting would not help": the loop turns and what was taken gets done. It does not ask whether
    Kafka or PostgreSQL answer, for a restart would not bring them back. Ready asks them, each within 2 seconds.
    """

    stuck: list[Stuck] = field(default_factory=list)
    checks: dict[str, Check] = field(default_factory=dict)
    details: Callable[[], Any] = lambda: None
    draining: bool = False
    _ticked_at: float = field(default_factory=time.monotonic)

    async def watch_loop(self) -> None:
        """Measure how late the event loop wakes; ends only by cancellation."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOP_TICK_SECONDS)
            self._ticked_at = time.monotonic()
            metrics.event_loop_delay_seconds.set(max(self._ticked_at - before - LOOP_TICK_SECONDS, 0.0))

    def live(self) -> tuple[bool, dict[str, Any]]:
        reasons = [reason for stuck in self.stuck for reason in stuck()]
        late_seconds = time.monotonic() - self._ticked_at
        if late_seconds > LOOP_BLOCKED_SECONDS:
            reasons.append(f"the event loop did not turn for {late_seconds:.0f} s")
        return not reasons, {"status": "stuck" if reasons else "live", "reasons": reasons}

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        if self.draining:
            return False, {"status": "draining"}
        names = list(self.checks)
        outcomes = await asyncio.gather(*(self._check(self.checks[name]) for name in names))
        checks = dict(zip(names, outcomes, strict=True))
        is_ready = all(outcome == "ok" for outcome in outcomes)
        return is_ready, {"status": "ready" if is_ready else "not ready", "checks": checks, "details": self.details()}

    @staticmethod
    async def _check(check: Check) -> str:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await check()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "ok"
