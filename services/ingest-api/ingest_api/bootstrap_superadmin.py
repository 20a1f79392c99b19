"""The first superadmin: `python -m ingest_api.bootstrap_superadmin` makes one where there is none.

Reads MEDIABUS_POSTGRES_DSN, MEDIABUS_SUPERADMIN_EMAIL and MEDIABUS_SUPERADMIN_PASSWORD; safe to repeat and to run twice
at once.
"""

from __future__ import annotations

import asyncio
import sys

from pydantic import SecretStr

from ingest_api.accounts import Role, normalised_email, password_fault
from ingest_api.passwords import Passwords
from ingest_api.repositories.accounts import AccountRepository
from shared.db.pool import Database
from shared.identifiers import new_id
from shared.settings import PostgresSettings


class BootstrapSettings(PostgresSettings):
    superadmin_email: str
    superadmin_password: SecretStr


class BootstrapRefused(Exception):
    """The superadmin can't be made from what was given."""


async def bootstrap_superadmin(database: Database, email: str, password: str) -> str:
    """Make the account unless there is a superadmin, and return a sentence on what was done.

    Raises BootstrapRefused for a bad address or password, or an address that another account has.
    """
    address = normalised_email(email)
    if address is None:
        raise BootstrapRefused("MEDIABUS_SUPERADMIN_EMAIL is no e-mail address: give one such as name@example.org")
    if fault := password_fault(password, address):
        raise BootstrapRefused(f"MEDIABUS_SUPERADMIN_PASSWORD {fault}")
    passwords = Passwords()
    try:
        async with database.connection() as connection, connection.transaction():
            accounts = AccountRepository(connection)
            if existing := await accounts.lock_first_superadmin():
                return f"there is a superadmin already, {existing}: nothing was changed"
            made = await accounts.add_user(new_id(), address, Role.SUPERADMIN, await passwords.hash(password))
    finally:
        passwords.close()
    if made is None:
        raise BootstrapRefused(f"{address} belongs to an account that is no superadmin: give another address")
    return f"made the superadmin {address}"


async def main() -> int:
    settings = BootstrapSettings()
    database = Database.of(settings, application_name="bootstrap", max_connections=1)
    try:
        password = settings.superadmin_password.get_secret_value()
        print(await bootstrap_superadmin(database, settings.superadmin_email, password))
    except BootstrapRefused as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        await database.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
