"""Pure: one step of one run on the workflow thread: rebuild it if need be, read its messages, run its code, answer.

State and rules work on what is stored. What the code is fed is read through the payload codec before, and what it asks
for is encoded after: a step is a generator, which hands out a `Conversion` each time, and has nothing to hand out
without a codec.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Sequence
from typing import Any

import msgspec
from msgspec import Struct, structs

from durable.converter.failure import message_of, stack_of
from durable.history import codec, ending, rules, succession
from durable.history.beginning import StartRequest
from durable.history.commands import ClosingCommand, Command, ModifyWorkflowProperties
from durable.history.errors import CorruptHistory, IllegalTransition
from durable.history.events import HistoryEvent, WorkflowExecutionStarted, WorkflowTaskStarted, successor_of
from durable.history.local_activities import NO_REQUESTS, LocalRequests
from durable.history.messages import ActivityOutcome, MessageKind, Query, QueryAnswer
from durable.history.state import State, fold, is_null
from durable.history.steps import Incoming, Received, Step
from durable.history.transition import MESSAGES_PER_RUN, StoredMessage
from durable.history.values import ApplicationFailureInfo, Failure, TaskFailedCause, UpdateRequest
from durable.worker.contexts import Contexts, Known
from durable.worker.encoding import Belonging, CodecError, Conversion, of_history
from durable.worker.rebuild import Rebuilt, rebuild
from durable.worker.registry import Registry
from durable.worker.replay import Environment, LogLine, Moment, Run
from durable.worker.watchdog import DeadlockError
from durable.workflow.errors import NondeterminismError

DIED = (
    "{} workers in a row died while they held this run, perhaps of its code (out of memory, a crash of native code, "
    "os._exit): see their logs, and `durable debug`. It is tried again, later and later; `durable terminate` ends it"
)


class Job(Struct, kw_only=True):
    """What to step: a cached run, one to rebuild from ``history``, or one to ``start``.

    ``messages`` are from the inbox; ``local`` are outcomes of activities of this process that never were there.
    ``deaths`` are those of its owners since it was stepped last.
    ``discard`` are copies of runs to close before (here, because their code belongs to the workflow thread); a job
    without a ``run_id`` does nothing else.
    ``under_way`` is its step, once that has handed out a conversion, and ``converted`` what came of it; ``rebuilt`` is
    then the run that it has made.
    """

    run_id: str
    workflow_type: str
    rebuilt: Rebuilt | None = None
    history: list[bytes] | None = None
    messages: Sequence[StoredMessage] = ()
    local: Sequence[Incoming] = ()
    start: StartRequest | None = None
    deaths: int = 0
    discard: Sequence[Rebuilt] = ()
    under_way: Steps | None = None
    converted: list[Any] | Exception | None = None
    task_timeout_us: int = 0
    """How long each conversion may take; known once one has been handed out."""


class WorkersDied(Exception):
    """The run's code is what its workers seem to die of."""


class Stepped(Struct, kw_only=True):
    """The step to commit (None: the history can't be read, nothing can be committed), and the run after it.

    ``rebuilt`` None: the run's copy is spoilt or could not be made. ``trouble`` is what a person should read about it.
    """

    step: Step | None
    rebuilt: Rebuilt | None
    log_lines: list[LogLine]
    after_commit: Sequence[Callable[[], None]] = ()
    trouble: str = ""
    again: bool = False
    """The trouble is that of a run that was parked already."""


Steps = Generator[Conversion, Any, Stepped]


class View(Struct, frozen=True):
    """What messages became, as the code has it. A question that can't be read is its `CodecError`."""

    events: Sequence[HistoryEvent]
    updates: Sequence[UpdateRequest]
    local: Sequence[ActivityOutcome]
    queries: Sequence[Query | CodecError]


class Stepping:
    """Steps jobs for one worker. ``now_us`` is the store's clock."""

    def __init__(
        self,
        registry: Registry,
        environment: Environment,
        worker_id: str,
        now_us: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._new_id = new_id
        self._is_plain = environment.converter.is_plain
        self._registry = registry
        self._environment = environment
        self._worker_id = worker_id
        self._now_us = now_us

    def step(self, job: Job) -> Stepped | Conversion:
        """The whole step; or with a codec, the next part of it: what is to be converted then, before the one after.

        Never raises for what user code, a history or a message is like. The part after an encoding that has succeeded
        is the last one, and runs no code of the user's.
        """
        for copy in job.discard:
            copy.run.evict()
            copy.run.let_go()
        job.discard = ()
        if not job.run_id:
            return Stepped(step=None, rebuilt=None, log_lines=[])
        converted, job.converted = job.converted, None
        try:
            if job.under_way is None:
                job.under_way = self._first(job, job.start) if job.start is not None else self._next(job)
            if isinstance(converted, Exception):
                return job.under_way.throw(converted)
            return job.under_way.send(converted)
        except StopIteration as end:
            stepped: Stepped = end.value
            return stepped
        except (CorruptHistory, IllegalTransition) as error:
            return Stepped(step=None, rebuilt=None, log_lines=[], trouble=f"run {job.run_id} can't be read: {error}")
        except DeadlockError:
            return self.stuck(job, "")
        except Exception:
            trouble = f"run {job.run_id} can't be stepped, which is a fault of the engine:\n{traceback.format_exc()}"
            return Stepped(step=None, rebuilt=None, log_lines=[], trouble=trouble)

    def stuck(self, job: Job, stack: str) -> Stepped:
        """The job did not yield: its workflow task failed. What it had done so far is forgotten."""
        error = RuntimeError(f"{deadlock_text()}\n{stack}".rstrip())
        if job.rebuilt is not None:
            job.rebuilt.run.evict()
        try:
            state = State() if job.start is not None else self._state(job)
            received = self._receive(job, state)
            return self._parked(job, received, error, None)
        except (CorruptHistory, IllegalTransition) as unreadable:
            return Stepped(
                step=None, rebuilt=None, log_lines=[], trouble=f"run {job.run_id} can't be read: {unreadable}"
            )

    def _first(self, job: Job, start: StartRequest) -> Steps:
        job.task_timeout_us = start.task_timeout_us
        received = self._receive(job, State())
        definition = self._registry.workflow(job.workflow_type)
        assert definition is not None  # else the worker would not have taken it
        try:
            view = _clear(received) if self._is_plain else (yield from self._view(received, None))
            started = view.events[0]
            run = Run(definition, started, job.run_id, self._environment)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        except CodecError as error:
            return self._parked(job, received, error, None)
        job.rebuilt = Rebuilt(run, State(), [])
        return (yield from self._go_on(job, received, job.rebuilt, view))

    def _next(self, job: Job) -> Steps:
        rebuilt = job.rebuilt
        if any(each.kind is MessageKind.RUN_TIMEOUT for each in job.messages):
            return self._timed_out(job, self._state(job))
        if rebuilt is None:
            events = codec.decode_history(job.history or [])
            definition = self._registry.workflow(job.workflow_type)
            if definition is None and succession.is_over((state := fold(State(), events)).started, self._now_us()):
                return self._timed_out(job, state)  # more is unread than a claim reads, and hides its RunTimeout
            if job.deaths and rules.is_left_alone(received := self._receive(job, fold(State(), events)), job.deaths):
                return self._parked(job, received, WorkersDied(DIED.format(rules.DEATHS_MAX)), None)
            if definition is None:
                error: Exception = LookupError(self._registry.missing_workflow(job.workflow_type))
                return self._parked(job, self._receive(job, fold(State(), events)), error, None)
            try:
                if self._is_plain:
                    rebuilt = rebuild(definition, job.run_id, events, self._environment)
                else:
                    state = fold(State(), events)
                    assert state.started is not None
                    job.task_timeout_us = state.task_timeout_us
                    read = yield of_history(Contexts.of(self._environment.namespace, state.started), events)
                    rebuilt = rebuild(definition, job.run_id, read, self._environment, state=state)
                rebuilt = job.rebuilt = msgspec.structs.replace(rebuilt, history_bytes=_size(job.history))
            except (NondeterminismError, CodecError) as error:
                return self._parked(job, self._receive(job, fold(State(), events)), error, None)
        received = self._receive(job, rebuilt.state, rebuilt.history_bytes)
        job.task_timeout_us = rebuilt.state.task_timeout_us
        try:
            view = _clear(received) if self._is_plain else (yield from self._view(received, rebuilt.run))
        except CodecError as error:
            return self._parked(job, received, error, rebuilt.run)
        return (yield from self._go_on(job, received, rebuilt, view))

    def _view(self, received: Received, run: Run | None) -> Generator[Conversion, Any, View]:
        """Raises `CodecError`."""
        events, updates, local, queries = received.events, received.updates, received.local, received.queries
        contexts = Contexts.of(self._environment.namespace, _started(received))
        known: Known = _nobody if run is None else run.context_of_activity
        values: list[Belonging] = [(contexts.of_event(event, known), event) for event in events]
        values += [(contexts.own, update) for update in updates]
        values += [(known(outcome.scheduled_event_id), outcome) for outcome in local]
        read: list[Any] = (yield Conversion(values, reads=True)) if values else []
        at, then = len(events), len(events) + len(updates)
        asked: list[Any] = []
        if queries:
            asked = yield Conversion([(contexts.own, query) for query in queries], reads=True, apart=True)
        return View(read[:at], read[at:then], read[then:], asked)

    def _go_on(self, job: Job, received: Received, rebuilt: Rebuilt, view: View) -> Steps:
        run = rebuilt.run
        if ending.is_too_long(received):
            return self._ended(received, run)
        commands: list[Command] = []
        rejections: dict[str, Failure] = {}
        undelivered = [*rebuilt.undelivered, *view.events]
        local = NO_REQUESTS
        if received.task:
            started = received.task_events[-1]
            assert isinstance(started, WorkflowTaskStarted)
            moment = Moment.of(started, self._environment.build_id)
            activation = run.activate(undelivered, moment, replaying=False, updates=view.updates, local=view.local)
            if activation.error is not None:
                return self._parked(job, received, activation.error, run)
            commands, rejections, undelivered = activation.commands, activation.rejections, []
            local = activation.local
        answers = [(query.id, _answer(run, asked)) for query, asked in zip(received.queries, view.queries, strict=True)]
        if not self._is_plain:
            try:
                commands, rejections, local = yield from _stored(run.contexts, commands, rejections, local)
                answers = yield from _stored_answers(run.contexts, answers)
            except CodecError as error:
                return self._parked(job, received, error, run)
        if answers and received.state.ended is not None and successor_of(received.state.ended) != "":
            answers = [(id, structs.replace(answer, continued=True)) for id, answer in answers]
        closing = commands[-1] if commands and isinstance(commands[-1], ClosingCommand) else None
        continues = closing is not None and succession.may_be_followed(_started(received), closing)
        step = rules.complete(
            received,
            commands,
            self._now_us(),
            answers,
            start=job.start,
            rejections=rejections,
            successor_id=self._new_id() if continues else "",
            build_id=self._environment.build_id,
            local=local,
        )
        run.bind(step.command_events)
        size = rebuilt.history_bytes + (len(step.transition.events.data) if step.transition.events else 0)
        after_commit, run.calls_after_commit = run.calls_after_commit, []
        rebuilt = Rebuilt(run, step.state, undelivered, size)
        return Stepped(step=step, rebuilt=rebuilt, log_lines=_taken(run), after_commit=after_commit)

    def _timed_out(self, job: Job, state: State) -> Stepped:
        """The run has had its time: no code is needed to end it."""
        if job.rebuilt is not None:
            job.rebuilt.run.evict()
        whole = len(job.messages) < MESSAGES_PER_RUN
        step = ending.time_out(
            state, job.run_id, self._worker_id, _incoming(job), self._now_us(), self._new_id(), whole=whole
        )
        return Stepped(step=step, rebuilt=None, log_lines=[])

    def _ended(self, received: Received, run: Run | None) -> Stepped:
        """The history is as long as it may be: the code is not run any more."""
        if run is not None:
            run.evict()
        return Stepped(step=ending.terminate_too_long(received, self._now_us()), rebuilt=None, log_lines=[])

    def _parked(self, job: Job, received: Received, error: BaseException, run: Run | None) -> Stepped:
        """The code can't run on these events: its task failed; questions are answered with the reason."""
        if ending.is_too_long(received):
            return self._ended(received, run)
        failure = _failure(error)
        cause = TaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE
        if isinstance(error, NondeterminismError):
            cause = TaskFailedCause.NON_DETERMINISTIC_ERROR
        answers = [(query.id, QueryAnswer(failure=failure)) for query in received.queries]
        kills = isinstance(error, WorkersDied)
        step = rules.park(received, failure, cause, self._now_us(), answers, start=job.start, kills=kills)
        log_lines: list[LogLine] = []
        if run is not None:
            log_lines = _taken(run)
            run.evict()
        trouble = failure.message if received.task else ""
        again = received.state.task_failed
        return Stepped(step=step, rebuilt=None, log_lines=log_lines, trouble=trouble, again=again)

    def _state(self, job: Job) -> State:
        if job.rebuilt is not None:
            return job.rebuilt.state
        return fold(State(), codec.decode_history(job.history or []))

    def _receive(self, job: Job, state: State, history_bytes: int | None = None) -> Received:
        if job.start is not None:
            return rules.receive_start(job.start, job.run_id, self._worker_id, self._now_us())
        size = _size(job.history) if history_bytes is None else history_bytes
        return rules.receive(
            state, job.run_id, self._worker_id, [*_incoming(job), *job.local], self._now_us(), history_bytes=size
        )


def _clear(received: Received) -> View:
    return View(received.events, received.updates, received.local, received.queries)


def _nobody(_key: int) -> None:
    """A run that begins has no activities."""


def _answer(run: Run, asked: Query | CodecError) -> QueryAnswer:
    return QueryAnswer(failure=_failure(asked)) if isinstance(asked, CodecError) else run.query(asked)


def _stored(
    contexts: Contexts, commands: list[Command], rejections: dict[str, Failure], local: LocalRequests
) -> Generator[Conversion, Any, tuple[list[Command], dict[str, Failure], LocalRequests]]:
    """What the code asks for, as it is to be stored. Raises `CodecError`."""
    values: list[Belonging] = [(contexts.of_command(command), _without_nulls(command)) for command in commands]
    values += [(contexts.own, failure) for failure in rejections.values()]
    values += [(contexts.activity(each.activity_id, each.activity_type, local=True), each) for each in local.schedules]
    if not values:
        return commands, rejections, local
    stored = yield Conversion(values, reads=False)
    at, then = len(commands), len(commands) + len(rejections)
    return (
        [_with_nulls(*each) for each in zip(commands, stored[:at], strict=True)],
        dict(zip(rejections, stored[at:then], strict=True)),
        structs.replace(local, schedules=stored[then:]) if local.schedules else local,
    )


def _without_nulls(command: Command) -> Command:
    """What takes a value out of the memo says so in the clear, to whoever keeps the memo."""
    if isinstance(command, ModifyWorkflowProperties):
        kept = {key: value for key, value in command.upserted_memo.items() if not is_null(value)}
        return ModifyWorkflowProperties(upserted_memo=kept)
    return command


def _with_nulls(command: Command, stored: Command) -> Command:
    if isinstance(command, ModifyWorkflowProperties) and isinstance(stored, ModifyWorkflowProperties):
        return ModifyWorkflowProperties(upserted_memo=command.upserted_memo | stored.upserted_memo)
    return stored


def _stored_answers(
    contexts: Contexts, answers: list[tuple[str, QueryAnswer]]
) -> Generator[Conversion, Any, list[tuple[str, QueryAnswer]]]:
    """An answer that can't be encoded is a failure that says so."""
    if not answers:
        return answers
    stored = yield Conversion([(contexts.own, answer) for _, answer in answers], reads=False, apart=True)
    return [
        (id, QueryAnswer(failure=_failure(answer)) if isinstance(answer, CodecError) else answer)
        for (id, _), answer in zip(answers, stored, strict=True)
    ]


def _started(received: Received) -> WorkflowExecutionStarted:
    assert received.after.started is not None
    return received.after.started


def _incoming(job: Job) -> list[Incoming]:
    return [Incoming(codec.decode_message(each.body), each.due_us, each.id) for each in job.messages]


def _size(history: Sequence[bytes] | None) -> int:
    return sum(map(len, history or ()))


def deadlock_text(seconds: float = 2) -> str:
    """What the deadlock detector says; Temporal's words, which programs look for."""
    return f"[TMPRL1101] Potential deadlock detected: workflow didn't yield within {seconds:g} second(s)."


def _failure(error: BaseException) -> Failure:
    """Why a workflow task failed, for the history and for ``parked``."""
    stack = stack_of(error.__traceback__)
    if isinstance(error, NondeterminismError):
        text, kind, stack = error.message, type(error).__name__, ""
    elif isinstance(error, DeadlockError):
        text, kind = deadlock_text(), "DeadlockError"
    elif isinstance(error, CodecError):
        text, kind = message_of(error), "CodecError"
    else:
        text, kind = f"{type(error).__name__}: {message_of(error)}", type(error).__name__
    return Failure(message=text, source="durable", stack_trace=stack, info=ApplicationFailureInfo(type=kind))


def _taken(run: Run) -> list[LogLine]:
    lines, run.log_lines = run.log_lines, []
    return lines
