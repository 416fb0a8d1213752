"""Pure: one run in memory. Events in, commands out; replaying history and doing it first are the same code.

`Run.activate` never raises for what user code does: the activation says what went wrong.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct, structs

from durable.activity import ActivityDefinition
from durable.context import ActivityCall, ChildCall, WorkflowContext, stepping
from durable.converter import ActivitySerializationContext, DataConverter
from durable.exceptions import CancelledError, FailureError, is_cancelled_exception
from durable.history import growth
from durable.history.commands import (
    AcceptUpdate,
    CancelWorkflowExecution,
    ClosingCommand,
    Command,
    CompleteUpdate,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    FailWorkflowExecution,
    RejectUpdate,
)
from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    ChildOutcomeEvent,
    HistoryEvent,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionUpdateAdmitted,
    WorkflowTaskStarted,
)
from durable.history.local_activities import NO_REQUESTS, LocalRequests, is_local
from durable.history.messages import ActivityOutcome, Query, QueryAnswer
from durable.history.values import Failure, Payload, UpdateRequest, UserMetadata, WorkflowExecution
from durable.worker import introspection
from durable.worker.called_activities import CalledActivities
from durable.worker.chain import chained
from durable.worker.contexts import Contexts
from durable.worker.encoding import in_context
from durable.worker.guard import profiled_stepping
from durable.worker.handling import HandlersAtWork, warn_unfinished
from durable.worker.lines import is_user_code, where
from durable.worker.local_activities import LocalActivities, LocalActivityFuture, LocalOutcome, marker_of, settle
from durable.worker.loop import WorkflowBeingEvicted, WorkflowLoop, WorkflowTimerHandle
from durable.worker.match import Asked
from durable.worker.messages import BUILT_IN, Handlers
from durable.worker.other_runs import ANSWERS, Answer, OtherRuns
from durable.worker.patches import Patch, PatchActivationInput, marker
from durable.worker.pending import ActivityFuture, Outcome, Timer
from durable.worker.pending_children import ChildFuture, RequestFuture
from durable.worker.restricted import NOTHING
from durable.worker.self_knowledge import SelfKnowledge
from durable.worker.suspicion import is_suspect
from durable.worker.timers import Timers
from durable.worker.watchdog import DeadlockError
from durable.workflow.activity_inputs import activity_input
from durable.workflow.calls import ActivityHandle
from durable.workflow.child_handles import ChildWorkflowHandle
from durable.workflow.continuing import Continued
from durable.workflow.definition import DynamicWorkflowConfig, WorkflowDefinition
from durable.workflow.errors import ReadOnlyContextError
from durable.workflow.handlers import HandlerDefinition, Kind
from durable.workflow.info import Info
from durable.workflow.interception import ExecuteWorkflowInput, WorkflowInboundInterceptor
from durable.workflow.standalone import DEFINITION as STANDALONE

logger = logging.getLogger("durable.worker")

Pending = ActivityFuture | Timer | ChildFuture | RequestFuture
"""What a command is the beginning of."""


class Moment(Struct, frozen=True, gc=False):
    """The workflow task that an activation belongs to: its time, the id of its WorkflowTaskStarted, what that says of
    the history before it, and whose code it ran on, or runs on now."""

    now_us: int
    started_event_id: int
    history_size_bytes: int = 0
    is_continue_as_new_suggested: bool = False
    build_id: str = ""

    @staticmethod
    def of(started: WorkflowTaskStarted, build_id: str) -> Moment:
        """Histories of old don't tell the size, nor what it suggests."""
        size = started.history_size_bytes
        suggested = started.suggest_continue_as_new or growth.suggests(started.id, size)
        return Moment(started.time_us, started.id, size, suggested, build_id)


class Activation(Struct, frozen=True):
    """What the code asks for; or, in ``error``, why the workflow task failed (then the run is spoilt).

    ``rejections`` are the updates that it takes no notice of, by their ids, and why. ``local`` is what it asks of local
    activities.
    """

    commands: list[Command]
    error: BaseException | None = None
    rejections: dict[str, Failure] = {}
    local: LocalRequests = NO_REQUESTS


class LogLine(Struct, frozen=True):
    """A record that workflow code logged, to be handed on when its step is committed."""

    logger: logging.Logger
    record: logging.LogRecord


class Environment(Struct, frozen=True, kw_only=True):
    """What runs share: how values are converted, which exceptions fail a workflow besides Temporal's, and the build of
    the worker's code.

    ``missing_activity`` says what is wrong with a local activity's name, if anything. ``interceptors`` stand between
    each run and its code, the first outermost, and have brought in ``extern_functions``. ``refused`` is what workflow
    code may not use, unless its definition says that it may use all.
    """

    namespace: str
    converter: DataConverter
    failure_exception_types: tuple[type[BaseException], ...] = ()
    build_id: str = ""
    missing_activity: Callable[[str], str | None] = lambda name: None
    activates_patch: Callable[[PatchActivationInput], bool] | None = None
    interceptors: Sequence[type[WorkflowInboundInterceptor]] = ()
    extern_functions: Mapping[str, Callable[..., Any]] = {}
    refused: frozenset[str] = NOTHING


class Run(WorkflowContext):
    """One run: its coroutines, and what they wait for.

    ``activate`` with the events of one workflow task, then ``bind`` with the events that answered its commands;
    so on to the end. With ``trace`` each command remembers the source line that asked for it (for mismatches).
    Raises `CodecError` when there is no converter for its values.
    """

    def __init__(
        self,
        definition: WorkflowDefinition,
        started: WorkflowExecutionStarted,
        run_id: str,
        environment: Environment,
        *,
        trace: bool = False,
    ) -> None:
        self.definition = definition
        self.run_id = run_id
        self.converter = environment.converter
        if environment.converter.wants_contexts:
            self.converter = in_context(self.converter, Contexts.of(environment.namespace, started).own)
        self.evicting = False
        self.replaying = False
        self.log_lines: list[LogLine] = []
        self.calls_after_commit: list[Callable[[], None]] = []
        self._started = started
        self._environment = environment
        self._failure_types = self._failures(definition.failure_exception_types)
        self._trace = trace
        self.refused = environment.refused if definition.sandboxed else NOTHING
        code: Any = definition.cls or definition.run
        self.stepping: type[stepping] = profiled_stepping if self.refused and is_suspect(code) else stepping
        seed = hashlib.blake2b(started.original_execution_run_id.encode(), digest_size=6).digest()
        self.loop = WorkflowLoop(
            self,
            seed=int.from_bytes(seed, "big"),
            time_us=started.time_us,
            before_task=lambda: self.must_write("create task"),
            before_cancel=self.before_cancel,
        )
        self.moment = Moment(started.time_us, 0)
        self.first_task_us = 0
        self._instance: Any = None
        self.handlers: Handlers | None = None
        self._main: asyncio.Task[None] | None = None
        self._random: random.Random | None = None
        self._read_only = False
        self._cancel_reason: str | None = None
        self._asked: list[tuple[Asked, Pending | None] | None] = []
        self.over: set[int] = set()  # what this activation's events end: nothing is asked of it any more
        self._closing = False
        self._error: BaseException | None = None
        self._refusal: BaseException | None = None
        self._known = SelfKnowledge(self, started, environment.namespace)
        self.activities = CalledActivities(self)
        self.others = OtherRuns(self)
        self.local = LocalActivities(self)
        self._timers = Timers(self)
        self._conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._at_work = HandlersAtWork(self)
        self._patches: dict[str, bool] = {}
        self._recorded_patches: Collection[str] = ()
        self._inbound: WorkflowInboundInterceptor | None = None
        self.extern_functions = environment.extern_functions

    # -- for whoever steps the run

    def activate(
        self,
        events: Sequence[HistoryEvent],
        moment: Moment,
        *,
        replaying: bool,
        updates: Sequence[UpdateRequest] = (),
        patches: Collection[str] = (),
        local: Sequence[ActivityOutcome] = (),
        recorded_local: Sequence[LocalOutcome] = (),
    ) -> Activation:
        """Let the code go on with these events until it waits again; Temporal's order: signals first, then the rest.

        ``updates`` are new ones; on a replay, those that were accepted. Outcomes of local activities come last, one by
        one: new ones (``local``), on a replay those that the task has recorded (``recorded_local``). If updates and
        these are all that there is, and the code takes note of none, nothing has happened. ``patches`` are those that
        the recorded task has asked for.
        """
        self.local.begin()
        told = recorded_local if replaying else self.local.heard(local, moment.now_us)
        self._recorded_patches = patches
        self._asked = []
        self._refusal = None
        self._at_work.rejections = {}
        judged = False
        if (updates or local) and not (events or told or replaying):
            updates, judged = self._at_work.without_rejected(updates)
            if not updates:
                return Activation([], None, self._at_work.rejections)
        self.moment = moment
        self.first_task_us = self.first_task_us or moment.now_us
        self.replaying = replaying
        self.over = {_answered(event) for event in events}
        with self.stepping(self):
            self.loop.set_time_us(moment.now_us)
            try:
                if self.handlers is None:
                    if self.definition.cls is None and not self._environment.interceptors:
                        self._create()
                    else:
                        with self.loop.entered():
                            self._create()
                signals = [event for event in events if isinstance(event, WorkflowExecutionSignaled)]
                for signal in signals:
                    self._at_work.signal(signal)
                admitted = [event for event in events if isinstance(event, WorkflowExecutionUpdateAdmitted)]
                for each in admitted:
                    self._at_work.update(each.request, judge=True, admitted=True)
                for update in updates:
                    self._at_work.update(update, judge=not replaying and not judged)
                    judged = False
                if signals or admitted or updates:
                    self._run_dry()
                for event in events:
                    apply = JOBS.get(type(event))
                    if apply is not None:
                        apply(self, event)
                self._run_dry()
                for outcome in told:
                    self._hear(outcome)
                self._ask_cancels()
                self._carry_over()
                if self._closing and not replaying:
                    warn_unfinished(self._at_work.handled)
            except BaseException as error:  # SystemExit in workflow code is no reason to stop the worker
                self.escaped(error)
        self._judge_refusal()
        commands = [entry[0].command for entry in self._asked if entry is not None]
        return Activation(commands, self._error, self._at_work.rejections, self.local.requests)

    def asked(self) -> list[Asked]:
        """The commands of the last activation, with the lines that asked for them."""
        return [entry[0] for entry in self._asked if entry is not None]

    def bind(self, events: Sequence[HistoryEvent]) -> None:
        """These events answered the commands of the last activation, one each, in order."""
        for entry, event in zip([entry for entry in self._asked if entry is not None], events, strict=True):
            pending = entry[1]
            if isinstance(pending, ActivityFuture) and isinstance(event, ActivityTaskScheduled):
                self.activities.bind(pending, event.id)
            elif isinstance(pending, Timer) and isinstance(event, TimerStarted):
                self._timers.bind(pending, event.id)
            elif isinstance(pending, ChildFuture | RequestFuture):
                self.others.bind(pending, event.id)
        self._asked = []

    def query(self, query: Query) -> QueryAnswer:
        """Answer a question; the run stays as it is."""
        try:
            with self.looking_only(), self.loop.entered():
                return QueryAnswer(result=self.converter.to_payloads([self._answer(query)]))
        except DeadlockError:
            raise
        except BaseException as error:  # SystemExit in a query is no reason to stop the worker
            return QueryAnswer(failure=self.converter.to_failure(error))

    def _answer(self, query: Query) -> Any:
        if self.handlers is None:
            raise RuntimeError(
                f"workflow {self._started.workflow_id!r} has not begun: no worker has done its first workflow task yet"
            )
        if self._inbound is None and query.name in BUILT_IN:
            return self.built_in(query.name)
        return self.handlers.query(query)

    def built_in(self, query: str) -> Any:
        """The answer to what every run may be asked."""
        match query:
            case "__stack_trace":
                return introspection.stack_trace(self.loop.unfinished_tasks())
            case "__enhanced_stack_trace":
                return introspection.enhanced_stack_trace(self.loop.unfinished_tasks())
            case _:
                assert self.handlers is not None
                return introspection.metadata(self._started.workflow_type, self.handlers, self.current_details)

    def evict(self) -> None:
        """Close the coroutines. Their ``finally`` blocks run, and what they ask for is ignored. Once is enough."""
        if not self.__dict__:
            return  # it was let go of
        self.evicting = True
        self.replaying = True
        with self.stepping(self):
            self.loop.close_quietly()

    def let_go(self) -> None:
        """After `evict`, when nobody asks it anything any more: what holds it in a circle goes at once, and need not be
        found by the garbage collector."""
        if self.loop.is_closed() and not self.loop.is_running():
            vars(self).clear()

    @property
    def contexts(self) -> Contexts:
        """Of what is converted for it."""
        return Contexts.of(self._environment.namespace, self._started)

    def context_of_activity(self, key: int) -> ActivitySerializationContext | None:
        """That of an activity by the id of its scheduled event, or the key of its local task; None: it is not waited
        for."""
        future = self.local.pending(-key) if is_local(key) else self.activities.pending(key)
        if future is None:
            return None
        call = future.call
        return self.contexts.activity(future.activity_id, call.activity_type, call.task_queue, local=is_local(key))

    def waits_at(self) -> str:
        """The source line where the workflow function waits; "" when it does not."""
        coroutine: Any = self._main.get_coro() if self._main is not None and not self._main.done() else None
        where = ""
        while coroutine is not None:
            frame = getattr(coroutine, "cr_frame", None)
            if frame is not None and is_user_code(frame.f_code.co_filename):
                where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            coroutine = getattr(coroutine, "cr_await", None)
        return where

    # -- what the code may ask for (WorkflowContext)

    def now_us(self) -> int:
        return self.moment.now_us

    def info(self) -> Info:
        return self._known.info()

    @property
    def task_queue(self) -> str:
        """Where what it asks for goes unless it says otherwise."""
        return self._started.task_queue

    def activity_converter(
        self, activity_type: str, activity_id: str | None, task_queue: str | None, *, local: bool = False
    ) -> DataConverter:
        if not self.converter.wants_contexts:
            return self.converter
        id = activity_id or str(self.activities.count + 1)
        return self._environment.converter.with_context(
            self.contexts.activity(id, activity_type, task_queue, local=local)
        )

    def workflow_converter(self, workflow_id: str) -> DataConverter:
        if not self.converter.wants_contexts:
            return self.converter
        return self._environment.converter.with_context(self.contexts.workflow(workflow_id))

    def converter_of(self, future: ActivityFuture) -> DataConverter:
        call, local = future.call, isinstance(future, LocalActivityFuture)
        return self.activity_converter(call.activity_type, future.activity_id, call.task_queue, local=local)

    def memo(self) -> Mapping[str, Payload]:
        return self._known.memo

    def upsert_memo(self, values: dict[str, Payload]) -> None:
        self._known.upsert_memo(values)

    def upsert_search_attributes(self, values: dict[str, Payload]) -> None:
        self._known.upsert_search_attributes(values)

    def last_completion_result(self) -> Sequence[Payload]:
        return self._started.last_completion_result

    def last_failure(self) -> Failure | None:
        return self._started.continued_failure

    def summarize_timer(self, summary: str | None) -> None:
        self._timers.summary = summary

    def instance(self) -> Any:
        return self._instance

    def is_replaying(self) -> bool:
        return self.replaying

    def is_read_only(self) -> bool:
        return self._read_only

    def cancellation_reason(self) -> str | None:
        return self._cancel_reason

    def is_failure(self, error: BaseException) -> bool:
        # A workflow may say of every BaseException that it fails it. These are none of its own.
        if isinstance(error, Continued | WorkflowBeingEvicted | GeneratorExit):
            return False
        return isinstance(error, self._failure_types)

    def random(self) -> random.Random:
        self.must_write("random")
        if self._random is None:
            self._random = random.Random(self.random_seed())
        return self._random

    def _failures(self, own: Sequence[type[BaseException]]) -> tuple[type[BaseException], ...]:
        return (FailureError, asyncio.TimeoutError, *self._environment.failure_exception_types, *own)

    def random_seed(self) -> int:
        # As random.seed makes a number of a text: this was the text before anybody could ask for the number.
        text = self._started.original_execution_run_id.encode()
        return int.from_bytes(text + hashlib.sha512(text).digest(), "big")

    def log(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        self.log_lines.append(LogLine(logger, record))

    def after_commit(self, call: Callable[[], None]) -> None:
        self.calls_after_commit.append(call)

    def get_handler(self, kind: Kind, name: str | None) -> Callable[..., Any] | None:
        return None if self.handlers is None else self.handlers.get(kind, name)

    def set_handler(self, kind: Kind, name: str | None, definition: HandlerDefinition | None) -> None:
        self.must_write(f"set {kind} handler")
        assert self.handlers is not None
        for signal in self.handlers.set(kind, name, definition):
            self._at_work.signal(signal)

    def all_handlers_finished(self) -> bool:
        return not self._at_work.handled

    async def receive(self, name: str, type_hint: Any) -> Any:
        self.must_write("receive")
        assert self.handlers is not None
        return await self.handlers.receive(name, type_hint)

    def patch(self, id: str, *, deprecated: bool) -> bool:
        known = self._patches.get(id)
        if known is None:
            self.must_write("patch")
            known = id in self._recorded_patches or (not self.replaying and (deprecated or self._activates(id)))
            self._patches[id] = known
            if known:
                self.ask(marker(Patch(id, deprecated)))
        return known

    def _activates(self, patch_id: str) -> bool:
        """Does the worker let this run have the patch? It is asked as a query is: nothing may be changed."""
        ask = self._environment.activates_patch
        if ask is None:
            return True
        before, self._read_only = self._read_only, True
        try:
            return ask(PatchActivationInput(self.info(), patch_id))
        finally:
            self._read_only = before

    def start_activity(self, call: ActivityCall) -> ActivityHandle[Any]:
        return self.activities.start(call)

    def start_local_activity(self, call: ActivityCall) -> ActivityHandle[Any]:
        self.must_write("schedule local activity")
        if (why := self._environment.missing_activity(call.activity_type)) is not None:
            raise ValueError(why)
        return self.activities.start_local(call)

    def call_activity(self, call: ActivityCall) -> Awaitable[Any]:
        return self.activities.called(self.activities.schedule(call))

    def intercept_call(
        self, definition: ActivityDefinition, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Awaitable[Any]:
        assert self.outbound is not None
        return _awaited(self.outbound.start_activity(activity_input(definition, args, kwargs, None, {}, is_call=True)))

    async def start_child(self, call: ChildCall) -> ChildWorkflowHandle[Any, Any]:
        return await self.others.start_child(call)

    async def signal_external(
        self, to: WorkflowExecution, name: str, input: list[Payload], header: dict[str, Payload], *, child_only: bool
    ) -> None:
        await self.others.signal(to, name, input, header, child_only=child_only)

    async def cancel_external(self, to: WorkflowExecution, reason: str) -> None:
        await self.others.cancel(to, reason)

    async def wait_condition(self, condition: Callable[[], bool], timeout: float | None) -> None:
        self.must_write("wait condition")
        future: asyncio.Future[None] = self.loop.create_future()
        entry = (condition, future)
        self._conditions.append(entry)
        try:
            if timeout is None:
                await future
            else:
                await asyncio.wait_for(future, timeout)
        finally:
            if entry in self._conditions:
                self._conditions.remove(entry)

    # -- the inside

    def _create(self) -> None:
        cls = self.definition.cls
        if cls is not None:
            # The handlers are there before the object is made: its constructor may set others.
            make: Any = cls.__new__
            self._instance = make(cls)
        self.handlers = Handlers(self.definition, self._instance, self.converter)
        if self._environment.interceptors and self.definition is not STANDALONE:
            self._inbound = self.handlers.inbound = chained(self, self._environment.interceptors)
        if self.definition.init_takes_arguments:
            args, kwargs = self.definition.arguments(self.converter, self._started.input)
            self._instance.__init__(*args, **kwargs)
        elif cls is not None:
            self._instance.__init__()
        if self.definition.config is not None:
            self._configure(self.definition.config)

    def _configure(self, config: Callable[[Any], DynamicWorkflowConfig]) -> None:
        """Ask a dynamic workflow for its settings; what goes wrong fails the workflow task, whatever it is."""
        self._read_only = True
        try:
            found = config(self._instance)
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._read_only = False
        if found.failure_exception_types is not None:
            self._failure_types = self._failures(found.failure_exception_types)

    def _run_dry(self) -> None:
        """Step until nothing is ready and no condition holds."""
        self.loop.run_until_dry(self._check_conditions)
        if self.loop.failures:
            self.escaped(self.loop.failures[0])

    def _check_conditions(self) -> None:
        for entry in [entry for entry in self._conditions if entry[0]()]:
            self._conditions.remove(entry)
            if not entry[1].done():
                entry[1].set_result(None)

    def ask(self, command: Command, pending: Pending | None = None) -> int:
        """Ask for a command; its place among those of this activation."""
        if self.evicting:
            return -1
        if self._closing:
            if isinstance(command, AcceptUpdate | RejectUpdate | CompleteUpdate):
                self._asked.insert(-1, (Asked(command, where() if self._trace else ""), None))
            return -1
        self._ask_cancels()
        self._asked.append((Asked(command, where() if self._trace else ""), pending))
        return len(self._asked) - 1

    def _ask_cancels(self) -> None:
        for command in self.activities.cancels():
            self.ask(command)

    def must_write(self, what: str) -> None:
        """Raises `ReadOnlyContextError` while nothing may change."""
        if self._read_only:
            raise ReadOnlyContextError(f"While in read-only function, action attempted: {what}")

    def decoded(self, result: list[Payload], future: ActivityFuture) -> Any:
        """The value of an activity's result."""
        return self.converted(result, future.call.result_type, self.converter_of(future))

    def converted(self, result: list[Payload], hint: Any, converter: DataConverter) -> Any:
        """The value of a result."""
        if not result:
            return None
        return converter.from_payloads(result, None if hint is None else [hint])[0]

    def before_cancel(self) -> None:
        """Whoever may only look cancels nothing: no replay would repeat it."""
        self.must_write("cancel")

    def summarized(self, summary: str | None) -> UserMetadata | None:
        return None if summary is None else UserMetadata(summary=self.converter.to_payloads([summary])[0])

    def take_back(self, index: int) -> None:
        """A command that was asked for in this activation, and is not to be sent."""
        if 0 <= index < len(self._asked):
            self._asked[index] = None

    # -- what its loop needs (LoopOwner)

    def start_timer(self, delay_us: int, handle: WorkflowTimerHandle) -> None:
        self._timers.start(delay_us, handle)

    def report(self, context: dict[str, Any]) -> None:
        if not self.replaying:
            logger.error(
                "workflow %s: %s", self._started.workflow_id, context.get("message"), exc_info=context.get("exception")
            )

    def cancel_timer(self, handle: WorkflowTimerHandle) -> None:
        self._timers.cancel(handle)

    async def _run_main(self) -> None:
        try:
            args, kwargs = self.definition.arguments(self.converter, self._started.input)
            definition = self.definition
            if self._inbound is None:
                first = () if definition.cls is None else (self._instance,)
                result = await definition.run(*first, *args, **kwargs)
            else:
                kind: Any = definition.cls or definition.run
                input = ExecuteWorkflowInput(kind, definition.run, args, self._started.header, kwargs=kwargs)
                result = await self._inbound.execute_workflow(input)
            self.end(CompleteWorkflowExecution(result=self.converter.to_payloads([result])))
        except (WorkflowBeingEvicted, GeneratorExit):
            raise
        except BaseException as error:
            self.escaped(error)

    def fail_task(self, error: BaseException) -> None:
        """It is no failure of the workflow's, but of its code: the first one counts."""
        self._error = self._error or error

    @contextmanager
    def looking_only(self) -> Generator[None]:
        """A block in which the code may change nothing. What it is refused there leaves the block, even if the code
        catches it: its answer is no answer, but it has done no harm."""
        before, self._read_only = (self._read_only, self._refusal), True
        self._refusal = None
        try:
            with self.stepping(self):  # of its own, so that a refusal does not end the watch over what comes after
                try:
                    yield
                except Exception as error:
                    raise self._refusal or error  # noqa: B904 - it is not the reason
                if self._refusal is not None:
                    raise self._refusal
        finally:
            self._read_only, self._refusal = before

    def note_refusal(self, error: BaseException) -> None:
        self._refusal = self._refusal or error

    def _judge_refusal(self) -> None:
        """A task in which the code was refused something is kept only if it fails the run, which may be for that: who
        catches the error may do on a replay something else, and what it has called since was not watched."""
        if self._refusal is None:
            return
        last = self._asked[-1] if self._asked else None
        fails = last is not None and isinstance(last[0].command, FailWorkflowExecution)
        if not (fails and self.is_failure(self._refusal)):
            self._error = self._refusal

    def escaped(self, error: BaseException) -> None:
        """An exception left the workflow or a handler: it ends the run, or else fails the workflow task."""
        if self.evicting:
            return
        if isinstance(error, Continued):
            self.end(error.command)
        elif self._cancel_reason is not None and is_cancelled_exception(error):
            self.end(CancelWorkflowExecution())
        elif isinstance(error, self._failure_types):
            self.end(FailWorkflowExecution(failure=self.converter.to_failure(error)))
        elif isinstance(error, asyncio.CancelledError):
            self.end(FailWorkflowExecution(failure=self.converter.to_failure(CancelledError("Cancelled"))))
        else:
            self.fail_task(error)

    def end(self, command: ClosingCommand) -> None:
        """The first that ends the run counts."""
        if self._closing:
            return
        self.ask(command)
        self._closing = True

    def _carry_over(self) -> None:
        """The next run gets the signals that this one's code has not taken."""
        last = self._asked[-1] if self._asked else None
        if last is not None and isinstance(command := last[0].command, ContinueAsNewWorkflowExecution):
            assert self.handlers is not None
            command = structs.replace(command, signals=self.handlers.untaken())
            self._asked[-1] = (Asked(command, last[0].where), last[1])

    def _on_started(self, event: WorkflowExecutionStarted) -> None:
        self._main = self.loop.create_task(self._run_main(), name="workflow")

    def _on_cancel_requested(self, event: WorkflowExecutionCancelRequested) -> None:
        self._cancel_reason = event.cause
        if self._main is not None:
            # The main task may not have begun; it shall, so that its code learns of the cancellation.
            self.loop.call_soon(self._main.cancel)

    def _on_timer_fired(self, event: TimerFired) -> None:
        self._timers.hear(event)

    def _on_other_run(self, event: Answer) -> None:
        self.others.hear(event)

    def _hear(self, outcome: LocalOutcome) -> None:
        """The code hears how a local activity ended, and goes on; in Temporal's histories its time does so too."""
        if self._closing or (future := self.local.take(outcome.seq)) is None:
            return
        if outcome.complete_us > self.moment.now_us:
            self.moment = structs.replace(self.moment, now_us=outcome.complete_us)
            self.loop.set_time_us(outcome.complete_us)
        self.ask(marker_of(future, outcome))
        settle(future, outcome)
        self._run_dry()

    def _on_activity(self, event: Outcome) -> None:
        self.activities.hear(event)


async def _awaited(handle: Awaitable[Any]) -> Any:
    return await handle


JOBS: dict[type[HistoryEvent], Callable[[Run, Any], None]] = {
    WorkflowExecutionStarted: Run._on_started,  # pyright: ignore[reportPrivateUsage]
    WorkflowExecutionCancelRequested: Run._on_cancel_requested,  # pyright: ignore[reportPrivateUsage]
    TimerFired: Run._on_timer_fired,  # pyright: ignore[reportPrivateUsage]
    ActivityTaskCompleted: Run._on_activity,  # pyright: ignore[reportPrivateUsage]
    ActivityTaskFailed: Run._on_activity,  # pyright: ignore[reportPrivateUsage]
    ActivityTaskTimedOut: Run._on_activity,  # pyright: ignore[reportPrivateUsage]
    ActivityTaskCanceled: Run._on_activity,  # pyright: ignore[reportPrivateUsage]
    **dict.fromkeys(ANSWERS, Run._on_other_run),  # pyright: ignore[reportPrivateUsage]
}


def _answered(event: HistoryEvent) -> int:
    """The event that began what this one ends: an activity, a timer or a child; 0 for other events."""
    match event:
        case TimerFired(started_event_id=begun):
            return begun
        case ActivityTaskCompleted() | ActivityTaskFailed() | ActivityTaskTimedOut() | ActivityTaskCanceled():
            return event.scheduled_event_id
        case ChildOutcomeEvent():
            return event.initiated_event_id
        case _:
            return 0
