"""The databases of a sweep: one for each point that is tried, with all tables, and empty."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Protocol

from sqlalchemy import MetaData

from durable import Client
from tests.postgres import OTHERS_END, TABLES, TEMPLATE

forks = multiprocessing.get_context("fork")


class Places(Protocol):
    """Used in one process, which has no other thread, and sent there before."""

    def make(self, tables: MetaData) -> None:
        """To be called once, before all else."""
        ...

    def lend(self) -> str:
        """The address of one."""
        ...

    def give_back(self, address: str) -> None:
        """Nobody works there any more."""
        ...

    def close(self) -> None: ...


@dataclass
class SqlitePlaces:
    """Copies of one file, in a folder that is empty."""

    folder: Path
    _numbers: count[int] = field(default_factory=count)

    def make(self, tables: MetaData) -> None:
        make_tables(f"sqlite:///{self.folder}/template.db", tables)

    def lend(self) -> str:
        folder = self.folder / str(next(self._numbers))
        folder.mkdir()
        shutil.copy(self.folder / "template.db", folder / "durable.db")
        return f"sqlite:///{folder}/durable.db"

    def give_back(self, address: str) -> None:
        shutil.rmtree(Path(address.removeprefix("sqlite:///")).parent)

    def close(self) -> None: ...


@dataclass
class PostgresPlaces:
    """Databases of a server, emptied before they are lent again; ``url`` has a place for their names."""

    url: str
    _made: list[str] = field(default_factory=list[str])
    _free: list[str] = field(default_factory=list[str])
    _tables: MetaData = field(default_factory=MetaData)

    def make(self, tables: MetaData) -> None:
        self._tables = tables

    def lend(self) -> str:
        if self._free:
            return self._free.pop()
        name = f"sweep_{os.getpid()}_{len(self._made)}"
        self._do("postgres", f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        self._made.append(name)
        address = self.url.format(name)
        make_tables(address, self._tables)
        return address

    def give_back(self, address: str) -> None:
        name = next(name for name in self._made if self.url.format(name) == address)
        deletes = "; ".join(f"DELETE FROM {table.name}" for table in (*self._tables.sorted_tables, *TABLES))
        self._do(name, OTHERS_END, deletes)
        self._free.append(address)

    def close(self) -> None:
        for name in self._made:
            self._do("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def _do(self, name: str, *statements: str) -> None:
        import psycopg

        with psycopg.connect(self.url.format(name), autocommit=True) as connection:
            for each in statements:
                connection.execute(each.encode())


def make_tables(address: str, tables: MetaData) -> None:
    """The engine's, and these; in a process of its own, for a client leaves threads."""
    child = forks.Process(target=_make_tables, args=(address, tables))
    child.start()
    child.join()
    assert child.exitcode == 0


def _make_tables(address: str, tables: MetaData) -> None:
    async def make() -> None:
        async with await Client.connect(address) as client, client.engine().begin() as connection:
            await connection.run_sync(tables.create_all)

    asyncio.run(make())
