"""Face packs as embeddings know them, and which of them looks at a photo; pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PackId:
    """A pack in one version: only embeddings of the same one are ever compared."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class PacksAtHand:
    """The packs that a process can look with: the `wanted` one, and perhaps the one that it takes the place of."""

    wanted: PackId
    previous: PackId | None = None

    def __contains__(self, pack: object) -> bool:
        return pack is not None and pack in (self.wanted, self.previous)

    @property
    def all(self) -> list[PackId]:
        return [pack for pack in (self.wanted, self.previous) if pack is not None]

    def for_photo(self, of_event: PackId | None) -> PackId:
        """What finds a photo's faces: that with which its event is searched, so that searches find it at once.

        Without that pack the faces are found with the wanted one. Either way whoever replaces packs looks again with
        what is missing.
        """
        return of_event if of_event is not None and of_event in self else self.wanted
