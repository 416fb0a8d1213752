"""What the workers of these tests run as processes: copied to the directory in which they are started."""

from __future__ import annotations

import os
import time

from durable import activity, workflow


@activity.defn
async def ends_when_told() -> int:
    print(f"begun by {os.getpid()}", flush=True)
    await activity.wait_for_worker_shutdown()
    return activity.info().attempt


@activity.defn
def hangs() -> None:
    """Nothing ends a thread that sleeps."""
    print(f"begun by {os.getpid()}", flush=True)
    time.sleep(3600)


@workflow.defn
async def ending() -> int:
    return await ends_when_told()


@workflow.defn
async def hanging() -> None:
    await hangs()
