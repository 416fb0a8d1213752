"""A transaction pooler in front of a PostgreSQL, as small as it can be: a transaction gets the session used last."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.postgres import database_of

SOCKET = ".s.PGSQL.5432"
GREETED_AS = 4711
"""The process id that every client is told."""
KNOWN = {b"user", b"database", b"client_encoding", b"application_name"}
"""Settings that PgBouncer takes from a client that connects."""


class Pooler:
    """Listens in ``directory``; its sessions are those of the superuser in the one database that ``url`` names.

    A client that brings settings of its own is refused if it ``refuses`` them, as PgBouncer does; else they are lost.
    """

    def __init__(self, url: str, directory: Path, *, refuses: bool = False) -> None:
        self.url = f"postgresql://postgres@/{database_of(url)}?host={directory}"
        self._server = Path(url.partition("host=")[2]) / SOCKET
        self._database = database_of(url)
        self._refuses = refuses
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
        packet = await read.readexactly(int.from_bytes(await read.readexactly(4)) - 4)
        unknown = [name for name in packet[4:].split(b"\0")[:-2:2] if name not in KNOWN]
        if self._refuses and unknown:
            told = b"SFATAL\0C08P01\0Munsupported startup parameter: " + unknown[0] + b"\0\0"
            write.write(b"E" + (4 + len(told)).to_bytes(4) + told)
            write.close()
            return
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
            if asked[:1] in (b"X", b""):  # it leaves in the middle: so nobody else gets that session
                session[1].close()
                await answers
                write.close()
                return
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
async def pooling(url: str, directory: Path, *, refuses: bool = False) -> AsyncIterator[str]:
    """The URL of such a pooler in front of the database of ``url``."""
    pooler = Pooler(url, directory, refuses=refuses)
    async with await asyncio.start_unix_server(pooler.serve, directory / SOCKET):
        yield pooler.url
    pooler.close()


@pytest.fixture
def pooled_postgres(postgres: str) -> Iterator[str]:
    """The URL of one, which does not say so, and refuses clients that bring settings. It has a thread of its own."""
    begun: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve(directory: str) -> None:
        over = asyncio.Event()
        async with pooling(postgres, Path(directory), refuses=True) as url:
            begun.set_result((url, asyncio.get_running_loop(), over))
            await over.wait()

    # A socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="pooler-") as directory:
        thread = threading.Thread(target=lambda: asyncio.run(serve(directory)))
        thread.start()
        url, loop, over = begun.result()
        yield url
        loop.call_soon_threadsafe(over.set)
        thread.join()


async def _answers(read: StreamReader, write: StreamWriter) -> bytes:
    """Hand on what the server says, until it is ready for more; that message."""
    while (answer := await _message(read))[:1] not in (b"Z", b""):
        write.write(answer)
    return answer


async def _message(read: StreamReader) -> bytes:
    """One message with its type and length; nothing at the end."""
    try:
        head = await read.readexactly(5)
        return head + await read.readexactly(int.from_bytes(head[1:]) - 4)
    except asyncio.IncompleteReadError:
        return b""
