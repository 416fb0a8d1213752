"""A list filter as a client asks it: read at once, understood with the search attributes that its namespace has."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from durable.history.errors import InvalidQuery, SearchTooSlow
from durable.history.store import Store
from durable.history.transition import RunInfo
from durable.history.values import RunStatus
from durable.history.visibility.attributes import STATUS_NAMES, SYSTEM, Attribute, AttributeType, RunKind
from durable.history.visibility.meaning import Meaning
from durable.history.visibility.parser import parse, refuse
from durable.history.visibility.query import All, Comparison, Literal, Name, Operator, Query, named
from durable.history.visibility.search import Group, Position, Search, from_token, token
from durable.service import RPCError, RPCStatusCode


class Filter:
    """What ``query`` says of the runs of a namespace that are of one kind.

    `RPCError` INVALID_ARGUMENT says what can't be understood: at once, but for search attributes. Which ones there are
    is known when the database is asked.
    """

    def __init__(
        self,
        query: str,
        namespace: str,
        kind: RunKind = RunKind.WORKFLOW,
        *,
        status: RunStatus | None = None,
        grouped: bool = False,
    ) -> None:
        self._namespace = namespace
        self._kind = kind
        with _told():
            read = parse(query)
            if read.groups and not grouped:
                refuse(query, "GROUP BY is for counting", read.groups[0].at)
            if read.order and grouped:
                refuse(query, "ORDER BY is for lists", read.order[0].name.at)
            self._query = read if status is None else _with_status(read, status)
            Meaning(self._query, kind, namespace, {}).check_system()

    @property
    def what(self) -> str:
        """What one of those is that it finds."""
        return "activity" if self._kind is RunKind.ACTIVITY else "run"

    def position(self, token: bytes) -> Position:
        """Where a page begins. `RPCError` INVALID_ARGUMENT for what is no token of this query."""
        try:
            return from_token(token, self._query, self._kind, self._namespace)
        except ValueError as error:
            raise RPCError(
                f"{token[:100]!r} is no next_page_token here ({error}): take it from an earlier list with the same "
                "query, or leave it out to begin with the first page",
                RPCStatusCode.INVALID_ARGUMENT,
            ) from None

    def token(self, at: Position) -> bytes:
        return token(at, self._query, self._kind, self._namespace)

    async def find(self, store: Store, *, limit: int, after: Position | None) -> list[RunInfo]:
        with _told():
            search = await self._search(store)
            if after is not None:
                Meaning(self._query, self._kind, self._namespace, search.types).check_position(after)
            return await store.list_runs(self._namespace, search, limit=limit, after=after)

    async def count(self, store: Store) -> tuple[list[Group], list[Attribute]]:
        """The groups, and what their values are of; without GROUP BY one group of all."""
        with _told():
            search = await self._search(store)
            meaning = Meaning(self._query, self._kind, self._namespace, search.types)
            attributes = [meaning.attribute(name) for name in self._query.groups]
            return await store.count_runs(self._namespace, search), attributes

    async def _search(self, store: Store) -> Search:
        types: dict[str, AttributeType] = {}
        if any(name.text not in SYSTEM[self._kind] for name in named(self._query)):
            types = await store.attribute_types(self._namespace)
        Meaning(self._query, self._kind, self._namespace, types).check()
        return Search(self._query, self._kind, types)


def _with_status(query: Query, status: RunStatus) -> Query:
    wanted = Comparison(Name("ExecutionStatus", 0), Operator.EQUAL, Literal(STATUS_NAMES[status], 0))
    condition = wanted if query.condition is None else All((wanted, query.condition))
    return Query(f"{query.text}\0{status.name}", condition, query.order, query.groups)


@contextmanager
def _told() -> Generator[None]:
    try:
        yield
    except InvalidQuery as error:
        raise RPCError(str(error), RPCStatusCode.INVALID_ARGUMENT) from error
    except SearchTooSlow as error:
        raise RPCError(str(error), RPCStatusCode.DEADLINE_EXCEEDED) from error
