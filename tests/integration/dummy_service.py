"""A service of a few lines for tests of the stack: it is ready, tells how it was started, and crashes on request."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/crash":
            print("the last words of a service", flush=True)
            os._exit(3)
        body = json.dumps({"pid": os.getpid(), "nice": os.nice(0), "session": os.getsid(0)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are not worth a line."""


def main() -> None:
    name, stop_journal = sys.argv[1], Path(sys.argv[2])

    def stop(number: int, frame: FrameType | None) -> None:
        with stop_journal.open("a") as journal:
            journal.write(f"{name} {time.monotonic()}\n")
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    print(f"{name} listens", flush=True)
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["MEDIABUS_HTTP_PORT"])), Handler).serve_forever()


if __name__ == "__main__":
    main()
