"""The menu: which pages there are, and who is shown them."""

from __future__ import annotations

from dataclasses import dataclass

from ingest_api.accounts import Role


@dataclass(frozen=True, slots=True)
class Entry:
    """`name` is its text `navigation.<name>` and its icon."""

    name: str
    address: str
    role: Role

    def holds(self, path: str) -> bool:
        return path == self.address or path.startswith(f"{self.address}/")


ENTRIES = (
    Entry("media", "/admin/media", Role.ADMIN),
    Entry("events", "/admin/events", Role.PHOTOGRAPHER),
    Entry("catalog", "/admin/catalog", Role.ADMIN),
    Entry("consistency", "/admin/consistency", Role.ADMIN),
    Entry("sync", "/admin/media/sync", Role.SUPERADMIN),
    Entry("operations", "/admin/ops", Role.SUPERADMIN),
    Entry("settings", "/admin/media/settings", Role.ADMIN),
)
"""In the order of the menu."""


def entries_for(role: Role) -> list[Entry]:
    return [entry for entry in ENTRIES if role.includes(entry.role)]


def current_entry(path: str) -> Entry | None:
    """The entry whose page or part of a page the path is: the longest address wins."""
    holding = [entry for entry in ENTRIES if entry.holds(path)]
    return max(holding, key=lambda entry: len(entry.address), default=None)


def first_page(role: Role) -> str:
    """Where somebody of the role begins."""
    return next((entry.address for entry in entries_for(role)), "/account")
