"""Where the chaos takes place: a database that can be read from outside, and perhaps restarted."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

Rows = Sequence[Sequence[Any]]


class Place(Protocol):
    """``restart`` is None where there is nothing to restart."""

    @property
    def address(self) -> str: ...

    @property
    def restart(self) -> Callable[[], None] | None: ...

    async def ask(self, question: str) -> Rows:
        """The rows that a SELECT finds."""
        ...

    def freeze(self, pid: int) -> None:
        """SIGSTOP."""
        ...


class SqlitePlace:
    """A file, and whoever holds its turnstile when it is frozen would freeze all the others."""

    restart = None

    def __init__(self, file: Path) -> None:
        self._file = file
        self.address = f"sqlite:///{file}"

    async def ask(self, question: str) -> Rows:
        with closing(sqlite3.connect(self._file, timeout=30)) as db:
            return db.execute(question).fetchall()

    def freeze(self, pid: int) -> None:
        while True:
            freeze(pid)
            with open(f"{self._file}-lock", "rb+") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    os.kill(pid, signal.SIGCONT)


class PostgresPlace:
    """A database of a server; whoever is frozen there may be in the middle of a transaction."""

    def __init__(self, address: str, restart: Callable[[], None] | None = None) -> None:
        self.address = address
        self.restart = restart

    async def ask(self, question: str) -> Rows:
        import asyncpg

        connection = await asyncpg.connect(self.address)
        try:
            rows: Rows = await connection.fetch(question)
            return rows
        finally:
            await connection.close()

    def freeze(self, pid: int) -> None:
        freeze(pid)


def freeze(pid: int) -> None:
    """SIGSTOP, and the process has stopped when this returns."""
    os.kill(pid, signal.SIGSTOP)
    while b"T" not in subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True).stdout:
        pass  # the signal is on its way
