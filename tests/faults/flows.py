"""What the worker processes of these tests run, and the notes that they leave in a folder."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

from durable import RetryPolicy, activity, workflow

SOON = RetryPolicy(initial_interval=timedelta(milliseconds=1), backoff_coefficient=1.0)


def note(folder: str, what: str) -> None:
    """Leave a line that outlives the process."""
    with (Path(folder) / "notes").open("a") as notes:
        notes.write(f"{what} {os.getpid()}\n")


def notes(folder: Path, what: str) -> list[int]:
    """The processes that have left it."""
    file = folder / "notes"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [int(line.split()[1]) for line in lines if line.split()[0] == what]


@activity.defn(retry_policy=SOON)
async def gate(folder: str) -> int:
    """Waits until the test opens it; tells which process it was in."""
    note(folder, "gate")
    while not (Path(folder) / "open").exists():  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(0.01)
    return os.getpid()


@workflow.defn
class Gated:
    """Passes the gate, and waits for so many signals."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, folder: str, signals: int) -> list[Any]:
        passed = await gate(folder)
        await workflow.wait_condition(lambda: len(self.told) >= signals)
        return [passed, *self.told]

    @workflow.signal
    def tell(self, text: str) -> None:
        self.told.append(text)


@activity.defn(retry_policy=SOON)
async def fatal(folder: str) -> int:
    """Kills its worker until it is mended."""
    note(folder, "fatal")
    if not (Path(folder) / "mended").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return activity.info().attempt


@workflow.defn
async def asks_for_death(folder: str, maximum_attempts: int) -> int:
    policy = RetryPolicy(
        initial_interval=timedelta(milliseconds=1), backoff_coefficient=1.0, maximum_attempts=maximum_attempts
    )
    return await workflow.execute_activity(
        fatal, folder, start_to_close_timeout=timedelta(seconds=60), retry_policy=policy
    )


@workflow.defn
class Fatal:
    """Its code kills its worker until it is mended."""

    @workflow.run
    async def run(self, folder: str) -> str:
        if not os.path.exists(os.path.join(folder, "mended")):  # noqa: ASYNC240 - a workflow has no loop to block
            os._exit(1)
        return "survived"

    @workflow.signal
    def hello(self) -> None: ...


@workflow.defn
async def harmless() -> str:
    return "done"


WORKFLOWS = (Gated, asks_for_death, Fatal, harmless)
ACTIVITIES = (gate, fatal)
