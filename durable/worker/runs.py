"""Workflow tasks: find or rebuild runs, step them in batches on the workflow thread, commit, and act on the outcome.

With a payload codec a step comes in parts (see `step`): what it waits for is converted beside everything else, so that
one run's codec holds up no other's, and its next part goes into the next batch. The run is busy all the while.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from durable.history import attempts, codec, ending
from durable.history.beginning import StartRequest
from durable.history.database import Database
from durable.history.errands import Errand
from durable.history.errors import UnknownOutcome
from durable.history.messages import ActivityOutcome, Message
from durable.history.state import State
from durable.history.steps import Incoming
from durable.history.transition import (
    ActivityTask,
    ClaimedRun,
    Committed,
    Outcome,
    Refusal,
    Refused,
    Send,
    Transition,
)
from durable.history.values import RunStatus
from durable.worker.activities import Activities
from durable.worker.encoding import Conversion, Encoding
from durable.worker.rebuild import Rebuilt
from durable.worker.registry import Registry
from durable.worker.step import Job, Stepped, Stepping
from durable.worker.watchdog import Stepper

logger = logging.getLogger("durable.worker")

BATCH_MAX = 200
SHUN_FIRST = 1.0
SHUN_MAX = 600.0
FORGIVEN = 600.0
"""Seconds without trouble after which a run's next pause is the first one again."""
LEFT_MAX = 10.0
PAUSE = 0.5
LAST_CONVERSIONS = 2.0
"""Seconds that codecs get to end when their worker stops. What they have not done by then is left in the database."""


class _Entry:
    """A run that this worker holds: in memory (``rebuilt``), or about to be."""

    __slots__ = ("busy", "local", "rebuilt", "run_id", "waiting", "workflow_type")

    def __init__(self, run_id: str, workflow_type: str) -> None:
        self.run_id = run_id
        self.workflow_type = workflow_type
        self.rebuilt: Rebuilt | None = None
        self.local: list[Incoming] = []
        self.busy = False
        self.waiting = False


class _Work(msgspec.Struct):
    """A job on its way: stepped, then committed. ``answer`` is the starter who waits for the outcome."""

    entry: _Entry
    job: Job
    answer: asyncio.Future[Outcome] | None = None


class Runs:
    """The runs of one life of a worker. ``look_again`` asks the poller to claim at once."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        stepping: Stepping,
        stepper: Stepper[Job, Stepped | Conversion],
        encoding: Encoding,
        activities: Activities,
        *,
        worker_id: str,
        cached_max: int,
        namespace: str,
        look_again: Callable[[], None],
        run_errands: Callable[[str, State, Sequence[Errand]], None],
    ) -> None:
        self._database = database
        self._namespace = namespace
        self._run_errands = run_errands
        self._registry = registry
        self._stepping = stepping
        self._stepper = stepper
        self._encoding = encoding
        self._converting: dict[asyncio.Task[None], _Work] = {}
        self._stopping = False
        self._activities = activities
        self._worker_id = worker_id
        self._cached_max = cached_max
        self._look_again = look_again
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._ready: list[_Work] = []
        self._discarded: list[Rebuilt] = []
        self._wake = asyncio.Event()
        self._shunned: dict[str, tuple[float, float]] = {}  # the pause, and when it is over
        self._starters: set[asyncio.Future[Outcome]] = set()
        self._in_flight = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.cached: dict[str, int] = {}
        """The runs in memory and their last event ids, as a claim needs to know them."""
        self.busy: set[str] = set()
        """The runs that are being worked on: a claim leaves them alone."""

    # -- work comes in

    def take(self, claimed: Sequence[ClaimedRun], waiting: Sequence[str]) -> None:
        """Runs that were claimed, with their messages; ``waiting`` are those that have, or may have, more of them."""
        for each in claimed:
            self._take(each)
        for run_id in waiting:
            entry = self._entries.get(run_id)
            if run_id not in self.busy:
                self._look_again()  # its step has landed since the claim was made
            elif entry is not None:
                entry.waiting = True

    def _take(self, claimed: ClaimedRun) -> None:
        run = claimed.run
        entry = self._entries.get(run.run_id)
        if entry is not None and entry.busy:
            entry.waiting = True
            return
        if entry is None or entry.rebuilt is None or claimed.history is not None:
            if entry is not None:
                self._forget(entry)
            if claimed.history is None:
                self._look_again()  # evicted since the claim was made
                return
            entry = self._enter(run.run_id, run.workflow_type)
        job = Job(
            run_id=run.run_id,
            workflow_type=run.workflow_type,
            history=claimed.history,
            messages=claimed.messages,
            deaths=run.deaths,
        )
        self._make_ready(entry, job)

    def finished(self, task: ActivityTask, outcome: ActivityOutcome) -> None:
        """An activity of this worker is over: straight into its run's next step, or into the run's inbox."""
        now_us = self._database.store.now_us()
        entry = self._entries.get(task.run_id)
        incoming = Incoming(outcome, now_us, token=attempts.token(task), task=task)
        if entry is None or (entry.rebuilt is None and not entry.busy):
            self._send(task.run_id, incoming)
            return
        entry.local.append(incoming)
        if not entry.busy:
            self._make_ready(entry, Job(run_id=entry.run_id, workflow_type=entry.workflow_type))

    def answer(self, run_id: str, message: Message) -> None:
        """What became of an errand: straight into its run's next step, or into the run's inbox."""
        incoming = Incoming(message, self._database.store.now_us())
        entry = self._entries.get(run_id)
        if entry is None or (entry.rebuilt is None and not entry.busy):
            self._send(run_id, incoming)
            return
        entry.local.append(incoming)
        if not entry.busy:
            self._make_ready(entry, Job(run_id=run_id, workflow_type=entry.workflow_type))

    def takes(self, request: StartRequest) -> bool:
        """Can this start's first workflow task go into its own commit?"""
        return self._registry.workflow(request.workflow_type) is not None

    async def start(self, request: StartRequest, run_id: str) -> Outcome:
        """Run the first workflow task now, and commit it with the start."""
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        entry = self._enter(run_id, request.workflow_type)
        self._make_ready(entry, Job(run_id=run_id, workflow_type=request.workflow_type, start=request), answer)
        self._starters.add(answer)
        try:
            return await answer
        finally:
            self._starters.discard(answer)

    @property
    def is_quiet(self) -> bool:
        """Is nothing ready, being stepped or being committed?"""
        return self._quiet.is_set()

    def owns(self, run_id: str) -> bool:
        return run_id in self._entries

    # -- the loop

    async def work(self) -> None:
        """Step what is ready, all of it at once, while the rest gathers; for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._ready or self._discarded:
                await self._step_batch()

    async def stop(self) -> None:
        """Wait until everything that is on its way is committed or refused; for codecs, not for long."""
        self._stopping = True
        for task, work in self._converting.items():
            self._limit(task, work)
        await self._quiet.wait()

    async def evict_all(self) -> None:
        """Let go of all runs in memory. Whoever still waits for a start learns that nobody knows what became of it."""
        for task, work in self._converting.items():
            task.cancel()
            self._forget(work.entry, work.job.rebuilt)
        for answer in [each for each in self._starters if not each.done()]:
            answer.set_exception(UnknownOutcome("the worker that was to begin the run has ended: start it again"))
        for entry in list(self._entries.values()):
            self._forget(entry)
        while self._discarded:
            await self._step_batch()

    async def _step_batch(self) -> None:
        """All that is ready, up to a limit, in one hop to the workflow thread."""
        batch, self._ready = self._ready[:BATCH_MAX], self._ready[BATCH_MAX:]
        for work in batch:
            entry = work.entry
            if work.job.under_way is None:
                work.job.rebuilt = entry.rebuilt
                work.job.local, entry.local = entry.local, []
        jobs = [work.job for work in batch] or [Job(run_id="", workflow_type="")]
        jobs[0].discard, self._discarded = self._discarded, []
        results = await self._stepper.run(jobs)
        for work, stepped in zip(batch, results, strict=False):
            if isinstance(stepped, Conversion):
                self._convert(work, stepped)
            else:
                self._stepped(work, stepped)

    def _convert(self, work: _Work, conversion: Conversion) -> None:
        if self._entries.get(work.entry.run_id) is not work.entry:
            self._landed()  # an error has ended this life
            if work.job.rebuilt is not None:
                self._discarded.append(work.job.rebuilt)
            return
        task = asyncio.get_running_loop().create_task(self._converted(work, conversion), name="durable payload codec")
        self._converting[task] = work
        task.add_done_callback(self._converting.pop)
        if self._stopping:
            self._limit(task, work)

    async def _converted(self, work: _Work, conversion: Conversion) -> None:
        """The codec has done its part, or failed: the step goes on."""
        job = work.job
        try:
            job.converted = await self._encoding.convert(conversion, job.task_timeout_us / 1_000_000)
        except Exception as error:
            job.converted = error
        if self._entries.get(work.entry.run_id) is not work.entry:
            return  # given up, of which the codec has made an error of its own
        if conversion.reads or isinstance(job.converted, Exception):
            self._ready.append(work)
            self._wake.set()
            return
        stepped = self._stepping.step(job)
        if isinstance(stepped, Conversion):
            self._convert(work, stepped)
        else:
            self._stepped(work, stepped)

    def _limit(self, task: asyncio.Task[None], work: _Work) -> None:
        asyncio.get_running_loop().call_later(LAST_CONVERSIONS, self._give_up, task, work)

    def _give_up(self, task: asyncio.Task[None], work: _Work) -> None:
        """Its codec does not end: nothing has happened, and whoever takes the run over finds all of it."""
        if task.done():
            return
        task.cancel()
        entry = work.entry
        logger.warning(
            "the payload codec is not done with what workflow %s (run %s) reads or asks for, while the worker stops: "
            "the next one does it",
            entry.workflow_type,
            entry.run_id,
        )
        entry.busy = False
        self._forget(entry, work.job.rebuilt)
        for incoming in work.job.local:
            self._send(entry.run_id, incoming)
        self._landed()

    def _stepped(self, work: _Work, stepped: Stepped) -> None:
        """The code has run; now commit what it amounts to."""
        if stepped.trouble:
            logger.log(
                logging.DEBUG if stepped.again else logging.WARNING,
                "workflow task of %s (run %s) failed, and the run is parked: %s",
                work.entry.workflow_type,
                work.entry.run_id,
                stepped.trouble,
                extra={"__temporal_error_identifier": "WorkflowTaskFailure"},
            )
        if stepped.step is None:
            self._shun(work, work.job.rebuilt)
            if work.answer is not None and not work.answer.done():
                work.answer.set_exception(RuntimeError(stepped.trouble))
            self._landed()
            return
        transition = self._with_own_tasks(stepped.step.transition)

        def done(outcome: Outcome | Exception) -> None:
            self._committed(work, stepped, transition, outcome)

        try:
            self._database.submit(transition, done)
        except RuntimeError as error:  # the client was closed under the worker
            done(error)

    def _with_own_tasks(self, transition: Transition) -> Transition:
        """Activities that this worker can run itself are scheduled as claimed already."""
        if not transition.tasks:
            return transition
        tasks = tuple(self._activities.reserve(task) or task for task in transition.tasks)
        return msgspec.structs.replace(transition, tasks=tasks)

    def _committed(self, work: _Work, stepped: Stepped, transition: Transition, outcome: Outcome | Exception) -> None:
        own = [task for task in transition.tasks if task.owner is not None]
        for task in own:
            self._activities.release(task)
        if self._entries.get(work.entry.run_id) is not work.entry:
            pass  # an error has ended this life
        elif isinstance(outcome, Committed) and not outcome.existing:
            self._went_on(work, stepped, transition, own)
        else:
            self._refused(work, stepped, outcome)
        if work.answer is not None and not work.answer.done():
            if isinstance(outcome, Exception):
                work.answer.set_exception(outcome)
            else:
                work.answer.set_result(outcome)
        self._landed()

    def _went_on(self, work: _Work, stepped: Stepped, transition: Transition, own: Sequence[ActivityTask]) -> None:
        entry = work.entry
        assert stepped.step is not None
        for line in stepped.log_lines:
            line.logger.handle(line.record)
        for call in stepped.after_commit:
            try:
                call()
            except Exception:
                logger.exception("what run %s wanted done after its commit failed", entry.run_id)
        for token in transition.finished:
            self._activities.told(token)
        for task in own:
            self._activities.begin(task)
        for cancel in transition.cancelled_activities:
            self._activities.cancel_requested(entry.run_id, cancel.scheduled_event_id)
        state = stepped.step.state
        if stepped.step.errands:
            self._run_errands(entry.run_id, state, stepped.step.errands)
        self._warn_of_length(work, transition.last_event_id, state)
        entry.busy = False
        self.busy.discard(entry.run_id)
        self._shunned.pop(entry.run_id, None)
        entry.rebuilt = stepped.rebuilt
        if entry.waiting:
            entry.waiting = False
            self._look_again()
        if transition.status is not RunStatus.RUNNING:
            if len(transition.consumed) < len(work.job.messages):
                self._look_again()  # it was closed without its code, which may have been asked something
            local = stepped.rebuilt.run.local.task_keys if stepped.rebuilt is not None else []
            self._activities.cancel_run(entry.run_id, [*state.activities, *local])
            self._forget(entry)
        elif stepped.rebuilt is None:
            self._forget(entry)
        else:
            self.cached[entry.run_id] = state.last_event_id
            self._entries.move_to_end(entry.run_id)
            if entry.local:
                self._make_ready(entry, Job(run_id=entry.run_id, workflow_type=entry.workflow_type))
            self._evict_surplus()

    def _warn_of_length(self, work: _Work, before: int, state: State) -> None:
        """Once, when a history has become long."""
        if before < ending.HISTORY_EVENTS_WARNED <= state.last_event_id:
            logger.warning(
                "the history of workflow %r (%s, run %s) has %d events: let it continue as new (see "
                "workflow.info().is_continue_as_new_suggested()); at %d it is terminated",
                state.workflow_id,
                work.entry.workflow_type,
                work.entry.run_id,
                state.last_event_id,
                ending.HISTORY_EVENTS_MAX,
            )

    def _refused(self, work: _Work, stepped: Stepped, outcome: Outcome | Exception) -> None:
        """Drop the copy: what it has done since the last commit never happened. The store knows what is true."""
        entry = work.entry
        if isinstance(outcome, Refused) and outcome.reason is Refusal.INVALID:
            logger.error("step of run %s can't be stored: %s", entry.run_id, outcome.detail)
            self._shun(work, stepped.rebuilt)
            return
        if isinstance(outcome, Refused):
            logger.debug("step of run %s refused: %s %s", entry.run_id, outcome.reason.value, outcome.detail)
        elif isinstance(outcome, Exception):
            logger.warning("step of run %s did not land: %s", entry.run_id, outcome)
        if entry.rebuilt is None and stepped.rebuilt is not None:
            entry.rebuilt = stepped.rebuilt
        entry.busy = False
        self._forget(entry)
        for incoming in work.job.local:
            self._send(entry.run_id, incoming)
        if isinstance(outcome, Exception):
            asyncio.get_running_loop().call_later(PAUSE, self._look_again)
        elif not self._encoding.is_plain and isinstance(outcome, Refused) and outcome.reason is Refusal.FENCED:
            # Who has taken it over gets time for its codec: what is old may be stolen, and would be, back and forth.
            self._leave_alone(entry.run_id, LEFT_MAX)
        else:
            self._look_again()

    def _leave_alone(self, run_id: str, most: float) -> None:
        """For a while, which is longer each time in a row."""
        loop = asyncio.get_running_loop()
        before, _ = self._shunned.get(run_id, (SHUN_FIRST / 2, 0.0))
        pause = min(most, before * 2)
        shunned = self._shunned[run_id] = (pause, loop.time() + pause)
        self.busy.add(run_id)
        loop.call_later(pause, self._try_again, run_id)
        loop.call_later(pause + FORGIVEN, self._forgive, run_id, shunned)

    def _forgive(self, run_id: str, shunned: tuple[float, float]) -> None:
        """What has not been in trouble here since has gone on, perhaps elsewhere."""
        if self._shunned.get(run_id) == shunned:
            del self._shunned[run_id]

    def _shun(self, work: _Work, made: Rebuilt | None) -> None:
        """Nothing can be committed for this run; it is tried again, later and later, and harms no other."""
        entry = work.entry
        for incoming in work.job.local:
            self._send(entry.run_id, incoming)
        entry.busy = False
        self._forget(entry, made)
        self._leave_alone(entry.run_id, SHUN_MAX)

    def _try_again(self, run_id: str) -> None:
        self.busy.discard(run_id)
        self._look_again()

    def _landed(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._quiet.set()

    def _send(self, run_id: str, incoming: Incoming) -> None:
        """What could not join a step becomes a message."""
        if incoming.task is not None:
            assert isinstance(incoming.message, ActivityOutcome)
            self._activities.report(attempts.report(incoming.task, incoming.message, incoming.due_us))
            return
        # If this is lost, the run's own reminder has the errand run again.
        message = codec.pack(incoming.message, incoming.due_us)
        send = Send(namespace=self._namespace, workflow_id="", run_id=run_id, message=message)
        with suppress(RuntimeError):  # the client was closed under the worker
            self._database.submit(send, lambda _: None)

    # -- entries

    def _enter(self, run_id: str, workflow_type: str) -> _Entry:
        entry = self._entries[run_id] = _Entry(run_id, workflow_type)
        return entry

    def _make_ready(self, entry: _Entry, job: Job, answer: asyncio.Future[Outcome] | None = None) -> None:
        entry.busy = True
        self.busy.add(entry.run_id)
        self._in_flight += 1
        self._quiet.clear()
        self._ready.append(_Work(entry, job, answer))
        self._wake.set()

    def _evict_surplus(self) -> None:
        surplus = len(self._entries) - self._cached_max
        if surplus <= 0:
            return
        for entry in list(self._entries.values()):
            if not entry.busy and not entry.local:
                self._forget(entry)
                surplus -= 1
                if surplus <= 0:
                    return

    def _forget(self, entry: _Entry, made: Rebuilt | None = None) -> None:
        """Out of memory; the run stays owned, and is rebuilt from its history when a message comes.

        ``made`` is what a step that comes to nothing has made of it.
        """
        entry.rebuilt = entry.rebuilt or made
        self._entries.pop(entry.run_id, None)
        self.cached.pop(entry.run_id, None)
        self.busy.discard(entry.run_id)
        for incoming in entry.local:
            self._send(entry.run_id, incoming)
        entry.local = []
        if entry.rebuilt is not None:
            self._discarded.append(entry.rebuilt)
            entry.rebuilt = None
            self._wake.set()
