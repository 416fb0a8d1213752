"""A store answers and holds what a plain model of its contract does, whatever is asked of it, in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from durable.history import attempts, codec
from durable.history.errors import WorkerDead
from durable.history.host import Lane
from durable.history.messages import OUTLIVES, WAITS, MessageKind, Query, RunTimeout
from durable.history.stores import open_store
from durable.history.transition import (
    ActivityProgress,
    ActivityReport,
    AttemptToken,
    Beat,
    Committed,
    NewMessage,
    Outcome,
    Refusal,
    Refused,
    Retry,
    Send,
    Transition,
    Write,
)
from durable.history.values import IdConflictPolicy, IdReusePolicy, RunStatus
from tests.history.worlds import (
    NAMESPACE,
    SECOND_US,
    ClockedHost,
    cancelling,
    claim,
    due,
    events,
    outcome,
    send,
    signal,
    start,
    task,
    timer,
    worker,
)
from tests.postgres import Server

T = TypeVar("T")

STEAL_US = 10 * SECOND_US
LEASE_US = 5 * SECOND_US
WORKFLOWS = ["order-1", "order-2", "order-3"]
HOLDS_OPEN = (MessageKind.SIGNAL, MessageKind.CANCEL)
UNSUCCESSFUL = (RunStatus.FAILED, RunStatus.CANCELED, RunStatus.TERMINATED, RunStatus.TIMED_OUT)


class Run(msgspec.Struct, kw_only=True):
    """A run, as the model has it. ``inbox`` is without ids: those are the store's to give."""

    run_id: str
    workflow_id: str
    generation: int
    request_id: str
    owner: str | None
    parked: str | None
    deaths: int = 0
    status: RunStatus = RunStatus.RUNNING
    last_event_id: int = 0
    history: list[bytes] = []
    inbox: list[NewMessage] = []

    @property
    def is_open(self) -> bool:
        return self.status is RunStatus.RUNNING


class Task(msgspec.Struct, kw_only=True):
    """An activity task, as the model has it."""

    due_us: int
    owner: str | None = None
    attempt: int = 0
    deadline_us: int | None = None
    cancel_requested: bool = False
    lost: bool = False


class Model:
    """The contract of `durable.history.store`, over plain dictionaries."""

    def __init__(self) -> None:
        self.now_us = 0
        self.runs: dict[str, Run] = {}
        self.tasks: dict[tuple[str, int], Task] = {}
        self.alive: set[str] = set()
        self.renewed: dict[str, list[int]] = {}

    def latest(self, workflow_id: str) -> Run | None:
        runs = [run for run in self.runs.values() if run.workflow_id == workflow_id]
        return max(runs, key=lambda run: run.generation, default=None)

    # Writes: the reasons that speak against one; none means that it is written.

    def write(self, write: Write, ids: dict[int, tuple[str, NewMessage]]) -> set[Refusal] | Committed:
        """``ids`` are the messages that are in the inboxes, by the store's id."""
        match write:
            case Transition(start=None):
                run = self.runs.get(write.run_id)
                reasons = self.against(write, run, ids)
                if not reasons and run is not None:
                    self.apply(write, run, ids)
                return reasons or Committed(run_id=write.run_id)
            case Transition():
                return self.begin(write, ids)
            case ActivityReport():
                return self.report(write)
            case Send():
                return self.send(write)

    def against(self, write: Transition, run: Run | None, ids: dict[int, tuple[str, NewMessage]]) -> set[Refusal]:
        if run is None:
            return {Refusal.NOT_FOUND}
        reasons: set[Refusal] = set()
        closes = write.status is not RunStatus.RUNNING
        if not run.is_open and (write.events is not None or closes):
            reasons.add(Refusal.CLOSED)
        if run.last_event_id != write.last_event_id or (not write.any_owner and run.owner != write.owner):
            reasons.add(Refusal.FENCED)
        if write.events is not None and write.events.first_id != run.last_event_id + 1:
            reasons.add(Refusal.INVALID)
        unread = [id for id, (where, m) in ids.items() if where == run.run_id and m.kind in HOLDS_OPEN]
        unread = [id for id in unread if id not in write.consumed]
        if closes and write.refuse_unread and unread:
            reasons.add(Refusal.UNREAD)
        return reasons | self.not_as_held(write, ids)

    def not_as_held(self, write: Transition, ids: dict[int, tuple[str, NewMessage]]) -> set[Refusal]:
        reasons: set[Refusal] = set()
        for id in write.consumed:
            where, message = ids.get(id, ("", None))
            if where != write.run_id or message is None or (message.kind in WAITS and message.due_us > self.now_us):
                reasons.add(Refusal.MISSING)
        for token in write.finished:
            held = self.tasks.get((token.run_id, token.scheduled_event_id))
            if held is None or (held.owner, held.attempt) != (token.owner, token.attempt):
                reasons.add(Refusal.MISSING)
        named = {write.new_owner, *(each.owner for each in write.tasks)} - {None}
        if not named <= self.alive:
            reasons.add(Refusal.FENCED)
        return reasons

    def apply(self, write: Transition, run: Run, ids: dict[int, tuple[str, NewMessage]]) -> None:
        for id in write.consumed:
            run.inbox.remove(ids[id][1])
        for token in write.finished:
            del self.tasks[token.run_id, token.scheduled_event_id]
        if write.events is not None:
            run.history = [*run.history, write.events.data]
            run.last_event_id += write.events.count
        closes = write.status is not RunStatus.RUNNING
        handed_on = [message for message in run.inbox if message.kind in HOLDS_OPEN]
        run.deaths = write.deaths if run.is_open else run.deaths
        if closes:
            run.status = write.status
            self.tasks = {key: held for key, held in self.tasks.items() if key[0] != run.run_id}
            run.inbox = [message for message in run.inbox if message.kind in OUTLIVES]
        run.owner = write.new_owner if run.is_open else None
        if write.events is not None or write.parked is not None or not run.is_open:
            run.parked = write.parked if run.is_open else None
        if write.successor is not None:
            self.succeed(write.successor, run, handed_on)
        keys = set(write.taken_back)
        run.inbox = [m for m in run.inbox if m.kind is not MessageKind.TIMER or m.key not in keys]
        run.inbox += [message for message in write.messages if run.is_open or message.kind in OUTLIVES]
        if not run.is_open:
            return
        for each in write.tasks:
            held = Task(due_us=each.due_us, owner=each.owner, attempt=each.attempt, deadline_us=each.deadline_us)
            self.tasks[run.run_id, each.scheduled_event_id] = held
        for cancel in write.cancelled_activities:
            key = (run.run_id, cancel.scheduled_event_id)
            if key in self.tasks and self.tasks[key].owner is None:
                del self.tasks[key]
                run.inbox.append(cancel.outcome)
            elif key in self.tasks:
                self.tasks[key].cancel_requested = True

    def succeed(self, write: Transition, run: Run, handed_on: list[NewMessage]) -> None:
        """The next run begins, with what holds the one before it open."""
        assert write.start is not None
        following = Run(
            run_id=write.run_id,
            workflow_id=run.workflow_id,
            generation=run.generation + 1,
            request_id=write.start.request_id,
            owner=None,
            parked=None,
            inbox=handed_on,
        )
        self.runs[write.run_id] = following
        self.apply(write, following, {})

    def begin(self, write: Transition, ids: dict[int, tuple[str, NewMessage]]) -> set[Refusal] | Committed:
        new = write.start
        assert new is not None
        for run in self.runs.values():
            if (run.workflow_id, run.request_id) == (new.workflow_id, new.request_id):
                return Committed(run_id=run.run_id, existing=True)
        latest = self.latest(new.workflow_id)
        replaces = None
        if latest is not None and latest.is_open:
            replace = new.conflict_policy is IdConflictPolicy.TERMINATE_EXISTING
            if replace or new.reuse_policy is IdReusePolicy.TERMINATE_IF_RUNNING:
                replaces = latest
                ending = new.replaces
                if ending is None or ending.run_id != latest.run_id or self.against(ending, latest, ids):
                    return {Refusal.IN_USE} | self.not_as_held(write, ids)
            elif new.conflict_policy is IdConflictPolicy.USE_EXISTING:
                return Committed(run_id=latest.run_id, existing=True)
            else:
                return {Refusal.IN_USE}
        elif latest is not None:
            may_fail = new.reuse_policy is IdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY and latest.status in UNSUCCESSFUL
            if not may_fail and new.reuse_policy not in (
                IdReusePolicy.ALLOW_DUPLICATE,
                IdReusePolicy.TERMINATE_IF_RUNNING,
            ):
                return {Refusal.IN_USE}
        if reasons := self.not_as_held(write, ids):
            return reasons
        if replaces is not None and new.replaces is not None:
            self.apply(new.replaces, replaces, ids)
        run = Run(
            run_id=write.run_id,
            workflow_id=new.workflow_id,
            generation=latest.generation + 1 if latest else 1,
            request_id=new.request_id,
            owner=None,
            parked=None,
        )
        self.runs[write.run_id] = run
        self.apply(write, run, ids)
        return Committed(run_id=write.run_id)

    def send(self, write: Send) -> set[Refusal] | Committed:
        run = self.latest(write.workflow_id) if write.run_id is None else self.runs.get(write.run_id)
        if run is None or run.workflow_id != write.workflow_id:
            return {Refusal.NOT_FOUND}
        if not run.is_open and write.message.kind not in OUTLIVES:
            return {Refusal.CLOSED}
        run.inbox.append(write.message)
        return Committed(run_id=run.run_id)

    def report(self, write: ActivityReport) -> set[Refusal] | Committed:
        key = (write.token.run_id, write.token.scheduled_event_id)
        held = self.tasks.get(key)
        if held is None or (held.owner, held.attempt) != (write.token.owner, write.token.attempt):
            return {Refusal.MISSING}
        match write.what:
            case Beat() if held.lost:
                return {Refusal.MISSING}
            case Beat(deadline_us=deadline_us):
                held.deadline_us = deadline_us
            case Retry() as again:
                held.owner, held.lost, held.attempt = None, False, again.attempt
                held.deadline_us = again.deadline_us
                held.due_us = min(again.due_us, self.now_us) if held.cancel_requested else again.due_us
            case NewMessage() as ended:
                del self.tasks[key]
                self.runs[write.token.run_id].inbox.append(ended)
        return Committed(run_id=write.token.run_id, cancel_requested=held.cancel_requested)

    # Claims.

    def oldest_due(self, run: Run) -> int | None:
        """What the run is looked at by: that its time is over, if it is; else its oldest message."""
        due = [message for message in run.inbox if message.due_us <= self.now_us]
        over = [message for message in due if message.kind is MessageKind.RUN_TIMEOUT]
        return min((message.due_us for message in over or due), default=None)

    def rank(self, run: Run) -> tuple[bool, int]:
        """In this order runs are taken."""
        due = [m for m in run.inbox if m.due_us <= self.now_us and m.kind is MessageKind.RUN_TIMEOUT]
        return not due, self.oldest_due(run) or 0

    def may_claim(self, run: Run, worker_id: str) -> bool:
        """The bullets of the contract."""
        due_us = self.oldest_due(run)
        if due_us is None:
            return False
        free = run.owner is None or run.owner not in self.alive or run.owner == worker_id
        return free or due_us + STEAL_US <= self.now_us

    def next_due_us(self, worker_id: str, busy: set[str]) -> int | None:
        later = [message.due_us for run in self.runs.values() for message in run.inbox]
        later += [held.due_us for held in self.tasks.values() if held.owner is None]
        later += [held.deadline_us for held in self.tasks.values() if held.deadline_us is not None]
        for run in self.runs.values():
            due_us = self.oldest_due(run)
            if due_us is not None and run.run_id not in busy and not self.may_claim(run, worker_id):
                later.append(due_us + STEAL_US)
        return min((due_us for due_us in later if due_us > self.now_us), default=None)

    # Workers.

    def dies(self, worker_id: str) -> None:
        self.alive.discard(worker_id)
        for run in self.runs.values():
            if run.owner == worker_id:
                ready = [m for m in run.inbox if m.kind not in WAITS or m.due_us <= self.now_us]
                run.owner, run.deaths = None, run.deaths + bool(ready)
        for held in self.tasks.values():
            if held.owner == worker_id:
                held.lost, held.deadline_us = True, self.now_us

    def leaves(self, worker_id: str) -> None:
        self.alive.discard(worker_id)
        for run in self.runs.values():
            run.owner = None if run.owner == worker_id else run.owner
        for held in self.tasks.values():
            if held.owner == worker_id and not held.lost:
                held.owner, held.attempt, held.due_us, held.deadline_us = None, held.attempt - 1, self.now_us, None

    def renews(self, worker_id: str) -> set[str]:
        """Who is dead by it."""
        times = [*self.renewed[worker_id], self.now_us][-3:]
        self.renewed[worker_id] = times
        gaps = [later - earlier for earlier, later in pairwise(times)]
        if len(gaps) < 2 or any(gap > LEASE_US // 2 for gap in gaps):
            return set()
        late = {name for name in self.alive - {worker_id} if self.renewed[name][-1] + LEASE_US < self.now_us}
        for name in late:
            self.dies(name)
        return late


ids = st.integers(0, 2**20)


class AtOnce:
    """A lane that is the caller's own thread: here one thing happens after the other."""

    def run(self, work: Callable[[], T], /) -> asyncio.Future[T]:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            answer.set_result(work())
        except Exception as error:
            answer.set_exception(error)
        return answer

    def close(self) -> None:
        pass


class OneThread(ClockedHost):
    def lane(self, name: str) -> Lane:
        return AtOnce()


class StoreAndModel(RuleBasedStateMachine):
    """The same is asked of both."""

    workers = Bundle("workers")
    url = "sqlite://"

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.host = OneThread()
        self.store = self.run(open_store(self.url, self.host).__aenter__())
        self.model = Model()
        self.model.now_us = self.host.now_us()
        self.count = 0
        self.gone: set[int] = set()
        self.tokens: list[AttemptToken] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.store.__aexit__(None, None, None))
        self.runner.close()

    def next(self) -> int:
        self.count += 1
        return self.count

    def messages(self) -> dict[int, tuple[str, NewMessage]]:
        """What is in the store's inboxes, by id."""
        found: dict[int, tuple[str, NewMessage]] = {}
        for run_id in self.model.runs:
            for m in self.run(self.store.inbox(run_id)):
                found[m.id] = run_id, NewMessage(kind=m.kind, body=m.body, due_us=m.due_us, key=m.key)
        return found

    def commit(self, *writes: Write) -> list[Outcome]:
        """Both write, and say the same."""
        before = self.messages()
        answers = self.run(self.store.commit(writes))
        kinds = {Transition: 0, ActivityReport: 1, Send: 2}
        for place, write in sorted(enumerate(writes), key=lambda each: kinds[type(each[1])]):
            expected, answer = self.model.write(write, before), answers[place]
            if isinstance(expected, Committed):
                assert answer == expected
            else:
                assert isinstance(answer, Refused) and answer.reason in expected, (answer, expected)
        self.gone |= set(before) - set(self.messages())
        return answers

    # What is asked.

    @initialize(target=workers)
    def two_workers_and_some_runs(self) -> Any:
        names = self.comes(), self.comes()
        for workflow_id, owner in zip(WORKFLOWS[:2], [names[0], None], strict=True):
            run_id = f"run {self.next()}"
            held = attempts.begun(task(run_id, 6), names[0], self.model.now_us)
            self.tokens.append(attempts.token(held))
            self.commit(start(workflow_id, run_id, new_owner=owner, tasks=(task(run_id, 5), held)))
        return multiple(*names)

    def comes(self) -> str:
        name = f"w{self.next()}"
        self.run(self.store.register(worker(name)))
        self.model.alive.add(name)
        self.model.renewed[name] = [self.model.now_us]
        return name

    @rule(seconds=st.sampled_from([0.5, 1, 2, 11]))
    def time_passes(self, seconds: float) -> None:
        self.host.pass_time(seconds)
        self.model.now_us = self.host.now_us()

    @rule(data=st.data(), name=workers, workflow_id=st.sampled_from(WORKFLOWS), again=st.booleans())
    def starts(self, data: st.DataObject, name: str, workflow_id: str, again: bool) -> None:
        latest = self.model.latest(workflow_id)
        request_id = latest.request_id if latest is not None and again else f"request {self.next()}"
        run_id = f"run {self.next()}"
        ending = None
        if latest is not None and data.draw(st.booleans()):
            ending = self.closing(data, latest, status=RunStatus.TERMINATED, any_owner=True, refuse_unread=False)
        owner = data.draw(st.sampled_from([None, name]))
        own_tasks = (attempts.begun(task(run_id, 5), name, self.model.now_us),) if owner else (task(run_id, 5),)
        self.commit(
            start(
                workflow_id,
                run_id,
                request_id=request_id,
                reuse=data.draw(st.sampled_from(IdReusePolicy)),
                conflict=data.draw(st.sampled_from(IdConflictPolicy)),
                replaces=ending,
                new_owner=owner,
                tasks=data.draw(st.sampled_from([(), own_tasks])),
                messages=data.draw(st.sampled_from([None, self.limited()])),
            )
        )

    def limited(self) -> tuple[NewMessage, ...]:
        """What a run begins with that has a run timeout."""
        now_us = self.model.now_us
        return due(now_us), codec.pack(RunTimeout(), now_us + SECOND_US)

    def closing(self, data: st.DataObject, run: Run, **changes: Any) -> Transition:
        closed: dict[str, Any] = {"status": RunStatus.COMPLETED, "closed_us": self.model.now_us, "new_owner": None}
        return self.step_of(data, run, **{**closed, "messages": (), "tasks": (), **changes})

    def step_of(self, data: st.DataObject, run: Run, **changes: Any) -> Transition:
        """A step that mostly holds."""
        here = [id for id, (where, m) in self.messages().items() if where == run.run_id]
        strange = [*self.gone, *(id for id, (where, _) in self.messages().items() if where != run.run_id)]
        consumed = data.draw(st.lists(st.sampled_from(here), unique=True, max_size=4)) if here else []
        if strange and not data.draw(st.integers(0, 9)):
            consumed.append(data.draw(st.sampled_from(strange)))
        last = run.last_event_id + data.draw(st.sampled_from([0] * 12 + [1, -1]))
        made = Transition(
            run_id=run.run_id,
            last_event_id=last,
            owner=run.owner if data.draw(st.integers(0, 5)) else "nobody",
            new_owner=run.owner,
            events=events(last + 1, data.draw(st.integers(1, 2))) if data.draw(st.integers(0, 5)) else None,
            consumed=tuple(consumed),
        )
        return msgspec.structs.replace(made, **changes)

    @precondition(lambda self: self.model.runs)
    @rule(data=st.data(), name=workers)
    def a_run_is_stepped(self, data: st.DataObject, name: str) -> None:
        run = data.draw(st.sampled_from(list(self.model.runs.values())))
        held = [(event_id, held) for (run_id, event_id), held in self.model.tasks.items() if run_id == run.run_id]
        over = data.draw(st.sampled_from(held)) if held and data.draw(st.booleans()) else None
        late = data.draw(st.sampled_from([0, 0, 0, 1]))
        step = self.step_of(
            data,
            run,
            new_owner=data.draw(st.sampled_from([run.owner, None, name])),
            parked=data.draw(st.sampled_from([None, None, "no such step"])),
            messages=data.draw(st.sampled_from([(), (timer(self.next(), self.model.now_us + SECOND_US),)])),
            tasks=data.draw(st.sampled_from([(), (task(run.run_id, 100 + self.next()),)])),
        )
        if over is not None:
            token = AttemptToken(
                run_id=run.run_id, scheduled_event_id=over[0], owner=over[1].owner, attempt=over[1].attempt + late
            )
            either: list[dict[str, Any]] = [{"finished": (token,)}, {"cancelled_activities": (cancelling(over[0]),)}]
            step = msgspec.structs.replace(step, **data.draw(st.sampled_from(either)))
        timers = [message.key for message in run.inbox if message.kind is MessageKind.TIMER]
        if timers and data.draw(st.booleans()):
            step = msgspec.structs.replace(step, taken_back=(data.draw(st.sampled_from(timers)),))
        others = [send(signal(f"s{self.next()}", self.model.now_us), run.workflow_id)] * data.draw(st.integers(0, 2))
        self.commit(*others, step)

    @precondition(lambda self: self.model.runs)
    @rule(data=st.data(), status=st.sampled_from([RunStatus.COMPLETED, RunStatus.FAILED]), all_of_it=st.booleans())
    def a_run_closes(self, data: st.DataObject, status: RunStatus, all_of_it: bool) -> None:
        run = data.draw(st.sampled_from(list(self.model.runs.values())))
        changes: dict[str, Any] = {"status": status}
        if all_of_it:
            here = [id for id, (where, m) in self.messages().items() if where == run.run_id]
            inbox = self.run(self.store.inbox(run.run_id))
            ready = {m.id for m in inbox if m.kind not in WAITS or m.due_us <= self.model.now_us}
            changes["consumed"] = tuple(id for id in here if id in ready)
        if data.draw(st.integers(0, 3)) == 0:
            changes["refuse_unread"] = False
            changes["successor"] = start(
                run.workflow_id,
                f"run {self.next()}",
                namespace="",
                messages=data.draw(st.sampled_from([None, self.limited()])),
            )
        self.commit(self.closing(data, run, **changes))

    @rule(data=st.data(), workflow_id=st.sampled_from(WORKFLOWS), question=st.booleans())
    def a_message_is_sent(self, data: st.DataObject, workflow_id: str, question: bool) -> None:
        now_us = self.model.now_us
        message = signal(f"s{self.next()}", now_us)
        if question:
            message = codec.pack(Query(id=f"q{self.next()}", name="where"), now_us)
        run_id = data.draw(st.sampled_from([None, "unknown", *self.model.runs]))
        self.commit(send(message, workflow_id, run_id=run_id))

    @rule(
        name=workers,
        data=st.data(),
        max_runs=st.sampled_from([0, 1, 100]),
        max_activities=st.sampled_from([0, 1, 100]),
    )
    def work_is_claimed(self, name: str, data: st.DataObject, max_runs: int, max_activities: int) -> None:
        model, now_us = self.model, self.model.now_us
        busy = set(data.draw(st.lists(st.sampled_from(list(model.runs)), max_size=1))) if model.runs else set[str]()
        ask = claim(name, max_runs=max_runs, max_activities=max_activities, busy=busy)
        if name not in model.alive:
            try:
                self.run(self.store.claim(ask))
            except WorkerDead:
                return
            raise AssertionError(f"{name} is dead, and may claim")
        wanted = {
            id: model.rank(run) for id, run in model.runs.items() if model.may_claim(run, name) and id not in busy
        }
        next_due_us = model.next_due_us(name, busy)
        offered = {key for key, held in model.tasks.items() if held.owner is None and held.due_us <= now_us}
        found = self.run(self.store.claim(ask))

        taken = {each.run.run_id for each in found.runs}
        left = set(wanted) - taken
        assert taken <= set(wanted) and len(taken) == min(max_runs, len(wanted))
        assert max((wanted[id] for id in taken), default=(False, 0)) <= min(
            (wanted[id] for id in left), default=(True, 2**63)
        )
        cut = [bool(left) and max_runs > 0, len(offered) > max_activities > 0]
        assert found.more is any(cut)
        if not left:
            assert set(found.waiting) == {id for id in busy if model.oldest_due(model.runs[id]) is not None}
            assert found.next_due_us == next_due_us
        for each in found.runs:
            run = model.runs[each.run.run_id]
            run.owner = name
            assert each.history == run.history
            ready = [message for message in run.inbox if message.kind not in WAITS or message.due_us <= now_us]
            assert [(m.kind, m.body) for m in each.messages] == [(m.kind, m.body) for m in ready]
        begun = {(each.run_id, each.scheduled_event_id) for each in found.activities}
        assert begun <= offered and len(begun) == min(max_activities, len(offered))
        for key in begun:
            held = model.tasks[key]
            held.owner, held.attempt = name, held.attempt + 1
        overdue = {(each.run_id, each.scheduled_event_id) for each in found.overdue}
        assert overdue == {
            k
            for k, held in model.tasks.items()
            if held.deadline_us is not None and k not in begun and held.deadline_us <= now_us
        }
        cancelled = {(token.run_id, token.scheduled_event_id) for token in found.cancelled}
        assert cancelled == {k for k, held in model.tasks.items() if held.owner == name and held.cancel_requested}
        self.tokens += [attempts.token(each) for each in found.activities]

    @rule(data=st.data(), what=st.sampled_from(["outcome", "retry", "beat"]), twice=st.booleans())
    def an_attempt_reports(self, data: st.DataObject, what: str, twice: bool) -> None:
        """One of any time: the latest ones most often."""
        token = data.draw(st.sampled_from(self.tokens[-3:]) | st.sampled_from(self.tokens))
        ended = outcome(token.scheduled_event_id, self.model.now_us)
        kinds: dict[str, Any] = {
            "outcome": ended,
            "retry": Retry(
                due_us=self.model.now_us + data.draw(st.sampled_from([0, SECOND_US])),
                deadline_us=None,
                progress=ActivityProgress(),
                attempt=token.attempt,
            ),
            "beat": Beat(deadline_us=self.model.now_us + 3 * SECOND_US, progress=ActivityProgress()),
        }
        reports = [ActivityReport(token=token, what=kinds[what])]
        self.commit(*reports, *([ActivityReport(token=token, what=ended)] if twice else []))

    def renews(self, name: str) -> None:
        renewal = self.run(self.store.renew(worker(name)))

        assert renewal.alive is (name in self.model.alive)
        if renewal.alive:
            booked = {k: held.attempt for k, held in self.model.tasks.items() if held.owner == name}
            assert {(t.run_id, t.scheduled_event_id): t.attempt for t in renewal.attempts} == booked
            assert set(renewal.died) == self.model.renews(name)

    @rule(name=workers, rounds=st.integers(1, 5))
    def a_worker_renews_for_a_while(self, name: str, rounds: int) -> None:
        for _ in range(rounds):
            self.time_passes(2)
            self.renews(name)

    @rule(target=workers, name=consumes(workers))
    def a_worker_leaves_and_another_comes(self, name: str) -> str:
        self.run(self.store.release(name))
        self.model.leaves(name)
        return self.comes()

    # What is true at any time.

    @invariant()
    def the_runs_are_those_of_the_model(self) -> None:
        found = {run.run_id: run for run in self.run(self.store.list_runs(NAMESPACE))}
        assert set(found) == set(self.model.runs)
        for run in self.model.runs.values():
            stored = found[run.run_id]
            assert (stored.status, stored.owner, stored.parked) == (run.status, run.owner, run.parked)
            assert stored.deaths == run.deaths
            assert (stored.generation, stored.last_event_id) == (run.generation, run.last_event_id)

    @invariant()
    def histories_are_gapless_and_never_change(self) -> None:
        for run in self.model.runs.values():
            rows = self.run(self.store.history(run.run_id))
            assert rows == run.history
            assert [e.id for e in codec.decode_history(rows)] == list(range(1, run.last_event_id + 1))

    @invariant()
    def inboxes_hold_what_was_sent_and_not_read(self) -> None:
        for run in self.model.runs.values():
            stored = self.run(self.store.inbox(run.run_id))
            assert [(m.kind, m.body, m.due_us, m.key) for m in stored] == [
                (m.kind, m.body, m.due_us, m.key) for m in run.inbox
            ]

    @invariant()
    def activity_tasks_are_those_of_the_model(self) -> None:
        for run_id in self.model.runs:
            stored = {
                (run_id, each.scheduled_event_id): Task(
                    due_us=each.due_us,
                    owner=each.owner,
                    attempt=each.attempt,
                    deadline_us=each.deadline_us,
                    cancel_requested=each.cancel_requested,
                    lost=each.lost,
                )
                for each in self.run(self.store.tasks(run_id))
            }
            assert stored == {key: held for key, held in self.model.tasks.items() if key[0] == run_id}


@pytest.mark.parametrize("examples", [25, pytest.param(250, marks=pytest.mark.all)])
def test_sqlite_does_what_the_model_does(examples: int) -> None:
    run_state_machine_as_test(
        StoreAndModel, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )


@pytest.mark.parametrize("examples", [8, pytest.param(100, marks=[pytest.mark.all, pytest.mark.timeout(900)])])
def test_postgres_does_what_the_model_does(postgres_server: Server, examples: int) -> None:
    class PostgresAndModel(StoreAndModel):
        def __init__(self) -> None:
            self.database = postgres_server.lend()
            self.url = postgres_server.url(self.database)
            super().__init__()

        def teardown(self) -> None:
            super().teardown()
            postgres_server.give_back(self.database)

    run_state_machine_as_test(
        PostgresAndModel, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )
