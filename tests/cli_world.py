"""The command line, run within a test against what listens there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from typer.testing import CliRunner, Result

from deploy.cli.app import app
from tests.ingest_site import IngestSite

NOBODY = {
    "MEDIABUS_URL": None,
    "MEDIABUS_API_KEY": None,
    "XDG_CONFIG_HOME": "/nonexistent/config",
    "XDG_STATE_HOME": "/nonexistent/state",
}
Environment: TypeAlias = dict[str, str | None]
Run: TypeAlias = Callable[..., Awaitable[Result]]


async def mediabus(*arguments: str, env: Environment, typed: str | None = None) -> Result:
    """What is asked answers meanwhile: it may serve in this very loop."""
    return await asyncio.to_thread(
        CliRunner().invoke, app, arguments, input=typed, env={**NOBODY, **env}, catch_exceptions=False
    )


def as_superadmin(site: IngestSite) -> Environment:
    return {"MEDIABUS_URL": site.base_url, "MEDIABUS_API_KEY": site.key}


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[Environment, list[str]]]:
    """Something at the address that answers everything so, and the first lines of what it was asked."""
    asked_for: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked_for.append((await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[0])
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield {"MEDIABUS_URL": f"http://127.0.0.1:{port}", "MEDIABUS_API_KEY": "key"}, asked_for


@dataclass(frozen=True, slots=True)
class Call:
    """What a scripted server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Script: TypeAlias = Callable[[Call], tuple[int, dict[str, str], Any]]
"""Status, headers and JSON to a call; None for no body."""


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[tuple[Environment, list[Call]]]:
    """A server that answers by a script, and what it was asked."""
    calls: list[Call] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        method, path, _ = head[0].split()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        try:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        except asyncio.IncompleteReadError:
            # Whoever asked went away in the middle.
            writer.close()
            return
        calls.append(Call(method, path, headers, body))
        status, extra, told = script(calls[-1])
        content = b"" if told is None else json.dumps(told).encode()
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in extra.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield {"MEDIABUS_URL": f"http://127.0.0.1:{port}", "MEDIABUS_API_KEY": "key"}, calls


def lines_of(result: Result) -> list[Any]:
    """What a command printed as JSON, line by line."""
    return [json.loads(line) for line in result.stdout.splitlines()]
