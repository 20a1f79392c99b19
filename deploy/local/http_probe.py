"""One small HTTP request, to ask whether somebody is there."""

from __future__ import annotations

import asyncio


async def http_status(port: int, path: str, timeout_seconds: float = 2.0) -> int | None:
    """The status code that 127.0.0.1 answers with, None when nobody answers in time."""
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
                status_line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    parts = status_line.split()
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else None
