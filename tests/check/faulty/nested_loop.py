"""Another event loop inside the workflow's."""

# ruff: noqa
import asyncio

from durable import activity, workflow


async def both() -> int:
    return 2


@workflow.defn
class Two:
    def __init__(self) -> None:
        self.two = asyncio.run(both())  # DUR110

    @workflow.run
    async def run(self) -> int:
        return self.two
