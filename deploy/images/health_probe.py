"""Exit code 0 when the service in this container is ready, 1 with its reason when it is not."""

from __future__ import annotations

import http.client
import os
import sys

DEADLINE_SECONDS = 4.0


def main() -> int:
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(os.environ["MEDIABUS_HTTP_PORT"]), timeout=DEADLINE_SECONDS
    )
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        body = answer.read(4096).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer from /health/ready: {error!r}")
        return 1
    finally:
        connection.close()
    print(body)
    return 0 if answer.status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
