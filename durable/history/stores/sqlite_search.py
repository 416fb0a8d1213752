"""Searches in a SQLite file, on a lane of their own: what takes too long is interrupted."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar

from durable.history.errors import InvalidQuery, SearchTooSlow
from durable.history.host import Lane
from durable.history.stores.sqlite_commit import BAD_DATA
from durable.history.stores.sqlite_file import Connection, explained

T = TypeVar("T")


class Searcher:
    """One search after the other, on a connection that is opened for the first of them."""

    def __init__(self, lane: Lane, connect: Callable[[], Connection]) -> None:
        self._lane = lane
        self._connect = connect
        self._db: Connection | None = None
        self._under_way: _Job | None = None
        self._changing = threading.Lock()

    async def run(self, work: Callable[[Connection], T], seconds: float) -> T:
        """Its result. Raises `SearchTooSlow` when it takes longer, and `InvalidQuery` where a value is at fault.

        Nothing goes on for a caller who is cancelled.
        """
        this = _Job()
        stop = asyncio.get_running_loop().call_later(seconds, self._interrupt, this)
        try:
            return await self._lane.run(lambda: self._work(this, work))
        except _Interrupted as error:
            raise SearchTooSlow(
                f"the search took longer than {seconds:g} s, and was stopped: ask for fewer runs, by an attribute that "
                "few of them share, or by their times"
            ) from error
        except asyncio.CancelledError:
            self._interrupt(this)
            raise
        finally:
            stop.cancel()

    def _work(self, this: _Job, work: Callable[[Connection], T]) -> T:
        db = self._db = self._db or self._connect()
        with self._changing:
            if this.is_stopped:
                raise _Interrupted
            self._under_way = this
        try:
            with explained(db.path):
                return work(db)
        except BAD_DATA as error:
            raise InvalidQuery(f"a value of the query, or its next_page_token, can't be looked for: {error}") from error
        except Exception as error:
            cause = error.__cause__
            if isinstance(cause, sqlite3.Error) and cause.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise _Interrupted from error
            raise
        finally:
            with self._changing:
                self._under_way = None

    def _interrupt(self, this: _Job) -> None:
        """Stop it, and no other one that has begun since."""
        with self._changing:
            this.is_stopped = True
            if self._under_way is this and self._db is not None:
                self._db.interrupt()


class _Job:
    """One search."""

    is_stopped = False


class _Interrupted(Exception):
    """By ourselves."""
