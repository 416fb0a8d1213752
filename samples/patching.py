"""Code changes under running workflows: `patched` sends new runs the new way and old ones the old, till those are gone.

    python samples/patching.py

deploys four versions of one workflow, one after the other, while three orders are open, and shows at the end which
order's history replays on which version. A real program keeps one of them at a time.
"""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

from durable import activity, workflow
from durable.client import Client, WorkflowHandle
from durable.worker import Replayer, Worker

TASK_QUEUE = "shop"
TIMEOUT = timedelta(seconds=10)


@activity.defn
async def check_credit(order: str) -> str:
    return "credit checked"


@activity.defn
async def send_invoice(order: str) -> str:
    return "invoice sent"


class Payment:
    """What all versions share."""

    def __init__(self) -> None:
        self._paid = False
        self._done: list[str] = []

    @workflow.signal
    def pay(self) -> None:
        self._paid = True

    @workflow.query
    def done(self) -> list[str]:
        return self._done

    async def invoice(self, order: str) -> list[str]:
        self._done.append(await workflow.execute_activity(send_invoice, order, start_to_close_timeout=TIMEOUT))
        await workflow.wait_condition(lambda: self._paid)
        return self._done


@workflow.defn(name="Sell")
class Version1(Payment):
    """There are orders that run with this one when the next one is deployed."""

    @workflow.run
    async def run(self, order: str) -> list[str]:
        return await self.invoice(order)


@workflow.defn(name="Sell")
class Version2(Payment):
    """True for a run that comes here for the first time, and then noted; False for one that was here without it."""

    @workflow.run
    async def run(self, order: str) -> list[str]:
        if workflow.patched("check-credit"):
            self._done.append(await workflow.execute_activity(check_credit, order, start_to_close_timeout=TIMEOUT))
        return await self.invoice(order)


@workflow.defn(name="Sell")
class Version3(Payment):
    """When no order of version 1 is open any more: the old way is gone, runs with and without the note go on."""

    @workflow.run
    async def run(self, order: str) -> list[str]:
        workflow.deprecate_patch("check-credit")
        self._done.append(await workflow.execute_activity(check_credit, order, start_to_close_timeout=TIMEOUT))
        return await self.invoice(order)


@workflow.defn(name="Sell")
class Version4(Payment):
    """When no order of version 2 is open any more: nothing reminds of the change."""

    @workflow.run
    async def run(self, order: str) -> list[str]:
        self._done.append(await workflow.execute_activity(check_credit, order, start_to_close_timeout=TIMEOUT))
        return await self.invoice(order)


async def start(client: Client, name: str) -> WorkflowHandle[Payment, list[str]]:
    """An order, with its first step done: it answers."""
    handle = await client.start_workflow(Version1.run, name, id=f"{name}-{uuid.uuid4()}", task_queue=TASK_QUEUE)
    await handle.query(Payment.done)
    return handle


async def pay(name: str, handle: WorkflowHandle[Payment, list[str]]) -> None:
    await handle.signal(Payment.pay)
    print(f"{name}: {', '.join(await handle.result())}")


async def replays(version: type[Any], handle: WorkflowHandle[Payment, list[str]]) -> bool:
    """What is to be asked of all open orders before a version is deployed; `durable replay` asks it, too."""
    replayer = Replayer(workflows=[version])
    result = await replayer.replay_workflow(await handle.fetch_history(), raise_on_replay_failure=False)
    return result.replay_failure is None


async def main() -> None:
    async with await Client.connect() as client:

        def deployed(version: type[Any]) -> Worker:
            return Worker(client, task_queue=TASK_QUEUE, workflows=[version], activities=[check_credit, send_invoice])

        async with deployed(Version1):
            one = await start(client, "order 1")
        async with deployed(Version2):
            two = await start(client, "order 2")
            await pay("order 1", one)
        async with deployed(Version3):
            three = await start(client, "order 3")
            await pay("order 2", two)
        async with deployed(Version4):
            await pay("order 3", three)
        for number, handle in enumerate((one, two, three), start=1):
            versions = [
                version.__name__
                for version in (Version1, Version2, Version3, Version4)
                if await replays(version, handle)
            ]
            print(f"order {number} replays on {', '.join(versions)}")


if __name__ == "__main__":
    asyncio.run(main())
