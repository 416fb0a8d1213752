"""Child workflows: started once, told of their parent's end, and their own end told to it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.client import WorkflowFailureError
from durable.common import Priority, RetryPolicy, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)
from durable.history.events import (
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionStarted,
    RequestCancelExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionInitiated,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionStarted,
)
from durable.workflow import ChildWorkflowCancellationType, ParentClosePolicy
from tests.engine.conftest import Execute, MakeWorker


@workflow.defn
async def double(number: int) -> int:
    return number * 2


@workflow.defn
async def parent_of_one(number: int) -> int:
    return await workflow.execute_child_workflow(double, number, id="the-child")


@workflow.defn
class Sleeper:
    """Sleeps until it is told to wake up."""

    def __init__(self) -> None:
        self.awake: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: bool(self.awake))
        return self.awake

    @workflow.signal
    def wake(self, who: str) -> None:
        self.awake.append(who)


async def test_a_child_is_started_and_its_result_comes_back(execute: Execute, client: Client) -> None:
    assert await execute(parent_of_one, 21, using=(double,)) == 42

    parent = await client.get_workflow_handle("the-run").fetch_history()
    child = await client.get_workflow_handle("the-child").fetch_history()
    initiated = next(each for each in parent.events if isinstance(each, StartChildWorkflowExecutionInitiated))
    began = next(each for each in parent.events if isinstance(each, ChildWorkflowExecutionStarted))
    ended = next(each for each in parent.events if isinstance(each, ChildWorkflowExecutionCompleted))
    started = child.events[0]
    assert isinstance(started, WorkflowExecutionStarted)
    assert (began.initiated_event_id, ended.initiated_event_id, ended.started_event_id) == (
        initiated.id,
        initiated.id,
        began.id,
    )
    assert started.parent_workflow_execution is not None
    assert (started.parent_workflow_execution.workflow_id, started.parent_initiated_event_id) == (
        "the-run",
        initiated.id,
    )
    assert started.root_workflow_execution == started.parent_workflow_execution


@workflow.defn
async def parent_of_many(count: int) -> list[int]:
    return await asyncio.gather(*(workflow.execute_child_workflow(double, number) for number in range(count)))


async def test_many_children_run_at_once_and_have_ids_of_their_own(execute: Execute) -> None:
    assert await execute(parent_of_many, 20, using=(double,)) == [2 * number for number in range(20)]


@workflow.defn
async def failing() -> None:
    raise ApplicationError("no luck", "a detail", type="Luck")


@workflow.defn
async def parent_of_failing() -> list[Any]:
    try:
        await workflow.execute_child_workflow(failing, id="the-child")
    except ChildWorkflowError as error:
        cause = error.cause
        assert isinstance(cause, ApplicationError)
        return [str(error), error.workflow_id, error.workflow_type, cause.type, cause.message, list(cause.details)]
    raise AssertionError("the child did not fail")


async def test_a_childs_failure_is_the_cause_of_a_child_workflow_error(execute: Execute) -> None:
    assert await execute(parent_of_failing, using=(failing,)) == [
        "Child Workflow execution failed",
        "the-child",
        "failing",
        "Luck",
        "no luck",
        ["a detail"],
    ]


@workflow.defn
async def starts_what_is_there() -> str:
    try:
        await workflow.start_child_workflow(double, 1, id="taken")
    except WorkflowAlreadyStartedError as error:
        return f"{error.workflow_id} {error.workflow_type}"
    return "started"


async def test_a_child_whose_id_is_in_use_is_refused(execute: Execute, client: Client) -> None:
    await client.start_workflow(Sleeper.run, id="taken", task_queue="nobody")

    assert await execute(starts_what_is_there) == "taken double"


@workflow.defn
async def starts_on_a_queue_without_workers() -> str | None:
    child = await workflow.start_child_workflow(
        double, 1, task_queue="nobody", id="waits", parent_close_policy=ParentClosePolicy.ABANDON
    )
    return child.first_execution_run_id


async def test_a_child_on_a_queue_without_a_worker_counts_as_started(execute: Execute, client: Client) -> None:
    run_id = await execute(starts_on_a_queue_without_workers)

    child = await client.get_workflow_handle("waits").describe()
    assert child.run_id == run_id
    assert child.status is not None
    assert child.status.name == "RUNNING"


@workflow.defn
async def signals_its_child() -> list[str]:
    child = await workflow.start_child_workflow(Sleeper.run, id="sleeper")
    await child.signal(Sleeper.wake, "mother")
    return await child


async def test_a_child_gets_the_signals_of_its_parent(execute: Execute) -> None:
    assert await execute(signals_its_child, using=(Sleeper,)) == ["mother"]


@workflow.defn
class CancelsChild:
    @workflow.run
    async def run(self, kind: int) -> str:
        child = await workflow.start_child_workflow(
            Tidy.run, id="tidy", cancellation_type=ChildWorkflowCancellationType(kind)
        )
        child.cancel("enough")
        try:
            return str(await child)
        except ChildWorkflowError as error:
            return type(error.cause).__name__


@workflow.defn
class Tidy:
    """Takes a moment to end when it is asked to."""

    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError:
            reason = workflow.cancellation_reason()
            await asyncio.shield(workflow.sleep(0.01))
            return f"tidied up: {reason}"
        return "never"


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (ChildWorkflowCancellationType.ABANDON, "CancelledError"),
        (ChildWorkflowCancellationType.TRY_CANCEL, "CancelledError"),
        (ChildWorkflowCancellationType.WAIT_CANCELLATION_REQUESTED, "CancelledError"),
        (ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED, "tidied up: enough"),
    ],
    ids=lambda value: value.name if isinstance(value, ChildWorkflowCancellationType) else "",
)
async def test_cancelling_a_childs_handle_obeys_its_cancellation_type(
    execute: Execute, client: Client, kind: ChildWorkflowCancellationType, seen: str
) -> None:
    assert await execute(CancelsChild, int(kind), using=(Tidy,)) == seen

    parent = await client.get_workflow_handle("the-run").fetch_history()
    requests = [each for each in parent.events if isinstance(each, RequestCancelExternalWorkflowExecutionInitiated)]
    assert len(requests) == (kind is not ChildWorkflowCancellationType.ABANDON)


@workflow.defn
class Closes:
    """Starts two generations of children, and closes as it is told."""

    @workflow.run
    async def run(self, policy: int, how: str) -> None:
        await workflow.start_child_workflow(Sleeper.run, id="left", parent_close_policy=ParentClosePolicy(policy))
        if how == "fail":
            raise ApplicationError("as told")
        if how == "again":
            workflow.continue_as_new(args=[policy, "never"])
        if how == "wait":
            await workflow.wait_condition(lambda: False)


@pytest.mark.parametrize("how", ["return", "fail", "terminate"])
async def test_a_child_is_terminated_with_its_parent_by_default(
    client: Client, make_worker: MakeWorker, how: str
) -> None:
    async with make_worker(Closes, Sleeper):
        told = "wait" if how == "terminate" else how
        parent = await client.start_workflow(Closes.run, args=[int(ParentClosePolicy.TERMINATE), told], id="parent")
        child = await running(client, "left")
        if how == "terminate":
            await parent.terminate()

        with pytest.raises(WorkflowFailureError) as caught:
            await child.result()
    assert isinstance(caught.value.cause, TerminatedError)
    assert str(caught.value.cause) == "by parent close policy"


async def test_a_child_is_asked_to_end_with_its_parent_if_the_policy_says_so(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(Closes, Sleeper):
        await client.execute_workflow(Closes.run, args=[int(ParentClosePolicy.REQUEST_CANCEL), "return"], id="parent")
        child = await running(client, "left")

        with pytest.raises(WorkflowFailureError) as caught:
            await child.result()
    assert isinstance(caught.value.cause, CancelledError)
    history = await child.fetch_history()
    asked = next(each for each in history.events if isinstance(each, WorkflowExecutionCancelRequested))
    assert asked.external_workflow_execution is not None
    assert asked.external_workflow_execution.workflow_id == "parent"


async def test_an_abandoned_child_outlives_its_parent(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Closes, Sleeper):
        await client.execute_workflow(Closes.run, args=[int(ParentClosePolicy.ABANDON), "return"], id="parent")
        child = await running(client, "left")
        await child.signal(Sleeper.wake, "client")

        assert await child.result() == ["client"]


@workflow.defn
async def grandparent() -> int:
    return await workflow.execute_child_workflow(parent_of_one, 4, id="the-parent")


async def test_a_grandchild_knows_its_parent_and_its_root(execute: Execute, client: Client) -> None:
    assert await execute(grandparent, using=(parent_of_one, double)) == 8

    history = await client.get_workflow_handle("the-child").fetch_history()
    started = history.events[0]
    assert isinstance(started, WorkflowExecutionStarted)
    assert started.parent_workflow_execution is not None
    assert started.root_workflow_execution is not None
    assert started.parent_workflow_execution.workflow_id == "the-parent"
    assert started.root_workflow_execution.workflow_id == "the-run"


CITY = SearchAttributeKey.for_keyword("City")
RETRIES = RetryPolicy(initial_interval=timedelta(seconds=2), maximum_attempts=3)


@workflow.defn
async def tells_of_itself() -> list[Any]:
    info = workflow.info()
    policy = info.retry_policy
    return [
        dict(workflow.memo()),
        info.typed_search_attributes.get(CITY),
        [info.priority.priority_key, info.priority.fairness_key],
        [info.execution_timeout, info.run_timeout, info.task_timeout],
        None if policy is None else [policy.initial_interval, policy.maximum_attempts],
    ]


@workflow.defn
async def gives_its_child_all_options() -> list[Any]:
    return await workflow.execute_child_workflow(
        tells_of_itself,
        memo={"colour": "red"},
        search_attributes=TypedSearchAttributes([SearchAttributePair(CITY, "Rome")]),
        priority=Priority(priority_key=2, fairness_key="a tenant"),
        execution_timeout=timedelta(minutes=3),
        run_timeout=timedelta(minutes=2),
        task_timeout=timedelta(seconds=7),
        retry_policy=RETRIES,
        event_groups=[workflow.create_event_group("reports")],
    )


async def test_a_child_has_the_options_that_its_parent_gave_it(execute: Execute) -> None:
    assert await execute(gives_its_child_all_options, using=(tells_of_itself,)) == [
        {"colour": "red"},
        "Rome",
        [2, "a tenant"],
        ["PT3M", "PT2M", "PT7S"],
        ["PT2S", 3],
    ]


@workflow.defn
async def starts_by_schedule(schedule: str) -> str:
    try:
        await workflow.start_child_workflow(
            double, 1, id="by-schedule", cron_schedule=schedule, parent_close_policy=ParentClosePolicy.ABANDON
        )
    except ValueError as error:
        return str(error)
    return "started"


async def test_a_childs_cron_schedule_is_its_own(execute: Execute, client: Client) -> None:
    assert await execute(starts_by_schedule, "0 0 1 1 *", using=(double,)) == "started"

    started = (await client.get_workflow_handle("by-schedule").fetch_history()).events[0]
    assert isinstance(started, WorkflowExecutionStarted)
    assert started.cron_schedule == "0 0 1 1 *"
    assert started.first_workflow_task_backoff_us > 0


async def test_a_cron_schedule_that_cant_be_read_starts_no_child(execute: Execute) -> None:
    assert "every now and then" in await execute(starts_by_schedule, "every now and then", using=(double,))


@workflow.defn
class Restless:
    """Goes through two runs before it ends."""

    @workflow.run
    async def run(self, left: int) -> int:
        if left:
            workflow.continue_as_new(left - 1)
        return 7


@workflow.defn
async def parent_of_restless() -> int:
    return await workflow.execute_child_workflow(Restless.run, 2, id="restless")


async def test_a_child_that_continues_as_new_ends_with_its_last_run(execute: Execute) -> None:
    assert await execute(parent_of_restless, using=(Restless,)) == 7


@workflow.defn
class Cancelled:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_child_workflow(Tidy.run, id="tidy")


async def test_cancelling_a_parent_cancels_the_child_that_it_awaits(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Cancelled, Tidy, max_cached_workflows=max_cached):
        parent = await client.start_workflow(Cancelled.run, id="parent")
        await running(client, "tidy")
        await parent.cancel(reason="enough")

        assert await parent.result() == "tidied up: "


@activity.defn
async def noted(text: str) -> str:
    return text


@workflow.defn
async def timed_out_child() -> str:
    try:
        async with asyncio.timeout(0.01):
            await workflow.execute_child_workflow(
                Sleeper.run, id="sleeper", cancellation_type=ChildWorkflowCancellationType.TRY_CANCEL
            )
    except (TimeoutError, ChildWorkflowError) as error:
        return await noted(type(error).__name__)
    return "in time"


async def test_a_timeout_around_a_child_cancels_it(execute: Execute, client: Client) -> None:
    assert await execute(timed_out_child, using=(Sleeper, noted)) in ("TimeoutError", "ChildWorkflowError")

    with pytest.raises(WorkflowFailureError):
        await client.get_workflow_handle("sleeper").result(rpc_timeout=timedelta(seconds=30))


async def running(client: Client, workflow_id: str) -> Any:
    """The handle of a workflow, once it is there."""
    while (run := await client.database.store.find(client.namespace, workflow_id)) is None:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    return client.get_workflow_handle(workflow_id, run_id=run.run_id)


@workflow.defn
async def parent_of_one_with_another_type() -> int:
    amount = TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_keyword("Amount"), "much")])
    return await workflow.execute_child_workflow(double, 2, id="the-child", search_attributes=amount)


async def test_a_child_begins_though_a_search_attribute_is_not_of_its_type(execute: Execute, client: Client) -> None:
    amount = TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_int("Amount"), 7)])
    await client.start_workflow(double, 1, id="first", search_attributes=amount, task_queue="nobody's")
    assert await execute(parent_of_one_with_another_type, using=(double,)) == 4
