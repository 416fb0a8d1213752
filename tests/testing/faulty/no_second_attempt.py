"""No second attempt: the time for all attempts together ends before the pause after the first is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.testing.plugin import StartWorker

PATIENT = RetryPolicy(initial_interval=timedelta(minutes=1))


@activity.defn
async def transcribe(recording: str) -> str:
    return f"what is said in {recording}"


@workflow.defn
async def faulty(recording: str) -> str:
    return await workflow.execute_activity(
        transcribe, recording, schedule_to_close_timeout=timedelta(seconds=30), retry_policy=PATIENT
    )


@workflow.defn
async def mended(recording: str) -> str:
    return await workflow.execute_activity(
        transcribe, recording, start_to_close_timeout=timedelta(seconds=30), retry_policy=PATIENT
    )


@pytest.mark.crash_sweep
@pytest.mark.parametrize("write_down", [faulty, mended], ids=["faulty", "mended"])
async def test_a_recording_is_written_down(
    write_down: Any, durable_client: Client, durable_worker: StartWorker
) -> None:
    await durable_worker(workflows=[write_down], activities=[transcribe])

    assert await durable_client.execute_workflow(write_down, "a.wav", id="text") == "what is said in a.wav"
