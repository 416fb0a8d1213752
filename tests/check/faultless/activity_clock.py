"""The clock and chance in activities, and in functions that only these call."""

# ruff: noqa
import random
import time

from durable import activity, workflow


def jitter() -> float:
    return random.random()


@activity.defn
async def measure() -> float:
    time.sleep(0.1)
    return time.time() + jitter()


@workflow.defn
async def measured() -> float:
    return await measure()
