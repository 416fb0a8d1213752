"""A lock of threads."""

# ruff: noqa
import threading

from durable import activity, workflow


LOCK = threading.Lock()


@workflow.defn
async def alone() -> None:
    with LOCK:  # DUR112
        await workflow.sleep(1)
