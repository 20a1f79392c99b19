"""Tables filled with rows that nobody uploaded, for plans and benches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg

from shared.db.queries import load_queries

STATEMENTS: Final = load_queries(Path(__file__).with_name("generated_rows.sql"))
FILL_SECONDS: Final = 1800.0

# Ids of one moment are ordered by their number, and `variant` tells kinds apart.
_ID_OF: Final = """
CREATE OR REPLACE FUNCTION id_of(at timestamptz, number bigint, variant text) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM date_trunc('second', at)) * 1000)::bigint), 12, '0') || '7000' || variant
            || lpad(to_hex(number), 15, '0'))::uuid
$$
"""


async def fill(connection: asyncpg.Connection[Any], names: Sequence[str], rows: int) -> None:
    """Run the named statements one after the other, then have the tables looked at by VACUUM and ANALYZE."""
    await connection.execute(_ID_OF)
    await connection.execute("SET synchronous_commit = off")
    for name in names:
        statement = STATEMENTS[name]
        await connection.execute(statement, *([rows] if "$1" in statement else []), timeout=FILL_SECONDS)
    await connection.execute("RESET synchronous_commit")
    await connection.execute("DROP FUNCTION id_of")
    await connection.execute("VACUUM (ANALYZE)", timeout=FILL_SECONDS)
