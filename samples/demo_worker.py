"""The process that the demo kills: a worker for orders, with everything it needs in its environment."""

import asyncio
import logging

import order
from durable import Client, Worker


async def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    async with await Client.connect() as client:
        worker = Worker(client, workflows=order.WORKFLOWS, activities=order.ACTIVITIES, max_concurrent_activities=16)
        async with worker:
            print("ready", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
