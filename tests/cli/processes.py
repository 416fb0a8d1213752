"""The `durable` command as real processes, in a directory of their own."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import forked

ROOT = Path(__file__).resolve().parent.parent.parent


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "DURABLE_ADDRESS"}
    return {**kept, "PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line that it wrote to stderr."""
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()


class RunningWorker:
    """A worker that serves; ``said`` is the line in which it says so."""

    def __init__(self, process: Process, said: str) -> None:
        self.process = process
        self.said = said

    @property
    def pid(self) -> int:
        return self.process.pid

    async def prints(self) -> str:
        """The next line on its stdout, as soon as it is there."""
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    async def ended(self) -> Ended:
        out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Ended(self.process.returncode, out.decode(), err.decode())

    async def stop(self) -> Ended:
        self.process.terminate()
        return await self.ended()


class Shell:
    """Runs the command in ``directory``, whose default address is the file durable.db in it; ``by`` another one.

    ``forks``: what is run to its end is run by a process that has loaded the library, and not by a Python of its own.
    """

    def __init__(self, directory: Path, *, by: Sequence[str] = (), forks: bool = False) -> None:
        self.directory = directory
        self._by = by
        self._forks = forks
        self.address = f"sqlite:///{directory / 'durable.db'}"

    async def __call__(self, *args: str) -> Ended:
        if self._forks:
            ended = await asyncio.to_thread(
                forked.run, "-m", "durable", *args, directory=self.directory, environment=_environment()
            )
            return Ended(ended.returncode, ended.stdout, ended.stderr)
        process = await self._start(*args)
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    async def fine(self, *args: str) -> str:
        """What a command that succeeds prints."""
        ended = await self(*args)
        assert ended.code == 0, ended
        return ended.out

    @asynccontextmanager
    async def worker(self, *args: str) -> AsyncIterator[RunningWorker]:
        """A worker that serves; whoever leaves it running gets it killed."""
        process = await self._start("worker", *args)
        try:
            assert process.stderr is not None
            told = ""
            while " serves " not in (line := (await process.stderr.readline()).decode()):
                told += line
                assert line, f"the worker ended: {told}"
            yield RunningWorker(process, line.strip())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _start(self, *args: str) -> Process:
        return await asyncio.create_subprocess_exec(
            *self._by,
            sys.executable,
            "-m",
            "durable",
            *args,
            cwd=self.directory,
            env=_environment(),
            stdout=PIPE,
            stderr=PIPE,
        )
