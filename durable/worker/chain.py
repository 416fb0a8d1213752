"""Pure: a run's interceptors: how they are made, and the last links, which call the code and make its commands."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from durable.history.values import WorkflowExecution
from durable.worker.messages import BUILT_IN
from durable.workflow.activity_inputs import call_of_input, local_call_of_input
from durable.workflow.calls import ActivityHandle
from durable.workflow.child_handles import ChildWorkflowHandle
from durable.workflow.children import child_call
from durable.workflow.continuing import continued
from durable.workflow.handlers import Kind
from durable.workflow.info import Info
from durable.workflow.interception import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    SignalChildWorkflowInput,
    SignalExternalWorkflowInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)

if TYPE_CHECKING:
    from durable.worker.messages import Handlers
    from durable.worker.replay import Run


def chained(run: Run, classes: Sequence[type[WorkflowInboundInterceptor]]) -> WorkflowInboundInterceptor:
    """The interceptors of one run, the first outermost, and told of each other."""
    inbound: WorkflowInboundInterceptor = _Inbound(run)
    for each in reversed(classes):
        inbound = each(inbound)
    inbound.init(_Outbound(run))
    return inbound


class _Inbound(WorkflowInboundInterceptor):
    """Calls the code."""

    def __init__(self, run: Run) -> None:  # pyright: ignore[reportMissingSuperCall] - there is no next one
        self._run = run

    @property
    def _handlers(self) -> Handlers:
        assert self._run.handlers is not None
        return self._run.handlers

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self._run.outbound = outbound

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        first = () if self._run.definition.cls is None else (self._run.instance(),)
        return await input.run_fn(*first, *input.args, **input.kwargs)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        handler = self._handlers.find(Kind.SIGNAL, input.signal)
        if handler is not None:
            await _called(self._handlers.bound(handler), input)
        else:
            self._handlers.hand_over(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        if input.query in BUILT_IN:
            return self._run.built_in(input.query)
        return await _called(self._handlers.bound(self._handlers.must_find(Kind.QUERY, input.query)), input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        self._handlers.judge(self._handlers.must_find(Kind.UPDATE, input.update), input.args, input.kwargs)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        return await _called(self._handlers.bound(self._handlers.must_find(Kind.UPDATE, input.update)), input)


async def _called(handler: Any, input: HandleSignalInput | HandleQueryInput | HandleUpdateInput) -> Any:
    result = handler(*input.args, **input.kwargs)
    return await result if inspect.isawaitable(result) else result


class _Outbound(WorkflowOutboundInterceptor):
    """Makes commands."""

    def __init__(self, run: Run) -> None:  # pyright: ignore[reportMissingSuperCall] - there is no next one
        self._run = run

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        raise continued(self._run.converter, input)

    def info(self) -> Info:
        return self._run.info()

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        to = WorkflowExecution(workflow_id=input.child_workflow_id)
        await self._signal(to, input, child_only=True)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        own = self._run.info().namespace
        if input.namespace != own:
            raise ValueError(f"a workflow of namespace {own!r} can't signal one of {input.namespace!r}")
        to = WorkflowExecution(workflow_id=input.workflow_id, run_id=input.workflow_run_id or "")
        await self._signal(to, input, child_only=False)

    async def _signal(
        self,
        to: WorkflowExecution,
        input: SignalChildWorkflowInput | SignalExternalWorkflowInput,
        *,
        child_only: bool,
    ) -> None:
        payloads = self._run.workflow_converter(to.workflow_id).to_payloads(input.args, input.arg_names)
        await self._run.signal_external(to, input.signal, payloads, dict(input.headers), child_only=child_only)

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        call = call_of_input(self._run, input)
        return self._run.activities.schedule_intercepted(call) if input.is_call else self._run.start_activity(call)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:
        return await self._run.start_child(child_call(self._run.workflow_converter(input.id), input))

    def start_local_activity(self, input: StartLocalActivityInput) -> ActivityHandle[Any]:
        return self._run.start_local_activity(local_call_of_input(self._run, input))
