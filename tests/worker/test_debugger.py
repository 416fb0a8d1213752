"""A run replayed to any place in its history, and what is seen there; without a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, Worker, activity, workflow
from durable.client import WorkflowHandle, WorkflowHistory
from durable.converter import DataConverter
from durable.worker.debugger import Session
from durable.worker.replay import Environment
from durable.workflow import NondeterminismError
from durable.workflow.definition import WorkflowDefinition
from durable.workflow.errors import ReadOnlyContextError
from tests.engine.histories import until


@activity.defn
async def one() -> int:
    return 1


@activity.defn
async def two() -> int:
    return 2


async def doubled() -> int:
    before = 5
    found = await one()
    return before + found


async def numbers() -> AsyncIterator[int]:
    for number in range(2):
        await asyncio.sleep(0.001)
        yield number


@workflow.defn(name="flow")
async def flow(factor: int) -> int:
    first = await doubled()
    async for number in numbers():
        first += number
    second = await asyncio.wait_for(two(), 3600)
    return factor * (first + second)


@workflow.defn(name="flow")
async def edited(factor: int) -> int:
    first = await one()
    await asyncio.gather(asyncio.sleep(5), asyncio.sleep(6))
    return first * factor


@workflow.defn(name="flow")
async def raising(factor: int) -> int:
    first = await one()
    raise LookupError(f"no {first}")


@workflow.defn
async def open_run() -> None:
    await asyncio.gather(one(), asyncio.Event().wait(), asyncio.sleep(3600))


@activity.defn
async def never() -> None:
    await asyncio.Event().wait()


@workflow.defn
async def looking_up() -> None:
    await workflow.execute_local_activity(never, start_to_close_timeout=timedelta(hours=1))


@pytest.fixture(scope="module")
def recorded() -> WorkflowHistory:
    async def run() -> WorkflowHistory:
        async with await Client.connect("sqlite://") as client:
            async with Worker(client, workflows=[flow], activities=[one, two]):
                handle = await client.start_workflow(flow, 3, id="a")
                await handle.result()
                return await handle.fetch_history()

    return asyncio.run(run())


def session_on(function: Any, history: WorkflowHistory) -> Session:
    environment = Environment(namespace="default", converter=DataConverter.default)
    return Session(WorkflowDefinition.must_be(function), history.run_id, history.events, environment)


@pytest.fixture
def session(recorded: WorkflowHistory) -> Session:
    return session_on(flow, recorded)


async def scheduled(handle: WorkflowHandle[Any, None]) -> WorkflowHistory | None:
    """The history, as soon as its first workflow task is in it."""
    history = await handle.fetch_history()
    return history if len(history.events) >= 6 else None


def functions(session: Session) -> list[str]:
    return [frame.f_code.co_name for frame, _ in session.places()]


def variables(session: Session) -> dict[str, Any]:
    return dict(session.places()[-1][0].f_locals)


def test_each_event_belongs_to_the_workflow_task_that_read_or_wrote_it(session: Session) -> None:
    kinds = [(session.position_of(event.id), type(event).__name__) for event in session.events]

    assert [kind for position, kind in kinds if position == 1] == [
        "WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted",
        "ActivityTaskScheduled",
    ]  # fmt: skip
    assert [kind for position, kind in kinds if position == 2] == [
        "ActivityTaskStarted", "ActivityTaskCompleted", "WorkflowTaskScheduled", "WorkflowTaskStarted",
        "WorkflowTaskCompleted", "TimerStarted",
    ]  # fmt: skip
    assert kinds[-1] == (session.last, "WorkflowExecutionCompleted")
    assert session.end == session.last == len(session.tasks)


@pytest.mark.parametrize("event_id", [0, 10_000])
def test_an_event_that_is_not_there_is_refused(session: Session, event_id: int) -> None:
    with pytest.raises(LookupError, match=f"there is no event {event_id} in run .* of 'a': its events are 1 to "):
        session.position_of(event_id)


def test_the_frames_lead_along_all_that_awaits_also_through_a_generator(session: Session) -> None:
    session.go_to(1)
    assert functions(session) == ["flow", "doubled"]
    assert variables(session) == {"before": 5}

    session.go_to(2)
    assert functions(session) == ["flow", "numbers"]
    assert variables(session) == {"number": 0}


def test_back_is_a_replay_to_the_same_variables(session: Session) -> None:
    session.go_to(3)
    there = variables(session)
    session.go_to(session.last)
    session.go_to(3)

    assert variables(session) == there == {"number": 1}


def test_a_run_that_has_ended_keeps_the_variables_of_its_function(session: Session) -> None:
    session.go_to(session.last)

    assert functions(session) == ["flow"]
    assert variables(session) == {"factor": 3, "first": 7, "number": 1, "second": 2}
    assert session.task_views() == [] and session.waits_for == ""


def test_before_the_first_task_the_place_is_the_functions_definition(session: Session) -> None:
    ((frame, line),) = session.places()

    assert (frame.f_code.co_filename, line) == (__file__, flow.__code__.co_firstlineno)
    assert frame.f_globals["flow"] is flow


def test_a_difference_is_raised_and_what_fits_can_be_gone_to_again(recorded: WorkflowHistory) -> None:
    session = session_on(edited, recorded)

    with pytest.raises(NondeterminismError, match="but the code now starts a timer") as raised:
        session.go_to(session.last)
    assert (session.position, session.spoilt) == (1, True)

    session.go_to(session.position)
    assert (session.position, session.spoilt) == (1, False)
    assert functions(session) == ["edited"]
    assert ".py" not in str(raised.value), "the timer is asked for by no line of the user's"


def test_an_exception_of_the_code_has_the_frames_that_raised_it(recorded: WorkflowHistory) -> None:
    session = session_on(raising, recorded)

    with pytest.raises(NondeterminismError, match="now raises LookupError: no 1"):
        session.go_to(session.last)

    assert isinstance(session.error, LookupError)
    assert functions(session) == ["raising"] and variables(session)["first"] == 1


def test_each_task_says_what_it_waits_for() -> None:
    async def run() -> WorkflowHistory:
        async with await Client.connect("sqlite://") as client:
            async with Worker(client, workflows=[open_run], activities=[]):
                handle = await client.start_workflow(open_run, id="a")
                return await until(lambda: scheduled(handle))

    session = session_on(open_run, asyncio.run(run()))
    session.go_to(session.end)

    main, activity_task, event, timer = session.task_views()
    assert main.waits_for.startswith("3 of 3 gathered: activity 'one' (event 5), Event.wait, timer 1 (event 6), due ")
    assert main.waits_for == session.waits_for
    assert (activity_task.waits_for, event.waits_for) == ("activity 'one' (event 5)", "Event.wait")
    assert timer.waits_for.startswith("timer 1 (event 6), due ")


def test_a_local_activity_is_named_though_the_history_has_no_event_of_it_yet() -> None:
    async def run() -> WorkflowHistory:
        async with await Client.connect("sqlite://") as client:
            async with Worker(client, workflows=[looking_up], activities=[never]):
                handle = await client.start_workflow(looking_up, id="a")
                return await handle.fetch_history()

    session = session_on(looking_up, asyncio.run(run()))
    session.go_to(session.end)

    assert session.waits_for == "local activity 'never' (activity id 1)"


def test_a_wait_with_a_timeout_says_both(session: Session) -> None:
    session.go_to(4)

    assert session.waits_for.startswith(("wait_for, timer ", "activity 'two'")), session.waits_for


@pytest.mark.parametrize(
    "change",
    [
        lambda: one().send(None),
        lambda: asyncio.sleep(1).send(None),
        lambda: asyncio.get_running_loop().create_task(asyncio.sleep(1)),
    ],
    ids=["activity", "timer", "task"],
)
@pytest.mark.filterwarnings("ignore:coroutine 'sleep' was never awaited")
def test_whoever_looks_can_ask_but_change_nothing(session: Session, change: Callable[[], Any]) -> None:
    session.go_to(1)

    with session.looking(stepped=False):
        assert workflow.info().workflow_id == "a"
        with pytest.raises(ReadOnlyContextError, match="While in read-only function"):
            change()
    session.go_to(session.last)


def test_an_abandoned_run_is_replayed_from_the_beginning(session: Session) -> None:
    session.go_to(2)
    session.abandon()
    session.go_to(2)

    assert not session.spoilt and functions(session) == ["flow", "numbers"]
