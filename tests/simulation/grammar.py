"""Random workflows: programs as plain data, the workflow that interprets them, and a model of what comes of them.

A step is a list, its kind first. ``key`` numbers the activities of a program:

- ``["act", key, value, failures, ms]``: an activity that fails so often, takes so long, and answers ``value``
- ``["once", key, value]``: one attempt at most; ``value``, or ``"lost"``
- ``["bad", key]``: an activity that fails for good; ``"failed"``
- ``["slow", key, value]``: its first attempt outlasts its timeout; ``value``
- ``["beat", key, beats]``: an activity with heartbeats; how many
- ``["local", key, value, failures, ms]``: as ``act``, a local activity
- ``["shed", ms, key, waits]``: as ``drop``, a local activity
- ``["nap", ms]``: a timer; ``ms``
- ``["wait", n]``: until n signals are there; those, in order
- ``["until", n, ms]``: as ``wait``, but not for ever: were they there?
- ``["dice", sides]``: a timer of a random length; the length
- ``["late", ms, key]`` and ``["later", ms, key]``: a timeout around an activity that does not end; ``"late"``
- ``["over", ms, key]``: an activity that does not end, and has only so long, all attempts together; ``"timed out"``
- ``["nobody", ms, key]``: an activity on a queue that nobody serves; ``"timed out"``
- ``["drop", ms, key, waits]``: an activity that does not end is cancelled, and its end awaited or not; ``"dropped"``
- ``["race", ms, key, value]``: a timer against an activity; ``value`` or ``"the timer"``, and the other is cancelled
- ``["pipe", keys]``: activities done one by one by a task that is fed by a queue; their keys
- ``["saga", keys, key]``: do these, then fail: what was undone, in the order of undoing
- ``["child", key, steps]``: a child workflow that does these; their answers
- ``["stumble", failures]``: so many runs fail before one that goes on; nothing. Only a child has it, as its first step
- ``["leave", key, policy, ms]``: a child workflow that naps is begun and left to its parent's end; ``"left"``
- ``["poke", who]``: a signal to another workflow, to this one, or to none that there is; was there anybody to get it?
- ``["again"]``: the rest is done by the next run; nothing. Only a program has it, and no other step
- ``["seq", steps]``: the answers of the steps; ``["par", steps]``, ``["group", steps]``, ``["each", steps]`` and
  ``["all", steps]`` too, which do them at once, each in its own way
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

import msgspec

from durable import RetryPolicy, activity, workflow
from durable.exceptions import ActivityError, ApplicationError, is_cancelled_exception
from durable.exceptions import TimeoutError as DurableTimeoutError

Step = list[Any]

FOR_EVER = 100_000.0
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_interval=timedelta(milliseconds=400))
ONCE = RetryPolicy(maximum_attempts=1)
CLEANUP_KEY = 0
HANDLER_KEY = 1000
"""From here on: the activities of signal handlers, by the number of the signal; every other one has one."""
UPDATE_KEY = 2000
"""The same for update handlers."""
CONTAINERS = ["seq", "par", "group", "each", "all"]


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """One workflow. ``ending``: "return", "fail", or, when somebody cancels it, "clean" up before the end."""

    steps: list[Step]
    ending: str
    signals_read: int
    keys: int


class Ledger(Protocol):
    """Where the simulated world notes what activities really did."""

    def begun(self, workflow_id: str, key: int, attempt: int) -> None: ...

    def ended(self, workflow_id: str, key: int, attempt: int) -> None: ...


LEAVES = {
    "act": 10,
    "once": 3,
    "bad": 2,
    "slow": 1,
    "beat": 1,
    "local": 6,
    "shed": 1,
    "nap": 4,
    "wait": 4,
    "until": 1,
    "dice": 1,
    "late": 1,
    "later": 1,
    "over": 1,
    "nobody": 1,
    "drop": 2,
    "race": 2,
    "pipe": 1,
    "saga": 3,
    "child": 3,
    "leave": 1,
    "poke": 2,
}
"""How often what is written."""


class Author:
    """Writes programs. The same chance writes the same program."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._keys = CLEANUP_KEY
        self._signals = 0

    def program(self) -> Program:
        steps = [self._step(2) for _ in range(self._chance.randint(1, 4))]
        if self._chance.random() < 0.25:
            steps.insert(self._chance.randint(0, len(steps)), ["again"])
        ending = self._chance.choices(["return", "fail", "clean"], [6, 1, 3])[0]
        return Program(steps=steps, ending=ending, signals_read=self._signals, keys=self._keys)

    def _key(self) -> int:
        self._keys += 1
        return self._keys

    def _step(self, depth: int) -> Step:
        chance = self._chance
        kinds = LEAVES | dict.fromkeys(CONTAINERS, 2 if depth else 0)
        kind = chance.choices(list(kinds), list(kinds.values()))[0]
        match kind:
            case "act" | "local":
                return [kind, self._key(), chance.randrange(100), chance.choice([0, 0, 0, 1, 2]), chance.randrange(300)]
            case "once" | "slow":
                return [kind, self._key(), chance.randrange(100)]
            case "bad":
                return [kind, self._key()]
            case "beat":
                return [kind, self._key(), chance.randint(1, 6)]
            case "nap":
                return [kind, chance.choice([0, 1, 20, 300, 1500])]
            case "wait":
                self._signals += chance.randint(1, 2)
                return [kind, self._signals]
            case "until":
                return [kind, self._signals + 1, chance.choice([10, 200, 1000])]
            case "dice":
                return [kind, chance.choice([1, 100, 500])]
            case "late" | "later":
                return [kind, chance.choice([1, 50, 400, 1500]), self._key()]
            case "over" | "nobody":
                return [kind, chance.choice([50, 400]), self._key()]
            case "drop" | "shed":
                return [kind, chance.choice([0, 20, 400]), self._key(), chance.random() < 0.5]
            case "race":
                return [kind, chance.choice([0, 100, 200]), self._key(), chance.randrange(100)]
            case "pipe":
                return [kind, [self._key() for _ in range(chance.randint(1, 4))]]
            case "saga":
                return [kind, [self._key() for _ in range(chance.randint(1, 3))], self._key()]
            case "child":
                key = self._key()
                act: Step = ["act", self._key(), chance.randrange(100), 0, chance.randrange(300)]
                nap: Step = ["nap", chance.choice([0, 20, 300])]
                stumble: Step = ["stumble", chance.choice([1, 2])]
                return [kind, key, chance.choice([[], [act], [nap], [act, nap], [stumble, act]])]
            case "leave":
                policy = chance.choice(list(workflow.ParentClosePolicy)[1:])
                ms = 300 if policy is workflow.ParentClosePolicy.ABANDON else 3_600_000
                return [kind, self._key(), int(policy), ms]
            case "poke":
                return [kind, chance.choice(["w0", "w1", "w2", "nobody"])]
            case _:
                return [kind, [self._step(depth - 1) for _ in range(chance.randint(1, 4))]]


# The model. ---------------------------------------------------------------------------------------------------------


def expected(step: Step) -> Any:
    """What a step answers, whatever goes wrong underneath."""
    match step:
        case ["act" | "local", _, value, _, _] | ["slow", _, value] | ["beat", _, value]:
            return value
        case ["once", _, value]:
            return {"one of": [value, "lost"]}
        case ["bad", _]:
            return "failed"
        case ["nap", ms]:
            return ms
        case ["wait", n]:
            return list(range(n))
        case ["until", *_]:
            return {"one of": [True, False]}
        case ["dice", sides]:
            return {"one of": list(range(sides))}
        case ["late" | "later", *_]:
            return "late"
        case ["over" | "nobody", *_]:
            return "timed out"
        case ["drop" | "shed", *_]:
            return "dropped"
        case ["race", _, _, value]:
            return {"one of": [value, "the timer"]}
        case ["pipe", keys]:
            return keys
        case ["saga", keys, _]:
            return keys[::-1]
        case ["child", _, steps]:
            return [expected(each) for each in steps]
        case ["leave", *_]:
            return "left"
        case ["again"] | ["stumble", _]:
            return None
        case ["poke", _]:
            return {"one of": [True, False]}
        case [kind, steps] if kind in CONTAINERS:
            return [expected(each) for each in steps]
        case _:
            raise ValueError(f"no such step: {step}")


def fits(answer: Any, model: Any) -> bool:
    """Is ``answer`` one that the model allows?"""
    if isinstance(model, dict):
        return answer in model["one of"]
    if isinstance(model, list):
        return (
            isinstance(answer, list)
            and len(answer) == len(model)
            and all(fits(each, of) for each, of in zip(answer, model, strict=True))
        )
    return bool(answer == model)


def at_most_once_keys(step: Step) -> list[int]:
    """The activities of a step that may be attempted once only."""
    match step:
        case ["once", key, _]:
            return [key]
        case [kind, steps] if kind in CONTAINERS:
            return [key for each in steps for key in at_most_once_keys(each)]
        case _:
            return []


def is_rejected(number: int) -> bool:
    """Is the update of this number turned away?"""
    return number % 3 == 2


def signals_needed(step: Step) -> int:
    """How many signals must be there before a step can end."""
    match step:
        case ["wait", n]:
            return int(n)
        case [kind, steps] if kind in CONTAINERS:
            return max(map(signals_needed, steps), default=0)
        case _:
            return 0


# The workflow. ------------------------------------------------------------------------------------------------------


@workflow.defn(name="Interpreter")
class Interpreter:
    def __init__(self) -> None:
        self._read: list[int] = []

    @workflow.run
    async def run(
        self, steps: list[Any], ending: str, answers: list[Any] | None = None, read: list[int] | None = None
    ) -> list[Any]:
        """``answers`` and ``read`` are those of the runs before; what is in ``_read`` by now came to this one."""
        self._read = [*(read or []), *self._read]
        answers = answers or []
        try:
            for number, step in enumerate(steps, 1):
                if step == ["again"]:
                    workflow.continue_as_new(args=[steps[number:], ending, [*answers, None], self._read])
                answers.append(await self._do(step))
        except BaseException as error:
            if ending == "clean" and is_cancelled_exception(error):
                await act(CLEANUP_KEY, 0, 0, 0)
            raise
        if ending == "fail":
            raise ApplicationError("as written", type="AsWritten")
        return answers

    @workflow.signal(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def put(self, number: int) -> None:
        self._read.append(number)
        if number % 2:
            await act(HANDLER_KEY + number, 0, 0, 50)
        else:
            await local(HANDLER_KEY + number, 0, 0, 50)

    @workflow.signal
    def poke(self) -> None:
        """Of no consequence."""

    @workflow.update(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def change(self, number: int) -> int:
        if number % 2:
            await act(UPDATE_KEY + number, 0, 0, 50)
        return 2 * number

    @change.validator
    def may_change(self, number: int) -> None:
        if is_rejected(number):
            raise ValueError("as written")

    @workflow.query
    def read(self) -> list[int]:
        return self._read

    async def _do(self, step: Step) -> Any:
        match step:
            case ["act", key, value, failures, ms]:
                return await act(key, value, failures, ms)
            case ["local", key, value, failures, ms]:
                return await local(key, value, failures, ms)
            case ["once", key, value]:
                return await self._once(key, value)
            case ["bad", key]:
                return await self._bad(key)
            case ["slow", key, value]:
                return await workflow.execute_activity(
                    slow, args=[key, value], start_to_close_timeout=timedelta(milliseconds=400), retry_policy=QUICKLY
                )
            case ["beat", key, beats]:
                return await workflow.execute_activity(
                    beat,
                    args=[key, beats],
                    heartbeat_timeout=timedelta(milliseconds=600),
                    start_to_close_timeout=timedelta(seconds=10),
                    retry_policy=QUICKLY,
                )
            case ["nap", ms]:
                await workflow.sleep(ms / 1000)
                return ms
            case ["wait", n]:
                await workflow.wait_condition(lambda: len(self._read) >= n)
                return self._read[:n]
            case ["until", n, ms]:
                return await self._until(n, ms)
            case ["dice", sides]:
                ms = workflow.random().randrange(sides)
                await asyncio.sleep(ms / 1000)
                return ms
            case ["late", ms, key]:
                return await self._late(ms, key)
            case ["later", ms, key]:
                return await self._later(ms, key)
            case ["over" | "nobody" as kind, ms, key]:
                return await self._timed_out(kind, ms, key)
            case ["drop" | "shed" as kind, ms, key, waits]:
                return await self._drop(kind, ms, key, waits)
            case ["race", ms, key, value]:
                return await self._race(ms, key, value)
            case ["pipe", keys]:
                return await self._pipe(keys)
            case ["saga", keys, key]:
                return await self._saga(keys, key)
            case ["child", key, steps]:
                return await workflow.execute_child_workflow(
                    Interpreter.run,
                    args=[steps, "return"],
                    id=_child_id(key),
                    retry_policy=QUICKLY if steps and steps[0][0] == "stumble" else None,
                )
            case ["stumble", failures]:
                if workflow.info().attempt <= failures:
                    raise ApplicationError("not yet", type="NotYet")
                return None
            case ["leave", key, policy, ms]:
                await workflow.start_child_workflow(
                    Interpreter.run,
                    args=[[["nap", ms]], "return"],
                    id=_child_id(key),
                    parent_close_policy=workflow.ParentClosePolicy(policy),
                )
                return "left"
            case ["poke", who]:
                return await _poke(who)
            case [kind, steps]:
                return await self._do_all(kind, steps)
            case _:
                raise ValueError(f"no such step: {step}")

    async def _do_all(self, kind: str, steps: list[Step]) -> list[Any]:
        match kind:
            case "seq":
                return [await self._do(each) for each in steps]
            case "par":
                return list(await asyncio.gather(*(self._do(each) for each in steps)))
            case "group":
                with _one_cancellation():
                    async with asyncio.TaskGroup() as group:
                        tasks = [group.create_task(self._do(each)) for each in steps]
                return [task.result() for task in tasks]
            case "each":
                found = [await each for each in workflow.as_completed(map(self._numbered, range(len(steps)), steps))]
                return [answer for _, answer in sorted(found, key=lambda numbered: numbered[0])]
            case "all":
                tasks = [asyncio.create_task(self._do(each)) for each in steps]
                done, _ = await workflow.wait(tasks) if tasks else ([], [])
                return [task.result() for task in done]
            case _:
                raise ValueError(f"no such kind of step: {kind}")

    async def _numbered(self, number: int, step: Step) -> tuple[int, Any]:
        return number, await self._do(step)

    async def _until(self, n: int, ms: int) -> bool:
        try:
            await workflow.wait_condition(lambda: len(self._read) >= n, timeout=ms / 1000)
        except TimeoutError:
            return False
        return True

    async def _once(self, key: int, value: int) -> Any:
        try:
            return await workflow.execute_activity(
                act_once, args=[key, value], start_to_close_timeout=timedelta(seconds=5), retry_policy=ONCE
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return "lost"

    async def _bad(self, key: int) -> str:
        try:
            await bad(key)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
        return "failed"

    async def _late(self, ms: int, key: int) -> str:
        try:
            async with asyncio.timeout(ms / 1000):
                await hang(key)
        except TimeoutError:
            return "late"
        return "an activity that does not end has ended"

    async def _later(self, ms: int, key: int) -> str:
        try:
            await asyncio.wait_for(hang(key), ms / 1000)
        except TimeoutError:
            return "late"
        return "an activity that does not end has ended"

    async def _timed_out(self, kind: str, ms: int, key: int) -> str:
        limit = timedelta(milliseconds=ms)
        options: workflow.ActivityConfig = {"schedule_to_close_timeout": limit}
        if kind == "nobody":
            far = timedelta(hours=10)
            options = {"schedule_to_start_timeout": limit, "schedule_to_close_timeout": far, "task_queue": "nobody's"}
        try:
            await workflow.execute_activity(hang, key, retry_policy=QUICKLY, **options)
        except ActivityError as error:
            if isinstance(error.cause, DurableTimeoutError):
                return "timed out"
            raise
        return "an activity that does not end has ended"

    async def _drop(self, how: str, ms: int, key: int, waits: bool) -> str:
        kind = workflow.ActivityCancellationType.TRY_CANCEL
        if waits:
            kind = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        start = workflow.start_activity if how == "drop" else workflow.start_local_activity
        handle = start(hang, key, start_to_close_timeout=timedelta(hours=1), retry_policy=ONCE, cancellation_type=kind)
        await asyncio.sleep(ms / 1000)
        handle.cancel()
        try:
            await handle
        except ActivityError:  # cancelled; or lost with its worker before it learned of that
            return "dropped"
        return "an activity that does not end has ended"

    async def _race(self, ms: int, key: int, value: int) -> Any:
        activity = asyncio.create_task(self._do(["act", key, value, 0, 100]))
        timer = asyncio.create_task(asyncio.sleep(ms / 1000, "the timer"))
        done, pending = await workflow.wait([activity, timer], return_when=asyncio.FIRST_COMPLETED)
        for each in pending:
            each.cancel()
        return done[0].result()

    async def _pipe(self, keys: list[int]) -> list[int]:
        queue: asyncio.Queue[int | None] = asyncio.Queue(maxsize=1)

        async def work() -> list[int]:
            done: list[int] = []
            while (key := await queue.get()) is not None:
                await workflow.execute_activity(
                    act,
                    args=[key, 0, 0, 10],
                    activity_id=str(workflow.uuid4()),
                    start_to_close_timeout=timedelta(seconds=10),
                    retry_policy=QUICKLY,
                )
                done.append(key)
            return done

        with _one_cancellation():
            async with asyncio.TaskGroup() as group:
                worker = group.create_task(work())
                for key in [*keys, None]:
                    await queue.put(key)
        return worker.result()

    async def _saga(self, keys: list[int], key: int) -> list[int]:
        undone: list[int] = []

        async def undo(done: int) -> None:
            await act(-done, 0, 0, 10)
            undone.append(done)

        try:
            async with workflow.saga() as saga:
                for each in keys:
                    await act(each, 0, 0, 10)
                    saga.compensate_with(undo, each)
                await bad(key)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
        return undone


def _child_id(key: int) -> str:
    return f"{workflow.info().workflow_id}-{key}"


async def _poke(who: str) -> bool:
    try:
        await workflow.get_external_workflow_handle(who).signal(Interpreter.poke)
    except ApplicationError:
        return False
    return True


async def local(key: int, value: int, failures: int, ms: int) -> int:
    """`act` as a local activity."""
    return await workflow.execute_local_activity(
        act, args=[key, value, failures, ms], start_to_close_timeout=timedelta(seconds=10), retry_policy=QUICKLY
    )


@contextmanager
def _one_cancellation() -> Iterator[None]:
    """A task group takes the ActivityError of an activity that was cancelled with it for a fault."""
    try:
        yield
    except BaseExceptionGroup as group:
        if all(map(is_cancelled_exception, group.exceptions)):
            raise asyncio.CancelledError from group
        raise


# Activities. --------------------------------------------------------------------------------------------------------


class _Attempt:
    """What an activity notes in the ledger of its world."""

    def __init__(self, key: int) -> None:
        info = activity.info()
        assert info.workflow_id is not None
        self._of = (info.workflow_id, key, info.attempt)
        self.number = info.attempt
        loop: Any = asyncio.get_running_loop()
        self._ledger: Ledger = loop.ledger

    def __enter__(self) -> _Attempt:
        self._ledger.begun(*self._of)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._ledger.ended(*self._of)


@activity.defn(retry_policy=QUICKLY)
async def act(key: int, value: int, failures: int, ms: int) -> int:
    with _Attempt(key) as attempt:
        await asyncio.sleep(ms / 1000)
        if attempt.number <= failures:
            raise ValueError(f"attempt {attempt.number} fails")
        return value


@activity.defn
async def act_once(key: int, value: int) -> int:
    with _Attempt(key):
        await asyncio.sleep(0.2)
        return value


@activity.defn
async def bad(key: int) -> None:
    with _Attempt(key):
        raise ApplicationError("for good", non_retryable=True)


@activity.defn
async def slow(key: int, value: int) -> int:
    with _Attempt(key) as attempt:
        if attempt.number == 1:
            await asyncio.sleep(FOR_EVER)
        return value


@activity.defn
async def beat(key: int, beats: int) -> int:
    with _Attempt(key):
        done = activity.info().heartbeat_details
        for number in range(done[0] if done else 0, beats):
            activity.heartbeat(number)
            await asyncio.sleep(0.3)
        return beats


@activity.defn
async def hang(key: int) -> None:
    with _Attempt(key):
        await asyncio.sleep(FOR_EVER)


ACTIVITIES: list[Callable[..., Any]] = [act, act_once, bad, slow, beat, hang]
