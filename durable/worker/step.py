"""Pure: one step of one run on the workflow thread: rebuild it if need be, read its messages, run its code, answer."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct, structs

from durable.converter.failure import message_of, stack_of
from durable.history import codec, ending, rules, succession
from durable.history.beginning import StartRequest
from durable.history.commands import ClosingCommand, Command
from durable.history.errors import CorruptHistory, IllegalTransition
from durable.history.events import WorkflowExecutionStarted, WorkflowTaskStarted, successor_of
from durable.history.local_activities import NO_REQUESTS
from durable.history.messages import MessageKind, QueryAnswer
from durable.history.state import State, fold
from durable.history.steps import Incoming, Received, Step
from durable.history.transition import MESSAGES_PER_RUN, StoredMessage
from durable.history.values import ApplicationFailureInfo, Failure, TaskFailedCause
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


class WorkersDied(Exception):
    """The run's code is what its workers seem to die of."""


class Stepped(Struct, kw_only=True):
    """The step to commit (None: the history can't be read, nothing can be committed), and the run after it.

    ``rebuilt`` None: the run's copy is spoilt or could not be made. ``trouble`` is what a person should read about it.
    """

    step: Step | None
    rebuilt: Rebuilt | None
    log_lines: list[LogLine]
    trouble: str = ""
    again: bool = False
    """The trouble is that of a run that was parked already."""


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
        self._registry = registry
        self._environment = environment
        self._worker_id = worker_id
        self._now_us = now_us

    def step(self, job: Job) -> Stepped:
        """Never raises for what user code, a history or a message is like."""
        for copy in job.discard:
            copy.run.evict()
        if not job.run_id:
            return Stepped(step=None, rebuilt=None, log_lines=[])
        try:
            if job.start is not None:
                return self._first(job, job.start)
            return self._next(job)
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

    def _first(self, job: Job, start: StartRequest) -> Stepped:
        received = self._receive(job, State())
        definition = self._registry.workflow(job.workflow_type)
        assert definition is not None  # else the worker would not have taken it
        started = received.events[0]
        run = Run(definition, started, job.run_id, self._environment)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return self._go_on(job, received, Rebuilt(run, State(), []))

    def _next(self, job: Job) -> Stepped:
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
                rebuilt = rebuild(definition, job.run_id, events, self._environment)
                rebuilt = msgspec.structs.replace(rebuilt, history_bytes=_size(job.history))
            except NondeterminismError as mismatch:
                return self._parked(job, self._receive(job, fold(State(), events)), mismatch, None)
        received = self._receive(job, rebuilt.state, rebuilt.history_bytes)
        return self._go_on(job, received, rebuilt)

    def _go_on(self, job: Job, received: Received, rebuilt: Rebuilt) -> Stepped:
        run = rebuilt.run
        if ending.is_too_long(received):
            return self._ended(received, run)
        commands: list[Command] = []
        rejections: dict[str, Failure] = {}
        undelivered = [*rebuilt.undelivered, *received.events]
        local = NO_REQUESTS
        if received.task:
            started = received.task_events[-1]
            assert isinstance(started, WorkflowTaskStarted)
            moment = Moment.of(started, self._environment.build_id)
            activation = run.activate(
                undelivered, moment, replaying=False, updates=received.updates, local=received.local
            )
            if activation.error is not None:
                return self._parked(job, received, activation.error, run)
            commands, rejections, undelivered = activation.commands, activation.rejections, []
            local = activation.local
        continued = received.state.ended is not None and successor_of(received.state.ended) != ""
        answers = [(query.id, structs.replace(run.query(query), continued=continued)) for query in received.queries]
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
        return Stepped(step=step, rebuilt=Rebuilt(run, step.state, undelivered, size), log_lines=_taken(run))

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
    else:
        text, kind = f"{type(error).__name__}: {message_of(error)}", type(error).__name__
    return Failure(message=text, source="durable", stack_trace=stack, info=ApplicationFailureInfo(type=kind))


def _taken(run: Run) -> list[LogLine]:
    lines, run.log_lines = run.log_lines, []
    return lines
