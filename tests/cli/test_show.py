"""What `durable describe` shows of activities that are not over."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from durable.cli import show
from durable.client import PendingActivityInfo, WorkflowExecutionDescription, WorkflowExecutionStatus
from durable.client.raw_description import RawWorkflowDescription
from durable.history.events import HistoryEvent

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def described(**changes: Any) -> WorkflowExecutionDescription:
    """A run with one activity that waits, changed."""
    nothing = {"started": None, "worker": None, "last_failure": None}
    facts = {**nothing, "cancel_requested": False, "paused": False, "ambiguous": False}
    waiting: dict[str, Any] = {"activity_id": "1", "activity_type": "charge", "attempt": 1, "due": NOON, **facts}
    return WorkflowExecutionDescription(
        id="order-7",
        run_id="run",
        namespace="default",
        workflow_type="order",
        task_queue="default",
        status=WorkflowExecutionStatus.RUNNING,
        start_time=NOON,
        close_time=None,
        history_length=5,
        parked=None,
        worker=None,
        history_bytes=100,
        pending_activities=[PendingActivityInfo(**{**waiting, **changes})],
        pending_messages=[],
        raw_description=RawWorkflowDescription([]),
        first_events=no_events,
    )


async def no_events() -> list[HistoryEvent]:
    return []


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "due 2026-11-22 12:00:00Z "),
        ({"paused": True}, "due 2026-11-22 12:00:00Z, paused "),
        ({"ambiguous": True}, "due 2026-11-22 12:00:00Z, ambiguous "),
        ({"started": NOON, "worker": "w1"}, "running since 2026-11-22 12:00:00Z "),
        ({"started": NOON}, "running since 2026-11-22 12:00:00Z, outcome from outside "),
        ({"started": NOON, "worker": "w1", "paused": True}, "running since 2026-11-22 12:00:00Z, paused "),
        ({"started": NOON, "worker": "w1", "cancel_requested": True}, "12:00:00Z, asked to end "),
    ],
)
def test_a_pending_activity_is_shown_with_what_was_asked_of_it(
    capsys: pytest.CaptureFixture[str], changes: dict[str, Any], shown: str
) -> None:
    show.description(described(**changes))

    assert shown in capsys.readouterr().out


def test_a_description_as_json_tells_each_thing_once(capsys: pytest.CaptureFixture[str]) -> None:
    show.as_json(described(paused=True))

    told = json.loads(capsys.readouterr().out)
    assert [each["paused"] for each in told["pendingActivities"]] == [True]
    assert "rawDescription" not in told
