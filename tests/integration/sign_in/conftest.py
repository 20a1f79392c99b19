"""What the tests of signing in share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ingest_api.passwords import Argon2Parameters
from ingest_api.sign_in import SignInSettings
from shared.testing.databases import TestDatabase
from tests.integration.sign_in.sign_in_site import CHEAP, Site, SiteWith, add_accounts, replica


@pytest.fixture
async def site(database: TestDatabase) -> AsyncIterator[Site]:
    async with replica(database, SignInSettings(), CHEAP) as made:
        await add_accounts(made)
        yield made


@pytest.fixture
async def site_with(database: TestDatabase) -> AsyncIterator[SiteWith]:
    """Further replicas on the same database, with settings of their own."""
    async with AsyncExitStack() as stack:

        async def make(cost: Argon2Parameters = CHEAP, **settings: Any) -> Site:
            return await stack.enter_async_context(replica(database, SignInSettings(**settings), cost))

        yield make
