"""Settings of reconciler, on top of those that every service has."""

from __future__ import annotations

from pydantic import Field, SecretStr

from shared.settings import ServiceSettings


class ReconcilerSettings(ServiceSettings):
    """How patient it is, when it repairs without asking, and how it looks for itself."""

    object_grace_seconds: float = Field(default=10.0, ge=0, description="younger objects are nobody's orphans")
    record_grace_seconds: float = Field(default=2.0, ge=0, description="records that changed since are not judged")
    media_grace_seconds: float = Field(default=3600.0, ge=0, description="the same for what is rendered")
    catch_up_seconds: float = Field(default=30.0, gt=0, description="how long a run waits for what others told")
    checks_at_once: int = Field(default=8, ge=1)

    guard_files: int = Field(default=20, ge=0, description="up to so many removals need no approval")
    guard_share: float = Field(default=0.10, ge=0, le=1, description="of a scope; more, and more files, need it")
    guard_most_files: int = Field(default=1000, ge=0, description="more removals need approval, whatever the share")
    items_in_flight: int = Field(default=200, ge=1, description="repairs of one run under way at once")
    runs_at_once: int = Field(default=8, ge=1)
    run_hold_seconds: float = Field(default=60.0, gt=1, description="after so long the run of a dead process goes on")
    quarantine_kept_seconds: float = Field(default=7 * 24 * 3600.0, gt=0, description="then what was removed is gone")

    runs_kept_seconds: float = Field(
        default=90 * 24 * 3600.0, gt=7 * 24 * 3600.0, description="ended ones, with their plans; longer than quarantine"
    )

    sweep_every_seconds: float = Field(default=180.0, gt=0, description="between looks for what no notification told")
    sweep_grace_seconds: float = Field(default=30.0, ge=0, description="how long a notification may take")
    sweep_prefixes: tuple[str, ...] = Field(
        default=("events/", "products/", "uploads/"), description="JSON list: where others write"
    )
    sweep_page: int = Field(default=10_000, ge=1, description="objects per turn of the sweep")

    scrub_enabled: bool = True
    temporary_kept_seconds: float = Field(
        default=24 * 3600.0, gt=0, description="unfinished files that nobody wrote to for so long may go"
    )
    scrub_bytes_per_second: int = Field(default=4 * 2**20, gt=0, description="read to find rot")
    scrub_rest_seconds: float = Field(default=3600.0, gt=0, description="between two rounds over everything")

    alert_webhook_url: str | None = Field(default=None, description="gets each alert as JSON")
    alert_smtp_host: str | None = Field(default=None, description="sends each alert by e-mail")
    alert_smtp_port: int = Field(default=25, ge=1, le=65535)
    alert_smtp_user: str | None = None
    alert_smtp_password: SecretStr | None = None
    alert_smtp_starttls: bool = False
    alert_email_from: str = "mediabus@localhost"
    alert_email_to: list[str] = Field(default_factory=list)
