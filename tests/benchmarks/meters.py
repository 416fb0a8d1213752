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
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

Work = Callable[[int], Awaitable[object]]


class Cpu:
    """Wall-clock time and CPU time (all threads of this process) since it was made, until it is first asked.

    With the URL of a PostgreSQL of this machine also the CPU time of all its processes (Linux; elsewhere 0).
    """

    def __init__(self, url: str = "") -> None:
        gc.collect()
        self._elapsed: tuple[float, float, float] | None = None
        self._url = url
        self._server = server_s(url)
        self._cpu = time.process_time()
        self._clock = time.perf_counter()

    def _read(self) -> tuple[float, float, float]:
        if self._elapsed is None:
            clock, cpu = time.perf_counter(), time.process_time()
            self._elapsed = clock - self._clock, cpu - self._cpu, server_s(self._url) - self._server
        return self._elapsed

    @property
    def elapsed_s(self) -> float:
        return self._read()[0]

    @property
    def used_s(self) -> float:
        return self._read()[1]

    @property
    def server_s(self) -> float:
        return self._read()[2]


def server_s(url: str) -> float:
    """The CPU time that a PostgreSQL of this machine has taken, whose socket is in its data directory; else 0."""
    hosts = parse_qs(urlsplit(url).query).get("host", [""])
    stats = Path("/proc").glob("[0-9]*/stat") if hosts[0] else ()
    try:
        postmaster = Path(hosts[0], "postmaster.pid").read_text().split()[0]
    except OSError:
        return 0.0
    ticks = 0
    for stat in stats:
        try:
            # The name of the process, in parentheses, may hold blanks.
            pid, fields = stat.parent.name, stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if pid == postmaster:
            ticks += sum(map(int, fields[11:15]))  # its own, and that of those that have ended
        elif fields[1] == postmaster:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


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
    try:
        # What `getrusage` tells holds what the parent had when it forked.
        status = Path("/proc/self/status").read_text()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def resident_kib() -> float:
    """The memory that this process has now (Linux; elsewhere the most that it has had)."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 1024 * peak_mib()
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024
