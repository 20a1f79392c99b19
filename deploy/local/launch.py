"""Becomes another program, after tying its life to its parent's and giving it its niceness and identity.

Run as a plain script with `python -I -S`, so it starts in milliseconds and imports nothing of this project. A
separate process does this because code between fork and exec of a threaded parent can deadlock.

    launch.py PARENT_PID DEATH_SIGNAL NICENESS UID GID COMMAND...

DEATH_SIGNAL 0 keeps the program alive when its parent dies. UID and GID -1 keep the identity; others enter a user
namespace in which the caller's own user appears under that id, and has no privileges.
"""

from __future__ import annotations

import ctypes
import os
import sys

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1


def main() -> None:
    parent_pid, death_signal, niceness, uid, gid = (int(argument) for argument in sys.argv[1:6])
    command = sys.argv[6:]
    libc = ctypes.CDLL(None, use_errno=True)
    if uid >= 0:
        _enter_user_namespace(libc, uid, gid)
    if niceness:
        os.nice(niceness)
    if death_signal:
        # After the change of identity: the kernel forgets the signal when credentials change.
        if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
        # A parent that died before the line above sends no signal any more.
        if os.getppid() != parent_pid:
            sys.exit(1)
    os.execvp(command[0], command)


def _enter_user_namespace(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER) was refused")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {outer_uid} 1")
    _write("/proc/self/gid_map", f"{gid} {outer_gid} 1")


def _write(path: str, text: str) -> None:
    # One write call: the kernel takes a mapping whole or not at all.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
