"""The last link of the chain of interceptors: it does what was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.client import (
    activity_control,
    activity_executions,
    activity_runs,
    activity_starting,
    async_completion,
    counting,
    describing,
    querying,
    sending,
    starting,
    termination,
    updates,
    with_start,
)
from durable.client.activity_executions import (
    ActivityExecutionAsyncIterator,
    ActivityExecutionCount,
    ActivityExecutionDescription,
)
from durable.client.activity_handle import ActivityHandle
from durable.client.activity_inputs import (
    CancelActivityInput,
    CompleteAsyncActivityInput,
    CountActivitiesInput,
    DescribeActivityInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    ListActivitiesInput,
    PauseActivityInput,
    ReportCancellationAsyncActivityInput,
    ResetActivityInput,
    StartActivityInput,
    TerminateActivityInput,
    UnpauseActivityInput,
)
from durable.client.build_ids import WorkerBuildIdVersionSets, WorkerTaskReachability, refused
from durable.client.counting import WorkflowExecutionCount
from durable.client.deadline import within
from durable.client.description import WorkflowExecutionDescription
from durable.client.events import WorkflowHistoryEventAsyncIterator
from durable.client.filter import Filter
from durable.client.handle import WorkflowHandle
from durable.client.inputs import (
    CancelWorkflowInput,
    CountWorkflowsInput,
    DescribeWorkflowInput,
    FetchWorkflowHistoryEventsInput,
    GetWorkerBuildIdCompatibilityInput,
    GetWorkerTaskReachabilityInput,
    ListWorkflowsInput,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    TerminateWorkflowInput,
    UpdateWorkerBuildIdCompatibilityInput,
)
from durable.client.interceptor import OutboundInterceptor
from durable.client.listing import WorkflowExecutionAsyncIterator
from durable.client.updates import WorkflowUpdateHandle

if TYPE_CHECKING:
    from durable.client.client import Client


class Root(OutboundInterceptor):
    """Each call checks and converts its input, has it encoded, and asks the database."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        if input.start_signal is not None:
            return await with_start.signal_with_start(self._client, input)
        return await starting.start(self._client, input)

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        await sending.cancel(self._client, input)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        return await describing.describe(self._client, input)

    def fetch_workflow_history_events(
        self, input: FetchWorkflowHistoryEventsInput
    ) -> WorkflowHistoryEventAsyncIterator:
        return WorkflowHistoryEventAsyncIterator(
            self._client,
            input.id,
            input.run_id,
            page_size=input.page_size,
            next_page_token=input.next_page_token,
            wait_new_event=input.wait_new_event,
            event_filter_type=input.event_filter_type,
            rpc_timeout=input.rpc_timeout,
        )

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        return WorkflowExecutionAsyncIterator(
            self._client,
            Filter(input.query or "", self._client.namespace, status=input.status),
            limit=input.limit,
            page_size=input.page_size,
            next_page_token=input.next_page_token,
            rpc_timeout=input.rpc_timeout,
        )

    async def count_workflows(self, input: CountWorkflowsInput) -> WorkflowExecutionCount:
        counted = counting.count_workflows(self._client, input.query or "")
        return await within(counted, input.rpc_timeout, "the count of workflows")

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        return await querying.query(self._client, input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        await sending.signal(self._client, input)

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        await termination.terminate(self._client, input)

    async def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        return await activity_starting.start(self._client, input)

    async def cancel_activity(self, input: CancelActivityInput) -> None:
        await activity_runs.cancel(self._client, input)

    async def terminate_activity(self, input: TerminateActivityInput) -> None:
        await activity_runs.terminate(self._client, input)

    async def pause_activity(self, input: PauseActivityInput) -> None:
        await activity_control.pause(self._client, input)

    async def unpause_activity(self, input: UnpauseActivityInput) -> None:
        await activity_control.unpause(self._client, input)

    async def reset_activity(self, input: ResetActivityInput) -> None:
        await activity_control.reset(self._client, input)

    async def describe_activity(self, input: DescribeActivityInput) -> ActivityExecutionDescription:
        return await activity_runs.describe(self._client, input)

    def list_activities(self, input: ListActivitiesInput) -> ActivityExecutionAsyncIterator:
        return ActivityExecutionAsyncIterator(
            self._client,
            input.query or "",
            limit=input.limit,
            page_size=input.page_size,
            next_page_token=input.next_page_token,
            rpc_timeout=input.rpc_timeout,
        )

    async def count_activities(self, input: CountActivitiesInput) -> ActivityExecutionCount:
        counted = activity_executions.count(self._client, input.query or "")
        return await within(counted, input.rpc_timeout, "the number of activities")

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
        return await updates.start_update(self._client, input)

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        return await with_start.update_with_start(self._client, input)

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        await async_completion.heartbeat(self._client, input)

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        await async_completion.complete(self._client, input)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        await async_completion.fail(self._client, input)

    async def report_cancellation_async_activity(self, input: ReportCancellationAsyncActivityInput) -> None:
        await async_completion.report_cancellation(self._client, input)

    async def update_worker_build_id_compatibility(self, input: UpdateWorkerBuildIdCompatibilityInput) -> None:
        raise refused("update_worker_build_id_compatibility")

    async def get_worker_build_id_compatibility(
        self, input: GetWorkerBuildIdCompatibilityInput
    ) -> WorkerBuildIdVersionSets:
        raise refused("get_worker_build_id_compatibility")

    async def get_worker_task_reachability(self, input: GetWorkerTaskReachabilityInput) -> WorkerTaskReachability:
        raise refused("get_worker_task_reachability")
