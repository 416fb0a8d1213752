"""Child workflows: steps with a life, an id and a history of their own; what becomes of them at the end is a policy.

    python samples/child_workflows.py

ships an order in three boxes, one of which is lost; meanwhile the weather is watched, afterwards a review is asked for.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client, WorkflowFailureError
from durable.exceptions import ApplicationError, ChildWorkflowError
from durable.worker import Worker

TASK_QUEUE = "shipping"


@dataclass(frozen=True)
class Order:
    customer: str
    boxes: list[str]


@activity.defn
async def load(box: str) -> str:
    if box == "glass":
        raise ApplicationError("it fell off the truck", type="Lost", non_retryable=True)
    return f"{box} is on the truck"


@workflow.defn
class ShipBox:
    @workflow.run
    async def run(self, box: str) -> str:
        return await workflow.execute_activity(load, box, start_to_close_timeout=timedelta(minutes=1))


@workflow.defn
class WatchWeather:
    def __init__(self) -> None:
        self._storm = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)  # until somebody ends it

    @workflow.signal
    def storm(self) -> None:
        self._storm = True

    @workflow.query
    def is_stormy(self) -> bool:
        return self._storm


@workflow.defn
class AskForReview:
    def __init__(self) -> None:
        self._stars: int | None = None

    @workflow.run
    async def run(self, customer: str) -> str:
        await workflow.wait_condition(lambda: self._stars is not None)
        return f"{customer} gives {self._stars} stars"

    @workflow.signal
    def rate(self, stars: int) -> None:
        self._stars = stars


@workflow.defn
class ShipOrder:
    @workflow.run
    async def run(self, order: Order) -> list[str]:
        me = workflow.info().workflow_id
        # It is started, and not awaited. With the default policy, TERMINATE, it ends when this workflow does.
        weather = await workflow.start_child_workflow(WatchWeather.run, id=f"{me}-weather")
        await weather.signal(WatchWeather.storm)
        said = await asyncio.gather(*[self.ship(box) for box in order.boxes])
        # Abandoned, it goes on by itself.
        await workflow.start_child_workflow(
            AskForReview.run,
            order.customer,
            id=f"{me}-review",
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
        )
        return said

    async def ship(self, box: str) -> str:
        """Side by side, like activities; cancelling this workflow would cancel them."""
        try:
            return await workflow.execute_child_workflow(ShipBox.run, box, id=f"{workflow.info().workflow_id}-{box}")
        except ChildWorkflowError as error:  # its cause is the ActivityError that has failed the child
            cause = error.cause.__cause__ if error.cause else None
            return f"{box}: {cause}"


async def main() -> None:
    async with await Client.connect() as client:
        async with Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[ShipOrder, ShipBox, WatchWeather, AskForReview],
            activities=[load],
        ):
            order = await client.start_workflow(
                ShipOrder.run,
                Order("Ada", ["books", "glass", "tea"]),
                id=f"order-{uuid.uuid4()}",
                task_queue=TASK_QUEUE,
            )
            for line in await order.result():
                print(line)
            weather = client.get_workflow_handle_for(WatchWeather.run, f"{order.id}-weather")
            try:
                await weather.result()
            except WorkflowFailureError as error:
                print(f"weather: {type(error.cause).__name__}; stormy: {await weather.query(WatchWeather.is_stormy)}")
            review = client.get_workflow_handle_for(AskForReview.run, f"{order.id}-review")
            await review.signal(AskForReview.rate, 3)
            print(await review.result())


if __name__ == "__main__":
    asyncio.run(main())
