"""Searches in PostgreSQL: what takes too long is stopped by the server, and what does not fit is refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
from sqlalchemy import BigInteger, Select, Subquery, literal_column, select, true
from sqlalchemy.sql.selectable import FromClause

from durable.history.errors import InvalidQuery, SearchTooSlow
from durable.history.stores.postgres_connection import PLANNED, Connection
from durable.history.stores.postgres_errors import BAD_DATA
from durable.history.stores.postgres_sql import DIALECT
from durable.history.stores.sql_search import Searches, Truth
from durable.history.stores.tables import runs

_ZERO = literal_column("0", BigInteger())


class PostgresSearches(Searches):
    """PostgreSQL keeps the order of what it can't take apart; else it may well begin with the runs."""

    def in_order(self, rows: Select[Any]) -> Subquery:
        return rows.offset(_ZERO).subquery("found")

    def runs_of(self, found: Subquery) -> tuple[FromClause, Truth]:
        """Each by its id, whatever the statistics say: what is asked of them stands outside, and moves no plan."""
        own = runs.alias("own_run")
        return select(own).where(own.c.run_id == found.c.run_id).offset(_ZERO).lateral(runs.name), true()


SEARCHES = PostgresSearches(DIALECT)


@asynccontextmanager
async def stopped_after(db: Connection, seconds: float) -> AsyncGenerator[None]:
    """A transaction that only reads, on a held connection. Raises `SearchTooSlow`, and `InvalidQuery` where a value is
    at fault."""
    begin = f"BEGIN READ ONLY; SET LOCAL statement_timeout = {max(1, round(seconds * 1000))}"
    await db.say(f"{begin}; {PLANNED}" if db.address.pooled else begin)
    try:
        yield
    except asyncpg.QueryCanceledError as error:
        raise SearchTooSlow(
            f"the search took longer than {seconds:g} s, and was stopped: ask for fewer runs, by an attribute that few "
            "of them share, or by their times"
        ) from error
    except BAD_DATA as error:
        raise InvalidQuery(f"a value of the query, or its next_page_token, can't be looked for: {error}") from error
    finally:
        await db.end_reading()
