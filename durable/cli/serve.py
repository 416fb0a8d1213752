"""A worker until it is told to stop by a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

from durable.cli import reach
from durable.cli.modules import Definitions
from durable.cli.say import say
from durable.worker import Worker
from durable.worker.attempt import ATTEMPT

STOPS = (signal.SIGINT, signal.SIGTERM)
AT_ONCE = b"durable worker: stopped at once; others take over what it ran\n"


async def serve(
    definitions: Definitions,
    *,
    address: str,
    namespace: str,
    task_queue: str,
    grace: timedelta,
    max_activities: int,
    identity: str | None,
) -> None:
    """Work until SIGINT or SIGTERM; then let activities end within ``grace``, and hand the rest back."""
    with _told_to_stop() as stop:
        converter = definitions.data_converter
        async with await reach.connect(
            address, namespace, create=True, identity=identity, data_converter=converter
        ) as client:
            worker = Worker(
                client,
                task_queue=task_queue,
                workflows=list(definitions.workflows.values()),
                activities=list(definitions.activities.values()),
                interceptors=definitions.interceptors,
                identity=identity,
                max_concurrent_activities=max_activities,
                graceful_shutdown_timeout=grace,
            )
            async with worker:
                say(
                    f"durable worker {client.identity} serves task queue {task_queue} of {address}: "
                    f"workflows {_names(definitions.workflows)}; activities {_names(definitions.activities)}"
                )
                await stop.wait()
                say("durable worker: stopping, and handing back what it runs; a second signal stops it at once")
    _leave_behind()


def _leave_behind() -> None:
    """End here and now when code of activities is still at work, which Python would wait for: it has been told to end,
    and others run it anew."""
    if any(task.get_name().startswith(ATTEMPT) for task in asyncio.all_tasks()):
        sys.stdout.flush()
        os._exit(0)


@contextmanager
def _told_to_stop() -> Generator[asyncio.Event]:
    """Set by the first signal; the second one ends the process there and then.

    A thread of its own is told by what the interpreter writes for each signal. A handler in Python would not do: it
    runs in the main thread alone, and a signal that the kernel gives to another thread does not wake a main thread that
    an activity blocks.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    heard, written = socket.socketpair()
    written.setblocking(False)

    def listen() -> None:
        told = False
        while number := heard.recv(1):
            if number[0] not in STOPS:
                continue
            if told:
                os.write(2, AT_ONCE)
                os._exit(128 + number[0])
            told = True
            loop.call_soon_threadsafe(stop.set)

    with heard, written:
        thread = threading.Thread(target=listen, name="durable signals", daemon=True)
        thread.start()
        wakeup_before = signal.set_wakeup_fd(written.fileno())
        before = {number: signal.signal(number, _nothing) for number in STOPS}
        try:
            yield stop
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup_before)
            written.close()
            thread.join()


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """A signal that has a handler in Python is one that the interpreter tells of."""


def _names(definitions: Iterable[str]) -> str:
    return ", ".join(sorted(definitions)) or "none"
