"""Pausing, unpausing and resetting an activity from outside: what Temporal has in its server's API only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.client import pending
from durable.client.activity_inputs import PauseActivityInput, ResetActivityInput, UnpauseActivityInput
from durable.client.deadline import MAYBE_DONE, within
from durable.client.pending import AsyncActivityIDReference
from durable.history import attempts
from durable.history.transition import ActivityPause

if TYPE_CHECKING:
    from durable.client.client import Client


async def pause(client: Client, input: PauseActivityInput) -> None:
    """See `WorkflowHandle.pause_activity` and `ActivityHandle.pause`."""
    pause = ActivityPause(time_us=client.database.store.now_us(), identity=client.identity, reason=input.reason or "")
    paused = pending.report(client, _meant(input), lambda task: attempts.paused(task, pause))
    await within(paused, input.rpc_timeout, _answer(input), MAYBE_DONE)


async def unpause(client: Client, input: UnpauseActivityInput) -> None:
    """See `WorkflowHandle.unpause_activity` and `ActivityHandle.unpause`."""
    seconds = 0.0 if input.jitter is None else input.jitter.total_seconds()
    if seconds < 0:
        raise ValueError(f"jitter can't be negative: {input.jitter}")
    due_us = client.database.store.now_us() + round(client.database.host.random().uniform(0.0, seconds) * 1_000_000)
    unpaused = pending.report(
        client,
        _meant(input),
        lambda task: attempts.unpaused(
            task, due_us, reset_attempts=input.reset_attempts, reset_heartbeat=input.reset_heartbeat
        ),
    )
    await within(unpaused, input.rpc_timeout, _answer(input), MAYBE_DONE)


async def reset(client: Client, input: ResetActivityInput) -> None:
    """See `WorkflowHandle.reset_activity`."""
    now_us = client.database.store.now_us()
    reset = pending.report(
        client,
        _meant(input),
        lambda task: attempts.reset(task, now_us, keep_paused=input.keep_paused, reset_heartbeat=input.reset_heartbeat),
    )
    await within(reset, input.rpc_timeout, _answer(input), MAYBE_DONE)


def _meant(input: PauseActivityInput | UnpauseActivityInput | ResetActivityInput) -> AsyncActivityIDReference:
    return AsyncActivityIDReference(input.workflow_id, input.activity_run_id, input.activity_id)


def _answer(input: PauseActivityInput | UnpauseActivityInput | ResetActivityInput) -> str:
    return f"{pending.text(_meant(input))}: the database's answer"
