"""Whom the watchdog interrupts, and whom it must not."""

from __future__ import annotations

import asyncio
import ctypes
import operator
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from durable.history.host import Lane, Machine
from durable.worker.watchdog import DeadlockError, Stepper, _Batch


class Host(Machine):
    """Its clock can be set ahead, as it shows itself to who was stopped for a while; it tells who reads it."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.readers: list[int] = []
        self.lanes: list[Lane] = []

    def monotonic(self) -> float:
        self.readers.append(threading.get_ident())
        return time.monotonic() + self.ahead

    def lane(self, name: str) -> Lane:
        self.lanes.append(super().lane(name))
        return self.lanes[-1]


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    yield host
    for lane in host.lanes:
        lane.close()


def stuck(_job: Any, _stack: str) -> str:
    return "stuck"


async def test_a_process_that_was_stopped_takes_no_workflow_code_for_stuck(host: Host) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def step(job: str) -> str:
        begun.set()
        goes_on.wait()
        return job

    running = asyncio.ensure_future(Stepper(host, step, stuck, 0.2).run(["job"]))
    await asyncio.to_thread(begun.wait)
    host.ahead = 100.0
    host.readers.clear()
    while threading.get_ident() not in host.readers:  # noqa: ASYNC110 (the watchdog looks by the clock)
        await asyncio.sleep(0.01)
    goes_on.set()

    assert await running == ["job"]


async def test_an_interrupt_that_comes_when_its_job_has_just_ended_costs_that_job_only(host: Host) -> None:
    """The job is one call of C, which raises in its own thread: that is heard once it has ended."""
    lane = host.lane("known")
    host.lane = lambda name: lane  # type: ignore[method-assign]
    thread_id = await lane.run(threading.get_ident)
    late = partial(
        ctypes.pythonapi.PyThreadState_SetAsyncExc, ctypes.c_ulong(thread_id), ctypes.py_object(DeadlockError)
    )
    on_time = partial(abs, 1)
    stepper: Stepper[Any, Any] = Stepper(host, operator.call, stuck, 60.0)

    assert await stepper.run([late, on_time]) == ["stuck", 1]
    assert await stepper.run([on_time]) == [1]


CALLED_OFF = """
import sys
import threading
from durable.worker.watchdog import _hear_out

_hear_out(threading.get_ident())
sys.setprofile(lambda *_: None)
print("profiled")
"""


def test_a_process_can_be_profiled_after_an_interrupt_was_called_off() -> None:
    ended = subprocess.run([sys.executable, "-c", CALLED_OFF], capture_output=True, text=True, timeout=30, check=False)

    assert (ended.stdout, ended.stderr) == ("profiled\n", "")


def test_who_has_ended_is_not_interrupted(host: Host) -> None:
    batch = _Batch([1, 2], lambda job: job, stuck, host)
    began = batch.began
    batch.work()

    assert batch.interrupt(began) is None
    assert batch.interrupt(batch.began) is None
    assert batch.results == [1, 2]
