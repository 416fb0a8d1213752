"""It waits for a signal without yielding."""

# ruff: noqa
from durable import activity, workflow


@workflow.defn
class Waiting:
    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self) -> None:
        while not self.done:  # DUR302
            pass

    @workflow.signal
    def finish(self) -> None:
        self.done = True
