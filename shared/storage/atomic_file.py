"""One file on disk that is either wholly there under its name, durable, or not there at all.

Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Final
from uuid import uuid4

from shared.storage.errors import ChecksumMismatch, InsufficientSpace, StoreRefused, StoreUnavailable
from shared.storage.keys import TEMPORARY_PREFIX

FILE_MODE: Final = 0o640
DIRECTORY_MODE: Final = 0o750
COPY_CHUNK_BYTES: Final = 1024 * 1024

_CHECKSUM_ATTRIBUTE: Final = "user.mediabus.sha256"
_DIGEST_BYTES: Final = 32
_CREATE_ATTEMPTS: Final = 10
_NO_SPACE: Final = {errno.ENOSPC, errno.EDQUOT}
_NOT_PERMITTED: Final = {errno.EACCES, errno.EPERM}
_KEY_CONFLICT: Final = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}
_ATTRIBUTE_NOT_KEPT: Final = {errno.ENOTSUP, errno.ENODATA, errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.EPERM}
_LINK_NOT_POSSIBLE: Final = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES}


def disk_error(error: OSError, path: Path) -> StoreUnavailable | StoreRefused:
    """Tell a full disk, a refusal and a broken disk apart."""
    text = f"{path}: {error.strerror or error}"
    if error.errno in _NO_SPACE:
        return InsufficientSpace("disk", f"{text}; free some space or enlarge the volume")
    if error.errno in _NOT_PERMITTED:
        return StoreRefused("access_denied", f"{text}; the service's user needs to read and write here")
    if error.errno in _KEY_CONFLICT:
        return StoreRefused("key_conflict", f"{text}; a key can't also be the folder of another")
    return StoreUnavailable("disk", text)


def make_directories(root: Path, directory: Path) -> None:
    """Make the missing folders from `root` down to `directory`, durably; never `root` itself.

    A root that is missing is a volume that is not mounted: filling the folder beneath it would hide that.
    """
    for folder in make_names_of_directories(root, directory):
        sync_directory(folder)


def make_names_of_directories(root: Path, directory: Path) -> list[Path]:
    """As `make_directories`, but the folders that got new names in them are returned to be synced, deepest first."""
    missing = []
    while directory != root and not directory.is_dir():
        missing.append(directory)
        directory = directory.parent
    for folder in reversed(missing):
        folder.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    return [folder.parent for folder in missing]


def sync_directory(directory: Path) -> None:
    """Make the names in a folder durable; one that was removed meanwhile has none left."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def record_checksum(file: int | Path, sha256: bytes) -> None:
    """Keep the checksum with the file, bound to its time of change, where the filesystem can.

    Bound to the time, because a program that writes into the file later leaves the attribute as it is.
    """
    modified_at_ns = (file.stat() if isinstance(file, Path) else os.fstat(file)).st_mtime_ns
    try:
        os.setxattr(file, _CHECKSUM_ATTRIBUTE, sha256 + modified_at_ns.to_bytes(8, "big"))
    except OSError as error:
        if error.errno not in _ATTRIBUTE_NOT_KEPT:
            raise


def recorded_checksum(path: Path | str, modified_at_ns: int) -> str | None:
    """Checksum (hex) that was recorded when the file was written; None if none was or the file changed since."""
    try:
        value = os.getxattr(path, _CHECKSUM_ATTRIBUTE, follow_symlinks=False)
    except OSError as error:
        if error.errno in _ATTRIBUTE_NOT_KEPT or error.errno == errno.ENOENT:
            return None
        raise
    recorded_for = value[_DIGEST_BYTES:]
    return value[:_DIGEST_BYTES].hex() if recorded_for == modified_at_ns.to_bytes(8, "big") else None


class AtomicFile:
    """A file under a temporary name until `publish` gives it its own.

    A process that dies in between leaves only a file whose name begins with `.tmp-`.
    """

    def __init__(self, root: Path, directory: Path) -> None:
        """Open a temporary file in `directory`, a folder below `root` that is made when it is missing."""
        self.size_bytes = 0
        self.path = temporary_path(directory)
        self._hash = hashlib.sha256()
        self._descriptor = -1
        for _ in range(_CREATE_ATTEMPTS):
            make_directories(root, directory)
            try:
                self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            except FileNotFoundError:
                if not root.is_dir():
                    raise
                continue  # a deletion removed the folder again while it was still empty
            return
        raise FileNotFoundError(errno.ENOENT, "the folder vanishes as soon as it is made", str(directory))

    def write(self, data: bytes | memoryview) -> None:
        """Append and hash."""
        self._hash.update(data)
        self.size_bytes += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def copy_from(self, path: Path) -> None:
        """Append and hash all of another file."""
        buffer = memoryview(bytearray(COPY_CHUNK_BYTES))
        with path.open("rb", buffering=0) as source:
            while count := source.readinto(buffer):
                self.write(buffer[:count])

    @property
    def sha256(self) -> str:
        """Checksum of what was written so far, in hex."""
        return self._hash.hexdigest()

    def publish(self, target: Path, *, key: str, expected_sha256: str | None = None) -> os.stat_result:
        """Make the file durable under `target`, replacing what is there. Raises ChecksumMismatch."""
        if expected_sha256 is not None and expected_sha256 != self.sha256:
            raise ChecksumMismatch(key, expected_sha256, self.sha256)
        record_checksum(self._descriptor, self._hash.digest())
        # The bytes are on disk before the name points at them, and the name before anyone is told: a power cut
        # leaves the old object or the new one, never an empty file.
        os.fsync(self._descriptor)
        status = os.fstat(self._descriptor)
        self._close()
        self.path.replace(target)
        sync_directory(target.parent)
        return status

    def discard(self) -> None:
        """Remove the temporary file if it is still there."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def temporary_path(directory: Path) -> Path:
    """Name for an unfinished file in `directory`."""
    return directory / f"{TEMPORARY_PREFIX}{uuid4().hex}"


def link_atomically(root: Path, source: Path, target: Path) -> bool:
    """As `link_names`, durably."""
    changed = link_names(root, source, target)
    for folder in changed or ():
        sync_directory(folder)
    return changed is not None


def link_names(root: Path, source: Path, target: Path) -> list[Path] | None:
    """Give the bytes of `source` the second name `target`, replacing what is there; no byte is copied.

    The folders that have to be synced for the name to be durable, deepest first; None when the filesystem can't link
    (another device, no links). Sound because stored files are never written into, only replaced. `source` must be
    durable already.
    """
    temporary = temporary_path(target.parent)
    for _ in range(_CREATE_ATTEMPTS):
        try:
            made_in = make_names_of_directories(root, target.parent)
            os.link(source, temporary, follow_symlinks=False)
        except FileNotFoundError:
            source.lstat()  # is it the source that is missing?
            continue
        except OSError as error:
            if error.errno in _LINK_NOT_POSSIBLE:
                return None
            raise
        try:
            temporary.replace(target)
        finally:
            # When both names are links to one file already, rename(2) does nothing and leaves the temporary one.
            temporary.unlink(missing_ok=True)
        return [target.parent, *made_in]
    raise FileNotFoundError(errno.ENOENT, "the folder vanishes as soon as it is made", str(target.parent))
