"""A list made of a set literal, kept in self."""

# ruff: noqa
from durable import activity, workflow


@workflow.defn
class Colours:
    def __init__(self) -> None:
        self.names = {"red", "green"}

    @workflow.run
    async def run(self) -> list[str]:
        return list(self.names)  # DUR201
