"""Which tests stay together when several processes share the work."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

TOGETHER = "tests/browser/"


class FilesAndFolder(LoadFileScheduling):  # type: ignore[misc]
    """Those of one file, and all of the folder whose files share one system: each process would start it anew."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER if nodeid.startswith(TOGETHER) else super()._split_scope(nodeid)
