"""A line between a program and a PostgreSQL on which a test can have bytes swallowed, or answers lost."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.pooler import SOCKET
from tests.postgres import database_of

CHUNK = 65_536


class Line:
    """``url`` leads through it to the server, by TCP."""

    def __init__(self, url: str) -> None:
        self.url = ""
        self._server = Path(url.partition("host=")[2].partition("&")[0]) / SOCKET
        self._database = database_of(url)
        self._connections: set[_Connection] = set()
        self._losing = b""
        self._every = 0
        self._said = 0
        self.made = 0
        """How many connections were made so far."""
        self.lost = 0
        """How many answers were lost."""

    def mute(self, said: bytes = b"") -> int:
        """From now on nothing passes on the connections, or on those on which ``said`` was said; both ends still think
        that they are there. New ones are sound. How many were muted."""
        muted = [each for each in self._connections if said in each.said]
        for each in muted:
            each.muted = True
        return len(muted)

    def lose_answers(self, to: bytes, *, every: int) -> None:
        """One time in so many that ``to`` is said, the server hears it, and the connection breaks before its answer."""
        self._losing, self._every = to, every

    def loses(self, said: bytes) -> bool:
        if not self._every or self._losing not in said:
            return False
        self._said += 1
        if self._said % self._every:
            return False
        self.lost += 1
        return True

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Line]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            self.url = f"postgresql://postgres@127.0.0.1:{port}/{self._database}"
            yield self
            for each in list(self._connections):
                each.close()

    async def _serve(self, read: StreamReader, write: StreamWriter) -> None:
        connection = _Connection(self, write, *await asyncio.open_unix_connection(self._server))
        self._connections.add(connection)
        self.made += 1
        await asyncio.wait([asyncio.ensure_future(connection.ask(read)), asyncio.ensure_future(connection.answer())])
        self._connections.discard(connection)


class _Connection:
    def __init__(self, line: Line, answers: StreamWriter, read: StreamReader, write: StreamWriter) -> None:
        self._line = line
        self._answers = answers
        self._read = read
        self._write = write
        self._loses = False
        self.said = b""
        self.muted = False

    async def ask(self, asked: StreamReader) -> None:
        """What the program says."""
        while data := await asked.read(CHUNK):
            self.said += data
            self._loses = self._loses or self._line.loses(data)
            if not self.muted:
                self._write.write(data)
        self.close()

    async def answer(self) -> None:
        while data := await self._read.read(CHUNK):
            if self._loses:
                break
            if not self.muted:
                self._answers.write(data)
        self.close()

    def close(self) -> None:
        self._write.close()
        self._answers.close()


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    """A line to the database of ``url``, with the server's Unix socket at its other end."""
    async with Line(url).open() as line:
        yield line
