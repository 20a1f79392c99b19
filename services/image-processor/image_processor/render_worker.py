"""The worker process of `render_pool`: renders one picture after another until its socket closes.

Started as `python -m image_processor.render_worker` with its orders in the arguments. It decodes bytes from strangers,
so it gets no secrets (a bare environment), no way to outlive or outgrow its parent, and answers in JSON: its parent
never unpickles what it sends.
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
import tempfile
import traceback
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

from image_processor.rendering import RenderJob, encode, render
from image_processor.variants import DEFAULT_VARIANTS, PictureFormat
from shared.messaging.errors import PermanentError

FRAME: Final = struct.Struct("!I")
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_KILL_ME_FIRST: Final = "500"
_ENCODERS: Final = 2


@dataclass(frozen=True, slots=True)
class Order:
    """A job, and whether cores are idle that its encoders may use beside its own."""

    job: RenderJob
    cores_are_idle: bool


def main(socket_fd: int, parent_pid: int, memory_limit_bytes: int, niceness: int) -> None:
    """Prepare and say so with an empty frame; then for each job say so when it is taken, and answer it."""
    _bind_to_parent(parent_pid)
    os.nice(niceness)
    with socket.socket(fileno=socket_fd) as connection, ThreadPoolExecutor(_ENCODERS) as encoders:
        _warm_up(encoders)
        _limit_memory(memory_limit_bytes)
        _send(connection, {})
        while (frame := _receive(connection)) is not None:
            _send(connection, {})
            order: Order = pickle.loads(frame)
            _send(connection, _answer(order.job, encoders if order.cores_are_idle else None))


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
    # When the machine runs out of memory, one picture is lost rather than the service.
    Path("/proc/self/oom_score_adj").write_text(_KILL_ME_FIRST)


def _warm_up(encoders: Executor) -> None:
    """Run every step once, so that the first picture finds its plugins loaded and its code paths touched."""
    with tempfile.TemporaryDirectory(prefix="render-warm-up-") as folder:
        source = Path(folder, "source.jpg")
        source.write_bytes(encode(Image.new("RGB", (256, 192), "teal"), PictureFormat.JPEG, 80))
        render(RenderJob(source, Path(folder), DEFAULT_VARIANTS), encoders)


def _answer(job: RenderJob, encoders: Executor | None) -> dict[str, Any]:
    try:
        return {"rendition": asdict(render(job, encoders))}
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


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
