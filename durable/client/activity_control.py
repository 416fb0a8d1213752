"""Pausing, unpausing and resetting an activity from outside: what Temporal has in its server's API only."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from durable.client import pending
from durable.client.pending import AsyncActivityIDReference
from durable.history import attempts
from durable.history.transition import ActivityPause

if TYPE_CHECKING:
    from durable.client.client import Client


async def pause(client: Client, activity: AsyncActivityIDReference, reason: str) -> None:
    """See `WorkflowHandle.pause_activity`."""
    pause = ActivityPause(time_us=client.database.store.now_us(), identity=client.identity, reason=reason)
    await pending.report(client, activity, lambda task: attempts.paused(task, pause))


async def unpause(
    client: Client,
    activity: AsyncActivityIDReference,
    *,
    reset_attempts: bool,
    reset_heartbeat: bool,
    jitter: timedelta | None,
) -> None:
    """See `WorkflowHandle.unpause_activity`."""
    seconds = 0.0 if jitter is None else jitter.total_seconds()
    if seconds < 0:
        raise ValueError(f"jitter can't be negative: {jitter}")
    due_us = client.database.store.now_us() + round(client.database.host.random().uniform(0.0, seconds) * 1_000_000)
    await pending.report(
        client,
        activity,
        lambda task: attempts.unpaused(task, due_us, reset_attempts=reset_attempts, reset_heartbeat=reset_heartbeat),
    )


async def reset(
    client: Client, activity: AsyncActivityIDReference, *, keep_paused: bool, reset_heartbeat: bool
) -> None:
    """See `WorkflowHandle.reset_activity`."""
    now_us = client.database.store.now_us()
    await pending.report(
        client,
        activity,
        lambda task: attempts.reset(task, now_us, keep_paused=keep_paused, reset_heartbeat=reset_heartbeat),
    )
