"""What workflow code asks for: imperative, frozen. Each becomes exactly one event of the run's history."""

from __future__ import annotations

from msgspec import Struct

from durable.history.values import ActivityFields, Failure, Payload


class ScheduleActivityTask(ActivityFields, frozen=True, kw_only=True):
    task_queue: str


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
