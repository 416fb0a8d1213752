"""Worker processes of these tests: made, and ended with the test."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
from collections.abc import Sequence
from datetime import timedelta
from multiprocessing.process import BaseProcess
from os import _exit
from pathlib import Path
from typing import Any

from durable import Client, Worker
from durable.history.transition import Outcome, Refused, Write
from tests.faults.flows import ACTIVITIES, WORKFLOWS
from tests.forkserver import processes

LEASE = timedelta(seconds=0.6)


def spawn(address: str, folder: Path) -> BaseProcess:
    """A worker process. It ends with its parent, if nothing ends it before."""
    child = processes.Process(target=work, args=(address, folder), daemon=True)
    child.start()
    return child


def work(address: str, folder: Path) -> None:
    logging.disable(logging.CRITICAL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    asyncio.run(serve(address, folder))


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    _exit(0)


async def serve(address: str, folder: Path) -> None:
    """Work until killed.

    While the folder has a file ``deaf`` in it, the worker neither renews its lease nor asks for work, so that it goes
    on for a while when it wakes up dead; each write of its that is refused leaves a line in ``refused``.
    """
    async with await Client.connect(address) as client:
        store: Any = client.database.store
        commit, claim, renew = store.commit, store.claim, store.renew

        async def hear() -> None:
            while (folder / "deaf").exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.01)

        async def commit_and_tell(writes: Sequence[Write]) -> Sequence[Outcome]:
            outcomes: Sequence[Outcome] = await commit(writes)
            with (folder / "refused").open("a") as told:
                told.writelines(f"{each.reason.name}\n" for each in outcomes if isinstance(each, Refused))
            return outcomes

        async def claim_unless_deaf(wanted: Any) -> Any:
            await hear()
            return await claim(wanted)

        async def renew_unless_deaf(worker: Any) -> Any:
            await hear()
            return await renew(worker)

        store.commit, store.claim, store.renew = commit_and_tell, claim_unless_deaf, renew_unless_deaf
        await Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES, lease=LEASE).run()
