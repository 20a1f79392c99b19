"""Every page that `make screenshots` takes pictures of: whoever adds a page adds a line."""

from __future__ import annotations

from dataclasses import dataclass

from ingest_api.accounts import Role


@dataclass(frozen=True, slots=True)
class ShownPage:
    """A page as somebody of `role` sees it, or somebody who is not signed in.

    `path` may name exhibits: `/gallery/{gallery}`. The page is ready when something matches the selector `ready`.
    """

    name: str
    path: str
    role: Role | None
    ready: str


PAGES = (
    ShownPage("sign-in", "/login", None, "form[action='/login']"),
    ShownPage("api", "/docs", None, "h1"),
    ShownPage("pictures", "/pictures", Role.ADMIN, "main img"),
)
