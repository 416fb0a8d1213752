"""Records what a Temporal server makes of `flows`, to be kept: ``python -m tests.temporal ADDRESS NAMESPACE``.

Any server will do; `temporal server start-dev` is one. What is kept was recorded with server 1.32.0 and SDK 1.35.0.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.engine.histories import until
from tests.temporal.scenarios import ORDERS_ON_TWO_WORKERS, SCENARIOS
from tests.temporal.twins import of_temporal

RECORDED = Path(__file__).with_name("recorded.jsonl")
STICKY_TIMEOUT = 11.0
IDENTITY = "recorder"


async def types(handle: Any) -> list[str]:
    names = [EventType.Name(event.event_type) for event in (await handle.fetch_history()).events]
    return [name.removeprefix("EVENT_TYPE_").title().replace("_", "") for name in names]


def worker(client: Client, task_queue: str) -> Worker:
    flows = of_temporal()
    return Worker(
        client,
        task_queue=task_queue,
        workflows=flows.WORKFLOWS,
        activities=flows.ACTIVITIES,
        workflow_runner=UnsandboxedWorkflowRunner(),
        build_id=IDENTITY,
    )


async def two_workers(client: Client) -> Any:
    """One that goes away without a word, and leaves a workflow task on its sticky queue; one that comes later."""
    queue = ORDERS_ON_TWO_WORKERS
    handle = await client.start_workflow("Orders", 2, id=queue, task_queue=queue)

    async def has_begun() -> bool:
        return "WorkflowTaskCompleted" in await types(handle)

    async with worker(client, queue):
        await handle.signal("put", 1)
        await until(has_begun)
    await handle.signal("put", 2)
    await asyncio.sleep(STICKY_TIMEOUT)
    async with worker(client, queue):
        await handle.result()
    return handle


def without_stacks(found: Any) -> Any:
    """Stack traces tell of the recorder's machine."""
    match found:
        case dict():
            return {key: "" if key == "stackTrace" else without_stacks(value) for key, value in found.items()}
        case list():
            return [without_stacks(each) for each in found]
        case _:
            return found


async def record(address: str, namespace: str) -> list[str]:
    client = await Client.connect(address, namespace=namespace, identity=IDENTITY)
    async with worker(client, "orders"):
        playing = [scenario.play(client, id, "orders", types) for id, scenario in SCENARIOS.items()]
        handles = await asyncio.gather(*playing, two_workers(client))
    return [json.dumps(without_stacks((await handle.fetch_history()).to_json_dict())) for handle in handles]


if __name__ == "__main__":
    lines = asyncio.run(record(*sys.argv[1:]))
    RECORDED.write_text("".join(f"{line}\n" for line in lines))
