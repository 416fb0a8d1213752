"""One simulated world: processes on one SQLite file, what goes wrong with them, and a client that wants its results.

A seed decides everything. `simulate` raises `Broken`, which names the seed and the way to see it again.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import random
import re
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, TypeVar
from unittest.mock import patch

import msgspec

from durable import Client, Worker
from durable.client import WorkflowHandle, WorkflowQueryFailedError, WorkflowUpdateFailedError
from durable.converter import DataConverter, failure
from durable.exceptions import ApplicationError
from durable.history.database import Database
from durable.history.errors import HistoryError
from durable.history.events import (
    ClosingEvent,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    successor_of,
)
from durable.service import RPCError, RPCStatusCode
from durable.worker.rebuild import rebuild
from durable.worker.replay import Environment, Run
from durable.workflow.definition import WorkflowDefinition
from tests.simulation.clock import Clock
from tests.simulation.grammar import (
    ACTIVITIES,
    CONTAINERS,
    Interpreter,
    Step,
    at_most_once_keys,
    expected,
    fits,
    is_rejected,
)
from tests.simulation.host import SimHost
from tests.simulation.invariants import Violation, Watcher
from tests.simulation.plan import Assignment, Plan
from tests.simulation.scheduler import Scheduler, SimLoop, Stuck
from tests.simulation.sealing import SEALING, opened
from tests.simulation.store import Ground, SimStore, cleared_ground, spoil_ground

T = TypeVar("T")

CLIENT = 1
FIRST_REPLACEMENT = 100
"""So that a process keeps its number whatever is left out of the plan."""
LEASE_S = 1.0
STEAL_AFTER_US = 2_500_000
AFTERMATH_US = 90_000_000
"""By then, after the last fault, everything must be over."""
STOPPING_US = 30_000_000
AGAIN_AFTER_S = 0.05
WATCH_INTERVAL_S = 0.2
"""A look 40 times a second would be half of all that happens, and show nothing more."""
INTERPRETER = WorkflowDefinition.must_be(Interpreter)
BRACKETED = re.compile(r"\([^()[\]{}]*\)|\[[^()[\]{}]*\]|\{[^()[\]{}]*\}")
NUMBERED = re.compile(r"\w*\d[\w.-]*")
IN_A_ROW = re.compile(r"#(, #)+")


class Broken(AssertionError):
    """What a plan has found. ``kind`` is what it violates, without ids and numbers; so many faults ``struck``."""

    def __init__(self, text: str, plan: Plan, kind: str, struck: int) -> None:
        super().__init__(text)
        self.plan = plan
        self.kind = kind
        self.struck = struck


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a seed. ``digest`` is of every row of every table."""

    seed: int
    digest: str
    rows: list[tuple[Any, ...]]
    steps: int
    commits: int
    virtual_s: float
    happened: dict[str, int]
    """How often what was noted; a kind of fault, as ``fault: crash``."""
    log: list[str]


def simulate(plan: Plan | int) -> Report:
    """Live through a plan, or that of a seed; raises `Broken` when something does not hold."""
    plan = Plan.of(plan) if isinstance(plan, int) else plan
    world = World(plan, cleared_ground())
    with _hearing(world.complain_of_log), _uncollected(), _without_stacks():
        try:
            return world.live()
        except Exception as error:
            spoil_ground()
            where = "" if isinstance(error, Violation) else "".join(traceback.format_exception(error))
            what = f"{type(error).__name__}: {error}"
            text = f"{where}{world.tail()}\nseed {plan.seed}: {what}\nTo see it again: {plan.command}"
            raise Broken(text, plan, masked(what), world.struck) from error
        finally:
            world.close()


def lived(plan: Plan | int) -> Report | Broken:
    """As `simulate`, but what breaks is an answer like any other."""
    try:
        return simulate(plan)
    except Broken as broken:
        return broken


def _without_stacks() -> AbstractContextManager[object]:
    """A stack names files of this machine and lines of this Python; a seed is one history on all."""
    return patch.object(failure, "stack_of", lambda _: "")


class _Ear(logging.Handler):
    def __init__(self, told: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told(record.getMessage())


@contextmanager
def _hearing(told: Callable[[str], None]) -> Iterator[None]:
    """The engine warns of what goes wrong around it, which is not heard here; an error it logs is its own."""
    ear, engine = _Ear(told), logging.getLogger("durable")
    logging.disable(logging.WARNING)
    engine.addHandler(ear)
    try:
        yield
    finally:
        engine.removeHandler(ear)
        logging.disable(logging.NOTSET)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Garbage waits until the world is over: what its collection sets off would come at another time elsewhere."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def masked(text: str) -> str:
    """A message without what differs from one run of the same mistake to the next."""
    found = 1
    while found:
        text, found = BRACKETED.subn("", text)
    return " ".join(IN_A_ROW.sub("#", NUMBERED.sub("#", text)).split())


class Errand(Assignment, kw_only=True):
    """An assignment, and how far the client has got with it: on paper, so that it survives a crash."""

    done: int = 0
    run_id: str = ""
    signals_told: int = 0
    over: bool = False
    cancel_asked: bool = False
    terminate_asked: bool = False

    def request_id(self, number: int) -> str:
        return f"{self.workflow_id}-signal-{number}"


class Process(SimHost):
    """A simulated process: a client, and a worker if it has ``work``; the errands are run by the one that is to."""

    def __init__(self, world: World, name: str, seed: int, *, work: bool, errands: bool) -> None:
        super().__init__(world, name, seed)
        self._world = world
        self._work = work
        self._errands = errands
        self._asked_to_stop = asyncio.Event()
        self.gap_s = 0.0
        self.store = SimStore(world.ground, self, steal_after_us=STEAL_AFTER_US)
        self.has_errands = errands
        self.works = work
        self.task = self.main.create_task(self._live())

    def stop(self) -> None:
        """A graceful end."""
        self.main.call_soon(self._asked_to_stop.set)

    def kill(self) -> None:
        """Everything stops; the operating system closes the process's files, and so drops its locks."""
        self.die()
        self.store._close()

    def posthumous(self, work: Callable[[], object]) -> None:
        self.store.posthumous(work)

    async def _live(self) -> None:
        database = await Database(self.store, self, watch_interval=WATCH_INTERVAL_S).open()
        try:
            converter = SEALING if self._world.plan.codec else DataConverter.default
            client = Client(database, identity=self.name, data_converter=converter)
            if not self._work:
                await self._run_errands(client)
                return
            worker = Worker(
                client,
                workflows=[Interpreter],
                activities=ACTIVITIES,
                identity=self.name,
                lease=timedelta(seconds=LEASE_S),
                debug_mode=True,
                max_cached_workflows=self._world.plan.cached_max,
                max_concurrent_activities=self._world.plan.slots,
                graceful_shutdown_timeout=timedelta(seconds=self._world.plan.grace_s),
            )
            async with worker:
                await self._run_errands(client)
        finally:
            await database.close()

    async def _run_errands(self, client: Client) -> None:
        if not self._errands:
            await self._asked_to_stop.wait()
            return
        runners = [asyncio.ensure_future(self._run(client, errand)) for errand in self._world.errands]
        for runner in runners:
            await runner
        await self._asked_to_stop.wait()

    async def _run(self, client: Client, errand: Errand) -> None:
        """Do what is left of one errand; whatever was not acknowledged is asked for again."""
        if errand.over:
            return
        handle: WorkflowHandle[Any, Any] = await self._until_told(
            lambda: client.start_workflow(
                Interpreter.run,
                args=[errand.program.steps, errand.program.ending],
                id=errand.workflow_id,
                request_id=f"{errand.workflow_id}-start",
                run_timeout=timedelta(milliseconds=errand.limit_ms),
            )
        )
        assert handle.result_run_id is not None
        errand.run_id = handle.result_run_id
        self._world.watcher.acknowledge_start(errand.workflow_id, errand.run_id, f"{errand.workflow_id}-start")
        while errand.done < len(errand.tasks):
            await self._do(handle, errand, errand.tasks[errand.done])
            errand.done += 1
        await self._until_over(client, errand.run_id)
        await self._query(handle, errand)
        errand.over = True

    async def _until_over(self, client: Client, run_id: str) -> None:
        following = run_id
        while following:
            run_id = following
            following = successor_of(await self._until_told(lambda: client.database.closing_event(run_id)))  # noqa: B023

    async def _do(self, handle: WorkflowHandle[Any, Any], errand: Errand, task: tuple[Any, ...]) -> None:
        match task:
            case ("pause", seconds):
                await asyncio.sleep(seconds)
            case ("signal", number):
                await self._signal(handle, errand, number)
            case ("update", number):
                await self._update(handle, errand, number)
            case ("query",):
                await self._query(handle, errand)
            case ("look",):
                await self._until_told(handle.describe)
                history = await self._until_told(handle.fetch_history)
                self._world.watcher.history_fetched(errand.run_id, list(history.events))
            case ("cancel",):
                errand.cancel_asked = True
                await self._until_told(lambda: handle.cancel(reason="enough"))
            case ("terminate",):
                errand.terminate_asked = True
                await self._unless_closed(lambda: handle.terminate(reason="at once"))
            case _:
                raise ValueError(f"no such task: {task}")

    async def _signal(self, handle: WorkflowHandle[Any, Any], errand: Errand, number: int) -> None:
        request_id = errand.request_id(number)
        sent = self._world.watcher.signals_sent.setdefault(errand.workflow_id, [])
        if request_id not in sent:
            sent.append(request_id)
        if await self._unless_closed(lambda: handle.signal(Interpreter.put, number, request_id=request_id)):
            errand.signals_told = number + 1
            self._world.watcher.acknowledge(errand.run_id, request_id)

    async def _update(self, handle: WorkflowHandle[Any, Any], errand: Errand, number: int) -> None:
        """It is waited for to its end; sent again with its id when there was no answer."""
        update_id, watcher = f"{errand.workflow_id}-update-{number}", self._world.watcher
        try:
            result = await self._until_told(lambda: handle.execute_update(Interpreter.change, number, id=update_id))
        except WorkflowUpdateFailedError as failed:
            why = failed.cause.type if isinstance(failed.cause, ApplicationError) else None
            watcher.update_failed(errand.run_id, update_id, why, is_rejected(number))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            watcher.update_unread(errand.run_id, update_id)
        else:
            watcher.update_answered(errand.run_id, update_id, result == 2 * number and not is_rejected(number))

    async def _query(self, handle: WorkflowHandle[Any, Any], errand: Errand) -> None:
        while True:
            told, calm = errand.signals_told, self._world.calm and self.has_right_time
            try:
                read = await self._until_told(lambda: handle.query(Interpreter.read))
            except RPCError as error:
                # While things go wrong, a question may go unanswered, or seem to be an old one; afterwards not.
                if calm or error.status is not RPCStatusCode.DEADLINE_EXCEEDED:
                    raise
                self._world.note("unanswered query")
                continue
            except WorkflowQueryFailedError as error:
                if "has not begun" in str(error) and self._world.watcher.has_not_begun(errand.run_id):
                    return
                # So many workers have died with the run that it is taken for what kills them, and tried again later.
                if not str(error).startswith("WorkersDied"):
                    raise
                self._world.note("query to a run whose workers died")
                await asyncio.sleep(AGAIN_AFTER_S)
                continue
            self._world.watcher.query_answered(errand.run_id, read, told)
            return

    async def _unless_closed(self, ask: Callable[[], Awaitable[None]]) -> bool:
        try:
            await self._until_told(ask)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def _until_told(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer, as a program would whose database fails now and then."""
        while True:
            try:
                return await ask()
            except HistoryError:
                self._world.note("client asks again")
                await asyncio.sleep(AGAIN_AFTER_S)


class World:
    """Everything there is in one simulation. Implements `tests.simulation.host.Overseer`."""

    def __init__(self, plan: Plan, ground: Ground) -> None:
        self.plan = plan
        self.ground = ground
        self.chance = random.Random(f"faults {plan.seed}")
        self.scheduler = Scheduler(random.Random(f"order {plan.seed}"))
        self.clock = Clock(self.scheduler)
        self.network = SimLoop(self.scheduler, self._set_trouble_text)  # type: ignore[abstract]
        self.watcher = Watcher(ground.db, lambda: self.clock.highest_us)
        self.happened: Counter[str] = Counter()
        self.log: list[str] = []
        self.struck = 0
        """How many faults have happened, those included that the plan leaves out."""
        self.calm = self._ending = False
        self.errands = [Errand(**msgspec.structs.asdict(assignment)) for assignment in plan.assignments]
        self._begun: Counter[tuple[str, int]] = Counter()
        self._ended: set[tuple[str, int]] = set()
        self._trouble: Exception | None = None
        self._processes: list[Process] = []
        self._runs: dict[int, Run] = {}
        self._outside = SimLoop(self.scheduler, self._set_trouble_text)  # type: ignore[abstract]
        self._chances: dict[str, float] = msgspec.structs.asdict(plan.faults)
        self._left_out = {int(name) for name in plan.without if name.isdecimal()}
        self._next_process = FIRST_REPLACEMENT

    # A life. ---------------------------------------------------------------------------------------------------------

    def live(self) -> Report:
        """From the first process to the last row."""
        faulty_us = self.plan.faulty_us
        self._spawn(CLIENT, work=self.plan.client_works, errands=True)
        for number in self.plan.workers:
            self._spawn(number, work=True, errands=False)
        self._run(lambda: self.scheduler.now_us >= faulty_us or self._all_over(), faulty_us)
        self._calm_down()
        try:
            self._run(self._all_over, self.scheduler.now_us + AFTERMATH_US)
        except Stuck as error:
            open_errands = [errand.workflow_id for errand in self.errands if not errand.over]
            raise Violation(f"{', '.join(open_errands)} did not get to the end: {error}") from error
        self._ending = True
        for process in self._living():
            process.stop()
        self._run(lambda: not self._living(), self.scheduler.now_us + STOPPING_US)
        self._check_end()
        rows = self.watcher.rows()
        return Report(
            seed=self.plan.seed,
            digest=hashlib.sha256(repr(rows).encode()).hexdigest(),
            rows=rows,
            steps=self.scheduler.steps,
            commits=self.watcher.looks,
            virtual_s=self.scheduler.now_us / 1e6,
            happened=dict(self.happened),
            log=self.log,
        )

    def close(self) -> None:
        for process in self._processes:
            if not process.dead:
                process.kill()
            process.bury()
        for run in self._runs.values():
            run.evict()

    def tail(self) -> str:
        """What happened last, what was to be done, and where the errands are that are not over."""
        lines = [*self.log[-40:], *self.plan.lines()]
        for errand in self.errands:
            if not errand.over:
                lines.append(f"{errand.workflow_id}, run {errand.run_id}, left to do: {errand.tasks[errand.done :]}")
                lines += self.watcher.about(errand.run_id)
        return "\n".join(lines)

    def note(self, what: str, detail: str = "") -> None:
        self.happened[what] += 1
        self.log.append(f"{self.scheduler.now_us / 1e6:10.6f} {what} {detail}".rstrip())

    def _run(self, over: Callable[[], bool], until_us: int) -> None:
        def over_or_broken() -> bool:
            if self._trouble is not None:
                raise self._trouble
            return over()

        # A limit that is part of the plan is no trouble: `over` knows it too.
        self.scheduler.run(over_or_broken, until_us + 1_000_000)

    def _all_over(self) -> bool:
        return all(errand.over for errand in self.errands) and self.watcher.is_done()

    def _living(self) -> list[Process]:
        return [process for process in self._processes if not process.dead]

    # Processes. ------------------------------------------------------------------------------------------------------

    def _spawn(self, number: int, *, work: bool, errands: bool) -> None:
        life = self.plan.life(number, errands=errands)
        process = Process(self, f"p{number}", life.seed, work=work, errands=errands)
        self._processes.append(process)
        self.note("start", f"{process} {'with' if work else 'without'} a worker")
        process.gap_s = life.gap_s
        process.task.add_done_callback(lambda task: self._ended_by_itself(process, task))
        if life.fate and not self.calm:
            process.steps_left = life.steps
            process.fate = lambda: self._strike(process, life.fate)

    def _spawn_another(self, *, work: bool, errands: bool) -> None:
        if not self._ending:
            self._next_process += 1
            self._spawn(self._next_process, work=work, errands=errands)

    def _strike(self, process: Process, fate: str) -> None:
        if self.calm or process.dead or not self._happens(f"{fate} of fate"):
            return
        if fate == "crash":
            self.crash(process, "between two callbacks")
        elif fate == "pause":
            self.pause(process, "between two callbacks")
        else:
            self.note("stop", str(process))
            process.stop()
            self._replace(process)

    def crash(self, process: SimHost, where: str) -> None:
        assert isinstance(process, Process)
        if process.dead:
            return
        self.note("crash", f"{process} {where}")
        process.kill()
        self._replace(process)

    def pause(self, process: SimHost, where: str) -> None:
        if process.paused or process.dead:
            return
        seconds = self.chance.choice([0.3, 1.2, 3.0]) * LEASE_S * (0.5 + self.chance.random())
        self.note("pause", f"{process} for {seconds:.3f} s {where}")
        process.hold(True)
        self._later(seconds, lambda: self._resume(process))

    def _resume(self, process: SimHost) -> None:
        if process.paused and not process.dead:
            self.note("resume", str(process))
            process.hold(False)

    def _replace(self, process: Process) -> None:
        """Somebody notices, sooner or later, and starts another one."""
        self._later(process.gap_s, lambda: self._spawn_another(work=process.works, errands=process.has_errands))

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self._outside.call_later(seconds, what)

    def _set_trouble_text(self, text: str) -> None:
        self._trouble = self._trouble or Violation(text)

    def _ended_by_itself(self, process: Process, task: asyncio.Task[None]) -> None:
        """A process that ends because of an error of the store is started again; any other error is a fault."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, HistoryError):
            self.note("gave up", f"{process}: {error!r}")
            process.kill()
            self._replace(process)
        elif error is not None:
            self._trouble = self._trouble or (error if isinstance(error, Exception) else Violation(repr(error)))
        else:
            self.note("end", str(process))
            process.kill()

    def _calm_down(self) -> None:
        """From here on nothing goes wrong any more, and somebody lives who can finish it all."""
        self.calm = True
        self._chances = dict.fromkeys(self._chances, 0.0)
        self.clock.catch_up()
        self.note("calm")
        for process in self._living():
            self._resume(process)
        self._spawn_another(work=True, errands=False)

    # What goes wrong. ------------------------------------------------------------------------------------------------

    def strikes(self, kind: str, share: float = 1.0) -> bool:
        return self.chance.random() < self._chances[kind] * share and self._happens(kind)

    def _happens(self, kind: str) -> bool:
        """Number a fault as it is drawn: it happens, unless the plan leaves it out."""
        self.struck += 1
        if self.struck in self._left_out:
            return False
        self.note(f"fault: {kind}", f"({self.struck})")
        return True

    # What the processes tell. ----------------------------------------------------------------------------------------

    def worked(self, process: SimHost, lane: str) -> None:
        try:
            self.watcher.look(process.now_us())
        except Violation as violation:
            self._trouble = self._trouble or Violation(f"{violation} (seen when {process} had done: {lane})")
        except Exception as error:
            self._trouble = self._trouble or error

    def stepped(self, run: Run) -> None:
        self._runs[id(run)] = run

    def complain(self, process: SimHost, text: str) -> None:
        self._set_trouble_text(f"asyncio in {process}: {text}")

    def complain_of_log(self, text: str) -> None:
        self._set_trouble_text(f"the engine's log says: {text}")

    def begun(self, workflow_id: str, key: int, attempt: int) -> None:
        self._begun[workflow_id, key] += 1

    def ended(self, workflow_id: str, key: int, attempt: int) -> None:
        self._ended.add((workflow_id, key))

    # The end. --------------------------------------------------------------------------------------------------------

    def _check_end(self) -> None:
        self.watcher.check_end()
        for errand in self.errands:
            chain = self.watcher.chain(errand.run_id)
            closing = opened(self.watcher.events[chain[-1]][-1])
            assert isinstance(closing, ClosingEvent)
            self._check_result(errand, closing)
            for key in [key for step in errand.program.steps for key in at_most_once_keys(step)]:
                times = self._begun[errand.workflow_id, key]
                _must(times <= 1, f"activity {key} of {errand.workflow_id} may begin once, and began {times} times")
            for run_id in chain:
                rebuild(INTERPRETER, run_id, opened(self.watcher.events[run_id]), _ENVIRONMENT).run.evict()

    def _check_result(self, errand: Errand, closing: ClosingEvent) -> None:
        """A run ends as its model does, or as somebody asked."""
        where = f"{errand.workflow_id} {errand.program.steps}"
        self.happened[type(closing).__name__] += 1
        match closing:
            case WorkflowExecutionCompleted(result=result):
                answer = _ENVIRONMENT.converter.from_payloads(result)[0]
                model = [expected(step) for step in errand.program.steps]
                _must(errand.program.ending != "fail", f"{where} completed, and should fail")
                _must(fits(answer, model), f"{where} answered {answer}, and should answer {model}")
                for key in _acts(errand.program.steps):
                    _must((errand.workflow_id, key) in self._ended, f"activity {key} of {where} has no effect")
            case WorkflowExecutionFailed(failure=failure):
                expected_failure = errand.program.ending == "fail" and failure.message == "as written"
                _must(expected_failure, f"{where} failed: {failure}")
            case WorkflowExecutionCanceled():
                _must(errand.cancel_asked, f"{where} was cancelled, which nobody wanted")
            case WorkflowExecutionTerminated():
                _must(errand.terminate_asked, f"{where} was terminated, which nobody wanted")
            case WorkflowExecutionTimedOut():
                _must(errand.limit_ms > 0, f"{where} was timed out, and has no limit")


_ENVIRONMENT = Environment(namespace="default", converter=DataConverter.default)


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)


def _acts(steps: list[Step]) -> list[int]:
    """The activities that must have had their effect when the steps are done."""
    keys: list[int] = []
    for step in steps:
        match step:
            case ["act" | "local" | "slow" | "beat", key, *_]:
                keys.append(key)
            case ["saga", done, _]:
                keys += done + [-key for key in done]
            case ["pipe", done]:
                keys += done
            case [kind, inner] if kind in CONTAINERS:
                keys += _acts(inner)
            case _:
                pass
    return keys
