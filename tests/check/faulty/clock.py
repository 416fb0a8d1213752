"""The wall clock decides."""

# ruff: noqa
import time

from durable import activity, workflow


@workflow.defn
async def renew(until: float) -> bool:
    return time.time() > until  # DUR101
