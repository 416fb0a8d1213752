"""Handlers run side by side with `run` and with each other: a lock keeps their steps apart, and the end waits for them.

    python samples/message_passing.py

runs a small hotel with two rooms. Each booking asks a bank, which takes a moment, in which the next booking comes in.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client, WorkflowUpdateFailedError, WorkflowUpdateStage
from durable.exceptions import ApplicationError
from durable.worker import Worker

TASK_QUEUE = "hotel"


@dataclass(frozen=True)
class Hotel:
    name: str
    rooms: int


@activity.defn
async def charge(guest: str) -> bool:
    await asyncio.sleep(0.02)
    return guest != "Mallory"


@workflow.defn
class Night:
    @workflow.init
    def __init__(self, hotel: Hotel) -> None:
        """Handlers may run before the first step of `run`: what they need is made here."""
        self._hotel = hotel
        self._guests: dict[int, str] = {}
        self._requests: list[str] = []
        self._free = hotel.rooms
        self._desk = asyncio.Lock()
        self._over = False

    @workflow.run
    async def run(self, hotel: Hotel) -> list[str]:
        await workflow.wait_condition(lambda: self._over)
        # Whoever is being served is served; else their call would end with the run.
        await workflow.wait_condition(workflow.all_handlers_finished)
        return [f"{room}: {guest}" for room, guest in sorted(self._guests.items())] + self._requests

    @workflow.update
    async def book(self, guest: str) -> int:
        """Returns the room. Async handlers are tasks: without the lock three guests could get the same room."""
        async with self._desk:  # whoever came first is served first
            if not self._free:
                raise ApplicationError("the hotel is full", type="Full")
            room = self._hotel.rooms - self._free + 1
            if not await workflow.execute_activity(charge, guest, start_to_close_timeout=timedelta(seconds=10)):
                raise ApplicationError("the bank says no", type="NoMoney")
            self._free -= 1
            self._guests[room] = guest
            return room

    @workflow.signal
    async def request(self, guest: str, what: str) -> None:
        """A signal's handler may wait, too: here until the guest has a room."""
        await workflow.wait_condition(lambda: guest in self._guests.values())
        self._requests.append(f"{what} for {guest}")

    @workflow.signal
    def close(self) -> None:
        """A sync handler is done at once, before any task goes on."""
        self._over = True

    @workflow.query
    def free(self) -> int:
        return self._free


async def main() -> None:
    async with await Client.connect() as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[Night], activities=[charge]):
            night = await client.start_workflow(
                Night.run, Hotel("Bellevue", rooms=2), id=f"night-{uuid.uuid4()}", task_queue=TASK_QUEUE
            )
            await night.signal(Night.request, args=["Ben", "tea"])
            bookings = {
                guest: await night.start_update(Night.book, guest, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
                for guest in ("Ada", "Mallory", "Ben", "Cleo")
            }
            await night.signal(Night.close)  # the four are still at the desk
            for guest, booking in bookings.items():
                try:
                    print(f"{guest}: room {await booking.result()}")
                except WorkflowUpdateFailedError as error:
                    print(f"{guest}: {error.cause}")
            print(await night.result())
            print(f"free: {await night.query(Night.free)}")


if __name__ == "__main__":
    asyncio.run(main())
