"""Selfies between two services: encrypted at rest, opened once, and gone after a moment."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.events import SealedSelfie
from shared.messaging.errors import PermanentError
from shared.storage.errors import StoreRefused, StoreUnavailable
from shared.storage.local_disk import LocalDiskStore
from shared.storage.object_store import ObjectStore

log = logging.getLogger(__name__)

SELFIES_PREFIX: Final = "selfies/"
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_PURPOSE: Final = b"mediabus selfie of question "


class SealBroken(PermanentError):
    """What was found is not what was sealed for this question, or under another key. Nor can anybody open it later."""

    def __init__(self, reason: str) -> None:
        super().__init__("seal_broken", f"the selfie can't be opened: {reason}")


class SealedSelfies:
    """Puts selfies into a store under AES-256-GCM and takes them out again.

    The id of the question is authenticated with the picture, so what was sealed for one question opens for no other.
    `store` is where uploads are staged too; `key` has 32 bytes and is known to the two services alone.
    """

    def __init__(self, store: ObjectStore, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key of selfies has {len(key)} bytes, expected {KEY_BYTES}")
        self._store = store
        self._cipher = AESGCM(key)

    async def seal(self, question_id: UUID, picture: bytes | bytearray) -> SealedSelfie:
        """Raises StoreUnavailable and StoreRefused; what may have been stored then is swept."""
        sealed = await asyncio.to_thread(self._encrypt, question_id, picture)
        sha256 = hashlib.sha256(sealed).hexdigest()
        await self._store.put_bytes(_key_of(question_id), sealed, sha256=sha256)
        return SealedSelfie(key=_key_of(question_id), size_bytes=len(sealed), sha256=sha256)

    async def unseal(self, question_id: UUID, selfie: SealedSelfie) -> bytes:
        """The picture; from then on nobody can read it again.

        Raises SealBroken, ObjectNotFound where it was read or swept before, StoreUnavailable and StoreRefused.
        """
        if selfie.key != _key_of(question_id):
            raise SealBroken(f"it lies under {selfie.key!r}, which is not the place of its question")
        try:
            sealed = await self._read(selfie)
        finally:
            await self.discard(question_id)
        if hashlib.sha256(sealed).hexdigest() != selfie.sha256:
            raise SealBroken("its bytes are not those that were sealed")
        return await asyncio.to_thread(self._decrypt, question_id, sealed)

    async def discard(self, question_id: UUID) -> None:
        """Remove what was sealed for a question, if it is still there; what the store won't remove now is swept."""
        try:
            await self._store.delete(_key_of(question_id))
        except (StoreUnavailable, StoreRefused) as error:
            log.warning(
                "a sealed selfie waits for the sweep", extra={"key": _key_of(question_id), "detail": str(error)}
            )

    async def sweep(self, older_than_seconds: float) -> int:
        """Remove what nobody came for, unfinished files too; how many there were."""
        sealed_before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        removed = 0
        async for info in self._store.list(SELFIES_PREFIX):
            if info.modified_at < sealed_before:
                await self._store.delete(info.key)
                removed += 1
        if isinstance(self._store, LocalDiskStore):
            async for path in self._store.list_temporary(SELFIES_PREFIX, older_than_seconds=older_than_seconds):
                await self._store.run(path, lambda path=path: path.unlink(missing_ok=True))  # type: ignore[misc]
                removed += 1
        return removed

    async def _read(self, selfie: SealedSelfie) -> bytes:
        sealed = bytearray()
        # One byte more than there should be shows that there are too many, without reading them all.
        async with self._store.open(selfie.key, end_byte=selfie.size_bytes + 1) as opened:
            async for chunk in opened.chunks:
                sealed += chunk
        return bytes(sealed)

    def _encrypt(self, question_id: UUID, picture: bytes | bytearray) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, picture, _PURPOSE + question_id.bytes)

    def _decrypt(self, question_id: UUID, sealed: bytes) -> bytes:
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _PURPOSE + question_id.bytes)
        except (InvalidTag, ValueError) as error:
            raise SealBroken("it was sealed with another key, for another question, or changed since") from error


def _key_of(question_id: UUID) -> str:
    return f"{SELFIES_PREFIX}{question_id}"
