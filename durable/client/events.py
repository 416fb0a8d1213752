"""A history page by page, as it is and as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING

from durable.client.deadline import within
from durable.client.sending import found
from durable.history import codec
from durable.history.events import HistoryEvent
from durable.history.transition import RunInfo
from durable.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from durable.client.client import Client

LOOK_MIN = 0.02
LOOK_MAX = 1.0
"""Seconds between two looks for new events: the first ones, and once nothing has come for a while."""


class WorkflowHistoryEventFilterType(IntEnum):
    """Which events are wanted. Values are Temporal's."""

    ALL_EVENT = 1
    CLOSE_EVENT = 2


class WorkflowHistoryEventAsyncIterator:
    """Events, oldest first: ``async for event in handle.fetch_history_events()``. Only one page is in memory.

    With ``wait_new_event`` it goes on until the run is closed, each event as it comes; with CLOSE_EVENT it has the
    closing event only (without waiting: none of an open run).
    """

    def __init__(
        self,
        client: Client,
        workflow_id: str,
        run_id: str | None,
        *,
        page_size: int | None,
        next_page_token: bytes | None,
        wait_new_event: bool,
        event_filter_type: WorkflowHistoryEventFilterType,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        if page_size is not None and page_size < 1:
            raise ValueError(f"a page has 1 event or more, not {page_size}")
        self._client = client
        self._workflow_id = workflow_id
        self._page_size = page_size
        self._waits = wait_new_event
        self._only_closing = event_filter_type == WorkflowHistoryEventFilterType.CLOSE_EVENT
        self._timeout = rpc_timeout
        self._run_id, self._after = _place(next_page_token) if next_page_token else (run_id, 0)
        self._ended = False
        self._page: Sequence[HistoryEvent] | None = None
        self._index = 0

    @property
    def current_page(self) -> Sequence[HistoryEvent] | None:
        """The page under way; None before the first one is fetched."""
        return self._page

    @property
    def current_page_index(self) -> int:
        """The place in the page of the event that comes next."""
        return self._index

    @property
    def next_page_token(self) -> bytes | None:
        """Where the next page begins, for `WorkflowHandle.fetch_history_events`; None when there is none."""
        return None if self._ended or self._run_id is None else f"{self._run_id}:{self._after}".encode()

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Make the next page the current one; waiting for new events, it has one or more unless the run is closed.

        `RPCError` NOT_FOUND when there is no such run, DEADLINE_EXCEEDED when it does not come in time.
        """
        what = f"workflow {self._workflow_id!r}: the next page of its history"
        self._page = await within(self._next(page_size or self._page_size), self._timeout, what)
        self._index = 0

    def __aiter__(self) -> WorkflowHistoryEventAsyncIterator:
        return self

    async def __anext__(self) -> HistoryEvent:
        while self._page is None or self._index >= len(self._page):
            if self._ended:
                raise StopAsyncIteration
            await self.fetch_next_page()
        self._index += 1
        return self._page[self._index - 1]

    async def _next(self, size: int | None) -> Sequence[HistoryEvent]:
        if self._ended:
            return []
        wait = LOOK_MIN
        while True:
            run = await self._run()
            is_closed = run.closed_us is not None
            events = await self._events(run, is_closed)
            page = events[:size] if size else events
            if page:
                self._after = page[-1].id
            self._ended = len(page) == len(events) and (is_closed or not self._waits)
            if page or self._ended:
                return page
            wait = LOOK_MIN if await self._stirs(run.run_id, wait) else min(2 * wait, LOOK_MAX)

    async def _run(self) -> RunInfo:
        run = await found(self._client, self._workflow_id, self._run_id)
        self._run_id = run.run_id  # the run that is the latest one now, even if another one follows it
        return run

    async def _events(self, run: RunInfo, is_closed: bool) -> list[HistoryEvent]:
        if self._only_closing and not is_closed:
            return []
        # What came after the run was read stays for the next page: a closing event must not slip into an open run's.
        rows = await self._client.database.store.history(run.run_id, after=self._after)
        events = [each for each in codec.decode_history(rows) if self._after < each.id <= run.last_event_id]
        return events[-1:] if self._only_closing else events

    async def _stirs(self, run_id: str, seconds: float) -> bool:
        """Wait that long, less if the run is closed. Has anything happened in the database? Then more may follow."""
        database = self._client.database
        stirred = asyncio.Event()
        stop_listening = database.listen(lambda _: stirred.set())
        closing = asyncio.ensure_future(database.closing_event(run_id))
        stir = asyncio.ensure_future(stirred.wait())
        try:
            await asyncio.wait([closing, stir], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if closing.done():
                closing.result()  # raises what there is to be raised
            elif stirred.is_set():
                await asyncio.wait([closing], timeout=LOOK_MIN)  # a busy database is no reason to ask all the time
            return stirred.is_set()
        finally:
            stop_listening()
            closing.cancel()
            stir.cancel()


def _place(token: bytes) -> tuple[str, int]:
    """The run, and the last event of the page before. `RPCError` INVALID_ARGUMENT for what is no token."""
    run_id, mark, after = token.decode(errors="replace").partition(":")
    if not mark or not after.isdecimal():
        raise RPCError(
            f"{token[:100]!r} is no next_page_token of a history: leave it out to begin with the first event",
            RPCStatusCode.INVALID_ARGUMENT,
        )
    return run_id, int(after)
