"""One benchmark, once, in a process of its own: sizes as JSON on the command line, figures as JSON on stdout."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from tests.benchmarks import crash, environments, floor, guard, standing, workloads
from tests.benchmarks.figures import Sizes

ROOT = Path(__file__).resolve().parents[2]

Figures = dict[str, float]
MEASURES: dict[str, Callable[[Sizes, Path], Awaitable[Figures]]] = {
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
    "tests": environments.measure,
}


class Failed(Exception):
    """A benchmark did not get to its end."""


def measure(name: str, sizes: Sizes, directory: Path) -> Figures:
    """Run a benchmark in a new process, on a new database under ``directory``. Raises `Failed` with what it said."""
    with tempfile.TemporaryDirectory(prefix="durable-bench-", dir=directory) as own:
        command = [sys.executable, "-m", "tests.benchmarks.child", name, msgspec.json.encode(sizes).decode(), own]
        ended = subprocess.run(command, capture_output=True, cwd=ROOT, text=True)
    if ended.returncode:
        raise Failed(f"{name} ended with exit code {ended.returncode}:\n{ended.stderr}")
    return msgspec.json.decode(ended.stdout, type=Figures)


def main(name: str, sizes: str, directory: str) -> None:
    figures = asyncio.run(_measured(name, msgspec.json.decode(sizes, type=Sizes), Path(directory)))
    sys.stdout.write(msgspec.json.encode(figures).decode())


async def _measured(name: str, sizes: Sizes, directory: Path) -> Figures:
    return await MEASURES[name](sizes, directory)


if __name__ == "__main__":
    main(*sys.argv[1:])
