"""It sleeps on the workflow thread, in a signal handler."""

# ruff: noqa
from time import sleep

from durable import activity, workflow


@workflow.defn
class Slow:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def nap(self) -> None:
        sleep(1)  # DUR102
