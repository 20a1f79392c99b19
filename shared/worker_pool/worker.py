"""The worker's side of a pool: does one order after another until its socket closes.

A worker handles bytes from strangers, so it gets no secrets (a bare environment), no way to outlive or outgrow its
parent, and answers in JSON: its parent never unpickles what it sends.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.messaging.errors import PermanentError

FRAME: Final = struct.Struct("!I")
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_KILL_ME_FIRST: Final = "500"


@dataclass(frozen=True, slots=True)
class Order:
    """What to do, and whether cores are idle that may be used for it beside the worker's own."""

    work: Any
    cores_are_idle: bool


Work = Callable[[Any, bool], Any]
"""Does the `work` of an order, given `cores_are_idle`, and returns what JSON can hold.

A PermanentError it raises is the refusal of that order; everything else is told apart by the pool.
"""
Preparation = Callable[[Sequence[str]], AbstractContextManager[Work]]
"""Loads and warms up what the work needs; gets the program's own arguments."""


def serve(arguments: Sequence[str], prepare: Preparation) -> None:
    """Be a worker: `arguments` are those that the pool started the process with.

    Prepares and says so with an empty frame; then for each order says so when it is taken, and answers it.
    """
    socket_fd, parent_pid, memory_limit_bytes, niceness = (int(argument) for argument in arguments[:4])
    _bind_to_parent(parent_pid)
    os.nice(niceness)
    with socket.socket(fileno=socket_fd) as connection, prepare(arguments[4:]) as work:
        _limit_memory(memory_limit_bytes)
        _send(connection, {})
        while (frame := _receive(connection)) is not None:
            _send(connection, {})
            _send(connection, _answer(pickle.loads(frame), work))


def _bind_to_parent(parent_pid: int) -> None:
    """Stop only when the parent says so, and never later than it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_PDEATHSIG, signal.SIGKILL), (_PR_SET_NO_NEW_PRIVS, 1)):
        if libc.prctl(option, int(value), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")
    if os.getppid() != parent_pid:  # it died before the line above could bind us to it
        sys.exit(0)


def _limit_memory(memory_limit_bytes: int) -> None:
    """Data, not address space: libraries reserve far more addresses than they ever use."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory_limit_bytes, memory_limit_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # When the machine runs out of memory, one order is lost rather than the service.
    Path("/proc/self/oom_score_adj").write_text(_KILL_ME_FIRST)


def _answer(order: Order, work: Work) -> dict[str, Any]:
    try:
        return {"done": work(order.work, order.cores_are_idle)}
    except PermanentError as error:
        return {"refused": {"code": error.code, "detail": error.detail}}
    except MemoryError:
        return {"out_of_memory": True}
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "")
        return {"input_output": {"errno_name": name, "detail": str(error)}}
    except Exception as error:
        return {"bug": {"summary": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}}


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    payload = json.dumps(message).encode()
    connection.sendall(FRAME.pack(len(payload)) + payload)


def _receive(connection: socket.socket) -> bytes | None:
    """The next frame; None when the parent closed the socket."""
    header = _receive_exactly(connection, FRAME.size)
    return _receive_exactly(connection, FRAME.unpack(header)[0]) if header is not None else None


def _receive_exactly(connection: socket.socket, wanted_bytes: int) -> bytes | None:
    received = b""
    while len(received) < wanted_bytes:
        part = connection.recv(wanted_bytes - len(received))
        if not part:
            return None
        received += part
    return received
