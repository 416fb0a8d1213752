"""A clock kept in a variable of the module."""

# ruff: noqa
from datetime import date

from durable import activity, workflow


today = date.today


@workflow.defn
async def greet() -> str:
    return today().isoformat()  # DUR101
