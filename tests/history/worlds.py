"""What the tests of stores share: a host whose clock the test sets, and short ways to say writes."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from durable.history import codec
from durable.history.events import (
    ActivityTaskScheduled,
    HistoryEvent,
    TimerStarted,
    WorkflowExecutionCompleted,
    WorkflowExecutionStarted,
)
from durable.history.host import Aside, Lane, Machine, Rounds
from durable.history.messages import (
    ActivityOutcome,
    Canceled,
    Completed,
    Message,
    Signal,
    TimerDue,
    WorkflowTaskDue,
)
from durable.history.store import Store
from durable.history.transition import (
    ActivityCancel,
    ActivitySpec,
    ActivityTask,
    Claim,
    Claimed,
    Committed,
    EventBatch,
    NewMessage,
    NewRun,
    Outcome,
    Refused,
    RunInfo,
    Send,
    StoredMessage,
    Transition,
    WorkerInfo,
)
from durable.history.values import IdConflictPolicy, IdReusePolicy, RunStatus

SECOND_US = 1_000_000
BEGINNING_US = 1_800_000_000 * SECOND_US
NAMESPACE = "default"
QUEUE = "orders"


class ClockedHost:
    """This machine, but for its clock: that stands still until the test moves it."""

    def __init__(self) -> None:
        self._machine = Machine()
        self._now_us = BEGINNING_US

    def now_us(self) -> int:
        return self._now_us

    def measure_time(self) -> None:
        """No other clock is there."""

    def pass_time(self, seconds: float) -> None:
        self._now_us += round(seconds * SECOND_US)

    def monotonic(self) -> float:
        return self._now_us / SECOND_US

    def uuid7(self) -> str:
        return self._machine.uuid7()

    def random(self) -> random.Random:
        return self._machine.random()

    def lane(self, name: str) -> Lane:
        return self._machine.lane(name)

    def aside(self, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> Aside:
        return self._machine.aside(name, main)

    def rounds(self, name: str, every_s: float, look: Callable[[], None]) -> Rounds:
        return self._machine.rounds(name, every_s, look)


def worker(worker_id: str = "w1", *, host: str = "", lease_s: float = 5.0) -> WorkerInfo:
    """A worker; each is on a host of its own unless a host is named, so that only its lease tells of its death."""
    return WorkerInfo(
        worker_id=worker_id,
        namespace=NAMESPACE,
        identity=f"{worker_id}@test",
        host=host or f"host of {worker_id}",
        pid=1,
        lease_us=round(lease_s * SECOND_US),
    )


def claim(worker_id: str = "w1", **changes: Any) -> Claim:
    everything = Claim(
        worker_id=worker_id,
        namespace=NAMESPACE,
        workflow_queues=(QUEUE,),
        activity_queues=(QUEUE,),
        max_runs=100,
        max_activities=100,
        cached={},
        busy=set(),
    )
    return msgspec.structs.replace(everything, **changes)


def due(now_us: int) -> NewMessage:
    return codec.pack(WorkflowTaskDue(), now_us)


def signal(name: str, now_us: int) -> NewMessage:
    return codec.pack(Signal(name=name), now_us)


def timer(started_event_id: int, due_us: int) -> NewMessage:
    return codec.pack(TimerDue(started_event_id=started_event_id), due_us, key=started_event_id)


def events(first_id: int, count: int = 1) -> EventBatch:
    """So many events; which ones they are is nothing to a store."""
    made: list[HistoryEvent] = [
        TimerStarted(
            id=first_id + i,
            time_us=BEGINNING_US,
            timer_id=str(i),
            start_to_fire_timeout_us=1,
            workflow_task_completed_event_id=1,
        )
        for i in range(count)
    ]
    return codec.batch(made)


def start(
    workflow_id: str = "order-7",
    run_id: str | None = None,
    *,
    request_id: str | None = None,
    reuse: IdReusePolicy = IdReusePolicy.ALLOW_DUPLICATE,
    conflict: IdConflictPolicy = IdConflictPolicy.FAIL,
    replaces: Transition | None = None,
    queue: str = QUEUE,
    namespace: str = NAMESPACE,
    messages: tuple[NewMessage, ...] | None = None,
    **changes: Any,
) -> Transition:
    """A start: one event, and a workflow task that is due."""
    run_id = run_id or f"run of {workflow_id}"
    event = WorkflowExecutionStarted(
        id=1,
        time_us=BEGINNING_US,
        workflow_type="Order",
        workflow_id=workflow_id,
        task_queue=queue,
        original_execution_run_id=run_id,
        first_execution_run_id=run_id,
    )
    begun = Transition(
        run_id=run_id,
        last_event_id=0,
        any_owner=True,
        start=NewRun(
            namespace=namespace,
            workflow_id=workflow_id,
            workflow_type="Order",
            task_queue=queue,
            started_us=BEGINNING_US,
            first_execution_run_id=run_id,
            request_id=request_id or f"request of {run_id}",
            reuse_policy=reuse,
            conflict_policy=conflict,
            replaces=replaces,
        ),
        events=codec.batch([event]),
        messages=(due(BEGINNING_US),) if messages is None else messages,
    )
    return msgspec.structs.replace(begun, **changes)


def step(run: RunInfo, reads: list[StoredMessage] | None = None, /, **changes: Any) -> Transition:
    """The next transition of a run: consumes what it ``reads``, appends one event, and keeps its owner."""
    made = Transition(
        run_id=run.run_id,
        last_event_id=run.last_event_id,
        owner=run.owner,
        new_owner=run.owner,
        events=events(run.last_event_id + 1),
        consumed=tuple(message.id for message in reads or ()),
    )
    return msgspec.structs.replace(made, **changes)


def close(run: RunInfo, reads: list[StoredMessage] | None = None, /, **changes: Any) -> Transition:
    """The run's own code completes it."""
    event = WorkflowExecutionCompleted(
        id=run.last_event_id + 1, time_us=BEGINNING_US, workflow_task_completed_event_id=1
    )
    closing: dict[str, Any] = {
        "events": codec.batch([event]),
        "status": RunStatus.COMPLETED,
        "closed_us": BEGINNING_US,
        "new_owner": None,
    }
    return step(run, reads, **{**closing, **changes})


def continue_as_new(
    run: RunInfo,
    reads: list[StoredMessage] | None = None,
    /,
    *,
    to: str = "next run",
    queue: str = QUEUE,
    **changes: Any,
) -> Transition:
    """The run's own code ends it for the next one to begin."""
    successor = start(run.workflow_id, "next run", queue=queue, namespace="")
    return close(run, reads, status=RunStatus.CONTINUED_AS_NEW, refuse_unread=False, successor=successor, **changes)


def terminate(run: RunInfo) -> Transition:
    return close(run, status=RunStatus.TERMINATED, any_owner=True, refuse_unread=False)


def task(run_id: str, scheduled_event_id: int, **changes: Any) -> ActivityTask:
    """An activity that waits to be claimed."""
    scheduled = ActivityTaskScheduled(
        id=scheduled_event_id,
        time_us=BEGINNING_US,
        workflow_task_completed_event_id=1,
        activity_id=str(scheduled_event_id),
        activity_type="charge",
        task_queue=QUEUE,
    )
    waiting = ActivityTask(
        run_id=run_id,
        scheduled_event_id=scheduled_event_id,
        task_queue=QUEUE,
        workflow_task_queue=QUEUE,
        due_us=BEGINNING_US,
        spec=ActivitySpec(
            activity_id=scheduled.activity_id,
            activity_type="charge",
            workflow_id="order-7",
            workflow_type="Order",
            scheduled_us=BEGINNING_US,
        ),
    )
    return msgspec.structs.replace(waiting, **changes)


def outcome(scheduled_event_id: int, now_us: int = BEGINNING_US) -> NewMessage:
    return codec.pack(ActivityOutcome(scheduled_event_id=scheduled_event_id, outcome=Completed()), now_us)


def cancelling(scheduled_event_id: int) -> ActivityCancel:
    """Asks a task to end; canceled at once when nobody works on it."""
    ended = ActivityOutcome(scheduled_event_id=scheduled_event_id, outcome=Canceled())
    return ActivityCancel(scheduled_event_id=scheduled_event_id, outcome=codec.pack(ended, BEGINNING_US))


def send(message: NewMessage, workflow_id: str = "order-7", **changes: Any) -> Send:
    return msgspec.structs.replace(Send(namespace=NAMESPACE, workflow_id=workflow_id, message=message), **changes)


def store_url(request: pytest.FixtureRequest) -> str:
    """The database that a fixture's parameter names, empty."""
    match request.param:
        case "postgres":
            return str(request.getfixturevalue("postgres"))
        case "pooled":
            return f"{request.getfixturevalue('pooled_postgres')}&pooler=transaction"
        case "sqlite-memory":
            return "sqlite://"
        case _:
            return f"sqlite:///{request.getfixturevalue('tmp_path')}/durable.db"


async def write(store: Store, one: Transition | Any) -> Outcome:
    return (await store.commit([one]))[0]


async def done(store: Store, one: Transition | Any) -> Committed:
    """The write must hold."""
    answer = await write(store, one)
    assert isinstance(answer, Committed), answer
    return answer


async def refused(store: Store, one: Transition | Any) -> Refused:
    """The write must be refused."""
    answer = await write(store, one)
    assert isinstance(answer, Refused), answer
    return answer


async def info(store: Store, run_id: str) -> RunInfo:
    found = await store.find(NAMESPACE, "", run_id)
    assert found is not None
    return found


async def owned(store: Store, worker_id: str = "w1", workflow_id: str = "order-7", **changes: Any) -> RunInfo:
    """A new run, owned by a registered worker, with nothing in its inbox unless ``messages`` are given."""
    await done(store, start(workflow_id, **{"messages": (), "new_owner": worker_id, **changes}))
    return await info(store, f"run of {workflow_id}")


def taken(found: Claimed) -> list[str]:
    return [each.run.run_id for each in found.runs]


def meanings(messages: list[StoredMessage]) -> list[Message]:
    return [codec.decode_message(message.body) for message in messages]
