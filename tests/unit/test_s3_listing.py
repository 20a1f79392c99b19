"""Our reading of a listing is the AWS client's, and what is no listing is an outage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.session import get_session

from shared.storage.errors import StoreUnavailable
from shared.storage.object_store import ObjectInfo
from shared.storage.s3_listing import ListedPage, listing_query, read_page

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


def test_reads_what_the_aws_client_reads() -> None:
    answer = document(listed("a/b"), listed("c.webp", 0), has_more="true")
    theirs = read_by_aws_client(answer)
    objects = [
        ObjectInfo(one["Key"], one["Size"], one["ETag"].strip('"'), one["LastModified"]) for one in theirs["Contents"]
    ]
    assert read_page(answer) == ListedPage(objects, has_more=theirs["IsTruncated"])
    assert objects[0] == ObjectInfo("a/b", 5, "ab-2", datetime(2026, 3, 4, 5, 6, 7, 89_000, UTC))


@pytest.mark.parametrize("answer", [document(), document().replace(NAMESPACE.encode(), b"")])
def test_an_empty_listing_ends(answer: bytes) -> None:
    assert read_page(answer) == ListedPage([], has_more=False)


@pytest.mark.parametrize(
    ("head", "key"),
    [
        ("<EncodingType>url</EncodingType>", "a%2Fb+%C3%A9%2B%0A%26.webp"),
        ("<EncodingType></EncodingType>", "a/b é+&#10;&amp;.webp"),
        ("", "a/b é+&#10;&amp;.webp"),
    ],
)
def test_keys_come_encoded_where_the_store_says_so(head: str, key: str) -> None:
    for answer in (document(listed(key), head=head), document(listed(key), head=head).replace(NAMESPACE.encode(), b"")):
        assert [one.key for one in read_page(answer).objects] == ["a/b é+\n&.webp"]


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
def test_what_is_no_listing_is_an_outage_and_no_empty_bucket(answer: bytes) -> None:
    with pytest.raises(StoreUnavailable, match="an answer without it"):
        read_page(answer)


def test_asks_for_encoded_keys() -> None:
    query = listing_query("a b/", "a b/c", 7)
    assert query["encoding-type"] == "url"
    assert (query["prefix"], query["start-after"], query["max-keys"]) == ("a b/", "a b/c", "7")
