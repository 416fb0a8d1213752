"""A program that forks once its engine runs, as a server does that loads the application first.

The parent's worker lives on a thread; the child tries to use what it has inherited, and ends as any program does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from concurrent.futures import Future

from durable import Client, Worker, activity, workflow
from durable.history.errors import StoreUnavailable


@activity.defn
async def greeting(name: str) -> str:
    return f"Hello, {name}! Yours, {os.getpid()}"


@workflow.defn
async def hello(name: str) -> str:
    return await greeting(name)


Engine = tuple[asyncio.AbstractEventLoop, Client, asyncio.Event]


def begin(url: str) -> Engine:
    ready: Future[Engine] = Future()

    async def work() -> None:
        stop = asyncio.Event()
        async with await Client.connect(url) as client, Worker(client, workflows=[hello], activities=[greeting]):
            ready.set_result((asyncio.get_running_loop(), client, stop))
            await stop.wait()

    threading.Thread(target=asyncio.run, args=(work(),), daemon=True).start()
    return ready.result()


async def misuse(client: Client) -> None:
    for use in (
        lambda: client.start_workflow(hello, "child", id="child"),
        lambda: client.get_workflow_handle("parent").result(),
        lambda: Worker(client, workflows=[hello], activities=[greeting]).run(),
    ):
        try:
            await use()
        except StoreUnavailable as error:
            print(error, flush=True)


def main(url: str) -> None:
    loop, client, stop = begin(url)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # if it hangs, nobody else ends it
        asyncio.run(misuse(client))
        return
    os.waitpid(child, 0)
    done = asyncio.run_coroutine_threadsafe(client.execute_workflow(hello, "parent", id="parent"), loop)
    print(done.result(), flush=True)
    loop.call_soon_threadsafe(stop.set)


if __name__ == "__main__":
    main(sys.argv[1])
