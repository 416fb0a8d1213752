"""What a user's test costs: an environment of its own with a worker, and a workflow of one activity in it."""

from __future__ import annotations

import time

from durable import Worker
from durable.testing import WorkflowEnvironment
from tests.benchmarks.definitions import ACTIVITIES, WORKFLOWS, one_activity
from tests.benchmarks.figures import Sizes
from tests.benchmarks.meters import percentile


async def measure(sizes: Sizes, url: str) -> dict[str, float]:
    """The first start compiles statements and loads what is loaded when it is needed; it is told apart.

    They bring their own databases.
    """
    first_ms, _ = await _one()
    others = [await _one() for _ in range(sizes.environments)]
    starts, wholes = [start_ms for start_ms, _ in others], [whole_ms for _, whole_ms in others]
    return {
        "start_ms": percentile(starts, 50),
        "start_p95_ms": percentile(starts, 95),
        "whole_ms": percentile(wholes, 50),
        "first_ms": first_ms,
    }


async def _one() -> tuple[float, float]:
    """Milliseconds until environment and worker were there, and until all was over."""
    began = time.perf_counter()
    async with await WorkflowEnvironment.start_time_skipping() as env:
        async with Worker(env.client, workflows=WORKFLOWS, activities=ACTIVITIES):
            started = time.perf_counter()
            await env.client.execute_workflow(one_activity, 21, id="one")
    return 1000 * (started - began), 1000 * (time.perf_counter() - began)
