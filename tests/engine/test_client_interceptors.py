"""Interceptors of a client see every call as values, may change all of it, and answer in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from durable import Client, workflow
from durable.client import (
    ActivityHandle,
    Interceptor,
    OutboundInterceptor,
    Plugin,
    QueryWorkflowInput,
    RPCError,
    SignalWorkflowInput,
    StartActivityInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowHistory,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
)
from durable.common import WorkflowIDConflictPolicy
from durable.converter import ConversionError, Payload
from durable.history import codec
from durable.history.events import (
    ActivityTaskScheduled,
    WorkflowExecutionStarted,
    WorkflowExecutionUpdateAccepted,
)
from durable.history.messages import Query, Signal, Update
from durable.plugin import SimplePlugin
from tests.engine import client_calls
from tests.engine.client_calls import HOUR, Desk, echo
from tests.engine.conftest import worker_for
from tests.engine.histories import of_type

HOOKS = [name for name in vars(OutboundInterceptor) if not name.startswith("_")]
HEADER = Payload(metadata={"encoding": b"json/plain"}, data=b'"of an interceptor"')


class Through(Interceptor):
    """Puts a kind of `OutboundInterceptor` in the way; ``notes`` are for it."""

    def __init__(self, kind: type[OutboundInterceptor], notes: list[str] | None = None) -> None:
        self._kind = kind
        self.notes: list[str] = [] if notes is None else notes

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        made: Any = self._kind(next)
        made.notes = self.notes
        return made  # type: ignore[no-any-return]


def through(client: Client, *interceptors: Interceptor) -> Client:
    return Client(**{**client.config(), "interceptors": interceptors})


def noting(hook: str) -> Any:
    def call(self: Any, input: Any) -> Any:
        self.notes.append(hook)
        return getattr(self.next, hook)(input)

    return call


Noting: Any = type("Noting", (OutboundInterceptor,), {hook: noting(hook) for hook in HOOKS})


async def test_every_call_of_a_client_goes_through_its_hook(client: Client) -> None:
    interceptor = Through(Noting)
    intercepted = through(client, interceptor)

    def make(*definitions: Any, **options: Any) -> Any:
        return worker_for(intercepted, *definitions, **options)

    await client_calls.every_call(intercepted, make, "hello")

    assert set(interceptor.notes) == set(HOOKS)


async def test_waiting_for_a_result_and_the_workers_own_calls_go_through_no_hook(client: Client) -> None:
    interceptor = Through(Noting)
    intercepted = through(client, interceptor)
    async with worker_for(intercepted, Parent, Waiting):
        parent = await intercepted.start_workflow(Parent.run, id="parent")
        await parent.result()
        with pytest.raises(Exception, match="execution failed"):
            await client.get_workflow_handle("child").result()  # its parent's end has terminated it

    assert interceptor.notes == ["start_workflow"]


@workflow.defn
class Waiting:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> None:
        await workflow.start_child_workflow(Waiting.run, id="child")


async def test_a_count_is_no_list(client: Client) -> None:
    interceptor = Through(Noting)

    await through(client, interceptor).count_workflows()

    assert interceptor.notes == ["count_workflows"]


async def test_the_first_interceptor_is_outermost(client: Client) -> None:
    notes: list[str] = []

    def named(name: str) -> Interceptor:
        class Named(OutboundInterceptor):
            async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
                notes.append(f"{name} in")
                handle = await super().start_workflow(input)
                notes.append(f"{name} out")
                return handle

        return Through(Named)

    await through(client, named("first"), named("second")).start_workflow("any", id="run")

    assert notes == ["first in", "second in", "second out", "first out"]


class Changing(OutboundInterceptor):
    """Changes what it can: arguments, ids, names, types of results, headers."""

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.id = f"tenant/{input.id}"
        input.args = [str(each).upper() for each in input.args]
        input.memo = {**(input.memo or {}), "by": "interceptor"}
        return await super().start_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        input.query = "seen"
        input.args = [each.upper() for each in input.args]
        return not await super().query_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        input.args = [each.upper() for each in input.args]
        await super().signal_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
        input.update_id = f"tenant/{input.update_id}"
        input.ret_type = list[str]
        input.args = [each.upper() for each in input.args]
        return await super().start_workflow_update(input)


async def test_an_interceptor_changes_arguments_ids_names_and_types_of_results(client: Client) -> None:
    intercepted = through(client, Through(Changing))
    async with worker_for(client, Desk):
        desk = await intercepted.start_workflow(Desk.run, "hello", id="desk")
        assert desk.id == "tenant/desk"
        await desk.signal(Desk.note, "hello")
        assert await desk.query("anything", "hello") is False  # its "seen", of upper case, was true
        handle = await desk.start_update(Desk.add, "hello", wait_for_stage=WorkflowUpdateStage.COMPLETED, id="1")
        assert handle.id == "tenant/1"
        with pytest.raises(ConversionError):
            await handle.result()
        assert await (await desk.describe()).memo() == {"by": "interceptor"}


async def test_what_an_interceptor_leaves_has_to_fit_the_function_unless_it_says_otherwise(client: Client) -> None:
    class More(OutboundInterceptor):
        async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
            input.args = [*input.args, "more"]
            if input.id == "unchecked":
                input.definition = None
            return await super().start_workflow(input)

    intercepted = through(client, Through(More))

    with pytest.raises(TypeError, match="too many positional arguments"):
        await intercepted.start_workflow(Desk.run, "hello", id="checked")
    handle = await intercepted.start_workflow(Desk.run, "hello", id="unchecked")

    (started,) = of_type(await handle.fetch_history(), WorkflowExecutionStarted)
    assert client.data_converter.from_payloads(started.input) == ["hello", "more"]


class Heading(OutboundInterceptor):
    """Gives everything a header."""

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.headers = {**input.headers, "who": HEADER}
        return await super().start_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        input.headers = {**input.headers, "who": HEADER}
        await super().signal_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        input.headers = {**input.headers, "who": HEADER}
        return await super().query_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
        input.headers = {**input.headers, "who": HEADER}
        return await super().start_workflow_update(input)

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        input.start_workflow_input.headers = {"of": HEADER}
        input.update_workflow_input.headers = {"who": HEADER}
        return await super().start_update_with_start_workflow(input)

    async def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        input.headers = {**input.headers, "who": HEADER}
        return await super().start_activity(input)


async def test_headers_go_with_starts_signals_queries_and_updates(client: Client) -> None:
    intercepted = through(client, Through(Heading))
    desk = await intercepted.start_workflow(
        Desk.run, "hello", id="desk", start_signal="note", start_signal_args=["hello"]
    )
    await desk.signal(Desk.note, "hello")
    waiting = [
        asyncio.ensure_future(desk.query(Desk.seen, "hello")),
        asyncio.ensure_future(desk.execute_update(Desk.add, "hello")),
    ]
    try:
        (started,) = of_type(await desk.fetch_history(), WorkflowExecutionStarted)
        assert started.header == {"who": HEADER}
        messages = await _messages(client, started.original_execution_run_id, 4)
    finally:
        for each in waiting:
            each.cancel()

    headers = [each.request.input.header if isinstance(each, Update) else each.header for each in messages]
    assert headers == [{"who": HEADER}] * 4


async def _messages(client: Client, run_id: str, count: int) -> Sequence[Signal | Query | Update]:
    while True:
        decoded = [codec.decode_message(each.body) for each in await client.database.store.inbox(run_id)]
        found = [each for each in decoded if isinstance(each, Signal | Query | Update)]
        if len(found) == count:
            return found
        await asyncio.sleep(0)


async def test_headers_of_an_update_with_start_are_the_starts_and_the_updates_own(client: Client) -> None:
    intercepted = through(client, Through(Heading))
    operation = WithStartWorkflowOperation(
        Desk.run, "hello", id="desk", id_conflict_policy=WorkflowIDConflictPolicy.FAIL
    )
    async with worker_for(client, Desk):
        await intercepted.execute_update_with_start_workflow(Desk.add, "hello", start_workflow_operation=operation)
        history = await (await operation.workflow_handle()).fetch_history()

    (started,), (accepted,) = (
        of_type(history, WorkflowExecutionStarted),
        of_type(history, WorkflowExecutionUpdateAccepted),
    )
    assert started.header == {"of": HEADER}
    assert accepted.accepted_request is not None
    assert accepted.accepted_request.input.header == {"who": HEADER}


async def test_headers_of_an_activity_without_a_workflow_reach_its_task(client: Client) -> None:
    intercepted = through(client, Through(Heading))
    async with worker_for(client, echo):
        handle = await intercepted.start_activity(
            echo, "hello", id="job", task_queue="default", start_to_close_timeout=HOUR
        )
        assert await handle.result() == "hello"
        run = await client.database.store.find("default", "__temporal_activity:job", None)
        assert run is not None
        history = WorkflowHistory("job", codec.decode_history(await client.database.store.history(run.run_id)))

    (scheduled,) = of_type(history, ActivityTaskScheduled)
    assert scheduled.header == {"who": HEADER}


async def test_a_header_that_is_no_payload_is_refused(client: Client) -> None:
    class Wrong(OutboundInterceptor):
        async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
            wrong: Any = {"who": "me"}
            input.headers = wrong
            return await super().start_workflow(input)

    with pytest.raises(TypeError, match="header 'who' is a str, and has to be a Payload"):
        await through(client, Through(Wrong)).start_workflow("any", id="run")


class Refusing(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        raise PermissionError("not you")

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        raise PermissionError("not you")


async def test_what_an_interceptor_raises_reaches_the_caller_and_nothing_is_done(client: Client) -> None:
    intercepted = through(client, Through(Refusing))

    with pytest.raises(PermissionError, match="not you"):
        await intercepted.start_workflow("any", id="run")

    with pytest.raises(RPCError, match="no workflow 'run'"):
        await client.get_workflow_handle("run").describe()


async def test_a_start_that_goes_with_an_update_learns_what_an_interceptor_raises(client: Client) -> None:
    intercepted = through(client, Through(Refusing))
    operation = WithStartWorkflowOperation("any", id="run", id_conflict_policy=WorkflowIDConflictPolicy.FAIL)

    with pytest.raises(PermissionError, match="not you"):
        await intercepted.execute_update_with_start_workflow("any", start_workflow_operation=operation)

    with pytest.raises(PermissionError, match="not you"):
        await operation.workflow_handle()


async def test_an_interceptor_may_answer_in_place_of_the_database(client: Client) -> None:
    class Answering(OutboundInterceptor):
        async def query_workflow(self, input: QueryWorkflowInput) -> Any:
            return f"{input.query} of {input.id}"

        async def start_update_with_start_workflow(
            self, input: StartWorkflowUpdateWithStartInput
        ) -> WorkflowUpdateHandle[Any]:
            return WorkflowUpdateHandle(client, "known", "elsewhere")

    intercepted = through(client, Through(Answering))
    operation = WithStartWorkflowOperation("any", id="run", id_conflict_policy=WorkflowIDConflictPolicy.FAIL)

    assert await intercepted.get_workflow_handle("nowhere").query("state") == "state of nowhere"
    handle = await intercepted.start_update_with_start_workflow(
        "any", start_workflow_operation=operation, wait_for_stage=WorkflowUpdateStage.ACCEPTED
    )
    assert handle.id == "known"
    assert (await operation.workflow_handle()).id == "elsewhere"


async def test_an_interceptor_may_try_again(client: Client) -> None:
    class Again(OutboundInterceptor):
        async def start_update_with_start_workflow(
            self, input: StartWorkflowUpdateWithStartInput
        ) -> WorkflowUpdateHandle[Any]:
            try:
                return await super().start_update_with_start_workflow(input)
            except ValueError:
                input.start_workflow_input.id = "good"
                return await super().start_update_with_start_workflow(input)

    operation = WithStartWorkflowOperation(
        Desk.run, "hello", id="x" * 2000, id_conflict_policy=WorkflowIDConflictPolicy.FAIL
    )
    async with worker_for(client, Desk):
        await through(client, Through(Again)).execute_update_with_start_workflow(
            Desk.add, "hello", start_workflow_operation=operation
        )

    assert (await operation.workflow_handle()).id == "good"


async def test_what_intercept_client_returns_is_called(client: Client) -> None:
    class Forgetful(Interceptor):
        def intercept_client(self, next: OutboundInterceptor) -> Any:
            pass

    with pytest.raises(TypeError, match=r"Forgetful\.intercept_client returned no OutboundInterceptor: None"):
        through(client, Forgetful())


async def test_an_interceptor_that_overrides_nothing_changes_nothing(client: Client) -> None:
    await through(client, Interceptor()).start_workflow("any", id="run")

    assert (await client.get_workflow_handle("run").describe()).workflow_type == "any"


class Adding(Plugin):
    def __init__(self, interceptor: Interceptor) -> None:
        self._interceptor = interceptor

    def configure_client(self, config: Any) -> Any:
        config["interceptors"] = [*config["interceptors"], self._interceptor]
        return config

    async def connect_service_client(self, config: Any, next: Any) -> Any:
        return await next(config)


async def test_plugins_add_interceptors_and_the_active_config_has_them(client: Client) -> None:
    notes: list[str] = []
    own, added, simple = Through(Noting, notes), Through(Noting, notes), Through(Noting, notes)
    for_workers_only: Any = object()
    plugins = [Adding(added), SimplePlugin("simple", interceptors=[simple, for_workers_only])]

    intercepted = Client(**{**client.config(), "interceptors": [own], "plugins": plugins})
    await intercepted.start_workflow("any", id="run")

    assert notes == ["start_workflow"] * 3
    assert list(intercepted.config(active_config=True)["interceptors"]) == [own, added, simple]
    assert list(intercepted.config()["interceptors"]) == [own]
