"""A transaction pooler in front of a PostgreSQL, as small as it can be: a transaction gets the session used last."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.postgres import database_of

SOCKET = ".s.PGSQL.5432"
GREETED_AS = 4711
"""The process id that every client is told."""


class Pooler:
    """Listens in ``directory``; its sessions are those of the superuser in the one database that ``url`` names."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = f"postgresql://postgres@/{database_of(url)}?host={directory}"
        self._server = Path(url.partition("host=")[2]) / SOCKET
        self._database = database_of(url)
        self._idle: list[tuple[StreamReader, StreamWriter]] = []
        self._greeting = b""

    async def _session(self) -> tuple[StreamReader, StreamWriter]:
        if self._idle:
            return self._idle.pop()
        read, write = await asyncio.open_unix_connection(self._server)
        named = f"user\0postgres\0database\0{self._database}\0\0".encode()
        write.write((8 + len(named)).to_bytes(4) + (196_608).to_bytes(4) + named)
        self._greeting = b""
        while (message := await _message(read))[:1] != b"Z":
            self._greeting += message if message[:1] != b"K" else b""
        return read, write

    async def serve(self, read: StreamReader, write: StreamWriter) -> None:
        """One client, until it leaves."""
        await read.readexactly(int.from_bytes(await read.readexactly(4)) - 4)
        self._idle.append(await self._session())
        greeted = (GREETED_AS).to_bytes(4) + bytes(4)
        write.write(self._greeting + b"K" + (12).to_bytes(4) + greeted + b"Z" + (5).to_bytes(4) + b"I")
        while (asked := await _message(read))[:1] not in (b"X", b""):
            await self._transaction(asked, read, write)
        write.close()

    async def _transaction(self, asked: bytes, read: StreamReader, write: StreamWriter) -> None:
        session = await self._session()
        answers = asyncio.ensure_future(_answers(session[0], write))
        while True:
            session[1].write(asked)
            if asked[:1] in (b"Q", b"S"):
                ready = await answers
                if ready[-1:] == b"I":
                    self._idle.append(session)
                    write.write(ready)
                    return
                write.write(ready)
                answers = asyncio.ensure_future(_answers(session[0], write))
            asked = await _message(read)

    def close(self) -> None:
        for _, write in self._idle:
            write.close()


@asynccontextmanager
async def pooling(url: str, directory: Path) -> AsyncIterator[str]:
    """The URL of such a pooler in front of the database of ``url``."""
    pooler = Pooler(url, directory)
    async with await asyncio.start_unix_server(pooler.serve, directory / SOCKET):
        yield pooler.url
    pooler.close()


async def _answers(read: StreamReader, write: StreamWriter) -> bytes:
    """Hand on what the server says, until it is ready for more; that message."""
    while (answer := await _message(read))[:1] != b"Z":
        write.write(answer)
    return answer


async def _message(read: StreamReader) -> bytes:
    """One message with its type and length; nothing at the end."""
    try:
        head = await read.readexactly(5)
        return head + await read.readexactly(int.from_bytes(head[1:]) - 4)
    except asyncio.IncompleteReadError:
        return b""
