"""Activities without a workflow: a client starts one, waits for it, asks how it stands, ends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, Unpack, cast, overload

from durable.activity import ActivityDefinition, activity_call
from durable.client import activity_control, activity_executions
from durable.client.activity_executions import (
    ActivityExecutionAsyncIterator,
    ActivityExecutionCount,
    ActivityExecutionDescription,
)
from durable.client.deadline import within
from durable.client.errors import ActivityFailureError, WorkflowFailureError
from durable.client.pending import AsyncActivityIDReference
from durable.common import ActivityIDConflictPolicy, ActivityIDReusePolicy, Priority, RetryPolicy
from durable.context import ActivityCall
from durable.converter.search_attributes import given_search_attributes
from durable.exceptions import (
    ActivityAlreadyStartedError,
    ActivityError,
    CancelledError,
    WorkflowAlreadyStartedError,
)
from durable.history import codec
from durable.history.beginning import StartRequest
from durable.history.standalone import PREFIX, hidden
from durable.history.values import NAME_BYTES_MAX, IdConflictPolicy, IdReusePolicy, UserMetadata, unstorable
from durable.search_attributes import TypedSearchAttributes
from durable.service import RPCError, RPCStatusCode
from durable.workflow.calls import UNSET, arguments
from durable.workflow.standalone import StandaloneActivity

if TYPE_CHECKING:
    from durable.client.client import Client
    from durable.client.handle import WorkflowHandle

R = TypeVar("R")
S = TypeVar("S")

ACTIVITY_ID_MAX = 900


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


class ActivityHandle(Generic[R]):
    """An activity by its id, and a run of it; ``run_id`` None is the latest run of the id."""

    def __init__(
        self,
        client: Client,
        id: str,
        *,
        run_id: str | None = None,
        result_type: Any = None,
        run: WorkflowHandle[Any, Any] | None = None,
    ) -> None:
        self._client = client
        self._id = id
        self._run_id = run_id
        self._run = run or client.get_workflow_handle(hidden(id), run_id=run_id, result_type=result_type)

    def __repr__(self) -> str:
        return f"ActivityHandle({self._id!r}, run_id={self._run_id!r})"

    @property
    def id(self) -> str:
        """The activity's id."""
        return self._id

    @property
    def run_id(self) -> str | None:
        """The run that the handle is for; None: the latest."""
        return self._run_id

    async def result(self, *, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None) -> R:
        """The activity's result, as soon as it is there; any number of processes may wait.

        Raises `ActivityFailureError` when it failed, timed out, was cancelled or was terminated; `RPCError` NOT_FOUND
        when there is no such activity, DEADLINE_EXCEEDED when ``rpc_timeout`` is over first.
        """
        with _of_activities():
            try:
                raw = await self._run.result(rpc_timeout=rpc_timeout)
            except WorkflowFailureError as error:
                cause = _cause(error.cause)
                raise ActivityFailureError(cause=cause) from cause
        return raw  # type: ignore[no-any-return]

    async def cancel(
        self,
        *,
        reason: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Ask the activity to end. No error when it is over already. `RPCError` NOT_FOUND."""
        with _of_activities():
            await self._run.cancel(reason=reason or "", rpc_timeout=rpc_timeout)

    async def terminate(
        self,
        *,
        reason: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """End it at once: whoever runs it is told, and its result counts no more. `RPCError` NOT_FOUND, also when it
        is over."""
        with _of_activities():
            await self._run.terminate(reason=reason or "Activity terminated", rpc_timeout=rpc_timeout)

    async def pause(
        self,
        *,
        reason: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Let no attempt of it begin until it is unpaused; one under way is asked to end by its next heartbeat.

        `describe` shows it as ``run_state``. Timeouts go on. `RPCError` NOT_FOUND, also when it is over;
        FAILED_PRECONDITION before a worker has taken it up.
        """
        paused = activity_control.pause(self._client, self._reference, reason or "")
        await within(paused, rpc_timeout, f"activity {self._id!r}: the answer to its pause")

    async def unpause(
        self,
        *,
        reason: str | None = None,
        jitter: timedelta | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Let attempts of it begin again: at once if the wait for the next one is over, or when it is; with ``jitter``
        not at once, but at a moment by chance within this time (ValueError for a negative one).

        ``reason`` is not kept. Errors are those of `pause`.
        """
        unpaused = activity_control.unpause(
            self._client, self._reference, reset_attempts=False, reset_heartbeat=False, jitter=jitter
        )
        await within(unpaused, rpc_timeout, f"activity {self._id!r}: the answer to its unpause")

    async def describe(
        self,
        *,
        include_input: bool = False,
        include_outcome: bool = False,
        include_heartbeat_details: bool = False,
        include_last_failure: bool = False,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> ActivityExecutionDescription:
        """How it stands. What may be included always is. `RPCError` NOT_FOUND."""
        return await within(self._describe(), rpc_timeout, f"activity {self._id!r}: its description")

    @property
    def _reference(self) -> AsyncActivityIDReference:
        return AsyncActivityIDReference(workflow_id=None, run_id=self._run_id, activity_id=self._id)

    async def _describe(self) -> ActivityExecutionDescription:
        run = await self._client.database.store.find(self._client.namespace, hidden(self._id), self._run_id)
        if run is None:
            which = f" with run id {self._run_id}" if self._run_id else ""
            raise RPCError(
                f"no activity {self._id!r}{which} in namespace {self._client.namespace!r}", RPCStatusCode.NOT_FOUND
            )
        return await activity_executions.describe(self._client, run)


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
        the result to, if the activity does not.
        """
        client = cast("Client", self)
        call = _call(client, activity, arguments(arg, args), result_type, options)
        request = _request(client, call, id, task_queue, options)
        try:
            with _of_activities():
                begun = client.begin(request)
                run_id = (await within(begun, options.get("rpc_timeout"), f"activity {id!r}: its start")).run_id
        except WorkflowAlreadyStartedError as error:
            raise ActivityAlreadyStartedError(id, call.activity_type, run_id=error.run_id) from None
        run = client.started_handle(hidden(id), run_id, call.result_type, first_execution_run_id=run_id)
        return ActivityHandle(client, id, run_id=run_id, run=run, result_type=call.result_type)

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
        """`start_activity`, and wait for its result: see `ActivityHandle.result`."""
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
        `RPCError` INVALID_ARGUMENT for one that can't be understood; it says what can. ``rpc_timeout`` is taken for
        compatibility here.
        """
        return ActivityExecutionAsyncIterator(
            cast("Client", self), query or "", limit=limit, page_size=page_size, next_page_token=next_page_token
        )

    async def count_activities(
        self,
        query: str | None = None,
        *,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> ActivityExecutionCount:
        """How many there are of `list_activities`; the query may end with ``GROUP BY ExecutionStatus``."""
        counted = activity_executions.count(cast("Client", self), query or "")
        return await within(counted, rpc_timeout, "the number of activities")


def _call(
    client: Client, activity: Any, values: tuple[Any, ...], result_type: Any, options: ActivityOptions
) -> ActivityCall:
    definition = None if isinstance(activity, str) else ActivityDefinition.must_be(activity).named()
    names = (
        "schedule_to_close_timeout",
        "schedule_to_start_timeout",
        "start_to_close_timeout",
        "heartbeat_timeout",
        "retry_policy",
    )
    given: dict[str, Any] = {name: options.get(name) for name in names if options.get(name) is not None}
    if definition is not None:
        given = {name: value for name, value in definition.options.items() if name in names} | given
    if "start_to_close_timeout" not in given and "schedule_to_close_timeout" not in given:
        raise ValueError("Activity must have start_to_close_timeout or schedule_to_close_timeout")
    if definition is None:
        return activity_call(activity, client.data_converter.to_payloads(values), result_type, **given)
    return activity_call(
        definition.name,
        definition.signature.encode(client.data_converter, values, {}),
        result_type or definition.signature.return_hint,
        **given,
    )


def _request(client: Client, call: ActivityCall, id: str, task_queue: str, options: ActivityOptions) -> StartRequest:
    if not id or len(id) > ACTIVITY_ID_MAX:
        raise ValueError(f"an activity id has 1 to {ACTIVITY_ID_MAX} characters; this one has {len(id)}")
    if not task_queue:
        raise ValueError("task_queue can't be empty")
    named = (("an activity id", id), ("an activity type", call.activity_type), ("a task queue", task_queue))
    for what, name in named:
        if (why := unstorable(what, name, NAME_BYTES_MAX - len(PREFIX))) is not None:
            raise ValueError(why)
    delay = options.get("start_delay") or timedelta()
    if delay < timedelta():
        raise ValueError("start_delay can't be negative")
    asked = StandaloneActivity(
        activity_id=id,
        activity_type=call.activity_type,
        task_queue=task_queue,
        input=call.input,
        schedule_to_close_timeout_us=call.schedule_to_close_timeout_us,
        schedule_to_start_timeout_us=call.schedule_to_start_timeout_us,
        start_to_close_timeout_us=call.start_to_close_timeout_us,
        heartbeat_timeout_us=call.heartbeat_timeout_us,
        retry_policy=call.retry_policy,
    )
    summary = options.get("summary")
    line = None if summary is None else client.data_converter.to_payloads([summary])[0]
    reuse = options.get("id_reuse_policy") or ActivityIDReusePolicy.ALLOW_DUPLICATE
    return StartRequest(
        namespace=client.namespace,
        workflow_id=hidden(id),
        workflow_type=hidden(call.activity_type),
        task_queue=hidden(task_queue),
        input=client.data_converter.to_payloads([codec.encode(asked)]),
        request_id=options.get("request_id") or client.database.store.new_id(),
        identity=client.identity,
        search_attributes=given_search_attributes(options.get("search_attributes"), 2),
        priority=options.get("priority", Priority.default).to_history(),
        user_metadata=None if line is None else UserMetadata(summary=line),
        start_delay_us=delay // timedelta(microseconds=1),
        reuse_policy=IdReusePolicy(reuse),
        conflict_policy=IdConflictPolicy(options.get("id_conflict_policy", ActivityIDConflictPolicy.FAIL)),
    )


def _cause(ended: BaseException) -> BaseException:
    """What ended the activity, without the run around it."""
    if isinstance(ended, ActivityError) and ended.cause is not None:
        return ended.cause
    if isinstance(ended, CancelledError):
        return CancelledError("Activity cancelled", *ended.details)
    return ended


@contextmanager
def _of_activities() -> Generator[None]:
    """What is said of a run is said of its activity."""
    try:
        yield
    except (RPCError, ValueError) as error:
        text = str(error)
        if PREFIX not in text:
            raise
        text = text.replace(f"workflow '{PREFIX}", "activity '").replace(PREFIX, "").replace("workflow", "activity")
        raise (RPCError(text, error.status) if isinstance(error, RPCError) else ValueError(text)) from None
