"""Queries and validators make no commands: in what order they look at a set, no replay sees."""

# ruff: noqa
from durable import activity, workflow


@workflow.defn
class Names:
    def __init__(self) -> None:
        self.names: set[str] = set()

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: bool(self.names))

    @workflow.query
    def all(self) -> list[str]:
        return self.listed()

    def listed(self) -> list[str]:
        return list(self.names)

    @workflow.update
    def add(self, name: str) -> None:
        self.names.add(name)

    @add.validator
    def checked(self, name: str) -> None:
        for each in self.names:
            if (errors := []).append(each) is None and name in each:
                raise ValueError(errors)
