"""Our reading of a listing is the AWS client's, and what is no listing is an outage."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.session import get_session

from shared.storage.errors import StoreUnavailable
from shared.storage.object_store import ObjectInfo
from shared.storage.s3_listing import ListedPage, likely_last_key, listing_query, read_page

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
WRITTEN_AT = "2026-03-04T05:06:07.089Z"


def listed(key: str, size: int = 5) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>{WRITTEN_AT}</LastModified><ETag>&#34;ab-2&#34;</ETag>"
        f"<Size>{size}</Size><Owner><ID>x</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>"
    )


def document(*contents: str, has_more: str = "false", head: str = "<EncodingType>url</EncodingType>") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult {NAMESPACE}><Name>b</Name><Prefix></Prefix>{head}'
        f"<IsTruncated>{has_more}</IsTruncated>{''.join(contents)}</ListBucketResult>"
    ).encode()


def read_by_aws_client(answer: bytes) -> dict[str, Any]:
    session = get_session()
    operation = session.get_service_model("s3").operation_model("ListObjectsV2")
    parser = session.get_component("response_parser_factory").create_parser("rest-xml")
    parsed: dict[str, Any] = parser.parse({"body": answer, "headers": {}, "status_code": 200}, operation.output_shape)
    return parsed


async def test_reads_what_the_aws_client_reads() -> None:
    answer = document(listed("a/b"), listed("c.webp", 0), has_more="true")
    theirs = read_by_aws_client(answer)
    objects = [
        ObjectInfo(one["Key"], one["Size"], one["ETag"].strip('"'), one["LastModified"]) for one in theirs["Contents"]
    ]
    assert await read_page(answer) == ListedPage(objects, has_more=theirs["IsTruncated"])
    assert objects[0] == ObjectInfo("a/b", 5, "ab-2", datetime(2026, 3, 4, 5, 6, 7, 89_000, UTC))


@pytest.mark.parametrize("answer", [document(), document().replace(NAMESPACE.encode(), b"")])
async def test_an_empty_listing_ends(answer: bytes) -> None:
    assert await read_page(answer) == ListedPage([], has_more=False)


@pytest.mark.parametrize(
    ("head", "key"),
    [
        ("<EncodingType>url</EncodingType>", "a%2Fb+%C3%A9%2B%0A%26.webp"),
        ("<EncodingType></EncodingType>", "a/b é+&#10;&amp;.webp"),
        ("", "a/b é+&#10;&amp;.webp"),
    ],
)
async def test_keys_come_encoded_where_the_store_says_so(head: str, key: str) -> None:
    for answer in (document(listed(key), head=head), document(listed(key), head=head).replace(NAMESPACE.encode(), b"")):
        assert [one.key for one in (await read_page(answer)).objects] == ["a/b é+\n&.webp"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html/>",
        b"<p>Moved",
        document()[:-5],
        document(has_more=""),
        document(has_more="maybe"),
        document(listed("a").replace("<Key>a</Key>", "")),
        document(listed("a").replace("<Size>5</Size>", "<Size>many</Size>")),
        document(listed("a").replace(WRITTEN_AT, "today")),
    ],
)
async def test_what_is_no_listing_is_an_outage_and_no_empty_bucket(answer: bytes) -> None:
    with pytest.raises(StoreUnavailable, match="an answer without it"):
        await read_page(answer)


async def test_a_large_page_is_read_while_others_go_on() -> None:
    answer = document(*(listed(f"a%2F{number:04}") for number in range(1000)), has_more="true")
    reading = asyncio.create_task(read_page(answer))
    turns = 0
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    page = await reading
    assert [one.key for one in page.objects] == [f"a/{number:04}" for number in range(1000)]
    assert turns > 10
    assert likely_last_key(answer) == page.objects[-1].key


@pytest.mark.parametrize(
    ("answer", "last"),
    [
        (document(listed("a"), listed("a%2Fb+%C3%A9%2B%0A%26.webp"), has_more="true"), "a/b é+\n&.webp"),
        (document(listed("a"), listed("b")), None),
        (document(has_more="true"), None),
        (document(listed("a&amp;b"), has_more="true", head=""), None),
        (document(listed("a"), has_more="true").replace(b"</Key>", b""), None),
        (b"<p>Moved", None),
    ],
)
def test_the_last_key_is_seen_at_once_where_the_listing_goes_on(answer: bytes, last: str | None) -> None:
    assert likely_last_key(answer) == last


def test_asks_for_encoded_keys() -> None:
    query = listing_query("a b/", "a b/c", 7)
    assert query["encoding-type"] == "url"
    assert (query["prefix"], query["start-after"], query["max-keys"]) == ("a b/", "a b/c", "7")
