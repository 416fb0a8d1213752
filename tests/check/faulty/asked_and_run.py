"""What a query may do, the workflow may not: it leads to the same helper."""

# ruff: noqa
from durable import activity, workflow


@workflow.defn
class Names:
    def __init__(self) -> None:
        self.names: set[str] = set()

    @workflow.query
    def all(self) -> list[str]:
        return self.listed()

    @workflow.run
    async def run(self) -> list[str]:
        return self.listed()

    def listed(self) -> list[str]:
        return list(self.names)  # DUR201
