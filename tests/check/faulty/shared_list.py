"""A list that all runs share."""

# ruff: noqa
from durable import activity, workflow


@workflow.defn
class Log:
    lines: list[str] = []  # DUR204

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: len(self.lines) > 2)
        return self.lines

    @workflow.signal
    def add(self, line: str) -> None:
        self.lines.append(line)
