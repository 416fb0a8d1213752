"""State that each run has for itself, declared in the class."""

# ruff: noqa
from durable import activity, workflow


@workflow.defn
class Log:
    lines: list[str] = []
    limits = {"lines": 3}

    def __init__(self) -> None:
        self.lines = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: len(self.lines) >= self.limits["lines"])
        return self.lines

    @workflow.signal
    def add(self, line: str) -> None:
        self.lines.append(line)
