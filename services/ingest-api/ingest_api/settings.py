"""What can be set for this service; environment variables with the prefix MEDIABUS_."""

from __future__ import annotations

import logging
import secrets
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from shared.events import EntityTypeSettings, MediaSettings, StorageStrategy, VariantSettings
from shared.settings import ServiceSettings
from shared.settings_feed import settings_of_environment

log = logging.getLogger(__name__)

MEBIBYTE = 1024 * 1024
HOUR_SECONDS = 3600.0
DAY_SECONDS = 24 * HOUR_SECONDS
WEB_ADDRESS = r"^https?://"


def _one_word(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be printable ASCII without spaces: MinIO sends no token that has any")
    return token


class IngestSettings(ServiceSettings):
    """Beside these, `ingest_api.sign_in.SignInSettings` has those of signing in.

    What the settings of the API hold too is only their default here: it holds until somebody changes them.
    """

    # uploads
    upload_limit_bytes: int = Field(default=50 * MEBIBYTE, gt=0, description="largest file; more is cut with 413")
    uploads_in_flight: int = Field(default=32, ge=1, description="bodies received at once")
    uploads_in_flight_bytes: int = Field(default=1024 * MEBIBYTE, ge=1, description="of all bodies received at once")
    uploads_waiting: int = Field(default=1000, ge=0, description="uploads that wait for their turn; beyond: 429")
    upload_turn_seconds: float = Field(default=30.0, gt=0, description="longest wait for one's turn; beyond: 503")
    upload_idle_seconds: float = Field(default=15.0, gt=0, description="longest silence of a client; beyond: 408")
    upload_slowest_bytes_per_second: int = Field(
        default=16 * 1024, gt=0, description="a slower upload is given up, once the idle time has passed too"
    )
    direct_upload_seconds: int = Field(
        default=24 * 3600,
        ge=60,
        le=7 * 24 * 3600,
        description="until an announced file must be sent; then its job fails",
    )
    direct_upload_under_way_seconds: float = Field(
        default=600.0, ge=0, description="so much longer a file may take that was begun in time"
    )
    direct_uploads_waiting: int = Field(default=10_000, ge=1, description="announced files still to come; beyond: 429")
    direct_upload_sweep_seconds: float = Field(default=60.0, gt=0)
    mass_delete_confirm_above: int = Field(
        default=100, ge=0, description="more media are deleted in one call only by who confirms how many"
    )
    deletion_receipts_kept_seconds: float = Field(default=400 * DAY_SECONDS, gt=0)
    bulk_limit_bytes: int = Field(default=1024 * MEBIBYTE, gt=0, description="of one bulk upload, and of its unpacking")
    bulk_files: int = Field(default=500, ge=1, description="pictures of one bulk upload; more are cut with 413")
    bulk_archive_entries: int = Field(default=2000, ge=1, description="of an archive, folders and hidden files too")
    bulk_archive_ratio: int = Field(default=200, ge=1, description="unpacked to packed bytes of a file in an archive")
    default_storage_strategy: Literal["local_only", "local_first", "s3_only", "both"] = "local_first"
    variants: dict[str, tuple[VariantSettings, ...]] = Field(
        default_factory=dict, description="by entity type, as JSON; the same as image-processor's"
    )
    private_entity_types: frozenset[str] = Field(
        default=frozenset(), description="JSON list: media of these need a signature, a session or a key"
    )

    # waiting for the outcome
    hybrid_mode_enabled: bool = Field(default=False, description="answer with the result while little is pending")
    hybrid_pending_below: int = Field(default=5, ge=1)
    hybrid_wait_seconds: float = Field(default=10.0, gt=0)
    longest_wait_seconds: float = Field(default=30.0, gt=0, description="cap of `Prefer: wait`")
    waiting_answers: int = Field(default=200, ge=0, description="requests that wait for an outcome at once")

    # retention
    completed_jobs_kept_seconds: float = Field(default=DAY_SECONDS, gt=0)
    completed_jobs_kept: int = Field(default=1000, ge=0, description="the newest are kept however old they are")
    failed_jobs_kept_seconds: float = Field(default=7 * DAY_SECONDS, gt=0)
    notices_kept_seconds: float = Field(default=7 * DAY_SECONDS, gt=0)
    idempotency_keys_kept_seconds: float = Field(default=DAY_SECONDS, gt=0)
    schedule_runs_kept_seconds: float = Field(default=90 * DAY_SECONDS, gt=0)
    account_changes_kept_seconds: float = Field(
        default=730 * DAY_SECONDS, gt=0, description="the record of who did what to accounts and API keys"
    )
    dead_letters_kept_seconds: float = Field(
        default=30 * DAY_SECONDS, gt=0, description="no longer than their topics keep them"
    )
    dead_letters_kept: int = Field(default=100_000, ge=1, description="the newest; their topics keep the others")
    dead_letters_kept_bytes: int = Field(
        default=256 * MEBIBYTE,
        ge=4 * MEBIBYTE,
        description="of the newest, with their headers; their topics keep the others",
    )
    staging_orphans_kept_seconds: float = Field(
        default=HOUR_SECONDS, gt=0, description="staged files that no job knows are removed at this age"
    )

    reconcile_wait_seconds: float = Field(
        default=25.0, gt=0, description="repairs that take longer are answered with a job"
    )

    # storage sync
    sync_min_files_for_batching: int = Field(default=50, ge=1, description="from so many files a job gets children")
    sync_batch_size: int = Field(default=100, ge=1, le=10_000, description="files of one child")
    sync_large_min_files_for_batching: int = Field(default=100, ge=1, description="the same for profile `large`")
    sync_large_batch_size: int = Field(default=200, ge=1, le=10_000)
    sync_jobs_kept_seconds: float = Field(default=30 * DAY_SECONDS, gt=0, description="after their end")

    # products
    product_change_wait_seconds: float = Field(
        default=10.0, ge=0, description="a change of a product's files that takes longer is answered with a job"
    )

    # event photos
    face_sync_silence_seconds: float = Field(
        default=HOUR_SECONDS,
        gt=0,
        description="a sync of photos of which nothing is heard for so long has failed; longer than any of its pauses",
    )
    selfie_limit_bytes: int = Field(default=10 * MEBIBYTE, gt=0, description="of the picture that is searched with")
    selfies_in_flight: int = Field(default=8, ge=1, description="selfies in memory at once")
    selfies_waiting: int = Field(default=100, ge=0, description="searches that wait for their turn; beyond: 429")
    face_search_seconds: float = Field(default=10.0, gt=0, description="for the answer to a search; beyond: 503")
    face_search_results_kept_seconds: float = Field(
        default=HOUR_SECONDS, gt=0, description="for so long the pages of a search can be read"
    )
    face_searches_kept_seconds: float = Field(
        default=365 * DAY_SECONDS, gt=0, description="the record of who searched where and when"
    )
    photo_url_seconds: int = Field(
        default=int(HOUR_SECONDS), ge=60, le=7 * 24 * 3600, description="how long addresses of event photos are valid"
    )
    gallery_pass_seconds: float = Field(default=12 * HOUR_SECONDS, gt=0, description="then guests give the PIN again")
    gallery_searches_per_minute: int = Field(default=60, ge=1, description="of one link; beyond: 429")
    gallery_erasure_requests: int = Field(
        default=100, ge=1, description="erasures that guests of one link wait for; beyond: 429"
    )
    erasure_requests_kept_seconds: float = Field(
        default=14 * DAY_SECONDS, gt=0, description="then a guest's request that nobody decided on is over"
    )
    gallery_downloads: int = Field(default=8, ge=1, description="archives that are sent at once; beyond: 429")
    gallery_archive_photos: int = Field(
        default=1000, ge=1, description="an archive of all photos has at most so many; more come as parts"
    )
    people_change_wait_seconds: float = Field(
        default=10.0, ge=0, description="a decision about people that takes longer is answered with 202"
    )
    people_changes_kept_seconds: float = Field(
        default=90 * DAY_SECONDS, gt=0, description="what was decided about people; no longer than it can be undone"
    )
    people_gone_kept_seconds: float = Field(
        default=30 * DAY_SECONDS, gt=0, description="ids of people who are gone, for facts that come late"
    )
    face_syncs_kept_seconds: float = Field(default=30 * DAY_SECONDS, gt=0, description="after their end")

    # media bytes
    signing_key: SecretStr | None = Field(
        default=None, min_length=32, description="signs addresses of private media; the same in every replica"
    )
    signed_url_seconds: float = Field(default=HOUR_SECONDS, gt=0)

    # where people see more
    jaeger_url: str | None = Field(default=None, pattern=WEB_ADDRESS, description="Jaeger, as browsers reach it")
    grafana_url: str | None = Field(default=None, pattern=WEB_ADDRESS, description="Grafana, as browsers reach it")

    # bucket notifications
    webhook_token: Annotated[SecretStr, Field(min_length=16), AfterValidator(_one_word)] | None = Field(
        default=None, description="bearer token of POST /webhooks/minio; without one nobody is admitted"
    )

    # WebSockets
    sockets: int = Field(default=1000, ge=1, description="open WebSockets of this process")
    socket_lifetime_seconds: float = Field(default=HOUR_SECONDS, gt=0, description="then the client signs in again")
    socket_check_seconds: float = Field(
        default=10.0, gt=0, description="a socket is closed at most so long after its user signed out"
    )
    socket_send_seconds: float = Field(default=10.0, gt=0, description="a client that takes longer is disconnected")

    def trace_address(self, trace_id: str) -> str | None:
        """Where people see a trace, if anywhere; in place of an id `{traceId}` makes a pattern of it."""
        return self.jaeger_url and f"{self.jaeger_url.rstrip('/')}/trace/{trace_id}"

    def media_defaults(self) -> MediaSettings:
        """What the settings of all media are before their first change."""
        return settings_of_environment(self).model_copy(
            update={
                "default_storage_strategy": StorageStrategy(self.default_storage_strategy),
                "hybrid_mode_enabled": self.hybrid_mode_enabled,
                "hybrid_pending_below": self.hybrid_pending_below,
                "hybrid_wait_seconds": self.hybrid_wait_seconds,
                "upload_limit_bytes": self.upload_limit_bytes,
            }
        )

    def entity_type_defaults(self) -> dict[str, EntityTypeSettings]:
        return {name: EntityTypeSettings(variants=variants) for name, variants in self.variants.items()}

    @cached_property
    def signing_key_bytes(self) -> bytes:
        """The key, or one of this process alone if none is set."""
        if self.signing_key is not None:
            return self.signing_key.get_secret_value().encode()
        log.warning("MEDIABUS_SIGNING_KEY is not set: addresses of private media end with this process")
        return secrets.token_bytes(32)
