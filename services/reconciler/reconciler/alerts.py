"""Telling people: what is worth an alert, and the channels by which it goes."""

from __future__ import annotations

import asyncio
import json
import logging
import smtplib
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import Any, Protocol
from uuid import UUID

import aiohttp

from reconciler.repositories.schedule import DueAlert, Schedule
from reconciler.runs import Run, Stage
from reconciler.settings import ReconcilerSettings
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.identifiers import new_id
from shared.messaging.retry import RetryPolicy

log = logging.getLogger(__name__)

SEND_SECONDS = 10.0
LOOK_EVERY_SECONDS = 2.0
RETRIES = RetryPolicy(attempts=8, first_delay_seconds=5.0, longest_delay_seconds=600.0, jitter=0)
_ENDED = {Stage.COMPLETED, Stage.FAILED, Stage.AWAITING_APPROVAL}


def subject_of(run: Run) -> str | None:
    """What people are told of a run that nobody asked for; None where all was well."""
    if run.requested_by is not None or run.decided_by is not None or run.stage not in _ENDED:
        return None
    if run.stage is Stage.FAILED:
        return f"Checking {run.scope.name} failed: {run.error}"
    if run.stage is Stage.AWAITING_APPROVAL:
        return f"Repairing {run.scope.name} wants approval: {run.needs_approval_because}"
    counts = run.counts
    found = {
        "orphaned": counts.orphaned,
        "missing": counts.missing,
        "differing": counts.differing,
        "failed": counts.failed,
        "unfinished": counts.errors,
    }
    named = [f"{name} {count}" for name, count in found.items() if count]
    return f"Checking {run.scope.name} found files: {', '.join(named)}" if named else None


class Channel(Protocol):
    """A way to people. `send` raises when the alert did not get through; then it is sent again."""

    @property
    def name(self) -> str: ...

    async def send(self, subject: str, body: Mapping[str, Any]) -> None: ...


class LogChannel:
    name = "log"

    async def send(self, subject: str, body: Mapping[str, Any]) -> None:
        log.error("alert", extra={"alert": subject, **body})


class WebhookChannel:
    """Posts the alert as JSON; any 2xx answer means that it got through."""

    name = "webhook"

    def __init__(self, url: str) -> None:
        self._url = url

    async def send(self, subject: str, body: Mapping[str, Any]) -> None:
        timeout = aiohttp.ClientTimeout(total=SEND_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(self._url, json={"subject": subject, **body}) as answer,
        ):
            answer.raise_for_status()


class EmailChannel:
    name = "email"

    def __init__(self, settings: ReconcilerSettings) -> None:
        self._settings = settings

    async def send(self, subject: str, body: Mapping[str, Any]) -> None:
        message = EmailMessage()
        message["Subject"] = f"[Mediabus] {' '.join(subject.split())}"
        message["From"] = self._settings.alert_email_from
        message["To"] = ", ".join(self._settings.alert_email_to)
        message.set_content(f"{subject}\n\n{json.dumps(body, indent=2, ensure_ascii=False)}\n")
        await asyncio.to_thread(self._deliver, message)

    def _deliver(self, message: EmailMessage) -> None:
        settings = self._settings
        assert settings.alert_smtp_host is not None
        with smtplib.SMTP(settings.alert_smtp_host, settings.alert_smtp_port, timeout=SEND_SECONDS) as server:
            if settings.alert_smtp_starttls:
                server.starttls()
            if settings.alert_smtp_user and settings.alert_smtp_password:
                server.login(settings.alert_smtp_user, settings.alert_smtp_password.get_secret_value())
            server.send_message(message)


def channels_of(settings: ReconcilerSettings) -> list[Channel]:
    """The log always, the others where they are set."""
    channels: list[Channel] = [LogChannel()]
    if settings.alert_webhook_url:
        channels.append(WebhookChannel(settings.alert_webhook_url))
    if settings.alert_smtp_host and settings.alert_email_to:
        channels.append(EmailChannel(settings))
    return channels


class Alerts:
    """Writes alerts beside what they tell of, and sends them until they got through or were given up."""

    def __init__(self, unit_of_work: UnitOfWork, channels: Sequence[Channel]) -> None:
        self._unit_of_work = unit_of_work
        self._channels = {channel.name: channel for channel in channels}

    async def tell(self, transaction: Transaction, run: Run) -> None:
        """Publish how a run stands, and have people told where it is worth it."""
        transaction.publish(*run.news())
        if (subject := subject_of(run)) is not None:
            body = {"runId": str(run.run_id), "status": run.stage.value, "counts": run.counts.model_dump()}
            await self.add(transaction, run.run_id, subject, body)

    async def tell_of_giving_up(self, transaction: Transaction, run: Run) -> None:
        """Publish how a run stands that met with a defect; people are told whoever asked for it."""
        transaction.publish(*run.news())
        body = {"runId": str(run.run_id), "status": run.stage.value, "counts": run.counts.model_dump()}
        await self.add(transaction, new_id(), f"Work on {run.scope.name} was given up: {run.error}", body)

    async def add(self, transaction: Transaction, alert_id: UUID, subject: str, body: Mapping[str, Any]) -> None:
        """An alert whose id was told before, and is not forgotten yet, is none."""
        await Schedule(transaction.connection).add_alert(alert_id, list(self._channels), subject, body)

    async def run(self) -> None:
        """Send what is due for as long as the process lives; returns only by cancellation."""
        while True:
            async with self._unit_of_work.begin() as transaction:
                schedule = Schedule(transaction.connection)
                for alert in await schedule.due_alerts():
                    await self._send(schedule, alert)
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _send(self, schedule: Schedule, alert: DueAlert) -> None:
        channel = self._channels.get(alert.channel)
        attempt = alert.attempts + 1
        try:
            if channel is None:
                raise LookupError(f"the channel {alert.channel} is not set any more")
            async with asyncio.timeout(2 * SEND_SECONDS):
                await channel.send(alert.subject, alert.body)
        except Exception as error:
            given_up = attempt >= RETRIES.attempts
            log.warning("an alert did not get through", extra={"channel": alert.channel, "detail": repr(error)})
            delay_seconds = RETRIES.delay_seconds(attempt, 0)
            await schedule.alert_failed(alert, repr(error)[:500], delay_seconds, given_up=given_up)
        else:
            await schedule.alert_sent(alert)
