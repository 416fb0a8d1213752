"""The spans of clients and activities, and the way of a trace from one to the other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from durable import activity
from durable.client import (
    ActivityHandle,
    OutboundInterceptor,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartActivityInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    WorkflowHandle,
    WorkflowUpdateHandle,
)
from durable.client import Interceptor as ClientInterceptor
from durable.contrib.opentelemetry.carrier import Carrier
from durable.exceptions import ApplicationError, ApplicationErrorCategory
from durable.worker import ActivityInboundInterceptor, ExecuteActivityInput
from durable.worker import Interceptor as WorkerInterceptor


class OutsideWorkflows(Carrier, ClientInterceptor, WorkerInterceptor):
    """Traces all but workflow code. `span` says which spans there are."""

    @abstractmethod
    def span(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, str],
        context: Context | None = None,
        *,
        sets_status: bool = True,
    ) -> AbstractContextManager[Span | None]:
        """What goes on meanwhile is in this span, which is in ``context``, by default in the current one. With
        ``sets_status`` an exception makes it one that has failed."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _ClientOutbound(next, self)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _ActivityInbound(next, self)


class _WithHeaders(Protocol):
    headers: Any


class _ClientOutbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, root: OutsideWorkflows) -> None:
        super().__init__(next)
        self._root = root

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        what = "SignalWithStartWorkflow" if input.start_signal else "StartWorkflow"
        with self._span(f"{what}:{input.workflow}", {"temporalWorkflowID": input.id}, input):
            return await super().start_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        with self._span(f"SignalWorkflow:{input.signal}", {"temporalWorkflowID": input.id}, input):
            await super().signal_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        with self._span(f"QueryWorkflow:{input.query}", {"temporalWorkflowID": input.id}, input):
            return await super().query_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
        with self._span(f"StartWorkflowUpdate:{input.update}", {"temporalWorkflowID": input.id}, input):
            return await super().start_workflow_update(input)

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        start, update = input.start_workflow_input, input.update_workflow_input
        attributes = {"temporalWorkflowID": start.id}
        if update.update_id is not None:
            attributes["temporalUpdateID"] = update.update_id
        with self._span(f"StartUpdateWithStartWorkflow:{start.workflow}", attributes, start, update):
            return await super().start_update_with_start_workflow(input)

    async def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        attributes = {"temporalActivityID": input.id, "temporalActivityType": input.activity_type}
        with self._span(f"StartActivity:{input.activity_type}", attributes, input):
            return await super().start_activity(input)

    @contextmanager
    def _span(self, name: str, attributes: dict[str, str], *inputs: _WithHeaders) -> Generator[None]:
        """A call under way, which the inputs tell of."""
        with self._root.span(name, SpanKind.CLIENT, attributes):
            for input in inputs:
                input.headers = self._root.context_to_headers(input.headers)
            yield


class _ActivityInbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, root: OutsideWorkflows) -> None:
        super().__init__(next)
        self._root = root

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        ids = {
            "temporalWorkflowID": info.workflow_id,
            "temporalRunID": info.workflow_run_id,
            "temporalActivityID": info.activity_id,
        }
        context = self._root.context_from_headers(input.headers) or Context()
        given = {key: id for key, id in ids.items() if id}
        name = f"RunActivity:{info.activity_type}"
        with self._root.span(name, SpanKind.SERVER, given, context, sets_status=False) as span:
            try:
                return await super().execute_activity(input)
            except Exception as error:
                benign = isinstance(error, ApplicationError) and error.category is ApplicationErrorCategory.BENIGN
                if span is not None and not benign:
                    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
                raise
