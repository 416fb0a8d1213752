"""It waits for the time to pass without yielding."""

# ruff: noqa
from datetime import timedelta

from durable import activity, workflow


@workflow.defn
async def wait() -> None:
    until = workflow.now() + timedelta(seconds=1)
    while True:  # DUR302
        if workflow.now() > until:
            break
