"""What the guard of workflow code costs W2: how often Python asks it, how long it takes, and what share of the work."""

from __future__ import annotations

import sys
import timeit
from typing import Any

from durable.worker import guard
from tests.benchmarks import workloads
from tests.benchmarks.figures import Sizes

REPEATS = 200_000


async def measure(sizes: Sizes, url: str) -> dict[str, float]:
    """The hook can't be taken away again, so its calls are counted, and one of them is timed."""
    asked = 0

    def count(event: str, args: tuple[Any, ...]) -> None:
        nonlocal asked
        asked += 1

    sys.addaudithook(count)
    asked = 0
    cpu_us = (await workloads.w2(sizes, url))["cpu_us"]
    events = asked / sizes.w2_workflows
    hook = guard._audit
    call_ns = 1e9 * min(timeit.repeat(lambda: hook("sys._getframe", ()), number=REPEATS, repeat=5)) / REPEATS
    return {"events": events, "event_ns": call_ns, "percent": events * call_ns / 10 / cpu_us}
