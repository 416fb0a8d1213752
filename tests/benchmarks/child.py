"""One benchmark or curve, once, in a process of its own: it is told sizes as JSON, and writes figures as JSON."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from durable.worker import tune_garbage_collection
from tests.benchmarks import claim, crash, curves, environments, floor, guard, standing, workloads
from tests.benchmarks.figures import Sizes
from tests.benchmarks.server import Databases

ROOT = Path(__file__).resolve().parents[2]

T = TypeVar("T")
Figures = dict[str, float]
MEASURES: dict[str, Callable[[Sizes, str], Awaitable[Figures]]] = {
    "floor": floor.measure,
    "W1": workloads.w1,
    "W2": workloads.w2,
    "guard": guard.measure,
    "W3": workloads.w3,
    "W4": workloads.w4,
    "W5": crash.measure,
    "W6": workloads.w6,
    "replay": standing.replay,
    "parked": standing.parked,
    "claim": claim.measure,
    "tests": environments.measure,
}


class Failed(Exception):
    """A benchmark did not get to its end."""


def measure(name: str, sizes: Sizes, directory: Path, databases: Databases | None, type: type[T]) -> T:
    """Run it in a new process, on a new PostgreSQL database, or on a new SQLite one under ``directory``.

    Raises `Failed` with what it said.
    """
    with empty(directory, databases) as url:
        command = (sys.executable, "-m", "tests.benchmarks.child", name, msgspec.json.encode(sizes).decode(), url)
        said = run(name, command)
    return msgspec.json.decode(said, type=type)


def empty(directory: Path, databases: Databases | None) -> AbstractContextManager[str]:
    """The URL of a database with nothing in it, gone at the end."""
    return _file(directory) if databases is None else databases.one()


@contextmanager
def _file(directory: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="durable-bench-", dir=directory) as own:
        yield f"sqlite:///{own}/bench.db"


def run(name: str, command: tuple[str, ...]) -> str:
    """What it writes to stdout. Raises `Failed`."""
    ended = subprocess.run(command, capture_output=True, cwd=ROOT, text=True)
    if ended.returncode:
        raise Failed(f"{name} ended with exit code {ended.returncode}:\n{ended.stderr}")
    return ended.stdout


def main(name: str, sizes: str, url: str) -> None:
    measure: Callable[[Sizes, str], Awaitable[object]] = {**MEASURES, **curves.MEASURES}[name]
    tune_garbage_collection()  # as `durable worker` does

    async def measured() -> object:
        return await measure(msgspec.json.decode(sizes, type=Sizes), url)

    sys.stdout.write(msgspec.json.encode(asyncio.run(measured())).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
