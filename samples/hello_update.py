"""An update is a call to a running workflow: it may be refused, it returns a result, and its id makes it count once.

    python samples/hello_update.py

runs a wallet: what comes in twice counts once, and what is not there can't be spent.
"""

import asyncio
import uuid
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client, WorkflowUpdateFailedError, WorkflowUpdateStage
from durable.exceptions import ApplicationError
from durable.worker import Worker

TASK_QUEUE = "wallets"


@activity.defn
async def pay_out(shop: str, cents: int) -> str:
    if shop == "casino":
        raise ApplicationError("no bank pays a casino", non_retryable=True)
    return f"{shop} got {cents}"


@workflow.defn
class Wallet:
    def __init__(self) -> None:
        self._cents = 0
        self._closed = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self._closed)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._cents

    @workflow.update
    def deposit(self, cents: int) -> int:
        """The new balance."""
        self._cents += cents
        return self._cents

    @workflow.update
    async def spend(self, shop: str, cents: int) -> str:
        """An update may take its time: other updates run while it waits, so the money is taken out at once."""
        self._cents -= cents
        try:
            return await workflow.execute_activity(
                pay_out, args=[shop, cents], start_to_close_timeout=timedelta(seconds=10)
            )
        except BaseException:
            self._cents += cents
            raise

    @deposit.validator
    def check_deposit(self, cents: int) -> None:
        """Runs before the update is accepted, and must change nothing; what it refuses is in no history."""
        if cents <= 0:
            raise ValueError("that is no deposit")

    @spend.validator
    def check_spend(self, shop: str, cents: int) -> None:
        if cents > self._cents:
            raise ValueError(f"{shop} wants {cents}, there is {self._cents}")

    @workflow.signal
    def close(self) -> None:
        self._closed = True


async def main() -> None:
    async with await Client.connect() as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[Wallet], activities=[pay_out]):
            wallet = await client.start_workflow(Wallet.run, id=f"wallet-{uuid.uuid4()}", task_queue=TASK_QUEUE)
            for salary in ("june", "june", "july"):  # the bank did not hear that June's had arrived, and sent it again
                balance = await wallet.execute_update(Wallet.deposit, 1000, id=f"salary-{salary}")
                print(f"{salary}: {balance}")
            # An update that takes long: first it is accepted, its result is fetched later.
            rent = await wallet.start_update(
                Wallet.spend, args=["landlord", 1500], wait_for_stage=WorkflowUpdateStage.ACCEPTED
            )
            print(await rent.result())
            for shop, cents in (("jeweller", 9000), ("casino", 100)):
                try:
                    await wallet.execute_update(Wallet.spend, args=[shop, cents])
                except WorkflowUpdateFailedError as error:
                    print(f"{shop}: {error.cause.__cause__ or error.cause}")
            await wallet.signal(Wallet.close)
            print(f"closed with {await wallet.result()}")
            # A closed wallet still knows what it has answered.
            print(f"july again: {await wallet.execute_update(Wallet.deposit, 1000, id='salary-july')}")


if __name__ == "__main__":
    asyncio.run(main())
