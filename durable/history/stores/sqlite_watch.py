"""Has anybody else committed to this SQLite file? Asked many times a second, so it costs microseconds."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence

from durable.history.stores.sqlite_file import READ_PULSE, Connection, explained


class Watch:
    """Looks on through ``db``; what the connections of ``own`` commit is no news. Any thread may ask."""

    def __init__(self, db: Connection, own: Sequence[Connection]) -> None:
        self._db = db
        self._own = own
        self._turn = threading.Lock()
        self._closed = False
        self._version = self._data_version()
        self._foreign: int = db.one(READ_PULSE)

    def close(self) -> None:
        """Nobody asks the connection any more."""
        with self._turn:
            self._closed = True

    def is_worth_asking(self) -> bool:
        """May `changed` have something to say, be it an error? This is asked all the time."""
        with self._turn:
            try:
                return not self._closed and self._data_version() != self._version
            except sqlite3.Error:
                return True

    def changed(self) -> bool:
        """Tells of commits that matter to whoever polls; a renewed lease does not."""
        with self._turn, explained(self._db.path):
            version = self._data_version()
            if version == self._version:
                return False
            done = sum(connection.pulses_done for connection in self._own)
            pulses: int = self._db.one(READ_PULSE)
            begun = sum(connection.pulses_begun for connection in self._own)
        if pulses - begun <= self._foreign <= pulses - done:
            # What came may be all our own. While a commit of ours is under way that is not certain: look again then.
            if begun == done:
                self._version = version
            return False
        self._version, self._foreign = version, pulses - done
        return True

    def _data_version(self) -> int:
        return int(self._db.one("PRAGMA data_version"))
