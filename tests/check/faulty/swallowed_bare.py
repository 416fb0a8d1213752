"""So does a bare except, in a loop."""

# ruff: noqa
from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def pay(order: str) -> str:
    while True:
        try:
            return await charge(order)
        except:  # DUR301
            await workflow.sleep(1)
