"""What stores write of their buckets: every body is read, whatever it is, and one fact always has one name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events import BucketObjectV1
from shared.events.bucket_notifications import KEY_MAX_BYTES, MOST_RECORDS, Notice, read_notification
from shared.events.envelope import Envelope

AT = "2026-01-02T03:04:05.678Z"
# What S3 takes as a key: no control characters, no lone surrogates, at most 1024 bytes.
KEYS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=200)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def record(key: str = "uploads/a", event_name: str = "s3:ObjectCreated:Put", **changes: Any) -> dict[str, Any]:
    """As MinIO writes it; a change of None leaves a field out."""
    stored = {"key": quote_plus(key), "size": 5, "eTag": "0cc1", "sequencer": "18EA12BBB2155177"} | changes
    return {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "awsRegion": "us-east-1",
        "eventTime": AT,
        "eventName": event_name,
        "userIdentity": {"principalId": "someone"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "Config",
            "bucket": {"name": "mediabus", "arn": "arn:aws:s3:::mediabus"},
            "object": {name: value for name, value in stored.items() if value is not None},
        },
        "source": {"host": "127.0.0.1"},
    }


def body(*records: Any, **around: Any) -> bytes:
    return json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": "mediabus/k", "Records": records} | around).encode()


def one(sent: bytes, told_by: Literal["webhook", "kafka"] = "webhook") -> Notice:
    read = read_notification(sent, told_by)
    assert read.problem is None
    (notice,) = read.notices
    return notice


def test_a_written_object_is_told_as_it_is() -> None:
    notice = one(body(record("products/7/250g/hero-card/a b+c%20ü.jpg")))
    assert notice.event == BucketObjectV1(
        bucket="mediabus",
        object_key="products/7/250g/hero-card/a b+c%20ü.jpg",
        happened="created",
        event_name="s3:ObjectCreated:Put",
        size_bytes=5,
        etag="0cc1",
        sequencer="18EA12BBB2155177",
        happened_at=datetime(2026, 1, 2, 3, 4, 5, 678000, UTC),
        told_by="webhook",
    )
    assert notice.envelope.type == "bucket.object.v1"
    assert notice.envelope.source == "/buckets/mediabus"
    assert notice.envelope.time == notice.event.happened_at
    assert Envelope.from_headers(notice.envelope.headers()) == notice.envelope


def test_a_removal_has_neither_size_nor_tag() -> None:
    event = one(body(record(event_name="s3:ObjectRemoved:Delete", size=None, eTag=None))).event
    assert (event.happened, event.size_bytes, event.etag) == ("removed", None, None)


@given(KEYS)
def test_every_key_comes_through_its_encoding(key: str) -> None:
    if len(key.encode()) <= KEY_MAX_BYTES:
        assert one(body(record(key))).event.object_key == key


@given(KEYS)
def test_the_key_of_the_record_counts_and_not_the_one_above_it(key: str) -> None:
    """The top-level Key is not encoded: read like the others, a plus in it would become a space."""
    sent = body(record("a+b"), Key=f"mediabus/{key}")
    assert one(sent).event.object_key == "a+b"


@pytest.mark.parametrize(
    ("event_name", "happened"),
    [
        ("s3:ObjectCreated:Put", "created"),
        ("s3:ObjectCreated:Post", "created"),
        ("s3:ObjectCreated:Copy", "created"),
        ("s3:ObjectCreated:CompleteMultipartUpload", "created"),
        ("s3:ObjectCreated:SomethingNew", "created"),
        ("ObjectCreated:Put", "created"),
        ("s3:ObjectRemoved:Delete", "removed"),
        ("s3:ObjectRemoved:DeleteMarkerCreated", "removed"),
        ("s3:LifecycleExpiration:Delete", "removed"),
    ],
)
def test_what_writes_or_removes_is_told(event_name: str, happened: str) -> None:
    assert one(body(record(event_name=event_name))).event.happened == happened


@pytest.mark.parametrize(
    "event_name",
    [
        "s3:ObjectCreated:PutTagging",
        "s3:ObjectCreated:DeleteTagging",
        "s3:ObjectCreated:PutRetention",
        "s3:ObjectCreated:PutLegalHold",
        "s3:ObjectRemoved:NoOP",
        "s3:ObjectAccessed:Get",
        "s3:ObjectAccessed:Head",
        "s3:BucketCreated:*",
        "s3:Replication:OperationFailedReplication",
        "s3:NobodyKnows",
        "x",
    ],
)
def test_what_changes_no_bytes_is_counted_and_passed_over(event_name: str) -> None:
    read = read_notification(body(record(event_name=event_name)), "kafka")
    assert (read.notices, read.ignored, read.problem) == ((), 1, None)


def test_amazons_test_event_is_passed_over() -> None:
    sent = b'{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"mediabus"}'
    assert read_notification(sent, "webhook").problem is None


# --- one name for one fact ------------------------------------------------------------------------------------------


def test_both_ways_and_every_repetition_give_one_id() -> None:
    by_webhook, by_kafka = one(body(record()), "webhook"), one(body(record()), "kafka")
    assert by_webhook.envelope == by_kafka.envelope
    assert by_webhook.event == by_kafka.event.model_copy(update={"told_by": "webhook"})


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", 'a","b']),
            st.sampled_from(["s3:ObjectCreated:Put", "s3:ObjectRemoved:Delete", "s3:ObjectCreated:Copy"]),
            st.sampled_from(["1", "2", None]),
            st.sampled_from(["e1", "e2"]),
        ),
        unique_by=lambda fact: fact if fact[2] is None else fact[:3],
        min_size=2,
        max_size=6,
    )
)
def test_different_facts_have_different_ids(facts: list[tuple[str, str, str | None, str]]) -> None:
    ids = set()
    for key, event_name, sequencer, etag in facts:
        # A removal has no tag: without a sequencer it is known by its time.
        stored = record(key, event_name, sequencer=sequencer, eTag=etag)
        stored["eventTime"] = f"2026-01-02T03:04:0{etag[1]}Z"
        ids.add(one(body(stored)).envelope.id)
    assert len(ids) == len(facts)


def test_without_a_sequencer_tag_and_time_tell_two_writes_apart() -> None:
    def of(etag: str, at: str) -> Any:
        return one(body(record(sequencer=None, eTag=etag) | {"eventTime": at})).envelope.id

    assert of("e1", AT) == of("e1", AT)
    assert len({of("e1", AT), of("e2", AT), of("e1", "2026-01-02T03:04:06Z")}) == 3


# --- several records, some of them bad ------------------------------------------------------------------------------


def test_several_records_keep_their_order() -> None:
    read = read_notification(body(*(record(f"k{n}", sequencer=str(n)) for n in range(20))), "webhook")
    assert [notice.event.object_key for notice in read.notices] == [f"k{n}" for n in range(20)]


def test_a_bad_record_takes_no_good_one_with_it() -> None:
    bad = record("b")
    del bad["s3"]["object"]["key"]
    read = read_notification(body(record("a"), bad, record(event_name="s3:ObjectAccessed:Get"), record("c")), "kafka")
    assert [notice.event.object_key for notice in read.notices] == ["a", "c"]
    assert read.ignored == 1
    assert read.problem is not None
    assert read.problem.startswith("Records[1]: s3.object.key")


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        "text",
        {},
        record() | {"eventName": None},
        record() | {"eventName": 7},
        record() | {"eventTime": "yesterday"},
        record() | {"s3": None},
        record(key=""),
        record(size=-1),
        record(size=2**63),
        record(size=1.5),
        record(sequencer=["1"]),
        record("x" * (KEY_MAX_BYTES + 1)),
        record("a\0b"),
        record() | {"s3": {"bucket": {"name": "a\0b"}, "object": {"key": "k"}}},
        record() | {"s3": {"bucket": {"name": "mediabus"}, "object": {"key": "%FF%FE"}}},
        record() | {"s3": {"bucket": {"name": "mediabus"}, "object": {"key": "\ud800"}}},
    ],
)
def test_what_is_no_record_is_a_problem(bad: Any) -> None:
    read = read_notification(body(bad), "webhook")
    assert read.notices == ()
    assert read.problem


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"not json",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"Records":[]}',
        b'{"Records":{}}',
        b"1" * 5000,
        body(*[{}] * (MOST_RECORDS + 1)),
    ],
)
def test_what_is_no_notification_is_a_problem(sent: bytes) -> None:
    read = read_notification(sent, "webhook")
    assert (read.notices, read.ignored) == ((), 0)
    assert read.problem


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_makes_it_fail(sent: bytes) -> None:
    read_notification(sent, "kafka")


@given(st.dictionaries(st.sampled_from(["eventName", "eventTime", "s3"]), JSON), JSON, JSON)
def test_no_record_makes_it_fail(changes: dict[str, Any], stored: Any, bucket: Any) -> None:
    whole = record() | changes
    nested = record() | {"s3": {"bucket": bucket, "object": stored}}
    for notice in read_notification(body(whole, nested), "kafka").notices:
        # What is passed on can be written down and read again.
        assert BucketObjectV1.model_validate_json(notice.event.payload()) == notice.event
        notice.event.key().encode()
