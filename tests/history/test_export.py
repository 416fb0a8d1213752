"""A history's JSON is what Temporal's own reader takes and what Temporal's own writer makes."""

from __future__ import annotations

import json
import re
from enum import IntEnum
from typing import Any

import msgspec
import pytest
import temporalio.api.enums.v1 as temporal_enums
import temporalio.api.history.v1 as temporal_history
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from temporalio.client import WorkflowHistory

from durable.history import export
from durable.history.errors import CorruptHistory
from durable.history.events import (
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    HistoryEvent,
    TimerFired,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionStarted,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
)
from durable.history.values import (
    ApplicationFailureInfo,
    CancelExternalFailedCause,
    Failure,
    IdReusePolicy,
    ParentClosePolicy,
    Payload,
    RetryPolicy,
    RetryState,
    SignalExternalFailedCause,
    StartChildFailedCause,
    TaskFailedCause,
    TimeoutFailureInfo,
    TimeoutType,
)
from tests.history.examples import event_types, events, structs

STARTED_US = 1_704_067_200_000_000  # 2024-01-01T00:00:00Z


def without_what_has_no_place(event: HistoryEvent) -> HistoryEvent:
    if isinstance(event, WorkflowExecutionStarted):
        return msgspec.structs.replace(event, request_id="", consumed_request_ids=[])
    if isinstance(event, WorkflowExecutionCancelRequested):
        return msgspec.structs.replace(event, request_id="")
    if isinstance(event, WorkflowTaskCompleted):
        return msgspec.structs.replace(event, local_activities=None)
    return event


def by_temporal(events: list[HistoryEvent]) -> temporal_history.History:
    """Temporal's reading of our JSON; unlike its client it refuses fields that it does not know."""
    return json_format.Parse(export.to_json(events), temporal_history.History())


@pytest.mark.parametrize("kind", event_types, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_event_survives_the_way_through_temporals_own_messages(
    kind: type[HistoryEvent], data: st.DataObject
) -> None:
    event = data.draw(structs(kind))

    message = by_temporal([event])

    assert export.from_json(json_format.MessageToJson(message)) == [without_what_has_no_place(event)]


@given(st.lists(events, min_size=1, max_size=5))
def test_a_history_is_written_exactly_as_temporals_writer_writes_it(history: list[HistoryEvent]) -> None:
    assert export.to_json_dict(history) == json_format.MessageToDict(by_temporal(history))


@given(st.lists(events, max_size=5))
def test_a_history_reads_back_as_it_was_from_text_bytes_and_dict(history: list[HistoryEvent]) -> None:
    expected = [without_what_has_no_place(event) for event in history]

    assert export.from_json(export.to_json(history)) == expected
    assert export.from_json(export.to_json(history).encode()) == expected
    assert export.from_json(export.to_json_dict(history)) == expected


@given(st.lists(events, min_size=1, max_size=3))
def test_temporals_client_loads_our_histories(history: list[HistoryEvent]) -> None:
    loaded = WorkflowHistory.from_json("order-7", export.to_json(history))

    assert [event.event_id for event in loaded.events] == [event.id for event in history]
    assert export.from_json(loaded.to_json()) == [without_what_has_no_place(event) for event in history]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (RetryState, temporal_enums.RetryState),
        (TimeoutType, temporal_enums.TimeoutType),
        (TaskFailedCause, temporal_enums.WorkflowTaskFailedCause),
        (ParentClosePolicy, temporal_enums.ParentClosePolicy),
        (IdReusePolicy, temporal_enums.WorkflowIdReusePolicy),
        (StartChildFailedCause, temporal_enums.StartChildWorkflowExecutionFailedCause),
        (SignalExternalFailedCause, temporal_enums.SignalExternalWorkflowExecutionFailedCause),
        (CancelExternalFailedCause, temporal_enums.CancelExternalWorkflowExecutionFailedCause),
    ],
)
def test_our_enums_have_temporals_names_and_numbers(ours: type[IntEnum], theirs: Any) -> None:
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", theirs.DESCRIPTOR.name).upper() + "_"

    assert {prefix + member.name: member.value for member in ours}.items() <= dict(theirs.items()).items()


def test_an_activitys_event_looks_as_temporal_shows_it() -> None:
    event = ActivityTaskScheduled(
        id=5,
        time_us=STARTED_US + 123_456,
        workflow_task_completed_event_id=4,
        activity_id="1",
        activity_type="charge",
        task_queue="orders",
        input=[Payload(metadata={"encoding": b"json/plain"}, data=b'"hi"')],
        start_to_close_timeout_us=30_000_000,
        heartbeat_timeout_us=500_000,
        retry_policy=RetryPolicy(maximum_interval_us=100_000_000, non_retryable_error_types=["Broke"]),
    )

    assert export.to_json_dict([event])["events"] == [
        {
            "eventId": "5",
            "eventTime": "2024-01-01T00:00:00.123456Z",
            "eventType": "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED",
            "activityTaskScheduledEventAttributes": {
                "activityId": "1",
                "activityType": {"name": "charge"},
                "taskQueue": {"name": "orders", "kind": "TASK_QUEUE_KIND_NORMAL"},
                "input": {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "ImhpIg=="}]},
                "scheduleToCloseTimeout": "0s",
                "scheduleToStartTimeout": "0s",
                "startToCloseTimeout": "30s",
                "heartbeatTimeout": "0.500s",
                "workflowTaskCompletedEventId": "4",
                "retryPolicy": {
                    "initialInterval": "1s",
                    "backoffCoefficient": 2.0,
                    "maximumInterval": "100s",
                    "nonRetryableErrorTypes": ["Broke"],
                },
            },
        }
    ]


def test_a_failure_shows_its_kind_and_its_cause() -> None:
    event = ActivityTaskFailed(
        id=7,
        time_us=STARTED_US,
        scheduled_event_id=5,
        started_event_id=6,
        retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
        failure=Failure(
            message="no money",
            info=ApplicationFailureInfo(type="Broke", non_retryable=True, next_retry_delay_us=1_500_000, category=1),
            cause=Failure(message="late", info=TimeoutFailureInfo(timeout_type=TimeoutType.HEARTBEAT)),
        ),
    )

    attributes = export.to_json_dict([event])["events"][0]["activityTaskFailedEventAttributes"]

    assert attributes == {
        "scheduledEventId": "5",
        "startedEventId": "6",
        "retryState": "RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED",
        "failure": {
            "message": "no money",
            "applicationFailureInfo": {
                "type": "Broke",
                "nonRetryable": True,
                "nextRetryDelay": "1.500s",
                "category": "APPLICATION_ERROR_CATEGORY_BENIGN",
            },
            "cause": {"message": "late", "timeoutFailureInfo": {"timeoutType": "TIMEOUT_TYPE_HEARTBEAT"}},
        },
    }


TEMPORALS = {
    "events": [
        {
            "eventId": "1",
            "eventTime": "2024-01-01T00:00:00.123456789Z",
            "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED",
            "version": "0",
            "taskId": "1048587",
            "workflowExecutionStartedEventAttributes": {
                "workflowType": {"name": "process"},
                "parentInitiatedEventId": "0",
                "taskQueue": {"name": "orders", "kind": "TASK_QUEUE_KIND_NORMAL"},
                "input": None,
                "workflowExecutionTimeout": "0s",
                "workflowTaskTimeout": "10s",
                "initiator": "CONTINUE_AS_NEW_INITIATOR_UNSPECIFIED",
                "originalExecutionRunId": "run-1",
                "firstExecutionRunId": "run-1",
                "identity": "1@host",
                "attempt": 1,
                "firstWorkflowTaskBackoff": "0s",
                "header": {},
                "workflowId": "order-7",
                "priority": {},
            },
        },
        {
            "eventId": "2",
            "eventTime": "2024-01-01T02:00:00+02:00",
            "eventType": "EVENT_TYPE_WORKFLOW_TASK_FAILED",
            "workflowTaskFailedEventAttributes": {
                "scheduledEventId": "2",
                "startedEventId": "3",
                "cause": "WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR",
                "failure": {"message": "x", "source": "GoSDK", "stackTrace": "", "encodedAttributes": None},
            },
        },
        {
            "eventId": "3",
            "eventTime": "2024-01-01T00:00:00Z",
            "eventType": "EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT",
            "activityTaskTimedOutEventAttributes": {
                "failure": {"timeoutFailureInfo": {"timeoutType": "TIMEOUT_TYPE_START_TO_CLOSE"}},
                "retryState": "RETRY_STATE_TIMEOUT",
            },
        },
    ]
}


def spelled_as_of_old(text: str) -> str:
    """The enums as Temporal's tools wrote them before 1.24: ``EVENT_TYPE_TIMER_FIRED`` → ``TimerFired``."""
    prefixes = "EVENT_TYPE|TASK_QUEUE_KIND|RETRY_STATE|TIMEOUT_TYPE|WORKFLOW_TASK_FAILED_CAUSE"
    return re.sub(rf'"(?:{prefixes})_([A-Z_]+)"', lambda match: f'"{match[1].title().replace("_", "")}"', text)


@pytest.mark.parametrize("spell", [str, spelled_as_of_old], ids=["of today", "of old"])
def test_a_history_of_temporals_tools_loads_in_both_spellings(spell: Any) -> None:
    history = export.from_json(spell(json.dumps(TEMPORALS)))

    assert history == [
        WorkflowExecutionStarted(
            id=1,
            time_us=STARTED_US + 123_456,
            workflow_type="process",
            workflow_id="order-7",
            task_queue="orders",
            original_execution_run_id="run-1",
            first_execution_run_id="run-1",
            identity="1@host",
        ),
        WorkflowTaskFailed(
            id=2,
            time_us=STARTED_US,
            scheduled_event_id=2,
            started_event_id=3,
            cause=TaskFailedCause.NON_DETERMINISTIC_ERROR,
            failure=Failure(message="x", source="GoSDK"),
        ),
        ActivityTaskTimedOut(
            id=3,
            time_us=STARTED_US,
            scheduled_event_id=0,
            started_event_id=0,
            failure=Failure(info=TimeoutFailureInfo(timeout_type=TimeoutType.START_TO_CLOSE)),
            retry_state=RetryState.TIMEOUT,
        ),
    ]


def test_a_cause_that_durable_does_not_have_is_read_as_unspecified() -> None:
    text = json.dumps(TEMPORALS).replace("CAUSE_NON_DETERMINISTIC_ERROR", "CAUSE_RESET_WORKFLOW")

    failed = export.from_json(text)[1]

    assert isinstance(failed, WorkflowTaskFailed)
    assert failed.cause is TaskFailedCause.UNSPECIFIED


def test_payload_bytes_are_read_in_either_base64_alphabet_padded_or_not() -> None:
    def fired(data: str) -> dict[str, Any]:
        attributes = {"signalName": "s", "input": {"payloads": [{"data": data}]}}
        return {
            "eventId": 1,
            "eventTime": "2024-01-01T00:00:00Z",
            "eventType": "WorkflowExecutionSignaled",
            "workflowExecutionSignaledEventAttributes": attributes,
        }

    spellings = ["+/+/", "-_-_", "-_8=", "+/8"]
    read = [export.from_json({"events": [fired(data)]})[0] for data in spellings]

    assert [event.input[0].data.hex() for event in read] == ["fbffbf", "fbffbf", "fbff", "fbff"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name", ["EVENT_TYPE_NEXUS_OPERATION_SCHEDULED", "NexusOperationScheduled", "", "EVENT_TYPE_FROM_THE_FUTURE"]
)
def test_an_event_type_that_durable_does_not_have_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(CorruptHistory, match=f"event 9 of this history has the type '{name}'"):
        export.from_json({"events": [{"eventId": "9", "eventTime": "2024-01-01T00:00:00Z", "eventType": name}]})


def fired_event(**changes: Any) -> dict[str, Any]:
    event = export.to_json_dict([TimerFired(id=1, time_us=STARTED_US, timer_id="1", started_event_id=5)])["events"][0]
    return {key: value for key, value in (event | changes).items() if value is not ...}


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        (3, "expected an object, found 3"),
        (fired_event(eventId=...), "'eventId' is missing"),
        (fired_event(eventId="one"), "invalid literal for int.*'one'"),
        (fired_event(eventTime=...), "'eventTime' is missing"),
        (fired_event(eventTime="yesterday"), "yesterday"),
        (fired_event(eventTime="2024-01-01T00:00:00"), "does not say its time zone"),
        (fired_event(timerFiredEventAttributes=...), "'timerFiredEventAttributes' is missing"),
        (fired_event(timerFiredEventAttributes={"timerId": 7}), "timerId: expected a string, found 7"),
        (fired_event(timerFiredEventAttributes={"startedEventId": "x"}), "startedEventId: invalid literal"),
        (
            {
                "eventId": "1",
                "eventTime": "2024-01-01T00:00:00Z",
                "eventType": "TimerStarted",
                "timerStartedEventAttributes": {"startToFireTimeout": "an hour"},
            },
            "startToFireTimeout: the duration 'an hour' does not end in 's'",
        ),
    ],
)
def test_what_is_wrong_in_an_event_is_named_with_its_place(event: Any, complaint: str) -> None:
    with pytest.raises(CorruptHistory, match=f"event 2 of this history can't be read: .*{complaint}"):
        export.from_json({"events": [fired_event(), event]})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"events": {}}', b"\xff"])
def test_what_is_no_history_is_refused_as_such(text: str | bytes) -> None:
    with pytest.raises(CorruptHistory, match="this is no history"):
        export.from_json(text)


def test_what_was_found_instead_of_a_history_is_shown_in_brief() -> None:
    with pytest.raises(CorruptHistory) as raised:
        export.from_json({"events": {"far": "too " * 10_000 + "long"}})

    assert "expected a list, found {'far': 'too too" in str(raised.value)
    assert len(str(raised.value)) < 300
