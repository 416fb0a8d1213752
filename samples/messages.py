"""Telling, asking and calling a running workflow: signals, queries, and updates that may be turned away.

    python samples/messages.py

runs an auction for a second. Bids are updates: each bidder learns at once whether the bid counts, and why not.
"""

import asyncio
import uuid
from dataclasses import dataclass

from durable import Client, Worker, activity, workflow
from durable.client import WithStartWorkflowOperation, WorkflowUpdateFailedError
from durable.common import WorkflowIDConflictPolicy


@dataclass(frozen=True)
class Bid:
    bidder: str
    cents: int


@activity.defn
async def reserve(bid: Bid) -> bool:
    """Ask the bidder's bank to hold the money; mallory's never does."""
    return bid.bidder != "mallory"


@workflow.defn
class Auction:
    def __init__(self) -> None:
        self._best: Bid | None = None
        self._watching: list[str] = []

    @workflow.run
    async def run(self, seconds: float) -> str:
        await workflow.sleep(seconds)
        await workflow.wait_condition(workflow.all_handlers_finished)  # no bid is cut off by the hammer
        winner = "nobody" if self._best is None else f"{self._best.bidder} for {self._best.cents}"
        return f"sold to {winner}; {len(self._watching)} watched"

    @workflow.signal
    def watch(self, who: str) -> None:
        """Told, and not waited for."""
        self._watching.append(who)

    @workflow.query
    def best(self) -> int:
        """Asked; it changes nothing."""
        return 0 if self._best is None else self._best.cents

    @workflow.update
    async def bid(self, bid: Bid) -> str:
        """Called: it may run activities, and what it returns goes back to the caller."""
        if not await reserve(bid):
            return f"{bid.bidder}: no money"
        if bid.cents <= self.best():  # somebody else was faster, while the bank was asked
            return f"{bid.bidder}: outbid"
        self._best = bid
        return f"{bid.bidder}: leads with {bid.cents}"

    @bid.validator
    def is_higher(self, bid: Bid) -> None:
        """What it refuses leaves no trace in the history."""
        if bid.cents <= self.best():
            raise ValueError(f"{bid.cents} is not more than {self.best()}")


async def main() -> None:
    async with await Client.connect() as client, Worker(client, workflows=[Auction], activities=[reserve]):
        start = WithStartWorkflowOperation(
            Auction.run,
            1.0,
            id=f"auction-{uuid.uuid4().hex[:8]}",
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        # The first bid opens the auction, if nobody has.
        first = await client.execute_update_with_start_workflow(
            Auction.bid, Bid("ada", 1000), start_workflow_operation=start
        )
        print(first)
        auction = await start.workflow_handle()
        await auction.signal(Auction.watch, "ben")
        for bid in (Bid("cleo", 900), Bid("mallory", 5000), Bid("cleo", 1200)):
            try:
                print(await auction.execute_update(Auction.bid, bid))
            except WorkflowUpdateFailedError as refused:
                print(f"{bid.bidder}: refused, {refused.cause}")
        print(f"best bid: {await auction.query(Auction.best)}")
        print(await auction.result())


if __name__ == "__main__":
    asyncio.run(main())
