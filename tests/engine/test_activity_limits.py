"""How many activities a worker runs, how many it begins in a second, and which it leaves to others."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, Worker, activity, workflow
from durable.worker.activities import Activities
from durable.worker.rate import Rate
from tests.engine.conftest import MakeWorker

HOUR = timedelta(hours=1)


@workflow.defn
async def crowd(name: str, size: int) -> list[Any]:
    limits: workflow.ActivityConfig = {"start_to_close_timeout": HOUR}
    return await asyncio.gather(*[workflow.execute_activity(name, **limits) for _ in range(size)])


@activity.defn
async def counted() -> None: ...


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the worker let activities begin, in seconds."""
    moments: list[float] = []
    take = Rate.take

    def noted(self: Rate, now: float) -> None:
        moments.append(now)
        take(self, now)

    monkeypatch.setattr(Rate, "take", noted)
    return moments


@pytest.mark.parametrize("option", ["max_activities_per_second", "max_task_queue_activities_per_second"])
async def test_no_more_activities_begin_in_a_second_than_the_worker_may(
    client: Client, make_worker: MakeWorker, option: str, begun: list[float]
) -> None:
    async with make_worker(crowd, counted, **{option: 40.0}):
        await client.execute_workflow(crowd, args=["counted", 12], id="c")
    # Four at once, for a tenth of a second's may be saved; then one each 25 ms.
    assert len(begun) == 12 and begun[-1] - begun[0] >= 8 * 0.025 - 1e-6


async def test_of_two_rates_the_lower_one_holds(client: Client, make_worker: MakeWorker, begun: list[float]) -> None:
    limits = {"max_activities_per_second": 1000.0, "max_task_queue_activities_per_second": 40.0}
    async with make_worker(crowd, counted, **limits):
        await client.execute_workflow(crowd, args=["counted", 8], id="c")
    assert begun[-1] - begun[0] >= 4 * 0.025 - 1e-6


async def test_without_eager_execution_what_a_worker_schedules_goes_through_the_queue(
    client: Client, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    take = Activities.take

    def noted(self: Activities, task: Any) -> None:
        taken.append(task.spec.activity_type)
        take(self, task)

    monkeypatch.setattr(Activities, "take", noted)
    async with make_worker(crowd, counted, disable_eager_activity_execution=True):
        await client.execute_workflow(crowd, args=["counted", 3], id="lazy")
    assert taken == ["counted"] * 3
    async with make_worker(crowd, counted):
        await client.execute_workflow(crowd, args=["counted", 3], id="eager")
    assert taken == ["counted"] * 3


async def test_an_executors_threads_are_all_made_use_of_and_no_more_is_begun(
    client: Client, make_worker: MakeWorker
) -> None:
    """Fifty at once, which is more than the worker's own pool has, need fifty threads to end."""
    together = threading.Barrier(50)
    running, most, lock = 0, 0, threading.Lock()

    @activity.defn
    def meets() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(30)
        with lock:
            running -= 1

    with ThreadPoolExecutor(50) as executor:
        async with make_worker(crowd, meets, activity_executor=executor):
            await client.execute_workflow(crowd, args=["meets", 100], id="c")
    assert most == 50


async def test_limits_that_make_no_sense_are_refused(client: Client) -> None:
    for wrong in ({"max_activities_per_second": 0.0}, {"max_task_queue_activities_per_second": -1.0}):
        with pytest.raises(ValueError, match="are more than 0"):
            Worker(client, activities=[counted], **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 or more"):
        Worker(client, activities=[counted], max_concurrent_activities=0)
    Worker(client, activities=[counted], max_concurrent_local_activities=5)
