"""Pure: a run replayed to any workflow task of its history, and what is to be seen there: its frames, its tasks."""

from __future__ import annotations

import asyncio
import dataclasses
from bisect import bisect_left
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from msgspec import Struct

from durable.client.description import moment
from durable.context import stepping
from durable.history.commands import Command
from durable.history.events import HistoryEvent, WorkflowExecutionStarted, WorkflowTaskFailed
from durable.worker import stacks
from durable.worker.lines import is_user_code
from durable.worker.local_activities import LocalActivityFuture
from durable.worker.pending import ActivityFuture
from durable.worker.rebuild import RecordedTask, recorded_tasks, repeat
from durable.worker.replay import Environment, Moment, Run
from durable.worker.stacks import Place
from durable.workflow.definition import WorkflowDefinition


class TaskView(Struct, frozen=True):
    """One of the run's asyncio tasks: what it waits for, and the frames in which it does."""

    name: str
    waits_for: str
    places: list[Place]


class Session:
    """A run and a position in its history: how many workflow tasks its code has read, from 0 to ``last``.

    The first ``len(tasks)`` positions are the completed workflow tasks. If events are left that none of them has read,
    one position more delivers those: what today's code does with them is in ``commands`` then.
    """

    def __init__(
        self, definition: WorkflowDefinition, run_id: str, events: Sequence[HistoryEvent], environment: Environment
    ) -> None:
        started = events[0]
        assert isinstance(started, WorkflowExecutionStarted)
        self.started = started
        self.events = events
        self.tasks, self.unread = recorded_tasks(events)
        self.last = len(self.tasks) + bool(self.unread)
        self.position = 0
        self.spoilt = False
        self.commands: list[Command] = []
        self._main_frame: FrameType | None = None
        self._main: Any = definition.run
        # The frame keeps its variables when the workflow returns, for as long as somebody knows the frame.
        self._definition = dataclasses.replace(definition, run=self._begin)
        self._run_id = run_id
        self._environment = environment
        self._run = self._new_run()

    @property
    def end(self) -> int:
        """Where a person wants to look first: the last completed workflow task, or the one that failed after it."""
        last_event_id = self.tasks[-1].last_event_id if self.tasks else 0
        failed = any(isinstance(event, WorkflowTaskFailed) for event in self.events[last_event_id:])
        return self.last if failed or not self.tasks else len(self.tasks)

    @property
    def file(self) -> str:
        """Where the workflow is defined."""
        return str(self._main.__code__.co_filename)

    @property
    def waits_for(self) -> str:
        """What the workflow function itself waits for; "" when it does not."""
        return self._run.main_waits_for()

    def position_of(self, event_id: int) -> int:
        """The workflow task that read an event, or wrote it. LookupError for one that is not in the history."""
        if not 1 <= event_id <= len(self.events):
            raise LookupError(
                f"there is no event {event_id} in run {self._run_id} of {self.started.workflow_id!r}: "
                f"its events are 1 to {len(self.events)}"
            )
        return min(bisect_left(self.tasks, event_id, key=lambda task: task.last_event_id) + 1, self.last)

    def read_at(self, position: int) -> list[HistoryEvent]:
        """The events that the workflow task at this position has read."""
        task = self.task_at(position)
        return task.read if task is not None else self.unread if position else []

    def task_at(self, position: int) -> RecordedTask | None:
        """The completed workflow task at this position; None where there is none: before the first, after the last."""
        return self.tasks[position - 1] if 0 < position <= len(self.tasks) else None

    def forward(self) -> None:
        """Deliver what the next workflow task read.

        `NondeterminismError` when the code does not what that task did; the position stays, and the run is ``spoilt``.
        On events that no completed workflow task has read, the code may do what it likes; see ``error``.
        """
        if self.position < len(self.tasks):
            self.spoilt = True
            repeat(self._run, self.tasks[self.position])
            self.spoilt = False
        else:
            last = self.events[-1]
            activation = self._run.activate(self.unread, Moment(last.time_us, last.id), replaying=True)
            self.commands = activation.commands
            self.spoilt = activation.error is not None
        self.position += 1

    def go_to(self, position: int) -> None:
        """Be at this position, if need be from the beginning. Raises as `forward`; then it is where that raised."""
        if self.spoilt or position < self.position:
            self._run.evict()
            self._run = self._new_run()
            self.position = 0
            self.spoilt = False
        while self.position < position:
            self.forward()

    def abandon(self) -> None:
        """Whatever the code does from here on is of no account; also while it runs."""
        self.spoilt = True
        self._run.evict()

    @property
    def error(self) -> BaseException | None:
        """What the code has raised, out of the workflow or a handler."""
        return self._run.raised

    def places(self) -> list[Place]:
        """Where the workflow function waits, or has raised, or has ended; its definition where it has not begun."""
        if self.error is not None and self.error.__traceback__ is not None:
            return stacks.of_users(stacks.raised(self.error.__traceback__))
        waiting = self._run.main_places()
        if waiting:
            return waiting
        frame = self._main_frame or stacks.placeholder(self._main)
        return [(frame, frame.f_lineno)]

    def task_views(self) -> list[TaskView]:
        """The run's tasks that are not done, in order of creation; the one being stepped waits for nothing."""
        return self._run.task_views()

    @contextmanager
    def looking(self, *, stepped: bool) -> Generator[None]:
        """A block for code that looks: `workflow.info()` … work, what would change the run is refused.

        ``stepped``: while the run's own code is being stepped, by whoever is further up the stack.
        """
        with self._run.looking(stepped=stepped):
            yield

    def _new_run(self) -> DebuggedRun:
        self._main_frame = None
        return DebuggedRun(self._definition, self.started, self._run_id, self._environment, trace=True)

    def _begin(self, *args: Any, **kwargs: Any) -> Any:
        coroutine: Any = self._main(*args, **kwargs)
        self._main_frame = coroutine.cr_frame
        return coroutine


class DebuggedRun(Run):
    """A run that can be looked into."""

    raised: BaseException | None = None

    def main_places(self) -> list[Place]:
        """Where the main task waits; nothing when it does not."""
        return [] if self._main is None or self._main.done() else _places(self._main)

    def main_waits_for(self) -> str:
        return "" if self._main is None or self._main.done() else self._waits_for(self._main)

    def task_views(self) -> list[TaskView]:
        return [
            TaskView(task.get_name(), self._waits_for(task), _places(task)) for task in self.loop.unfinished_tasks()
        ]

    @contextmanager
    def looking(self, *, stepped: bool) -> Generator[None]:
        before, self._read_only = self._read_only, True
        try:
            if stepped:
                yield
            else:
                with stepping(self), self.loop.entered():
                    yield
        finally:
            self._read_only = before

    def escaped(self, error: BaseException) -> None:
        if self.raised is None and not self.evicting:
            self.raised = error
        super().escaped(error)

    def _waits_for(self, task: asyncio.Task[Any]) -> str:
        waiter: asyncio.Future[Any] | None = getattr(task, "_fut_waiter", None)
        if waiter is None or waiter.done():
            return ""
        code = stacks.suspended(task.get_coro())[-1][0].f_code
        told = self._named(waiter) or code.co_qualname
        # `wait_for` waits for its timer, but not for that alone.
        return f"{code.co_qualname}, {told}" if told.startswith("timer") and code.co_name != "sleep" else told

    def _named(self, future: asyncio.Future[Any]) -> str:
        """What a future stands for; "" for one of which only the code that awaits it knows that."""
        children: list[asyncio.Future[Any]] | None = getattr(future, "_children", None)
        if children is not None:
            waiting = [self._named(child) or "a future" for child in children if not child.done()]
            return f"{len(waiting)} of {len(children)} gathered: {', '.join(waiting)}"
        if isinstance(future, LocalActivityFuture):
            return f"local activity {future.call.activity_type!r} (activity id {future.activity_id})"
        if isinstance(future, ActivityFuture):
            return f"activity {future.call.activity_type!r} (event {future.scheduled_event_id})"
        if isinstance(future, asyncio.Task):
            frame = getattr(future.get_coro(), "cr_frame", None)
            ours = frame is not None and not is_user_code(frame.f_code.co_filename)
            return self._waits_for(future) if ours else f"task {future.get_name()!r}"
        for condition, waiting_for_it in self._conditions:
            if waiting_for_it is future:
                code: Any = getattr(condition, "__code__", None)
                return f"a condition, line {code.co_firstlineno} of {code.co_filename}" if code else "a condition"
        for handle, timer in self._timers.of.items():
            if any(arg is future for arg in getattr(handle, "_args", None) or ()):
                due = moment(round(handle.when() * 1e6)).isoformat(" ", "seconds")
                return f"timer {timer.timer_id} (event {timer.started_event_id}), due {due}"
        return ""


def _places(task: asyncio.Task[Any]) -> list[Place]:
    return stacks.of_users(stacks.suspended(task.get_coro()))
