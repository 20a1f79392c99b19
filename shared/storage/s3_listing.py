"""A page of a bucket's listing, read from the store's document, without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from shared.storage.errors import StoreUnavailable
from shared.storage.object_store import ObjectInfo

PAGE_OBJECTS: Final = 1000
"""The most that stores give at once."""
_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class ListedPage:
    """Objects in the store's order; `has_more` when the listing goes on behind them."""

    objects: list[ObjectInfo]
    has_more: bool


def listing_query(prefix: str, start_after: str, count: int) -> dict[str, str]:
    """The parameters that ask for a page. Keys come encoded: XML can't hold every character that a key can."""
    return {
        "encoding-type": "url",
        "list-type": "2",
        "max-keys": str(count),
        "prefix": prefix,
        "start-after": start_after,
    }


def read_page(document: bytes) -> ListedPage:
    """Read the answer to `listing_query`.

    Raises StoreUnavailable for what is no listing, as a proxy's page is: it must not look like an empty bucket.
    """
    try:
        return _page(ElementTree.fromstring(document))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        said = f"{document[:80]!r}: {error}"
        raise StoreUnavailable(
            "s3", f"asked for a listing, got an answer without it; is the endpoint an S3 store? {said}"
        ) from error


def _page(root: ElementTree.Element) -> ListedPage:
    # Stores differ in whether they name the format's namespace.
    space = root.tag[: root.tag.find("}") + 1]
    is_encoded = root.findtext(f"{space}EncodingType") == "url"
    tags = _Tags(*(space + name for name in ("Key", "Size", "ETag", "LastModified")))
    objects = [_object(listed, tags, is_encoded) for listed in root.iterfind(f"{space}Contents")]
    return ListedPage(objects, has_more=_BOOLEANS[_text(root, f"{space}IsTruncated")])


class _Tags(NamedTuple):
    key: str
    size: str
    etag: str
    modified_at: str


def _object(listed: ElementTree.Element, tags: _Tags, is_encoded: bool) -> ObjectInfo:
    key = _text(listed, tags.key)
    return ObjectInfo(
        unquote_plus(key) if is_encoded else key,
        int(_text(listed, tags.size)),
        _text(listed, tags.etag).strip('"'),
        datetime.fromisoformat(_text(listed, tags.modified_at)),
    )


def _text(element: ElementTree.Element, tag: str) -> str:
    text = element.findtext(tag)
    if text is None:
        raise LookupError(f"{element.tag} has no {tag}")
    return text
