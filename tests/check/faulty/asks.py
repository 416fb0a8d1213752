"""It asks whoever sits at the terminal."""

# ruff: noqa
from durable import activity, workflow


@workflow.defn
async def ask() -> str:
    return input("go on? ")  # DUR113
