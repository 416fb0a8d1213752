"""Histories as a Temporal server writes them, made of Temporal's own messages: none of durable's code takes part."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf import json_format
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History
from temporalio.converter import DataConverter

BEGUN = datetime(2024, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
RUN_ID = "0191c5a4-1d5f-7c1b-9f6b-3f6f2b7b6a10"
QUEUE = {"name": "orders", "kind": "TASK_QUEUE_KIND_NORMAL"}
STICKY = {"name": "1@host-5f2c", "kind": "TASK_QUEUE_KIND_STICKY", "normal_name": "orders"}


class Recording:
    """One run, event after event. Times go on by a second each; attributes are protobuf JSON."""

    def __init__(self, workflow_type: str, *args: Any) -> None:
        self.history = History()
        self.event(
            "workflow_execution_started",
            workflow_type={"name": workflow_type},
            task_queue=QUEUE,
            input=payloads(*args),
            workflow_execution_timeout="0s",
            workflow_run_timeout="0s",
            workflow_task_timeout="10s",
            original_execution_run_id=RUN_ID,
            first_execution_run_id=RUN_ID,
            identity="1@host",
            attempt=1,
            first_workflow_task_backoff="0s",
            header={},
            workflow_id="order-7",
            root_workflow_execution={"workflow_id": "order-7", "run_id": RUN_ID},
        )

    @property
    def json(self) -> str:
        return json_format.MessageToJson(self.history)

    def event(self, kind: str, **attributes: Any) -> int:
        """The next event, and its id."""
        event = self.history.events.add()
        event.event_id = len(self.history.events)
        event.event_time.FromDatetime(BEGUN + timedelta(seconds=event.event_id))
        event.event_type = EventType.Value(f"EVENT_TYPE_{kind.upper()}")
        event.task_id = 1_048_576 + event.event_id
        of_kind = getattr(event, f"{kind}_event_attributes")
        of_kind.SetInParent()
        json_format.ParseDict(attributes, of_kind)
        return event.event_id

    def task(self, queue: dict[str, str] = STICKY) -> int:
        """A workflow task that is completed; the id of its completion."""
        return self.completed(self.event("workflow_task_scheduled", task_queue=queue, attempt=1))

    def completed(self, scheduled: int) -> int:
        started = self.event(
            "workflow_task_started",
            scheduled_event_id=scheduled,
            identity="1@host",
            request_id="b6d8c8a6-1f0d-4c2e-8f1c-0d7d3f6ae0a1",
            history_size_bytes=512,
            worker_version={"build_id": "97e0d4c6"},
        )
        return self.event(
            "workflow_task_completed",
            scheduled_event_id=scheduled,
            started_event_id=started,
            identity="1@host",
            worker_version={"build_id": "97e0d4c6"},
            sdk_metadata={"core_used_flags": [1, 2, 3], "sdk_name": "temporal-python", "sdk_version": "1.9.0"},
            metering_metadata={},
        )

    def signaled(self, name: str, *args: Any) -> int:
        return self.event(
            "workflow_execution_signaled", signal_name=name, input=payloads(*args), identity="2@host", header={}
        )

    def scheduled(self, task: int, activity_id: str, activity_type: str, *args: Any) -> int:
        return self.event(
            "activity_task_scheduled",
            activity_id=activity_id,
            activity_type={"name": activity_type},
            task_queue=QUEUE,
            header={},
            input=payloads(*args),
            schedule_to_close_timeout="0s",
            schedule_to_start_timeout="0s",
            start_to_close_timeout="10s",
            heartbeat_timeout="0s",
            workflow_task_completed_event_id=task,
            retry_policy={"initial_interval": "1s", "backoff_coefficient": 2, "maximum_interval": "100s"},
            use_workflow_build_id=True,
        )

    def started(self, scheduled: int, attempt: int = 1) -> int:
        """An activity's start: written with its outcome."""
        return self.event(
            "activity_task_started",
            scheduled_event_id=scheduled,
            identity="1@host",
            request_id="a5ad8f0e-5b0a-4b8b-9d8f-3f7d5b1f9f4c",
            attempt=attempt,
            worker_version={"build_id": "97e0d4c6"},
        )

    def finished(self, scheduled: int, result: Any) -> None:
        self.event(
            "activity_task_completed",
            scheduled_event_id=scheduled,
            started_event_id=self.started(scheduled),
            identity="1@host",
            result=payloads(result),
        )

    def timer(self, task: int, timer_id: str, timeout: str) -> int:
        return self.event(
            "timer_started", timer_id=timer_id, start_to_fire_timeout=timeout, workflow_task_completed_event_id=task
        )

    def patched(self, task: int, *patches: str, deprecated: bool = False) -> None:
        """The marker of the last of these patches, and the search attribute that lists them all."""
        self.event(
            "marker_recorded",
            marker_name="core_patch",
            details={"patch-data": payloads({"id": patches[-1], "deprecated": deprecated})},
            workflow_task_completed_event_id=task,
        )
        (versions,) = payloads(list(patches))["payloads"]
        versions["metadata"]["type"] = base64.b64encode(b"KeywordList").decode()
        self.event(
            "upsert_workflow_search_attributes",
            search_attributes={"indexed_fields": {"TemporalChangeVersion": versions}},
            workflow_task_completed_event_id=task,
        )

    def closed(self, task: int, result: Any) -> None:
        self.event("workflow_execution_completed", result=payloads(result), workflow_task_completed_event_id=task)


def payloads(*values: Any) -> dict[str, Any]:
    """Values as Temporal's own converter writes them."""
    converted = DataConverter.default.payload_converter.to_payloads(values)
    return json_format.MessageToDict(Payloads(payloads=converted))


def order() -> Recording:
    """Two signals at once, activities one after the other (the first begun eagerly), a timer; all on a sticky queue,
    which was left once."""
    run = Recording("Orders", 2)
    run.task(QUEUE)
    run.signaled("put", 3)
    scheduled = run.event("workflow_task_scheduled", task_queue=STICKY, start_to_close_timeout="10s", attempt=1)
    run.signaled("put", 4)
    first = run.scheduled(run.completed(scheduled), "1", "double", 3)
    run.finished(first, 6)
    second = run.scheduled(run.task(), "2", "double", 4)
    run.finished(second, 8)
    left = run.event("workflow_task_scheduled", task_queue=STICKY, start_to_close_timeout="10s", attempt=1)
    run.event("workflow_task_timed_out", scheduled_event_id=left, timeout_type="TIMEOUT_TYPE_SCHEDULE_TO_START")
    timer = run.timer(run.task(QUEUE), "1", "0.010s")
    run.event("timer_fired", timer_id="1", started_event_id=timer)
    run.closed(run.task(), 14)
    return run


def reminder() -> Recording:
    """A signal that comes before the time is over: the timer is cancelled."""
    run = Recording("Reminder", 30.0)
    timer = run.timer(run.task(QUEUE), "1", "30s")
    run.signaled("reply", "yes")
    task = run.task()
    run.event(
        "timer_canceled", timer_id="1", started_event_id=timer, workflow_task_completed_event_id=task, identity="1@host"
    )
    run.closed(task, "yes")
    return run


def sleeper() -> Recording:
    """A cancel request; a workflow task that failed and one that did not; the clean-up; the end as cancelled."""
    run = Recording("Sleeper")
    timer = run.timer(run.task(QUEUE), "1", "3600s")
    run.event("workflow_execution_cancel_requested", cause="enough", identity="2@host")
    scheduled = run.event("workflow_task_scheduled", task_queue=STICKY, start_to_close_timeout="10s", attempt=1)
    started = run.event("workflow_task_started", scheduled_event_id=scheduled, identity="1@host", request_id="r")
    run.event(
        "workflow_task_failed",
        scheduled_event_id=scheduled,
        started_event_id=started,
        cause="WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE",
        failure={"message": "a bug, mended meanwhile", "application_failure_info": {"type": "TypeError"}},
        identity="1@host",
    )
    task = run.task(QUEUE)
    run.event(
        "timer_canceled", timer_id="1", started_event_id=timer, workflow_task_completed_event_id=task, identity="1@host"
    )
    run.finished(run.scheduled(task, "1", "clean_up", "bed"), "bed cleaned up")
    run.event("workflow_execution_canceled", workflow_task_completed_event_id=run.task(), details={})
    return run


def declined() -> Recording:
    """An activity that fails, one that compensates, a failed workflow."""
    run = Recording("Declined", "4711")
    charged = run.scheduled(run.task(QUEUE), "1", "decline", "4711")
    failure = {
        "message": "card 4711 is declined",
        "stack_trace": "  File ...",
        "application_failure_info": {"type": "Declined", "details": payloads(42)},
    }
    run.event(
        "activity_task_failed",
        scheduled_event_id=charged,
        started_event_id=run.started(charged),
        failure=failure,
        identity="1@host",
        retry_state="RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED",
    )
    run.finished(run.scheduled(run.task(), "2", "clean_up", "Declined"), "Declined cleaned up")
    run.event(
        "workflow_execution_failed",
        failure={"message": "no order without money", "application_failure_info": {"type": "NoMoney"}},
        retry_state="RETRY_STATE_RETRY_POLICY_NOT_SET",
        workflow_task_completed_event_id=run.task(),
    )
    return run


def renovated() -> Recording:
    """Three patches: two of the first workflow task, of which one is deprecated, and one of a later one."""
    run = Recording("Renovated", 2)
    task = run.task(QUEUE)
    run.patched(task, "cellar", deprecated=True)
    run.patched(task, "cellar", "floor")
    run.finished(run.scheduled(task, "1", "double", 2), 4)
    task = run.task()
    run.patched(task, "cellar", "floor", "roof")
    run.finished(run.scheduled(task, "2", "double", 4), 8)
    run.closed(run.task(), 8)
    return run
