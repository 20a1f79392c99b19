"""A store whose own clock is wrong: a proxy before a real one that moves the times it tells."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import aiohttp
from aiohttp import web
from yarl import URL

TIMES = ("Date", "Last-Modified")
KEPT = (*TIMES, "Content-Type", "ETag")
LISTED_TIME = re.compile(r"(?<=<LastModified>)[^<]+(?=</LastModified>)")


@asynccontextmanager
async def skewed_store(endpoint: str, ahead: timedelta) -> AsyncIterator[str]:
    """The address of the same store, as it would answer if its clock were so far ahead of ours."""

    async def forward(request: web.Request) -> web.Response:
        # The host is part of what was signed.
        url = URL(f"{endpoint}{request.raw_path}", encoded=True)
        async with session.request(
            request.method, url, headers=request.headers, data=await request.read(), allow_redirects=False
        ) as answer:
            headers = {name: answer.headers[name] for name in KEPT if name in answer.headers}
            for name in headers.keys() & set(TIMES):
                headers[name] = format_datetime(parsedate_to_datetime(headers[name]) + ahead, usegmt=True)
            body = await answer.read()
            if answer.content_type == "application/xml":
                body = LISTED_TIME.sub(lambda found: _moved(found[0], ahead), body.decode()).encode()
            return web.Response(status=answer.status, headers=headers, body=body)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(application)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()


def _moved(text: str, ahead: timedelta) -> str:
    return (datetime.fromisoformat(text) + ahead).isoformat()
