"""Entity types as metric labels: callers choose them, so their number has to be bounded here."""

from __future__ import annotations

OTHER = "other"


class EntityLabels:
    """Gives the first `most` entity types their own label and all later ones `other`.

    Every time series of a metric costs memory here and in Prometheus for as long as the process lives.
    """

    def __init__(self, most: int = 50) -> None:
        self._most = most
        self._known: set[str] = set()

    def label(self, entity_type: str) -> str:
        if entity_type in self._known:
            return entity_type
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(entity_type)
        return entity_type
