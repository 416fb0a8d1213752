"""Pure: the durable points of a test, which are the moments before and after a commit of a worker; and their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum

from msgspec import Struct

from durable.history import codec
from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    HistoryEvent,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    WorkflowExecutionSignaled,
    WorkflowTaskCompleted,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)
from durable.history.messages import CancelRequest, ChildClosed, Message, Signal
from durable.history.transition import ActivityReport, Beat, Committed, Outcome, Retry, Send, Transition, Write


class Moment(Enum):
    """BEFORE: the code has run, and nothing of it is recorded. AFTER: it is recorded, and the worker never hears it."""

    BEFORE = "before"
    AFTER = "after"


class Point(Struct, frozen=True, kw_only=True):
    """A moment at which a worker may die. ``place`` is the run's first event id of the commit, or an attempt.

    ``workflow`` is the workflow's id and ``number`` tells which of the test's runs it is, for ids that are drawn anew
    each time.
    """

    workflow: str
    number: int
    place: str
    moment: Moment
    what: str

    @property
    def name(self) -> str:
        return f"{self.workflow}/{self.place}:{self.moment.value}"

    @property
    def numbered_name(self) -> str:
        return f"#{self.number}/{self.place}:{self.moment.value}"

    def __str__(self) -> str:
        return f"{self.moment.value} it commits, for workflow {self.workflow!r}, {self.what}"


class Recorder:
    """Notes the points of one run of a test, and strikes at the one named ``target``, once."""

    def __init__(self, target: str | None = None) -> None:
        self.points: dict[str, Point] = {}
        """By name, in order."""
        self.workflows: list[str] = []
        """The runs that workers have met, as points call them, in order."""
        self.struck: Point | None = None
        self._target = target
        self._runs: dict[str, int] = {}
        self._started: dict[str, int] = {}
        self._runs_of: Counter[str] = Counter()
        self._types: dict[tuple[str, int], str] = {}

    def met(self, run_id: str, workflow_id: str, request_id: str) -> None:
        """A worker has this run to step. What the same request starts, once more after a crash, is the same run."""
        if run_id in self._runs:
            return
        if request_id in self._started:
            self._runs[run_id] = self._started[request_id]
            return
        self._runs_of[workflow_id] += 1
        again = self._runs_of[workflow_id]
        self.workflows.append(workflow_id if again == 1 else f"{workflow_id}~{again}")
        self._runs[run_id] = self._started[request_id] = len(self.workflows)

    def name(self, run_id: str) -> str | None:
        """What points call this run; None for one that no worker has met."""
        number = self._runs.get(run_id)
        return None if number is None else self.workflows[number - 1]

    def strikes(self, writes: Sequence[Write]) -> Moment | None:
        """Shall the worker die at this commit?"""
        for write in writes:
            if isinstance(write, Transition) and write.start is not None:
                self.met(write.run_id, write.start.workflow_id, write.start.request_id)
        if self.struck is None and self._target is not None:
            for point in self._of(writes):
                if self._target in (point.name, point.numbered_name):
                    self.struck = point
                    return point.moment
        return None

    def written(self, writes: Sequence[Write], outcomes: Sequence[Outcome]) -> None:
        """A worker has committed."""
        held = [write for write, outcome in zip(writes, outcomes, strict=True) if isinstance(outcome, Committed)]
        for point in self._of(held):
            self.points.setdefault(point.name, point)

    def _of(self, writes: Sequence[Write]) -> Iterator[Point]:
        for write in writes:
            told = self._told(write)
            if told is None:
                continue
            run_id, place, what = told
            number = self._runs[run_id]
            for moment in Moment:
                yield Point(workflow=self.workflows[number - 1], number=number, place=place, moment=moment, what=what)

    def _told(self, write: Write) -> tuple[str, str, str] | None:
        """Run, place and words; None for what leaves no trace, as an answered query."""
        match write:
            case Transition(run_id=run_id, events=batch) if batch is not None and run_id in self._runs:
                events = codec.decode_events(batch.data)
                for event in events:
                    if isinstance(event, ActivityTaskScheduled):
                        self._types[run_id, event.id] = event.activity_type
                for task in write.tasks:  # local activities have no event
                    self._types[run_id, task.scheduled_event_id] = task.spec.activity_type
                words = [self._words(run_id, event) for event in events if not isinstance(event, _OF_EVERY_TASK)]
                told = ", ".join(words) or "a workflow task that asks for nothing"
                last = batch.first_id + batch.count - 1
                return run_id, str(batch.first_id), f"events {batch.first_id} to {last}: {told}"
            case Transition(run_id=run_id, events=None, taken_back=(key,)) if run_id in self._runs:
                return run_id, f"errands-{key}", "that it has nothing left to do at other workflows"
            case Send(message=packed):
                return self._told_to_another(codec.decode_message(packed.body), write)
            case ActivityReport(token=token, what=what) if token.run_id in self._runs:
                kind = self._types.get((token.run_id, token.scheduled_event_id), "?")
                place, attempt = f"{kind}-{token.scheduled_event_id}-{token.attempt}", f"attempt {token.attempt}"
                match what:
                    case Beat():
                        return token.run_id, f"{place}-heartbeat", f"a heartbeat of {attempt} of {kind!r}"
                    case Retry():
                        return token.run_id, place, f"that {attempt} of {kind!r} is to be repeated"
                    case _:
                        return token.run_id, place, f"the outcome of {attempt} of {kind!r}"
            case _:
                return None

    def _told_to_another(self, message: Message, send: Send) -> tuple[str, str, str] | None:
        """A message by which one workflow reaches another: told of the run that it is about."""
        match message:
            case ChildClosed(initiated_event_id=event_id) if send.run_id in self._runs:
                return send.run_id, f"child-{event_id}-ended", f"the end of the child of event {event_id}"
            case Signal(sender=sender) | CancelRequest(sender=sender) if sender and sender.run_id in self._runs:
                request = message.request_id.removeprefix(f"{sender.run_id}:")
                return sender.run_id, f"send-{request}", f"a message to workflow {send.workflow_id!r}"
            case _:
                return None

    def _words(self, run_id: str, event: HistoryEvent) -> str:
        name = type(event).__name__
        match event:
            case ActivityTaskScheduled():
                return f"{name} of {event.activity_type!r}"
            case (
                ActivityTaskCompleted()
                | ActivityTaskFailed()
                | ActivityTaskTimedOut()
                | ActivityTaskCanceled()
                | ActivityTaskCancelRequested()
            ):
                return f"{name} of {self._types.get((run_id, event.scheduled_event_id), '?')!r}"
            case WorkflowExecutionSignaled():
                return f"{name} {event.signal_name!r}"
            case TimerStarted() | TimerFired() | TimerCanceled():
                return f"{name} {event.timer_id}"
            case _:
                return name


_OF_EVERY_TASK = (WorkflowTaskScheduled, WorkflowTaskStarted, WorkflowTaskCompleted, ActivityTaskStarted)
