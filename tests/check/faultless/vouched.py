"""A line for which the author vouches, with a reason."""

# ruff: noqa
import os

from durable import activity, workflow


@workflow.defn
async def region() -> str:
    return os.environ["REGION"]  # durable: ok the same on all workers of a deployment
