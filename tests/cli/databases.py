"""A database of either kind that has nothing in it yet, and may be asked and spoilt from outside."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.postgres import Server


class Database(NamedTuple):
    url: str
    run: Callable[[str], Sequence[Sequence[Any]]]
    """One statement, committed; the rows that it brings."""


def sqlite_database(path: Path) -> Database:
    def run(statement: str) -> Sequence[Sequence[Any]]:
        with closing(sqlite3.connect(path)) as raw, raw:
            return raw.execute(statement).fetchall()

    return Database(f"sqlite:///{path}", run)


def postgres_database(server: Server, name: str) -> Database:
    return Database(server.url(name), lambda statement: server.run(statement, name))


@pytest.fixture
def empty_postgres(postgres_server: Server) -> Iterator[Database]:
    name = postgres_server.create(template="template0")
    yield postgres_database(postgres_server, name)
    postgres_server.drop(name)


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return sqlite_database(tmp_path / "app.db")
    database: Database = request.getfixturevalue("empty_postgres")
    return database
