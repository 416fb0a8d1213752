"""Short steps as local activities: each leaves one event behind instead of six, and is durable all the same.

    python samples/local_activity.py

quotes the price of a basket: a rate is looked up per item, locally; the one step that others must be able to see and to
follow, the reservation, is an ordinary activity.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta

from durable import Client, Worker, activity, workflow
from durable.exceptions import ActivityError, ApplicationError

SOON = timedelta(seconds=5)


@dataclass(frozen=True)
class Item:
    name: str
    country: str
    cents: int


@activity.defn
async def tax_percent(country: str) -> int:
    """A look-up that takes a millisecond; the first one finds the table being reloaded."""
    if activity.info().attempt == 1:
        raise ConnectionError("the tax table is being reloaded")
    if country == "Atlantis":
        raise ApplicationError("nobody taxes Atlantis", type="NoSuchCountry", non_retryable=True)
    return {"Japan": 10, "Norway": 25}[country]


@activity.defn
async def reserve(cents: int) -> str:
    return f"reserved {cents / 100:.2f}"


@workflow.defn
async def quote(basket: list[Item]) -> str:
    total = 0
    for item in basket:
        try:
            percent = await workflow.execute_local_activity(tax_percent, item.country, start_to_close_timeout=SOON)
        except ActivityError as error:
            return f"no quote for {item.name}: {error.cause}"
        total += item.cents * (100 + percent) // 100
    return await reserve(total)


async def main() -> None:
    async with (
        await Client.connect() as client,
        Worker(client, workflows=[quote], activities=[tax_percent, reserve]),
    ):
        batch = uuid.uuid4().hex[:8]
        baskets = {
            "two": [Item("tea", "Japan", 1000), Item("salmon", "Norway", 2000)],
            "lost": [Item("orichalcum", "Atlantis", 9900)],
        }
        for name, basket in baskets.items():
            handle = await client.start_workflow(quote, basket, id=f"quote-{batch}-{name}")
            print(await handle.result())
            history = await handle.fetch_history()
            print(f"{len(basket)} look-ups, {len(history.events)} events")


if __name__ == "__main__":
    asyncio.run(main())
