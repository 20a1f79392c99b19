"""Every Kafka topic of the system, declared once, and their creation.

A service's delayed-retry and dead-letter topics are derived from its name. `python -m shared.messaging.topics create`
makes what is missing and brings the configuration of what exists in line.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

DAY_MS = 24 * 60 * 60 * 1000


_ROOM_FOR_REASONS = {"max.message.bytes": str(2 * 2**20)}
"""What happened to a message is added to its headers: the largest message of another topic must fit all the same."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic and how it is kept.

    `kind` tells the consumer what an unknown type means: on a `commands` topic, which one service owns, it is an error
    and becomes a dead letter; on an `events` topic it is a fact somebody else cares for and is passed over.
    """

    name: str
    kind: Literal["events", "commands", "retry", "dead-letter"]
    partitions: int = 6
    retention_ms: int = 7 * DAY_MS
    compacted: bool = False

    def configuration(self, replicas: int = 1) -> dict[str, str]:
        """What the broker is told of a topic with so many replicas."""
        return self._cleaning() | self._safety(replicas)

    def _cleaning(self) -> dict[str, str]:
        if self.kind == "dead-letter":
            # Compacted too, so that a letter that was replayed or dropped goes when its mark comes.
            return {"cleanup.policy": "compact,delete", "retention.ms": str(self.retention_ms), **_ROOM_FOR_REASONS}
        if self.kind == "retry":
            return {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms), **_ROOM_FOR_REASONS}
        if self.compacted:
            return {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1"}
        return {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}

    @staticmethod
    def _safety(replicas: int) -> dict[str, str]:
        # acks=all waits for the replicas in sync, which may be the leader alone: its disk would be the only copy of
        # what was acknowledged. A topic with one replica could never meet two, and would take no message at all.
        return {"min.insync.replicas": str(min(2, replicas))}


SERVICES = (
    "ingest-api",
    "image-processor",
    "face-embedder",
    "s3-syncer",
    "reconciler",
    "cleanup-scheduler",
)

MEDIA_EVENTS = Topic("media.events", "events")
MEDIA_PURGE = Topic("media.purge", "commands")
IMAGE_PROCESS = Topic("image.process", "commands")
IMAGE_RERENDER = Topic("image.rerender", "commands")
IMAGE_EVENTS = Topic("image.events", "events")
SYNC_JOBS = Topic("sync.jobs", "commands")
SYNC_BATCHES = Topic("sync.batches", "commands")
SYNC_EVENTS = Topic("sync.events", "events")
FACE_SYNC = Topic("face.sync", "commands")
FACE_INDEX = Topic("face.index", "commands")
FACE_SEARCH = Topic("face.search", "commands")
FACE_EVENTS = Topic("face.events", "events")
RECONCILE_RUNS = Topic("reconcile.runs", "commands")
RECONCILE_EVENTS = Topic("reconcile.events", "events")
CATALOG_EVENTS = Topic("catalog.events", "events")
SETTINGS_EVENTS = Topic("settings.events", "events", partitions=1, compacted=True)
BUCKET_EVENTS = Topic("bucket.events", "events")
SCHEDULE_EVENTS = Topic("schedule.events", "events", partitions=1)
SCHEDULE_COMMANDS = Topic("schedule.commands", "commands", partitions=1)
ANSWERS = Topic("answers", "events", partitions=3, retention_ms=10 * 60 * 1000)

OPS_EVENTS = Topic("ops.events", "events", partitions=1, retention_ms=60 * 60 * 1000)


def retry_topic(service: str) -> Topic:
    """Where the service's own relay puts a failed message when its next attempt is due."""
    return Topic(f"{service}.retry", "retry", partitions=3)


def dead_letter_topic(service: str) -> Topic:
    """Where a message goes that the service will not try again."""
    return Topic(f"{service}.dead-letter", "dead-letter", partitions=1, retention_ms=30 * DAY_MS)


TOPICS: tuple[Topic, ...] = (
    MEDIA_EVENTS,
    MEDIA_PURGE,
    IMAGE_PROCESS,
    IMAGE_RERENDER,
    IMAGE_EVENTS,
    SYNC_JOBS,
    SYNC_BATCHES,
    SYNC_EVENTS,
    FACE_SYNC,
    FACE_INDEX,
    FACE_SEARCH,
    FACE_EVENTS,
    RECONCILE_RUNS,
    RECONCILE_EVENTS,
    CATALOG_EVENTS,
    SETTINGS_EVENTS,
    BUCKET_EVENTS,
    SCHEDULE_EVENTS,
    SCHEDULE_COMMANDS,
    ANSWERS,
    OPS_EVENTS,
    *(retry_topic(service) for service in SERVICES),
    *(dead_letter_topic(service) for service in SERVICES),
)


class TopicsDiffer(Exception):
    """An existing topic can't be brought in line with its declaration without losing order or data."""


@dataclass(slots=True)
class TopicReport:
    """What `ensure_topics` found and did, by topic name."""

    created: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    reconfigured: list[str] = field(default_factory=list)


async def ensure_topics(
    bootstrap_servers: str, topics: Sequence[Topic] = TOPICS, *, replication_factor: int = 1
) -> TopicReport:
    """Create what is missing and set the declared configuration on what exists.

    Running it twice, or in two processes at once, changes nothing. Topics that exist keep their replicas: how many
    there are decides what is declared of them. Raises TopicsDiffer where the number of partitions differs: changing it
    would break the order of keys, so a person has to decide.
    """
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, client_id="mediabus-topics")
    try:
        await admin.start()
        report = TopicReport()
        wanted = {topic.name: topic for topic in topics}
        existing = await _layouts(admin)
        missing = [topic for topic in topics if topic.name not in existing]
        if missing:
            response = await admin.create_topics(
                [
                    NewTopic(
                        topic.name,
                        num_partitions=topic.partitions,
                        replication_factor=replication_factor,
                        topic_configs=topic.configuration(replication_factor),
                    )
                    for topic in missing
                ],
                timeout_ms=30_000,
            )
            _check_created(response.topic_errors)
            report.created = [topic.name for topic in missing]
        different = [
            f"{name} has {existing[name].partitions} partitions, declared are {topic.partitions}"
            for name, topic in wanted.items()
            if name in existing and existing[name].partitions != topic.partitions
        ]
        if different:
            raise TopicsDiffer(
                "; ".join(sorted(different))
                + ". Re-partitioning moves keys: drain the topic, recreate it, or correct the declaration."
            )
        declared = {
            topic.name: topic.configuration(existing[topic.name].replicas) for topic in topics if topic.name in existing
        }
        stale = await _with_other_configuration(admin, declared)
        if stale:
            # alter_configs replaces every override of a topic, so the whole declaration is sent.
            await admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name, configs=declared[name]) for name in stale]
            )
        report.reconfigured = stale
        report.unchanged = [name for name in declared if name not in stale]
        return report
    finally:
        await admin.close()


TOPIC_ALREADY_EXISTS = 36
"""Error code of the Kafka protocol: somebody else created the topic in the meantime."""


def _check_created(topic_errors: Sequence[Sequence[object]]) -> None:
    """create_topics never raises: its answer carries one error code per topic."""
    failed = [entry for entry in topic_errors if entry[1] not in (0, TOPIC_ALREADY_EXISTS)]
    if failed:
        raise RuntimeError(f"topics could not be created: {failed}")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Of a topic that exists. `replicas` are those of its least replicated partition."""

    partitions: int
    replicas: int


async def _layouts(admin: object) -> dict[str, _Layout]:
    described = await admin.describe_topics()  # type: ignore[attr-defined]
    return {
        entry["topic"]: _Layout(
            len(entry["partitions"]), min((len(part["replicas"]) for part in entry["partitions"]), default=1)
        )
        for entry in described
    }


async def _with_other_configuration(admin: object, declared: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The names of those whose configuration is not what is declared."""
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    if not declared:
        return []
    responses = await admin.describe_configs(  # type: ignore[attr-defined]
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in declared]
    )
    current: dict[str, Mapping[str, str]] = {}
    for response in responses:
        for resource in response.resources:
            name, entries = resource[3], resource[4]
            current[name] = {entry[0]: entry[1] for entry in entries}
    return [
        name
        for name, configuration in declared.items()
        if any(current[name].get(key) != value for key, value in configuration.items())
    ]


def main() -> None:
    from pydantic import Field
    from pydantic_settings import BaseSettings, SettingsConfigDict

    class TopicSettings(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="MEDIABUS_")

        kafka_bootstrap: str
        kafka_replication_factor: int = Field(default=1, ge=1)

    parser = argparse.ArgumentParser(prog="python -m shared.messaging.topics", description="Kafka topics of Mediabus")
    parser.add_argument("action", choices=["create", "list"])
    action = parser.parse_args().action
    if action == "list":
        for topic in TOPICS:
            print(f"{topic.name:32} {topic.kind:12} partitions={topic.partitions} {topic.configuration()}")
        return
    settings = TopicSettings()
    report = asyncio.run(ensure_topics(settings.kafka_bootstrap, replication_factor=settings.kafka_replication_factor))
    print(
        f"topics: {len(report.created)} created, {len(report.reconfigured)} reconfigured, "
        f"{len(report.unchanged)} unchanged"
    )


if __name__ == "__main__":
    main()
