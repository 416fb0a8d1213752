"""A PostgreSQL for benchmarks: that of the tests, but as durable as its defaults are."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.postgres import Server


class Databases:
    """Empty databases on one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._numbers = count(1)

    @property
    def facts(self) -> str:
        ((version, fsync, commit),) = self._server.run(
            "SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit')"
        )
        return f"PostgreSQL {version}, fsync {fsync}, synchronous_commit {commit}"

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a new one, gone at the end."""
        name = f"bench_{next(self._numbers)}"
        self._server.run(f"CREATE DATABASE {name}")
        try:
            yield self._server.url(name)
        finally:
            self._server.drop(name)


@contextmanager
def running(directory: Path) -> Iterator[Databases]:
    """A new server under ``directory``."""
    own = Path(tempfile.mkdtemp(prefix="durable-bench-pg-", dir=directory))
    try:
        server = Server(own)
        try:
            # What the tests do without.
            for setting in ("fsync", "full_page_writes"):
                server.run(f"ALTER SYSTEM SET {setting} = on")
            server.restart()
            yield Databases(server)
        finally:
            server.go_away()  # what `stop` would end is the process from before the restart
            server.stop()
    finally:
        shutil.rmtree(own, ignore_errors=True)
