"""Pure: how long a run may take, and which run follows it: tried again, by schedule, or continued as new."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from durable.history import codec, cron
from durable.history.commands import (
    ClosingCommand,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    FailWorkflowExecution,
)
from durable.history.events import ClosingEvent, WorkflowExecutionStarted
from durable.history.messages import RunTimeout
from durable.history.state import State
from durable.history.transition import NewMessage
from durable.history.values import (
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ContinueAsNewInitiator,
    Failure,
    Payload,
    RetryState,
    ServerFailureInfo,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
    TimeoutType,
)

TIMED_OUT = Failure(
    message="Workflow timed out",
    source="durable",
    info=TimeoutFailureInfo(timeout_type=TimeoutType.START_TO_CLOSE),
)
"""What the run after one that has timed out is told of it."""


class Following(Struct, frozen=True, kw_only=True):
    """The run that comes next: what it does not take over from the one that ends."""

    initiator: ContinueAsNewInitiator
    backoff_us: int
    attempt: int = 1
    failure: Failure | None = None
    last_completion_result: list[Payload] = []
    command: ContinueAsNewWorkflowExecution | None = None
    """What the code has asked for, if it continues as new."""


# How long. --------------------------------------------------------------------------------------------------------


def execution_us(started: WorkflowExecutionStarted) -> int:
    """When the code of the run may begin."""
    return started.time_us + started.first_workflow_task_backoff_us


def deadline_us(started: WorkflowExecutionStarted) -> int:
    """When the run is over, whatever it does; 0: there is no such moment."""
    ends = [started.workflow_execution_expiration_time_us]
    if started.workflow_run_timeout_us:
        ends.append(execution_us(started) + started.workflow_run_timeout_us)
    return min((end for end in ends if end), default=0)


def is_over(started: WorkflowExecutionStarted | None, now_us: int) -> bool:
    """Has the run had its time?"""
    return started is not None and 0 < deadline_us(started) <= now_us


def timeout_messages(started: WorkflowExecutionStarted) -> tuple[NewMessage, ...]:
    """The message to oneself that ends the run when its time is over, if it has a limit."""
    end_us = deadline_us(started)
    return (codec.pack(RunTimeout(), end_us),) if end_us else ()


def first_backoff_us(cron_schedule: str, start_delay_us: int, now_us: int) -> int:
    """How long the first run of a workflow waits."""
    return cron.next_us(cron_schedule, now_us, now_us) - now_us if cron_schedule else start_delay_us


def keeps_its_time(started: WorkflowExecutionStarted | None) -> bool:
    """Does the run begin at its time and not before, whatever it is sent? A start delay ends with the first signal."""
    return started is not None and (
        started.initiator is not ContinueAsNewInitiator.UNSPECIFIED or started.cron_schedule != ""
    )


# What follows. ----------------------------------------------------------------------------------------------------


def may_be_followed(started: WorkflowExecutionStarted, command: ClosingCommand) -> bool:
    """May the run that this command ends have a successor, which needs an id?"""
    match command:
        case ContinueAsNewWorkflowExecution():
            return True
        case CompleteWorkflowExecution():
            return started.cron_schedule != ""
        case FailWorkflowExecution():
            return started.cron_schedule != "" or started.retry_policy is not None
        case _:
            return False


def after_completion(started: WorkflowExecutionStarted, result: list[Payload], now_us: int) -> Following | None:
    """By schedule."""
    return _scheduled(started, None, result, now_us)


def after_failure(
    started: WorkflowExecutionStarted, failure: Failure, now_us: int
) -> tuple[RetryState, Following | None]:
    """Tried again by the retry policy; if not, why not, and the next run by schedule."""
    verdict = _retry(started, failure, now_us)
    if isinstance(verdict, Following):
        return RetryState.IN_PROGRESS, verdict
    return verdict, _scheduled(started, failure, started.last_completion_result, now_us)


def continued(started: WorkflowExecutionStarted, command: ContinueAsNewWorkflowExecution) -> Following:
    """As the code asks. What it knows of the runs before goes on."""
    return Following(
        initiator=ContinueAsNewInitiator.WORKFLOW,
        backoff_us=command.backoff_start_interval_us,
        failure=started.continued_failure,
        last_completion_result=started.last_completion_result,
        command=command,
    )


def next_started(
    run_id: str, state: State, ended: ClosingEvent, next_run_id: str, following: Following
) -> WorkflowExecutionStarted:
    """The first event of the run that follows run ``run_id``, which ``ended`` has closed."""
    assert state.started is not None
    own: dict[str, Any] = {"memo": state.memo, "search_attributes": state.search_attributes}
    if following.command is not None:
        own |= _asked(state.started, following.command)
    return msgspec.structs.replace(
        state.started,
        time_us=ended.time_us,
        original_execution_run_id=next_run_id,
        continued_execution_run_id=run_id,
        initiator=following.initiator,
        attempt=following.attempt,
        first_workflow_task_backoff_us=following.backoff_us,
        request_id=next_run_id,
        consumed_request_ids=list(state.request_ids),
        continued_failure=following.failure,
        last_completion_result=following.last_completion_result,
        **{name: value for name, value in own.items() if value is not None},
    )


def _asked(started: WorkflowExecutionStarted, command: ContinueAsNewWorkflowExecution) -> dict[str, Any]:
    """What the code sets anew; what it leaves out stays as it is."""
    set_anew: dict[str, Any] = {
        "input": command.input,
        "header": command.header,
        "workflow_type": command.workflow_type or None,
        "task_queue": command.task_queue or None,
        "workflow_task_timeout_us": command.workflow_task_timeout_us,
        "workflow_run_timeout_us": command.workflow_run_timeout_us,
        "retry_policy": command.retry_policy,
    }
    if command.memo is not None:
        set_anew["memo"] = command.memo
    if command.search_attributes is not None:
        set_anew["search_attributes"] = command.search_attributes
    return set_anew


def _scheduled(
    started: WorkflowExecutionStarted, failure: Failure | None, result: list[Payload], now_us: int
) -> Following | None:
    if not started.cron_schedule:
        return None
    due_us = cron.next_us(started.cron_schedule, execution_us(started), now_us)
    if is_over_at(started, due_us):
        return None
    return Following(
        initiator=ContinueAsNewInitiator.CRON_SCHEDULE,
        backoff_us=due_us - now_us,
        failure=failure,
        last_completion_result=result,
    )


def is_over_at(started: WorkflowExecutionStarted, due_us: int) -> bool:
    """Would a run that begins then be too late for the whole chain?"""
    return 0 < started.workflow_execution_expiration_time_us <= due_us


def _retry(started: WorkflowExecutionStarted, failure: Failure, now_us: int) -> RetryState | Following:
    policy = started.retry_policy
    if policy is None:
        return RetryState.RETRY_POLICY_NOT_SET
    if not _is_retryable(failure, policy.non_retryable_error_types):
        return RetryState.NON_RETRYABLE_FAILURE
    if policy.maximum_attempts and started.attempt >= policy.maximum_attempts:
        return RetryState.MAXIMUM_ATTEMPTS_REACHED
    delay_us = policy.interval_us(started.attempt)
    if isinstance(failure.info, ApplicationFailureInfo) and failure.info.next_retry_delay_us is not None:
        delay_us = failure.info.next_retry_delay_us
    if is_over_at(started, now_us + delay_us):
        return RetryState.TIMEOUT
    return Following(
        initiator=ContinueAsNewInitiator.RETRY,
        backoff_us=delay_us,
        attempt=started.attempt + 1,
        failure=failure,
        last_completion_result=started.last_completion_result,
    )


def _is_retryable(failure: Failure, types: list[str]) -> bool:
    match failure.info:
        case CanceledFailureInfo() | TerminatedFailureInfo():
            return False
        case ServerFailureInfo(non_retryable=final):
            return not final
        case ApplicationFailureInfo(type=name, non_retryable=final):
            return not final and name not in types
        case TimeoutFailureInfo(timeout_type=kind):
            is_one = kind in (TimeoutType.START_TO_CLOSE, TimeoutType.HEARTBEAT)
            return is_one and f"TemporalTimeout:{_TIMEOUT_NAMES.get(kind, '')}" not in types
        case _:
            return True


_TIMEOUT_NAMES = {TimeoutType.START_TO_CLOSE: "StartToClose", TimeoutType.HEARTBEAT: "Heartbeat"}
