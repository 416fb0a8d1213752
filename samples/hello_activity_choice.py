"""Which activity runs next is plain Python: a `match` on the data, a table, or a name that only the data knows.

    python samples/hello_activity_choice.py

sends a postcard, a parcel and a piano on their way.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.exceptions import ApplicationError
from durable.worker import Worker

TASK_QUEUE = "post"


@dataclass(frozen=True)
class Item:
    what: str
    grams: int
    extra: str = ""
    """The name of an activity that the customer has paid for, too."""


@activity.defn
async def put_into_letter_box(item: Item) -> str:
    return f"{item.what} is in a letter box"


@activity.defn
async def hand_to_courier(item: Item) -> str:
    return f"{item.what} is with a courier"


@activity.defn
async def hire_a_crane(item: Item) -> str:
    return f"{item.what} hangs from a crane"


@activity.defn
async def insure(item: Item) -> str:
    return f"{item.what} is insured"


@workflow.defn
class Send:
    @workflow.run
    async def run(self, item: Item) -> list[str]:
        match item.grams:
            case grams if grams <= 0:
                raise ApplicationError(f"{item.what} weighs nothing", type="BadWeight")
            case grams if grams < 50:
                carry = put_into_letter_box
            case grams if grams < 30_000:
                carry = hand_to_courier
            case _:
                carry = hire_a_crane
        done = []
        if item.extra:
            done.append(
                await workflow.execute_activity(
                    item.extra, item, result_type=str, start_to_close_timeout=timedelta(seconds=10)
                )
            )
        done.append(await workflow.execute_activity(carry, item, start_to_close_timeout=timedelta(seconds=10)))
        return done


async def main() -> None:
    items = [Item("a postcard", 5), Item("a parcel", 2000), Item("a piano", 400_000, extra="insure")]
    activities = [put_into_letter_box, hand_to_courier, hire_a_crane, insure]
    async with await Client.connect() as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[Send], activities=activities):
            for item in items:
                done = await client.execute_workflow(Send.run, item, id=f"send-{uuid.uuid4()}", task_queue=TASK_QUEUE)
                print("; ".join(done))


if __name__ == "__main__":
    asyncio.run(main())
