"""Searches in a SQLite file, on a lane of their own: what takes too long is stopped."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from durable.history.errors import InvalidQuery, SearchTooSlow, StoreUnavailable
from durable.history.host import Host, Lane
from durable.history.stores.sqlite_commit import BAD_DATA
from durable.history.stores.sqlite_file import Connection, explained

T = TypeVar("T")


class Searcher:
    """One search after the other, on a connection that is opened for the first of them."""

    def __init__(self, host: Host, lane: Lane, connect: Callable[[], Connection]) -> None:
        self._host = host
        self._lane = lane
        self._connect = connect
        self._db: Connection | None = None
        self._is_closed = False

    def stop(self) -> None:
        """The one that is under way, and those after it: the store is closed."""
        self._is_closed = True

    async def run(self, work: Callable[[Connection], T], seconds: float) -> T:
        """Its result. Raises `SearchTooSlow` when it takes longer, and `InvalidQuery` where a value is at fault.

        Nothing goes on for a caller who is cancelled.
        """
        is_left = False

        def searching() -> T:
            until = self._host.monotonic() + seconds
            return self._work(work, lambda: is_left or self._is_closed or self._host.monotonic() > until)

        try:
            return await self._lane.run(searching)
        except _Stopped as error:
            if self._is_closed:
                raise StoreUnavailable("the database was closed while it was searched") from error
            raise SearchTooSlow(
                f"the search took longer than {seconds:g} s, and was stopped: ask for fewer runs, by an attribute that "
                "few of them share, or by their times"
            ) from error
        except asyncio.CancelledError:
            is_left = True
            raise

    def _work(self, work: Callable[[Connection], T], is_over: Callable[[], bool]) -> T:
        if self._db is None:
            self._db = self._connect()
        try:
            with explained(self._db.path), self._db.stopped_when(is_over):
                return work(self._db)
        except BAD_DATA as error:
            raise InvalidQuery(f"a value of the query, or its next_page_token, can't be looked for: {error}") from error
        except Exception as error:
            cause = error.__cause__
            if isinstance(cause, sqlite3.Error) and cause.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise _Stopped from error
            raise


class _Stopped(Exception):
    """By `Connection.stopped_when`."""
