"""What `flows` goes through, on durable and on Temporal alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.engine.histories import until

ORDERS_ON_TWO_WORKERS = "orders-on-two-workers"


@dataclass(frozen=True)
class Scenario:
    """A workflow, by name; signals that are sent to it; the event after which it is cancelled."""

    workflow: str
    args: tuple[Any, ...] = ()
    signal: str = ""
    values: tuple[Any, ...] = ()
    cancel_after: str = ""

    async def play(self, client: Any, id: str, task_queue: str, types: Callable[[Any], Awaitable[list[str]]]) -> Any:
        """The workflow's handle, once it is closed. ``types`` are those of a handle's events, in CamelCase."""
        handle = await client.start_workflow(self.workflow, args=self.args, id=id, task_queue=task_queue)
        for value in self.values:
            await handle.signal(self.signal, value)
        if self.cancel_after:

            async def has_come() -> bool:
                return self.cancel_after in await types(handle)

            await until(has_come)
            await handle.cancel()

        async def is_closed() -> bool:
            return (await handle.describe()).close_time is not None

        await until(is_closed)
        return handle


SCENARIOS = {
    "orders": Scenario("Orders", (3,), "put", (1, 2, 3)),
    "sums": Scenario("Sums", (4,)),
    "handlers": Scenario("Handlers", (3,), "put", (1, 2, 3)),
    "too-late": Scenario("Reminder", (0.01,)),
    "in-time": Scenario("Reminder", (3600.0,), "reply", ("yes",)),
    "declined": Scenario("Declined", ("4711",)),
    "cancelled-in-sleep": Scenario("Sleeper", cancel_after="TimerStarted"),
    "cancelled-in-activity": Scenario("Patient", (False,), cancel_after="ActivityTaskScheduled"),
    "cancelled-in-activity-awaited": Scenario("Patient", (True,), cancel_after="ActivityTaskScheduled"),
    "activity-cancelled": Scenario("Impatient"),
    "activity-never-begun": Scenario("Forsaken", (False,)),
    "activity-never-begun-awaited": Scenario("Forsaken", (True,)),
}
