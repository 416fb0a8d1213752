"""The part of a client that is about activities without a workflow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, cast, overload

from durable.activity import ActivityDefinition
from durable.client.activity_executions import ActivityExecutionAsyncIterator, ActivityExecutionCount
from durable.client.activity_handle import ActivityHandle
from durable.client.activity_inputs import CountActivitiesInput, ListActivitiesInput, StartActivityInput
from durable.client.joining import Transactional, carrier
from durable.common import ActivityIDConflictPolicy, ActivityIDReusePolicy, Priority, RetryPolicy
from durable.converter.search_attributes import warn_of_untyped
from durable.search_attributes import TypedSearchAttributes
from durable.workflow.calls import UNSET, arguments

if TYPE_CHECKING:
    from durable.client.client import Client

R = TypeVar("R")


class ActivityOptions(TypedDict, total=False):
    """The options of `Client.start_activity`, which says what they mean."""

    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    id_reuse_policy: ActivityIDReusePolicy
    id_conflict_policy: ActivityIDConflictPolicy
    retry_policy: RetryPolicy | None
    search_attributes: TypedSearchAttributes | None
    summary: str | None
    priority: Priority
    start_delay: timedelta | None
    request_id: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    session: Transactional | None


class ActivityClient:
    """The part of `Client` that is about activities without a workflow."""

    @overload
    async def start_activity(
        self,
        activity: Callable[..., Awaitable[R]],
        arg: Any = ...,
        *,
        args: Sequence[Any] = ...,
        id: str,
        task_queue: str,
        result_type: None = ...,
        **options: Unpack[ActivityOptions],
    ) -> ActivityHandle[R]: ...

    @overload
    async def start_activity(
        self,
        activity: Callable[..., R],
        arg: Any = ...,
        *,
        args: Sequence[Any] = ...,
        id: str,
        task_queue: str,
        result_type: None = ...,
        **options: Unpack[ActivityOptions],
    ) -> ActivityHandle[R]: ...

    @overload
    async def start_activity(
        self,
        activity: str | Callable[..., Any],
        arg: Any = ...,
        *,
        args: Sequence[Any] = ...,
        id: str,
        task_queue: str,
        result_type: Any = ...,
        **options: Unpack[ActivityOptions],
    ) -> ActivityHandle[Any]: ...

    async def start_activity(
        self,
        activity: Any,
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,
        task_queue: str,
        result_type: Any = None,
        **options: Unpack[ActivityOptions],
    ) -> ActivityHandle[Any]:
        """Start an activity that no workflow has asked for, given as its decorated function or by name: a job for a
        worker of ``task_queue`` that has it, be it one without workflows. It is durable when this returns.

        ``id`` is unique among the running activities of the namespace; the policies say what happens when it is in use
        (by default `ActivityAlreadyStartedError`). The same ``request_id`` starts it once. Options not given are those
        of ``@activity.defn``; one of ``start_to_close_timeout`` and ``schedule_to_close_timeout`` is needed, and
        ``start_delay``, after which it may begin, is not negative (ValueError). `describe`
        shows ``search_attributes`` and ``summary``, a line about this one; ``priority`` says who goes first where more
        wait than workers can begin. ``rpc_metadata`` is taken for compatibility. ``result_type`` says what to decode
        the result to, if the activity does not. With ``session`` it is started if and only if the caller's transaction
        commits: see `Client.start_workflow`.
        """
        definition = None if isinstance(activity, str) else ActivityDefinition.must_be(activity).named()
        said: Mapping[str, Any] = {} if definition is None else definition.options

        def option(name: str) -> Any:
            value = options.get(name)
            return said.get(name) if value is None else value

        search_attributes = options.get("search_attributes")
        warn_of_untyped(search_attributes, 2)
        return await cast("Client", self).outbound.start_activity(
            StartActivityInput(
                activity_type=activity if definition is None else definition.name,
                args=list(arguments(arg, args)),
                id=id,
                task_queue=task_queue,
                result_type=result_type or (None if definition is None else definition.signature.return_hint),
                schedule_to_close_timeout=option("schedule_to_close_timeout"),
                start_to_close_timeout=option("start_to_close_timeout"),
                schedule_to_start_timeout=option("schedule_to_start_timeout"),
                heartbeat_timeout=option("heartbeat_timeout"),
                id_reuse_policy=options.get("id_reuse_policy") or ActivityIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=options.get("id_conflict_policy", ActivityIDConflictPolicy.FAIL),
                retry_policy=option("retry_policy"),
                priority=options.get("priority", Priority.default),
                search_attributes=search_attributes,
                summary=options.get("summary"),
                start_delay=options.get("start_delay"),
                headers={},
                rpc_metadata=options.get("rpc_metadata", {}),
                rpc_timeout=options.get("rpc_timeout"),
                request_id=options.get("request_id"),
                definition=definition,
                session=carrier(options.get("session")),
            )
        )

    @overload
    async def execute_activity(
        self,
        activity: Callable[..., Awaitable[R]],
        arg: Any = ...,
        *,
        args: Sequence[Any] = ...,
        id: str,
        task_queue: str,
        result_type: None = ...,
        **options: Unpack[ActivityOptions],
    ) -> R: ...

    @overload
    async def execute_activity(
        self,
        activity: Callable[..., R],
        arg: Any = ...,
        *,
        args: Sequence[Any] = ...,
        id: str,
        task_queue: str,
        result_type: None = ...,
        **options: Unpack[ActivityOptions],
    ) -> R: ...

    @overload
    async def execute_activity(
        self,
        activity: str | Callable[..., Any],
        arg: Any = ...,
        *,
        args: Sequence[Any] = ...,
        id: str,
        task_queue: str,
        result_type: Any = ...,
        **options: Unpack[ActivityOptions],
    ) -> Any: ...

    async def execute_activity(
        self,
        activity: Any,
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,
        task_queue: str,
        result_type: Any = None,
        **options: Unpack[ActivityOptions],
    ) -> Any:
        """`start_activity`, and wait for its result: see `ActivityHandle.result`. ValueError with a ``session``."""
        if options.get("session") is not None:
            raise ValueError("execute_activity takes no session: start_activity, commit, and wait for the result then")
        handle = await self.start_activity(
            activity, arg, args=args, id=id, task_queue=task_queue, result_type=result_type, **options
        )
        return await handle.result(rpc_timeout=options.get("rpc_timeout"))

    async def start_activity_class(
        self,
        activity: type[Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,
        task_queue: str,
        result_type: Any = None,
        **options: Unpack[ActivityOptions],
    ) -> ActivityHandle[Any]:
        """`start_activity` of a callable class; it runs on the object that the worker has."""
        reference: Any = activity
        return await self.start_activity(
            reference, arg, args=args, id=id, task_queue=task_queue, result_type=result_type, **options
        )

    async def execute_activity_class(
        self,
        activity: type[Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,
        task_queue: str,
        result_type: Any = None,
        **options: Unpack[ActivityOptions],
    ) -> Any:
        """`start_activity_class`, and wait for its result."""
        handle = await self.start_activity_class(
            activity, arg, args=args, id=id, task_queue=task_queue, result_type=result_type, **options
        )
        return await handle.result(rpc_timeout=options.get("rpc_timeout"))

    async def start_activity_method(
        self,
        activity: Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,
        task_queue: str,
        result_type: Any = None,
        **options: Unpack[ActivityOptions],
    ) -> ActivityHandle[Any]:
        """`start_activity` of a method, named by its class; it runs on the object that the worker has."""
        return await self.start_activity(
            activity, arg, args=args, id=id, task_queue=task_queue, result_type=result_type, **options
        )

    async def execute_activity_method(
        self,
        activity: Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,
        task_queue: str,
        result_type: Any = None,
        **options: Unpack[ActivityOptions],
    ) -> Any:
        """`start_activity_method`, and wait for its result."""
        handle = await self.start_activity_method(
            activity, arg, args=args, id=id, task_queue=task_queue, result_type=result_type, **options
        )
        return await handle.result(rpc_timeout=options.get("rpc_timeout"))

    def get_activity_handle(
        self, activity_id: str, *, run_id: str | None = None, result_type: Any = None
    ) -> ActivityHandle[Any]:
        """A handle on an activity by its id; nothing is asked or checked. ``run_id`` None is its latest run."""
        client = cast("Client", self)
        return ActivityHandle(client, activity_id, run_id=run_id, result_type=result_type)

    def list_activities(
        self,
        query: str | None = None,
        *,
        limit: int | None = None,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> ActivityExecutionAsyncIterator:
        """The activities that clients have started by themselves, newest first, fetched in pages as they are walked.

        ``query`` is Temporal's list filter: ``ActivityType = 'send' AND ExecutionStatus IN ('Running', 'TimedOut')``.
        The rest is as of `Client.list_workflows`.
        """
        return cast("Client", self).outbound.list_activities(
            ListActivitiesInput(query, page_size, next_page_token, rpc_metadata, rpc_timeout, limit)
        )

    async def count_activities(
        self,
        query: str | None = None,
        *,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> ActivityExecutionCount:
        """How many there are of `list_activities`; the query may end with ``GROUP BY ExecutionStatus``."""
        return await cast("Client", self).outbound.count_activities(
            CountActivitiesInput(query, rpc_metadata, rpc_timeout)
        )
