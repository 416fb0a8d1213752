"""Search attributes and a memo say in every list what a workflow is about, and how far it is: nobody has to ask it.

    python samples/search_attributes.py

repairs bicycles: the workshop lists what waits for a part, and what is dear, without asking a single workflow.
"""

import asyncio
import uuid

from durable import workflow
from durable.client import Client
from durable.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.worker import Worker

TASK_QUEUE = "bicycles"
SHOP = SearchAttributeKey.for_keyword("Shop")
STATE = SearchAttributeKey.for_keyword("RepairState")
EUROS = SearchAttributeKey.for_int("RepairEuros")


@workflow.defn
class Repair:
    def __init__(self) -> None:
        self._part_is_there = False

    @workflow.run
    async def run(self, euros: int) -> str:
        workflow.upsert_search_attributes([STATE.value_set("waits for a part"), EUROS.value_set(euros)])
        workflow.upsert_memo({"part": "a chain" if euros < 100 else "a frame"})
        await workflow.wait_condition(lambda: self._part_is_there)
        workflow.upsert_search_attributes([STATE.value_set("done"), EUROS.value_unset()])
        return f"{workflow.memo_value('owner', type_hint=str)} may come"

    @workflow.signal
    def deliver(self) -> None:
        self._part_is_there = True

    @workflow.query
    def is_waiting(self) -> bool:
        return not self._part_is_there


async def owners(client: Client, query: str) -> list[str]:
    """Of the open repairs that pass the query, in its order, by name."""
    repairs = client.list_workflows(f"WorkflowType = 'Repair' AND ExecutionStatus = 'Running' AND {query}")
    return [await run.memo_value("owner") async for run in repairs]


async def main() -> None:
    shop = uuid.uuid4().hex[:8]
    waiting = f"Shop = '{shop}' AND RepairState = 'waits for a part' ORDER BY RepairEuros DESC"
    async with await Client.connect() as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[Repair]):
            repairs = {
                owner: await client.start_workflow(
                    Repair.run,
                    euros,
                    id=f"repair-{shop}-{owner}",
                    task_queue=TASK_QUEUE,
                    memo={"owner": owner},
                    search_attributes=TypedSearchAttributes([SearchAttributePair(SHOP, shop)]),
                )
                for owner, euros in (("Ada", 40), ("Ben", 900), ("Cleo", 60))
            }
            for repair in repairs.values():
                await repair.query(Repair.is_waiting)  # its first step is done
            print("waiting:", await owners(client, waiting))
            await repairs["Ada"].signal(Repair.deliver)
            print(await repairs["Ada"].result())
            print("waiting:", await owners(client, waiting))
            print("dear:", await owners(client, f"Shop = '{shop}' AND RepairEuros > 100"))
            counted = await client.count_workflows(f"Shop = '{shop}' GROUP BY RepairState")
            print("in all:", ", ".join(f"{group.count} {group.group_values[0]}" for group in counted.groups))
            ben = await repairs["Ben"].describe()
            print("Ben:", ben.typed_search_attributes[EUROS], "euros, for", await ben.memo_value("part"))
            for owner in ("Ben", "Cleo"):
                await repairs[owner].signal(Repair.deliver)
                await repairs[owner].result()


if __name__ == "__main__":
    asyncio.run(main())
