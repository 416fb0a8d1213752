"""Lists of runs, fetched page by page as they are walked; and the histories of what is listed."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from durable.client.deadline import within
from durable.client.description import WorkflowExecution, WorkflowHistory
from durable.client.events import WorkflowHistoryEventFilterType
from durable.client.filter import Filter
from durable.history.standalone import is_standalone
from durable.history.values import RunStatus
from durable.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from durable.client.client import Client


class WorkflowExecutionAsyncIterator:
    """Runs, newest first: ``async for run in client.list_workflows(…)``. Only one page is in memory."""

    def __init__(
        self,
        client: Client,
        filter: Filter,
        *,
        status: RunStatus | None,
        limit: int | None,
        page_size: int,
        next_page_token: bytes | None,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        if page_size < 1:
            raise ValueError(f"a page has 1 run or more, not {page_size}")
        self._client = client
        self._filter = filter
        self._status = status if status is not None else filter.status
        self._left = limit
        self._page_size = page_size
        self._timeout = rpc_timeout
        self._next = _run_id(next_page_token) if next_page_token else None
        self._page: Sequence[WorkflowExecution] | None = None
        self._index = 0

    @property
    def current_page(self) -> Sequence[WorkflowExecution] | None:
        """The page under way; None before the first one is fetched."""
        return self._page

    @property
    def current_page_index(self) -> int:
        """The place in the page of the run that comes next."""
        return self._index

    @property
    def next_page_token(self) -> bytes | None:
        """Where the next page begins, for `Client.list_workflows`; None when there is none."""
        return None if self._next is None else self._next.encode()

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Make the next page the current one. `RPCError` DEADLINE_EXCEEDED when it does not come in time."""
        await within(self._fetch_next_page(page_size), self._timeout, "the next page of the list")

    async def _fetch_next_page(self, page_size: int | None) -> None:
        size = page_size or self._page_size
        batch = max(size, self._page_size) if self._filter.conditions else size
        page: list[WorkflowExecution] = []
        before = self._next
        while len(page) < size:
            wanted = size - len(page)
            found = await self._client.database.store.list_runs(
                self._client.namespace, status=self._status, limit=batch, before=before
            )
            runs = [WorkflowExecution(**WorkflowExecution.fields(run, self._client.data_converter)) for run in found]
            passing = [run for run in runs if self._filter.passes(run) and not is_standalone(run.workflow_type)]
            page.extend(passing[:wanted])
            if len(passing) > wanted:
                before = page[-1].run_id
            elif len(found) < batch:
                before = None
                break
            else:
                before = found[-1].run_id
        self._page, self._index, self._next = page, 0, before

    def __aiter__(self) -> WorkflowExecutionAsyncIterator:
        return self

    async def __anext__(self) -> WorkflowExecution:
        if self._left is not None and self._left <= 0:
            raise StopAsyncIteration
        while self._page is None or self._index >= len(self._page):
            if self._page is not None and self._next is None:
                raise StopAsyncIteration
            await self.fetch_next_page(page_size=None if self._left is None else min(self._left, self._page_size))
        run = self._page[self._index]
        self._index += 1
        if self._left is not None:
            self._left -= 1
        return run

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


def _run_id(token: bytes) -> str:
    """The last run of the page before. `RPCError` INVALID_ARGUMENT for what is no token."""
    try:
        return str(uuid.UUID(token.decode()))
    except ValueError:
        raise RPCError(
            f"{token[:100]!r} is no next_page_token: take it from an earlier list with the same query, "
            "or leave it out to begin with the newest run",
            RPCStatusCode.INVALID_ARGUMENT,
        ) from None
