"""What workflow code asks for: imperative, frozen. Each becomes exactly one event of the run's history."""

from __future__ import annotations

from msgspec import Struct

from durable.history.values import Failure, Payload, RetryPolicy


class ScheduleActivityTask(Struct, frozen=True, kw_only=True):
    activity_id: str
    activity_type: str
    task_queue: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    schedule_to_close_timeout_us: int = 0
    schedule_to_start_timeout_us: int = 0
    start_to_close_timeout_us: int = 0
    heartbeat_timeout_us: int = 0
    retry_policy: RetryPolicy = RetryPolicy()


class RequestCancelActivityTask(Struct, frozen=True, kw_only=True):
    scheduled_event_id: int


class StartTimer(Struct, frozen=True, kw_only=True):
    timer_id: str
    start_to_fire_timeout_us: int


class CancelTimer(Struct, frozen=True, kw_only=True):
    timer_id: str
    started_event_id: int


class CompleteWorkflowExecution(Struct, frozen=True, kw_only=True):
    result: list[Payload] = []


class FailWorkflowExecution(Struct, frozen=True, kw_only=True):
    failure: Failure


class CancelWorkflowExecution(Struct, frozen=True, kw_only=True):
    details: list[Payload] = []


Command = (
    ScheduleActivityTask
    | RequestCancelActivityTask
    | StartTimer
    | CancelTimer
    | CompleteWorkflowExecution
    | FailWorkflowExecution
    | CancelWorkflowExecution
)

ClosingCommand = CompleteWorkflowExecution | FailWorkflowExecution | CancelWorkflowExecution
