"""A path is read, by way of a variable."""

# ruff: noqa
from pathlib import Path

from durable import activity, workflow


@workflow.defn
async def load(name: str) -> str:
    path = Path("data") / name
    return path.read_text()  # DUR105
