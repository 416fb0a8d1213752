"""Real servers on a free port: they are given a socket that listens already, so nobody has to wait until they do."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from durable import Client

ROOT = Path(__file__).parents[2]


class Site:
    """A folder with an app's database, the servers that run it there, and a browser."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"sqlite:///{folder / 'app.db'}"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.browser = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self._socket.getsockname()[1]}",
            timeout=None,
            limits=httpx.Limits(max_keepalive_connections=0),  # so that any of the processes may answer
        )
        self._servers: list[asyncio.subprocess.Process] = []

    async def serve(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        """``python -m uvicorn --fd … ARGUMENTS``, or another module if the first argument is ``-m``."""
        fd = str(self._socket.fileno())
        command = [*arguments, fd] if arguments[0] == "-m" else ["-m", "uvicorn", "--fd", fd, *arguments]
        server = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "SERVED_FOLDER": str(self.folder), **environment},
            pass_fds=[self._socket.fileno()],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._servers.append(server)
        return server

    async def order(self, name: str) -> str:
        """Order, and wait for the result; ask again when the process that was asked dies."""
        while True:
            try:
                return (await self.browser.post(f"/orders/{name}?wait=1")).raise_for_status().text
            except (httpx.ReadError, httpx.RemoteProtocolError):
                continue

    async def began(self, order: str) -> tuple[int, int]:
        """Pid and version of the process in which the order's last attempt has begun."""
        lines: list[list[str]] = []
        while not lines:
            await asyncio.sleep(0.01)
            if (file := self.folder / "began").exists():
                lines = [line.split() for line in file.read_text().splitlines() if line.startswith(f"{order} ")]
        return int(lines[-1][1]), int(lines[-1][2])

    async def ended(self, server: asyncio.subprocess.Process) -> tuple[int | None, str]:
        """Exit code and output of a server, once it has ended."""
        output, _ = await server.communicate()
        return server.returncode, output.decode()

    async def client(self) -> Client:
        return await Client.connect(self.address)

    async def close(self) -> None:
        for server in self._servers:
            if server.returncode is None:
                os.killpg(server.pid, signal.SIGKILL)
                await server.communicate()
        self._socket.close()
        await self.browser.aclose()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path)
    yield site
    await site.close()
