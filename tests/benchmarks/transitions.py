"""What the floor writes for one step of a run: its row, its events in one row, its tasks."""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, omit_defaults=True):
    id: int
    type: str
    data: bytes = b""


class Transition:
    """``scheduled`` are new tasks by event id, with their input; ``done`` the event ids of those that are over."""

    __slots__ = ("closed", "data", "done", "first_id", "last_id", "run_id", "scheduled", "workflow_id")

    def __init__(
        self,
        run_id: str,
        workflow_id: str,
        first_id: int,
        last_id: int,
        closed: bool,
        said: list[tuple[str, bytes]],
        scheduled: list[tuple[int, bytes]],
        done: list[int],
    ) -> None:
        self.run_id, self.workflow_id = run_id, workflow_id
        self.first_id, self.last_id, self.closed = first_id, last_id, closed
        events = [Event(number, type, data) for number, (type, data) in enumerate(said, first_id)]
        self.data = msgspec.msgpack.encode(events)
        self.scheduled, self.done = scheduled, done
