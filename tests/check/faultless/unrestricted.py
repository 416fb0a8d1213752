"""A block in which the author vouches for the code."""

# ruff: noqa
import os

from durable import activity, workflow


@workflow.defn
async def region() -> str:
    with workflow.unsafe.sandbox_unrestricted():
        return os.environ.get("REGION", "eu")
