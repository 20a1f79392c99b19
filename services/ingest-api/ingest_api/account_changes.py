"""What people do to accounts and API keys, as the list of who did what tells it: never a password, never a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from ingest_api.accounts import Role, User


@dataclass(frozen=True, slots=True)
class AccountChange:
    """`subject_id` is the account's id, or the key's; `detail` is JSON."""

    area: Literal["accounts", "api_keys"]
    action: str
    subject_id: UUID
    detail: Mapping[str, Any]


def account_added(user: User) -> AccountChange:
    return AccountChange("accounts", "added", user.id, {"email": user.email, "role": user.role})


def account_changed(before: User, after: User, *, has_new_password: bool) -> AccountChange:
    """With what is different now, from what to what; of a password only that it was set."""
    values = {"email": (before.email, after.email), "role": (before.role, after.role)}
    different = {name: pair for name, pair in values.items() if pair[0] != pair[1]}
    detail = {
        "email": before.email,
        "newPassword": True if has_new_password else None,
        "before": {name: old for name, (old, _) in different.items()},
        "after": {name: new for name, (_, new) in different.items()},
    }
    return AccountChange("accounts", "changed", before.id, detail)


def account_removed(user_id: UUID, email: str, role: Role, api_keys: int) -> AccountChange:
    return AccountChange("accounts", "removed", user_id, {"email": email, "role": role, "apiKeys": api_keys})


def signed_out_everywhere(user_id: UUID, email: str) -> AccountChange:
    return AccountChange("accounts", "signed_out_everywhere", user_id, {"email": email})


def key_made(key_id: UUID, name: str, role: Role, expires_at: datetime | None) -> AccountChange:
    detail = {"name": name, "role": role, "expiresAt": None if expires_at is None else expires_at.isoformat()}
    return AccountChange("api_keys", "made", key_id, detail)


def key_revoked(key_id: UUID, name: str, role: Role, made_by: str) -> AccountChange:
    return AccountChange("api_keys", "revoked", key_id, {"name": name, "role": role, "madeBy": made_by})
