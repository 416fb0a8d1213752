"""Names that only look like those of clocks and chance."""

# ruff: noqa
from durable import activity, workflow


class Clock:
    def __init__(self) -> None:
        self.ticks = 0

    def time(self) -> int:
        self.ticks += 1
        return self.ticks


@workflow.defn
async def count(random: list[int]) -> int:
    time = Clock()
    uuid4 = random.index(1)
    return time.time() + uuid4
