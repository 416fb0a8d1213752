"""Stored bytes read back as what they were, in this version and in every later one."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.history import codec
from durable.history.errors import CorruptHistory
from durable.history.events import HistoryEvent, TimerFired, WorkflowExecutionStarted
from durable.history.messages import (
    KIND_OF,
    ActivityOutcome,
    Canceled,
    CancelRequest,
    Completed,
    Failed,
    Message,
    Query,
    QueryAnswer,
    Signal,
    TimedOut,
    TimerDue,
    WorkflowTaskDue,
)
from durable.history.transition import ActivityProgress, ActivitySpec
from durable.history.values import Failure, Payload, RetryPolicy, RetryState
from tests.history.examples import events, failures, instants_us, payload_lists, payloads, structs, texts

outcomes = st.one_of([structs(kind) for kind in (Completed, Failed, TimedOut, Canceled)])
activity_outcomes = st.builds(
    ActivityOutcome,
    scheduled_event_id=st.integers(-1000, 2**63 - 1),
    outcome=outcomes,
    started_us=instants_us,
    attempt=st.integers(0, 1000),
    identity=texts,
    last_failure=st.none() | failures,
)
messages: st.SearchStrategy[Message] = st.one_of(
    *[structs(kind) for kind in (TimerDue, Signal, CancelRequest, Query)],
    st.builds(WorkflowTaskDue, attempt=st.integers(0, 1000), held=st.lists(activity_outcomes, max_size=2)),
    activity_outcomes,
)

RECORDED_BY_0_1_0 = (
    "9289a474797065b8576f726b666c6f77457865637574696f6e53746172746564a2696401a774696d655f7573cf00060d"
    "d710212000ad776f726b666c6f775f74797065a770726f63657373ab776f726b666c6f775f6964a76f726465722d37aa"
    "7461736b5f7175657565a66f7264657273b96f726967696e616c5f657865637574696f6e5f72756e5f6964a27231b666"
    "697273745f657865637574696f6e5f72756e5f6964a27231a5696e7075749182a86d6574616461746181a8656e636f64"
    "696e67c40a6a736f6e2f706c61696ea464617461c4013185a474797065aa54696d65724669726564a2696402a774696d"
    "655f7573cf00060dd710212001a874696d65725f6964a131b0737461727465645f6576656e745f696409"
)


@given(st.lists(st.lists(events, min_size=1, max_size=3), max_size=3))
def test_a_history_reads_back_from_its_rows_in_order(rows: list[list[HistoryEvent]]) -> None:
    stored = [codec.batch(row).data for row in rows]

    assert codec.decode_history(stored) == [event for row in rows for event in row]


@given(st.lists(events, min_size=1, max_size=3))
def test_a_row_says_which_events_it_holds(history: list[HistoryEvent]) -> None:
    row = codec.batch(history)

    assert (row.first_id, row.count) == (history[0].id, len(history))


@given(messages, instants_us, st.integers(0))
def test_a_message_reads_back_and_its_row_tells_its_kind(message: Message, due_us: int, key: int) -> None:
    packed = codec.pack(message, due_us, key)

    assert codec.decode_message(packed.body) == message
    assert (packed.kind, packed.due_us, packed.key) == (KIND_OF[type(message)], due_us, key)


@given(structs(ActivitySpec))
def test_an_activitys_spec_reads_back(spec: ActivitySpec) -> None:
    assert codec.decode_spec(codec.encode(spec)) == spec


@given(structs(ActivityProgress))
def test_an_activitys_progress_reads_back(progress: ActivityProgress) -> None:
    assert codec.decode_progress(codec.encode(progress)) == progress


@given(st.builds(QueryAnswer, result=payload_lists, failure=st.none() | failures))
def test_an_answer_reads_back(answer: QueryAnswer) -> None:
    assert codec.decode_answer(codec.encode(answer)) == answer


@given(payloads)
def test_payload_bytes_are_stored_as_they_are_not_in_base64(payload: Payload) -> None:
    stored = codec.encode(Signal(name="s", input=[payload]))

    assert payload.data in stored


@pytest.mark.parametrize(
    ("decode", "what"),
    [
        (codec.decode_events, "events"),
        (codec.decode_message, "message"),
        (codec.decode_spec, "activity"),
        (codec.decode_progress, "activity progress"),
        (codec.decode_answer, "answer"),
    ],
)
@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x01"], ids=["empty", "no msgpack", "another type"])
def test_damaged_bytes_are_refused_and_say_what_they_were_to_be(
    decode: Callable[[bytes], object], what: str, data: bytes
) -> None:
    with pytest.raises(CorruptHistory, match=f"stored {what} can't be read"):
        decode(data)


def test_an_event_of_an_unknown_type_is_refused_by_its_name() -> None:
    data = msgspec.msgpack.encode([{"type": "FromTheFuture", "id": 1, "time_us": 0}])

    with pytest.raises(CorruptHistory, match="FromTheFuture"):
        codec.decode_events(data)


def test_fields_that_a_later_version_adds_do_not_hinder_this_one() -> None:
    data = msgspec.msgpack.encode(
        [{"type": "TimerFired", "id": 7, "time_us": 5, "timer_id": "1", "started_event_id": 6, "mood": "good"}]
    )

    assert codec.decode_events(data) == [TimerFired(id=7, time_us=5, timer_id="1", started_event_id=6)]


def test_what_the_first_version_stored_is_read() -> None:
    """The bytes are a recording: when this fails, stored histories have become unreadable."""
    stored = bytes.fromhex(RECORDED_BY_0_1_0)

    assert codec.decode_events(stored) == [
        WorkflowExecutionStarted(
            id=1,
            time_us=1_704_067_200_000_000,
            workflow_type="process",
            workflow_id="order-7",
            task_queue="orders",
            original_execution_run_id="r1",
            first_execution_run_id="r1",
            input=[Payload(metadata={"encoding": b"json/plain"}, data=b"1")],
        ),
        TimerFired(id=2, time_us=1_704_067_200_000_001, timer_id="1", started_event_id=9),
    ]


def test_defaults_take_no_room() -> None:
    bare = codec.encode(Failed(failure=Failure(message="x"), retry_state=RetryState.IN_PROGRESS))
    spelled_out = Failed(failure=Failure(message="x", source="", cause=None), retry_state=RetryState.IN_PROGRESS)

    assert codec.encode(spelled_out) == bare
    assert codec.encode(RetryPolicy(maximum_attempts=0)) == b"\x80"
