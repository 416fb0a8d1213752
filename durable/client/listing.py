"""Lists fetched page by page as they are walked: of runs, and of the activities that clients start by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from durable.client.deadline import within
from durable.client.description import WorkflowExecution, WorkflowHistory
from durable.client.events import WorkflowHistoryEventFilterType
from durable.client.filter import Filter
from durable.history.transition import RunInfo
from durable.history.visibility.search import Position, position

if TYPE_CHECKING:
    from durable.client.client import Client

T = TypeVar("T")


class Pager(Generic[T]):
    """What passes a filter, in its order. Only one page is in memory."""

    def __init__(
        self,
        client: Client,
        filter: Filter,
        shown: Callable[[RunInfo], T],
        *,
        limit: int | None,
        page_size: int,
        next_page_token: bytes | None,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        if page_size < 1:
            raise ValueError(f"a page has 1 {filter.what} or more, not {page_size}")
        self._client = client
        self._filter = filter
        self._shown = shown
        self._left = limit
        self._page_size = page_size
        self._timeout = rpc_timeout
        self._next: Position | None = filter.position(next_page_token) if next_page_token else None
        self._page: Sequence[T] | None = None
        self._index = 0

    @property
    def current_page(self) -> Sequence[T] | None:
        """The page under way; None before the first one is fetched."""
        return self._page

    @property
    def current_page_index(self) -> int:
        """The place in the page of the one that comes next."""
        return self._index

    @property
    def next_page_token(self) -> bytes | None:
        """Where the next page begins, for another list with the same query; None when there is none."""
        return None if self._next is None else self._filter.token(self._next)

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Make the next page the current one. `RPCError` DEADLINE_EXCEEDED when it does not come in time, also when the
        database has stopped looking; INVALID_ARGUMENT for a query that can't be understood."""
        await within(self._fetch_next_page(page_size or self._page_size), self._timeout, "the next page of the list")

    async def _fetch_next_page(self, size: int) -> None:
        # One more than the page has tells whether there is another page.
        found = await self._filter.find(self._client.database.store, limit=size + 1, after=self._next)
        page = found[:size]
        self._page, self._index = [self._shown(run) for run in page], 0
        self._next = position(page[-1]) if len(found) > size else None

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> T:
        if self._left is not None and self._left <= 0:
            raise StopAsyncIteration
        while self._page is None or self._index >= len(self._page):
            if self._page is not None and self._next is None:
                raise StopAsyncIteration
            await self.fetch_next_page(page_size=None if self._left is None else min(self._left, self._page_size))
        self._index += 1
        if self._left is not None:
            self._left -= 1
        return self._page[self._index - 1]


class WorkflowExecutionAsyncIterator(Pager[WorkflowExecution]):
    """Runs: ``async for run in client.list_workflows(…)``."""

    def __init__(self, client: Client, filter: Filter, **options: Any) -> None:
        def shown(run: RunInfo) -> WorkflowExecution:
            return WorkflowExecution(**WorkflowExecution.fields(run, client.data_converter))

        super().__init__(client, filter, shown, **options)

    def __aiter__(self) -> WorkflowExecutionAsyncIterator:
        return self

    async def map_histories(
        self,
        *,
        event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT,
        skip_archival: bool = False,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> AsyncIterator[WorkflowHistory]:
        """The histories of the runs, each fetched when it is asked for: what `Replayer.replay_workflows` takes.

        The options are those of `WorkflowHandle.fetch_history`.
        """
        async for run in self:
            yield await self._client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history(
                event_filter_type=event_filter_type, rpc_timeout=rpc_timeout
            )
