"""Interceptors of a worker see every call in and out as values, in order, and may change it; replays repeat them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import temporalio.worker as theirs

import durable.worker as ours
from durable import Client, RetryPolicy, activity, workflow
from durable.client import Interceptor as ClientInterceptor
from durable.client import (
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHistory,
    WorkflowUpdateFailedError,
)
from durable.common import RawValue
from durable.exceptions import ActivityError, ApplicationError
from durable.history.events import (
    ActivityTaskScheduled,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionInitiated,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowTaskFailed,
)
from durable.plugin import SimplePlugin
from durable.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    Replayer,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from durable.workflow import ActivityHandle
from tests.engine.conftest import MakeWorker, worker_for
from tests.engine.histories import assert_sound, of_type, types, until
from tests.engine.interceptors import ALL_HOOKS, CHAIN, Carrying, Recording, carried, word

SOON = timedelta(seconds=30)


@activity.defn
async def greet(name: str) -> str:
    activity.heartbeat(name)
    return f"Hello, {name} ({activity.info().activity_type}, {word.get()})"


@activity.defn
def greet_in_thread(name: str, *, mark: str = "!") -> str:
    activity.heartbeat(name)
    return f"Hello, {name}{mark} ({activity.info().activity_type}, {word.get()})"


@workflow.defn
class Heard:
    """Ends with the signal `tell`, and says what it has heard with which word."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self, name: str) -> list[str]:
        self.heard.append(f"{name} {word.get()}")
        await workflow.wait_condition(lambda: len(self.heard) == 2)
        return self.heard

    @workflow.signal
    def tell(self, name: str) -> None:
        self.heard.append(f"{name} {word.get()}")


@workflow.defn
class Everything:
    """Asks for all that can be asked for, and may be told, asked and called."""

    def __init__(self) -> None:
        self.told = ""
        self.ends = False

    @workflow.run
    async def run(self, other: str, again: bool) -> list[Any]:
        said = [f"{workflow.info().workflow_type} {word.get()}"]
        said += [await greet("a")]
        in_thread: Any = greet_in_thread("b", mark="?")
        said += [await in_thread]
        said += [await workflow.execute_activity(greet, "c", start_to_close_timeout=SOON)]
        said += [await workflow.execute_local_activity(greet, "d", start_to_close_timeout=SOON)]
        child = await workflow.start_child_workflow(Heard.run, "e", id=f"{other}-child-{again}")
        await child.signal(Heard.tell, "f")
        said += await child
        if again:
            await workflow.get_external_workflow_handle(other).signal(Heard.tell, "g")
            workflow.continue_as_new(args=[other, False])
        await workflow.wait_condition(lambda: self.ends)
        return said

    @workflow.signal
    def tell(self, name: str) -> None:
        self.told = f"{name} {word.get()}"

    @workflow.query
    def asked(self, name: str) -> str:
        return f"{name} {word.get()} {self.told}"

    @workflow.update
    def end(self, name: str) -> str:
        self.ends = True
        return f"{name} {word.get()}"

    @end.validator
    def may_end(self, name: str) -> None:
        if name == "never":
            raise ValueError(f"never, {word.get()}")


USED = (Everything, Heard, greet, greet_in_thread)


async def in_everything(client: Client, mark: str = "") -> list[Any]:
    """Its results, what its signal, query and update say, and what the other workflow has heard."""
    other = await client.start_workflow(Heard.run, "other", id="other")
    handle = await client.start_workflow(Everything.run, args=["other", True], id="everything")
    heard = await other.result()  # the run goes on as another one
    await handle.signal(Everything.tell, "s")
    asked = await until(lambda: _told(handle))
    ended = await handle.execute_update(Everything.end, "u")
    return [*await handle.result(), asked, ended, *heard]


async def _told(handle: Any) -> str:
    answer = str(await handle.query(Everything.asked, "q"))
    return answer if "s " in answer else ""


async def test_every_hook_is_called_and_returns(make_worker: MakeWorker, client: Client, max_cached: int) -> None:
    notes: set[str] = set()
    recording = Recording(lambda called, _: notes.add(called))

    async with make_worker(*USED, interceptors=[recording], max_cached_workflows=max_cached):
        await in_everything(client)

    inits = {name for name in ALL_HOOKS if name.endswith(".init")}
    return_nothing = {*inits, "WorkflowOutboundInterceptor.continue_as_new"}
    assert notes == ALL_HOOKS | {f"{name} returned" for name in ALL_HOOKS - return_nothing}


async def test_headers_reach_everything_that_a_workflow_asks_for(client: Client, max_cached: int) -> None:
    carrying = Client(**{**client.config(), "interceptors": [Carrying()]})
    word.set("w")

    async with worker_for(carrying, *USED, max_cached_workflows=max_cached):
        said = await in_everything(carrying)

    assert said == [
        *("Everything w", "Hello, a (greet, w)", "Hello, b? (greet_in_thread, w)", "Hello, c (greet, w)"),
        *("Hello, d (greet, w)", "e w", "f w", "q w s w", "u w", "other w", "g w"),
    ]
    latest = await carrying.get_workflow_handle("everything").fetch_history()
    first_id = of_type(latest, WorkflowExecutionStarted)[0].first_execution_run_id
    first = await carrying.get_workflow_handle("everything", run_id=first_id).fetch_history()
    for kind, history in (
        (WorkflowExecutionStarted, first),
        (ActivityTaskScheduled, first),
        (StartChildWorkflowExecutionInitiated, first),
        (SignalExternalWorkflowExecutionInitiated, first),
        (WorkflowExecutionContinuedAsNew, first),
        (WorkflowExecutionStarted, latest),
        (WorkflowExecutionSignaled, latest),
    ):
        events: Sequence[Any] = of_type(history, kind)
        assert events and all(carried(event.header) == "w" for event in events), kind
    for history in (first, latest):
        assert_sound(history.events)
        replayer = Replayer(workflows=[Everything], interceptors=[Carrying()])
        assert (await replayer.replay_workflow(history)).replay_failure is None


async def test_the_header_of_a_standalone_activity_reaches_it(client: Client) -> None:
    carrying = Client(**{**client.config(), "interceptors": [Carrying()]})
    word.set("alone")

    async with worker_for(carrying, greet):
        said = await carrying.execute_activity(greet, "x", id="x", task_queue="default", start_to_close_timeout=SOON)

    assert said == "Hello, x (greet, alone)"


@workflow.defn
class Flaky:
    """Fails once, and says which word each of its runs began with."""

    @workflow.run
    async def run(self) -> list[Any]:
        if workflow.info().attempt == 1:
            raise ApplicationError(word.get())
        failure = workflow.get_last_failure()
        return [str(failure), word.get()]


async def test_a_run_that_is_tried_again_keeps_its_header(client: Client) -> None:
    carrying = Client(**{**client.config(), "interceptors": [Carrying()]})
    word.set("kept")
    once_more = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=1))

    async with worker_for(carrying, Flaky):
        assert await carrying.execute_workflow(Flaky.run, id="f", retry_policy=once_more) == ["kept", "kept"]


def _named(name: str, notes: list[str]) -> Recording:
    return Recording(lambda called, _: notes.append(f"{name} {called.partition('.')[2]}"))


class Both(ClientInterceptor, Recording):
    """For clients and workers."""


async def test_the_first_is_outermost_after_those_of_the_client_and_each_is_there_once(client: Client) -> None:
    notes: list[str] = []
    both = Both(lambda called, _: notes.append(f"client's {called.partition('.')[2]}"))
    of_clients = Client(**{**client.config(), "interceptors": [both, ClientInterceptor()]})
    own = [_named("first", notes), both, _named("second", notes)]

    async with worker_for(of_clients, hello, greet, interceptors=own):
        await of_clients.execute_workflow(hello, "x", id="h")

    def of(*calls: str) -> list[str]:
        return [note for note in notes if note.partition(" ")[2] in calls]

    executed = of("execute_workflow", "execute_workflow returned")
    names = ["client's", "first", "second"]
    assert executed == [f"{n} execute_workflow" for n in names] + [
        f"{n} execute_workflow returned" for n in reversed(names)
    ]
    assert of("execute_activity") == [f"{n} execute_activity" for n in names]
    # The first one puts its own outbound interceptor around first, so it is the nearest to the last link.
    assert of("start_activity") == [f"{n} start_activity" for n in reversed(names)]


@workflow.defn
async def hello(name: str) -> str:
    return await greet(name)


async def test_a_plugin_brings_interceptors_to_whom_they_are_for(client: Client) -> None:
    notes: list[str] = []
    plugin = SimplePlugin(
        "notes", interceptors=[_named("worker's", notes), Both(lambda called, _: notes.append("both"))]
    )
    changed = Client(**{**client.config(), "plugins": [plugin]})
    assert [type(each) for each in changed.config(active_config=True)["interceptors"]] == [Both]

    async with worker_for(changed, hello, greet):
        handle = await changed.start_workflow(hello, "x", id="h")
        await handle.result()

    assert notes.count("both") > 0 and notes.count("worker's execute_workflow") == 1
    notes.clear()
    await Replayer(workflows=[hello], plugins=[plugin]).replay_workflow(await handle.fetch_history())
    assert notes.count("worker's execute_workflow") == 1


class Changing(Interceptor):
    """Greets somebody else, and louder."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                assert input.fn is greet and input.executor is None
                input.args = [f"{input.args[0]} Smith"]
                return (await super().execute_activity(input)).upper()

        return Inbound(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        class Outbound(WorkflowOutboundInterceptor):
            def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
                assert (input.activity, input.arg_types, input.ret_type) == ("greet", [str], str)
                assert input.start_to_close_timeout is None and input.is_call
                return super().start_activity(
                    dataclasses.replace(input, args=["Mr. " + input.args[0]], start_to_close_timeout=SOON, summary="s")
                )

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                assert input.type is hello and input.run_fn is not None
                input.args = [input.args[0].title()]
                await asyncio.sleep(0.001)  # a durable timer, before the code begins
                return [await super().execute_workflow(input)]

        return Inbound


async def test_arguments_options_and_results_may_be_changed(
    make_worker: MakeWorker, client: Client, max_cached: int
) -> None:
    async with make_worker(hello, greet, interceptors=[Changing()], max_cached_workflows=max_cached):
        handle: Any = await client.start_workflow(hello, "john", id="h", result_type=list[str])
        assert await handle.result() == ["HELLO, MR. JOHN SMITH (GREET, )"]

    history = await handle.fetch_history()
    (scheduled,) = of_type(history, ActivityTaskScheduled)
    assert scheduled.start_to_close_timeout_us == 30_000_000
    assert (
        await Replayer(workflows=[hello], interceptors=[Changing()]).replay_workflow(history)
    ).replay_failure is None
    with pytest.raises(workflow.NondeterminismError):  # it is code of the workflow's
        await Replayer(workflows=[hello]).replay_workflow(history)


@workflow.defn
async def refuses() -> str:
    """What is said of an argument that can't be converted."""
    try:
        await greet(object())  # type: ignore[arg-type]
    except TypeError as error:
        return str(error)
    return ""


async def test_an_argument_that_can_not_be_converted_is_called_by_its_name(
    make_worker: MakeWorker, client: Client
) -> None:
    async with make_worker(refuses, interceptors=[Recording(lambda called, input: None)]):
        assert (await client.execute_workflow(refuses, id="r")).startswith("name: object of type object")


ran: list[int] = []


@activity.defn(task_queue="apart")
async def apart(number: int) -> int:
    ran.append(number)
    return number


@workflow.defn
async def turns() -> list[int]:
    """Two outcomes that come together: whose code goes on first is a matter of single turns of the loop."""

    async def by_temporals_name() -> int:
        return await apart(await workflow.execute_activity(apart, 1, start_to_close_timeout=SOON))

    async def as_a_call() -> int:
        return await apart(await apart(2))

    return list(await asyncio.gather(by_temporals_name(), as_a_call()))


async def test_one_that_only_looks_on_changes_no_history(make_worker: MakeWorker, client: Client) -> None:
    """Interceptors may be added to a worker whose runs began without, and taken away."""
    looking_on = [Recording(lambda called, input: None)]
    histories: list[WorkflowHistory] = []
    for interceptors in ([], looking_on):
        ran.clear()
        handle = await client.start_workflow(turns, id=f"turns-{len(interceptors)}")
        async with make_worker(turns, interceptors=interceptors):
            await until(lambda: _scheduled(handle, 2))  # noqa: B023
        async with make_worker(apart, task_queue="apart", max_concurrent_activities=1):
            await until(_both_ran)
        async with make_worker(turns, interceptors=interceptors):
            await until(lambda: _scheduled(handle, 4))  # noqa: B023
        async with make_worker(turns, interceptors=interceptors), make_worker(apart, task_queue="apart"):
            await handle.result()
        histories.append(await handle.fetch_history())

    without, beside = histories
    assert types(without) == types(beside)
    await Replayer(workflows=[turns], interceptors=looking_on, exact=True).replay_workflow(without)
    await Replayer(workflows=[turns], exact=True).replay_workflow(beside)


async def _scheduled(handle: Any, count: int) -> bool:
    return len(of_type(await handle.fetch_history(), ActivityTaskScheduled)) == count


async def _both_ran() -> bool:
    return len(ran) == 2


@activity.defn
async def forever() -> None:
    await asyncio.Event().wait()


@workflow.defn
async def impatience() -> list[Any]:
    """Calls, and cancels before it is asked for, while it runs, and by a timeout."""
    at_once = asyncio.ensure_future(forever())
    await asyncio.sleep(0)
    at_once.cancel()
    (first,) = await asyncio.gather(at_once, return_exceptions=True)
    running = asyncio.ensure_future(forever())
    await asyncio.sleep(0.001)
    running.cancel()
    (second,) = await asyncio.gather(running, return_exceptions=True)
    try:
        await asyncio.wait_for(forever(), 0.001)
    except TimeoutError as error:
        return [type(each).__name__ for each in (first, second, error)]
    return []


async def test_an_intercepted_call_is_cancelled_as_asyncio_cancels(make_worker: MakeWorker, client: Client) -> None:
    async with make_worker(impatience, forever, interceptors=[Recording(lambda called, input: None)]):
        result = await client.execute_workflow(impatience, id="i")

    assert result == ["CancelledError", "CancelledError", "TimeoutError"]


class Raising(Interceptor):
    """Its workflows' `execute_workflow` raises this."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        raising = self

        class Inbound(WorkflowInboundInterceptor):
            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                if raising.error is not None:
                    raise raising.error
                return await super().execute_workflow(input)

        return Inbound


async def test_an_interceptors_application_error_fails_the_workflow(make_worker: MakeWorker, client: Client) -> None:
    async with make_worker(hello, greet, interceptors=[Raising(ApplicationError("not this one", type="Mine"))]):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(hello, "x", id="h")

    assert isinstance(failed.value.cause, ApplicationError) and failed.value.cause.type == "Mine"


async def test_an_interceptors_other_errors_park_the_run(
    make_worker: MakeWorker, client: Client, max_cached: int
) -> None:
    raising = Raising(RuntimeError("broken for now"))
    async with make_worker(hello, greet, interceptors=[raising], max_cached_workflows=max_cached):
        handle = await client.start_workflow(hello, "x", id="h")
        await until(lambda: _failed_tasks(handle))
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING

    async with make_worker(hello, greet, max_cached_workflows=max_cached):  # a mended worker
        assert await handle.result() == "Hello, x (greet, )"


async def _failed_tasks(handle: Any) -> list[Any]:
    return of_type(await handle.fetch_history(), WorkflowTaskFailed)


class Listening(Interceptor):
    """Sets handlers before the code begins, and counts by what it brings in."""

    def __init__(self) -> None:
        self.calls = 0

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        input.unsafe_extern_functions["count"] = self.count

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(outbound)
                self.stopped = False
                workflow.set_signal_handler("stop", self.stop)
                workflow.set_query_handler("is_stopped", lambda: self.stopped)

            def stop(self, why: str) -> None:
                self.stopped = True
                workflow.extern_functions()["count"]()

            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                await workflow.wait_condition(lambda: self.stopped)
                return "stopped"

        return Inbound

    def count(self) -> None:
        self.calls += 1


async def test_an_interceptor_may_set_handlers_and_bring_in_functions(
    make_worker: MakeWorker, client: Client, max_cached: int
) -> None:
    listening = Listening()
    async with make_worker(hello, greet, interceptors=[listening], max_cached_workflows=max_cached):
        handle: Any = await client.start_workflow(hello, "x", id="h")
        assert await handle.query("is_stopped") is False
        await handle.signal("stop", "now")
        assert await handle.result() == "stopped"

    assert listening.calls >= 1


@workflow.defn
async def receiver() -> list[Any]:
    """Takes signals as they come."""
    return [await workflow.receive("number", int) for _ in range(3)]


class Doubling(Interceptor):
    """Doubles numbers, keeps those below zero to itself, and takes a moment for it."""

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        class Inbound(WorkflowInboundInterceptor):
            async def handle_signal(self, input: HandleSignalInput) -> None:
                await asyncio.sleep(0.001)
                if input.args[0] >= 0:
                    await super().handle_signal(HandleSignalInput(input.signal, [input.args[0] * 2], input.headers))

        return Inbound


async def test_signals_that_are_received_go_through_interceptors_too(
    make_worker: MakeWorker, client: Client, max_cached: int
) -> None:
    async with make_worker(receiver, interceptors=[Doubling()], max_cached_workflows=max_cached):
        handle = await client.start_workflow(receiver, id="r")
        for number in (1, -5, 2, 3):
            await handle.signal("number", number)
        assert await handle.result() == [2, 4, 6]

    replayer = Replayer(workflows=[receiver], interceptors=[Doubling()])
    assert (await replayer.replay_workflow(await handle.fetch_history())).replay_failure is None


@workflow.defn
async def impatient() -> list[Any]:
    """Gives up while a signal is on its way through the interceptors, and takes it then."""
    try:
        await asyncio.wait_for(workflow.receive("number", int), 0.0005)
    except TimeoutError:
        return [await workflow.receive("number", int)]
    return []


async def test_a_signal_whose_receiver_gives_up_goes_to_the_next(make_worker: MakeWorker, client: Client) -> None:
    class Slow(Interceptor):
        def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
            class Inbound(WorkflowInboundInterceptor):
                async def handle_signal(self, input: HandleSignalInput) -> None:
                    await asyncio.sleep(0.01)
                    await super().handle_signal(input)

            return Inbound

    async with make_worker(impatient, interceptors=[Slow()]):
        handle = await client.start_workflow(impatient, id="i", start_signal="number", start_signal_args=[4])
        assert await handle.result() == [4]


@workflow.defn
class Dynamic:
    """Takes whatever comes."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.wait_condition(lambda: len(self.got) == 2)
        return self.got

    @workflow.signal(dynamic=True)
    def signalled(self, name: str, args: Sequence[RawValue]) -> None:
        self.got.append([name, *workflow.payload_converter().from_payloads([arg.payload for arg in args])])

    @workflow.query(dynamic=True)
    def asked(self, name: str, args: Sequence[RawValue]) -> str:
        return f"{name} {len(args)}"

    @workflow.update(dynamic=True)
    def updated(self, name: str, args: Sequence[RawValue]) -> int:
        self.signalled(name, args)
        return len(args)


async def test_dynamic_handlers_are_intercepted_with_raw_values(make_worker: MakeWorker, client: Client) -> None:
    seen: list[Any] = []

    def note(called: str, input: Any) -> None:
        if isinstance(input, HandleSignalInput | HandleQueryInput | HandleUpdateInput):
            name = getattr(input, "signal", None) or getattr(input, "query", None) or getattr(input, "update", None)
            assert all(isinstance(each, RawValue) for each in input.args[1]) if input.args else name == "__stack_trace"
            seen.append((called.partition(".")[2], name, [*input.args[:1]]))

    async with make_worker(Dynamic, interceptors=[Recording(note)]):
        handle: Any = await client.start_workflow(Dynamic.run, id="d")
        await handle.signal("s", 1)
        assert await handle.query("q", args=[1, 2]) == "q 2"
        assert "Stack for workflow" in await handle.query("__stack_trace")
        assert await handle.execute_update("u", 3) == 1
        assert await handle.result() == [["s", 1], ["u", 3]]

    assert seen[:1] == [("handle_signal", "s", ["s"])]
    assert ("handle_query", "q", ["q"]) in seen and ("handle_query", "__stack_trace", []) in seen
    assert ("handle_update_handler", "u", ["u"]) in seen  # and no validator, for there is none
    assert not [each for each in seen if each[0] == "handle_update_validator"]


async def test_an_interceptor_may_reject_an_update_and_change_it(make_worker: MakeWorker, client: Client) -> None:
    class Polite(Interceptor):
        def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
            class Inbound(WorkflowInboundInterceptor):
                def handle_update_validator(self, input: HandleUpdateInput) -> None:
                    if input.args[0] == "rude":
                        raise ApplicationError("say please")
                    input.args = ["never"]  # seen by the validator, not by the handler
                    try:
                        super().handle_update_validator(input)
                    except ValueError:
                        return

                async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
                    return f"{await super().handle_update_handler(input)} {input.id}"

            return Inbound

    async with make_worker(*USED, interceptors=[Polite()]):
        handle: Any = await client.start_workflow(Everything.run, args=["o", False], id="e")
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await handle.execute_update(Everything.end, "rude")
        assert "say please" in str(rejected.value.cause)
        assert await handle.execute_update(Everything.end, "kind", id="u-1") == "kind  u-1"
        await handle.signal("unused")


async def test_a_query_that_waits_in_an_interceptor_is_refused(make_worker: MakeWorker, client: Client) -> None:
    class Waiting(Interceptor):
        def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
            class Inbound(WorkflowInboundInterceptor):
                async def handle_query(self, input: HandleQueryInput) -> Any:
                    await asyncio.sleep(1)

            return Inbound

    async with make_worker(Heard, interceptors=[Waiting()]):
        handle = await client.start_workflow(Heard.run, "x", id="x")
        with pytest.raises(Exception, match="While in read-only function, action attempted: start timer"):
            await handle.query("__temporal_workflow_metadata")
        await handle.terminate()


async def test_what_is_no_interceptor_is_refused(client: Client, make_worker: MakeWorker) -> None:
    with pytest.raises(TypeError, match=r"is no durable\.worker\.Interceptor"):
        make_worker(hello, interceptors=[ClientInterceptor()])
    with pytest.raises(TypeError, match=r"is no durable\.worker\.Interceptor"):
        Replayer(workflows=[hello], interceptors=[object()])  # type: ignore[list-item]


INPUTS = [name for name in dir(theirs) if name.endswith("Input") and name in ours.__all__]


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_have_temporals_fields_in_temporals_order(name: str) -> None:
    their_fields = [field.name for field in dataclasses.fields(getattr(theirs, name))]
    our_fields = [field.name for field in dataclasses.fields(getattr(ours, name))]

    assert our_fields[: len(their_fields)] == their_fields


@pytest.mark.parametrize("link", CHAIN)
def test_links_have_temporals_hooks(link: type[Any]) -> None:
    their_hooks = {name for name in vars(getattr(theirs, link.__name__)) if not name.startswith("_")}

    # `next` is an annotation; there is no Nexus
    assert {each.partition(".")[2] for each in ALL_HOOKS if each.startswith(link.__name__)} == {
        name for name in their_hooks if "nexus" not in name
    }


class Waits(Interceptor):
    """Waits for ever, before the activity or after it; may go on with it when that is cancelled."""

    def __init__(self, when: str = "before", heeds: bool = True) -> None:
        self.when = when
        self.heeds = heeds
        self.waits = asyncio.Event()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return Waiting(next, self)


class Waiting(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, told: Waits) -> None:
        super().__init__(next)
        self._told = told

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if self._told.when == "after":
            await super().execute_activity(input)
        self._told.waits.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self._told.heeds:
                raise
        return await super().execute_activity(input)


class Threaded:
    def __init__(self) -> None:
        self.ran = 0

    @activity.defn
    def count(self) -> int:
        self.ran += 1
        return self.ran


@workflow.defn
class Counting:
    @workflow.run
    async def run(self, seconds: float) -> str:
        call = workflow.start_activity_method(
            Threaded.count,
            start_to_close_timeout=timedelta(seconds=seconds),
            retry_policy=RetryPolicy(maximum_attempts=1),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        try:
            return str(await call)
        except ActivityError as error:
            return type(error.cause).__name__


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_sync_activity_is_cancelled_while_an_interceptor_waits(
    client: Client, make_worker: MakeWorker, when: str
) -> None:
    waits = Waits(when)
    async with make_worker(Counting, Threaded().count, interceptors=[waits]):
        handle = await client.start_workflow(Counting.run, 3600, id="the-run")
        await waits.waits.wait()
        await handle.cancel()
        assert await handle.result() == "CancelledError"


async def test_a_sync_activity_that_times_out_while_an_interceptor_waits_gives_its_slot_back(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(Counting, Threaded().count, interceptors=[Waits()], max_concurrent_activities=1):
        for number in range(2):
            assert await client.execute_workflow(Counting.run, 0.02, id=f"run-{number}") == "TimeoutError"


async def test_a_thread_that_is_made_after_the_cancellation_is_told_of_it(
    client: Client, make_worker: MakeWorker
) -> None:
    waits, threaded = Waits(heeds=False), Threaded()
    async with make_worker(Counting, threaded.count, interceptors=[waits]):
        handle = await client.start_workflow(Counting.run, 3600, id="the-run")
        await waits.waits.wait()
        await handle.cancel()
        assert await handle.result() == "CancelledError"
    assert threaded.ran == 0
