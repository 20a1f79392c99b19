"""A page of a bucket's listing, read from the store's document, without I/O."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from shared.storage.errors import StoreUnavailable
from shared.storage.object_store import ObjectInfo

PAGE_OBJECTS: Final = 1000
"""The most that stores give at once."""
_PIECE_BYTES: Final = 64 * 1024
_PIECE_OBJECTS: Final = 100
_KEY_BEGINS: Final = b"<Key>"
_KEY_ENDS: Final = b"</Key>"
_GOES_ON: Final = b"<IsTruncated>true</IsTruncated>"
_IS_ENCODED: Final = b"<EncodingType>url</EncodingType>"
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


def likely_last_key(document: bytes) -> str | None:
    """The last key of a page behind which there is more, as the text shows it; None where it does not.

    It takes microseconds where `read_page` takes milliseconds, so the next page can be asked for before this one is
    read. What it tells is no more than likely: whoever goes by it compares it with what `read_page` gives.
    """
    begins, ends = document.rfind(_KEY_BEGINS), document.rfind(_KEY_ENDS)
    if not 0 <= begins < ends or _GOES_ON not in document or _IS_ENCODED not in document:
        return None
    return _decoded(document[begins + len(_KEY_BEGINS) : ends].decode("ascii", "replace"))


async def read_page(document: bytes) -> ListedPage:
    """Read the answer to `listing_query`, piece by piece: others go on in between, for a page takes some time.

    Raises StoreUnavailable for what is no listing, as a proxy's page is: it must not look like an empty bucket.
    """
    try:
        return await _page(await _parsed(document))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        said = f"{document[:80]!r}: {error}"
        raise StoreUnavailable(
            "s3", f"asked for a listing, got an answer without it; is the endpoint an S3 store? {said}"
        ) from error


async def _parsed(document: bytes) -> ElementTree.Element:
    parser = ElementTree.XMLParser()
    for begins in range(0, len(document), _PIECE_BYTES):
        parser.feed(document[begins : begins + _PIECE_BYTES])
        await asyncio.sleep(0)
    return parser.close()


async def _page(root: ElementTree.Element) -> ListedPage:
    # Stores differ in whether they name the format's namespace.
    space = root.tag[: root.tag.find("}") + 1]
    is_encoded = root.findtext(f"{space}EncodingType") == "url"
    tags = _Tags(*(space + name for name in ("Key", "Size", "ETag", "LastModified")))
    objects: list[ObjectInfo] = []
    for listed in root.iterfind(f"{space}Contents"):
        objects.append(_object(listed, tags, is_encoded))
        if len(objects) % _PIECE_OBJECTS == 0:
            await asyncio.sleep(0)
    return ListedPage(objects, has_more=_BOOLEANS[_text(root, f"{space}IsTruncated")])


class _Tags(NamedTuple):
    key: str
    size: str
    etag: str
    modified_at: str


def _object(listed: ElementTree.Element, tags: _Tags, is_encoded: bool) -> ObjectInfo:
    key = _text(listed, tags.key)
    return ObjectInfo(
        _decoded(key) if is_encoded else key,
        int(_text(listed, tags.size)),
        _text(listed, tags.etag).strip('"'),
        datetime.fromisoformat(_text(listed, tags.modified_at)),
    )


def _decoded(key: str) -> str:
    # In most keys nothing but slashes is encoded. What stands for one is part of no other character's three.
    plain = key.replace("%2F", "/")
    return unquote_plus(key) if "%" in plain or "+" in plain else plain


def _text(element: ElementTree.Element, tag: str) -> str:
    text = element.findtext(tag)
    if text is None:
        raise LookupError(f"{element.tag} has no {tag}")
    return text
