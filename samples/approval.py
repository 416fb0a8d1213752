"""A workflow waits for people: signals tell it, queries ask it, timers remind them, ask somebody else, and give up.

    python samples/approval.py

hands in three expenses: one is approved, one is rejected, one is forgotten by everybody.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta

from durable import Client, Worker, activity, workflow


@dataclass(frozen=True)
class Expense:
    purpose: str
    cents: int
    patience_seconds: float = 7 * 24 * 3600
    """How long to wait for an answer to each letter."""


@dataclass(frozen=True)
class Decision:
    approved: bool
    by: str


LETTERS = (("Ada", "please decide"), ("Ada", "you have not decided yet"), ("Zoe", "Ada does not answer"))


class Post:
    def __init__(self) -> None:
        self.sent: list[str] = []

    @activity.defn(start_to_close_timeout=timedelta(minutes=1))
    async def write(self, to: str, text: str) -> None:
        self.sent.append(f"to {to}: {text}")


@workflow.defn
class Approval:
    def __init__(self) -> None:
        self._decision: Decision | None = None

    @workflow.run
    async def run(self, expense: Expense) -> str:
        for to, text in LETTERS:
            await workflow.execute_activity_method(Post.write, args=[to, f"{expense.purpose}, {text}"])
            try:
                await workflow.wait_condition(lambda: self._decision is not None, timeout=expense.patience_seconds)
            except TimeoutError:
                continue
            return f"{expense.purpose}: {self.state()}"
        return f"{expense.purpose}: nobody decided; handed in again to somebody else"

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
    post, batch = Post(), uuid.uuid4().hex[:8]
    async with await Client.connect() as client:
        train = await client.start_workflow(Approval.run, Expense("train", 8900), id=f"expense-{batch}-train")
        await train.signal(Approval.decide, Decision(approved=True, by="Ada"))
        await train.signal(Approval.decide, Decision(approved=False, by="Zoe, too late"))
        async with Worker(client, workflows=[Approval], activities=[post.write]):
            print(await train.result())
            piano = await client.start_workflow(Approval.run, Expense("piano", 990000), id=f"expense-{batch}-piano")
            print(f"piano: {await piano.query(Approval.state)}")
            await piano.signal(Approval.decide, Decision(approved=False, by="Ada"))
            print(await piano.result())
            lunch = Expense("lunch", 1900, patience_seconds=0.1)
            print(await client.execute_workflow(Approval.run, lunch, id=f"expense-{batch}-lunch"))
    print(*post.sent, sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
