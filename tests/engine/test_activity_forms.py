"""What can be an activity, how it is registered and referred to, and what its code finds around it."""

from __future__ import annotations

import asyncio
import functools
import sys
import typing
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.client import WorkflowFailureError
from durable.common import Priority, RawValue
from durable.converter import DefaultPayloadConverter
from durable.history.values import Payload
from durable.metrics import MetricMeter
from tests.engine.conftest import Execute, MakeWorker

HOUR = timedelta(hours=1)


@activity.defn
def doubled(number: int) -> int:
    return 2 * number


class Service:
    """Activities that are methods: the object holds what they work with."""

    def __init__(self, rate: int = 0) -> None:
        self.rate = rate

    @activity.defn
    async def charge(self, amount: int, fee: int = 1) -> int:
        return amount * self.rate + fee

    @activity.defn(name="refund-sync")
    def refund(self) -> str:
        return f"refund at {self.rate}"

    @activity.defn
    async def typed(self: typing.Self, amount: int) -> int:
        return amount + self.rate

    @classmethod
    @activity.defn
    async def of_the_class(cls, amount: int) -> str:
        return f"{cls.__name__} {amount}"

    @staticmethod
    @activity.defn
    async def of_nothing(amount: int) -> int:
        return -amount


@activity.defn
class Async:
    """A callable class: the worker has an object of it."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    async def __call__(self, text: str) -> str:
        return f"{self.prefix}{text} by {activity.info().activity_type}"


@activity.defn(name="sync-class")
class Sync:
    def __call__(self) -> str:
        return "sync"


@activity.defn(dynamic=True)
async def anything(args: Sequence[RawValue]) -> list[Any]:
    converter = activity.payload_converter()
    return [activity.info().activity_type, *(converter.from_payload(arg.payload) for arg in args)]


# Calling. -------------------------------------------------------------------------------------------------------------


@workflow.defn
async def by_every_reference() -> list[Any]:
    limits: workflow.ActivityConfig = {"start_to_close_timeout": HOUR}
    handles: list[workflow.ActivityHandle[Any]] = [
        workflow.start_activity(doubled, 4, **limits),
        workflow.start_activity("doubled", 5, **limits),
        workflow.start_activity_method(Service.charge, 2, **limits),
        workflow.start_activity_method(Service.charge, args=[2, 7], **limits),
        workflow.start_activity_class(Async, "started", **limits),
    ]
    return [
        *[await handle for handle in handles],
        await workflow.execute_activity(Service(0).charge, 3, **limits),
        await workflow.execute_activity_method(Service.typed, 5, **limits),
        await workflow.execute_activity_method(Service.refund, **limits),
        await workflow.execute_activity(Service.of_the_class, 1, **limits),
        await workflow.execute_activity(Service.of_nothing, 1, **limits),
        await workflow.execute_activity_class(Async, "awaited", **limits),
        await workflow.execute_activity_class(Sync, **limits),
    ]


def registered() -> tuple[Callable[..., Any], ...]:
    service = Service(rate=10)
    methods = (service.charge, service.refund, service.typed, Service.of_the_class, Service.of_nothing)
    return (doubled, *methods, Async("was "), Sync())


async def test_functions_methods_and_callable_classes_are_called_by_reference_or_by_name(execute: Execute) -> None:
    assert await execute(by_every_reference, using=registered()) == [
        *(8, 10, 21, 27, "was started by Async"),
        *(31, 15, "refund at 10", "Service 1", -1, "was awaited by Async", "sync"),
    ]


@workflow.defn
async def by_durable_calls() -> list[Any]:
    """The objects here have other values than the worker's: what runs is the worker's."""
    return [await doubled(1), await Service(99).charge(1), await Async("not this ")("called")]


async def test_a_durable_call_of_a_method_or_an_object_runs_on_the_object_that_the_worker_has(
    execute: Execute,
) -> None:
    assert await execute(by_durable_calls, using=registered()) == [2, 11, "was called by Async"]


async def test_outside_of_workflows_all_forms_are_what_they_were_written_as() -> None:
    assert (doubled(3), await Service(2).charge(3), Sync()(), await Service.of_nothing(1)) == (6, 7, "sync", -1)


@workflow.defn
async def calls(name: str, args: list[Any]) -> Any:
    return await workflow.execute_activity(name, args=args, start_to_close_timeout=HOUR)


async def test_a_dynamic_activity_takes_every_name_that_nothing_else_takes(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(calls, anything, doubled):
        assert await client.execute_workflow(calls, args=["unheard_of", [1, "two"]], id="a") == ["unheard_of", 1, "two"]
        assert await client.execute_workflow(calls, args=["doubled", [2]], id="b") == 4


async def test_a_worker_of_nothing_but_a_dynamic_activity_serves_its_queue(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(anywhere), make_worker(anything, task_queue="elsewhere"):
        assert await client.execute_workflow(anywhere, id="a") == ["something", 1]


@workflow.defn
async def anywhere() -> Any:
    return await workflow.execute_activity("something", 1, task_queue="elsewhere", start_to_close_timeout=HOUR)


async def test_a_call_by_name_of_too_many_arguments_fails_the_attempt(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(calls_once, doubled):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(calls_once, args=["doubled", [1, 2]], id="a")
    assert str(caught.value.cause.__cause__) == (
        "TypeError: doubled() can't take the recorded call, of 2 positional values; it takes 1"
    )


@workflow.defn
async def calls_once(name: str, args: list[Any]) -> Any:
    return await workflow.execute_activity(
        name, args=args, start_to_close_timeout=HOUR, retry_policy=RetryPolicy(maximum_attempts=1)
    )


@workflow.defn
async def misuse() -> list[str]:
    def undecorated() -> None: ...

    limits: workflow.ActivityConfig = {"start_to_close_timeout": HOUR}
    wrong: list[Callable[[], Any]] = [
        lambda: workflow.start_activity(anything, [], **limits),
        lambda: workflow.start_activity(undecorated, **limits),
        lambda: workflow.start_activity(7, **limits),  # type: ignore[call-overload]
        lambda: workflow.start_activity(doubled, 1, args=[1], **limits),  # type: ignore[call-overload]
        lambda: workflow.start_activity(doubled, 1),
        lambda: workflow.start_activity(doubled, **limits),
    ]
    found = []
    for call in wrong:
        try:
            call()
        except (TypeError, ValueError) as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


async def test_a_call_that_makes_no_sense_says_so_where_it_is_made(execute: Execute) -> None:
    assert await execute(misuse) == [
        "ValueError: anything is a dynamic activity: call it by the name that it is to run under",
        "ValueError: misuse.<locals>.undecorated is not an activity: decorate it with @activity.defn",
        "TypeError: An activity is called by its decorated function or by its name, not by 7",
        "ValueError: Cannot have arg and args",
        "ValueError: Activity must have start_to_close_timeout or schedule_to_close_timeout",
        "TypeError: doubled() missing a required argument: 'number'",
    ]


async def test_what_has_no_place_among_temporals_arguments_is_refused_where_it_is_called(execute: Execute) -> None:
    assert await execute(without_the_name) == "named() missing a required argument: 'label'"


@activity.defn
async def named(number: int, *, label: str) -> str:
    return f"{label} {number}"


@workflow.defn
async def without_the_name() -> str:
    try:
        await workflow.execute_activity(named, 1, start_to_close_timeout=HOUR)
    except TypeError as error:
        return str(error)
    return "called"


# Defining, registering. -----------------------------------------------------------------------------------------------


def test_a_definition_that_makes_no_sense_is_refused() -> None:
    class Uncallable: ...

    def not_dynamic(name: str, args: Sequence[RawValue]) -> None: ...

    def not_raw(args: list[RawValue]) -> None: ...

    with pytest.raises(ValueError, match="doubled is an activity already"):
        activity.defn(doubled)
    with pytest.raises(ValueError, match="Async is an activity already"):
        activity.defn(Async)
    with pytest.raises(TypeError, match="Uncallable has no __call__ method"):
        activity.defn(Uncallable)
    with pytest.raises(TypeError, match="7 can't be called"):
        activity.defn(7)  # type: ignore[type-var]
    for wrong in (not_dynamic, not_raw):
        with pytest.raises(TypeError, match=r"must take one parameter, of type Sequence\[RawValue\]"):
            activity.defn(dynamic=True)(wrong)
    with pytest.raises(RuntimeError, match="Cannot provide name and dynamic boolean"):
        activity.defn(name="a", dynamic=True)


def test_a_subclass_may_be_an_activity_of_its_own() -> None:
    @activity.defn
    class Louder(Async):
        async def __call__(self, text: str) -> str:
            return text.upper()

    definition = activity.ActivityDefinition.must_be(Louder("x"))
    assert (definition.name, activity.ActivityDefinition.must_be(Async).name) == ("Louder", "Async")


async def test_what_has_no_name_of_its_own_is_given_one(client: Client, make_worker: MakeWorker) -> None:
    def add(number: int, plus: int) -> int:
        return number + plus

    with pytest.raises(TypeError, match=r"has no name: give it one, as in @activity.defn\(name=...\)"):
        activity.defn(functools.partial(add, plus=3))
    three_more = activity.defn(name="three-more")(functools.partial(add, plus=3))
    async with make_worker(calls, three_more):
        assert await client.execute_workflow(calls, args=["three-more", [1]], id="a") == 4


async def test_a_worker_refuses_what_it_can_not_run(client: Client) -> None:
    @activity.defn(dynamic=True)
    async def another(args: typing.Sequence[RawValue]) -> None: ...

    with pytest.raises(TypeError, match=r"Async is a class instead of an object: .*activities=\[Async\(\)\]"):
        Worker(client, activities=[Async])
    with pytest.raises(ValueError, match=r"is a method: register it on an object, as in activities=\[object.charge\]"):
        Worker(client, activities=[Service.charge])
    with pytest.raises(TypeError, match="More than one dynamic activity"):
        Worker(client, activities=[anything, another])
    with pytest.raises(ValueError, match="More than one activity named doubled"):
        Worker(client, activities=[doubled, doubled])


# How code may end. ----------------------------------------------------------------------------------------------------


@activity.defn
def exits() -> None:
    sys.exit("leaving")


@activity.defn
def finds_nothing() -> int:
    return next(number for number in [1, 2] if number > 2)


@pytest.mark.parametrize(("name", "told"), [("exits", "SystemExit: leaving"), ("finds_nothing", "StopIteration: ")])
async def test_what_python_gives_a_meaning_of_its_own_is_a_failure_of_the_attempt(
    client: Client, make_worker: MakeWorker, name: str, told: str
) -> None:
    async with make_worker(calls_once, exits, finds_nothing) as worker:
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(calls_once, args=[name, []], id="a")
        assert worker.is_running
    assert str(caught.value.cause.__cause__) == told


class Stray(BaseException):
    """What is no Exception, as some libraries have it."""


@activity.defn
async def strays() -> None:
    raise Stray("out")


@activity.defn
async def strays_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(strays())


@activity.defn
def strays_in_a_thread() -> None:
    raise Stray("out")


@activity.defn
def ends_a_generator() -> None:
    raise GeneratorExit("out")


@workflow.defn
async def calls_once_locally(name: str, args: list[Any]) -> Any:
    return await workflow.execute_local_activity(
        name, args=args, start_to_close_timeout=HOUR, retry_policy=RetryPolicy(maximum_attempts=1)
    )


@pytest.mark.parametrize("flow", [calls_once, calls_once_locally])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("strays", "Stray: out"),
        ("strays_in_a_group", "BaseExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)"),
        ("strays_in_a_thread", "Stray: out"),
        ("ends_a_generator", "GeneratorExit: out"),
    ],
)
async def test_an_error_that_is_no_exception_is_a_failure_of_the_attempt(
    client: Client, make_worker: MakeWorker, flow: Any, name: str, told: str
) -> None:
    async with make_worker(flow, strays, strays_in_a_group, strays_in_a_thread, ends_a_generator):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(flow, args=[name, []], id="a")
    assert str(caught.value.cause.__cause__) == told


# What the code finds. -------------------------------------------------------------------------------------------------


@activity.defn
async def greeting_of(workflow_id: str) -> str:
    found: str = await activity.client().execute_workflow(greet, workflow_id, id=workflow_id)
    return found


@workflow.defn
async def greet(name: str) -> str:
    return f"Hello, {name}"


@workflow.defn
async def asks_for_a_greeting() -> str:
    return await greeting_of("Ada")


async def test_an_async_activity_has_its_workers_own_client(client: Client, make_worker: MakeWorker) -> None:
    seen: list[Client] = []

    @activity.defn
    async def looks() -> None:
        seen.append(activity.client())

    async with make_worker(calls, asks_for_a_greeting, greet, greeting_of, looks):
        assert await client.execute_workflow(asks_for_a_greeting, id="a") == "Hello, Ada"
        await client.execute_workflow(calls, args=["looks", []], id="b")
    assert seen == [client]


async def test_a_sync_activity_has_no_client_and_learns_why(client: Client, make_worker: MakeWorker) -> None:
    @activity.defn
    def asks() -> str:
        try:
            activity.client()
        except RuntimeError as error:
            return str(error)
        return "got one"

    async with make_worker(calls, asks):
        told = await client.execute_workflow(calls, args=["asks", []], id="a")
    assert told.startswith("No client available. The client is only available in `async def` activities; ")


async def test_the_attempts_description_has_temporals_fields(client: Client, make_worker: MakeWorker) -> None:
    seen: list[activity.Info] = []

    @activity.defn
    async def looks() -> None:
        seen.append(activity.info())

    async with make_worker(calls, looks):
        await client.execute_workflow(calls, args=["looks", []], id="a")
    (info,) = seen
    assert (info.workflow_namespace, info.namespace, info.in_workflow) == ("default", "default", True)
    assert (info.priority, info.activity_run_id) == (Priority.default, None)


async def test_an_activity_has_the_converter_and_a_meter(client: Client, make_worker: MakeWorker) -> None:
    seen: list[Any] = []

    @activity.defn
    def looks() -> None:
        seen.extend([activity.payload_converter(), activity.metric_meter()])
        activity.metric_meter().create_counter("looks").add(1, {"where": "here"})

    async with make_worker(calls, looks):
        await client.execute_workflow(calls, args=["looks", []], id="a")
    converter, meter = seen
    assert isinstance(converter, DefaultPayloadConverter) and isinstance(meter, MetricMeter)
    assert isinstance(converter.to_payload(1), Payload)


@pytest.mark.parametrize(
    "ask", [activity.client, activity.payload_converter, activity.metric_meter, activity.info, activity.is_cancelled]
)
def test_outside_of_an_activity_there_is_nothing_to_find(ask: Callable[[], Any]) -> None:
    with pytest.raises(RuntimeError, match="Not in activity context"):
        ask()
