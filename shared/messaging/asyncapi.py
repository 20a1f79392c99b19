"""The AsyncAPI 3.0 document of a service: FastStream's description, with the real payload schemas."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

from faststream.specification import AsyncAPI
from pydantic.json_schema import models_json_schema

from shared.events import Event
from shared.messaging.dispatcher import Handler

_REF_TEMPLATE = "#/components/schemas/{model}"


def document(specification: AsyncAPI, handlers: Iterable[Handler]) -> str:
    """The document as JSON."""
    return json.dumps(_document(specification, list(handlers)), indent=2, ensure_ascii=False)


def _document(specification: AsyncAPI, handlers: list[Handler]) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(specification.to_specification().to_json())
    events = sorted({handler.event_type for handler in handlers}, key=lambda event: event.event_type)
    _, schemas = models_json_schema([(event, "serialization") for event in events], ref_template=_REF_TEMPLATE)
    described["components"] = {
        "schemas": schemas.get("$defs", {}),
        "messages": {event.event_type: _message(event) for event in events},
    }
    for name, channel in described.get("channels", {}).items():
        accepted = [e for e in events if e.topic.name == channel["address"] or channel["address"].endswith(".retry")]
        channel["messages"] = {
            event.event_type: {"$ref": f"#/components/messages/{event.event_type}"} for event in accepted
        }
        for operation in described.get("operations", {}).values():
            if operation["channel"]["$ref"] == f"#/channels/{name}":
                operation["messages"] = [
                    {"$ref": f"#/channels/{name}/messages/{event.event_type}"} for event in accepted
                ]
    return described


def _message(event: type[Event]) -> dict[str, Any]:
    return {
        "name": event.event_type,
        "title": event.__name__,
        "summary": (event.__doc__ or "").strip().splitlines()[0],
        "contentType": "application/json",
        "payload": {"$ref": _REF_TEMPLATE.format(model=event.__name__)},
    }


def page(specification: AsyncAPI, handlers: Iterable[Handler]) -> str:
    """The document as a plain page that needs nothing from elsewhere."""
    described = _document(specification, list(handlers))
    title = html.escape(described["info"]["title"])
    channels = "".join(
        f"<section><h2>{html.escape(channel['address'])}</h2><ul>"
        + "".join(f"<li><code>{html.escape(name)}</code></li>" for name in channel["messages"])
        + "</ul></section>"
        for channel in described.get("channels", {}).values()
    )
    messages = "".join(
        f"<section><h3><code>{html.escape(name)}</code></h3><p>{html.escape(message['summary'])}</p><pre>"
        + html.escape(json.dumps(described["components"]["schemas"].get(message["title"], {}), indent=2))
        + "</pre></section>"
        for name, message in described["components"]["messages"].items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title} · AsyncAPI</title>'
        "<style>body{font:15px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "pre{background:#f4f4f5;padding:1rem;overflow:auto;border-radius:6px}</style>"
        f'<h1>{title}</h1><p>What this service consumes. <a href="/asyncapi.json">The document as JSON</a></p>'
        f"{channels}<h2>Messages</h2>{messages}</html>"
    )
