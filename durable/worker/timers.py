"""Pure: the durable timers of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.history.commands import CancelTimer, StartTimer
from durable.history.events import TimerFired
from durable.worker.loop import WorkflowTimerHandle
from durable.worker.pending import Timer

if TYPE_CHECKING:
    from durable.worker.replay import Run


class Timers:
    """Those of one run; what is under way, by the id of the event that started it, and by its loop's handle.

    ``summary`` is what a person is to read about the timer that the code starts next.
    """

    def __init__(self, run: Run) -> None:
        self.summary: str | None = None
        self._run = run
        self._count = 0
        self._pending: dict[int, Timer] = {}
        self.of: dict[WorkflowTimerHandle, Timer] = {}

    def start(self, delay_us: int, handle: WorkflowTimerHandle) -> None:
        self._run.must_write("start timer")
        self._count += 1
        timer = Timer(handle, str(self._count), -1)
        metadata = self._run.summarized(self.summary)
        command = StartTimer(timer_id=timer.timer_id, start_to_fire_timeout_us=delay_us, user_metadata=metadata)
        timer.index = self._run.ask(command, timer)
        self.summary = None
        self.of[handle] = timer

    def cancel(self, handle: WorkflowTimerHandle) -> None:
        self._run.must_write("cancel timer")
        timer = self.of.pop(handle, None)
        if timer is None:
            return
        begun = timer.started_event_id
        if not begun:
            self._run.take_back(timer.index)
        elif self._pending.pop(begun, None) is not None and begun not in self._run.over:
            self._run.ask(CancelTimer(timer_id=timer.timer_id, started_event_id=begun))

    def bind(self, timer: Timer, event_id: int) -> None:
        """It has become this event."""
        timer.started_event_id = event_id
        self._pending[event_id] = timer

    def hear(self, event: TimerFired) -> None:
        timer = self._pending.pop(event.started_event_id, None)
        if timer is not None:
            self.of.pop(timer.handle, None)
            self._run.loop.fire(timer.handle)
