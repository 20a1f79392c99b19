"""Free ports on 127.0.0.1, chosen once and remembered."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import random
import socket
import tempfile
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
        if port not in avoided and is_free(port) and _claim(port):
            return port
    raise StackError(f"no free port between {_FIRST_PORT} and {_LAST_PORT} in {_TRIES} tries; end what holds them")


def _claim(port: int) -> bool:
    """Whether no other process of this user has chosen the port; until this one ends, none will.

    Between the choice of a port and the moment in which a server listens there are seconds. A lock of one byte for each
    port: the kernel lets go of it when the process dies.
    """
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):
        return False
    return True


@functools.cache
def _claims() -> int:
    """Open until the process ends: closing it anywhere would let go of all claims."""
    path = Path(tempfile.gettempdir()) / f"mediabus-ports-{os.geteuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def remembered_ports(path: Path, names: Iterable[str]) -> dict[str, int]:
    """A port for every name: the one remembered in `path` if it is free, else another, remembered from now on."""
    known: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError, ValueError):
        known = {str(name): int(port) for name, port in json.loads(path.read_text()).items()}
    chosen = dict(known)
    for name in names:
        if name not in known or not is_free(known[name]) or not _claim(known[name]):
            chosen[name] = free_port(taken=chosen.values())
    if chosen != known:
        write_private(path, json.dumps(chosen, indent=2))
    return {name: chosen[name] for name in names}
