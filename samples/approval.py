"""A workflow waits for people: signals tell it, queries ask it, and patience has an end.

    python samples/approval.py

hands in three expenses: one is approved, one is rejected, one is forgotten by everybody.
"""

import asyncio
import uuid
from dataclasses import dataclass

from durable import Client, Worker, workflow


@dataclass(frozen=True)
class Expense:
    purpose: str
    cents: int
    patience_seconds: float = 7 * 24 * 3600


@dataclass(frozen=True)
class Decision:
    approved: bool
    by: str


@workflow.defn
class Approval:
    def __init__(self) -> None:
        self._decision: Decision | None = None

    @workflow.run
    async def run(self, expense: Expense) -> str:
        try:
            await workflow.wait_condition(lambda: self._decision is not None, timeout=expense.patience_seconds)
        except TimeoutError:
            return f"{expense.purpose}: nobody decided; handed in again to somebody else"
        return f"{expense.purpose}: {self.state()}"

    @workflow.signal
    def decide(self, decision: Decision) -> None:
        """The first decision counts."""
        if self._decision is None:
            self._decision = decision

    @workflow.query
    def state(self) -> str:
        if self._decision is None:
            return "waiting"
        return f"{'approved' if self._decision.approved else 'rejected'} by {self._decision.by}"


async def main() -> None:
    async with await Client.connect() as client, Worker(client, workflows=[Approval]):
        batch = uuid.uuid4().hex[:8]
        train = await client.start_workflow(Approval.run, Expense("train", 8900), id=f"expense-{batch}-train")
        piano = await client.start_workflow(Approval.run, Expense("piano", 990000), id=f"expense-{batch}-piano")
        lunch = await client.start_workflow(Approval.run, Expense("lunch", 1900, 1), id=f"expense-{batch}-lunch")
        print(f"train: {await train.query(Approval.state)}")
        await train.signal(Approval.decide, Decision(approved=True, by="Ada"))
        await train.signal(Approval.decide, Decision(approved=False, by="Zoe, too late"))
        await piano.signal(Approval.decide, Decision(approved=False, by="Ada"))
        for handle in (train, piano, lunch):
            print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
