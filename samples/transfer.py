"""A workflow can be one plain function: retries are policy, an error that retrying can't cure ends them, `try` undoes.

    python samples/transfer.py

moves money between accounts of a small bank in memory: once well, once to an account that does not exist.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta

from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.exceptions import ActivityError, ApplicationError


@dataclass(frozen=True)
class Transfer:
    source: str
    target: str
    cents: int


class Bank:
    """Accounts, and a line to them that is down at first. A key (run, step) makes each booking happen once."""

    def __init__(self) -> None:
        self.accounts = {"ada": 10_000, "ben": 0}
        self._booked: set[tuple[str | None, str]] = set()
        self._failures = 2

    @activity.defn(
        start_to_close_timeout=timedelta(seconds=5),
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100), non_retryable_error_types=["NoAccount"]),
    )
    async def book(self, account: str, cents: int) -> int:
        """Add ``cents``, which may be negative; the new balance."""
        if self._failures:
            self._failures -= 1
            raise ConnectionError("the bank does not answer")
        if account not in self.accounts:
            raise ApplicationError(f"nobody has the account {account!r}", type="NoAccount")
        key = (activity.info().workflow_run_id, activity.info().activity_id)
        if key not in self._booked:
            self._booked.add(key)
            self.accounts[account] += cents
        return self.accounts[account]


@workflow.defn
async def transfer(order: Transfer) -> str:
    await workflow.execute_activity_method(Bank.book, args=[order.source, -order.cents])
    try:
        balance = await workflow.execute_activity_method(Bank.book, args=[order.target, order.cents])
    except ActivityError as error:
        await workflow.execute_activity_method(Bank.book, args=[order.source, order.cents])
        return f"{order.cents} went back to {order.source}: {error.cause}"
    return f"{order.target} has {balance} now"


async def main() -> None:
    bank = Bank()
    async with await Client.connect() as client, Worker(client, workflows=[transfer], activities=[bank.book]):
        for target in ("ben", "zoe"):
            order = Transfer("ada", target, 2500)
            print(await client.execute_workflow(transfer, order, id=f"transfer-{uuid.uuid4().hex[:8]}"))
    print(bank.accounts)


if __name__ == "__main__":
    asyncio.run(main())
