"""It opens a file, in a query."""

# ruff: noqa
from durable import activity, workflow


@workflow.defn
class Report:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(1)

    @workflow.query
    def text(self) -> str:
        with open("report.txt") as file:  # DUR105
            return file.read()
