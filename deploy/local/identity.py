"""Running a program that refuses to run as root, when we are root."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.processes import OURSELVES, Identity, base_environment, run_to_end


def choose_identity(program: Path, data_folder: Path) -> Identity:
    """The first identity under which `program` runs and can write below `data_folder`.

    Ours, unless we are root. Tried rather than guessed: containers forbid user namespaces, and folders above the clone
    or the data may be closed to others.
    """
    if os.geteuid() != 0:
        return OURSELVES
    refusals: list[str] = []
    for identity in unprivileged_identities():
        try:
            _try(identity, program, data_folder)
        except StackError as error:
            refusals.append(str(error))
        else:
            return identity
    raise StackError(
        f"{program.name} does not run as root, and no way to run it as somebody else works here: run the stack as an "
        "ordinary user, or allow user namespaces or setpriv. Tried:\n" + "\n".join(refusals)
    )


def give_to(identity: Identity, path: Path) -> None:
    """Make a file, or a folder and all in it, belong to the identity, if it does not already."""
    if os.geteuid() == 0 and path.stat().st_uid != identity.owner_uid:
        for member in (path, *path.rglob("*")):
            os.chown(member, identity.owner_uid, identity.owner_gid, follow_symlinks=False)


def unprivileged_identities() -> Iterator[Identity]:
    """Ways for root to run a program as somebody without its privileges, the preferred one first."""
    # In a user namespace root's processes see themselves as another user and have no privileges, and all files stay
    # root's. The id must have a name, because initdb looks its name up.
    accounts = sorted((entry for entry in pwd.getpwall() if entry.pw_uid > 0), key=lambda entry: entry.pw_uid)
    for account in accounts[:1]:
        yield Identity(namespace_uid=account.pw_uid, namespace_gid=account.pw_gid, owner_uid=0, owner_gid=0)
    # Where namespaces are forbidden: another account. It keeps the right to pass closed folders, since the clone may
    # lie in somebody's home.
    if sys.platform == "linux" and (setpriv := shutil.which("setpriv")) is not None:
        for account in accounts[-1:]:
            prefix = [setpriv, "--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
            prefix += ["--inh-caps", "-all,+dac_override", "--ambient-caps", "-all,+dac_override", "--"]
            yield Identity(prefix=tuple(prefix), owner_uid=account.pw_uid, owner_gid=account.pw_gid)


def _try(identity: Identity, program: Path, data_folder: Path) -> None:
    probe = data_folder / "identity.probe"
    shutil.rmtree(probe, ignore_errors=True)
    probe.mkdir(mode=0o700)
    try:
        give_to(identity, probe)
        script = '"$0" --version && echo written > "$1/file"'
        run_to_end(
            ["/bin/sh", "-c", script, str(program), str(probe)],
            name="changing the identity",
            environment=base_environment(),
            identity=identity,
            timeout_seconds=15,
        )
    finally:
        shutil.rmtree(probe, ignore_errors=True)
