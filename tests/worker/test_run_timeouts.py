"""A run that has had its time is closed by a worker that has none of its code, however much it was sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from durable import activity
from durable.converter import DataConverter
from durable.history import beginning, codec
from durable.history.messages import Message, MessageKind, RunTimeout, Signal
from durable.history.transition import MESSAGES_PER_RUN, StoredMessage
from durable.history.values import RunStatus
from durable.worker.registry import Registry
from durable.worker.replay import Environment
from durable.worker.step import Job, Stepped, Stepping

SECOND_US = 1_000_000
BEGINNING_US = 1_800_000_000 * SECOND_US


@activity.defn(start_to_close_timeout=timedelta(seconds=1))
async def something_else() -> None: ...


def step(at_us: int, *messages: Message) -> Stepped:
    """What a worker that has no workflows makes of a run that may take five seconds."""
    request = beginning.StartRequest(
        namespace="default",
        workflow_id="order-7",
        workflow_type="Order",
        task_queue="nobody's",
        input=[],
        request_id="r0",
        run_timeout_us=5 * SECOND_US,
    )
    begun = beginning.start(request, "run", BEGINNING_US).transition
    assert begun.events is not None
    stepping = Stepping(
        Registry([], [something_else]),
        Environment(namespace="default", converter=DataConverter.default),
        "w1",
        lambda: at_us,
        lambda: "next run",
    )
    stored = [_stored(id, message) for id, message in enumerate(messages, 1)]
    return stepping.step(Job(run_id="run", workflow_type="Order", history=[begun.events.data], messages=stored))


def _stored(id: int, message: Message) -> StoredMessage:
    packed = codec.pack(message, BEGINNING_US)
    return StoredMessage(id=id, kind=packed.kind, body=packed.body, due_us=packed.due_us)


def status(stepped: Stepped) -> tuple[Any, bool]:
    assert stepped.step is not None
    return stepped.step.transition.status, stepped.step.transition.refuse_unread


def test_the_message_that_its_time_is_over_closes_it() -> None:
    assert status(step(BEGINNING_US + 5 * SECOND_US, Signal(name="a"), RunTimeout())) == (RunStatus.TIMED_OUT, True)


def test_a_flood_that_hides_that_message_does_not_keep_it_alive() -> None:
    flood = [Signal(name=str(number)) for number in range(MESSAGES_PER_RUN)]
    stepped = step(BEGINNING_US + 5 * SECOND_US, *flood)

    assert status(stepped) == (RunStatus.TIMED_OUT, False)
    assert stepped.step is not None and len(stepped.step.transition.consumed) == MESSAGES_PER_RUN


def test_before_that_it_is_parked_as_a_run_without_code_is() -> None:
    stepped = step(BEGINNING_US + 5 * SECOND_US - 1, Signal(name="a"))

    assert status(stepped)[0] is RunStatus.RUNNING
    assert stepped.step is not None and "not registered on this worker" in (stepped.step.transition.parked or "")
    assert MessageKind.RUN_TIMEOUT not in [message.kind for message in stepped.step.transition.messages]
