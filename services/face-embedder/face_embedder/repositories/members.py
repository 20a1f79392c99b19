"""Faces as members of people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from face_embedder.places import Carried
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "members.sql")


class Members:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def carry(self, faces: Sequence[Carried], *, least_similarity: float | None) -> None:
        """Let each new face be whose the old one is, with all that was decided about it.

        `least_similarity` None: both were found on the same content. Otherwise faces that are less alike, or can't be
        compared, are left out. Both faces are there; the new ones are no members yet.
        """
        if faces:
            old, new = [face.old for face in faces], [face.new for face in faces]
            await self._connection.execute(QUERIES["carry"], old, new, least_similarity)

    async def add_missing(self, face_ids: Sequence[UUID]) -> None:
        """Have those of the faces that are no members yet sorted."""
        await self._connection.execute(QUERIES["add_missing"], face_ids)
