"""Loops that wait, or end."""

# ruff: noqa
from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
class Poll:
    def __init__(self) -> None:
        self.queue: list[str] = []

    @workflow.run
    async def run(self) -> None:
        while True:
            await workflow.wait_condition(lambda: bool(self.queue))
            while self.queue:
                await charge(self.queue.pop(0))
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new()

    @workflow.query
    def depth(self) -> int:
        number = len(self.queue)
        while True:
            if number < 10:
                return number
            number //= 10
