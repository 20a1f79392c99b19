"""Free ports on 127.0.0.1, chosen once and remembered."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Iterable
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.processes import write_private

# Below the kernel's range for outgoing connections, which could take a remembered port while the stack is down.
_FIRST_PORT = 20_000
_LAST_PORT = 31_999
_TRIES = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


def free_port(taken: Iterable[int] = ()) -> int:
    """A free port that is not among `taken`."""
    avoided = set(taken)
    for _ in range(_TRIES):
        port = random.randint(_FIRST_PORT, _LAST_PORT)
        if port not in avoided and is_free(port):
            return port
    raise StackError(f"no free port between {_FIRST_PORT} and {_LAST_PORT} in {_TRIES} tries; end what holds them")


def remembered_ports(path: Path, names: Iterable[str]) -> dict[str, int]:
    """A port for every name: the one remembered in `path` if it is free, else another, remembered from now on."""
    known: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError, ValueError):
        known = {str(name): int(port) for name, port in json.loads(path.read_text()).items()}
    chosen = dict(known)
    for name in names:
        if name not in known or not is_free(known[name]):
            chosen[name] = free_port(taken=chosen.values())
    if chosen != known:
        write_private(path, json.dumps(chosen, indent=2))
    return {name: chosen[name] for name in names}
