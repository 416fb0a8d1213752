"""What the workers of these tests run: copied to the directory in which they are started."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path

from durable import RetryPolicy, activity, workflow


@activity.defn
async def greeting(name: str) -> str:
    return f"Hello, {name}!"


@workflow.defn
async def hello(name: str) -> str:
    return await greeting(name)


@activity.defn(retry_policy=RetryPolicy(maximum_attempts=1), start_to_close_timeout=timedelta(seconds=20))
async def explode() -> None:
    raise KeyError("no such\x1b[31m \r\nkey")


@workflow.defn
async def failing() -> None:
    await explode()


def note(attempt: int) -> int | None:
    """Leave a note; the attempt on the one that was there before."""
    path = Path("held")
    if path.exists():
        return int(path.read_text())
    path.write_text(str(attempt))
    return None


@activity.defn
async def hold() -> list[int]:
    """The first process to come here stays for ever; the next one finds its note, and tells the attempts of both."""
    first = note(activity.info().attempt)
    if first is not None:
        return [first, activity.info().attempt, os.getpid()]
    print("holding", flush=True)
    await asyncio.Event().wait()
    return []


@workflow.defn
async def holding() -> list[int]:
    return await hold()


@activity.defn
async def block() -> None:
    print("blocking", flush=True)
    time.sleep(3600)  # noqa: ASYNC251 - this is what it does wrong


@workflow.defn
async def blocking() -> None:
    await block()


@activity.defn
async def deafen() -> None:
    """The loop is blocked, and a thread gets two signals that the main thread, asleep, does not hear of."""

    def take_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.pthread_kill(threading.get_ident(), number)

    threading.Timer(0.1, take_signals).start()
    time.sleep(3600)  # noqa: ASYNC251 - this is what it does wrong


@workflow.defn
async def deafening() -> None:
    await deafen()


@workflow.defn
class Box:
    def __init__(self) -> None:
        self.contents: list[int] = []
        self.closed = False

    @workflow.run
    async def run(self) -> list[int]:
        await workflow.wait_condition(lambda: self.closed)
        return self.contents

    @workflow.signal
    def put(self, number: int) -> None:
        self.contents.append(number)

    @workflow.signal
    def close(self) -> None:
        self.closed = True

    @workflow.query
    def so_far(self) -> list[int]:
        return self.contents
