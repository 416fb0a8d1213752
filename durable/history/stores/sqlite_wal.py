"""The WAL of a SQLite file kept short; who looks after the database is told while a reader prevents that.

SQLite begins its WAL anew only in a moment when nobody reads from it. Where many read there may be none, so it is made.
A transaction that reads and never ends nobody can pass.
"""

from __future__ import annotations

import logging
import os

from durable.history.errors import StoreUnavailable
from durable.history.stores.sqlite_file import WAL_BYTES_MAX, Connection

logger = logging.getLogger("durable.store")

FAILURES_BEFORE_WARNING = 2
"""One may be a reader that takes its time."""


class Wal:
    """`look` after each commit, which costs microseconds as long as the WAL is short."""

    def __init__(self, db: Connection, bytes_max: int = WAL_BYTES_MAX) -> None:
        self._db = db
        self._path = f"{db.path}-wal"
        self._bytes_max = bytes_max
        self._next = bytes_max
        self._failures = 0

    def look(self) -> None:
        length = self._length()
        if length <= self._bytes_max:
            self._next, self._failures = self._bytes_max, 0
        elif length > self._next:
            self._next = length + self._bytes_max // 4
            self._empty(length)

    def _empty(self, length: int) -> None:
        try:
            emptied = self._db.empty_wal()
        except StoreUnavailable as error:
            logger.warning("%s of %d MiB could not be emptied: %s", self._path, length >> 20, error)
            return
        self._failures = 0 if emptied else self._failures + 1
        if self._failures == FAILURES_BEFORE_WARNING:
            logger.warning(
                "%s has grown to %d MiB: a transaction that does not end reads from it, so that it can't be emptied, "
                "and grows until the disk is full; end that transaction (`durable doctor` names the process)",
                self._path,
                length >> 20,
            )

    def _length(self) -> int:
        try:
            return os.stat(self._path).st_size
        except OSError:
            return 0
