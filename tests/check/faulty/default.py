"""A default argument is the time of the import."""

# ruff: noqa
from datetime import datetime

from durable import activity, workflow


@workflow.defn
async def since(at: datetime = datetime.now()) -> str:  # DUR205
    return at.isoformat()
