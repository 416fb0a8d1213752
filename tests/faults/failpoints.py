"""Failpoints in a process: before and after each SQL statement and each await. At one of them it kills itself.

They are set where all pass: in the drivers (sqlite3, which aiosqlite uses too, asyncpg, psycopg) and in the steps of
all tasks of all event loops. So whatever the engine or an activity asks of a database, over whichever connection, is
counted, and whatever they wait for. An await that does not suspend is none: nothing outside the process's memory
happens there. Nothing of this is taken back: it is for a process of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Awaitable, Coroutine, Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from sqlite3 import dbapi2
from types import FrameType
from typing import Any, NamedTuple, TypeVar

import psycopg
from asyncpg import protocol

from durable.context import current_activity

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
TEXT_MAX = 80


class Kind(NamedTuple):
    """``moment``: before, after; ``whose``: engine, activity; ``what``: statement, commit, await.

    On SQLite a transaction of the program's own counts as an activity's.
    """

    moment: str
    whose: str
    what: str

    def __str__(self) -> str:
        return f"{self.moment} {self.what} of {self.whose}"


class Point(NamedTuple):
    """The ``number``-th time that a process is there."""

    kind: Kind
    where: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind}: {self.where} ({self.number})"


class Failpoints:
    """The points of this process, which kills itself at ``deadly``; `install` once."""

    def __init__(self, deadly: Point | None = None) -> None:
        self.passed: list[Point] = []
        self._deadly = deadly
        self._numbers: Counter[tuple[Kind, str]] = Counter()
        self._lock = threading.Lock()
        self._over = False

    def install(self) -> None:
        _watch_loops(self)
        _watch_sqlite(self)
        _watch_asyncpg(self)
        _watch_psycopg(self)

    def end(self) -> None:
        """What comes now is of no interest."""
        self._over = True

    def is_at(self, moment: str, whose: str, what: str, where: str) -> None:
        with self._lock:
            if self._over:
                return
            kind = Kind(moment, whose, what)
            self._numbers[kind, where] += 1
            point = Point(kind, where, self._numbers[kind, where])
            self.passed.append(point)
            if point == self._deadly:
                os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def around(self, whose: str, statement: str) -> Generator[None]:
        where = " ".join(statement.split())[:TEXT_MAX]
        what = "commit" if where.upper().startswith("COMMIT") else "statement"
        self.is_at("before", whose, what, where)
        yield
        self.is_at("after", whose, what, where)


def _whose() -> str:
    """Of what runs in the context of an attempt, be it a task or a thread."""
    return "engine" if current_activity.get() is None else "activity"


# SQL. ---------------------------------------------------------------------------------------------------------------


def _watch_sqlite(points: Failpoints) -> None:
    class Cursor(sqlite3.Cursor):
        def execute(self, statement: str, values: Any = ()) -> Any:
            with points.around(self._whose, statement):
                return super().execute(statement, values)

        def executemany(self, statement: str, rows: Any) -> Any:
            with points.around(self._whose, statement):
                return super().executemany(statement, rows)

        @property
        def _whose(self) -> str:
            connection: Any = self.connection
            return str(connection.whose)

    class Connection(sqlite3.Connection):
        def __init__(self, *args: Any, isolation_level: Any = None, **options: Any) -> None:
            super().__init__(*args, isolation_level=isolation_level, **options)
            # Of the engine's own connections, sqlite3 begins no transaction by itself; and no context tells whose it
            # is in the threads of aiosqlite.
            self.whose = "activity" if isolation_level else "engine"

        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def execute(self, statement: str, values: Any = ()) -> Any:
            with points.around(self.whose, statement):
                return super().execute(statement, values)

        def executemany(self, statement: str, rows: Any) -> Any:
            with points.around(self.whose, statement):
                return super().executemany(statement, rows)

        def commit(self) -> None:
            with points.around(self.whose, "COMMIT"):
                super().commit()

        def rollback(self) -> None:
            with points.around(self.whose, "ROLLBACK"):
                super().rollback()

    connect: Any = sqlite3.connect

    def connecting(*args: Any, **options: Any) -> Any:
        return connect(*args, factory=Connection, **options)

    modules: Any = (sqlite3, dbapi2)
    for module in modules:
        module.connect = connecting


def _watch_asyncpg(points: Failpoints) -> None:
    proto: Any = protocol.Protocol
    query, prepare, execute, execute_many = proto.query, proto.prepare, proto.bind_execute, proto.bind_execute_many

    async def querying(self: Any, statement: str, *args: Any, **options: Any) -> Any:
        with points.around(_whose(), statement):
            return await query(self, statement, *args, **options)

    async def preparing(self: Any, name: str, statement: str, *args: Any, **options: Any) -> Any:
        with points.around(_whose(), f"prepare {statement}"):
            return await prepare(self, name, statement, *args, **options)

    async def executing(self: Any, state: Any, *args: Any, **options: Any) -> Any:
        with points.around(_whose(), state.query):
            return await execute(self, state, *args, **options)

    async def executing_many(self: Any, state: Any, *args: Any, **options: Any) -> Any:
        with points.around(_whose(), state.query):
            return await execute_many(self, state, *args, **options)

    proto.query, proto.prepare = querying, preparing
    proto.bind_execute, proto.bind_execute_many = executing, executing_many


def _watch_psycopg(points: Failpoints) -> None:
    """``_exec_command`` is its BEGIN, COMMIT and ROLLBACK."""
    cursor: Any = psycopg.Cursor
    connection: Any = psycopg.Connection
    execute, command = cursor.execute, connection._exec_command

    def executing(self: Any, statement: Any, *args: Any, **options: Any) -> Any:
        with points.around(_whose(), str(statement)):
            return execute(self, statement, *args, **options)

    def commanding(self: Any, statement: Any, *args: Any) -> Generator[Any, Any, Any]:
        text = statement.decode() if isinstance(statement, bytes) else str(statement)
        with points.around(_whose(), text):
            return (yield from command(self, statement, *args))

    cursor.execute, connection._exec_command = executing, commanding


# Awaits. ------------------------------------------------------------------------------------------------------------


def _watch_loops(points: Failpoints) -> None:
    """Those that are made from now on: of the program, and of the thread that renews leases."""

    def make(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any) -> Any:
        return asyncio.Task(_run(_Watched(points, coroutine)), loop=loop, **options)

    base: Any = asyncio.BaseEventLoop
    begin = base.__init__

    def beginning(self: Any, *args: Any) -> None:
        begin(self, *args)
        self.set_task_factory(make)

    base.__init__ = beginning


async def _run(coroutine: Awaitable[T]) -> T:
    return await coroutine


class _Watched(Awaitable[T]):
    """A coroutine, carried from wait to wait."""

    def __init__(self, points: Failpoints, coroutine: Coroutine[Any, Any, T]) -> None:
        self._points = points
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, T]:
        error: BaseException | None = None
        while True:
            try:
                awaited = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            error = None
            where = _where(self._coroutine)
            self._points.is_at("before", _whose(), "await", where)
            try:
                yield awaited
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as thrown:
                error = thrown
            self._points.is_at("after", _whose(), "await", where)


def _where(coroutine: Any) -> str:
    """The line that waits: the innermost one of this project, if there is one."""
    found = ""
    while coroutine is not None:
        frame: FrameType | None = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            is_ours, name = _file(frame.f_code.co_filename)
            if is_ours or not found:
                found = f"{name}:{frame.f_lineno} {frame.f_code.co_name}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return found


@cache
def _file(name: str) -> tuple[bool, str]:
    """Is it one of this project's? And its short name."""
    file = Path(name)
    is_ours = file.is_relative_to(ROOT) and file != Path(__file__)
    return is_ours, str(file.relative_to(ROOT)) if is_ours else file.name
