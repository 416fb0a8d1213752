"""What stands between a caller and the client: interceptors, each of which sees every call and may change it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

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

if TYPE_CHECKING:
    from durable.client.activity_executions import (
        ActivityExecutionAsyncIterator,
        ActivityExecutionCount,
        ActivityExecutionDescription,
    )
    from durable.client.activity_handle import ActivityHandle
    from durable.client.build_ids import WorkerBuildIdVersionSets, WorkerTaskReachability
    from durable.client.counting import WorkflowExecutionCount
    from durable.client.description import WorkflowExecutionDescription
    from durable.client.events import WorkflowHistoryEventAsyncIterator
    from durable.client.handle import WorkflowHandle
    from durable.client.listing import WorkflowExecutionAsyncIterator
    from durable.client.updates import WorkflowUpdateHandle


class Interceptor:
    """Subclass it, and give it to `Client.connect` as one of ``interceptors``: the first of the list is outermost.

    One that is a `durable.worker.Interceptor` too goes to the workers of the client as well.
    """

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """What is to be called instead of ``next``: an `OutboundInterceptor` of one's own around it; ``next`` itself
        by default."""
        return next


class OutboundInterceptor:
    """Every call of a client and its handles, before anything is converted. By default each goes to ``self.next``.

    Override what is of interest. An input may be changed in any of its fields before it is handed on; the answer may be
    another one; what is raised reaches the caller. Waiting for a result (`WorkflowHandle.result`,
    `WorkflowUpdateHandle.result`, `ActivityHandle.result`) is no call of its own, as in Temporal.
    """

    def __init__(self, next: OutboundInterceptor) -> None:
        self.next = next

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        """`Client.start_workflow`, with and without a signal; `Client.execute_workflow`."""
        return await self.next.start_workflow(input)

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        """`WorkflowHandle.cancel`."""
        await self.next.cancel_workflow(input)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        """`WorkflowHandle.describe`."""
        return await self.next.describe_workflow(input)

    def fetch_workflow_history_events(
        self, input: FetchWorkflowHistoryEventsInput
    ) -> WorkflowHistoryEventAsyncIterator:
        """`WorkflowHandle.fetch_history_events` and `WorkflowHandle.fetch_history`."""
        return self.next.fetch_workflow_history_events(input)

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        """`Client.list_workflows`."""
        return self.next.list_workflows(input)

    async def count_workflows(self, input: CountWorkflowsInput) -> WorkflowExecutionCount:
        """`Client.count_workflows`."""
        return await self.next.count_workflows(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        """`WorkflowHandle.query`."""
        return await self.next.query_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        """`WorkflowHandle.signal`."""
        await self.next.signal_workflow(input)

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        """`WorkflowHandle.terminate`."""
        await self.next.terminate_workflow(input)

    async def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        """`Client.start_activity` in all its forms, and `Client.execute_activity`."""
        return await self.next.start_activity(input)

    async def cancel_activity(self, input: CancelActivityInput) -> None:
        """`ActivityHandle.cancel`."""
        await self.next.cancel_activity(input)

    async def terminate_activity(self, input: TerminateActivityInput) -> None:
        """`ActivityHandle.terminate`."""
        await self.next.terminate_activity(input)

    async def pause_activity(self, input: PauseActivityInput) -> None:
        """`ActivityHandle.pause` and `WorkflowHandle.pause_activity`."""
        await self.next.pause_activity(input)

    async def unpause_activity(self, input: UnpauseActivityInput) -> None:
        """`ActivityHandle.unpause` and `WorkflowHandle.unpause_activity`."""
        await self.next.unpause_activity(input)

    async def reset_activity(self, input: ResetActivityInput) -> None:
        """`WorkflowHandle.reset_activity`."""
        await self.next.reset_activity(input)

    async def describe_activity(self, input: DescribeActivityInput) -> ActivityExecutionDescription:
        """`ActivityHandle.describe`."""
        return await self.next.describe_activity(input)

    def list_activities(self, input: ListActivitiesInput) -> ActivityExecutionAsyncIterator:
        """`Client.list_activities`."""
        return self.next.list_activities(input)

    async def count_activities(self, input: CountActivitiesInput) -> ActivityExecutionCount:
        """`Client.count_activities`."""
        return await self.next.count_activities(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
        """`WorkflowHandle.start_update` and `WorkflowHandle.execute_update`."""
        return await self.next.start_workflow_update(input)

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        """`Client.start_update_with_start_workflow` and `Client.execute_update_with_start_workflow`."""
        return await self.next.start_update_with_start_workflow(input)

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        """`AsyncActivityHandle.heartbeat`."""
        await self.next.heartbeat_async_activity(input)

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        """`AsyncActivityHandle.complete`."""
        await self.next.complete_async_activity(input)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        """`AsyncActivityHandle.fail`."""
        await self.next.fail_async_activity(input)

    async def report_cancellation_async_activity(self, input: ReportCancellationAsyncActivityInput) -> None:
        """`AsyncActivityHandle.report_cancellation`."""
        await self.next.report_cancellation_async_activity(input)

    async def update_worker_build_id_compatibility(self, input: UpdateWorkerBuildIdCompatibilityInput) -> None:
        """`Client.update_worker_build_id_compatibility`, which is refused."""
        await self.next.update_worker_build_id_compatibility(input)

    async def get_worker_build_id_compatibility(
        self, input: GetWorkerBuildIdCompatibilityInput
    ) -> WorkerBuildIdVersionSets:
        """`Client.get_worker_build_id_compatibility`, which is refused."""
        return await self.next.get_worker_build_id_compatibility(input)

    async def get_worker_task_reachability(self, input: GetWorkerTaskReachabilityInput) -> WorkerTaskReachability:
        """`Client.get_worker_task_reachability`, which is refused."""
        return await self.next.get_worker_task_reachability(input)


def chained(interceptors: Sequence[Interceptor], root: OutboundInterceptor) -> OutboundInterceptor:
    """What a call goes to first: the first interceptor is outermost, ``root`` does it. TypeError for what is none."""
    head = root
    for interceptor in reversed(interceptors):
        if not isinstance(cast("object", interceptor), Interceptor):
            raise TypeError(f"an interceptor of a client is a durable.client.Interceptor, not {interceptor!r}")
        made = interceptor.intercept_client(head)
        if not isinstance(cast("object", made), OutboundInterceptor):
            raise TypeError(f"{type(interceptor).__name__}.intercept_client returned no OutboundInterceptor: {made!r}")
        head = made
    return head
