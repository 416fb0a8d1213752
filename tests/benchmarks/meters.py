"""Clocks and memory: what a piece of work took, and how it is put under load."""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from asyncio import TaskGroup
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec import Struct

Work = Callable[[int], Awaitable[object]]


class Cpu:
    """Wall-clock time and CPU time (all threads of this process) since it was made, until it is first asked."""

    def __init__(self) -> None:
        gc.collect()
        self._elapsed: tuple[float, float] | None = None
        self._cpu = time.process_time()
        self._clock = time.perf_counter()

    def _read(self) -> tuple[float, float]:
        if self._elapsed is None:
            self._elapsed = time.perf_counter() - self._clock, time.process_time() - self._cpu
        return self._elapsed

    @property
    def elapsed_s(self) -> float:
        return self._read()[0]

    @property
    def used_s(self) -> float:
        return self._read()[1]


class Latencies(Struct, frozen=True):
    p50_ms: float
    p95_ms: float
    p99_ms: float


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that ``percent`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__int__() - 1)]


async def latencies(work: Work, count: int) -> Latencies:
    """Do ``work(0)`` … ``work(count - 1)`` one at a time."""
    times: list[float] = []
    for number in range(count):
        began = time.perf_counter()
        await work(number)
        times.append(1000 * (time.perf_counter() - began))
    return Latencies(*(percentile(times, percent) for percent in (50, 95, 99)))


async def in_flight(work: Work, count: int, at_once: int) -> None:
    """Do ``work(0)`` … ``work(count - 1)``, ``at_once`` of them under way at any time."""
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            await work(number)

    async with TaskGroup() as lanes:
        for _ in range(min(at_once, count)):
            lanes.create_task(lane())


def peak_mib() -> float:
    """The most memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def resident_kib() -> float:
    """The memory that this process has now (Linux; elsewhere the most that it has had)."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 1024 * peak_mib()
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024
