"""Compensation: steps that undo what was done, run when the block fails or is cancelled."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec

from durable.activity import ActivityDefinition
from durable.context import NotInWorkflowError, WorkflowContext, maybe_workflow, this_workflow
from durable.exceptions import CompensationError, FailedCompensation
from durable.signature import Signature
from durable.workflow.logger import logger

P = ParamSpec("P")

SKIPPED = "a saga's block was left by %s, which is not what fails a workflow: %d compensations have not run"


class _State(Enum):
    OPEN = "open"
    COMPENSATING = "compensating"
    LEFT = "left"


@dataclass(frozen=True)
class _Step:
    """A call that undoes something, not made yet; ``number`` counts from 1 in the order of registration."""

    number: int
    name: str
    call: Callable[[], Awaitable[Any]]


class Saga:
    """Collects compensations. Made by `saga`, which says when they run."""

    def __init__(self, run: WorkflowContext, *, parallel: bool) -> None:
        self._workflow = run
        self._parallel = parallel
        self._steps: list[_Step] = []
        self._registered = 0
        self._state = _State.OPEN

    def compensate_with(self, step: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Register ``step(*args, **kwargs)``, to be called and awaited if it comes to that; the last one runs first.

        ``step`` is an activity (a function, or a method bound to its object, sync or async) or any other async
        callable: a method of the workflow, an inner function, `execute_activity`, `execute_child_workflow`.

        Raises TypeError at once for what is neither, and for arguments that it does not take; ValueError for a dynamic
        activity, which has no name; RuntimeError while the saga compensates, once its block is left, and outside of
        its workflow.
        """
        self._must_be_open("compensate_with")
        name = _checked_name(step)
        Signature.of(step).bind(args, kwargs)
        self._registered += 1
        self._steps.append(_Step(self._registered, name, partial(step, *args, **kwargs)))

    async def compensate(self) -> None:
        """Run now what is registered, and forget it; then the block, or what it is used without, goes on.

        For code that decides by itself: inside of the block, or without one, in an ``except``. Shielded as on leaving
        the block: a cancellation that comes meanwhile is raised when all is done. Raises `CompensationError` if steps
        have failed; RuntimeError while it runs already, and once the block is left.
        """
        self._must_be_open("compensate")
        done = await self._compensate()
        if done.failed:
            done.redeliver()
            raise CompensationError(done.failed, of=done.of)
        if done.interruption is not None:
            raise done.interruption

    async def __aenter__(self) -> Saga:
        self._must_be_open("async with")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            # A coroutine that the garbage collector closes is stepped by nobody, or while another run is.
            if error is None or not self._steps or maybe_workflow() is not self._workflow:
                return
            if not self._is_failure(error):
                if isinstance(error, Exception):
                    logger.warning(SKIPPED, type(error).__name__, len(self._steps))
                return
            done = await self._compensate()
        finally:
            self._state = _State.LEFT
        if done.failed:
            done.redeliver()
            raise CompensationError(done.failed, of=done.of) from error
        if not isinstance(error, asyncio.CancelledError):
            done.redeliver()

    async def _compensate(self) -> _Done:
        steps, self._steps = self._steps[::-1], []
        self._state = _State.COMPENSATING
        try:
            work = asyncio.create_task(self._run(steps), name="compensation")
            interruption = await _uninterrupted(work)
            return _Done(work.result(), len(steps), interruption)
        finally:
            if self._state is _State.COMPENSATING:
                self._state = _State.OPEN

    async def _run(self, steps: list[_Step]) -> list[FailedCompensation]:
        if self._parallel:
            outcomes = await asyncio.gather(*(self._undo(each) for each in steps))
        else:
            outcomes = [await self._undo(each) for each in steps]
        return [each for each in outcomes if each is not None]

    async def _undo(self, step: _Step) -> FailedCompensation | None:
        """How it failed, if it did. A fault in its code is let out at once, so that it fails the workflow task: mended
        code has to find the run where the fault was."""
        try:
            await step.call()
        except BaseException as error:
            if not self._is_failure(error):
                raise
            return FailedCompensation(step.number, step.name, error)
        return None

    def _is_failure(self, error: BaseException) -> bool:
        """Not a fault in the code, which parks the run; nor an eviction, or a run that continues as new."""
        return isinstance(error, asyncio.CancelledError) or self._workflow.is_failure(error)

    def _must_be_open(self, what: str) -> None:
        if maybe_workflow() is not self._workflow:
            raise NotInWorkflowError(f"{what}: not in the workflow that made this saga")
        match self._state:
            case _State.COMPENSATING:
                raise RuntimeError(f"{what}: this saga is compensating already")
            case _State.LEFT:
                raise RuntimeError(f"{what}: the block of this saga has been left; begin another one")
            case _State.OPEN:
                pass


def saga(*, parallel: bool = False) -> Saga:
    """``async with workflow.saga() as saga:`` — then, for each step that has an inverse,
    ``saga.compensate_with(undo, receipt)``.

    When the block fails or is cancelled, what is registered runs, the last first, each durably and to its end; with
    ``parallel`` all at once. It is shielded: a cancellation that comes meanwhile (of the run, or by an enclosing
    timeout, task group or scope) takes effect afterwards. If all succeed, the error that ended the block goes on as it
    is. If some fail, the others run all the same, and `CompensationError` is raised from it.

    Nothing runs when the block ends without an error, when the run continues as new, or when the block is left by an
    exception that fails no workflow (`is_failure_exception`): such a run is parked, and goes on with mended code. If
    you catch an exception of that kind yourself, do so inside of the block, or name its type in
    ``failure_exception_types``. So it is with a step: a failure is collected, a fault in its code parks the run.

    Raises `NotInWorkflowError` outside of workflow code.
    """
    return Saga(this_workflow(), parallel=parallel)


@dataclass(frozen=True)
class _Done:
    """How ``of`` steps went, and the cancellation that came meanwhile."""

    failed: list[FailedCompensation]
    of: int
    interruption: asyncio.CancelledError | None

    def redeliver(self) -> None:
        """Another error goes on than the cancellation: then that is raised where the task waits next, as asyncio's own
        TaskGroup does; unless whoever asked for it takes it back by then, as a timeout does when its block ends."""
        task, interruption = asyncio.current_task(), self.interruption
        if task is None or interruption is None:
            return

        def deliver() -> None:
            if task.cancelling():
                task.cancel(*interruption.args)
                task.uncancel()  # it was counted when it came

        asyncio.get_running_loop().call_soon(deliver)


class _Uncancellable(asyncio.Future[None]):
    """Whoever waits for it can't be interrupted: a cancellation waits with it, and is delivered at its end."""

    def cancel(self, msg: Any | None = None) -> bool:
        """False, as of a future that is done: so the task that waits keeps the request, and anyio's scopes, which
        would repeat theirs in each turn of the loop, see that it is kept."""
        return False


async def _uninterrupted(work: asyncio.Task[Any]) -> asyncio.CancelledError | None:
    """Until ``work`` is done; the cancellation of the current task that came meanwhile."""
    over = _Uncancellable()
    work.add_done_callback(lambda _: over.set_result(None))
    try:
        await over
    except asyncio.CancelledError as interruption:
        return interruption
    return None


def _checked_name(step: Any) -> str:
    """What people call the step. TypeError for what can't be one."""
    if isinstance(step, type) or not callable(step):
        given = step.__name__ if isinstance(step, type) else f"a {type(step).__name__}"
        raise TypeError(
            f"compensate_with takes an activity or an async function, and its arguments apart, not {given}: "
            "compensate_with(refund, receipt)"
        )
    function: Any = step
    while isinstance(function, partial):
        function = function.func
    if (definition := ActivityDefinition.of(function)) is not None:
        return definition.named().name
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    if not inspect.iscoroutinefunction(function) and not inspect.iscoroutinefunction(function.__call__):
        raise TypeError(
            f"compensate_with takes an activity or an async function, and {name} is neither: make it async, or "
            "decorate it with @activity.defn"
        )
    return str(name)
