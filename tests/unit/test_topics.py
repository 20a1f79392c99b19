"""What topics are declared to be, by how many brokers hold a copy of each."""

from __future__ import annotations

import pytest

from shared.messaging.topics import TOPICS, Topic


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
@pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "2"), (3, "2")])
def test_what_was_acknowledged_is_on_two_disks_where_there_are_two(topic: Topic, replicas: int, in_sync: str) -> None:
    assert topic.configuration(replicas)["min.insync.replicas"] == in_sync
