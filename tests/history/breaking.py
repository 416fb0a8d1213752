"""What breaks at a statement of a PostgreSQL store's session: its answer lost, a wait for ever, the session ended."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from durable.history.stores.postgres import PostgresStore
from durable.history.stores.postgres_connection import Raw
from durable.history.transition import Outcome, Write
from tests.postgres import Server, database_of

T = TypeVar("T")

WRITES = "WITH write_0"
"""How the statement begins that writes most of a commit."""


class Faulty:
    """A session on which something happens at a statement whose beginning fits ``at``, a pattern; then no more."""

    def __init__(self, raw: Raw, at: str, happens: Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]]):
        self._raw = raw
        self._at = at
        self._happens: Callable[..., Any] | None = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    async def execute(self, query: str, *args: object) -> str:
        return str(await self._ask(query, self._raw.execute(query, *args)))

    async def fetch(self, query: str, *args: object) -> list[Sequence[Any]]:
        rows: list[Sequence[Any]] = await self._ask(query, self._raw.fetch(query, *args))
        return rows

    async def _ask(self, query: str, asked: Coroutine[Any, Any, T]) -> T:
        happens = self._happens
        if happens is None or not re.match(self._at, query, re.DOTALL):
            return await asked
        self._happens = None
        result: T = await happens(asked)
        return result


async def break_at(store: PostgresStore, at: str, happens: Any) -> None:
    db = store._db  # pyright: ignore[reportPrivateUsage]
    async with db.held() as raw:
        db._raw = Faulty(raw, at, happens)  # pyright: ignore[reportPrivateUsage]


async def lose_the_answer(asked: Coroutine[Any, Any, Any]) -> Any:
    await asked
    raise ConnectionResetError("the line went dead")


async def lose_the_question(asked: Coroutine[Any, Any, Any]) -> Any:
    asked.close()
    raise ConnectionResetError("the line went dead")


async def either(store: PostgresStore, write: Write) -> Outcome:
    """Its outcome: at once, or when what is in its way is gone."""
    answer = (await store.commit([write]))[0]
    return await answer if isinstance(answer, asyncio.Future) else answer


def end_sessions(server: Server, url: str) -> None:
    server.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database_of(url)}'")
